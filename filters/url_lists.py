"""Block lists of domains, addresses, words and substrings, held against the URL of a document.

Domains are looked up with those above them down to the registered one (public_suffix.py): a list
that names `example.com` means `shop.example.com` too, but one that names `blogspot.com` or `co.uk`
means nobody who is registered below. Lists hold sorted hashes (xxh3-64): the 4.6 million domains of
UT1's largest category take 37 MB, and one look-up in 10**12 is wrong.

Words and substrings are those of RefinedWeb (Penedo et al. 2023, arXiv:2306.01116, appendix G.1)
as datatrove reads them: words are runs of ASCII letters and digits of the URL, substrings stand
anywhere in its letters and digits. One hard word or substring is enough; soft words count when
different.

    url_domains         int64   domains of the host that are listed
    url_addresses       int64   1 when the whole address is listed
    url_words           int64   listed words, each once
    url_soft_words      int64   likewise
    url_substrings      int64   places where a listed substring stands
    registered_domain   string  "" where there is none
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from filters import urls
from filters.public_suffix import registered_domain
from filters.url_parts import domains_above, host

VERSION = 1
COUNTS = ("url_domains", "url_addresses", "url_words", "url_soft_words", "url_substrings")
SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.int64(), nullable=False) for name in COUNTS),
        pa.field("registered_domain", pa.string(), nullable=False),
    ]
)
_WORD = re.compile(r"[a-z0-9]+")

Hashes = npt.NDArray[np.uint64]


class UrlLists(NamedTuple):
    """domains, addresses uint64: sorted hashes of hosts, and of the keys of urls.normalise."""

    domains: Hashes
    addresses: Hashes
    words: frozenset[str]
    soft_words: frozenset[str]
    substrings: tuple[str, ...]
    """Of ASCII letters and digits, lower case."""

    def digest(self) -> str:
        """Of what the lists hold, whatever files it came from."""
        arrays = [xxhash.xxh3_128_hexdigest(one.tobytes()) for one in self[:2]]
        words = [sorted(one) for one in self[2:]]
        return xxhash.xxh3_128_hexdigest(json.dumps([arrays, words]).encode())


def hash_all(entries: Iterable[str]) -> Hashes:
    """Sorted hashes of entries, each once."""
    return np.unique(np.fromiter(map(_hash, entries), np.uint64))


def _hash(entry: str) -> int:
    return xxhash.xxh3_64_intdigest(entry.encode("utf-8", "surrogatepass"))


def compute(batch: pa.RecordBatch, lists: UrlLists) -> pa.RecordBatch:
    """The `url` signals of a batch with a `url` column, aligned by row."""
    texts = [url or "" for url in batch.column("url").to_pylist()]
    hosts = [host(url) for url in texts]
    registered = [registered_domain(name) for name in hosts]
    above = [_listable(name) for name in hosts]
    keys = [[urls.normalise(url)] if url and len(lists.addresses) else [] for url in texts]
    words = [set(_WORD.findall(url.lower())) for url in texts]
    columns = [
        _count_listed(above, lists.domains),
        _count_listed(keys, lists.addresses),
        np.array([len(found & lists.words) for found in words], np.int64),
        np.array([len(found & lists.soft_words) for found in words], np.int64),
        _count_substrings(texts, lists.substrings),
    ]
    arrays = [*map(pa.array, columns), pa.array(registered, pa.string())]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _listable(name: str) -> list[str]:
    """A host and the domains above it that one owner has."""
    if not name:
        return []
    return domains_above(name, registered_domain(name, accept_unknown=True) or name)


def _count_listed(entries: Sequence[Sequence[str]], listed: Hashes) -> npt.NDArray[np.int64]:
    """How many entries of each row are listed."""
    if not len(listed):
        return np.zeros(len(entries), np.int64)
    rows = np.repeat(np.arange(len(entries)), [len(row) for row in entries])
    flat = (_hash(entry) for row in entries for entry in row)
    hashes = np.fromiter(flat, np.uint64, len(rows))
    places = np.minimum(np.searchsorted(listed, hashes), len(listed) - 1)
    return np.bincount(rows[listed[places] == hashes], minlength=len(entries)).astype(np.int64)


def _count_substrings(texts: Sequence[str], substrings: Sequence[str]) -> npt.NDArray[np.int64]:
    """By RE2, which takes linear time whatever the list holds."""
    if not substrings:
        return np.zeros(len(texts), np.int64)
    squeezed = pa.array(["".join(_WORD.findall(text.lower())) for text in texts], pa.string())
    found = pc.call_function(
        "count_substring_regex", [squeezed], pc.MatchSubstringOptions("|".join(substrings))
    )
    return found.to_numpy(zero_copy_only=False).astype(np.int64)
