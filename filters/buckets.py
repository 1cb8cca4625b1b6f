"""Buckets of documents by a signal, as cc_net's head, middle and tail by perplexity.

Within a language, the bucket is the first whose upper bound is not below the value; the last has no
upper bound. A document without a value, or of a language without bounds, is in `all`, as in cc_net
(Wenzek et al., arXiv:1911.00359); ccnet.py has the bounds that it published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from filters.ccnet import NO_BUCKET
from filters.rules import numbers
from filters.shares import ValueCounts, rows_by_language

ANY_LANGUAGE = "*"


class Buckets(NamedTuple):
    """`bounds` by language, or ANY_LANGUAGE, ascending: one fewer than there are `names`."""

    signal: str
    names: tuple[str, ...]
    bounds: Mapping[str, tuple[float, ...]]


def assign(buckets: Buckets, signals: pa.Table) -> pa.StringArray:
    """The bucket of each row of a table with the signal and `language`."""
    values = numbers(buckets.signal, signals)
    names = np.array([*buckets.names, NO_BUCKET], object)
    chosen = np.full(len(values), len(buckets.names))
    for language, rows in rows_by_language(signals, ~np.isnan(values)):
        bounds = buckets.bounds.get(language, buckets.bounds.get(ANY_LANGUAGE))
        if bounds is not None:
            kind = values.dtype if values.dtype.kind == "f" else np.float64  # 0.3 as it is stored
            chosen[rows] = np.searchsorted(np.array(bounds, kind), values[rows], "left")
    return pa.array(names[chosen], pa.string())


class LanguageShares:
    """Counts a signal's values by language, part by part in any order, for bounds by share."""

    def __init__(self, signal: str) -> None:
        self._signal = signal
        self._counts: dict[str, ValueCounts] = {}

    def add(self, signals: pa.Table, counted: npt.NDArray[np.bool_]) -> None:
        """`counted`: the rows whose values count."""
        values = numbers(self._signal, signals)
        for language, rows in rows_by_language(signals, counted):
            self._counts.setdefault(language, ValueCounts()).add(values[rows])

    def bounds(self, shares: Sequence[float]) -> dict[str, tuple[float, ...]]:
        """The values up to which the shares of each language's documents are, by language."""
        found = {
            language: [counts.lowest(share) for share in shares]
            for language, counts in sorted(self._counts.items())
        }
        return {
            language: tuple(value for value in values if value is not None)
            for language, values in found.items()
            if None not in values
        }
