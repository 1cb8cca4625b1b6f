"""Text of HTML: markup that is put together, and markup that is none."""

from __future__ import annotations

from html.parser import HTMLParser
from itertools import groupby

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.html_text import count_text_chars


@numba.njit
def count(data, start, stop):
    return count_text_chars(data, start, stop)


def text_chars(markup: str, before: str = "", after: str = "") -> int:
    data = (before + markup + after).encode()
    start = len(before.encode())
    return count(np.frombuffer(data, np.uint8), start, start + len(markup.encode()))


TEXT = st.text(st.sampled_from("ab \n\u00e9\u4f60=\"'/!?-;#"), max_size=90)
VALUE = st.text(st.sampled_from("ab> <=/&-"), max_size=70)
PIECES = st.one_of(
    TEXT.map(lambda text: (text, len(text))),
    st.sampled_from(["&amp;", "&#233;", "&#x1F600;", "&CounterClockwiseContourIntegral;"]).map(
        lambda reference: (reference, 1)
    ),
    st.sampled_from(["  ", "\n\t ", "& ", "&;", "&#;", "&no such;", "< ", "<3 ", "a < b"]).map(
        lambda text: (text, len(text))
    ),
    st.sampled_from(
        ["<p>", "</p>", "<br/>", "<!DOCTYPE html>", "<?php echo 1 ?>", "<scripts>"]
    ).map(lambda tag: (tag, 0)),
    VALUE.map(lambda value: (f'<a href="{value}" b>', 0)),
    VALUE.map(lambda value: (f"<a\n title = '{value}'>", 0)),
    VALUE.filter(lambda value: "-->" not in value).map(lambda value: (f"<!-- {value} -->", 0)),
    st.tuples(st.sampled_from(["script", "STYLE"]), VALUE).map(
        lambda pair: (f"<{pair[0]} x='>'>{pair[1]}</b></{pair[0].lower()} >", 0)
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=12), TEXT, TEXT)
def test_text_is_what_is_no_markup(pieces: list[tuple[str, int]], before: str, after: str) -> None:
    expected = 0
    for is_text, run in groupby(pieces, lambda piece: piece[1] > 0 or not piece[0]):
        texts, chars = zip(*run, strict=True)
        if is_text:
            expected += sum(chars) if "".join(texts).strip() else min(1, sum(chars))
    markup = "".join(piece for piece, _ in pieces)
    assert text_chars(markup, before, after) == expected


@pytest.mark.parametrize(
    ("markup", "chars"),
    [
        ("", 0),
        ("<", 1),
        ("a<", 2),
        ("a</", 3),
        ("a<b", 1),
        ('a<b c="', 1),
        ("a<!--", 1),
        ("a<!-->b", 2),
        ("a<!---->b", 2),
        ("a<script>b", 1),
        ("a<script>b</script", 1),
        ("a<script>b</scripts></script>c", 2),
        ("a<style/>b</style>c", 2),
        ('a<b c=="d>e">f', 2),
    ],
)
def test_what_does_not_end(markup: str, chars: int) -> None:
    assert text_chars(markup) == chars


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("<>/!-?&;#='\" abscriptyle\u00e9\0"), max_size=150))
def test_any_markup_has_at_most_its_characters(markup: str) -> None:
    assert 0 <= text_chars(markup, "<script>", "</script>-->") <= len(markup)


class Texts(HTMLParser):
    """The standard library's parser."""

    def __init__(self) -> None:
        super().__init__()
        self.num_chars = 0

    def handle_data(self, data: str) -> None:
        if self.lasttag not in ("script", "style") or self.cdata_elem is None:
            self.num_chars += len(data) if data.strip() else 1


def test_a_page_as_the_standard_library_reads_it() -> None:
    page = (
        "<!doctype html><html><head><title>T &amp; t</title><style>p > a {b: '<p>'}</style>"
        "<script src='x>y'>if (a < b && c > d) document.write('<p>no</p>');</script></head>"
        '<body class=a><!-- <p>not this</p> --><h1>One</h1>\n\t<p title="a > b">Two &lt; three</p>'
        "<ul><li>4<li>5</ul></body></html>\n"
    )
    parser = Texts()
    parser.feed(page)
    parser.close()
    assert text_chars(page) == parser.num_chars
