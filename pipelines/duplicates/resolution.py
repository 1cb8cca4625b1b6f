"""Which near-duplicates are dropped: in rank order, those with an accepted pair with a kept one.

The rule has one outcome for a given set of accepted pairs: documents are looked at from best to
worst, so the fates of all better ones are known. It leaves no chains: with A ~ B ~ C and not
A ~ C, B is dropped for A and C stays. (It is the lexicographically first maximal independent set.)
`survivor` is the best-ranked kept document of those it pairs with, so a document near both a
validation and a training document counts as near the validation one.

Pairs come in batches of ascending ranges of the worse document. One pass over the sorted pairs
decides, so memory is 16 bytes a ranked document plus one batch, whatever the number of pairs;
nothing has to be partitioned by component first. (`rounds` does the same on many processes.)
Clusters (connected components, for the report
and for weights) come from union-find over the same pairs; they decide nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

NONE = np.uint32(0xFFFFFFFF)
"""Survivor of a kept document."""
MAX_DOCS = int(NONE)


class Pairs(NamedTuple):
    """Accepted pairs as ranks: uint32 `better` < `worse`, float64 `jaccard`, in any order."""

    better: npt.NDArray[np.uint32]
    worse: npt.NDArray[np.uint32]
    jaccard: npt.NDArray[np.float64]


class Resolution(NamedTuple):
    """Fates by rank, each array [num_docs]."""

    survivor: npt.NDArray[np.uint32]
    """Rank of the kept document that this one was dropped for; NONE when kept."""
    similarity: npt.NDArray[np.float64]
    """Jaccard similarity with the survivor; 0 when kept."""
    cluster: npt.NDArray[np.uint32]
    """Rank of the best document of the connected component; its own when alone."""

    @property
    def dropped(self) -> npt.NDArray[np.bool_]:
        return self.survivor != NONE


def resolve(
    num_docs: int, batches: Iterable[Pairs], links: npt.NDArray[np.uint32] | None = None
) -> Resolution:
    """Decides all documents. Batches must come in ascending ranges of `worse`.

    `links`, uint32[n, 2], are documents of one cluster whatever the pairs say; they decide nothing.

    Raises ValueError when there are more documents than ranks of 32 bits.
    """
    survivor, similarity, parent = new_resolution(num_docs)
    if links is not None:
        link(links, parent)
    seen = -1
    for batch in batches:
        if len(batch.worse) == 0:
            continue
        assert int(batch.worse.min()) > seen, "batches must ascend by the worse document"
        assert (batch.better < batch.worse).all(), "a pair is (better, worse)"
        seen = int(batch.worse.max())
        order = np.argsort(batch.worse.astype(np.uint64) << np.uint64(32) | batch.better)
        _resolve_sorted(*batch, order, survivor, similarity, parent)
    flatten(parent)
    return Resolution(survivor, similarity, parent)


def new_resolution(num_docs: int) -> Resolution:
    """All kept, each document its own cluster. Raises ValueError when there are too many."""
    if num_docs > MAX_DOCS:
        raise ValueError(f"{num_docs} documents compete; at most {MAX_DOCS} can be ranked")
    survivor = np.full(num_docs, NONE, np.uint32)
    return Resolution(survivor, np.zeros(num_docs), np.arange(num_docs, dtype=np.uint32))


@numba.njit(cache=True, nogil=True)
def _resolve_sorted(
    better, worse, jaccard, order, survivor, similarity, parent
):  # pragma: no cover
    """`order` is by (worse, better): the first kept partner of a document is its best-ranked."""
    for pair in order:
        high, low = better[pair], worse[pair]
        if survivor[low] == NONE and survivor[high] == NONE:
            survivor[low] = high
            similarity[low] = jaccard[pair]
        join(parent, high, low)


@numba.njit(cache=True, nogil=True)
def link(links, parent):  # pragma: no cover
    """Joins the trees of both nodes of each link, uint32[links, 2]; roots are best-ranked."""
    for k in range(len(links)):
        join(parent, links[k, 0], links[k, 1])


@numba.njit(cache=True, nogil=True)
def join(parent, one, other):  # pragma: no cover
    """Makes one tree of the trees of two nodes; the better-ranked root stays."""
    root_a, root_b = _root(parent, one), _root(parent, other)
    parent[max(root_a, root_b)] = min(root_a, root_b)


@numba.njit(cache=True, nogil=True)
def _root(parent, node):  # pragma: no cover
    """The best-ranked node of the tree; halves the path on the way."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@numba.njit(cache=True, nogil=True)
def flatten(parent):  # pragma: no cover
    """Every node points to its root: a parent is always better-ranked, so one pass is enough."""
    for node in range(len(parent)):
        parent[node] = parent[parent[node]]
