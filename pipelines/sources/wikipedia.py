"""MediaWiki XML dumps (`pages-articles`), compressed or not: one document per article.

Pages are cut out of the stream between `<page>` and `</page>`, which cannot occur inside a page
(markup there is escaped), and each is parsed on its own. So memory is bounded by one page, damage
costs the pages that it hits, and bzip2 files, multistream or pbzip2, can be entered in the middle.

Named skips: `namespace`, `redirect`, `content_model` (CSS, JSON), `empty`. Of a page with several
revisions the last one counts. A dump that does not end in `</mediawiki>` was cut: a casualty.

Address: `path#page=id`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias
from urllib.parse import quote

from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

from pipelines.sources.bzip2_streams import StreamRun, find_stream
from pipelines.sources.encoding import decode_utf8
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
from pipelines.sources.streams import COMPRESSION_SUFFIXES, codec_of, decoded_chunks
from pipelines.sources.wikitext import FILE_AND_CATEGORY, to_text
from storage import objects
from storage.settings import Settings

SUFFIXES = tuple(f".xml{codec}" for codec in COMPRESSION_SUFFIXES)
MAX_HEADER_BYTES = 1 << 20
# Title, contributor and other fields around the text of a page.
PAGE_OVERHEAD_BYTES = 1 << 20
_PAGE = re.compile(rb"<page>|</mediawiki>")
_PAGE_END = re.compile(rb"</page>")
_PAGE_BYTES = len(b"</mediawiki>")
_ROOT = re.compile(rb"<mediawiki\b[^>]{0,2000}>")
_LANGUAGE = re.compile(rb"xml:lang=[\"']([\w-]{1,20})[\"']")
_REDIRECT = re.compile(r"\s*#\s*redirect\b", re.I)
_INTEGER = re.compile(r"-?\d{1,9}", re.A)
Element: TypeAlias = Any  # lxml has no types


class Options(Settings):
    namespaces: list[int] = [0]
    """Namespaces whose pages are documents: 0 is articles, 4 project pages, 14 categories."""


@dataclass(frozen=True, slots=True)
class Site:
    """What the head of a dump says about its wiki."""

    base_url: str = ""
    """Of articles: a title is appended."""
    language: str = ""
    namespaces: Mapping[str, int] = field(default_factory=dict)
    """By lower-case name."""

    @property
    def dropped_prefixes(self) -> frozenset[str]:
        """Namespaces of links to files and categories, under their local names too."""
        local = {name for name, key in self.namespaces.items() if key in (6, 14)}
        return FILE_AND_CATEGORY | local

    def namespace_of(self, title: str) -> int:
        """For old dumps, whose pages do not name theirs."""
        prefix, colon, _ = title.partition(":")
        return self.namespaces.get(prefix.lower(), 0) if colon else 0


def can_enter(path: str, options: Options) -> bool:
    """Only bzip2, whose streams can be recognised."""
    return codec_of(path) == "bzip2"


def read(
    path: str, record_prefix: str, part: PartRange, options: Options, max_document_bytes: int
) -> Iterator[RawRecord]:
    """The pages of `path` that start in `part`."""
    site = read_site(path)
    if site is None:
        if 0 in part:
            yield casualty(0, record_prefix, "invalid", "no MediaWiki XML dump")
        return
    pages = _Pages(record_prefix, part, site, frozenset(options.namespaces), max_document_bytes)
    if codec_of(path) == "bzip2":
        yield from _read_bzip2(path, pages)
        return
    reader = PullReader(decoded_chunks(path))
    yield from pages.cut(reader, lambda offset: offset)
    yield from pages.end(reader, reader.offset, pages.cut_off is not None)


def read_site(path: str) -> Site | None:
    """The head of a dump; None when the file is none. A damaged head gives an empty Site."""
    reader = PullReader(decoded_chunks(path))
    head = bytes(reader.peek(MAX_HEADER_BYTES)[:MAX_HEADER_BYTES])
    root = _ROOT.search(head)
    if root is None:
        return None if reader.damage is None else Site()
    match = _LANGUAGE.search(root[0])
    language = match[1].decode() if match else ""
    start, end = head.find(b"<siteinfo>"), head.find(b"</siteinfo>")
    try:
        info = _parse_xml(head[start : end + len(b"</siteinfo>")])
    except etree.XMLSyntaxError:
        return Site(language=language)
    names = info.iterfind("namespaces/namespace")
    folder, slash, _ = (info.findtext("base") or "").rpartition("/")
    return Site(
        base_url=folder + slash,
        language=language,
        namespaces={(name.text or "").lower(): _integer(name.get("key")) or 0 for name in names},
    )


def _read_bzip2(path: str, pages: _Pages) -> Iterator[RawRecord]:
    with objects.open_read(path) as file:
        start = 0 if pages.part.start == 0 else find_stream(file, pages.part.start, pages.part.end)
        while start is not None:
            run = StreamRun(file, start)
            reader = PullReader(run.chunks())
            yield from pages.cut(reader, run.stream_of)
            stream = run.current_stream
            cut_here = pages.cut_off is not None and run.stream_of(pages.cut_off) == stream
            yield from pages.end(reader, stream, cut_here)
            if pages.is_past or reader.damage is None:
                return
            start = find_stream(file, stream + 1, pages.part.end)


@dataclass(slots=True)
class _Pages:
    """Cuts the pages of one part out of a dump."""

    prefix: str
    part: PartRange
    site: Site
    namespaces: frozenset[int]
    max_bytes: int
    is_past: bool = False
    """A page after the part was met."""
    is_closed: bool = False
    """`</mediawiki>` was met."""
    cut_off: int | None = None
    """Offset in the reader of a page without end."""
    begins_file: bool = False
    """Whether the reader begins with the file, and the part too."""
    last_page: int = -1
    """Coordinate of the last page begun in this reader, -1 before the first."""

    def cut(self, reader: PullReader, coordinate: Callable[[int], int]) -> Iterator[RawRecord]:
        """The pages in `reader` to its end or the part's; `coordinate` maps its offsets."""
        self.cut_off, self.last_page = None, -1
        self.begins_file = coordinate(0) == self.part.start == 0
        while tag := reader.skip_to(_PAGE, _PAGE_BYTES):
            if tag != b"<page>":
                self.is_closed = True
                reader.skip(len(tag))
                continue
            start = reader.offset
            offset = coordinate(start)
            if self.part.is_past(offset):
                self.is_past = True
                return
            self.last_page = offset
            page = self._take_page(reader, offset)
            if offset >= self.part.start:
                yield page

    def end(self, reader: PullReader, offset: int, is_reported: bool) -> Iterator[RawRecord]:
        """The damage at `offset` or the missing end of a dump, if that is what ended `reader`."""
        if self.is_past or is_reported:
            return
        if reader.damage is not None:
            if offset in self.part:
                kind, message = reader.damage.kind, reader.damage.message
                yield casualty(offset, f"{self.prefix}#{offset}", kind, message)
        elif not self.is_closed and (self.last_page >= 0 or self.begins_file):
            # Said by the part of the last page: `</mediawiki>` itself may be cut by a stream.
            last = max(0, self.last_page)
            message = "the dump has no </mediawiki>"
            yield casualty(last, f"{self.prefix}#{last}", "truncated", message)

    def _take_page(self, reader: PullReader, offset: int) -> RawRecord:
        start = reader.offset
        address = f"{self.prefix}#{offset}"
        end = reader.find(b"</page>", self.max_bytes + PAGE_OVERHEAD_BYTES)
        if end >= 0:
            xml = reader.take(end + len(b"</page>"))
            return RawRecord(offset, partial(self.parse, xml, address))
        if reader.skip_to(_PAGE_END, _PAGE_BYTES):
            message = f"a page above max_document_bytes={self.max_bytes}"
            return casualty(offset, address, "too_large", message)
        self.cut_off = start
        kind = reader.damage.kind if reader.damage else "truncated"
        message = reader.damage.message if reader.damage else "the dump ends within a page"
        return casualty(offset, address, kind, message)

    def parse(self, xml: bytes, address: str) -> Outcome:
        """The article in one `<page>`; `address` names it when it cannot be parsed."""
        try:
            page = _parse_xml(xml)
        except etree.XMLSyntaxError as error:
            return Casualty(address, "corrupt", f"not well-formed: {error}")
        title = page.findtext("title") or ""
        key = _integer(page.findtext("ns"))
        if (self.site.namespace_of(title) if key is None else key) not in self.namespaces:
            return Skip("namespace")
        revision = next(iter(page.findall("revision")[::-1]), page)
        wikitext = revision.findtext("text") or ""
        if page.find("redirect") is not None or _REDIRECT.match(wikitext):
            return Skip("redirect")
        if (revision.findtext("model") or "wikitext") != "wikitext":
            return Skip("content_model")
        text = to_text(wikitext, self.site.dropped_prefixes)
        if len(text.encode()) > self.max_bytes:
            message = f"text above max_document_bytes={self.max_bytes}"
            return Casualty(address, "too_large", message)
        if not text:
            return Skip("empty")
        return _document(text, page, revision, self.prefix, self.site)


def _document(text: str, page: Element, revision: Element, prefix: str, site: Site) -> Document:
    title = page.findtext("title") or ""
    identifier = page.findtext("id") or ""
    path = quote(title.replace(" ", "_"), safe="/:@!$*(),;'~")
    meta = {
        "id": identifier,
        "revision": revision.findtext("id") or "",
        "language": site.language,
    }
    return Document(
        text=text,
        record=f"{prefix}#page={identifier}",
        url=site.base_url + path if site.base_url else "",
        title=title,
        created=revision.findtext("timestamp") or "",
        meta={name: value for name, value in meta.items() if value},
    )


def _integer(text: str | None) -> int | None:
    return int(text) if text and _INTEGER.fullmatch(text.strip()) else None


def _parse_xml(xml: bytes) -> Element:
    """No entities, no network, no huge trees; broken UTF-8 is repaired first."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
    text, _ = decode_utf8(xml)
    return etree.fromstring(text.encode(), parser)
