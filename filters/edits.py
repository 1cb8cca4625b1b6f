"""Edits: spans of a text that are cut or replaced. The one place where text is changed.

An EDITS table (storage/tables.py) has one row per span: `row` of the document, half-open UTF-8
bytes `start` and `end` of its stored text, `replacement`, `reason`. Stored text never changes; a
view is the text with the spans of a list of editors applied in memory.

Several editors look at the same stored text, so their spans may overlap. What any of them covers is
cut; the replacement of a span is put where it starts, unless an earlier span covers that place.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from filters.columns import text_bytes


class EditError(ValueError):
    """A span does not fit the text it is meant for."""


class Spans(NamedTuple):
    """int64[spans] each, by row, then start; replacement k is text[offsets[k]:offsets[k + 1]]."""

    rows: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    text: npt.NDArray[np.uint8]


def apply_edits(text: pa.Array, *edits: pa.Table) -> pa.LargeStringArray:
    """The text with the spans of all EDITS tables cut or replaced.

    `row` counts from 0 at the start of `text`. Takes the memory of the result, and 32 bytes a span.
    Raises EditError for a span outside its text or through the middle of a character.
    """
    offsets, data = text_bytes(text)
    rows, starts, ends, replacements = _sorted_columns(edits)
    _check(offsets, data, rows, starts, ends)
    new_offsets = np.zeros(len(text) + 1, np.int64)
    spans = Spans(rows, starts, ends, *text_bytes(replacements))
    _measure(offsets, spans, new_offsets)
    new_data = np.empty(new_offsets[-1], np.uint8)
    _copy(offsets, data, spans, new_offsets, new_data)
    buffers = [None, pa.py_buffer(new_offsets), pa.py_buffer(new_data)]
    return pa.Array.from_buffers(pa.large_string(), len(text), buffers)


def _sorted_columns(
    edits: tuple[pa.Table, ...],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64], pa.Array]:
    """rows, starts, ends int64 and replacements of all tables, by row, then start, then table."""
    columns = [[table.column(name) for table in edits] for name in ("row", "start", "end")]
    rows, starts, ends = (
        np.concatenate([column.to_numpy().astype(np.int64) for column in tables])
        if tables
        else np.zeros(0, np.int64)
        for tables in columns
    )
    chunks = [chunk for table in edits for chunk in table.column("replacement").chunks]
    replacements = pa.chunked_array(chunks, pa.large_string()).combine_chunks()
    if isinstance(replacements, pa.ChunkedArray):
        replacements = pa.array([], pa.large_string())
    steps = np.diff(rows)
    if not ((steps > 0) | ((steps == 0) & (np.diff(starts) >= 0))).all():
        order = np.lexsort((starts, rows))
        rows, starts, ends = rows[order], starts[order], ends[order]
        replacements = replacements.take(pa.array(order))
    return rows, starts, ends, replacements


def _check(
    offsets: npt.NDArray[np.int64],
    data: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.int64],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
) -> None:
    num_rows = len(offsets) - 1
    if len(rows) and not 0 <= rows[0] <= rows[-1] < num_rows:
        raise EditError(f"edits of row {max(rows)}, but the text has {num_rows} rows")
    sizes = np.diff(offsets)[rows]
    wrong = np.flatnonzero((starts < 0) | (starts > ends) | (ends > sizes))
    if not len(wrong):
        inside = np.zeros(len(rows), np.bool_)
        for places in (starts, ends):
            before_end = places < sizes
            at = (offsets[:-1][rows] + places)[before_end]
            inside[before_end] |= data[at] & 0xC0 == 0x80
        wrong = np.flatnonzero(inside)
    if len(wrong):
        k = wrong[0]
        raise EditError(
            f"edit of row {rows[k]} from byte {starts[k]} to {ends[k]} does not fit its text of "
            f"{sizes[k]} bytes: the edits belong to other documents"
        )


@numba.njit(cache=True, nogil=True)
def _measure(offsets, spans, new_offsets):
    """Set new_offsets int64[texts + 1] to where each text of the result starts."""
    k = 0
    for row in range(offsets.size - 1):
        size = offsets[row + 1] - offsets[row]
        done = 0
        while k < spans.rows.size and spans.rows[k] == row:
            start, end = spans.starts[k], spans.ends[k]
            if start >= done:
                size += spans.offsets[k + 1] - spans.offsets[k]
            size -= max(0, end - max(done, start))
            done = max(done, end)
            k += 1
        new_offsets[row + 1] = new_offsets[row] + size


@numba.njit(cache=True, nogil=True)
def _copy(offsets, data, spans, new_offsets, new_data):
    """Fill new_data uint8 with what lies between the spans, and the replacements."""
    k = 0
    for row in range(offsets.size - 1):
        text = data[offsets[row] : offsets[row + 1]]
        to = new_offsets[row]
        done = 0
        while k < spans.rows.size and spans.rows[k] == row:
            if spans.starts[k] >= done:
                to = _append(new_data, to, text[done : spans.starts[k]])
                to = _append(new_data, to, spans.text[spans.offsets[k] : spans.offsets[k + 1]])
            done = max(done, spans.ends[k])
            k += 1
        _append(new_data, to, text[done:])


@numba.njit(cache=True, nogil=True)
def _append(out, to, piece):
    first = np.uint64(to)  # unsigned: indexes that cannot be negative make a copy of blocks
    for i in range(np.uint64(piece.size)):
        out[first + i] = piece[i]
    return to + piece.size
