"""Pages of one URL: the newest, or the best by the survivor policy, is kept.

A decision of its own, before exact and near-duplicates: two crawls of a page may differ in every
line. URLs are compared by their normalised form (filters/urls.py); documents without a URL take no
part. Dropped pages are no copies of a text, so `num_copies` does not count them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from filters import urls
from pipelines import ingest
from pipelines.config import CorpusConfig
from pipelines.duplicates import competing, exact, scopes, survivors
from pipelines.duplicates.competing import Part
from pipelines.duplicates.decisions import is_finished, write_decisions
from pipelines.duplicates.exact import Sameness
from pipelines.duplicates.generations import Generation
from pipelines.duplicates.ranking import ContentHashes
from storage import commit, tables

STAGE = exact.URL_STAGE
VERSION = 1
REASON = "same_url"


def run(config: CorpusConfig, parts: Sequence[Part], generation: Generation) -> None:
    """Writes `decisions/url/`; does nothing when they are there under the same recipe."""
    stages = competing.earlier_stages(config)
    recipe = _recipe(config, stages, parts, generation)
    if is_finished(config, STAGE, parts, recipe):
        return
    policy = "newest" if config.dedup.url == "newest" else ""
    same = Sameness(STAGE, _hashes, policy)
    duplicates = exact.find_duplicates(config, parts, stages, generation, same)
    for part in parts:
        rows = competing.competing_rows(config, part, stages)
        decisions = exact.decide_part(part, duplicates, REASON)
        decisions.num_copies[:] = decisions.reason == ""
        write_decisions(config, STAGE, part, recipe, decisions, int(rows.sum()))


def _recipe(
    config: CorpusConfig, stages: Sequence[str], parts: Sequence[Part], generation: Generation
) -> str:
    settings = survivors.settings(config) | {
        "url": config.dedup.url,
        "urls_version": urls.VERSION,
        "history": generation.history,
        "scope": config.dedup.scope,
    }
    inputs = [ingest.STAGE, *survivors.inputs(config), *stages]
    digest = competing.inputs_digest(config, sorted(set(inputs)), parts)
    return commit.recipe_id(STAGE, VERSION, settings, [digest])


def _hashes(config: CorpusConfig, part: Part) -> tuple[ContentHashes, npt.NDArray[np.bool_]]:
    path = config.path("documents", f"{part.name}.parquet")
    column = tables.read_table(path, ["url"])["url"]
    hashes = urls.url_hashes(column)
    has_one = np.array([bool((url or "").strip()) for url in column.to_pylist()], bool)
    high = hashes[:, 0] ^ scopes.scopes_of(config, part)
    return ContentHashes(high, hashes[:, 1]), has_one
