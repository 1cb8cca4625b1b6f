"""WARC record framing: every byte of a stream belongs to a record or to a reported loss.

    WARC/1.0 CRLF  header lines  CRLF CRLF  Content-Length bytes  CRLF CRLF

The framing is read here rather than by fastwarc because its iterator ends quietly on several
truncations and cannot tell where a record stood. A record is whole only when its content has the
declared length and the next record (or the end) follows. Otherwise it is lost, and reading goes on
at the next `WARC/1.` that begins a line. Bare newlines are accepted for CRLF, as are missing ones
between records.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.sources.http import parse_headers
from pipelines.sources.pull import PullReader
from pipelines.sources.records import CasualtyKind

MAX_HEADER_BYTES = 64 << 10
# What is kept of a record above the limit: enough to see its media type.
HEAD_BYTES = 16 << 10
MAX_NEWLINES = 64
_MAGIC = b"WARC/"
_ARC_MAGIC = b"filedesc://"
_SYNC = re.compile(rb"\nWARC/1\.")
_SYNC_BYTES = len(b"\nWARC/1.")
_END_OF_HEADERS = re.compile(rb"\r{0,2}\n\r{0,2}\n")


@dataclass(frozen=True, slots=True)
class WarcRecord:
    offset: int
    """In the stream."""
    num_bytes: int
    """Headers, content and the empty lines after it."""
    headers: dict[str, str]
    content: bytes
    content_bytes: int
    """Declared (and verified) length; `content` is shorter when this is above the limit."""
    is_last: bool
    """Whether the stream ends after it."""

    @property
    def is_complete(self) -> bool:
        return len(self.content) == self.content_bytes


@dataclass(frozen=True, slots=True)
class LostRecord:
    offset: int
    num_bytes: int
    kind: CasualtyKind
    message: str


def read_records(stream: PullReader, max_bytes: int) -> Iterator[WarcRecord | LostRecord]:
    """The records of a stream; contents above `max_bytes` are not kept."""
    found_any = False
    while _skip_newlines(stream):
        found_any = True
        yield _read_record(stream, max_bytes)
    if stream.damage is not None and not found_any:
        yield LostRecord(stream.offset, 0, stream.damage.kind, stream.damage.message)


def _read_record(stream: PullReader, max_bytes: int) -> WarcRecord | LostRecord:
    start = stream.offset
    if not stream.peek(len(_MAGIC)).startswith(_MAGIC):
        is_arc = stream.peek(len(_ARC_MAGIC)).startswith(_ARC_MAGIC)
        message = "an ARC file, not WARC; convert it first" if is_arc else "no WARC record begins"
        return _resync(stream, start, "corrupt", message)
    header = _take_header(stream)
    if header is None:
        return _resync(stream, start, "corrupt", "the headers of the record have no end")
    headers = parse_headers(header.partition(b"\n")[2])
    length = headers.get("content-length", "")
    if not (length.isascii() and length.isdigit() and len(length) < 19):
        return _resync(stream, start, "corrupt", f"Content-Length is {length[:40]!r}")
    return _read_content(stream, start, headers, int(length), max_bytes)


def _read_content(
    stream: PullReader, start: int, headers: dict[str, str], length: int, max_bytes: int
) -> WarcRecord | LostRecord:
    content = stream.take(length if length <= max_bytes else min(HEAD_BYTES, length))
    num_bytes = len(content) + stream.skip(length - len(content))
    problem = _problem_after(stream, length, num_bytes)
    if problem is not None:
        # A length that is too large has swallowed the records after it: look for them in there.
        if num_bytes == len(content):
            stream.push_back(content)
        return _resync(stream, start, *problem)
    is_last = not _skip_newlines(stream)
    return WarcRecord(start, stream.offset - start, headers, content, length, is_last)


def _problem_after(
    stream: PullReader, length: int, num_bytes: int
) -> tuple[CasualtyKind, str] | None:
    """Why a record is not whole: its content is short, or something else than a record follows."""
    following = bytes(stream.peek(MAX_NEWLINES)[:MAX_NEWLINES])
    num_newlines = len(following) - len(following.lstrip(b"\r\n"))
    following = bytes(stream.peek(num_newlines + len(_MAGIC))[num_newlines:])
    if stream.damage is not None and not following:
        return stream.damage.kind, stream.damage.message
    if num_bytes < length:
        return "truncated", f"Content-Length is {length}, but {num_bytes} bytes are left"
    if following and num_newlines < MAX_NEWLINES and not following.startswith(_MAGIC):
        return "corrupt", f"Content-Length is {length}, but no record or end follows there"
    return None


def _resync(stream: PullReader, start: int, kind: CasualtyKind, message: str) -> LostRecord:
    """Give up what began at `start` and go to the next line that begins a record."""
    if stream.offset == start or not stream.peek(len(_MAGIC)).startswith(_MAGIC):
        stream.skip_to(_SYNC, _SYNC_BYTES)
        stream.skip(1)
    return LostRecord(start, stream.offset - start, kind, message)


def _take_header(stream: PullReader) -> bytes | None:
    """The bytes to the first empty line; None, nothing taken, when that is too far away."""
    for limit in (2 << 10, MAX_HEADER_BYTES):
        end = _END_OF_HEADERS.search(stream.peek(limit), 0, limit)
        if end is not None:
            return stream.take(end.end())
    return None


def _skip_newlines(stream: PullReader) -> bool:
    """Whether anything comes after the newlines here."""
    while head := stream.peek(1):
        num_newlines = len(head) - len(head.lstrip(b"\r\n"))
        stream.skip(num_newlines)
        if num_newlines == 0:
            return True
    return False
