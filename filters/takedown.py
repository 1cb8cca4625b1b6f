"""Which documents a take-down list names: by URL, by domain, or by the hash of their stored text.

URLs are compared by their key (urls.py), so the scheme, `www.`, a fragment and tracking parameters
do not count. A domain takes its subdomains along. The hash is xxh3-128 of the text as it is stored,
before any editor: it stays the same whatever the recipes do, and it finds every exact copy.
"""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa

from filters import urls
from filters.hashing import HASH_BYTES, content_hash
from filters.url_parts import domains_above, host

VERSION = 1
URL, DOMAIN, HASH = "takedown_url", "takedown_domain", "takedown_hash"


class TakedownLists(NamedTuple):
    urls: frozenset[str]
    """Keys of urls.normalise."""
    domains: frozenset[str]
    """Lower case, Unicode in its ASCII form."""
    hashes: frozenset[bytes]

    @property
    def columns(self) -> list[str]:
        """The columns of documents that are compared; reading `text` is what costs."""
        return ["url", *(["text"] if self.hashes else [])]


def parse_domain(line: str) -> str:
    """A listed domain as it is compared. Raises ValueError for what would name half the web."""
    domain = host(f"//{line.removeprefix('*').removeprefix('.')}")
    if "." not in domain or "/" in line:
        raise ValueError(f"{line!r} is no domain: expected a name such as example.org")
    return domain


def parse_url(line: str) -> str:
    """A listed URL as it is compared. Raises ValueError for one without a host."""
    text = line if "://" in line else f"http://{line}"
    if not host(text):
        raise ValueError(f"{line!r} is no URL: expected https://host/path")
    return urls.normalise(text)


def parse_hash(line: str) -> bytes:
    """A listed hash: 32 hexadecimal digits, as `tilth trace` and `xxhsum -H2` print them."""
    try:
        value = bytes.fromhex(line)
    except ValueError:
        value = b""
    if len(value) != HASH_BYTES:
        raise ValueError(f"{line!r} is no xxh3-128 hash: expected {2 * HASH_BYTES} hex digits")
    return value


def reasons(batch: pa.RecordBatch, lists: TakedownLists) -> list[str]:
    """Why each document is taken down, "" where it is not; `batch` has `lists.columns`."""
    found = [_reason_of_url(url or "", lists) for url in batch.column("url").to_pylist()]
    if not lists.hashes:
        return found
    hashes = content_hash(batch.column("text")).to_pylist()
    return [
        reason or (HASH if value in lists.hashes else "")
        for reason, value in zip(found, hashes, strict=True)
    ]


def _reason_of_url(url: str, lists: TakedownLists) -> str:
    if not url:
        return ""
    if lists.urls and urls.normalise(url) in lists.urls:
        return URL
    if lists.domains and not lists.domains.isdisjoint(domains_above(host(url))):
        return DOMAIN
    return ""
