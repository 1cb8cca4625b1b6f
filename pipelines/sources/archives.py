"""Files in tar and zip archives, read in place: nothing is ever written to disk.

tar is parsed here because Python's tarfile stops without an error at a damaged header and reads
whatever length a header claims into memory. A header counts only when its checksum holds; after a
damaged one the rest of the archive is one lost member, and so is what a missing end marker hides.

zip is read through its directory with the standard library; members that overlap (bombs made of
one shared stream) are lost members.
"""

from __future__ import annotations

import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

from pipelines.sources.pull import PullReader
from pipelines.sources.records import CasualtyKind

BLOCK_BYTES = 512
MAX_EXTENSION_BYTES = 1 << 20
_COMMIT = re.compile(rb"[0-9a-f]{40}(?:[0-9a-f]{24})?")
# What zipfile raises on damaged bytes; RuntimeError and NotImplementedError are its words for
# passwords and unknown methods.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
)
_ZIP_HEADER_BYTES = 30
_ZIP_ENCRYPTED = 1

MemberKind = Literal["file", "folder", "link", "device", "lost"]


class ArchiveError(Exception):
    """A member, or the rest of an archive, cannot be read."""

    def __init__(self, kind: CasualtyKind, message: str) -> None:
        super().__init__(message)
        self.kind: CasualtyKind = kind
        self.message = message


@dataclass(frozen=True, slots=True)
class ArchiveMember:
    name: str
    kind: MemberKind
    num_bytes: int
    """Declared size."""
    offset: int
    """Of its header: in the decompressed tar, in the zip file."""
    read: Callable[[int], bytes]
    """At most so many bytes of the content; of a tar only before the next member is taken. Raises
    ArchiveError, at once for a lost member."""
    commit: str = ""
    """Of the repository, where `git archive` made the archive."""


def has_unsafe_name(name: str) -> bool:
    """Whether a name is empty, absolute, climbs with `..`, or holds control characters."""
    parts = name.replace("\\", "/").split("/")
    has_drive = len(parts[0]) == 2 and parts[0].endswith(":")
    return parts[0] == "" or has_drive or ".." in parts or not name.isprintable()


def tar_members(reader: PullReader) -> Iterator[ArchiveMember]:
    """The members of an uncompressed tar, in order; a lost one ends it."""
    extensions = _Extensions()
    while True:
        offset = reader.offset
        try:
            header = _take_header(reader)
            if header is None:
                return
            if header.type in (b"x", b"g", b"L", b"K"):
                extensions.take(reader, header)
                continue
            header = extensions.apply(header)
        except ArchiveError as error:
            yield _lost(offset, error)
            return
        content = _TarContent(reader, reader.offset + header.num_bytes, header.num_bytes)
        yield ArchiveMember(
            header.name, header.kind, header.num_bytes, offset, content.read, extensions.commit
        )
        if content.was_lost:
            return
        try:
            content.skip_rest()
        except ArchiveError as error:
            yield _lost(offset, error)
            return


@dataclass(frozen=True, slots=True)
class _TarHeader:
    name: str
    type: bytes
    num_bytes: int

    @property
    def kind(self) -> MemberKind:
        if self.type == b"5" or self.name.endswith("/"):
            return "folder"
        if self.type in (b"1", b"2"):
            return "link"
        return "device" if self.type in (b"3", b"4", b"6", b"S") else "file"


@dataclass(slots=True)
class _TarContent:
    """The content of the member in hand."""

    reader: PullReader
    end: int
    num_bytes: int
    was_lost: bool = False

    def read(self, max_bytes: int) -> bytes:
        wanted = min(max_bytes, self.end - self.reader.offset)
        data = self.reader.take(wanted)
        if len(data) < wanted:
            self.was_lost = True
            raise _cut_short(self.reader, "the archive ends within a member")
        return data

    def skip_rest(self) -> None:
        """To the next header. Raises ArchiveError when the archive ends before."""
        left = self.end - self.reader.offset
        if self.reader.skip(left) < left:
            raise _cut_short(self.reader, "the archive ends within a member")
        self.reader.skip(-self.num_bytes % BLOCK_BYTES)


@dataclass(slots=True)
class _Extensions:
    """What pax and GNU headers say about the member after them."""

    next: dict[bytes, bytes] = field(default_factory=dict)
    commit: str = ""

    def take(self, reader: PullReader, header: _TarHeader) -> None:
        if header.num_bytes > MAX_EXTENSION_BYTES:
            raise ArchiveError("corrupt", f"an extended header of {header.num_bytes} bytes")
        data = reader.take(header.num_bytes)
        reader.skip(-header.num_bytes % BLOCK_BYTES)
        if len(data) < header.num_bytes:
            raise _cut_short(reader, "the archive ends within an extended header")
        if header.type == b"L":
            self.next[b"path"] = data.rstrip(b"\0")
        elif header.type == b"x":
            self.next |= _parse_pax(data)
        elif header.type == b"g":
            comment = _parse_pax(data).get(b"comment", b"")
            self.commit = comment.decode() if _COMMIT.fullmatch(comment) else self.commit

    def apply(self, header: _TarHeader) -> _TarHeader:
        path, size = self.next.get(b"path"), self.next.get(b"size", b"")
        self.next = {}
        return _TarHeader(
            header.name if path is None else path.decode(errors="replace"),
            header.type,
            int(size) if size.isdigit() and len(size) < 19 else header.num_bytes,
        )


def _take_header(reader: PullReader) -> _TarHeader | None:
    """The next header block, None at the end marker. Raises ArchiveError for anything else."""
    block = reader.take(BLOCK_BYTES)
    if len(block) < BLOCK_BYTES:
        raise _cut_short(reader, "the archive has no end marker")
    if not block.strip(b"\0"):
        return None
    stored = _number(block[148:156])
    if stored != sum(block) - sum(block[148:156]) + 8 * ord(" "):
        raise ArchiveError("corrupt", "a tar header with a wrong checksum")
    num_bytes = _number(block[124:136])
    if num_bytes is None:
        raise ArchiveError("corrupt", "a tar header without a size")
    name = block[:100].partition(b"\0")[0]
    prefix = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    path = prefix + b"/" + name if prefix else name
    return _TarHeader(path.decode(errors="replace"), block[156:157], num_bytes)


def _number(stored: bytes) -> int | None:
    """Octal digits, or base 256 when the first bit is set."""
    if stored[0] & 0x80:
        return int.from_bytes(stored, "big") & ((1 << 62) - 1)
    digits = stored.strip(b" \0")
    return int(digits, 8) if re.fullmatch(rb"[0-7]+", digits) else None


def _parse_pax(data: bytes) -> dict[bytes, bytes]:
    """Records of `length key=value\\n`; stops at the first that is not one."""
    found: dict[bytes, bytes] = {}
    while match := re.match(rb"(\d{1,7}) ", data):
        length = int(match[1])
        key, equals, value = data[match.end() : length].partition(b"=")
        if not equals or length > len(data):
            break
        found[key] = value.removesuffix(b"\n")
        data = data[length:]
    return found


def _cut_short(reader: PullReader, message: str) -> ArchiveError:
    if reader.damage is not None:
        return ArchiveError(reader.damage.kind, reader.damage.message)
    return ArchiveError("truncated", message)


def _lost(offset: int, error: ArchiveError) -> ArchiveMember:
    def read(max_bytes: int) -> bytes:
        raise error

    return ArchiveMember("", "lost", 0, offset, read)


def zip_members(file: BinaryIO) -> Iterator[ArchiveMember]:
    """The members of a zip by their offset. Raises ArchiveError when its directory is damaged."""
    try:
        archive = zipfile.ZipFile(file)
    except _ZIP_ERRORS as error:
        raise ArchiveError("corrupt", f"no zip directory: {error}") from error
    comment = archive.comment
    commit = comment.decode() if _COMMIT.fullmatch(comment) else ""
    previous_end = 0
    for info in sorted(archive.infolist(), key=lambda info: (info.header_offset, info.filename)):
        overlaps = info.header_offset < previous_end
        previous_end = max(
            previous_end, info.header_offset + _ZIP_HEADER_BYTES + info.compress_size
        )
        yield ArchiveMember(
            info.filename,
            _zip_kind(info),
            info.file_size,
            info.header_offset,
            _zip_reader(archive, info, overlaps),
            commit,
        )


def _zip_kind(info: zipfile.ZipInfo) -> MemberKind:
    mode = info.external_attr >> 16
    if info.filename.endswith("/"):
        return "folder"
    if stat.S_ISLNK(mode):
        return "link"
    return "file" if stat.S_IFMT(mode) in (0, stat.S_IFREG) else "device"


def _zip_reader(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, overlaps: bool
) -> Callable[[int], bytes]:
    def read(max_bytes: int) -> bytes:
        if overlaps:
            raise ArchiveError("corrupt", "the member shares bytes with another one")
        if info.flag_bits & _ZIP_ENCRYPTED:
            raise ArchiveError("invalid", "the member is encrypted")
        try:
            with archive.open(info) as member:
                return member.read(max_bytes)
        except _ZIP_ERRORS as error:
            raise ArchiveError("corrupt", f"{type(error).__name__}: {error}") from error

    return read
