"""Spherical k-means: its definition in plain Python, its invariants, groups that it must find."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import kmeans
from filters.vectors import Vectors, products, quantise


def groups(num_groups: int, size: int, spread: float, seed: int) -> Vectors:
    """Unit vectors around centres at right angles, group by group."""
    random = np.random.default_rng(seed)
    centres = np.repeat(np.eye(num_groups, 48), size, axis=0)
    return quantise(centres + spread * random.normal(size=centres.shape))


def test_groups_far_apart_are_found() -> None:
    vectors = groups(12, 40, 0.05, seed=1)
    order = np.random.default_rng(2).permutation(len(vectors))
    centroids = kmeans.train(vectors[order], 12, seed=1)
    clusters = kmeans.assign(vectors, centroids).reshape(12, 40)
    assert (clusters == clusters[:, :1]).all()
    assert len(set(clusters[:, 0].tolist())) == 12


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_assignment_is_to_the_largest_product(rows: int, clusters: int, seed: int) -> None:
    """Of equals to the first: plain Python on whole numbers says the same."""
    random = np.random.default_rng(seed)
    vectors = quantise(random.integers(-2, 3, size=(rows, 4)).astype(float))
    centroids = quantise(random.integers(-2, 3, size=(clusters, 4)).astype(float))
    for vector, found in zip(vectors.tolist(), kmeans.assign(vectors, centroids), strict=True):
        dots = [sum(map(int.__mul__, vector, one)) for one in centroids.tolist()]
        assert found == dots.index(max(dots))


def test_assignment_does_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = groups(5, 20, 0.5, seed=3)
    centroids = kmeans.train(vectors, 7, seed=1)
    expected = kmeans.assign(vectors, centroids)
    monkeypatch.setattr(kmeans, "BLOCK_PRODUCTS", 21)
    assert np.array_equal(kmeans.assign(vectors, centroids), expected)
    assert np.array_equal(kmeans.train(vectors, 7, seed=1), centroids)


def test_iterations_only_improve(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum of cosines with the own centroid, but for the rounding of centroids."""
    vectors = groups(6, 50, 0.4, seed=4)
    quality = []
    for iterations in range(8):
        monkeypatch.setattr(kmeans, "ITERATIONS", iterations)
        centroids = kmeans.train(vectors, 6, seed=1)
        quality.append(float(products(vectors, centroids).max(axis=1).mean()) / 4000**2)
    assert all(later > earlier - 1e-4 for earlier, later in itertools.pairwise(quality))
    assert quality[-1] > quality[0]


def test_centroids_are_means_of_their_members(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = groups(4, 30, 0.3, seed=5)
    monkeypatch.setattr(kmeans, "ITERATIONS", 100)  # until nothing changes
    centroids = kmeans.train(vectors, 4, seed=1)
    clusters = kmeans.assign(vectors, centroids)
    for number, centroid in enumerate(centroids):
        mean = vectors[clusters == number].sum(axis=0, dtype=np.int64)
        assert np.array_equal(quantise(mean[None])[0], centroid)


def test_seeds_are_spread_as_in_kmeans_plus_plus() -> None:
    """The second centroid is chosen with a chance in proportion to the squared distance."""
    vectors = quantise(np.array([[1.0, 0.0]] * 2 + [[0.0, 1.0]] * 3 + [[-1.0, 0.0]] * 4))
    chosen = [kmeans._first_centroids(vectors, 2, seed).tolist() for seed in range(600)]
    after_first = [tuple(second) for first, second in chosen if first == [4000, 0]]
    share = after_first.count((-4000, 0)) / len(after_first)
    expected = 4 * 4 / (4 * 4 + 3 * 2)  # squared distances 4 and 2
    sigma = (expected * (1 - expected) / len(after_first)) ** 0.5
    assert abs(share - expected) < 4 * sigma


def test_more_clusters_than_vectors_and_equal_vectors() -> None:
    vectors = quantise(np.array([[1.0, 0.0]] * 5))
    assert kmeans.train(vectors[:2], 9, seed=1).shape == (2, 2)
    centroids = kmeans.train(vectors, 3, seed=1)
    assert (kmeans.assign(vectors, centroids) == 0).all()
    assert kmeans.train(vectors[:0], 3, seed=1).shape == (0, 2)


def test_the_same_on_every_machine() -> None:
    """Golden numbers: raw Philox numbers and whole-number sums do not vary."""
    rows = [[(3 * i * i + 5 * i * j + j) % 11 - 5 for j in range(4)] for i in range(1, 22)]
    vectors = quantise(np.array(rows, float))
    assert kmeans.train(vectors, 3, seed=1).tolist() == GOLDEN


GOLDEN = [[-2484, -259, 2008, -2393], [1793, 122, -1549, -3220], [-853, 825, -250, 3812]]
