"""MinHash kernels against their definition, and its statistics against exact similarity."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from filters import lsh, minhash
from filters.minhash import MinHashParams
from filters.shingles import Ragged, jaccard_of_pairs, shingle_hashes, shingles, word_hashes

MASK = (1 << 64) - 1
TEXT = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, "
    "it was the age of foolishness, it was the epoch of belief, it was the epoch of incredulity"
)


GOLDEN_SIGNATURE = [346192442, 416465248, 244283612]
GOLDEN_BANDS = [9753362544233249939, 10273071327978828454]
GOLDEN_DIGEST = "4721b4a877b5881d"


def large(texts: list[str]) -> pa.Array:
    return pa.array(texts, pa.large_string())


def plain_signature(shingle_set: list[int], num_perm: int, seed: int) -> list[int]:
    a, b = (x.tolist() for x in minhash.hash_functions(num_perm, seed))
    return [
        min(((a[j] * (s >> 32) + b[j]) & MASK) >> 32 for s in shingle_set)
        if shingle_set
        else 0xFFFFFFFF
        for j in range(num_perm)
    ]


def random_sets(
    rng: np.random.Generator, jaccards: np.ndarray, size: int
) -> tuple[Ragged, Ragged, np.ndarray]:
    """Pairs of sets of random 64-bit hashes with about the given similarities, and the exact ones.

    Pair k shares the first c of its 2 * size - c hashes, c / (2 * size - c) = jaccards[k].
    """
    common = np.rint(2 * size * jaccards / (1 + jaccards)).astype(int)
    offsets = np.arange(len(common) + 1, dtype=np.int64) * size
    left = rng.integers(0, 1 << 64, (len(common), size), dtype=np.uint64)
    right = rng.integers(0, 1 << 64, (len(common), size), dtype=np.uint64)
    shared = np.arange(size) < common[:, None]
    right[shared] = left[shared]
    return (
        Ragged(offsets, left.ravel()),
        Ragged(offsets, right.ravel()),
        common / (2 * size - common),
    )


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, MASK), max_size=30), max_size=5),
    st.integers(1, 20),
    st.integers(0, MASK),
)
def test_signatures_equal_their_definition(sets: list[list[int]], num_perm: int, seed: int) -> None:
    offsets = np.cumsum([0, *map(len, sets)]).astype(np.int64)
    ragged = Ragged(offsets, np.array([x for s in sets for x in s], np.uint64))
    expected = [plain_signature(s, num_perm, seed) for s in sets]
    assert minhash.minimum_hashes(ragged, num_perm, seed).tolist() == expected


def test_more_shingles_than_one_block_still_give_the_minimum() -> None:
    values = np.random.default_rng(0).integers(0, 1 << 64, 20_000, dtype=np.uint64)
    ragged = Ragged(np.array([0, 20_000]), values)
    expected = plain_signature(values.tolist(), 4, 7)
    assert minhash.minimum_hashes(ragged, 4, 7)[0].tolist() == expected


def test_text_signatures_are_those_of_their_shingles() -> None:
    texts = large([TEXT, "", "one two", TEXT + " not"])
    signature, num_shingles = minhash.signatures(texts, ngram=5, num_perm=16, seed=3)
    rows = shingles(word_hashes(texts), 5)
    assert num_shingles.dtype == np.uint32
    assert num_shingles.tolist() == np.diff(rows.offsets).tolist() == [32, 0, 1, 33]
    np.testing.assert_array_equal(signature, minhash.minimum_hashes(rows, 16, 3))


def test_a_longer_signature_begins_with_the_shorter_one() -> None:
    short, _ = minhash.signatures(large([TEXT]), num_perm=32)
    long, _ = minhash.signatures(large([TEXT]), num_perm=112)
    np.testing.assert_array_equal(long[:, :32], short)


def test_golden_signature() -> None:
    """Signatures live in tables for years: a change needs a new VERSION of the group."""
    assert minhash.VERSION == 1
    batch = pa.record_batch({"text": large([TEXT, "\u4eca\u5929\u5929\u6c14\u5f88\u597d"])})
    signals = minhash.compute(batch)
    assert signals.column("signature")[0].as_py()[:3] == GOLDEN_SIGNATURE
    assert signals.column("band_00").to_pylist() == GOLDEN_BANDS
    values = np.array(signals.column("signature").to_pylist(), dtype="<u4")
    assert hashlib.sha256(values.tobytes()).hexdigest()[:16] == GOLDEN_DIGEST


def test_estimates_lie_within_three_standard_errors_as_often_as_a_binomial_does() -> None:
    """The estimate is a binomial share: within 3 sigma at least 99 %, and without bias."""
    rng = np.random.default_rng(1)
    left, right, jaccard = random_sets(rng, rng.uniform(0.1, 0.95, 10_000), 150)
    sigma = np.sqrt(jaccard * (1 - jaccard) / 112)
    error = (
        minhash.estimate(
            minhash.minimum_hashes(left, 112, 1), minhash.minimum_hashes(right, 112, 1)
        )
        - jaccard
    )
    assert np.mean(np.abs(error) <= 3 * sigma) >= 0.99
    assert abs(np.mean(error)) < 4 * np.sqrt(np.mean(sigma**2) / len(error))
    assert np.std(error / sigma) == pytest.approx(1.0, abs=0.05)


def test_hash_functions_are_independent_enough() -> None:
    """Over many sets, two functions agree or not on one pair without regard to each other."""
    rng = np.random.default_rng(2)
    left, right, jaccard = random_sets(rng, np.full(4_000, 0.5), 100)
    equal = minhash.minimum_hashes(left, 16, 1) == minhash.minimum_hashes(right, 16, 1)
    correlation = np.corrcoef(equal.T.astype(float))
    assert np.abs(correlation - np.eye(16)).max() < 5 / np.sqrt(len(jaccard))


def test_as_accurate_as_datasketch() -> None:
    rng = np.random.default_rng(3)
    left, right, jaccard = random_sets(rng, rng.uniform(0.2, 0.9, 200), 200)
    ours = minhash.estimate(
        minhash.minimum_hashes(left, 112, 1), minhash.minimum_hashes(right, 112, 1)
    )
    theirs = [
        _datasketch(a).jaccard(_datasketch(b))
        for a, b in zip(left.values.reshape(200, -1), right.values.reshape(200, -1), strict=True)
    ]
    ours_rms = np.sqrt(np.mean((ours - jaccard) ** 2))
    assert ours_rms < 1.25 * np.sqrt(np.mean((theirs - jaccard) ** 2))


def test_estimates_agree_with_those_of_datasketch() -> None:
    """10,011 pairs of 142 sets in which neighbours overlap: two estimates of one similarity.

    Their hash functions are independent, so the difference has twice the variance of one.
    """
    universe = np.random.default_rng(4).integers(0, 1 << 64, 142 * 4 + 200, dtype=np.uint64)
    sets = np.stack([universe[4 * k : 4 * k + 200] for k in range(142)])
    rows = Ragged(np.arange(143, dtype=np.int64) * 200, sets.ravel())
    i, j = np.triu_indices(142, 1)
    assert len(i) == 10_011
    shared = np.maximum(200 - 4 * (j - i), 0)
    jaccard = shared / (400 - shared)
    signature = minhash.minimum_hashes(rows, 112, 1)
    ours = minhash.estimate(signature[i], signature[j])
    sketches = np.stack([_datasketch(values).hashvalues for values in sets])
    theirs = (sketches[i] == sketches[j]).mean(axis=1)
    sigma = np.sqrt(jaccard * (1 - jaccard) / 112)
    for estimates in (ours, theirs):
        assert np.mean(np.abs(estimates - jaccard) <= 3 * sigma) >= 0.99
    assert np.mean(np.abs(ours - theirs) <= 3 * np.sqrt(2) * sigma) >= 0.99


@pytest.mark.parametrize("jaccard", [0.7, 0.8, 0.9])
def test_number_of_colliding_bands_is_binomial(jaccard: float) -> None:
    """Chi-square of 10,000 pairs against Binomial(14, J**8): bands are independent."""
    rng = np.random.default_rng(int(jaccard * 100))
    left, right, exact = random_sets(rng, np.full(10_000, jaccard), 150)
    bands = [
        minhash.band_hashes(minhash.minimum_hashes(side, 112, 1), 14, 8) for side in (left, right)
    ]
    counts = np.bincount((bands[0] == bands[1]).sum(axis=1), minlength=15)
    expected = 10_000 * stats.binom.pmf(np.arange(15), 14, exact[0] ** 8)
    rare = np.flatnonzero(expected < 10)  # chi-square wants no rare cells: the tails together
    common = np.setdiff1d(np.arange(15), rare)
    observed = np.append(counts[common], counts[rare].sum())
    predicted = np.append(expected[common], expected[rare].sum())
    assert stats.chisquare(observed, predicted).pvalue > 1e-4


def _datasketch(values: np.ndarray) -> MinHash:
    sketch = MinHash(num_perm=112, seed=1)
    sketch.update_batch([value.tobytes() for value in values])
    return sketch


@pytest.mark.parametrize("jaccard", [0.6, 0.7, 0.8, 0.9])
def test_band_collisions_follow_the_formula(jaccard: float) -> None:
    """Candidates among 4,000 pairs: a binomial count, tested at 4 standard deviations."""
    pairs = 4_000
    left, right, exact = random_sets(
        np.random.default_rng(int(jaccard * 10)), np.full(pairs, jaccard), 200
    )
    bands = [
        minhash.band_hashes(minhash.minimum_hashes(side, 112, 1), 14, 8) for side in (left, right)
    ]
    found = np.count_nonzero((bands[0] == bands[1]).any(axis=1))
    expected = lsh.probability(exact[0], 14, 8)
    assert abs(found - pairs * expected) < 4 * np.sqrt(pairs * expected * (1 - expected))


def test_bands_are_equal_iff_their_entries_are_and_differ_between_bands() -> None:
    signature = np.zeros((2, 8), np.uint32)
    signature[1, 3] = 1
    bands = minhash.band_hashes(signature, 4, 2)
    assert (bands[0] == bands[1]).tolist() == [True, False, True, True]
    assert len(set(bands[0].tolist())) == 4


def test_documents_that_differ_in_digits_are_not_duplicates() -> None:
    """250 tables of numbers: a normaliser that folds digits keeps 3 of them."""
    rng = np.random.default_rng(4)
    texts = [" ".join(f"w{n}" for n in rng.integers(0, 1000, 200)) for _ in range(250)]
    signature, _ = minhash.signatures(large(texts))
    bands = minhash.band_hashes(signature, 14, 8)
    assert len(np.unique(bands[:, 0])) == 250


def test_text_without_spaces_is_compared() -> None:
    original = "".join(chr(0x4E00 + i * 7 % 2000) for i in range(400))
    edited = original[:200] + "\u4e00" + original[200:]
    signature, num_shingles = minhash.signatures(large([original, edited]))
    assert num_shingles.tolist() == [396, 397]
    assert minhash.estimate(signature[:1], signature[1:])[0] > 0.9


def test_estimates_of_real_prose(shared_data: Path) -> None:
    """160 pages of two editions of one manual: every pair's estimate within 4 sigma."""
    path = shared_data / "neardup" / "debian_guide" / "docs.dev.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        texts = large([json.loads(line)["text"] for line in lines])
    signature, _ = minhash.signatures(texts)
    sets = shingle_hashes(texts)
    i, j = np.triu_indices(len(texts), 1)
    jaccard = jaccard_of_pairs(sets, sets, i, j)
    error = minhash.estimate(signature[i], signature[j]) - jaccard
    sigma = np.sqrt(jaccard * (1 - jaccard) / 112)
    assert np.mean(np.abs(error) <= 3 * sigma + 1 / 112) >= 0.99


def test_compute_has_the_schema_of_the_tables() -> None:
    params = MinHashParams(num_perm=20, bands=4, rows=5)
    batch = pa.record_batch({"text": large([TEXT, ""])})
    signals = minhash.compute(batch.slice(1), params)
    assert signals.schema == minhash.schema(params)
    assert signals.num_rows == 1
    assert signals.column("num_shingles").to_pylist() == [0]
    assert minhash.compute(batch.slice(0, 0), params).num_rows == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: minhash.signatures(large(["a"]), num_perm=0), "num_perm is 0"),
        (lambda: minhash.signatures(large(["a"]), seed=-1), "seed is -1"),
        (lambda: minhash.band_hashes(np.zeros((1, 8), np.uint32), 3, 3), "9 signature entries"),
    ],
)
def test_impossible_settings_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
