from __future__ import annotations

import unicodedata
from collections import Counter

import lxml.html
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.reporting import format as report_format
from pipelines.reporting.format import HIDDEN, JOINERS, visible


@settings(deadline=None)
@given(st.text())
def test_visible_text_is_escaped_and_loses_nothing(text: str) -> None:
    html = str(visible(text))
    assert all(
        char in f"\n\t{JOINERS}" or unicodedata.category(char) not in HIDDEN for char in html
    )
    tree = lxml.html.fragment_fromstring(f"<div>|{html}|</div>")
    pieces = [tree.text or ""]
    for control in tree:
        assert (control.tag, len(control)) == ("i", 0)
        pieces += [control.text.encode("ascii").decode("unicode_escape"), control.tail or ""]
    assert "".join(pieces) == f"|{text}|"


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("<b>&amp;", "&lt;b&gt;&amp;amp;"),
        ("a\u202eb", 'a<i class="control">\\u202e</i>b'),
        ("\x1b[2J\x00", '<i class="control">\\x1b</i>[2J<i class="control">\\x00</i>'),
        ("\\x1b", "\\x1b"),
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        ),
        ("\u3000\u00a0x\n\ty", "\u3000\u00a0x\n\ty"),
        ("\U000e0041", '<i class="control">\\U000e0041</i>'),
    ],
)
def test_visible(text: str, html: str) -> None:
    assert str(visible(text)) == html


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (999_960, "1.0 MB"), (25_700_000, "25.7 MB")],
)
def test_num_bytes(number: float, text: str) -> None:
    assert report_format.num_bytes(number) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 0, ""),
        (0, 9, "0.0 %"),
        (9, 9, "100.0 %"),
        (1, 10**6, "< 0.1 %"),
        (10**6 - 1, 10**6, "> 99.9 %"),
        (1, 3, "33.3 %"),
    ],
)
def test_percent_hides_neither_rare_nor_missing(part: int, whole: int, text: str) -> None:
    assert report_format.percent(part, whole) == text


@settings(deadline=None)
@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_a_bar_is_within_its_axis_and_never_invisible(part: int, whole: int) -> None:
    part, whole = sorted((part, whole))
    for width in (report_format.width(part, whole), report_format.log_width(part, whole)):
        share = float(width.removesuffix("%"))
        assert 0 <= share <= 100
        assert (share > 0) == (part > 0)


@pytest.mark.parametrize(
    ("bits", "text"),
    [(0, "empty"), (1, "1 to 2 B"), (10, "512 to 1024 B"), (11, "1 to 2 KiB"), (31, "1 to 2 GiB")],
)
def test_length_range(bits: int, text: str) -> None:
    assert report_format.length_range(bits) == text


@settings(deadline=None)
@given(st.dictionaries(st.integers(2, 10**9), st.integers(1, 10**6)))
def test_cluster_ranges_cover_all_clusters(sizes: dict[int, int]) -> None:
    ranges = report_format.cluster_ranges(sizes)
    assert sum(number for _, number, _ in ranges) == sum(sizes.values())
    assert sum(members for *_, members in ranges) == sum(n * size for size, n in sizes.items())
    assert len(ranges) <= 3 + 28


def test_cluster_ranges() -> None:
    sizes = Counter({2: 7, 4: 1, 5: 2, 8: 1, 9: 1})
    assert report_format.cluster_ranges(sizes) == [
        ("2", 7, 14),
        ("4", 1, 4),
        ("5 to 8", 3, 18),
        ("9 to 16", 1, 9),
    ]


def test_curve_shows_the_probability_at_the_threshold() -> None:
    curve = report_format.curve(14, 8, 0.8)
    assert curve.at_threshold == pytest.approx(0.924, abs=5e-4)
    points = [tuple(map(float, one.split(","))) for one in curve.path[1:].split(" L")]
    assert points[0] == (0, curve.height)
    assert points[-1] == (curve.width, 0)
    assert points[80] == pytest.approx((0.8 * curve.width, curve.height * (1 - 0.924)), abs=0.1)


def test_signal() -> None:
    values = [1234, 0.123456, "en", None]
    assert [report_format.signal(value) for value in values] == ["1,234", "0.1235", "en", "none"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (61, "1 min 01 s"), (7322, "2 h 02 min")]
)
def test_duration(seconds: float, text: str) -> None:
    assert report_format.duration(seconds) == text
