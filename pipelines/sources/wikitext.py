"""From wikitext to plain text, in time linear in the text.

Templates, tables, references, files, categories and comments go; link labels, headings, lists,
formulas (as `$...$`) and code stay. A few templates that only wrap text give their text back.

mwparserfromhell was tried first: 0.8 MB/s on English Wikipedia, and 4.7 s on a hostile page of
30 KB (`[http://x ` repeated; quadratic). Here nested markup is one scan over its tokens with a
stack, and each regular expression has bounded repeats or cannot backtrack.
"""

from __future__ import annotations

import html
import re
from bisect import bisect_left
from collections.abc import Collection
from dataclasses import dataclass, field

FILE_AND_CATEGORY = frozenset({"file", "image", "category", "media"})

# Elements whose content is no prose. All others lose their tags only.
_DROPPED = (
    "ref|references|gallery|timeline|score|graph|mapframe|maplink|imagemap|templatedata|hiero|"
    "inputbox|categorytree|style|script|indicator|chem|ce|templatestyles"
)
_LITERAL = "nowiki|pre|syntaxhighlight|source|code|math"
_ELEMENT = re.compile(rf"<(/?)({_DROPPED}|{_LITERAL})\b([^<>]{{0,2000}})>", re.I)
_TAG = re.compile(r"</?[a-zA-Z][a-zA-Z0-9]{0,20}\b[^<>]{0,2000}>")
_BREAK = re.compile(r"<(?:br|hr|/p|/div|/li)\b[^<>]{0,200}>", re.I)
_TOKEN = re.compile(r"\{\{+|\}\}+|\{\||\|\}|\[\[|\]\]")
_EXTERNAL = re.compile(
    r"\[(?:(?:https?|ftps?|irc|news|gopher):)?//[^\s\[\]<>\"]{1,2000}[ \t]*([^\[\]\n]{0,2000})\]|"
    r"\[mailto:[^\s\[\]]{1,200}[ \t]*([^\[\]\n]{0,2000})\]",
    re.I,
)
_QUOTES = re.compile(r"''+")
_SWITCH = re.compile(r"__[A-Z]{3,30}__")
_VARIANT = re.compile(r"-\{([^{}]{0,1000})\}-")
_INTERWIKI = re.compile(r"[a-z]{2,3}(?:-[a-z]{2,12})?:(?!/)")
_EMPTY_BRACKETS = re.compile(r"\([ ,;:/\u2013\u2014-]{0,40}\)")
_HEADING = re.compile(r"(={1,6})[ \t]*(\S.*?)[ \t]*={1,6}[ \t]*$")
_LIST = re.compile(r"[*#:;]+[ \t]*")
_EMPTY_LINES = re.compile(r"\n{3,}")
_SPACES = re.compile(r"[ \t\u00a0]{2,}|[\t\u00a0]")

_LITERAL_NAMES = frozenset(_LITERAL.split("|"))
# Deeper brackets are ordinary text; no page that people wrote nests this deep.
MAX_DEPTH = 100
MAX_TEMPLATE_CHARS = 2_000

# Markup characters inside <nowiki> and code are noncharacters until the end.
_MARKUP = "[]{}|'=*#:;<>&_-! \t\n"
_HIDE = {ord(char): 0xFDD0 + index for index, char in enumerate(_MARKUP)}
_HIDDEN = re.compile("[\ufdd0-\ufdef]")

# Templates that wrap text, with the parameter that is their text (-1: the last one).
_TEXT_PARAMETER = {
    "lang": 2, "transl": -1, "transliteration": -1, "nowrap": 1, "nobr": 1, "small": 1,
    "quote": 1, "blockquote": 1, "cquote": 1, "abbr": 1, "tooltip": 1, "sc": 1, "smallcaps": 1,
    "math": 1, "mvar": 1, "ill": 1, "interlanguage link": 1, "visible anchor": 1,
}  # fmt: skip
_QUANTITIES = ("convert", "cvt")
_RANGES = ("to", "and", "or", "by", "-", "\u2013")
_SIGNS = {"ndash": "\u2013", "mdash": "\u2014", "snd": " \u2013 ", "spnd": " \u2013 ",
          "nbsp": " ", "'": "'", "!": "|", "=": "="}  # fmt: skip


def to_text(wikitext: str, dropped_prefixes: Collection[str] = FILE_AND_CATEGORY) -> str:
    """The prose of a page; `dropped_prefixes` are the lower-case names of link namespaces that
    show nothing where they stand (files, categories) in the wiki's language."""
    text = _drop_comments(_HIDDEN.sub("\ufffd", wikitext))
    text = _drop_elements(text)
    text = _VARIANT.sub(_first_variant, text)
    text = _resolve_nested(text, dropped_prefixes)
    text = _EXTERNAL.sub(lambda match: match[1] or match[2] or "", text)
    text = _TAG.sub("", _BREAK.sub("\n", text))
    text = _SWITCH.sub("", _QUOTES.sub(_apostrophes, text))
    text = _SPACES.sub(" ", _EMPTY_BRACKETS.sub("", html.unescape(text)))
    lines = _drop_empty_sections([_clean_line(line) for line in text.split("\n")])
    text = _EMPTY_LINES.sub("\n\n", "\n".join(lines).strip())
    return _HIDDEN.sub(lambda hidden: _MARKUP[ord(hidden[0]) - 0xFDD0], text).strip()


def _drop_comments(text: str) -> str:
    pieces: list[str] = []
    position = 0
    while (start := text.find("<!--", position)) >= 0:
        pieces.append(text[position:start])
        end = text.find("-->", start)
        if end < 0:
            return "".join(pieces)
        position = end + 3
    return "".join([*pieces, text[position:]])


def _drop_elements(text: str) -> str:
    """Without references and the like; literal elements keep their content, hidden from markup."""
    tags = list(_ELEMENT.finditer(text))
    closing: dict[str, list[int]] = {}
    for index, tag in enumerate(tags):
        if tag[1]:
            closing.setdefault(tag[2].lower(), []).append(index)
    pieces: list[str] = []
    position = 0
    for index, tag in enumerate(tags):
        if tag.start() < position:
            continue
        pieces.append(text[position : tag.start()])
        position = tag.end()
        name = tag[2].lower()
        ends = closing.get(name, [])
        at = bisect_left(ends, index)
        if tag[1] or tag[3].endswith("/") or at == len(ends):
            continue
        end = tags[ends[at]]
        if name in _LITERAL_NAMES:
            pieces.append(_literal(name, text[tag.end() : end.start()]))
        position = end.end()
    return "".join([*pieces, text[position:]])


def _literal(name: str, content: str) -> str:
    if name == "math":
        content = f"${content.strip()}$"
    elif name in ("syntaxhighlight", "source", "pre"):
        content = f"\n{content}\n"
    return content.translate(_HIDE)


@dataclass(slots=True)
class _Frame:
    """An open `{{`, `{|` or `[[` and what has come since."""

    opener: str
    pieces: list[str] = field(default_factory=list)


_OPENERS = {"}}": "{{", "|}": "{|", "]]": "[["}


def _resolve_nested(text: str, dropped_prefixes: Collection[str]) -> str:
    """Templates, tables and links, innermost first. What is never closed is ordinary text."""
    stack = [_Frame("")]
    num_open = dict.fromkeys(_OPENERS.values(), 0)
    position = 0
    for match in _TOKEN.finditer(text):
        stack[-1].pieces.append(text[position : match.start()])
        position = match.end()
        token = match[0]
        pair = token[:2]
        for _ in range(len(token) // 2):  # the third brace of a {{{parameter}}} goes with the two
            if pair in num_open and len(stack) > MAX_DEPTH:
                stack[-1].pieces.append(pair)
            elif pair in num_open:
                stack.append(_Frame(pair))
                num_open[pair] += 1
            else:
                _close(stack, num_open, pair, dropped_prefixes)
    stack[-1].pieces.append(text[position:])
    while len(stack) > 1:
        _give_up(stack, num_open)
    return "".join(stack[0].pieces)


def _close(
    stack: list[_Frame], num_open: dict[str, int], closer: str, dropped_prefixes: Collection[str]
) -> None:
    opener = _OPENERS[closer]
    if num_open[opener] == 0:
        stack[-1].pieces.append("" if closer == "|}" else closer)
        return
    while stack[-1].opener != opener:
        _give_up(stack, num_open)
    frame = stack.pop()
    num_open[opener] -= 1
    content = "".join(frame.pieces)
    if opener == "[[":
        stack[-1].pieces.append(_link(content, dropped_prefixes))
    elif opener == "{{":
        stack[-1].pieces.append(_template(content))


def _give_up(stack: list[_Frame], num_open: dict[str, int]) -> None:
    """The innermost open bracket was none."""
    frame = stack.pop()
    num_open[frame.opener] -= 1
    stack[-1].pieces.append(frame.opener if frame.opener != "{|" else "")
    stack[-1].pieces += frame.pieces


def _link(content: str, dropped_prefixes: Collection[str]) -> str:
    target, pipe, label = content.partition("|")
    shown = target.lstrip()
    if shown.startswith(":"):
        shown = shown[1:]
    elif ":" in shown:
        prefix = shown.partition(":")[0].strip().lower().replace("_", " ")
        if prefix in dropped_prefixes or (not pipe and _INTERWIKI.match(shown)):
            return ""
    if label:
        return label
    # [[Rust (language)|]] shows Rust.
    return shown.partition(" (")[0].rpartition(":")[2] if pipe else shown


def _template(content: str) -> str:
    """The text that a template shows, for the few whose text is in the page."""
    if len(content) > MAX_TEMPLATE_CHARS:
        return ""
    name, *parameters = content.split("|")
    name = name.strip().lower()
    if name in _SIGNS:
        return _SIGNS[name]
    values = [value.strip() for value in parameters if "=" not in value]
    if name in _QUANTITIES:
        is_range = len(values) > 3 and values[1] in _RANGES
        return " ".join(values[: 4 if is_range else 2])
    wanted = 1 if name.startswith("lang-") else _TEXT_PARAMETER.get(name, 0)
    if not wanted or len(values) < abs(wanted):
        return ""
    return values[wanted - 1 if wanted > 0 else wanted]


def _first_variant(match: re.Match[str]) -> str:
    """`-{zh-hans:A;zh-hant:B}-` shows one of its variants, `-{A}-` shows A."""
    return match[1].partition(";")[0].rpartition(":")[2]


def _apostrophes(quotes: re.Match[str]) -> str:
    """Two, three and five quotes are italic and bold; in four, one is an apostrophe."""
    length = len(quotes[0])
    return "'" * (1 if length == 4 else max(0, length - 5))


def _clean_line(line: str) -> str:
    """One line of text; headings keep their `=` for now."""
    line = line.strip()
    if line.startswith("----"):
        line = line.lstrip("-")
    marker = _LIST.match(line)
    if marker is not None:
        bullet = "- " if marker[0][0] in "*#" else ""
        rest = line[marker.end() :].strip()
        line = bullet + rest if rest else ""
    return line


def _drop_empty_sections(lines: list[str]) -> list[str]:
    """Headings as plain lines, without those of sections in which nothing is left."""
    kept: list[str] = []
    has_text = False
    next_level = 0  # of the next kept heading
    for line in reversed(lines):
        heading = _HEADING.match(line) if line.startswith("=") else None
        if heading is None:
            has_text = has_text or bool(line)
            kept.append(line)
            continue
        level = len(heading[1])
        if has_text or next_level > level:
            kept += ["", heading[2].strip("= "), ""]
            next_level = level
        has_text = False
    kept.reverse()
    return kept
