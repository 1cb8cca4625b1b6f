"""JSON Lines: one object per line, plain or gzip, zstd, bzip2, xz, lz4.

An invalid line is a casualty and reading goes on. A line above `max_document_bytes` is a casualty
and reading goes on at the next newline. A damaged file gives the documents before the damage and
one casualty. Invalid UTF-8 and lone surrogates become U+FFFD, counted in `meta["utf8_repaired"]`;
NUL characters are valid text and stay.

Address: `path#offset+length` in decompressed bytes. Plain files can be entered at any newline.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

from pipelines.sources.encoding import decode_utf8
from pipelines.sources.fields import FieldOptions, to_document
from pipelines.sources.lines import read_lines
from pipelines.sources.records import Casualty, Outcome, PartRange, RawRecord, casualty
from pipelines.sources.streams import COMPRESSION_SUFFIXES, codec_of

SUFFIXES = tuple(
    f".{name}{codec}" for name in ("jsonl", "ndjson", "json") for codec in COMPRESSION_SUFFIXES
)
_BOM = b"\xef\xbb\xbf"


class Options(FieldOptions):
    """Names of the fields; see FieldOptions."""


def can_enter(path: str, options: Options) -> bool:
    """Uncompressed lines can be entered after any newline."""
    return not codec_of(path)


def read(
    path: str, record_prefix: str, part: PartRange, options: Options, max_document_bytes: int
) -> Iterator[RawRecord]:
    """The lines of `path` that start in `part`."""
    for line in read_lines(path, part, max_document_bytes):
        record = f"{record_prefix}#{line.offset}+{line.num_bytes}"
        lost = line.why_lost(max_document_bytes)
        if lost:
            yield casualty(line.offset, record, *lost)
        else:
            assert line.data is not None
            parse = partial(parse_line, line.data, record, options, max_document_bytes)
            yield RawRecord(line.offset, parse)


def parse_line(data: bytes, record: str, options: Options, max_document_bytes: int) -> Outcome:
    """The document in one line of JSON."""
    text, num_replaced = decode_utf8(data.removeprefix(_BOM))
    try:
        row = json.loads(text)
    except ValueError as error:
        return Casualty(record, "invalid", f"not JSON: {error}")
    except RecursionError:
        return Casualty(record, "invalid", "JSON nested too deeply")
    if not isinstance(row, dict):
        message = f"a line must hold one JSON object, found {type(row).__name__}"
        return Casualty(record, "invalid", message)
    meta = {"utf8_repaired": str(num_replaced)} if num_replaced else None
    return to_document(row, record, options, max_document_bytes, meta)
