"""Exact duplicates: documents with equal content hashes; the best-ranked of each group survives.

Within a group the texts, and so the split and the length, are equal; the survivor policy, source
and record decide. Content hashes are 128 bits, so equal hashes stand for equal
texts and nothing is compared.

One process reads the hash columns and sorts them, in as many ranges of the hash as its memory
asks for: about 100 bytes a document, so 20 M documents per range at 2 GB. `record` is read only
in parts that hold duplicates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.config import CorpusConfig
from pipelines.duplicates import competing, scopes, survivors
from pipelines.duplicates.competing import HASH, Part
from pipelines.duplicates.decisions import Decisions, is_finished, read_decisions, write_decisions
from pipelines.duplicates.generations import Generation
from pipelines.duplicates.ranking import ContentHashes, repeated_places, split_hashes
from storage import commit, tables

STAGE = "decisions/exact"
URL_STAGE = "decisions/url"
VERSION = 2
REASON = "exact_duplicate"
BYTES_PER_DOC = 100
"""Peak memory while the hashes of a range are sorted and grouped."""


class Duplicates(NamedTuple):
    """uint64 doc_ids, ascending, of documents to drop, and the survivor of each."""

    doc_ids: npt.NDArray[np.uint64]
    survivors: npt.NDArray[np.uint64]


class Sameness(NamedTuple):
    """What makes documents equal for a stage, and which of them is best."""

    stage: str
    hashes: Callable[[CorpusConfig, Part], tuple[ContentHashes, npt.NDArray[np.bool_]]]
    """Equal hashes are equal documents; and which rows have a hash at all."""
    policy: str = ""
    """A survivor policy; "" is that of the configuration."""


class _HashRange(NamedTuple):
    """One of `num_ranges` equal ranges of the hash."""

    number: int
    num_ranges: int

    def holds(self, high: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        return (high >> np.uint64(32)) * np.uint64(self.num_ranges) >> np.uint64(32) == self.number


def _content_hashes(
    config: CorpusConfig, part: Part
) -> tuple[ContentHashes, npt.NDArray[np.bool_]]:
    path = config.path(HASH, f"{part.name}.parquet")
    hashes = split_hashes(tables.read_table(path, ["content_hash"])["content_hash"])
    scoped = ContentHashes(hashes.high ^ scopes.scopes_of(config, part), hashes.low)
    return scoped, np.ones(part.num_docs, bool)


EQUAL_TEXTS = Sameness(STAGE, _content_hashes)


def run(config: CorpusConfig, parts: Sequence[Part], generation: Generation) -> None:
    """Writes `decisions/exact/`; does nothing when they are there under the same recipe."""
    stages = competing.earlier_stages(config)
    stages += [URL_STAGE] if config.dedup.url else []
    recipe = _recipe(config, stages, parts, generation)
    if is_finished(config, STAGE, parts, recipe):
        return
    duplicates = find_duplicates(config, parts, stages, generation)
    for part in parts:
        rows = competing.competing_rows(config, part, stages)
        decisions = decide_part(part, duplicates, REASON)
        decisions.similarity[decisions.reason != ""] = 1.0
        if config.dedup.url:
            _follow_urls(config, part, duplicates, decisions)
        write_decisions(config, STAGE, part, recipe, decisions, int(rows.sum()))


def find_duplicates(
    config: CorpusConfig,
    parts: Sequence[Part],
    stages: Sequence[str],
    generation: Generation | None = None,
    same: Sameness | None = None,
) -> Duplicates:
    """The documents that equal a better-ranked one, those of earlier generations too.

    Equal texts, unless `same` says otherwise.
    """
    same = same or EQUAL_TEXTS
    num_docs = sum(part.num_docs for part in parts)
    num_ranges = 1 + num_docs * BYTES_PER_DOC // config.dedup.memory_bytes
    standing = generation if generation is not None and generation.is_append else None
    found = [Duplicates(np.empty(0, np.uint64), np.empty(0, np.uint64))]
    if standing:
        found += [_standing_duplicates(standing, part, same.stage) for part in parts]
    for index in range(num_ranges):
        in_range = _HashRange(index, num_ranges)
        doc_ids, hashes, kept = _load_hashes(config, parts, stages, in_range, standing, same)
        rows, groups = repeated_rows(hashes)
        policy = same.policy or config.dedup.survivor
        order = order_equals(config, parts, doc_ids[rows], groups, kept[rows], policy)
        found.append(_survivors(doc_ids[rows][order], groups[order], kept[rows][order]))
    dropped, best = (np.concatenate(columns) for columns in zip(*found, strict=True))
    order = np.argsort(dropped)
    return Duplicates(dropped[order], best[order])


def repeated_rows(
    hashes: ContentHashes,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows whose hash occurs more than once, ascending, and the number of each one's group."""
    order = np.argsort(hashes.high)  # 80 ns a row; by both halves it is 500
    order = order[repeated_places(hashes.high, order)]
    order = order[np.lexsort((hashes.low[order], hashes.high[order]))]
    high, low = hashes.high[order], hashes.low[order]
    changes = np.ones(len(order), bool)
    changes[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    groups = np.cumsum(changes) - 1
    repeated = np.bincount(groups)[groups] > 1 if len(groups) else changes
    rows, groups = order[repeated], groups[repeated]
    ascending = np.argsort(rows)
    return rows[ascending], groups[ascending]


def order_equals(
    config: CorpusConfig,
    parts: Sequence[Part],
    doc_ids: npt.NDArray[np.uint64],
    groups: npt.NDArray[np.int64],
    standing: npt.NDArray[np.bool_],
    policy: str,
) -> npt.NDArray[np.int64]:
    """Positions of documents (ascending doc_ids) by group, and best first within each.

    `standing`: those kept by an earlier generation, which come first; then the survivor policy.
    """
    sources, records, policies = _addresses(config, parts, doc_ids, policy)
    table = pa.table(
        {
            "group": groups,
            "new": (~standing).astype(np.uint8),
            "policy": policies,
            "source": pa.array(sources, pa.string()),
            "record": records,
            "position": np.arange(len(doc_ids)),  # only for two documents of one raw record
        }
    )
    ordered = table.sort_by([(name, "ascending") for name in table.column_names])
    return ordered["position"].to_numpy()


def _recipe(
    config: CorpusConfig, stages: Sequence[str], parts: Sequence[Part], generation: Generation
) -> str:
    settings = survivors.settings(config) | {
        "history": generation.history,
        "scope": config.dedup.scope,
    }
    inputs = [*survivors.inputs(config), HASH, *stages]
    digest = competing.inputs_digest(config, inputs, parts)
    return commit.recipe_id(STAGE, VERSION, settings, [digest])


def _load_hashes(
    config: CorpusConfig,
    parts: Sequence[Part],
    stages: Sequence[str],
    in_range: _HashRange,
    generation: Generation | None,
    same: Sameness,
) -> tuple[npt.NDArray[np.uint64], ContentHashes, npt.NDArray[np.bool_]]:
    """Competing documents in one range of the hash.

    Their doc_ids, hashes, and whether an earlier generation kept them; those it dropped are out.
    """
    doc_ids, high, low = (
        [np.empty(0, np.uint64)],
        [np.empty(0, np.uint64)],
        [np.empty(0, np.uint64)],
    )
    kept = [np.empty(0, bool)]
    for part in parts:
        hashes, has_one = same.hashes(config, part)
        mine = in_range.holds(hashes.high) & has_one
        mine &= competing.competing_rows(config, part, stages)
        standing = generation.of(part) if generation else None
        if standing:
            mine &= ~standing.dropped
        kept.append(standing.kept[mine] if standing else np.zeros(int(mine.sum()), bool))
        doc_ids.append(part.doc_ids[mine])
        high.append(hashes.high[mine])
        low.append(hashes.low[mine])
    hashes = ContentHashes(np.concatenate(high), np.concatenate(low))
    return np.concatenate(doc_ids), hashes, np.concatenate(kept)


def _standing_duplicates(generation: Generation, part: Part, stage: str) -> Duplicates:
    """What a stage of earlier generations dropped and what is dropped still."""
    standing = generation.of(part)
    rows = standing.dropped_by(stage.rpartition("/")[2])
    return Duplicates(part.doc_ids[rows], standing.survivor[rows])


def _addresses(
    config: CorpusConfig, parts: Sequence[Part], doc_ids: npt.NDArray[np.uint64], policy: str
) -> tuple[list[str], pa.ChunkedArray, npt.NDArray[np.uint64]]:
    """Source, record and survivor policy of documents, whose ids ascend."""
    sources: list[str] = []
    records: list[pa.ChunkedArray] = []
    policies = [np.empty(0, np.uint64)]
    for part in parts:
        rows = part.rows_of(doc_ids[part.slice_of(doc_ids)])
        if len(rows):
            path = config.path("documents", f"{part.name}.parquet")
            records.append(tables.read_table(path, ["record"])["record"].take(pa.array(rows)))
            sources += [part.source] * len(rows)
            policies.append(survivors.policy_of(config, part, policy)[rows])
    chunks = [chunk for column in records for chunk in column.chunks]
    return sources, pa.chunked_array(chunks, pa.string()), np.concatenate(policies)


def _follow_urls(
    config: CorpusConfig, part: Part, duplicates: Duplicates, decisions: Decisions
) -> None:
    """What the URL stage dropped shares the fate of the page that it was dropped for."""
    by_url = read_decisions(config, URL_STAGE, part)
    rows = by_url.reason != ""
    best = by_url.survivor[rows]
    places = np.searchsorted(duplicates.doc_ids, best)
    places = np.minimum(places, max(0, len(duplicates.doc_ids) - 1))
    if len(duplicates.doc_ids):
        equal = duplicates.doc_ids[places] == best
        best = np.where(equal, duplicates.survivors[places], best)
    decisions.survivor[rows], decisions.cluster[rows] = best, best
    decisions.num_copies[rows] = 0


def _survivors(
    doc_ids: npt.NDArray[np.uint64],
    groups: npt.NDArray[np.int64],
    standing: npt.NDArray[np.bool_],
) -> Duplicates:
    """All but the first document of each group, with that first one; rows are sorted by group.

    Nothing that an earlier generation kept is dropped.
    """
    first = np.ones(len(groups), bool)
    first[1:] = groups[1:] != groups[:-1]
    best = doc_ids[first][np.cumsum(first) - 1]
    dropped = ~first & ~standing
    return Duplicates(doc_ids[dropped], best[dropped])


def decide_part(part: Part, duplicates: Duplicates, reason: str) -> Decisions:
    """Fates of one part's rows, with similarity 0."""
    mine = part.slice_of(duplicates.doc_ids)
    rows = part.rows_of(duplicates.doc_ids[mine])
    first, end = np.uint64(part.first_doc_id), np.uint64(part.first_doc_id + part.num_docs)
    here = (duplicates.survivors >= first) & (duplicates.survivors < end)
    decisions = Decisions.none(part.doc_ids)
    decisions.reason[rows] = reason
    decisions.cluster[rows] = duplicates.survivors[mine]
    decisions.survivor[rows] = duplicates.survivors[mine]
    np.add.at(decisions.num_copies, part.rows_of(duplicates.survivors[here]), np.uint32(1))
    decisions.num_copies[rows] = 0
    return decisions
