"""What the report shows of duplicates: drops by pair of sources, the biggest clusters, the audit.

A source pair is (source of the dropped document, source of the kept one that stands for it). Of
each of the biggest clusters the page shows its best document, and beside it the dropped members
that resemble their survivors least: where a wrong cluster would show.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipelines.config import CorpusConfig
from pipelines.duplicates import audit
from pipelines.duplicates.audit import Audit
from pipelines.duplicates.decide import STAGE as FINAL_STAGE
from pipelines.reporting.data import read_columns
from pipelines.reporting.samples import Shown, differing_shown, show
from storage.addresses import ROW_BITS, pack_doc_id, parse_part_name, unpack_doc_id

DEDUP_STAGES = ("url", "exact", "fuzzy", "semantic")
NUM_CLUSTERS, NUM_MEMBERS = 5, 3
"""Clusters shown, and dropped members of each beside their survivors."""
MAX_SOURCE_PAIRS = 100


@dataclass(frozen=True, slots=True)
class Member:
    """A dropped document beside the kept one that stands for it."""

    shown: Shown
    survivor: Shown
    similarity: float


@dataclass(frozen=True, slots=True)
class Cluster:
    best: int
    """Document id of its best-ranked document."""
    size: int
    num_kept: int
    members: list[Member]


@dataclass
class Duplicates:
    source_pairs: list[tuple[str, str, int, int]] = field(default_factory=list)
    """Dropped source, kept source, documents, and documents of the dropped source; most first."""
    num_source_pairs: int = 0
    clusters: list[Cluster] = field(default_factory=list)
    audit: Audit | None = None
    audit_is_current: bool = False


def find(config: CorpusConfig, parts: Sequence[str]) -> Duplicates:
    """Reads decisions of all parts in turn, and the text of the members shown."""
    sources = _sources_by_address(parts)
    pairs: Counter[tuple[str, str]] = Counter()
    documents: Counter[str] = Counter()
    sizes: Counter[int] = Counter()
    for part in parts:
        source = part.partition("/")[0]
        rows = _rows(config, part)
        documents[source] += len(rows.doc_id)
        for survivor, number in _counted(rows.survivor[rows.dropped] >> np.uint64(ROW_BITS)):
            pairs[source, sources[survivor]] += number
        sizes.update(dict(_counted(rows.cluster[rows.cluster != rows.doc_id])))
    shown = [
        (dropped, kept, number, documents[dropped]) for (dropped, kept), number in pairs.items()
    ]
    shown.sort(key=lambda row: (-row[2], row[0], row[1]))
    last = audit.read(config)
    return Duplicates(
        shown[:MAX_SOURCE_PAIRS],
        len(shown),
        _clusters(config, parts, sizes),
        last,
        last is not None and last.decisions == audit.decisions_of(config),
    )


@dataclass(frozen=True, slots=True)
class _Rows:
    doc_id: npt.NDArray[np.uint64]
    cluster: npt.NDArray[np.uint64]
    survivor: npt.NDArray[np.uint64]
    similarity: npt.NDArray[np.float64]
    dropped: npt.NDArray[np.bool_]
    """By a stage of dedup."""
    kept: npt.NDArray[np.bool_]


def _rows(config: CorpusConfig, part: str) -> _Rows:
    columns = ["doc_id", "cluster", "survivor", "similarity", "kept"]
    table = read_columns(config, FINAL_STAGE, part, [*columns, "stage"])
    stage = np.asarray(table["stage"].to_pylist(), object)
    doc_id, cluster, survivor, similarity, kept = (table[name].to_numpy() for name in columns)
    dropped = np.isin(stage, DEDUP_STAGES) & (survivor != doc_id)
    return _Rows(doc_id, cluster, survivor, similarity, dropped, kept)


def _counted(values: npt.NDArray[np.uint64]) -> list[tuple[int, int]]:
    found, counts = np.unique(values, return_counts=True)
    return list(zip(found.tolist(), counts.tolist(), strict=True))


def _clusters(config: CorpusConfig, parts: Sequence[str], sizes: Counter[int]) -> list[Cluster]:
    biggest = heapq.nsmallest(NUM_CLUSTERS, sizes.items(), key=lambda item: (-item[1], item[0]))
    wanted = np.array([best for best, _ in biggest], np.uint64)
    num_kept: Counter[int] = Counter()
    least: dict[int, list[tuple[float, int, int]]] = {best: [] for best, _ in biggest}
    for part in parts if biggest else ():
        rows = _rows(config, part)
        for row in np.flatnonzero(np.isin(rows.cluster, wanted)).tolist():
            best = int(rows.cluster[row])
            num_kept[best] += int(rows.kept[row])
            if rows.dropped[row]:
                pair = int(rows.doc_id[row]), int(rows.survivor[row])
                found = [*least[best], (float(rows.similarity[row]), *pair)]
                least[best] = sorted(found)[:NUM_MEMBERS]
    by_address = {_address(part): part for part in parts}
    return [
        Cluster(
            best,
            size + 1,
            num_kept[best],
            [_member(config, by_address, *one) for one in least[best]],
        )
        for best, size in biggest
    ]


def _member(
    config: CorpusConfig, parts: dict[int, str], similarity: float, doc_id: int, survivor: int
) -> Member:
    dropped, kept = (
        show(config, parts[number >> ROW_BITS], unpack_doc_id(number)[2])
        for number in (doc_id, survivor)
    )
    return Member(*differing_shown(dropped, kept), similarity)


def _sources_by_address(parts: Sequence[str]) -> dict[int, str]:
    return {_address(part): part.partition("/")[0] for part in parts}


def _address(part: str) -> int:
    unit, number = parse_part_name(part.rpartition("/")[2])
    return pack_doc_id(unit, number, 0) >> ROW_BITS
