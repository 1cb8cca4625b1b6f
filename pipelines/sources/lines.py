"""Newline-delimited records out of a stream of chunks, with bounded memory.

Offsets count bytes of the stream. A line longer than the limit is not kept, only measured, and
reading goes on at the next newline. When the stream is damaged, the unfinished line comes last and
carries the damage.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipelines.sources.records import CasualtyKind, PartRange
from pipelines.sources.streams import DamagedStreamError, codec_of, decoded_chunks, raw_chunks


@dataclass(frozen=True, slots=True)
class Line:
    offset: int
    num_bytes: int
    """Without the newline."""
    data: bytes | None
    """None when longer than the limit."""
    damage: DamagedStreamError | None = None
    """The stream broke within (or right before) this line."""

    def why_lost(self, max_document_bytes: int) -> tuple[CasualtyKind, str] | None:
        """Kind and message when the line cannot be a document."""
        if self.damage is not None:
            return self.damage.kind, self.damage.message
        if self.data is None:
            limit = f"max_document_bytes={max_document_bytes}"
            return "too_large", f"a line of {self.num_bytes} bytes, above {limit}"
        return None


def read_lines(path: str, part: PartRange, max_line_bytes: int) -> Iterator[Line]:
    """The lines of `path` that start in `part` and are not blank.

    An uncompressed file is entered at the part's start, a compressed one is read from its
    beginning; both ways each line belongs to exactly one part.
    """
    start, chunks = 0, decoded_chunks(path)
    if part.start and not codec_of(path):
        # One byte earlier: the newline that ends the previous line tells that a line starts here.
        start = part.start - 1
        chunks = raw_chunks(path, start)
    for line in split_lines(chunks, start, max_line_bytes):
        if part.is_past(line.offset):
            return
        if line.offset >= part.start:
            yield line


def split_lines(chunks: Iterable[bytes], start: int, max_line_bytes: int) -> Iterator[Line]:
    """Lines of a stream whose first byte has offset `start`; blank lines are left out."""
    splitter = _Splitter(start, max_line_bytes)
    damage = None
    try:
        for chunk in chunks:
            yield from splitter.feed(chunk)
    except DamagedStreamError as error:
        damage = error
    last = splitter.finish(damage)
    if last is not None:
        yield last


class _Splitter:
    """The unfinished line at the end of what has been fed, in pieces."""

    def __init__(self, start: int, max_line_bytes: int) -> None:
        self._offset = start
        self._max_line_bytes = max_line_bytes
        self._pieces: list[bytes] = []
        self._num_bytes = 0

    def feed(self, chunk: bytes) -> Iterator[Line]:
        pieces = chunk.split(b"\n")
        for piece in pieces[:-1]:
            self._append(piece)
            line = self._take()
            if line is not None:
                yield line
            self._offset += 1
        self._append(pieces[-1])

    def finish(self, damage: DamagedStreamError | None) -> Line | None:
        if damage is None:
            return self._take()
        return Line(self._offset, self._num_bytes, None, damage)

    def _append(self, piece: bytes) -> None:
        self._num_bytes += len(piece)
        if self._num_bytes > self._max_line_bytes:
            self._pieces.clear()
        else:
            self._pieces.append(piece)

    def _take(self) -> Line | None:
        """The finished line, None when blank; moves to the byte after it."""
        offset, num_bytes = self._offset, self._num_bytes
        pieces, self._pieces = self._pieces, []
        self._offset, self._num_bytes = offset + num_bytes, 0
        if num_bytes > self._max_line_bytes:
            return Line(offset, num_bytes, None)
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return Line(offset, num_bytes, data) if data.strip() else None
