"""Rules by share, as in "keep the best tenth": the bound that keeps exactly that share.

    - {signal: quality_score, top: 0.1, reason: low_quality}
    - {signal: perplexity, bottom: 0.6, per: [language], reason: unusual}

Ranked are the documents in the rule's scope that no rule with a range or a list drops, over all
parts and all sources that have the rule, or `per` source or language. Of n whose value is a number,
the bound is the k-th best value, k = ceil(share * n). Bounds are inclusive: documents that tie with
the k-th stay too, so at least the share stays and the order of documents never matters. Other
shares do not matter either: two rules by share rank the same documents.

Values are counted, not sorted: memory is 16 bytes for each distinct value, and scores that are
rounded to 1e-4 have 10,001.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import ceil, inf
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from filters.rules import Rule, evaluate, in_scope, numbers


class ValueCounts:
    """How many documents have each value; what is no number is left out."""

    def __init__(self) -> None:
        self._values = np.empty(0)
        self._counts = np.empty(0, np.int64)
        self._pending: list[tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]] = []
        self._num_pending = 0

    def add(self, values: npt.NDArray) -> None:
        """Counts values of any number type, as float64."""
        exact = values.astype(np.float64)
        distinct, counts = np.unique(exact[~np.isnan(exact)], return_counts=True)
        self._pending.append((distinct, counts))
        self._num_pending += len(distinct)
        if self._num_pending > len(self._values):  # so that a value is merged few times
            self._merge()

    def lowest(self, share: float) -> float | None:
        """The smallest of the values at or below which at least `share` of all are; None of none.

        0 < share <= 1, taken as the decimal that it prints as: 0.1 of 30 is 3.
        """
        self._merge()
        if not len(self._values):
            return None
        place = np.searchsorted(np.cumsum(self._counts), self._rank(share))
        return float(self._values[place])

    def highest(self, share: float) -> float | None:
        """The largest of the values at or above which at least `share` of all are; None of none."""
        self._merge()
        if not len(self._values):
            return None
        place = np.searchsorted(np.cumsum(self._counts[::-1]), self._rank(share))
        return float(self._values[::-1][place])

    def _rank(self, share: float) -> int:
        return ceil(Fraction(repr(share)) * int(self._counts.sum()))

    def _merge(self) -> None:
        if not self._pending:
            return
        values = np.concatenate([self._values, *(values for values, _ in self._pending)])
        counts = np.concatenate([self._counts, *(counts for _, counts in self._pending)])
        self._values, places = np.unique(values, return_inverse=True)
        self._counts = np.zeros(len(self._values), np.int64)
        np.add.at(self._counts, places, counts)
        self._pending, self._num_pending = [], 0


class Group(NamedTuple):
    """What a share is of; "" is all sources, or languages, together."""

    source: str
    language: str


class ShareBounds:
    """Counts the values that rules by share rank, part by part in any order, and bounds them."""

    def __init__(self) -> None:
        self._counts: dict[Rule, dict[Group, ValueCounts]] = {}

    def add(self, source: str, rules: Sequence[Rule], signals: pa.Table) -> None:
        """Counts the documents of a part; `rules` are all that decide on its source."""
        settled = evaluate([rule for rule in rules if rule.share is None], signals)
        stays = ~settled.drop.to_numpy(zero_copy_only=False)
        for rule in rules:
            if rule.share is None:
                continue
            ranked = stays & in_scope(rule, signals)
            values = numbers(rule.signal, signals)
            counts = self._counts.setdefault(rule, {})
            for group, rows in _groups(rule, source, signals, ranked):
                counts.setdefault(group, ValueCounts()).add(values[rows])

    def bounded(self, source: str, rules: Sequence[Rule]) -> list[Rule]:
        """The rules of a source with `min` or `max` in place of each share.

        A rule per language becomes a rule for each language of the documents that it ranks.
        """
        return [one for rule in rules for one in self._bounded(source, rule)]

    def _bounded(self, source: str, rule: Rule) -> list[Rule]:
        if rule.share is None:
            return [rule]
        counts = self._counts.get(rule, {})
        if "language" not in rule.per:
            group = Group(source if "source" in rule.per else "", "")
            return [_with_bound(rule, counts.get(group, ValueCounts()))]
        return [
            _with_bound(rule, values).model_copy(update={"languages": (group.language,)})
            for group, values in sorted(counts.items())
            if group.source in ("", source)
        ]


def _with_bound(rule: Rule, values: ValueCounts) -> Rule:
    """Without any number among the documents, a bound that every number meets."""
    if rule.top is not None:
        found = values.highest(rule.top)
        return rule.model_copy(update={"min": -inf if found is None else found})
    assert rule.bottom is not None
    found = values.lowest(rule.bottom)
    return rule.model_copy(update={"max": inf if found is None else found})


def rows_by_language(
    signals: pa.Table, chosen: npt.NDArray[np.bool_]
) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
    """The chosen rows of each language of a table with `language`."""
    languages = signals["language"].combine_chunks().dictionary_encode()
    rows = np.flatnonzero(chosen)
    codes = languages.indices.to_numpy()[rows]
    for code in np.unique(codes).tolist():
        yield languages.dictionary[code].as_py(), rows[codes == code]


def _groups(
    rule: Rule, source: str, signals: pa.Table, ranked: npt.NDArray[np.bool_]
) -> Iterator[tuple[Group, npt.NDArray[np.int64]]]:
    """The ranked rows by what the share is of."""
    name = source if "source" in rule.per else ""
    if "language" not in rule.per:
        yield Group(name, ""), np.flatnonzero(ranked)
        return
    for language, rows in rows_by_language(signals, ranked):
        yield Group(name, language), rows
