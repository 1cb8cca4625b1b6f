"""Stage `takedown`: documents that somebody asked to have removed. It wins over all other stages.

Lists are text files that the corpus file names: URLs, domains, hashes of stored texts
(filters/takedown.py). They are applied to whatever documents there are, again on each run, so a
page that is crawled again is taken down again.

A corpus that is packed already is protected at once: `exclusions.parquet` beside the manifest names
the documents that lie in shards, and training gives their tokens no weight. Dedup and pack then
leave them out of the shards themselves, and refuse to work with decisions older than the lists.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from filters import takedown, urls
from filters.takedown import TakedownLists
from pipelines import ingest, row_decisions
from pipelines.config import CorpusConfig
from pipelines.ingest import document_parts
from pipelines.stages import Slice, Task, require, run_tasks
from pipelines.text_lists import digest, parse_lists
from storage import commit, manifest, objects, shards, tables
from storage.commit import PartMarker
from storage.errors import UserError

STAGE = "decisions/takedown"
FINAL = "decisions/final"
VERSION = 1
READ_THREADS = 8
EXCLUSIONS = pa.schema([("doc_id", pa.uint64())])


@dataclass(frozen=True, slots=True)
class PackedDocuments:
    """Documents of one shard that are taken down."""

    shard: str
    """Of the tar, relative to the manifest."""
    num_docs: int
    num_tokens: int


def run(config: CorpusConfig, only: Slice | None = None) -> None:
    """Decides all documents, and hides from training those that are packed already.

    Raises ConfigError, UserError when ingest has not finished, StorageError, StageError.
    """
    if not config.takedown.is_set:
        if commit.read_markers(config.output, STAGE):
            objects.delete(config.path(manifest.EXCLUSIONS_TABLE))
        row_decisions.forget(config, STAGE)
        return
    require(config, ingest.STAGE, "ingest")
    run_tasks(config, STAGE, plan(config), TakedownPart(config), only)
    if only is None:
        exclude_packed(config)


def plan(config: CorpusConfig) -> list[Task]:
    """One task per documents part."""
    lists = read_lists(config)
    settings = [takedown.VERSION, urls.VERSION, *(digest(list(entries)) for entries in lists)]
    tasks = []
    for part in document_parts(config):
        documents = part.object("documents")
        recipe = commit.recipe_id(STAGE, VERSION, settings, [documents.digest])
        weight = documents.bytes if lists.hashes else documents.rows
        tasks.append(Task(part.part, recipe, weight))
    return tasks


def read_lists(config: CorpusConfig) -> TakedownLists:
    """What the corpus file names. Raises ConfigError for a file or a line that cannot be read."""
    settings = config.takedown
    return TakedownLists(
        frozenset(parse_lists(settings.urls, takedown.parse_url)),
        frozenset(parse_lists(settings.domains, takedown.parse_domain)),
        frozenset(parse_lists(settings.hashes, takedown.parse_hash)),
    )


@dataclass(frozen=True, slots=True)
class TakedownPart:
    """The work of one task: one decision table."""

    config: CorpusConfig

    def __call__(self, task: Task) -> Iterator[PartMarker]:
        lists = read_lists(self.config)
        yield row_decisions.decide(
            self.config, STAGE, task, lists.columns, lambda batch: takedown.reasons(batch, lists)
        )


def require_obeyed(config: CorpusConfig) -> None:
    """Raises UserError when the lists, or what they took down, are newer than final decisions."""
    if not config.takedown.is_set:
        return
    decided = {marker.part: marker for marker in commit.read_markers(config.output, STAGE)}
    for task in plan(config):
        marker = decided.get(task.part)
        if marker is None or marker.recipe_id != task.recipe_id:
            raise UserError(
                f"the take-down lists are not applied to {task.part}: run `tilth takedown`, then "
                "`tilth dedup`"
            )
        if marker.counts["kept"] < marker.counts["documents"]:
            _require_dropped(config, task.part)


def _require_dropped(config: CorpusConfig, part: str) -> None:
    name = f"{part}.parquet"
    drop = tables.read_table(config.path(STAGE, name), ["drop"])["drop"].to_numpy()
    kept = tables.read_table(config.path(FINAL, name), ["kept"])["kept"].to_numpy()
    if len(drop) != len(kept) or (drop & kept).any():
        raise UserError(f"{part}: final decisions keep what is taken down: run `tilth dedup`")


def taken_down(config: CorpusConfig) -> npt.NDArray[np.uint64]:
    """Ids of the documents that are taken down, ascending."""
    found = [np.empty(0, np.uint64)]
    for marker in commit.read_markers(config.output, STAGE):
        if marker.counts["kept"] < marker.counts["documents"]:
            rows = tables.read_table(config.path(STAGE, f"{marker.part}.parquet"))
            found.append(rows.filter(rows["drop"])["doc_id"].to_numpy())
    return np.sort(np.concatenate(found))


def exclude_packed(config: CorpusConfig) -> list[PackedDocuments]:
    """Writes `exclusions.parquet` for the documents that lie in shards; removes it for none."""
    ids, places = find_packed(config, taken_down(config))
    path = config.path(manifest.EXCLUSIONS_TABLE)
    if len(ids):
        tables.write_table(path, pa.table([pa.array(ids)], schema=EXCLUSIONS), EXCLUSIONS)
    else:
        objects.delete(path)
    return places


def find_packed(
    config: CorpusConfig, doc_ids: npt.NDArray[np.uint64]
) -> tuple[npt.NDArray[np.uint64], list[PackedDocuments]]:
    """Which of `doc_ids` lie in shards, and in which."""
    if not len(doc_ids) or not objects.exists(config.path(manifest.MANIFEST)):
        return np.empty(0, np.uint64), []
    corpus = manifest.load_manifest(config.output)

    def search(path: str) -> tuple[npt.NDArray[np.uint64], PackedDocuments]:
        docs = tables.read_table(shards.docs_path(corpus.location(path)), ["doc_id", "count"])
        here = np.isin(docs["doc_id"].to_numpy(), doc_ids)
        found = np.unique(docs["doc_id"].to_numpy()[here])
        return found, PackedDocuments(path, len(found), int(docs["count"].to_numpy()[here].sum()))

    with ThreadPoolExecutor(READ_THREADS) as pool:
        results = list(pool.map(search, corpus.shards["path"].to_pylist()))
    places = [place for _, place in results if place.num_docs]
    return np.unique(np.concatenate([doc_ids[:0], *(ids for ids, _ in results)])), places


def summary(config: CorpusConfig) -> str:
    """What is taken down, by reason, and the shards that hold some of it."""
    counts: Counter[str] = Counter()
    for marker in commit.read_markers(config.output, STAGE):
        counts.update(marker.counts)
    reasons = ", ".join(
        f"{name.partition(':')[2]} {number:,}"
        for name, number in sorted(counts.items())
        if name.startswith("drop:")
    )
    lines = [f"{counts['documents'] - counts['kept']:,} documents taken down: {reasons or 'none'}"]
    _, places = find_packed(config, taken_down(config))
    lines += _shard_lines(places)
    return "\n".join(lines)


def _shard_lines(places: Sequence[PackedDocuments]) -> Iterator[str]:
    for place in places:
        yield f"  {place.shard}: {place.num_docs:,} documents, {place.num_tokens:,} tokens"
    if places:
        yield (
            f"{manifest.EXCLUSIONS_TABLE} hides them from training; `tilth run` writes shards "
            "without them"
        )
