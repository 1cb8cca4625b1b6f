"""Candidate pairs against grouping with a dictionary; passes cover every row exactly once."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.duplicates import candidates
from pipelines.duplicates.candidates import (
    MAX_ALL_PAIRS,
    PAIR,
    ROW,
    SHUFFLE_COPIES,
    Rows,
    candidate_pairs,
    pairs_of_rows,
    plan_passes,
    split_rows,
    unique_pairs,
    unpack_rows,
)
from storage.addresses import ROW_BITS


def brute_force(hashes: np.ndarray, ranks: np.ndarray, doc_ids: np.ndarray) -> set[tuple[int, int]]:
    """The definition: all pairs of small buckets, links to best and next better in large ones."""
    pairs: set[tuple[int, int]] = set()
    for band in range(hashes.shape[1]):
        buckets: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for doc, hash_value in enumerate(hashes[:, band]):
            buckets[int(hash_value)].append((int(ranks[doc]), int(doc_ids[doc])))
        for bucket in buckets.values():
            members = [doc_id for _, doc_id in sorted(bucket)]
            if len(members) <= MAX_ALL_PAIRS:
                found = list(combinations(members, 2))
            else:
                found = [(members[0], member) for member in members[1:]]
                found += list(pairwise(members))
            pairs |= {(min(pair), max(pair)) for pair in found}
    return pairs


def as_set(pairs: np.ndarray) -> set[tuple[int, int]]:
    return {(int(a), int(b)) for a, b in pairs.tolist()}


def documents(num_docs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    doc_ids = rng.choice(10 * num_docs + 1, num_docs, replace=False).astype(np.uint64)
    return rng.permutation(num_docs).astype(np.uint64), doc_ids


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 300), st.integers(1, 4), st.sampled_from([1, 2, 10, 1000]), st.integers(0, 999)
)
def test_pairs_are_those_of_the_definition(
    num_docs: int, num_bands: int, num_values: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 1 << 63, num_values, dtype=np.uint64)
    hashes = values[rng.integers(0, num_values, (num_docs, num_bands))]
    ranks, doc_ids = documents(num_docs, seed)
    pairs, _ = candidate_pairs(hashes, ranks, doc_ids)
    assert as_set(pairs) == brute_force(hashes, ranks, doc_ids)
    assert (pairs["a"] < pairs["b"]).all()
    assert len(pairs) == len(as_set(pairs))
    np.testing.assert_array_equal(pairs, np.sort(pairs, order=["a", "b"]))


def test_a_small_bucket_gives_all_pairs_and_a_large_one_links() -> None:
    for num_docs, expected in ((64, 64 * 63 // 2), (65, 2 * 65 - 3)):
        ranks, doc_ids = documents(num_docs, 1)
        hashes = np.full((num_docs, 1), 7, np.uint64)
        pairs, counts = candidate_pairs(hashes, ranks, doc_ids)
        assert len(pairs) == expected
        assert counts["unexamined_pairs"] == num_docs * (num_docs - 1) // 2 - expected
        assert counts["largest_bucket"] == num_docs


def test_chunks_are_bounded_and_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    hashes = rng.integers(0, 40, 2000).astype(np.uint64)
    hashes[:500] = 99  # one large bucket
    ranks, doc_ids = documents(2000, 3)
    rows = Rows(hashes, ranks, doc_ids)
    whole = np.concatenate(list(pairs_of_rows(rows, Counter())))
    monkeypatch.setattr(candidates, "MAX_CHUNK_PAIRS", 500)
    chunks = list(pairs_of_rows(permuted(rows, rng), Counter()))
    assert max(len(chunk) for chunk in chunks) <= 500 + MAX_ALL_PAIRS
    assert len(whole) == len(unique_pairs(whole))
    np.testing.assert_array_equal(unique_pairs(np.concatenate(chunks)), unique_pairs(whole))


def permuted(rows: Rows, rng: np.random.Generator) -> Rows:
    order = rng.permutation(len(rows.hashes))
    return Rows._make(column[order] for column in rows)


def test_the_order_of_rows_does_not_matter() -> None:
    rng = np.random.default_rng(5)
    hashes = rng.integers(0, 30, 3000).astype(np.uint64)
    ranks, doc_ids = documents(3000, 5)
    rows = Rows(hashes, ranks, doc_ids)
    expected = unique_pairs(np.concatenate(list(pairs_of_rows(rows, Counter()))))
    for _ in range(3):
        shuffled = np.concatenate(list(pairs_of_rows(permuted(rows, rng), Counter())))
        np.testing.assert_array_equal(unique_pairs(shuffled), expected)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=60), st.integers(0, 40))
def test_hashes_that_differ_in_upper_bits_only_share_no_bucket(
    halves: list[tuple[int, int]], num_standing: int
) -> None:
    """Rows are sorted by the lower bits of their hashes; the definition looks at all."""
    hashes = np.array([high << 62 | low for high, low in halves], np.uint64)
    ranks, doc_ids = documents(len(halves), 4)
    rows = Rows(hashes, ranks, doc_ids)
    found = list(pairs_of_rows(rows, Counter(), num_standing))
    expected = {
        (min(doc_ids[one], doc_ids[other]), max(doc_ids[one], doc_ids[other]))
        for one, other in itertools.combinations(range(len(halves)), 2)
        if hashes[one] == hashes[other] and max(ranks[one], ranks[other]) >= num_standing
    }
    pairs = np.concatenate([np.empty(0, PAIR), *found])
    assert len(pairs) == len(expected)
    assert set(pairs.tolist()) == expected


@settings(deadline=None)
@given(
    st.integers(1, 10**9),
    st.integers(1, 40),
    st.integers(64 << 20, 64 << 30),
    st.integers(0, 2**64),
)
def test_passes_cover_all_bands_within_memory(
    num_docs: int, num_bands: int, memory_bytes: int, point: int
) -> None:
    passes = plan_passes(num_docs, num_bands, memory_bytes)
    for one in passes:
        share = one.num_keys / one.num_slices
        pass_bytes = len(one.bands) * share * num_docs * ROW.itemsize
        assert pass_bytes * SHUFFLE_COPIES <= memory_bytes + ROW.itemsize * num_docs * 1e-9
        assert pass_bytes <= candidates.MAX_PASS_BYTES
        assert pass_bytes / (one.num_keys * len(one.bands)) <= candidates.KEY_BYTES
    for band in range(num_bands):
        slices = [
            number
            for one in passes
            if band in one.bands
            for number in range(one.first_slice, one.first_slice + one.num_keys)
        ]
        assert slices == list(range(passes[0].num_slices))


@pytest.mark.parametrize(("num_docs", "memory_bytes"), [(5000, 1 << 30), (5000, 100_000)])
def test_every_row_goes_to_one_key_of_one_pass(
    num_docs: int, memory_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "KEY_BYTES", 10_000)
    rng = np.random.default_rng(8)
    num_bands = 3
    hashes = rng.integers(0, 1 << 64, (num_docs, num_bands), dtype=np.uint64)
    ranks, doc_ids = documents(num_docs, 8)
    keys: dict[int, list[bytes]] = defaultdict(list)
    for one in plan_passes(num_docs, num_bands, memory_bytes):
        for band in one.bands:
            for key, data in split_rows(one, band, 3, Rows(hashes[:, band], ranks, doc_ids)):
                keys[key].append(data)
    rows = unpack_rows(data for many in keys.values() for data in many)
    found = zip(*rows, strict=True)
    own = np.uint64(3 << ROW_BITS)
    columns = hashes.ravel(), ranks.repeat(num_bands), (own | doc_ids).repeat(num_bands)
    assert sorted(found) == sorted(zip(*columns, strict=True))
    assert max(len(data) for many in keys.values() for data in many) < 2 * candidates.KEY_BYTES


def test_no_documents_no_passes() -> None:
    assert plan_passes(0, 14, 2 << 30) == []
    pairs, _ = candidate_pairs(np.empty((0, 14), np.uint64), np.empty(0), np.empty(0))
    assert len(pairs) == 0
