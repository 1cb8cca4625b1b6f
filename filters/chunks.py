"""Where chunks of a text start and end.

A chunk is what stands between white space, without a closing mark after plain letters, or one
letter (with its marks) of a script written without spaces, or the next 1,024 bytes of something
longer.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from filters.bits import are_letters, hash_bytes, load_word, plain_bytes
from filters.blocks import (
    BLOCK,
    bits_before,
    equal_to,
    highest_bit,
    in_range,
    low_bits,
    lowest_bit,
    num_bits,
)
from filters.kernels import inlined, leaf
from filters.segment import MAX_CHUNK_BYTES, contraction
from filters.unicode import ALPHA, LETTER, MARK, SOLO, SPACE
from filters.utf8 import decode, decode_short, decode_three, flags_at

UNKNOWN, ASCII_LETTERS, SOLO_LETTER = range(3)
"""Kinds of chunks; the last is one letter with its marks. Neither holds anything else."""
_PLAIN, _SPACE_BYTE, _DECODE = 0, 1, 2
_BYTE_KINDS = np.zeros(256, np.uint8)
_BYTE_KINDS[[9, 10, 11, 12, 13, 28, 29, 30, 31, 32]] = _SPACE_BYTE
# Leads of characters that may be white space, or letters of scripts written without it.
_BYTE_KINDS[[0xC2, *range(0xE0, 0xF8)]] = _DECODE
_LOWER_A = ord("a")
_ONE = np.uint64(1)

WINDOW = 512
"""So many chunks are read at a time, and a few more: what is known of them stays in the cache."""
_STRIDE = BLOCK - 1  # the last byte of a block only shows what comes after a chunk
_SURE_BYTES = MAX_CHUNK_BYTES - 2 * BLOCK  # a chunk of fewer bytes need not be cut
_WRITTEN_AT_ONCE = 4


class Chunks(NamedTuple):
    """Chunks in a row, data[starts[k]:ends[k]].

    kinds uint8: what is known of each without another look at it, see ASCII_LETTERS.
    """

    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    kinds: npt.NDArray[np.uint8]


class Place(NamedTuple):
    """Where reading goes on: at byte `at`; a chunk that starts at `joined` follows no space."""

    at: int | np.int64
    joined: int | np.int64


@numba.njit(nogil=True)
def new_chunks():
    """Room for the chunks of one window."""
    size = WINDOW + BLOCK + _WRITTEN_AT_ONCE
    return Chunks(np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.uint8))


@inlined
def ascii_space(data, i):
    """Which of data[i:i + 64] are ASCII white space."""
    return in_range(data, i, 0x09, 0x0D) | in_range(data, i, 0x1C, 0x20)


@inlined
def _spaces_and_leads(data, i, stop):
    """ASCII white space in data[i:i + 64], and the leads of what may be other space or `SOLO`.

    Bytes from `stop` on count as space; i < stop.
    """
    inside = bits_before(i, stop)
    spaces = ascii_space(data, i) | ~inside
    leads = in_range(data, i, 0xE0, 0xF7) | equal_to(data, i, 0xC2)
    if leads:
        leads &= inside & ~_harmless(data, i)
    return spaces, leads


@inlined
def _harmless(data, i):
    """Leads that, with the bytes after them, are of neither white space nor `SOLO` letters.

    Those of U+0800-0DFF (Indic scripts), 1E00-1FFF (Vietnamese, Greek), 2010-2027 (dashes,
    quotation marks) and AC00-DFFF (Hangul): a decoded character costs as much as a block.
    """
    low, high = in_range(data, i + 1, 0x80, 0xB7), in_range(data, i + 1, 0xB0, 0xBF)
    marks = equal_to(data, i + 1, 0x80) & in_range(data, i + 2, 0x90, 0xA7)
    return (
        (equal_to(data, i, 0xE0) & low)
        | (equal_to(data, i, 0xE1) & ~low)
        | (equal_to(data, i, 0xE2) & marks)
        | (equal_to(data, i, 0xEA) & high)
        | in_range(data, i, 0xEB, 0xED)
    )


@inlined
def word_starts(data, i, stop, after_space):
    """Where words of str.split start in data[i:i + 64], and the next block's `after_space`.

    after_space: bits of the characters of the block that come after white space of the one before.
    """
    inside = bits_before(i, stop)
    one = ascii_space(data, i)
    two = three = np.uint64(0)
    if in_range(data, i, 0xC2, 0xE3):
        two, three = _wide_spaces(data, i)
    starts = (one << _ONE | two << np.uint64(2) | three << np.uint64(3) | after_space) & (
        ~(one | two | three)
    )
    after_space = one >> np.uint64(63) | two >> np.uint64(62) | three >> np.uint64(61)
    return starts & inside, after_space


@inlined
def _wide_spaces(data, i):
    """The leads of white space of two and of three bytes, all there is beyond ASCII.

    U+0085, 00A0; 1680, 2000-200A, 2028, 2029, 202F, 205F, 3000.
    """
    second_80 = equal_to(data, i + 1, 0x80)
    two = equal_to(data, i, 0xC2) & (equal_to(data, i + 1, 0x85) | equal_to(data, i + 1, 0xA0))
    general = (
        in_range(data, i + 2, 0x80, 0x8A)
        | in_range(data, i + 2, 0xA8, 0xA9)
        | equal_to(data, i + 2, 0xAF)
    )
    last_80 = equal_to(data, i + 2, 0x80)
    three = (
        (equal_to(data, i, 0xE1) & equal_to(data, i + 1, 0x9A) & last_80)
        | (equal_to(data, i, 0xE2) & second_80 & general)
        | (equal_to(data, i, 0xE2) & equal_to(data, i + 1, 0x81) & equal_to(data, i + 2, 0x9F))
        | (equal_to(data, i, 0xE3) & second_80 & last_80)
    )
    return two, three


@leaf
def read_chunks(data, place, stop, chunks):
    """Set `chunks` to the next ones of data[place.at:stop].

    A mark that the rules cut off the end of any word of letters is a chunk of its own. Returns how
    many there are, how many of them come after white space, and the place where to go on; its `at`
    is `stop` at the end.
    """
    i, joined = place
    found = after_space = np.int64(0)
    # Whether a chunk goes on at byte i, and whether it is all letters so far.
    is_open = in_letters = np.uint64(0)
    while i < stop and found < WINDOW:
        spaces, leads = _spaces_and_leads(data, i, stop)
        size, is_solo = np.int64(_STRIDE), False
        if leads:
            spaces, size, is_solo = _read_leads(data, i, stop, spaces, leads)
        within = low_bits(size)
        inside = ~spaces & within
        letters = in_range(data, i, _LOWER_A, ord("z"), flip=0x20) & inside
        before = inside << _ONE | is_open
        starts = inside & ~before
        ends = ~inside & before & low_bits(size + is_solo)
        runs = (starts & letters | in_letters) + letters  # carries go through all letters of a run
        run_ends = runs & ~letters
        cuts = run_ends & inside & (spaces >> _ONE)
        if cuts:
            cuts = _closing_marks(data, i, cuts, starts, chunks.starts[found])
        _write_starts(chunks, found + np.int64(is_open), i, starts | cuts)
        _write_ends(chunks, found, i, ends | cuts, run_ends)
        after_space += num_bits(starts) - np.int64(i == joined and starts & _ONE)
        found += num_bits(ends | cuts)
        if is_solo:
            follows = before >> np.uint64(size) & _ONE or i + size == joined
            after_space += not follows
            found, i = _read_solo(data, i + size, stop, chunks, found)
            is_open = in_letters = np.uint64(0)
            joined = i
            continue
        i += size
        is_open = before >> np.uint64(size) & _ONE
        in_letters = runs >> np.uint64(size) & _ONE
        if is_open and i - chunks.starts[found] > _SURE_BYTES:
            i = joined = _run_end(data, chunks.starts[found], stop)
            chunks.ends[found] = i
            chunks.kinds[found] = UNKNOWN
            found += 1
            is_open = in_letters = np.uint64(0)
    if is_open and i >= stop:
        chunks.ends[found] = stop
        chunks.kinds[found] = ASCII_LETTERS if in_letters else UNKNOWN
        found += 1
    elif is_open:
        i = chunks.starts[found]
        if chunks.ends[found - 1] == i:
            joined = i
        else:
            after_space -= i != joined
    return found, after_space, Place(min(i, stop), joined)


@leaf
def _read_leads(data, i, stop, spaces, leads):
    """Look at the leads of the block at byte i, up to the first `SOLO` letter.

    Returns the white space, how many bytes of the block are decided, and whether the next one is
    the first of a `SOLO` letter, which counts as white space here, as it ends what is before.
    """
    while leads:
        at = lowest_bit(leads)
        code_point, after = decode(data, i + at, stop)
        flags = flags_at(code_point)
        if flags & (SOLO | SPACE):
            spaces |= _ONE << np.uint64(at)
            if at < _STRIDE and (flags & SOLO or after - i > _STRIDE):
                return spaces, at, (flags & SOLO) != 0
            spaces |= low_bits(min(_STRIDE, after - i)) & ~low_bits(min(_STRIDE, at))
        leads &= leads - _ONE
    return spaces, np.int64(_STRIDE), False


@inlined
def _closing_marks(data, i, cuts, starts, open_start):
    """Which of `cuts`, one byte after letters at the end of a chunk, are marks to be cut off.

    A period stays with an abbreviation and after a capital letter.
    """
    dots = cuts & equal_to(data, i, ord("."))
    cuts &= (
        equal_to(data, i, ord(","))
        | in_range(data, i, ord(":"), ord(";"))
        | equal_to(data, i, ord("!"))
        | equal_to(data, i, ord("?"))
    )
    while dots:
        at = lowest_bit(dots)
        dots &= dots - _ONE
        start = highest_bit(starts & low_bits(at))
        start = i + start if start >= 0 else open_start
        if data[i + at - 1] >= _LOWER_A and not contraction(hash_bytes(data, start, i + at + 1)):
            cuts |= _ONE << np.uint64(at)
    return cuts


@inlined
def _write_starts(chunks, first, i, mask):
    """Write the places of the bits, and up to three more numbers: no branch for each bit."""
    index = np.uint64(first)
    while mask:
        for k in range(_WRITTEN_AT_ONCE):
            chunks.starts[index + np.uint64(k)] = i + lowest_bit(mask)
            mask &= mask - _ONE
        index += np.uint64(_WRITTEN_AT_ONCE)


@inlined
def _write_ends(chunks, first, i, mask, run_ends):
    """The same for ends, and kinds: chunks that are ASCII_LETTERS end where `run_ends` has bits."""
    index = np.uint64(first)
    while mask:
        for k in range(_WRITTEN_AT_ONCE):
            at = lowest_bit(mask)
            chunks.ends[index + np.uint64(k)] = i + at
            chunks.kinds[index + np.uint64(k)] = run_ends >> np.uint64(at & 63) & _ONE
            mask &= mask - _ONE
        index += np.uint64(_WRITTEN_AT_ONCE)


@leaf
def _read_solo(data, i, stop, chunks, found):
    """Read the `SOLO` letters from byte i on, each with its marks, up to what is none."""
    code_point, after = decode(data, i, stop)
    flags = flags_at(code_point)
    while flags & SOLO and found < WINDOW:
        start, limit = i, i + MAX_CHUNK_BYTES - 8
        chunks.kinds[found] = SOLO_LETTER if flags & ALPHA else UNKNOWN  # others are digits
        i = after
        flags = np.uint32(0)
        while i < stop and data[i] >= 0x80:
            code_point, after = decode_three(data, i, stop)
            flags = flags_at(code_point)
            if not flags & MARK or after > limit:
                break
            i = after
            flags = np.uint32(0)
        chunks.starts[found] = start
        chunks.ends[found] = i
        found += 1
    return found, i


@leaf
def _run_end(data, start, stop):
    """The end of a chunk with the marks after it."""
    limit = min(stop, start + MAX_CHUNK_BYTES - 8)
    i = start
    while i < limit:
        plain = plain_bytes(load_word(data, i, stop))
        i += plain
        if plain == 8 or i >= limit:
            continue
        kind = _BYTE_KINDS[data[i]]
        if kind == _SPACE_BYTE:
            return i
        after = i + 1
        if kind == _DECODE:
            code_point, after = decode(data, i, stop)
            flags = flags_at(code_point)
            if flags & (SPACE | SOLO):
                return i if flags & SPACE or i > start else _marks_end(data, after, limit)
        i = after
    while i < stop and data[i] & 0xC0 == 0x80:
        i += 1
    return i


@leaf
def _marks_end(data, i, stop):
    while i < stop and data[i] >= 0x80:
        code_point, after = decode(data, i, stop)
        if not flags_at(code_point) & MARK:
            break
        i = after
    return i


@inlined
def plain_word(data, start, stop, value):
    """The characters of a chunk with hash `value` if it is one alphabetic word, 0 if not known.

    Letters and their marks are, but for a few contractions: the rules cut off or split at other
    characters only.
    """
    is_ascii = are_letters(data, start, stop)
    num_chars = stop - start if is_ascii else _num_letters(data, start, stop)
    return num_chars if num_chars and not contraction(value) else np.int64(0)


@leaf
def _num_letters(data, i, stop):
    """The characters of data[i:stop] if all are letters or marks, and one is a letter; else 0."""
    num_chars = np.int64(0)
    any_flags = np.uint32(0)
    while i < stop:
        code_point, i = decode_short(data, i, stop)
        flags = flags_at(code_point)
        if not flags & LETTER:
            return np.int64(0)
        any_flags |= flags
        num_chars += 1
    return num_chars if any_flags & ALPHA else np.int64(0)


@leaf
def skip_space(data, i, stop):
    """The first byte from i on that is no white space."""
    while i < stop:
        kind = _BYTE_KINDS[data[i]]
        if kind == _SPACE_BYTE:
            i += 1
        elif kind == _PLAIN:
            break
        else:
            code_point, after = decode(data, i, stop)
            if not flags_at(code_point) & SPACE:
                break
            i = after
    return i


@leaf
def skip_word(data, i, stop):
    """The first white space from byte i on, and the characters before it."""
    num_chars = np.int64(0)
    while i < stop:
        kind = _BYTE_KINDS[data[i]]
        after = i + 1
        if kind == _SPACE_BYTE:
            break
        if kind == _DECODE:
            code_point, after = decode(data, i, stop)
            if flags_at(code_point) & SPACE:
                break
            num_chars += 1
        else:
            num_chars += data[i] & 0xC0 != 0x80
        i = after
    return i, num_chars
