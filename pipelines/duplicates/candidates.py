"""Candidate pairs: documents that share a band of their MinHash signatures (LSH).

A pass covers some bands, or a range of the hashes of one band, and is one shuffle of 24-byte rows
(band hash, rank, doc_id). This module is its pure core: which passes there are, which key a row
goes to, and which pairs come out of the rows of one key. `band_shuffle` puts it on Beam.

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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ROW = np.dtype([("hash", "<u8"), ("rank", "<u8"), ("doc_id", "<u8")])
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
    """One shuffle: `bands`, and of each the slices [first_slice, first_slice + num_keys)."""

    bands: tuple[int, ...]
    first_slice: int
    num_keys: int
    """Keys per band."""
    num_slices: int
    """Into how many equal ranges the hashes of a band are cut, over all passes."""


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


def split_rows(
    one: Pass, band: int, hashes: npt.NDArray[np.uint64], ranks: np.ndarray, doc_ids: np.ndarray
) -> Iterator[tuple[int, bytes]]:
    """(key, packed rows) of one band of one part, for the slices that the pass covers."""
    slices = (hashes >> np.uint64(32)) * np.uint64(one.num_slices) >> np.uint64(32)
    keys = slices.astype(np.int64) - one.first_slice
    mine = np.flatnonzero((keys >= 0) & (keys < one.num_keys))
    mine = mine[np.argsort(keys[mine], kind="stable")]
    rows = pack_rows(hashes[mine], ranks[mine], doc_ids[mine])
    ends = np.searchsorted(keys[mine], np.arange(one.num_keys + 1))
    for key in range(one.num_keys):
        if ends[key] < ends[key + 1]:
            number = band * one.num_slices + one.first_slice + key
            yield number, rows[ends[key] : ends[key + 1]].tobytes()


def pack_rows(hashes: npt.NDArray[np.uint64], ranks: np.ndarray, doc_ids: np.ndarray) -> np.ndarray:
    rows = np.empty(len(hashes), ROW)
    rows["hash"], rows["rank"], rows["doc_id"] = hashes, ranks, doc_ids
    return rows


def pairs_of_rows(
    rows: np.ndarray, counts: Counter[str], num_standing: int = 0
) -> Iterator[np.ndarray]:
    """Candidate pairs of the rows of one band (dtype ROW, in any order), in bounded chunks.

    Two documents of ranks below `num_standing` make no pair.
    Each chunk is sorted and without repeats; two chunks may repeat a pair. Adds to `counts`:
    `buckets`, `large_buckets`, `unexamined_pairs`, and the greatest `largest_bucket`.
    """
    rows = _repeated(rows)
    starts = np.flatnonzero(changes(rows["hash"]))
    sizes = np.diff(starts, append=len(rows))
    _count_buckets(sizes, counts)
    place = np.arange(len(rows)) - np.repeat(starts, sizes)
    size = np.repeat(sizes, sizes)
    num_later = np.where(size <= MAX_ALL_PAIRS, size - 1 - place, 0)
    num_links = np.where(size <= MAX_ALL_PAIRS, 0, np.minimum(place, 2))
    for chunk in _chunks(num_later + num_links):
        better, worse = _chunk_pairs(chunk, place, num_later, num_links)
        new = rows["rank"][worse] >= num_standing
        better, worse = better[new], worse[new]
        yield unique_pairs(canonical_pairs(rows["doc_id"][better], rows["doc_id"][worse]))


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
        for chunk in pairs_of_rows(pack_rows(band_hashes[:, band], ranks, doc_ids), counts)
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


def _repeated(rows: np.ndarray) -> np.ndarray:
    """The rows whose hash occurs more than once, sorted by (hash, rank)."""
    order = np.argsort(rows["hash"], kind="stable")
    hashes = rows["hash"][order]
    same = hashes[1:] == hashes[:-1]
    keep = np.zeros(len(rows), bool)
    keep[1:] |= same
    keep[:-1] |= same
    rows = rows[order[keep]]
    return rows[np.lexsort((rows["rank"], rows["hash"]))]


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
