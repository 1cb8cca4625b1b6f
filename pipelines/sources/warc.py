"""Web archives: WARC with archived pages, WET with extracted text.

Documents are the HTML of `response` records with status 200 and the plain text of `conversion`
records. Everything else is a named skip: `warcinfo`, `request`, `metadata`, `revisit`, `resource`,
`continuation`, `unknown_type`, `http_status` (redirects, errors), `media_type` (images, PDF),
`empty` (no text on the page).

Compression: gzip with a member per record (can be entered anywhere), gzip as one stream, zstd, lz4,
bzip2, xz, none. An uncompressed file is not entered in the middle, because a page may quote a WARC
record. A damaged record is a casualty; reading goes on at the next member or record.

Address: `path#offset+length` in bytes of the file where a gzip member holds one record,
`path#offset!inner+length` for a record within a longer member, else decompressed bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from pipelines.sources.encoding import decode, repair
from pipelines.sources.gzip_members import Gap, Member, members
from pipelines.sources.html import ExtractionError, HtmlOptions, extract
from pipelines.sources.http import HttpResponse, decode_body, parse_response
from pipelines.sources.pull import PullReader
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
    decoded_chunks,
)
from pipelines.sources.warc_records import LostRecord, WarcRecord, read_records
from storage import objects

SUFFIXES = tuple(
    f".{name}{codec}" for name in ("warc", "warc.wet", "wet") for codec in COMPRESSION_SUFFIXES
)
SKIPPED_TYPES = ("warcinfo", "request", "metadata", "revisit", "resource", "continuation")
HTML_TYPES = ("text/html", "application/xhtml+xml")
RESERVATION_HEADERS = ("tdm-reservation", "x-robots-tag")
"""Of a response, kept in `meta`: what its publisher says on text and data mining."""


class Options(HtmlOptions):
    """How pages become text; see HtmlOptions."""


def can_enter(path: str, options: Options) -> bool:
    """Only gzip: its members can be recognised."""
    return _is_gzip(path)


def read(
    path: str, record_prefix: str, part: PartRange, options: Options, max_document_bytes: int
) -> Iterator[RawRecord]:
    """The records of `path` that start in `part`."""
    found = (
        _read_members(path, record_prefix, part, max_document_bytes)
        if _is_gzip(path)
        else _read_stream(path, record_prefix, part, max_document_bytes)
    )
    for offset, address, record in found:
        if isinstance(record, LostRecord):
            yield casualty(offset, address, record.kind, record.message)
        else:
            yield RawRecord(
                offset, partial(to_document, record, address, options, max_document_bytes)
            )


Found = Iterator[tuple[int, str, WarcRecord | LostRecord]]


def _is_gzip(path: str) -> bool:
    """By content; a .gz whose first bytes are damaged is searched for members all the same."""
    codec = codec_of(path)
    if codec or not path.lower().endswith(".gz"):
        return codec == "gzip"
    return not objects.read_range(path, 0, min(5, objects.size(path))).startswith(b"WARC/")


def _read_members(path: str, prefix: str, part: PartRange, max_bytes: int) -> Found:
    """(offset, address, record) of a gzip file; offsets are those of the members."""
    with objects.open_read(path) as file:
        for member in members(file, objects.size(path), part):
            if isinstance(member, Gap):
                num_bytes = member.end - member.offset
                lost = LostRecord(0, num_bytes, "corrupt", f"{num_bytes} bytes of no gzip member")
                yield member.offset, f"{prefix}#{member.offset}+{num_bytes}", lost
                continue
            for record in read_records(member.content, max_bytes):
                yield member.offset, _member_address(prefix, member, record), record


def _member_address(prefix: str, member: Member, record: WarcRecord | LostRecord) -> str:
    if isinstance(record, WarcRecord) and record.offset == 0 and record.is_last:
        return f"{prefix}#{member.offset}+{member.end - member.offset}"
    return f"{prefix}#{member.offset}!{record.offset}+{record.num_bytes}"


def _read_stream(path: str, prefix: str, part: PartRange, max_bytes: int) -> Found:
    """(offset, address, record) of a file that is read from its beginning."""
    for record in read_records(PullReader(decoded_chunks(path)), max_bytes):
        if part.is_past(record.offset):
            return
        if record.offset >= part.start:
            yield record.offset, f"{prefix}#{record.offset}+{record.num_bytes}", record


def to_document(
    record: WarcRecord, address: str, options: Options, max_document_bytes: int
) -> Outcome:
    """The page or text in one record."""
    kind = record.headers.get("warc-type", "").lower()
    if kind in SKIPPED_TYPES:
        return Skip(kind)
    if kind == "conversion":
        return _converted(record, address)
    if kind != "response":
        return Skip("unknown_type")
    response = parse_response(record.content)
    if response.status != 200:
        return Skip("http_status")
    if response.media_type not in HTML_TYPES:
        return Skip("media_type")
    if not record.is_complete:
        return _too_large(address, record.content_bytes, max_document_bytes)
    return _page(record, response, address, options, max_document_bytes)


def _page(
    record: WarcRecord, response: HttpResponse, address: str, options: Options, max_bytes: int
) -> Outcome:
    limit = min(options.max_page_bytes, max_bytes)
    try:
        body, is_truncated = decode_body(response, limit)
        page = extract(body, response.charset, options)
    except TooLargeError:
        return Casualty(address, "too_large", f"a page above {limit} bytes")
    except DamagedStreamError as error:
        return Casualty(address, error.kind, f"HTTP body: {error.message}")
    except ExtractionError as error:
        return Casualty(address, "extraction", str(error))
    if not page.text.strip():
        return Skip("empty")
    meta = {
        "language": page.language,
        "encoding": page.encoding if page.encoding != "utf-8" else "",
        "utf8_repaired": str(page.num_replaced or ""),
        "http_truncated": "1" if is_truncated else "",
        **{name: response.headers.get(name, "") for name in RESERVATION_HEADERS},
    }
    return _document(record, address, page.text, page.title, meta)


def _converted(record: WarcRecord, address: str) -> Outcome:
    """A WET record: text that somebody else extracted."""
    if not record.headers.get("content-type", "text/plain").startswith("text/plain"):
        return Skip("media_type")
    if not record.is_complete:
        return _too_large(address, record.content_bytes, len(record.content))
    text, encoding, num_replaced = decode(record.content)
    if not text.strip():
        return Skip("empty")
    meta = {
        "language": record.headers.get("warc-identified-content-language", ""),
        "encoding": encoding if encoding != "utf-8" else "",
        "utf8_repaired": str(num_replaced or ""),
    }
    return _document(record, address, repair(text), "", meta)


def _document(
    record: WarcRecord, address: str, text: str, title: str, meta: dict[str, str]
) -> Document:
    headers = record.headers
    return Document(
        text=text,
        record=address,
        url=headers.get("warc-target-uri", "").strip("<>"),
        title=title,
        created=headers.get("warc-date", ""),
        meta={
            name: value
            for name, value in {
                "id": headers.get("warc-record-id", ""),
                "warc_truncated": headers.get("warc-truncated", ""),
                **meta,
            }.items()
            if value
        },
    )


def _too_large(address: str, num_bytes: int, max_document_bytes: int) -> Casualty:
    message = f"a record of {num_bytes} bytes, above max_document_bytes={max_document_bytes}"
    return Casualty(address, "too_large", message)
