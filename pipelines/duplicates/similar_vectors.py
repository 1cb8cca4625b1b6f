"""Which vectors of a cluster are dropped: in rank order, those close to a kept one.

The rule of resolution.py, applied while the cosines are made. Because nothing outside a cluster can
be close, the fates of all better-ranked documents are known, and a document is compared with kept
ones only. One pair comes out for each dropped document, with the best-ranked kept one that it
resembles: a page that is there a million times costs a million comparisons and pairs, not 5e11.

Products are exact (filters/vectors.py), so neither blocks nor processors change an outcome.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from filters.vectors import Vectors, products, squared_lengths

TILE_ROWS, TILE_COLUMNS = 512, 8192
"""Of the matrix of products in memory at once (16 MiB)."""
NONE = -1


class Members(NamedTuple):
    """Documents of one cluster, best-ranked first; arrays [rows]."""

    vectors: Vectors
    scope: npt.NDArray[np.uint64]
    """Documents of two scopes are duplicates only if one of them is held out."""
    validation: npt.NDArray[np.bool_]
    standing: npt.NDArray[np.bool_]
    """Kept by an earlier generation: never dropped."""

    def take(self, rows: npt.NDArray[np.int64] | slice) -> Members:
        return Members._make(column[rows] for column in self)


class Matches(NamedTuple):
    """Of each document, the best kept one that it was dropped for, or NONE; and their cosine."""

    survivor: npt.NDArray[np.int64]
    cosine: npt.NDArray[np.float64]

    @classmethod
    def none(cls, num_rows: int) -> Matches:
        return cls(np.full(num_rows, NONE), np.zeros(num_rows))

    def part(self, rows: slice) -> Matches:
        """A view of some rows."""
        return Matches(self.survivor[rows], self.cosine[rows])


def match_kept(
    members: Members,
    matches: Matches,
    kept: Members,
    names: npt.NDArray[np.int64],
    threshold: float,
) -> None:
    """Drops the members that are close to one of `kept`, which are all better and kept.

    `names` says what the survivors are called in `matches`.
    """
    for start in range(0, len(kept.vectors), TILE_COLUMNS):
        columns = slice(start, start + TILE_COLUMNS)
        tile = kept.take(columns)
        dots = products(members.vectors, tile.vectors)
        _scan(dots, *_keys(members), *_keys(tile), names[columns], threshold, False, *matches)


def match_each_other(
    members: Members, matches: Matches, names: npt.NDArray[np.int64], threshold: float
) -> None:
    """Drops members for kept ones among themselves; those that `matches` drops stay dropped."""
    for start in range(0, len(members.vectors), TILE_ROWS):
        rows = slice(start, start + TILE_ROWS)
        tile, found = members.take(rows), matches.part(rows)
        before = np.flatnonzero(matches.survivor[:start] == NONE)
        match_kept(tile, found, members.take(before), names[before], threshold)
        dots = products(tile.vectors, tile.vectors)
        _scan(dots, *_keys(tile), *_keys(tile), names[rows], threshold, True, *found)


def _keys(members: Members):
    squares = squared_lengths(members.vectors).astype(np.float64)
    return squares, members.scope, members.validation, members.standing


@numba.njit(cache=True, nogil=True)
def _scan(
    dots,
    squares,
    scope,
    validation,
    standing,
    squares_kept,
    scope_kept,
    validation_kept,
    standing_kept,
    names,
    threshold,
    is_same,
    survivor,
    cosine,
):  # pragma: no cover
    """The first column that each row is close to; `is_same`: columns are the rows themselves.

    Equal vectors have cosine 1 exactly: the product of their squared lengths is a square.
    """
    least = squares_kept.min() if len(squares_kept) else 0.0
    for i in range(dots.shape[0]):
        if survivor[i] != NONE or standing[i]:
            continue
        bound = threshold * np.sqrt(squares[i] * least) * 0.999999  # spares most a division
        for j in range(i if is_same else dots.shape[1]):
            if dots[i, j] < bound or (is_same and survivor[j] != NONE):
                continue
            value = dots[i, j] / np.sqrt(squares[i] * squares_kept[j])
            meets = scope[i] == scope_kept[j] or validation[i] or validation_kept[j]
            if value >= threshold and meets:
                survivor[i] = names[j]
                cosine[i] = value
                break
