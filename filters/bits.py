"""Eight bytes at a time inside kernels, for little-endian processors."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.cgutils import get_item_pointer
from numba.extending import intrinsic

from filters.kernels import inlined

assert sys.byteorder == "little", "kernels read eight bytes at a time in little-endian order"

_ALL = ~np.uint64(0)
ONES = np.uint64(0x0101010101010101)
HIGH_BITS = ONES * np.uint64(0x80)
LOW_BITS = ONES * np.uint64(0x7F)
_ABOVE_SPACE = ONES * np.uint64(0x7F - 0x20)
_FROM_SPACE = ONES * np.uint64(0x7F - 0x1F)
CASE_BITS = ONES * np.uint64(0x20)
_FROM_A = ONES * np.uint64(0x80 - 0x61)
_ABOVE_Z = ONES * np.uint64(0x7F - 0x7A)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
# Sizes are far from text, so that a NUL at the end makes a difference.
_SIZE_MULTIPLIER = np.uint64(0xD6E8FEB86659FD93)


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
def _trailing_zeros(typing_context: Any, value: types.Integer) -> Any:
    """The number of zero bits below the lowest bit of a uint64 that is not 0."""
    signature = types.uint64(types.uint64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return signature, generate


@intrinsic
def _byte_swapped(typing_context: Any, value: types.Integer) -> Any:
    """A uint64 with its bytes in the other order."""
    signature = types.uint64(types.uint64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bswap(arguments[0])

    return signature, generate


@inlined
def lowest_set(bits):
    """The number of the lowest bit that is set; at least one is."""
    return np.int64(_trailing_zeros(bits))  # pyright: ignore[reportCallIssue]


@inlined
def load_big_endian(data, i):
    """data[i:i + 8], all of which must be there, as a uint64, first byte highest."""
    word = _load_unaligned(data, np.int64(i))  # pyright: ignore[reportCallIssue]
    return _byte_swapped(word)  # pyright: ignore[reportCallIssue]


@inlined
def lowest_byte(high_bits):
    """The number of the first byte of which the high bit is set; at least one is."""
    return np.int64(_trailing_zeros(high_bits) >> np.uint64(3))  # pyright: ignore[reportCallIssue]


@inlined
def load_word(data, i, end):
    """data[i:min(i + 8, end)] as a uint64, first byte lowest, zeros above; i < end."""
    size = end - i
    if i + 8 <= data.size:
        word = _load_unaligned(data, np.int64(i))  # pyright: ignore[reportCallIssue]
        return word & (_ALL >> np.uint64(64 - 8 * min(size, 8)))
    word = np.uint64(0)
    for k in range(min(size, 8)):
        word |= np.uint64(data[i + k]) << np.uint64(8 * k)
    return word


@inlined
def plain_bytes(word):
    """How many of the first bytes of a word are ASCII above the space: 0 to 8."""
    above_space = (word & LOW_BITS) + _ABOVE_SPACE
    stop = (word | ~above_space) & HIGH_BITS
    return lowest_byte(stop) if stop else np.int64(8)


@inlined
def hash_word(word, size):
    """`hash_bytes` of up to eight bytes, those of a word with zeros above them."""
    value = (np.uint64(size) * _SIZE_MULTIPLIER ^ word) * _MULTIPLIER
    return value ^ value >> np.uint64(29)


@inlined
def hash_bytes(data, start, end):
    """A 64-bit hash of data[start:end], start < end: one multiplication for eight bytes."""
    value = hash_word(load_word(data, start, end), end - start)
    for i in range(start + 8, end, 8):
        value = (value ^ load_word(data, i, end)) * _MULTIPLIER
        value ^= value >> np.uint64(29)
    return value


def hash_of(data: bytes) -> int:
    """`hash_bytes` of all of `data`, in Python."""
    value = len(data) * int(_SIZE_MULTIPLIER) % 2**64
    for i in range(0, len(data), 8):
        value = (value ^ int.from_bytes(data[i : i + 8], "little")) * int(_MULTIPLIER) % 2**64
        value ^= value >> 29
    return value


@inlined
def bytes_equal_to(word, byte):
    """The high bit of each byte of a word that equals `byte`."""
    different = word ^ (ONES * np.uint64(byte))
    return ~(((different & LOW_BITS) + LOW_BITS) | different) & HIGH_BITS


@inlined
def are_letters_of(word, size):
    """Whether the lowest `size` bytes of a word, 1 to 8, are ASCII letters."""
    lower = (word | CASE_BITS) & LOW_BITS
    others = ~(lower + _FROM_A) | (lower + _ABOVE_Z) | word
    return others & HIGH_BITS & (_ALL >> np.uint64(64 - 8 * size)) == 0


@inlined
def are_letters(data, start, stop):
    """Whether all bytes are ASCII letters."""
    for i in range(start, stop, 8):
        if not are_letters_of(load_word(data, i, stop), min(8, stop - i)):
            return False
    return True
