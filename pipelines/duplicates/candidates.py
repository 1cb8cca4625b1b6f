"""Candidate pairs: documents that share a band of their MinHash signatures (LSH).

All bands, or what a pass covers of them, are shuffled as rows of 16 bytes (band hash, rank, row in
the part). This module is the pure core: which passes there are, which key a row goes to, and which
pairs come out of the rows of one key. `band_shuffle` moves the rows.

A bucket (equal band hash) of up to 64 documents gives all its pairs. In a larger one each document
is linked to the best-ranked one and to its next better neighbour, and the pairs that are not
examined are counted: a page copied a million times costs 2 M pairs, not 5e11. Linking to the
best-ranked one alone loses recall (.85 against .92 by the formula on template-heavy pages).

Pairs are canonical, `a < b` by address: a pair is a fact about two documents, whichever of them
is better ranked, so a verified pair can be found again when the survivor policy changes.
Which pairs come out depends on ranks and hashes alone, not on the order of rows, parts or keys.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from storage.addresses import ROW_BITS

ROW = np.dtype([("hash", "<u8"), ("rank", "<u4"), ("row", "<u4")])
"""What is shuffled, behind the address of its part (uint64)."""
PAIR = np.dtype([("a", "<u8"), ("b", "<u8")])

MAX_ALL_PAIRS = 64
"""Largest bucket of which every pair is examined."""
KEY_BYTES = 64 << 20
"""Aim for the rows of one key: a runner holds the values of a key in memory."""
MAX_CHUNK_PAIRS = 2 << 20
SHUFFLE_COPIES = 6.5
"""Peak memory of the driver, in multiples of what is shuffled: with Beam 2.77, 4.2 in one process
and 6.2 with two worker processes (benchmarks/scale.py)."""
MAX_PASS_BYTES = 2_000_000_000
"""FnApiRunner's worker processes fail when the share of one exceeds 2 GB."""


@dataclass(frozen=True, slots=True)
class Pass:
    """What is shuffled at once.

    `bands`, and of the hashes of each the slices [first_slice, first_slice + num_keys).
    """

    bands: tuple[int, ...]
    first_slice: int
    num_keys: int
    """Keys per band."""
    num_slices: int
    """Into how many equal ranges the hashes of a band are cut, over all passes."""


class Rows(NamedTuple):
    """Rows of one band, in any order: uint64 hashes and doc_ids, uint32 ranks."""

    hashes: npt.NDArray[np.uint64]
    ranks: npt.NDArray[Any]
    doc_ids: npt.NDArray[np.uint64]


def plan_passes(num_docs: int, num_bands: int, memory_bytes: int) -> list[Pass]:
    """Passes whose shuffle stays within `memory_bytes`: several bands each, or part of one."""
    if num_docs == 0:
        return []
    band_bytes = num_docs * ROW.itemsize
    pass_bytes = min(int(memory_bytes / SHUFFLE_COPIES), MAX_PASS_BYTES)
    num_ranges = -(-band_bytes // pass_bytes)
    num_keys = -(-band_bytes // (num_ranges * KEY_BYTES))
    bands_per_pass = max(1, pass_bytes // band_bytes)
    groups = [
        tuple(range(first, min(first + bands_per_pass, num_bands)))
        for first in range(0, num_bands, bands_per_pass)
    ]
    num_slices = num_ranges * num_keys
    return [
        Pass(bands, first, num_keys, num_slices)
        for bands in groups
        for first in range(0, num_slices, num_keys)
    ]


def whole_shuffle(num_docs: int, num_bands: int) -> Pass:
    """All bands at once, in keys of at most KEY_BYTES."""
    num_slices = max(1, -(-num_docs * ROW.itemsize // KEY_BYTES))
    return Pass(tuple(range(num_bands)), 0, num_slices, num_slices)


def split_rows(one: Pass, band: int, address: int, rows: Rows) -> Iterator[tuple[int, bytes]]:
    """(key, packed rows) of one band of the part at `address`, for the slices of a pass."""
    slices = (rows.hashes >> np.uint64(32)) * np.uint64(one.num_slices) >> np.uint64(32)
    keys = slices.astype(np.int64) - one.first_slice
    mine = np.flatnonzero((keys >= 0) & (keys < one.num_keys))
    keys = keys[mine].astype(np.uint16 if one.num_keys < 1 << 16 else np.int64)
    order = np.argsort(keys, kind="stable")  # a radix sort for 16 bits: 5 ns a row, not 130
    packed = _pack(rows, mine[order])
    ends = np.cumsum(np.bincount(keys, minlength=one.num_keys)).tolist()
    head = np.uint64(address).tobytes()
    for key, (start, end) in enumerate(itertools.pairwise([0, *ends])):
        if start < end:
            number = band * one.num_slices + one.first_slice + key
            yield number, head + packed[start:end].tobytes()


def unpack_rows(values: Iterable[bytes]) -> Rows:
    """The rows of a key; each value holds those of one part, as `split_rows` packed them."""
    many = [(np.frombuffer(one, "<u8", 1), np.frombuffer(one, ROW, offset=8)) for one in values]
    num_rows = sum(len(rows) for _, rows in many)
    found = Rows._make(np.empty(num_rows, dtype) for dtype in (np.uint64, np.uint32, np.uint64))
    end = 0
    for address, rows in many:
        mine = slice(end, end := end + len(rows))
        found.hashes[mine], found.ranks[mine] = rows["hash"], rows["rank"]
        found.doc_ids[mine] = address << np.uint64(ROW_BITS) | rows["row"]
    return found


def pairs_of_rows(
    rows: Rows, counts: Counter[str], num_standing: int = 0
) -> Iterator[npt.NDArray[Any]]:
    """Candidate pairs (dtype PAIR) of the rows of one band, in bounded chunks, each pair once.

    Two documents of ranks below `num_standing` make no pair. Adds to `counts`:
    `buckets`, `large_buckets`, `unexamined_pairs`, and the greatest `largest_bucket`.
    """
    order, sizes = _buckets(rows)
    _count_buckets(sizes, counts)
    ranks, doc_ids = rows.ranks[order], rows.doc_ids[order]
    starts = np.cumsum(sizes) - sizes
    place = np.arange(len(order)) - np.repeat(starts, sizes)
    size = np.repeat(sizes, sizes)
    num_later = np.where(size <= MAX_ALL_PAIRS, size - 1 - place, 0)
    num_links = np.where(size <= MAX_ALL_PAIRS, 0, np.minimum(place, 2))
    for chunk in _chunks(num_later + num_links):
        one, other = _chunk_pairs(chunk, place, num_later, num_links)
        if num_standing:
            new = np.maximum(ranks[one], ranks[other]) >= num_standing
            one, other = one[new], other[new]
        yield canonical_pairs(doc_ids[one], doc_ids[other])


def candidate_pairs(
    band_hashes: npt.NDArray[np.uint64], ranks: np.ndarray, doc_ids: np.ndarray
) -> tuple[np.ndarray, Counter[str]]:
    """All candidate pairs of documents held in memory; `band_hashes` uint64[docs, bands].

    The same pairs as the shuffle's, in one process.
    """
    counts: Counter[str] = Counter()
    chunks = [
        chunk
        for band in range(band_hashes.shape[1])
        for chunk in pairs_of_rows(Rows(band_hashes[:, band], ranks, doc_ids), counts)
    ]
    return unique_pairs(np.concatenate([np.empty(0, PAIR), *chunks])), counts


def canonical_pairs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """PAIR rows with the lower address first."""
    pairs = np.empty(len(first), PAIR)
    pairs["a"], pairs["b"] = np.minimum(first, second), np.maximum(first, second)
    return pairs


def unique_pairs(pairs: np.ndarray) -> np.ndarray:
    """Sorted by (a, b), each pair once."""
    pairs = pairs[np.lexsort((pairs["b"], pairs["a"]))]
    return pairs[changes(pairs["a"]) | changes(pairs["b"])]


def changes(values: np.ndarray) -> npt.NDArray[np.bool_]:
    """True where a value differs from the one before it, and at the first."""
    changed = np.ones(len(values), bool)
    changed[1:] = values[1:] != values[:-1]
    return changed


def merge_counts(many: Sequence[Counter[str]]) -> Counter[str]:
    """Sums of counts, but the greatest of `largest_bucket`."""
    total: Counter[str] = Counter()
    for counts in many:
        largest = max(total["largest_bucket"], counts["largest_bucket"])
        total.update(counts)
        total["largest_bucket"] = largest
    return total


def _pack(rows: Rows, order: npt.NDArray[np.int64]) -> np.ndarray:
    packed = np.empty(len(order), ROW)
    packed["hash"], packed["rank"] = rows.hashes[order], rows.ranks[order]
    packed["row"] = rows.doc_ids[order] & np.uint64((1 << ROW_BITS) - 1)
    return packed


def _buckets(rows: Rows) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Row numbers of the buckets of at least two documents, and the sizes of these.

    Bucket by bucket, in those that are not examined whole by rank. Sorting numbers of hash and row
    together takes 15 ns a row where sorting rows by hash takes 80.
    """
    bits = np.uint64(max(1, (len(rows.hashes) - 1).bit_length()))
    packed = np.sort(rows.hashes << bits | np.arange(len(rows.hashes), dtype=np.uint64))
    firsts = changes(packed >> bits)
    order, groups = _without_singles(packed, firsts)
    order = (order & (np.uint64(1) << bits) - np.uint64(1)).astype(np.int64)
    hashes = rows.hashes[order]  # the upper bits did not fit: few groups hold two hashes
    mixed = (groups[1:] == groups[:-1]) & (hashes[1:] != hashes[:-1])
    if mixed.any():
        here = np.isin(groups, groups[1:][mixed])
        order[here] = order[here][np.lexsort((hashes[here], groups[here]))]
        order, groups = _without_singles(order, changes(rows.hashes[order]) | changes(groups))
    sizes = np.bincount(groups) if len(groups) else np.empty(0, np.int64)
    ends = np.cumsum(sizes)
    for large in np.flatnonzero(sizes > MAX_ALL_PAIRS):
        bucket = order[ends[large] - sizes[large] : ends[large]]
        bucket[:] = bucket[np.argsort(rows.ranks[bucket])]
    return order, sizes


def _without_singles(
    values: np.ndarray, firsts: npt.NDArray[np.bool_]
) -> tuple[np.ndarray, npt.NDArray[np.int64]]:
    """Values of groups of two and more, with dense numbers of these; `firsts`: a group begins."""
    lasts = np.append(firsts[1:], True)[: len(firsts)]
    repeated = ~(firsts & lasts)
    return values[repeated], np.cumsum(firsts[repeated]) - 1


def _count_buckets(sizes: np.ndarray, counts: Counter[str]) -> None:
    large = sizes[sizes > MAX_ALL_PAIRS].astype(object)  # Python integers: squares of millions
    counts["buckets"] += len(sizes)
    counts["large_buckets"] += len(large)
    counts["unexamined_pairs"] += int(np.sum(large * (large - 1) // 2 - (2 * large - 3)))
    counts["largest_bucket"] = max(counts["largest_bucket"], int(np.max(sizes, initial=0)))


def _chunks(num_pairs: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    """Runs of consecutive rows that give about MAX_CHUNK_PAIRS pairs each."""
    ends = np.cumsum(num_pairs)
    total = int(ends[-1]) if len(ends) else 0
    cuts = np.searchsorted(ends, np.arange(MAX_CHUNK_PAIRS, total, MAX_CHUNK_PAIRS))
    bounds = np.unique(np.concatenate([[0], cuts, [len(num_pairs)]]))
    for start, end in itertools.pairwise(bounds):
        yield np.arange(start, end)


def _chunk_pairs(
    chunk: npt.NDArray[np.int64],
    place: npt.NDArray[np.int64],
    num_later: npt.NDArray[np.int64],
    num_links: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Row numbers (better, worse) of the pairs that the rows of `chunk` give.

    A row of a small bucket is paired with all later ones; one of a large bucket with the first
    and with the one before it (the same for the second row).
    """
    later = num_later[chunk]
    better = np.repeat(chunk, later)
    step = np.arange(len(better)) - np.repeat(np.cumsum(later) - later, later)
    to_first = chunk[num_links[chunk] >= 1]
    to_previous = chunk[num_links[chunk] >= 2]
    return (
        np.concatenate([better, to_first - place[to_first], to_previous - 1]),
        np.concatenate([better + 1 + step, to_first, to_previous]),
    )
