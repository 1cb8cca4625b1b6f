"""A text column as the two arrays that kernels read.

Arrow keeps strings as one block of UTF-8 bytes and one offset per row, and a slice of a column
shares both with its parent. Kernels work on those arrays directly: no Python string is made.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa


class TextBytes(NamedTuple):
    """Row i is `data[offsets[i]:offsets[i + 1]]`; both arrays are read-only views of Arrow memory.

    offsets int64[rows + 1]; data uint8. `offsets[0]` is not 0 in most slices.
    """

    offsets: npt.NDArray[np.int64]
    data: npt.NDArray[np.uint8]


def text_bytes(text: pa.Array) -> TextBytes:
    """The offsets and bytes of a `large_string` or `string` array, sliced or not.

    A null row reads as an empty text. Raises TypeError for any other Arrow type.
    """
    if pa.types.is_string(text.type):
        text = text.cast(pa.large_string())
    if not pa.types.is_large_string(text.type):
        raise TypeError(f"the text column must be large_string or string, not {text.type}")
    _, offsets_buffer, data_buffer = text.buffers()
    if len(text) == 0:
        return TextBytes(read_only(np.zeros(1, np.int64)), read_only(np.empty(0, np.uint8)))
    first = text.offset
    offsets = np.frombuffer(offsets_buffer, np.int64)[first : first + len(text) + 1]
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer else np.empty(0, np.uint8)
    return TextBytes(read_only(offsets), read_only(data))


def read_only(array: np.ndarray) -> np.ndarray:
    """A read-only view, so that a kernel is compiled for one array type only."""
    view = array.view()
    view.flags.writeable = False
    return view
