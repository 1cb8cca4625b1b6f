"""Take-down lists: what a line names, and what it does not."""

from __future__ import annotations

import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from filters.takedown import TakedownLists, parse_domain, parse_hash, parse_url, reasons
from filters.url_parts import domains_above, host

TEXT = "Somebody's diary."
LISTS = TakedownLists(
    frozenset({parse_url("https://example.org/a?b=1")}),
    frozenset({parse_domain("Bad.Example"), parse_domain("m\u00fcller.de")}),
    frozenset({parse_hash(xxhash.xxh3_128_hexdigest(TEXT.encode()))}),
)


def reason(url: str, text: str = "another text") -> str:
    batch = pa.record_batch({"url": [url], "text": pa.array([text], pa.large_string())})
    return reasons(batch, LISTS)[0]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://www.example.org/a?utm_source=x&b=1#top", "takedown_url"),
        ("https://example.org/a?b=2", ""),
        ("https://example.org/a", ""),
        ("https://bad.example", "takedown_domain"),
        ("https://user@WWW.bad.example.:8080/x", "takedown_domain"),
        ("https://notbad.example/", ""),
        ("https://bad.example.org/", ""),
        ("https://shop.xn--mller-kva.de/", "takedown_domain"),
        ("https://m\u00fcller.de/", "takedown_domain"),
        ("", ""),
        ("https://[::1", ""),
    ],
)
def test_urls_and_domains(url: str, expected: str) -> None:
    assert reason(url) == expected


def test_every_exact_copy_is_found_by_its_hash() -> None:
    assert reason("https://elsewhere.net/", TEXT) == "takedown_hash"
    assert reason("", TEXT) == "takedown_hash"
    assert reason("", TEXT + " ") == ""


@pytest.mark.parametrize("line", ["com", "", "a b.c/d", "https://x.org/path"])
def test_lines_that_name_no_domain_are_refused(line: str) -> None:
    with pytest.raises(ValueError, match="is no domain"):
        parse_domain(line)


@pytest.mark.parametrize("line", ["abc", "0" * 31, "0" * 64, "x" * 32])
def test_lines_that_are_no_hash_are_refused(line: str) -> None:
    with pytest.raises(ValueError, match="is no xxh3-128 hash"):
        parse_hash(line)


@given(st.text(max_size=50))
def test_any_url_has_a_host_or_none(url: str) -> None:
    name = host(url)
    assert name == "" or domains_above(name)[0] == name
    assert reason(url) in ("", "takedown_url", "takedown_domain")


def test_domains_above_end_at_the_registered_one() -> None:
    assert domains_above("a.b.co.uk") == ["a.b.co.uk", "b.co.uk", "co.uk", "uk"]
    assert domains_above("a.b.co.uk", "b.co.uk") == ["a.b.co.uk", "b.co.uk"]
