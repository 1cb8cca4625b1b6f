"""Marks: one byte for each byte of texts, 0 where it stays, else the reason that it is cut for.

An editor that cuts pieces of pieces writes marks in any order; here they become the rows of an
EDITS table: sorted, without overlaps, one for each run of equal marks within a text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from filters import blocks
from filters.blocks import BLOCK, bits_before, in_range, lowest_bit
from filters.c4 import EDITS
from filters.kernels import leaf, sources_digest


def edits_of_marks(
    offsets: npt.NDArray[np.int64], marks: npt.NDArray[np.uint8], reasons: Sequence[str]
) -> pa.Table:
    """The spans of the marks as EDITS rows; mark k has reasons[k - 1].

    offsets int64[rows + 1] into marks uint8[offsets[-1]]; offsets[0] is 0.
    """
    spans = _spans(offsets, marks)
    names = pa.array(reasons, pa.string())
    return pa.table(
        [
            pa.array(spans[0].astype(np.uint32)),
            pa.array(spans[1].astype(np.uint64)),
            pa.array(spans[2].astype(np.uint64)),
            pa.array([""] * spans.shape[1], pa.large_string()),
            names.take(pa.array(spans[3] - 1)),
        ],
        schema=EDITS,
    )


@leaf
def _next_run(marks, i, stop):
    """The first run of equal marks from byte i on: start, end; (stop, stop) when there is none."""
    while i < stop:
        found = in_range(marks, i, 1, 255) & bits_before(i, stop)
        if found:
            start = i + lowest_bit(found)
            end = start + 1
            while end < stop and marks[end] == marks[start]:
                end += 1
            return start, end
        i += BLOCK
    return stop, stop


def _compile(sources: str) -> Callable[..., npt.NDArray[np.int64]]:
    @numba.njit(cache=True, nogil=True)
    def spans_of(offsets, marks):
        """int64[4, spans]: row, start and end within it, mark."""
        _ = sources  # part of the cache's key
        num_spans = 0
        for row in range(offsets.size - 1):
            stop = offsets[row + 1]
            start, end = _next_run(marks, offsets[row], stop)
            while start < stop:
                num_spans += 1
                start, end = _next_run(marks, end, stop)
        spans = np.empty((4, num_spans), np.int64)
        k = 0
        for row in range(offsets.size - 1):
            origin, stop = offsets[row], offsets[row + 1]
            start, end = _next_run(marks, origin, stop)
            while start < stop:
                spans[0, k] = row
                spans[1, k] = start - origin
                spans[2, k] = end - origin
                spans[3, k] = marks[start]
                k += 1
                start, end = _next_run(marks, end, stop)
        return spans

    return spans_of


_spans = _compile(sources_digest(blocks))
