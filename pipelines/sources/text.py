"""Plain text files, compressed or not: one document per file or per line.

`headers: gutenberg` cuts the header and footer of Project Gutenberg books and reads title, author,
language and release date from it. Legacy encodings are found per document (see encoding.py); the
encoding is kept in `meta["encoding"]` when it is not UTF-8. Line ends become newlines.

Address: the path, or `path#offset+length` in decompressed bytes for lines.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from functools import partial
from typing import Literal, Self

import pydantic

from pipelines.sources import gutenberg
from pipelines.sources.encoding import REPLACEMENT, decode, looks_binary, repair
from pipelines.sources.lines import read_lines
from pipelines.sources.records import (
    Casualty,
    Document,
    Outcome,
    PartRange,
    RawRecord,
    Skip,
    casualty,
)
from pipelines.sources.streams import (
    COMPRESSION_SUFFIXES,
    DamagedStreamError,
    TooLargeError,
    codec_of,
    read_decoded,
)
from storage.settings import Settings

SUFFIXES = tuple(
    f".{name}{codec}" for name in ("txt", "text", "md") for codec in COMPRESSION_SUFFIXES
)


class Options(Settings):
    split: Literal["file", "line"] = "file"
    """What makes a document."""
    headers: Literal["none", "gutenberg"] = "none"
    encoding: str = "auto"
    """`auto`, or the codec of all files, such as `latin-1`."""

    @pydantic.field_validator("encoding")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            return name if name == "auto" else codecs.lookup(name).name
        except LookupError:
            raise ValueError(f"no text encoding is called {name!r}; try utf-8") from None

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.split == "line" and self.headers != "none":
            raise ValueError(f"headers: {self.headers} needs split: file")
        if self.split == "line" and self.encoding.startswith(("utf-16", "utf-32")):
            raise ValueError(f"{self.encoding} has no newline bytes; use split: file")
        return self


def can_enter(path: str, options: Options) -> bool:
    """Uncompressed lines can be entered after any newline."""
    return options.split == "line" and not codec_of(path)


def read(
    path: str, record_prefix: str, part: PartRange, options: Options, max_document_bytes: int
) -> Iterator[RawRecord]:
    """The documents of `path` that start in `part`."""
    if options.split == "line":
        yield from _read_lines(path, record_prefix, part, options, max_document_bytes)
    elif 0 in part:
        yield RawRecord(0, partial(_read_file, path, record_prefix, options, max_document_bytes))


def to_document(data: bytes, record: str, options: Options) -> Outcome:
    """The document in the bytes of one file or line."""
    if looks_binary(data):
        return Casualty(record, "encoding", "not text: too many control characters")
    text, encoding, num_replaced = _decode(data, options)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    book = gutenberg.strip(text) if options.headers == "gutenberg" else gutenberg.Book(text)
    if not book.text.strip():
        return Skip("empty")
    meta = dict(book.meta)
    if encoding != "utf-8":
        meta["encoding"] = encoding
    if num_replaced:
        meta["utf8_repaired"] = str(num_replaced)
    return Document(book.text, record, title=book.title, created=book.created, meta=meta)


def _decode(data: bytes, options: Options) -> tuple[str, str, int]:
    if options.encoding != "auto":
        text = repair(data.decode(options.encoding, "replace"))
        return text, options.encoding, text.count(REPLACEMENT)
    declared = gutenberg.declared_charset(data) if options.headers == "gutenberg" else ""
    return decode(data, declared)


def _read_file(path: str, record: str, options: Options, max_document_bytes: int) -> Outcome:
    try:
        data = read_decoded(path, max_document_bytes)
    except TooLargeError:
        message = f"the file is above max_document_bytes={max_document_bytes}"
        return Casualty(record, "too_large", message)
    except DamagedStreamError as error:
        return Casualty(record, error.kind, error.message)
    return to_document(data, record, options)


def _read_lines(
    path: str, record_prefix: str, part: PartRange, options: Options, max_document_bytes: int
) -> Iterator[RawRecord]:
    for line in read_lines(path, part, max_document_bytes):
        record = f"{record_prefix}#{line.offset}+{line.num_bytes}"
        lost = line.why_lost(max_document_bytes)
        if lost:
            yield casualty(line.offset, record, *lost)
        else:
            assert line.data is not None
            data = line.data.removesuffix(b"\r")
            yield RawRecord(line.offset, partial(to_document, data, record, options))
