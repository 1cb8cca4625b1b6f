"""64 bytes at a time inside kernels: which bytes of a block are of a kind, as bits of a uint64.

Bit k stands for byte i + k. The compiler makes one or two vector instructions of a comparison, so
going from one set bit to the next is several times as fast as looking at every byte.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.cgutils import get_item_pointer
from numba.extending import intrinsic

from filters.kernels import inlined, leaf

BLOCK = 64
ALL = ~np.uint64(0)


@intrinsic  # pyright: ignore[reportArgumentType]
def _in_range(typing_context: Any, data: Any, i: Any, flip: Any, first: Any, size: Any) -> Any:
    """The bytes data[i:i + 64] with (byte | flip) - first < size; the caller sees to the bounds."""
    signature = types.uint64(data, types.int64, types.uint8, types.uint8, types.uint8)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = get_item_pointer(context, builder, signature.args[0], array, [arguments[1]])
        vector = ir.VectorType(ir.IntType(8), BLOCK)
        block = builder.load(builder.bitcast(pointer, vector.as_pointer()))
        block.align = 1
        bits, low, count = (_spread(builder, vector, value) for value in arguments[2:])
        offset = builder.sub(builder.or_(block, bits), low)
        return builder.bitcast(builder.icmp_unsigned("<", offset, count), ir.IntType(64))

    return signature, generate


def _spread(builder: Any, vector: ir.VectorType, value: Any) -> Any:
    """A vector of one value."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), BLOCK), [0] * BLOCK)
    return builder.shuffle_vector(first, undefined, zeros)


@intrinsic  # pyright: ignore[reportArgumentType]
def _count_trailing(typing_context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), generate


@intrinsic  # pyright: ignore[reportArgumentType]
def _count_set(typing_context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@intrinsic  # pyright: ignore[reportArgumentType]
def _count_leading(typing_context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), generate


@inlined
def highest_bit(mask):
    """The number of the highest set bit, -1 when none is."""
    return np.int64(63) - np.int64(_count_leading(mask))  # pyright: ignore[reportCallIssue]


@inlined
def lowest_bit(mask):
    """The number of the lowest set bit, 64 when none is."""
    return np.int64(_count_trailing(mask))  # pyright: ignore[reportCallIssue]


@inlined
def num_bits(mask):
    """How many bits are set."""
    return np.int64(_count_set(mask))  # pyright: ignore[reportCallIssue]


@inlined
def low_bits(count):
    """A mask of the `count` lowest bits, at most 63."""
    return (np.uint64(1) << np.uint64(count)) - np.uint64(1)


@inlined
def bits_before(i, stop):
    """The bits of the bytes from i on that are before `stop`; i < stop."""
    return ALL >> np.uint64(max(0, BLOCK - (stop - i)))


@leaf
def _tail_range(data, i, flip, first, size):
    """`in_range` for a block in which the array ends."""
    mask = np.uint64(0)
    for k in range(min(BLOCK, data.size - i)):
        if np.uint8((data[i + k] | flip) - first) < size:
            mask |= np.uint64(1) << np.uint64(k)
    return mask


@inlined
def in_range(data, i, first, last, flip=0):
    """Which of data[i:i + 64] have first <= (byte | flip) <= last; bytes after the array do not.

    The block goes on beyond the text at hand: mask the rest off with `bits_before`.
    """
    low, bits, size = np.uint8(first), np.uint8(flip), np.uint8(last - first + 1)
    if i + BLOCK <= data.size:
        return _in_range(data, np.int64(i), bits, low, size)  # pyright: ignore[reportCallIssue]
    return _tail_range(data, i, bits, low, size)


@inlined
def equal_to(data, i, byte, flip=0):
    """Which of data[i:i + 64] are `byte`, see `in_range`."""
    return in_range(data, i, byte, byte, flip)


@inlined
def byte_from(data, i, stop, byte):
    """The first such byte from i on, or `stop`."""
    while i < stop:
        found = equal_to(data, i, byte)
        if found:
            return min(stop, i + lowest_bit(found))
        i += BLOCK
    return stop


@inlined
def count_chars(data, start, stop):
    """The number of characters of UTF-8: of bytes that continue none."""
    continuing = np.int64(0)
    for i in range(start, stop, BLOCK):
        continuing += num_bits(in_range(data, i, 0x80, 0xBF) & bits_before(i, stop))
    return stop - start - continuing
