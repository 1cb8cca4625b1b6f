"""A bzip2 file as a run of streams that can be entered at any of them.

Wikipedia's multistream dumps hold 100 pages per stream. A stream begins at a byte with 80 fixed
bits (`BZh`, level, block magic), which do not occur by chance. Streams need not end where pages do
(pbzip2 cuts every 900 kB), so a run reads on across them and remembers where each began.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Generator, Iterator
from typing import BinaryIO

from pipelines.sources.streams import CHUNK_BYTES, DamagedStreamError, new_decoder

# The level, then the first block or (in an empty stream) the end.
_MAGIC = re.compile(rb"BZh[1-9](?:1AY&SY|\x17\x72\x45\x38\x50\x90)")
MAGIC_BYTES = 10
FEED_BYTES = 32 << 10


def find_stream(file: BinaryIO, start: int, end: int | None = None) -> int | None:
    """Offset of the first bzip2 stream that begins in [start, end)."""
    position = start
    while end is None or position < end:
        file.seek(position)
        chunk = file.read(CHUNK_BYTES)
        found = _MAGIC.search(chunk)
        if found is not None:
            offset = position + found.start()
            return offset if end is None or offset < end else None
        if len(chunk) < CHUNK_BYTES:
            return None
        position += len(chunk) - MAGIC_BYTES + 1
    return None


class StreamRun:
    """Consecutive streams from one offset to the end of the file or to damage."""

    def __init__(self, file: BinaryIO, start: int) -> None:
        self._file = file
        self._starts = [start]
        self._decoded_starts = [0]
        self._num_decoded = 0

    @property
    def current_stream(self) -> int:
        """Offset in the file of the stream that was begun last."""
        return self._starts[-1]

    def stream_of(self, decoded_offset: int) -> int:
        """Offset in the file of the stream that holds the byte at `decoded_offset` of the run."""
        return self._starts[bisect_right(self._decoded_starts, decoded_offset) - 1]

    def chunks(self) -> Iterator[bytes]:
        """The decompressed bytes of the run. Raises DamagedStreamError where it breaks."""
        for piece in self._pieces():
            self._num_decoded += len(piece)
            yield piece

    def _pieces(self) -> Generator[bytes, None, None]:
        position = yield from self._stream(self._starts[0])
        while True:
            self._file.seek(position)
            head = self._file.read(CHUNK_BYTES)
            if not head.strip(b"\0"):
                return
            if not _MAGIC.match(head):
                raise DamagedStreamError("corrupt", "other bytes follow a bzip2 stream")
            self._starts.append(position)
            self._decoded_starts.append(self._num_decoded)
            position = yield from self._stream(position)

    def _stream(self, position: int) -> Generator[bytes, None, int]:
        """One stream; returns the offset after it."""
        decoder = new_decoder("bzip2")
        self._file.seek(position)
        while data := self._file.read(FEED_BYTES):
            rest = yield from decoder.feed(data)
            position += len(data)
            if decoder.is_finished:
                return position - len(rest)
        raise DamagedStreamError("truncated", "the file ends within a bzip2 stream")
