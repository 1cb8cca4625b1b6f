"""The funnel of a source: what became of each raw record, in records, documents and bytes.

Bytes of text are UTF-8 bytes of the view that is deduplicated and packed; `stored_bytes` are those
of `documents/`, before editors cut lines; `raw_bytes` are those of the raw files, compressed as
they lie.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import pyarrow as pa

STAGE_TITLES = {
    "takedown": "take-downs",
    "license": "licences",
    "select": "quality rules",
    "decontamination": "decontamination",
    "url": "pages of one URL",
    "exact": "exact duplicates",
    "fuzzy": "near-duplicates",
    "semantic": "semantic duplicates",
}
"""The stages that decide, in order, and what each takes out."""


@dataclass
class Tally:
    """Documents and bytes of their text, by key: a tuple of values."""

    documents: Counter[tuple[Any, ...]] = field(default_factory=Counter)
    num_bytes: Counter[tuple[Any, ...]] = field(default_factory=Counter)

    def add(self, rows: pa.Table, *keys: str) -> None:
        """Counts `rows`, which have a column `text_bytes`, by their columns `keys`."""
        sums = [("text_bytes", "count"), ("text_bytes", "sum")]
        for group in rows.group_by(keys, use_threads=False).aggregate(sums).to_pylist():
            key = tuple(group[name] for name in keys)
            self.documents[key] += group["text_bytes_count"]
            self.num_bytes[key] += group["text_bytes_sum"]

    def update(self, other: Tally) -> None:
        self.documents.update(other.documents)
        self.num_bytes.update(other.num_bytes)

    def shares(self) -> list[Share]:
        """Of a tally by (value, kept): a row per value, in the order of the values."""
        return [
            Share(
                value,
                self.documents[value, True] + self.documents[value, False],
                self.num_bytes[value, True] + self.num_bytes[value, False],
                self.documents[value, True],
                self.num_bytes[value, True],
            )
            for value in sorted({value for value, _ in self.documents})
        ]


@dataclass(frozen=True, slots=True)
class Share:
    """Documents with some value, and those of them that are kept."""

    value: Any
    documents: int
    num_bytes: int
    kept: int
    kept_bytes: int


@dataclass(frozen=True, slots=True)
class Step:
    """What is left at one point of the way from raw files to tokens."""

    name: str
    documents: int
    num_bytes: int
    stage: str = ""
    """The stage that decided; "" before any has."""


@dataclass(frozen=True, slots=True)
class Drops:
    """What one reason took from a source."""

    stage: str
    reason: str
    documents: int
    """For which it was the first reason."""
    num_bytes: int
    alone: int | None
    """That the rule would drop if it were the only one; None where there are no rules."""


@dataclass
class Funnel:
    """What became of the raw records of one source."""

    source: str
    raw_bytes: int = 0
    records: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    casualties: Counter[str] = field(default_factory=Counter)
    kept: int = 0
    stored_bytes: int = 0
    fates: Tally = field(default_factory=Tally)
    """By (stage, reason) of the drop; ("", "") of what is kept."""
    marginal: Counter[str] = field(default_factory=Counter)
    """Documents that each quality rule alone would drop."""
    packed: int = 0
    """Documents in shards: what is kept and has a token."""
    packed_bytes: int = 0
    tokens: int = 0
    validation_tokens: int = 0

    @property
    def documents(self) -> int:
        return self.fates.documents.total()

    @property
    def text_bytes(self) -> int:
        return self.fates.num_bytes.total()

    @property
    def kept_bytes(self) -> int:
        return self.fates.num_bytes[("", "")]

    @property
    def dropped(self) -> Counter[str]:
        """Documents by reason."""
        drops: Counter[str] = Counter()
        for (stage, reason), number in sorted(self.fates.documents.items()):
            drops[reason] += number if stage else 0
        return +drops

    def check(self) -> None:
        """Each record has exactly one fate."""
        lost = self.skipped.total() + self.casualties.total()
        assert self.records == self.documents + lost, self
        assert self.documents == self.kept + self.dropped.total(), self

    def drops(self) -> list[Drops]:
        """By reason, most documents first; quality rules that any document breaks are all there."""
        found = {key: number for key, number in self.fates.documents.items() if key[0]}
        broken = {("select", reason): 0 for reason, number in self.marginal.items() if number}
        drops = [
            Drops(
                stage,
                reason,
                number,
                self.fates.num_bytes[stage, reason],
                self.marginal.get(reason) if stage == "select" else None,
            )
            for (stage, reason), number in (broken | found).items()
        ]
        return sorted(drops, key=lambda one: (-one.documents, -(one.alone or 0), one.reason))

    def steps(self, stages: Sequence[str]) -> list[Step]:
        """Raw records, documents, and what is left after line cuts and each of `stages`."""
        left, left_bytes = self.documents, self.text_bytes
        steps = [
            Step("raw records", self.records, self.raw_bytes),
            Step("documents", left, self.stored_bytes),
            Step("without cut lines", left, left_bytes),
        ]
        for stage in stages:
            left -= self.dropped_by(stage)
            left_bytes -= _of_stage(self.fates.num_bytes, stage)
            steps.append(Step(f"after {STAGE_TITLES[stage]}", left, left_bytes, stage))
        assert left == self.kept, self
        return steps

    def dropped_by(self, stage: str) -> int:
        return _of_stage(self.fates.documents, stage)

    @classmethod
    def total(cls, funnels: Iterable[Self], source: str) -> Self:
        """The sum of `funnels`."""
        result = cls(source)
        for one in funnels:
            for name, value in vars(one).items():
                if isinstance(value, int):
                    setattr(result, name, getattr(result, name) + value)
                elif isinstance(value, Counter | Tally):
                    getattr(result, name).update(value)
        return result


def _of_stage(counts: Counter[tuple[Any, ...]], stage: str) -> int:
    return sum(number for (name, _), number in counts.items() if name == stage)
