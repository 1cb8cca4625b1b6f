"""Lines and paragraphs of one document: repeats, bullets, ellipses, terminal marks.

The rule sets cut text into lines in three ways, and each count says which:

    lines           str.splitlines (Gopher quality)
    pieces          re.split(r"\\n+") on the whole text, an empty piece at either end included
                    (Gopher repetition)
    nonblank lines  str.split("\\n") without those of white space only (FineWeb)

Paragraphs are re.split(r"\\n{2,}") of the stripped text (Gopher repetition). Two lines are equal
when their 64-bit hashes are: one false repeat is expected in a document of 6e9 lines.

Bullets and ends in an ellipsis, by published system (reference: the code of each):

    datatrove 0.10   first character after white space one of U+2022 -; last ones ... or U+2026
    dolma 1.2        first character of the line one of * -;            last one U+2026
    DCLM, datamap    first character after white space one of U+25CF U+2022 * -;
                     last ones ... or `. . .` or U+2026
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from filters.bits import hash_bytes
from filters.blocks import (
    BLOCK,
    bits_before,
    byte_from,
    count_chars,
    equal_to,
    in_range,
    lowest_bit,
)
from filters.kernels import inlined, leaf
from filters.unicode import LINE_BREAK, TERMINAL
from filters.utf8 import decode, flags_at, previous, strip

SHORT_LINE_CHARS = 30
"""FineWeb: a line of at most this many characters is short."""
LONG_LINE_CHARS = 200
"""mC4: a line of at least this many characters is a paragraph."""

(
    NUM_CHARS,
    NUM_NEWLINES,
    NUM_LINES,
    NUM_BULLET_LINES,
    NUM_BULLET_LINES_DOLMA,
    NUM_BULLET_LINES_DCLM,
    NUM_ELLIPSIS_LINES,
    NUM_ELLIPSIS_LINES_DOLMA,
    NUM_ELLIPSIS_LINES_DCLM,
    NUM_PIECES,
    NUM_DUPLICATE_PIECES,
    DUPLICATE_PIECE_CHARS,
    NUM_NONBLANK_LINES,
    NUM_TERMINAL_LINES,
    NUM_SHORT_LINES,
    NUM_LONG_LINES,
    DUPLICATE_NONBLANK_LINE_CHARS,
    NUM_PARAGRAPHS,
    NUM_DUPLICATE_PARAGRAPHS,
    DUPLICATE_PARAGRAPH_CHARS,
) = range(20)
LINE_COLUMNS = (
    "num_chars",
    "num_newlines",
    "num_lines",
    "num_bullet_lines",
    "num_bullet_lines_dolma",
    "num_bullet_lines_dclm",
    "num_ellipsis_lines",
    "num_ellipsis_lines_dolma",
    "num_ellipsis_lines_dclm",
    "num_pieces",
    "num_duplicate_pieces",
    "duplicate_piece_chars",
    "num_nonblank_lines",
    "num_terminal_lines",
    "num_short_lines",
    "num_long_lines",
    "duplicate_nonblank_line_chars",
    "num_paragraphs",
    "num_duplicate_paragraphs",
    "duplicate_paragraph_chars",
)

_NEWLINE, _RETURN = 0x0A, 0x0D
_BULLET, _BLACK_CIRCLE, _ELLIPSIS = 0x2022, 0x25CF, 0x2026
_PARAGRAPH_SEED = np.uint64(0xCBF29CE484222325)
_PARAGRAPH_PRIME = np.uint64(0x100000001B3)


class HashSet(NamedTuple):
    """Open addressing; the value 0 stands for empty and is stored as 1. used int64[1]."""

    used: npt.NDArray[np.int64]
    slots: npt.NDArray[np.uint64]


@numba.njit(nogil=True)
def new_hash_set(capacity):
    """An empty set of hashes with room for `capacity` of them."""
    slots = 16
    while slots < 2 * capacity:
        slots *= 2
    return HashSet(np.zeros(1, np.int64), np.zeros(slots, np.uint64))


@inlined
def has_slot(hashes):
    """Whether one more hash fits in."""
    return 2 * hashes.used[0] < hashes.slots.size


@numba.njit(nogil=True)
def with_room(hashes):
    """The set with room for one more hash."""
    if has_slot(hashes):
        return hashes
    larger = HashSet(np.zeros(1, np.int64), np.zeros(4 * hashes.slots.size, np.uint64))
    for value in hashes.slots:
        if value:
            insert(larger, value)
    return larger


@inlined
def insert(hashes, value):
    """Add a hash, for which there is room; True when it was there."""
    if value == 0:
        value = np.uint64(1)
    mask = hashes.slots.size - 1
    slot = np.int64(value) & mask
    while hashes.slots[slot] and hashes.slots[slot] != value:
        slot = (slot + 1) & mask
    seen = hashes.slots[slot] == value
    hashes.slots[slot] = value
    hashes.used[0] += not seen
    return seen


@numba.njit(nogil=True)
def count_lines(data, start, stop, out):
    """Set out int64[20] to the LINE_COLUMNS of data[start:stop]."""
    for column in range(out.size):
        out[column] = 0
    if start == stop:
        return
    text = strip(data, start, stop)
    pieces, paragraphs = new_hash_set(64), new_hash_set(16)
    line, paragraph = start, (_PARAGRAPH_SEED, np.int64(-1))
    while line <= stop:
        pieces, paragraphs = with_room(pieces), with_room(paragraphs)
        line, paragraph = _count_some_lines(
            data, line, stop, text, paragraph, pieces, paragraphs, out
        )
    _finish(data, start, stop, out)


@leaf
def _count_some_lines(data, line, stop, text, paragraph, pieces, paragraphs, out):
    """Count lines from byte `line` on, as long as the sets have room.

    `text` is the stripped range of the document; `paragraph` the hash and characters of the lines
    of the open one, -1 when none is open. Returns the next line and the open paragraph.
    """
    open_hash, open_chars = paragraph
    while line <= stop and has_slot(pieces) and has_slot(paragraphs):
        end = byte_from(data, line, stop, _NEWLINE)
        value, chars = _count_newline_line(data, line, end, stop, pieces, out)
        first, last = max(line, text[0]), min(end, text[1])
        if first < last:
            if first > line or last < end:
                value, chars = hash_bytes(data, first, last), count_chars(data, first, last)
            open_hash = (open_hash ^ value) * _PARAGRAPH_PRIME
            open_chars += chars + 1
        if open_chars >= 0 and (end == line or end >= text[1]):
            _count_paragraph(insert(paragraphs, open_hash), open_chars, out)
            open_hash, open_chars = _PARAGRAPH_SEED, np.int64(-1)
        line = end + 1
    return line, (open_hash, open_chars)


@leaf
def _count_newline_line(data, line, end, stop, pieces, out):
    """Count data[line:end], where a newline or the text ends; returns its hash and characters."""
    out[NUM_NEWLINES] += end < stop
    _count_splitlines(data, line, end, stop, out)
    if line == end:
        return np.uint64(0), np.int64(0)
    value, chars = hash_bytes(data, line, end), count_chars(data, line, end)
    seen = insert(pieces, value)
    out[NUM_CHARS] += chars
    out[NUM_PIECES] += 1
    out[NUM_DUPLICATE_PIECES] += seen
    out[DUPLICATE_PIECE_CHARS] += seen * chars
    out[NUM_LONG_LINES] += chars >= LONG_LINE_CHARS
    first, last = strip(data, line, end)
    if first < last:
        _count_nonblank(data, first, last, end, seen, chars, out)
    return value, chars


@leaf
def _count_paragraph(seen, chars, out):
    out[NUM_PARAGRAPHS] += 1
    out[NUM_DUPLICATE_PARAGRAPHS] += seen
    out[DUPLICATE_PARAGRAPH_CHARS] += seen * chars


@leaf
def _finish(data, start, stop, out):
    """Empty pieces at the ends of the text, and the one paragraph of blank text."""
    out[NUM_CHARS] += out[NUM_NEWLINES]
    starts = data[start] == _NEWLINE
    ends = data[stop - 1] == _NEWLINE
    out[NUM_PIECES] += starts + ends
    out[NUM_DUPLICATE_PIECES] += starts and ends
    out[NUM_PARAGRAPHS] = max(1, out[NUM_PARAGRAPHS])


@leaf
def _count_nonblank(data, first, last, end, seen, chars, out):
    """A line with text data[first:last]; `end` is that of the line."""
    out[NUM_NONBLANK_LINES] += 1
    out[NUM_SHORT_LINES] += chars <= SHORT_LINE_CHARS
    if seen:
        out[DUPLICATE_NONBLANK_LINE_CHARS] += chars
    if last == end:
        code_point, _ = decode(data, previous(data, end, first), end)
        if flags_at(code_point) & TERMINAL:
            out[NUM_TERMINAL_LINES] += 1


@leaf
def next_break(data, i, stop):
    """The end of the line of str.splitlines at byte i, and the start of the next one."""
    while i < stop:
        leads = _break_leads(data, i) & bits_before(i, stop)
        while leads:
            at = i + lowest_bit(leads)
            code_point, after = decode(data, at, stop)
            if flags_at(code_point) & LINE_BREAK:
                if code_point == _RETURN and after < stop and data[after] == _NEWLINE:
                    after += 1
                return at, after
            leads &= leads - np.uint64(1)
        i += BLOCK
    return stop, stop


@inlined
def _break_leads(data, i):
    """Which of data[i:i + 64] may start a line break."""
    return (
        in_range(data, i, 0x0A, 0x0D)
        | in_range(data, i, 0x1C, 0x1E)
        | equal_to(data, i, 0xC2)
        | equal_to(data, i, 0xE2)
    )


@leaf
def _count_splitlines(data, start, end, stop, out):
    """Count data[start:end], up to a newline or the text's end, as str.splitlines cuts it."""
    limit = min(end + 1, stop)
    while start < limit:
        line_end, after = next_break(data, start, limit)
        _count_line(data, start, line_end, out)
        start = after


@leaf
def _count_line(data, start, stop, out):
    """One line of str.splitlines: bullets and ellipses."""
    out[NUM_LINES] += 1
    first, last = strip(data, start, stop)
    if first == last:
        return
    code_point, _ = decode(data, first, stop)
    if code_point in (_BULLET, ord("-")):
        out[NUM_BULLET_LINES] += 1
    if first == start and code_point in (ord("*"), ord("-")):
        out[NUM_BULLET_LINES_DOLMA] += 1
    if code_point in (_BULLET, _BLACK_CIRCLE, ord("*"), ord("-")):
        out[NUM_BULLET_LINES_DCLM] += 1
    _count_ellipsis(data, first, last, last == stop, out)


@leaf
def _count_ellipsis(data, first, last, at_end, out):
    """The end of a line; `at_end`: no white space comes after it."""
    if data[last - 1] == ord("."):
        dots = last - first >= 3 and data[last - 2] == ord(".") and data[last - 3] == ord(".")
        out[NUM_ELLIPSIS_LINES] += dots
        spaced = last - first >= 5 and data[last - 3] == ord(".") and data[last - 5] == ord(".")
        spaced = spaced and data[last - 2] == ord(" ") and data[last - 4] == ord(" ")
        out[NUM_ELLIPSIS_LINES_DCLM] += dots or spaced
        return
    code_point, _ = decode(data, previous(data, last, first), last)
    if code_point == _ELLIPSIS:
        out[NUM_ELLIPSIS_LINES] += 1
        out[NUM_ELLIPSIS_LINES_DCLM] += 1
        out[NUM_ELLIPSIS_LINES_DOLMA] += at_end
