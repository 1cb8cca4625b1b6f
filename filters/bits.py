"""Eight bytes at a time inside kernels, for little-endian processors."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.cgutils import get_item_pointer
from numba.extending import intrinsic

from filters.kernels import leaf

assert sys.byteorder == "little", "kernels read eight bytes at a time in little-endian order"

_ONES = np.uint64(0x0101010101010101)
_HIGH_BITS = _ONES * np.uint64(0x80)
_LOW_BITS = _ONES * np.uint64(0x7F)
_ABOVE_SPACE = _ONES * np.uint64(0x7F - 0x20)
_FROM_SPACE = _ONES * np.uint64(0x7F - 0x1F)
_NEWLINE = 0x0A
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@intrinsic  # pyright: ignore[reportArgumentType]
def _load_unaligned(typing_context: Any, data: types.Array, i: types.Integer) -> Any:
    """The eight bytes data[i:i + 8] as uint64; the caller sees to the bounds."""
    signature = types.uint64(data, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = get_item_pointer(context, builder, signature.args[0], array, [arguments[1]])
        word = builder.bitcast(pointer, ir.IntType(64).as_pointer())
        loaded = builder.load(word)
        loaded.align = 1
        return loaded

    return signature, generate


@intrinsic
def trailing_zeros(typing_context: Any, value: types.Integer) -> Any:
    """The number of zero bits below the lowest bit of a uint64 that is not 0."""
    signature = types.uint64(types.uint64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return signature, generate


@leaf
def load_word(data, i, end):
    """data[i:min(i + 8, end)] as a uint64, first byte lowest, zeros above; i < end."""
    size = end - i
    if i + 8 <= data.size:
        word = _load_unaligned(data, np.int64(i))  # pyright: ignore[reportCallIssue]
        if size >= 8:
            return word
        return word & ((np.uint64(1) << np.uint64(8 * size)) - np.uint64(1))
    word = np.uint64(0)
    for k in range(min(size, 8)):
        word |= np.uint64(data[i + k]) << np.uint64(8 * k)
    return word


@leaf
def plain_bytes(word):
    """How many of the first bytes of a word are ASCII above the space: 0 to 8."""
    above_space = (word & _LOW_BITS) + _ABOVE_SPACE
    stop = (word | ~above_space) & _HIGH_BITS
    return np.int64(trailing_zeros(stop) >> np.uint64(3)) if stop else np.int64(8)  # pyright: ignore[reportCallIssue]


@leaf
def hash_bytes(data, start, end):
    """A 64-bit hash of data[start:end], start < end: one multiplication for eight bytes."""
    value = np.uint64(end - start)
    for i in range(start, end, 8):
        value = (value ^ load_word(data, i, end)) * _MULTIPLIER
        value ^= value >> np.uint64(29)
    return value


def hash_of(data: bytes) -> int:
    """`hash_bytes` of all of `data`, in Python."""
    value = len(data)
    for i in range(0, len(data), 8):
        value = (value ^ int.from_bytes(data[i : i + 8], "little")) * int(_MULTIPLIER) % 2**64
        value ^= value >> 29
    return value


@leaf
def bytes_equal_to(word, byte):
    """The high bit of each byte of a word that equals `byte`."""
    different = word ^ (_ONES * np.uint64(byte))
    return ~(((different & _LOW_BITS) + _LOW_BITS) | different) & _HIGH_BITS


@leaf
def newline_from(data, i, stop):
    """The first newline from byte i on, or `stop`."""
    while i < stop:
        newlines = bytes_equal_to(load_word(data, i, stop), _NEWLINE)
        if newlines:
            return i + np.int64(trailing_zeros(newlines) >> np.uint64(3))  # pyright: ignore[reportCallIssue]
        i += 8
    return stop


@leaf
def count_chars(data, start, stop):
    """The number of characters of UTF-8: of bytes that continue none."""
    continuing = np.uint64(0)
    for i in range(start, stop, 8):
        word = load_word(data, i, stop)
        highs = (word & ~(word << np.uint64(1)) & _HIGH_BITS) >> np.uint64(7)
        continuing += (highs * _ONES) >> np.uint64(56)
    return stop - start - np.int64(continuing)


@leaf
def is_plain(data, start, stop):
    """Whether all bytes are ASCII from the space on: no controls, nothing to decode."""
    for i in range(start, stop, 8):
        word = load_word(data, i, stop)
        if i + 8 > stop:
            word |= (_ONES * np.uint64(0x20)) << np.uint64(8 * (stop - i))
        if (word | ~((word & _LOW_BITS) + _FROM_SPACE)) & _HIGH_BITS:
            return False
    return True


@leaf
def are_letters(data, start, stop):
    """Whether all bytes are ASCII letters."""
    for i in range(start, stop):
        lower = data[i] | 0x20
        if lower < 0x61 or lower > 0x7A:
            return False
    return True
