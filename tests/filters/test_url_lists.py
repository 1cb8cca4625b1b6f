"""Block lists against URLs, and counts of terms, each against a plain definition."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import terms, url_lists, urls
from filters.public_suffix import registered_domain
from filters.url_lists import UrlLists, hash_all
from filters.url_parts import host

DOMAINS = ["bad.com", "shop.fine.org", "blogspot.com", "co.uk", "81.2.69.160", "me.github.io"]
ADDRESSES = ["ok.net/bad/page", "ok.net/q?a=1"]
WORDS, SOFT, SUBSTRINGS = ["casino"], ["free", "win", "bonus"], ["badword", "xx1"]
LISTS = UrlLists(
    hash_all(DOMAINS),
    hash_all(urls.normalise(f"http://{one}") for one in ADDRESSES),
    frozenset(WORDS),
    frozenset(SOFT),
    tuple(SUBSTRINGS),
)


def counts(url: str) -> tuple[int, ...]:
    row = url_lists.compute(pa.record_batch({"url": [url]}), LISTS).to_pylist()[0]
    assert row.pop("registered_domain") == registered_domain(host(url))
    return tuple(row.values())


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://bad.com/", (1, 0, 0, 0, 0)),
        ("http://www.a.b.bad.com:8080/x", (1, 0, 0, 0, 0)),
        ("https://notbad.com/", (0, 0, 0, 0, 0)),
        ("https://bad.com.au/", (0, 0, 0, 0, 0)),
        ("https://fine.org/", (0, 0, 0, 0, 0)),
        ("https://de.shop.fine.org/", (1, 0, 0, 0, 0)),
        ("https://somebody.blogspot.com/", (0, 0, 0, 0, 0)),
        ("https://blogspot.com/", (1, 0, 0, 0, 0)),
        ("https://news.bbc.co.uk/", (0, 0, 0, 0, 0)),
        ("https://me.github.io/", (1, 0, 0, 0, 0)),
        ("https://you.github.io/", (0, 0, 0, 0, 0)),
        ("http://81.2.69.160/", (1, 0, 0, 0, 0)),
        ("https://www.ok.net/bad/page#top", (0, 1, 0, 0, 0)),
        ("https://ok.net/bad/page/2", (0, 0, 0, 0, 0)),
        ("https://a.org/Casino-casino", (0, 0, 1, 0, 0)),
        ("https://a.org/casinos", (0, 0, 0, 0, 0)),
        ("https://win.org/free/win-win", (0, 0, 0, 2, 0)),
        ("https://a.org/bad-word/xx1xx1", (0, 0, 0, 0, 3)),
        ("", (0, 0, 0, 0, 0)),
        ("https://[::1", (0, 0, 0, 0, 0)),
    ],
)
def test_urls_against_lists(url: str, expected: tuple[int, ...]) -> None:
    assert counts(url) == expected


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.text(max_size=30) | st.from_regex(r"https?://[a-z.]{1,20}/[ -~]{0,9}"), max_size=5)
)
def test_rows_do_not_depend_on_their_batch(texts: list[str]) -> None:
    batch = pa.record_batch({"url": pa.array(texts, pa.string())})
    whole = url_lists.compute(batch, LISTS).to_pylist()
    alone = [url_lists.compute(batch.slice(k, 1), LISTS).to_pylist()[0] for k in range(len(texts))]
    assert whole == alone


def test_empty_lists_find_nothing_and_digests_tell_lists_apart() -> None:
    nothing = UrlLists(hash_all([]), hash_all([]), frozenset(), frozenset(), ())
    row = url_lists.compute(pa.record_batch({"url": ["https://bad.com/casino"]}), nothing)
    assert sum(sum(row[name].to_pylist()) for name in url_lists.COUNTS) == 0
    lists = [nothing, nothing._replace(words=frozenset(["a"])), nothing._replace(substrings=("a",))]
    assert len({one.digest() for one in [*lists, LISTS]}) == 4


FLAGGED = terms.make_list("flagged", ["Damn", "son of a gun", "caf\u00e9", "\u99ac\u9e7f", "gun"])


def plain_count(text: str, listed: list[str]) -> int:
    """Of ASCII text: whole words, overlapping terms each counted."""
    words = re.findall(r"[a-z]+", text.lower())
    total = 0
    for term in listed:
        wanted = term.split()
        total += sum(words[k : k + len(wanted)] == wanted for k in range(len(words)))
    return total


ASCII_TERMS = ["damn", "a b", "b a b", "gun"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text("ab dmnguDA.\n", max_size=40) | st.sampled_from(["damn", "b a b a b"])))
def test_terms_equal_their_definition(texts: list[str]) -> None:
    listed = terms.make_list("listed", ASCII_TERMS)
    batch = pa.record_batch({"text": pa.array(texts, pa.large_string())})
    found = terms.compute(batch, [FLAGGED, listed])
    assert found["listed_terms"].to_pylist() == [plain_count(one, ASCII_TERMS) for one in texts]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("DAMN! You son of a gun.", 3),
        ("a gunner, undamned", 0),
        ("un cafe, un CAF\u00c9", 2),
        ("\u4f60\u8fd9\u4e2a\u99ac\u9e7f\u3002\u99ac \u548c \u9e7f", 1),
        ("", 0),
    ],
)
def test_terms_of_all_scripts(text: str, expected: int) -> None:
    batch = pa.record_batch({"text": pa.array([text], pa.large_string())})
    assert terms.compute(batch, [FLAGGED])["flagged_terms"].to_pylist() == [expected]


@pytest.mark.parametrize("term", ["...", "a " * 21])
def test_terms_that_cannot_be_found_are_refused(term: str) -> None:
    with pytest.raises(ValueError, match="words, expected 1 to 20"):
        terms.make_list("x", ["fine", term])
