"""Which documents the report shows: a fixed choice of kept and of dropped ones.

The choice depends on content hashes, so the same corpus shows the same documents. The lower half
of the hash decides: the upper half chooses the validation split. Sources, and reasons of drops,
take turns, so that rare ones are seen. No text is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from pipelines.annotate import signals_stage
from pipelines.config import CorpusConfig
from pipelines.duplicates.decide import STAGE as FINAL_STAGE
from pipelines.duplicates.ranking import split_hashes
from pipelines.reporting.data import read_columns

COLUMNS = ["doc_id", "reason", "stage", "split", "survivor", "similarity"]


@dataclass(frozen=True, slots=True)
class Fate:
    """A document that may be shown, and what was decided on it."""

    order: tuple[int, int]
    """Halves of the content hash, the lower one first."""
    part: str
    row: int
    doc_id: int
    reason: str
    stage: str
    split: str
    survivor: int
    similarity: float

    @property
    def source(self) -> str:
        return self.part.partition("/")[0]


@dataclass
class Chooser:
    """Takes the parts of a corpus in turn; holds at most `limit` fates per source and reason."""

    limit: int
    _pools: dict[tuple[str, str], list[Fate]] = field(default_factory=dict)

    def add(self, config: CorpusConfig, part: str) -> None:
        final = read_columns(config, FINAL_STAGE, part, COLUMNS)
        hashes = read_columns(config, signals_stage("hash"), part, ["content_hash"])
        high, low = split_hashes(hashes["content_hash"])
        reasons = final["reason"].combine_chunks().dictionary_encode()
        shown = np.asarray(final["stage"].to_pylist(), object) != "takedown"  # never those
        for code, reason in enumerate(reasons.dictionary.to_pylist()):
            rows = np.flatnonzero((reasons.indices.to_numpy() == code) & shown)
            rows = rows[np.lexsort((high[rows], low[rows]))][: self.limit]
            orders = zip(low[rows].tolist(), high[rows].tolist(), strict=True)
            columns = final.take(pa.array(rows)).to_pylist()
            fates = zip(orders, rows.tolist(), columns, strict=True)
            pool = self._pools.setdefault((part.partition("/")[0], reason), [])
            pool += [Fate(order, part, row, **fate) for order, row, fate in fates]
            pool.sort(key=_order)
            del pool[self.limit :]

    def kept(self, sources: Sequence[str]) -> list[Fate]:
        """`limit` kept documents, sources in turn; sorted by their place in `sources`."""
        pool = [fate for (_, reason), fates in self._pools.items() for fate in fates if not reason]
        chosen = in_turn(sorted(pool, key=_order), lambda fate: fate.source)[: self.limit]
        return sorted(chosen, key=lambda fate: sources.index(fate.source))

    def dropped(self, sources: Sequence[str]) -> list[Fate]:
        """`limit` dropped documents, reasons in turn, and sources in turn within a reason."""
        pool = [fate for (_, reason), fates in self._pools.items() for fate in fates if reason]
        pool = in_turn(sorted(pool, key=_order), lambda fate: (fate.reason, fate.source))
        chosen = in_turn(pool, lambda fate: fate.reason)[: self.limit]
        return sorted(chosen, key=lambda fate: (fate.reason, sources.index(fate.source)))


def in_turn(fates: Iterable[Fate], key: Callable[[Fate], Hashable]) -> list[Fate]:
    """The first fate of each key, then the second of each, and so on."""
    seen: Counter[Hashable] = Counter()
    turns: list[tuple[int, Fate]] = []
    for fate in fates:
        turns.append((seen[key(fate)], fate))
        seen[key(fate)] += 1
    return [fate for _, fate in sorted(turns, key=lambda turn: turn[0])]


def _order(fate: Fate) -> tuple[tuple[int, int], str, int]:
    return fate.order, fate.part, fate.row
