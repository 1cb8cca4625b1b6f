"""Pulling bytes of a wanted length out of a stream of chunks.

A damaged stream simply ends here, with the damage kept for the caller to look at: what was read
before it is good, and what was cut short by it is the caller's to judge.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipelines.sources.streams import DamagedStreamError


class PullReader:
    """Reads ahead only as far as it is asked to."""

    def __init__(self, chunks: Iterator[bytes], offset: int = 0) -> None:
        self._chunks = chunks
        self._buffer = bytearray()
        self.offset = offset
        """Of the next byte, counted from the start of the stream."""
        self.damage: DamagedStreamError | None = None
        """Set once the stream has broken; the buffered bytes before it are still there."""

    def peek(self, num_bytes: int) -> bytearray:
        """At least the next `num_bytes`, fewer only at the end. Not to be changed or kept."""
        while len(self._buffer) < num_bytes and self._pull():
            pass
        return self._buffer

    def take(self, num_bytes: int) -> bytes:
        """The next `num_bytes`, fewer only at the end."""
        self.peek(num_bytes)
        data = bytes(memoryview(self._buffer)[:num_bytes])
        self._drop(len(data))
        return data

    def skip(self, num_bytes: int) -> int:
        """Pass over `num_bytes` without keeping them; returns how many there were."""
        left = num_bytes
        while left and self.peek(1):
            dropped = min(left, len(self._buffer))
            self._drop(dropped)
            left -= dropped
        return num_bytes - left

    def skip_to(self, pattern: re.Pattern[bytes], max_match_bytes: int) -> bytes:
        """Pass over everything before a match; returns what matched, b"" at the end."""
        while (found := pattern.search(self._buffer)) is None:
            self._drop(max(0, len(self._buffer) - max_match_bytes + 1))
            if not self._pull():
                self._drop(len(self._buffer))
                return b""
        matched = found[0]
        self._drop(found.start())
        return bytes(matched)

    def find(self, pattern: bytes, max_bytes: int) -> int:
        """Where `pattern` begins within the next `max_bytes` (from here); -1 when it does not."""
        searched = 0
        while (found := self._buffer.find(pattern, searched, max_bytes)) < 0:
            if len(self._buffer) >= max_bytes:
                return -1
            searched = max(0, len(self._buffer) - len(pattern) + 1)
            if not self._pull():
                return -1
        return found

    def push_back(self, data: bytes) -> None:
        """Undo the taking of `data`."""
        self._buffer[:0] = data
        self.offset -= len(data)

    def _drop(self, num_bytes: int) -> None:
        del self._buffer[:num_bytes]
        self.offset += num_bytes

    def _pull(self) -> bool:
        """Fetch one more chunk; False at the end."""
        try:
            chunk = next(self._chunks, None)
        except DamagedStreamError as error:
            self.damage = error
            return False
        if chunk is None:
            return False
        self._buffer += chunk
        return True
