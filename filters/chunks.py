"""Where chunks of a text start and end.

A chunk is what stands between white space, without a closing mark after plain letters, or one
letter (with its marks) of a script written without spaces, or the next 1,024 bytes of something
longer.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from filters.bits import hash_bytes, load_word, plain_bytes
from filters.blocks import BLOCK, bits_before, equal_to, in_range, lowest_bit
from filters.kernels import inlined, leaf
from filters.segment import MAX_CHUNK_BYTES, contraction
from filters.unicode import MARK, SOLO, SPACE
from filters.utf8 import decode, flags_at

_PLAIN, _SPACE_BYTE, _DECODE = 0, 1, 2
_BYTE_KINDS = np.zeros(256, np.uint8)
_BYTE_KINDS[[9, 10, 11, 12, 13, 28, 29, 30, 31, 32]] = _SPACE_BYTE
# Leads of characters that may be white space, or letters of scripts written without it.
_BYTE_KINDS[[0xC2, *range(0xE0, 0xF8)]] = _DECODE
_CLOSING = np.zeros(256, np.bool_)
_CLOSING[list(b",;:!?.")] = True
_DOT, _LOWER_A = ord("."), ord("a")


class Block(NamedTuple):
    """What the 64 bytes from `start` on are, by bit; spaces hold all that is after the text.

    spaces: ASCII white space; letters: of ASCII; leads: of characters that may be white space, or
    letters of scripts written without it.
    """

    start: int | np.int64
    spaces: np.uint64
    letters: np.uint64
    leads: np.uint64


@inlined
def read_block(data, i, stop):
    """The block of the text data[:stop] at byte i < stop."""
    inside = bits_before(i, stop)
    spaces = in_range(data, i, 0x09, 0x0D) | in_range(data, i, 0x1C, 0x20) | ~inside
    letters = in_range(data, i, ord("a"), ord("z"), flip=0x20) & ~spaces
    leads = in_range(data, i, 0xE0, 0xF7) | equal_to(data, i, 0xC2)
    return Block(i, spaces, letters, leads & inside)


@inlined
def block_at(block, data, i, stop):
    """The block to use for the chunk at byte i < stop: the same while it reaches far enough."""
    return block if i - block.start < BLOCK // 2 else read_block(data, i, stop)


@inlined
def chunk_in(block, data, i, stop):
    """Where the chunk at byte i of a block ends, and whether it is all ASCII letters.

    A mark that the rules cut off the end of any word of letters is a chunk of its own.
    """
    shift = np.uint64(i - block.start)
    spaces = block.spaces >> shift
    size = lowest_bit(spaces)
    letters = lowest_bit(~(block.letters >> shift))
    if letters == size < BLOCK:
        return i + size, True
    if size == BLOCK or lowest_bit(block.leads >> shift) < size:
        end = _run_end(data, i, stop)
        letters = _num_letters(data, i, end)
        size = end - i
    if letters == size - 1 and letters > 0 and _CLOSING[data[i + letters]]:
        end = i + size
        if data[end - 1] != _DOT:
            return end - 1, True
        if data[end - 2] >= _LOWER_A and not contraction(hash_bytes(data, i, end)):
            return end - 1, True
    return i + size, letters == size


@inlined
def next_chunk(block, data, end, stop):
    """The start of the chunk after the one that ends at byte `end`; `stop` after the last."""
    at = end - block.start
    if at < BLOCK:
        at += lowest_bit(~(block.spaces >> np.uint64(at)))
        if at < BLOCK and not block.leads >> np.uint64(at) & np.uint64(1):
            return min(stop, block.start + at)
    return skip_space(data, min(stop, block.start + at), stop)


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


@leaf
def _num_letters(data, i, stop):
    """How many ASCII letters there are from byte i on before something else."""
    start = i
    while i < stop and np.uint8((data[i] | 0x20) - _LOWER_A) < 26:
        i += 1
    return i - start


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
