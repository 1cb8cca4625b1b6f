"""64 bytes at a time: bit masks of bytes against their definition, at every edge of an array."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import blocks


@numba.njit
def ranges(data: npt.NDArray[np.uint8], first: int, last: int, flip: int) -> npt.NDArray[np.uint64]:
    masks = np.empty(data.size, np.uint64)
    for i in range(data.size):
        masks[i] = blocks.in_range(data, i, first, last, flip)
    return masks


@numba.njit
def searches(data: npt.NDArray[np.uint8], i: int, stop: int, byte: int) -> tuple[int, int, int]:
    mask = blocks.in_range(data, i, byte, byte) & blocks.bits_before(i, stop)
    return (
        blocks.byte_from(data, i, stop, byte),
        blocks.count_chars(data, i, stop),
        blocks.num_bits(mask) * 100 + blocks.lowest_bit(mask),
    )


def read_only(data: bytes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=1, max_size=200), st.integers(0, 255), st.integers(0, 255))
def test_masks_of_a_range_of_bytes(data: bytes, a: int, b: int) -> None:
    first, last = sorted((a, b))
    last = min(last, first + 254)
    for flip in (0, 0x20):
        found = ranges(read_only(data), first, last, flip)
        for i, mask in enumerate(found.tolist()):
            expected = [first <= byte | flip <= last for byte in data[i : i + 64]]
            assert mask == sum(1 << k for k, holds in enumerate(expected) if holds)


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from("ab\n\u00e9\u4e00\U0001f600"), min_size=1, max_size=150), st.data())
def test_searches_stop_where_they_are_told(text: str, draw: st.DataObject) -> None:
    data = text.encode()
    i = draw.draw(st.integers(0, len(data) - 1))
    stop = draw.draw(st.integers(i + 1, len(data)))
    found = data.find(b"\n", i, stop)
    at, num_chars, bits = searches(read_only(data), i, stop, ord("\n"))
    assert at == (stop if found < 0 else found)
    assert num_chars == sum(byte & 0xC0 != 0x80 for byte in data[i:stop])
    block = data[i : min(stop, i + 64)]
    assert bits == block.count(b"\n") * 100 + (block.find(b"\n") if b"\n" in block else 64)
