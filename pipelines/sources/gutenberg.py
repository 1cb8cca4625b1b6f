"""Project Gutenberg books without their header and footer, and what the header says.

Two styles exist. Since about 2002 the text stands between

    *** START OF THIS PROJECT GUTENBERG EBOOK MOBY DICK; OR THE WHALE ***
    *** END OF THIS PROJECT GUTENBERG EBOOK MOBY DICK; OR THE WHALE ***

(THE for THIS, spaces optional, the title may wrap onto further lines). Older files end their header
with the legal small print, `*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*`, and
finish with `End of The Project Gutenberg Etext of ...` or nothing. A text with neither is returned
unchanged, with `meta["gutenberg_header"] = "none"`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

# Headers run to 400 lines and footers to 360; markers wrap over a few.
HEADER_LINES = 1_000
FOOTER_LINES = 1_000
WRAPPED_LINES = 4
CLOSING_LINES = 8
HEADER_BYTES = 64 << 10
FIELDS = ("title", "author", "language", "created", "gutenberg_id")

_START = re.compile(r"\*{3} ?START OF (?:THE|THIS) PROJECT GUTENBERG", re.I)
_END = re.compile(r"\*{3} ?END OF (?:THE|THIS) PROJECT GUTENBERG", re.I)
_SMALL_PRINT = re.compile(r"\*+ ?END ?\*? ?THE SMALL PRINT!.*\*END\*", re.I)
_CLOSING = re.compile(r"\W*(?:End|Ende|Fin|Fim|Einde|Slut)\b.{0,40}\bProje[ck]t Gutenberg", re.I)
_PORTIONS = "[Portions of this header"
_FIELD = re.compile(r"(Title|Author|Language|Release Date|Posting Date): *(.*)", re.I)
_CHARSET = re.compile(rb"character set encoding:[ \t]*([^\r\n]{1,60})", re.I)
_NUMBER = re.compile(r"\[\s*(?:EBook|Etext)\s*#\s*(\d+)\s*\]", re.I)
_NAMED = re.compile(
    r"Project Gutenberg(?:'s)? (?:Etext|EBook)(?: of|,) (.+?)(?:,? by (.+))?$", re.I
)


@dataclass(frozen=True, slots=True)
class Book:
    text: str
    title: str = ""
    created: str = ""
    """Release date as printed."""
    meta: Mapping[str, str] = field(default_factory=dict)
    """author, language, gutenberg_id as printed, where the header has them."""


def strip(text: str) -> Book:
    """The book in a Project Gutenberg file; lines end in newlines only."""
    lines = text.split("\n")
    start = _after_header(lines)
    end = _before_footer(lines, start)
    body = "\n".join(lines[start:end]).strip("\n") if (start, end) != (0, len(lines)) else text
    fields = _read_fields(lines[:start])
    meta = {name: fields[name] for name in ("author", "language", "gutenberg_id") if fields[name]}
    if start == 0:
        meta["gutenberg_header"] = "none"
    return Book(body, fields["title"], fields["created"], meta)


def declared_charset(data: bytes) -> str:
    """The charset that the header declares, as printed; "" without one."""
    match = _CHARSET.search(data[:HEADER_BYTES])
    if match is None:
        return ""
    printed = match[1].decode("ascii", "ignore").strip()
    return "us-ascii" if "ascii" in printed.lower() else printed.removeprefix("Unicode ")


def _after_header(lines: list[str]) -> int:
    """Index of the first line after the header, 0 when there is none."""
    head = lines[:HEADER_LINES]
    start = _find(head, _START)
    if start is not None:
        return _marker_end(lines, start) + 1
    start = _find(head, _SMALL_PRINT)
    if start is None:
        return 0
    after = start + 1
    if after < len(lines) and lines[after].startswith(_PORTIONS):
        while after < len(lines) and lines[after].strip():
            after += 1
    return after


def _before_footer(lines: list[str], start: int) -> int:
    """Index of the first line of the footer, `len(lines)` when there is none."""
    first = max(start, len(lines) - FOOTER_LINES)
    tail = lines[first:]
    end = _find(tail, _END)
    if end is None:
        closing = _find(tail, _CLOSING)
        return len(lines) if closing is None else first + closing
    before = max(0, end - CLOSING_LINES)
    closing = _find(tail[before:end], _CLOSING)
    return first + (end if closing is None else before + closing)


def _find(lines: list[str], pattern: re.Pattern[str]) -> int | None:
    return next((index for index, line in enumerate(lines) if pattern.match(line.strip())), None)


def _marker_end(lines: list[str], start: int) -> int:
    """Index of the marker's last line: long titles wrap, the asterisks close it."""
    if lines[start].rstrip().endswith("***"):
        return start
    rest = lines[start + 1 : start + 1 + WRAPPED_LINES]
    wrapped = (index for index, line in enumerate(rest, start + 1) if line.rstrip().endswith("***"))
    return next(wrapped, start)


def _read_fields(header: list[str]) -> dict[str, str]:
    """title, author, language, created, gutenberg_id; "" where the header does not say."""
    fields: dict[str, str] = dict.fromkeys(FIELDS, "")
    for index, line in enumerate(header):
        match = _FIELD.match(line)
        if match is not None:
            name = match[1].lower()
            name = "created" if name.endswith("date") else name
            fields[name] = fields[name] or _continued(match[2], header[index + 1 :])
        number = _NUMBER.search(line)
        if number is not None:
            fields["gutenberg_id"] = fields["gutenberg_id"] or number[1]
    fields["created"] = _NUMBER.sub("", fields["created"]).strip()
    if not fields["title"]:
        fields["title"], fields["author"] = _named(header)
    return fields


def _continued(value: str, following: list[str]) -> str:
    """A field's value; indented lines below it go on."""
    parts = [value.strip()]
    for line in following[:WRAPPED_LINES]:
        if not line[:1].isspace() or not line.strip():
            break
        parts.append(line.strip())
    return " ".join(parts)


def _named(header: list[str]) -> tuple[str, str]:
    """Title and author from `The Project Gutenberg Etext of X, by Y` of old headers."""
    for line in header:
        match = _NAMED.search(line.strip().strip("*"))
        if match is not None:
            return match[1].strip(), (match[2] or "").strip()
    return "", ""
