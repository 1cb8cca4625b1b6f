"""What a source yields: raw records, each with exactly one fate.

    raw records = documents + casualties + named skips

A reader yields `RawRecord`s in file order. Taking one is cheap; `parse()` does the expensive part
(HTML, wikitext, JSON), so that a restarted task can run past the parts that are already finished.

Part coordinate: a record belongs to the part in which its `offset` falls. The offset counts
compressed bytes where the format can be entered in the middle, else decompressed bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

CasualtyKind = Literal[
    "truncated",  # the file or record ends before its declared end
    "corrupt",  # a checksum or the framing does not hold
    "too_large",  # above max_document_bytes
    "encoding",  # not text in any encoding that could be found
    "invalid",  # well framed, but not what the format demands (no JSON object, no text field)
    "extraction",  # the extractor failed on it
    "unsafe_path",  # an archive member whose name climbs out of the archive
]


@dataclass(frozen=True, slots=True)
class Document:
    """One document as extracted: valid UTF-8, otherwise untouched. Unknown fields are empty."""

    text: str
    record: str
    """Address of the raw bytes relative to the source's root: `path`, `path#offset+length`,
    `path#page=id`, `path#row=n` or `archive!member`."""
    url: str = ""
    title: str = ""
    license: str = ""
    created: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Casualty:
    """A record that could not be read. Listed with its reason, never silent."""

    record: str
    kind: CasualtyKind
    message: str


@dataclass(frozen=True, slots=True)
class Skip:
    """A record that by definition is no document (a WARC request, a redirect): counted by name."""

    kind: str


Outcome: TypeAlias = Document | Casualty | Skip


@dataclass(frozen=True, slots=True)
class RawRecord:
    """A record found in a file, not yet parsed."""

    offset: int
    """Where it starts, in the part coordinate of its file."""
    parse: Callable[[], Outcome]


@dataclass(frozen=True, slots=True)
class PartRange:
    """Half-open range of part coordinates; a part holds the records that start in it."""

    start: int = 0
    end: int | None = None
    """None: to the end of the file."""

    def __contains__(self, offset: int) -> bool:
        return self.start <= offset and not self.is_past(offset)

    def is_past(self, offset: int) -> bool:
        """Whether a record at `offset` starts after this part, so that reading can stop."""
        return self.end is not None and offset >= self.end


WHOLE_FILE = PartRange()


def casualty(offset: int, record: str, kind: CasualtyKind, message: str) -> RawRecord:
    """A raw record that is already known to be lost."""
    lost = Casualty(record, kind, message)
    return RawRecord(offset, lambda: lost)


def skip(offset: int, kind: str) -> RawRecord:
    """A raw record that is already known to be no document."""
    return RawRecord(offset, lambda: Skip(kind))
