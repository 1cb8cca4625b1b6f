"""Reading a remote object as a seekable file through ranged requests.

The window fetched grows while reading goes on where the last one ended (256 KiB, 1 MiB, 4 MiB,
8 MiB) and falls back after a seek: a whole file costs one request per 8 MiB, and a Parquet
reader that jumps from the footer to two small columns does not pull megabytes for each jump.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

FIRST_WINDOW_BYTES = 256 << 10
LARGEST_WINDOW_BYTES = 8 << 20
_GROWTH = 4


class RangedReader(io.RawIOBase):
    """A raw reader over `fetch(offset, length)`, which returns exactly `length` bytes."""

    def __init__(self, size: int, fetch: Callable[[int, int], bytes]) -> None:
        super().__init__()
        self._size = size
        self._fetch = fetch
        self._position = 0
        self._window = b""
        self._window_start = 0
        self._window_bytes = FIRST_WINDOW_BYTES

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"cannot seek to {base + offset}, before the start")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        target = memoryview(buffer).cast("B")
        wanted = min(len(target), self._size - self._position)
        if wanted <= 0:
            return 0
        start = self._position - self._window_start
        if not 0 <= start < len(self._window):
            self._fetch_window(wanted)
            start = 0
        piece = memoryview(self._window)[start : start + wanted]
        target[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def _fetch_window(self, wanted: int) -> None:
        sequential = self._position == self._window_start + len(self._window)
        grown = min(self._window_bytes * _GROWTH, LARGEST_WINDOW_BYTES)
        if self._window:
            self._window_bytes = grown if sequential else FIRST_WINDOW_BYTES
        length = min(max(wanted, self._window_bytes), LARGEST_WINDOW_BYTES)
        length = min(length, self._size - self._position)
        self._window = self._fetch(self._position, length)
        self._window_start = self._position


def open_ranged(size: int, fetch: Callable[[int, int], bytes]) -> BinaryIO:
    """A buffered, seekable reader of an object of `size` bytes. See RangedReader."""
    reader = RangedReader(size, fetch)
    return cast(BinaryIO, io.BufferedReader(reader, FIRST_WINDOW_BYTES))
