"""From the bytes of a web page to its main text.

resiliparse is the default: F1 .936 on 76 pages of the article extraction benchmark with these
settings (.898 with its own: comment sections, post metadata and image descriptions cost precision).
trafilatura scores .962 at a sixth of the speed and is an option (`pip install trafilatura`).

Pages are refused, not timed out, when the extractor would take seconds on them: a timeout would
make the corpus depend on the load of the machine. Its cost was measured as 0.1 to 0.4 us for each
tag and each level of <div> or <article> above it, and as quadratic in the attributes of one tag.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLParserException, HTMLTree

from pipelines.sources.encoding import decode, repair
from storage.settings import ConfigError, Settings

# Browsers look for <meta charset> in the first 1,024 bytes, many pages have it later.
META_PROBE_BYTES = 8 << 10
MAX_NESTING_COST = 10_000_000
# A missing quote makes attributes of words; 100,000 in one tag take the parser 98 s.
LONG_TAG_CHARS = 50_000
MAX_ATTRIBUTES = 5_000
MAX_TITLE_CHARS = 1_000
_META_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]{2,40})", re.I)
_NESTING_TAG = re.compile(r"<(/?)(?:div|article)\b", re.I)
_LONG_TAG = re.compile(rf"<[a-zA-Z][^<>]{{{LONG_TAG_CHARS},}}")
_SPACES = re.compile(r"\s+")


class HtmlOptions(Settings):
    extractor: Literal["resiliparse", "trafilatura"] = "resiliparse"
    main_content: bool = True
    """False keeps navigation, headers and footers (resiliparse only)."""
    comments: bool = False
    """Keep comment sections."""
    max_page_bytes: int = Field(default=16 << 20, gt=0)
    """Larger pages are casualties; a parsed page needs about 20 times its bytes of memory."""


@dataclass(frozen=True, slots=True)
class Page:
    text: str
    title: str
    language: str
    """The `lang` attribute of the page; "" without one."""
    encoding: str
    num_replaced: int
    """Byte sequences that no encoding explained."""


class ExtractionError(Exception):
    """The extractor failed on a page."""


def extract(html: bytes, charset: str, options: HtmlOptions) -> Page:
    """The main text of a page; `charset` is what its HTTP header says. Raises ExtractionError."""
    markup, encoding, num_replaced = decode(html, charset or _meta_charset(html))
    refuse_hostile(markup)
    try:
        tree = HTMLTree.parse(markup)
        text = _extract_text(tree, markup, options)
        title = _SPACES.sub(" ", tree.title or "").strip()[:MAX_TITLE_CHARS]
    except HTMLParserException as error:
        raise ExtractionError(f"resiliparse: {error}") from error
    return Page(repair(text), repair(title), _language(tree), encoding, num_replaced)


def refuse_hostile(markup: str) -> None:
    """Raises ExtractionError for markup on which the extractor would take seconds."""
    cost = _nesting_cost(markup)
    if cost > MAX_NESTING_COST:
        raise ExtractionError(f"nested too deeply: {cost} tags times levels of <div>")
    for tag in _LONG_TAG.finditer(markup):
        num_attributes = len(tag[0].split())
        if num_attributes > MAX_ATTRIBUTES:
            raise ExtractionError(f"a tag with {num_attributes} attributes")


def _nesting_cost(markup: str) -> int:
    """Sum over all tags of the number of open <div> and <article> above them."""
    num_tags = markup.count("<")
    if num_tags * num_tags <= MAX_NESTING_COST:
        return 0
    cost = depth = position = 0
    for tag in _NESTING_TAG.finditer(markup):
        cost += depth * markup.count("<", position, tag.start())
        position = tag.start()
        depth = max(0, depth - 1) if tag[1] else depth + 1
    return cost + depth * markup.count("<", position)


def _extract_text(tree: HTMLTree, markup: str, options: HtmlOptions) -> str:
    if options.extractor == "trafilatura":
        # Deduplication in trafilatura is a process-wide cache: its output would depend on order.
        text = _trafilatura().extract(
            markup, include_comments=options.comments, favor_precision=True, deduplicate=False
        )
        return text or ""
    return extract_plain_text(
        tree,
        main_content=options.main_content,
        comments=options.comments,
        post_meta=False,
        alt_texts=False,
    )


def _trafilatura() -> Any:
    try:
        return importlib.import_module("trafilatura")
    except ImportError:
        raise ConfigError(
            "extractor: trafilatura needs the package of that name: pip install trafilatura"
        ) from None


def _meta_charset(html: bytes) -> str:
    match = _META_CHARSET.search(html[:META_PROBE_BYTES])
    return match[1].decode("ascii") if match else ""


def _language(tree: HTMLTree) -> str:
    root = tree.document.query_selector("html") if tree.document else None
    language = root.getattr("lang") if root is not None else None
    return (language or "").strip()[:35]
