"""The members of a .warc.gz, each at its compressed offset; entering the file at any byte.

By the standard each record is a member of its own, so a reader can start at any member. A member is
recognised by the gzip magic followed by data that inflates to `WARC/`. Where a member is damaged,
or other bytes follow it, the next such member is looked for.

A crawled .warc.gz that is stored uncompressed inside a member would be recognised too. That can
only matter when a part begins, or damage occurs, within that very member.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from pipelines.sources.pull import PullReader
from pipelines.sources.records import PartRange
from pipelines.sources.streams import CHUNK_BYTES, DamagedStreamError, new_decoder

MAGIC = b"\x1f\x8b\x08"
# What is inflated at a time: a member's end is found by giving back what it did not use.
FEED_BYTES = 32 << 10
PROBE_BYTES = 4 << 10


@dataclass(slots=True)
class Member:
    """One gzip member. Read `content` to its end before asking for the next member."""

    offset: int
    content: PullReader
    end: int = -1
    """Offset after the member, known once `content` is at its end."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes that belong to no member."""

    offset: int
    end: int


def members(file: BinaryIO, size: int, part: PartRange) -> Iterator[Member | Gap]:
    """The members of `file` that start in `part`, and the gaps between them."""
    start = 0 if part.start == 0 else find_member(file, part.start, part.end)
    while start is not None and start < size and not part.is_past(start):
        if not _is_gzip(file, start):
            next_start = find_member(file, start + 1, None)
            gap = Gap(start, size if next_start is None else next_start)
            if _holds_data(file, gap):
                yield gap
            start = next_start
            continue
        member = _open_member(file, start)
        yield member
        while member.content.skip(CHUNK_BYTES):
            pass
        is_whole = member.content.damage is None
        start = member.end if is_whole else find_member(file, start + 1, None)


def find_member(file: BinaryIO, start: int, end: int | None) -> int | None:
    """Offset of the first member at or after `start` (and before `end`) that holds a record."""
    position = start
    while end is None or position < end:
        file.seek(position)
        chunk = file.read(CHUNK_BYTES)
        found = chunk.find(MAGIC)
        while found >= 0:
            candidate = position + found
            if end is not None and candidate >= end:
                return None
            if _begins_record(file, candidate):
                return candidate
            found = chunk.find(MAGIC, found + 1)
        if len(chunk) < CHUNK_BYTES:
            return None
        position += len(chunk) - len(MAGIC) + 1
    return None


def _open_member(file: BinaryIO, start: int) -> Member:
    member = Member(start, PullReader(iter(())))
    member.content = PullReader(_inflate(file, member))
    return member


def _inflate(file: BinaryIO, member: Member) -> Generator[bytes, None, None]:
    """The decompressed bytes of one member; sets its `end`."""
    file.seek(member.offset)
    decoder = new_decoder("gzip")
    position = member.offset
    while data := file.read(FEED_BYTES):
        rest = yield from decoder.feed(data)
        position += len(data)
        if decoder.is_finished:
            member.end = position - len(rest)
            return
    member.end = position
    raise DamagedStreamError("truncated", "the file ends within a gzip member")


def _is_gzip(file: BinaryIO, offset: int) -> bool:
    file.seek(offset)
    return file.read(len(MAGIC)) == MAGIC


def _begins_record(file: BinaryIO, offset: int) -> bool:
    """Whether the bytes at `offset` inflate to the start of a WARC record."""
    file.seek(offset)
    head = bytearray()
    try:
        for piece in new_decoder("gzip").feed(file.read(PROBE_BYTES)):
            head += piece
            if len(head) >= 5:
                break
    except DamagedStreamError:
        return False
    return head.startswith(b"WARC/")


def _holds_data(file: BinaryIO, gap: Gap) -> bool:
    """Zero bytes after a member are padding, no gap."""
    for position in range(gap.offset, gap.end, CHUNK_BYTES):
        file.seek(position)
        if file.read(min(CHUNK_BYTES, gap.end - position)).strip(b"\0"):
            return True
    return False
