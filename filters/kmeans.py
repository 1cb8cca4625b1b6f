"""Spherical k-means over unit vectors of vectors.py (Dhillon and Modha, Machine Learning 42, 2001).

All arithmetic is on whole numbers (products are exact, sums are int64), so the same vectors in the
same order give the same centroids on every processor. First centroids are chosen as in k-means++
(Arthur and Vassilvitskii, SODA 2007), by raw numbers of the Philox generator, which no version of
numpy changes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from filters.vectors import Vectors, products, quantise, squared_lengths

VERSION = 1
ITERATIONS = 10
SEEDS_PER_CLUSTER = 16
"""Vectors from which the first centroids are chosen: each of those takes a look at all of them."""
BLOCK_PRODUCTS = 8 << 20
"""Products in memory at once (32 MiB)."""


def train(vectors: Vectors, num_clusters: int, seed: int) -> Vectors:
    """Centroids int16[num_clusters, dimensions]; at most as many as there are vectors.

    A cluster that loses all its members keeps its centroid.
    """
    num_clusters = min(num_clusters, len(vectors))
    centroids = _first_centroids(vectors[: SEEDS_PER_CLUSTER * num_clusters], num_clusters, seed)
    before = np.full(len(vectors), -1, np.int32)
    for _ in range(ITERATIONS):
        clusters = assign(vectors, centroids)
        if np.array_equal(clusters, before):
            break
        sums, sizes = _sums(vectors, clusters, num_clusters)
        centroids = np.where(sizes[:, None] > 0, quantise(sums), centroids)
        before = clusters
    return centroids


def assign(vectors: Vectors, centroids: Vectors) -> npt.NDArray[np.int32]:
    """The centroid with the largest product, of equals the first: int32[rows]."""
    clusters = np.empty(len(vectors), np.int32)
    for rows in _blocks(len(vectors), len(centroids)):
        clusters[rows] = products(vectors[rows], centroids).argmax(axis=1)
    return clusters


def _first_centroids(vectors: Vectors, num_clusters: int, seed: int) -> Vectors:
    """Vectors chosen one after another with a chance that grows with the squared distance."""
    random = np.random.Philox(key=seed)
    lengths = squared_lengths(vectors).astype(np.int64)
    floats = vectors.astype(np.float32)
    distances = np.ones(len(vectors), np.int64)
    chosen = np.empty(num_clusters, np.int64)
    for number in range(num_clusters):
        ends = np.cumsum(distances)
        place = int(random.random_raw()) * int(ends[-1]) >> 64
        chosen[number] = one = np.searchsorted(ends, place, side="right") % len(vectors)
        product = (floats @ floats[one]).astype(np.int64)
        apart = lengths + lengths[one] - 2 * product
        distances = np.minimum(distances, apart) if number else apart
    return vectors[chosen]


def _sums(
    vectors: Vectors, clusters: npt.NDArray[np.int32], num_clusters: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Sum of the members of each cluster, and their number."""
    sizes = np.bincount(clusters, minlength=num_clusters)
    order = np.argsort(clusters, kind="stable")
    ends = np.cumsum(sizes)
    sums = np.zeros((num_clusters, vectors.shape[1]), np.int64)
    for cluster in np.flatnonzero(sizes):
        rows = order[ends[cluster] - sizes[cluster] : ends[cluster]]
        sums[cluster] = vectors[rows].sum(axis=0, dtype=np.int64)
    return sums, sizes


def _blocks(num_rows: int, num_columns: int) -> Iterator[slice]:
    size = max(1, BLOCK_PRODUCTS // max(1, num_columns))
    for start in range(0, num_rows, size):
        yield slice(start, start + size)
