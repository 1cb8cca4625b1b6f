"""URLs: spellings of one address have one key, different addresses have different ones."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.urls import normalise, url_hashes


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("http://Example.ORG", "example.org/"),
        ("https://www.example.org/", "example.org/"),
        ("https://www2.example.org:443/a#part", "example.org/a"),
        ("http://user:secret@example.org:80/a", "example.org/a"),
        ("http://example.org:8080/a", "example.org:8080/a"),
        ("http://example.org/a/./b/../c", "example.org/a/c"),
        ("http://example.org/a/b/..", "example.org/a/"),
        ("http://example.org/../../a", "example.org/a"),
        ("http://example.org/%7euser/%e4%2F", "example.org/~user/%E4%2F"),
        ("http://example.org/?b=2&a=1&utm_source=x&fbclid=y", "example.org/?a=1&b=2"),
        ("http://example.org/a;jsessionid=1A2B?x=1", "example.org/a?x=1"),
        ("http://example.org/a?", "example.org/a"),
        ("http://example.org./a", "example.org/a"),
        ("  http://example.org/a \n", "example.org/a"),
        ("http://[::1]:80/a", "[::1]/a"),
        ("not a url", "not a url"),
        ("http://[bad", "http://[bad"),
        ("", ""),
    ],
)
def test_keys(url: str, key: str) -> None:
    assert normalise(url) == key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://example.org/a", "http://example.org/A"),
        ("http://example.org/a", "http://example.org/a/"),
        ("http://example.org/?id=1", "http://example.org/?id=2"),
        ("http://example.org/", "http://example.com/"),
        ("http://example.org/a%2Fb", "http://example.org/a/b"),
        ("http://www.com/", "http://com/"),
    ],
)
def test_other_addresses_have_other_keys(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


@given(st.text(st.characters(exclude_characters="%")))
def test_any_text_has_a_key_and_a_key_of_a_url_is_stable(text: str) -> None:
    for url in (text, f"http://example.org/{text}"):
        key = normalise(url)
        if key.startswith("example.org/"):
            assert normalise(f"https://{key}") == key


def test_hashes_are_of_keys() -> None:
    urls = pa.array(["http://www.example.org/a", "https://example.org/a", "https://example.org/b"])
    first, second, third = url_hashes(urls).tolist()
    assert first == second != third
