"""Hot buckets: found exactly, kept out of the shuffle, linked to their best document."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.duplicates import band_shuffle, hot_buckets
from pipelines.duplicates.candidates import unpack_rows
from pipelines.duplicates.hot_buckets import BUCKET, count_buckets, frequent_hashes, merge_buckets
from pipelines.workplace import Workplace
from storage import commit
from tests.pipelines.dedup_corpus import ranks_of, shuffled_pairs

NUM_BANDS = 3


def test_buckets_of_parts_put_together_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(1)
    hashes = rng.integers(0, 20, 500).astype(np.uint64)
    ranks = rng.permutation(500).astype(np.uint64)
    doc_ids = ranks + np.uint64(1000)
    whole = count_buckets(2, hashes, ranks, doc_ids)
    pieces = [
        count_buckets(2, hashes[rows], ranks[rows], doc_ids[rows])
        for rows in (slice(0, 100), slice(100, 130), slice(130, 500))
    ]
    np.testing.assert_array_equal(merge_buckets(np.concatenate(pieces)), whole)
    assert len(merge_buckets(np.empty(0, BUCKET))) == 0
    for bucket in whole:
        members = hashes == bucket["hash"]
        assert bucket["num_docs"] == members.sum()
        assert bucket["rank"] == ranks[members].min() == bucket["doc_id"] - 1000


@given(st.lists(st.integers(0, 6), max_size=40), st.integers(1, 8))
def test_frequent_hashes_are_counted_ones(values: list[int], smallest: int) -> None:
    found = frequent_hashes(np.array(values, np.uint64), smallest)
    expected = sorted(v for v, times in Counter(values).items() if times >= smallest)
    assert found.tolist() == expected


def bands(num_docs: int) -> np.ndarray:
    """Few frequent hashes in each band, and many rare ones."""
    rng = np.random.default_rng(5)
    rare = rng.integers(0, num_docs // 2, (num_docs, NUM_BANDS))
    frequent = rng.integers(0, 3, (num_docs, NUM_BANDS))
    return np.where(rng.random((num_docs, NUM_BANDS)) < 0.6, frequent, rare + 1000).astype("u8")


def brute_force(hashes: np.ndarray, limit: int) -> tuple[set[tuple[int, int]], int]:
    """All links of hot buckets by rank, and how many buckets are hot."""
    order = ranks_of(len(hashes))
    pairs: set[tuple[int, int]] = set()
    num_hot = 0
    for band in range(NUM_BANDS):
        buckets: dict[int, list[int]] = defaultdict(list)
        for doc, value in enumerate(hashes[:, band].tolist()):
            buckets[value].append(int(order[doc]))
        for members in buckets.values():
            if len(members) > limit:
                num_hot += 1
                pairs |= {(min(members), rank) for rank in members if rank != min(members)}
    return pairs, num_hot


def test_hot_hashes_stay_out_of_the_shuffle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the documents are cut into parts, the pairs are the same, and no key is large."""
    hashes = bands(4000)
    largest: list[int] = []
    write_pairs = band_shuffle.write_pairs

    def watch(place: Workplace, part: str, values: Iterable[bytes]) -> commit.PartMarker:
        values = list(values)
        largest.append(int(np.unique(unpack_rows(values).hashes, return_counts=True)[1].max()))
        return write_pairs(place, part, values)

    monkeypatch.setattr(hot_buckets, "MAX_SHUFFLED_ROWS", 790)
    monkeypatch.setattr(band_shuffle, "write_pairs", watch)
    outcomes = [shuffled_pairs(tmp_path / str(n), hashes, n) for n in (1, 3, 5)]
    links, num_hot = brute_force(hashes, 790)
    for pairs, counts in outcomes:
        np.testing.assert_array_equal(pairs, outcomes[0][0])
        assert counts == outcomes[0][1]
        assert links <= {(int(a), int(b)) for a, b in pairs.tolist()}
        assert counts["hot_buckets"] == num_hot
    assert 0 < num_hot < 9
    assert max(largest) <= 790
