"""How the report writes numbers and hostile text: the filters of its template."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from markupsafe import Markup, escape

from filters import lsh

JOINERS = "\u200c\u200d"
"""Invisible, but part of ordinary Persian, Indic scripts and emoji; they reorder nothing."""
HIDDEN = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}


def visible(text: str) -> Markup:
    """Text as HTML, with what could hide or reorder it (control and format characters, line
    separators, private and unassigned code points) shown as escapes of another colour."""
    return Markup("").join(_pieces(text))


def _pieces(text: str) -> list[Markup]:
    pieces, start = [], 0
    for index, char in enumerate(text):
        if char not in "\n\t" and char not in JOINERS and unicodedata.category(char) in HIDDEN:
            shown = char.encode("unicode_escape").decode()
            pieces.append(escape(text[start:index]))
            pieces.append(Markup('<i class="control">{}</i>').format(shown))
            start = index + 1
    return [*pieces, escape(text[start:])]


def count(number: int) -> str:
    return f"{number:,}"


def num_bytes(number: float) -> str:
    """Decimal units: 1 KB is 1,000 bytes."""
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if number < 999.95 or unit == "TB":
            return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    raise AssertionError


def percent(part: float, whole: float) -> str:
    """One decimal; never 0 for something nor 100 for less than all."""
    if not whole:
        return ""
    share = 100 * part / whole
    if 0 < share < 0.05:
        return "< 0.1 %"
    if 99.95 <= share < 100:
        return "> 99.9 %"
    return f"{share:.1f} %"


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"


def signal(value: float | int | str | None) -> str:
    """A signal's value: counts with separators, ratios to four digits."""
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else value


def width(part: float, whole: float) -> str:
    """Length of a bar as CSS; something is never invisible."""
    share = 100 * part / whole if whole else 0.0
    return f"{max(share, 0.4 if part else 0):.2f}%"


def log_width(part: float, whole: float) -> str:
    """Length of a bar on a logarithmic axis that starts below 1."""
    return width(math.log1p(part), math.log1p(whole))


def length_range(bits: int) -> str:
    """The sizes of texts of that many bits: `1 to 2 KiB` for 11."""
    if bits == 0:
        return "empty"
    low, unit = 1 << (bits - 1), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if low < 1024:
            break
        low, unit = low // 1024, larger
    return f"{low} to {2 * low} {unit}"


class Curve(NamedTuple):
    """The LSH curve as SVG: similarity to the right, probability of a candidate up."""

    path: str
    at_threshold: float
    width: int = 440
    height: int = 220


def curve(bands: int, rows: int, threshold: float) -> Curve:
    similarities = np.linspace(0, 1, 101)
    points = zip(similarities, lsh.probability(similarities, bands, rows), strict=True)
    width, height = Curve._field_defaults["width"], Curve._field_defaults["height"]
    path = " L".join(f"{width * x:.1f},{height * (1 - y):.1f}" for x, y in points)
    return Curve(f"M{path}", float(lsh.probability(threshold, bands, rows)))


def cluster_ranges(sizes: Mapping[int, int]) -> list[tuple[str, int, int]]:
    """(size, clusters, documents in them): 2, 3, 4, 5 to 8, 9 to 16, ..."""
    found: dict[int, list[int]] = {}
    for size, number in sizes.items():
        last = size if size <= 4 else 1 << (size - 1).bit_length()
        bin_ = found.setdefault(last, [0, 0])
        bin_[0] += number
        bin_[1] += number * size
    return [
        (str(last) if last <= 4 else f"{last // 2 + 1} to {last}", number, members)
        for last, (number, members) in sorted(found.items())
    ]
