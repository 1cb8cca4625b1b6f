"""Resolution: the greedy rule, its invariants, and independence of the order of pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.duplicates.resolution import MAX_DOCS, NONE, Pairs, Resolution, resolve

Edge = tuple[int, int]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, list[Edge]]:
    num_docs = draw(st.integers(1, 30))
    node = st.integers(0, num_docs - 1)
    edges = draw(st.lists(st.tuples(node, node), max_size=80))
    return num_docs, [(min(edge), max(edge)) for edge in edges if edge[0] != edge[1]]


def similarity_of(better: int, worse: int) -> float:
    return 0.8 + (better * 31 + worse) % 20 / 100


def pairs_of(edges: list[Edge]) -> Pairs:
    better = np.array([edge[0] for edge in edges], np.uint32)
    worse = np.array([edge[1] for edge in edges], np.uint32)
    return Pairs(better, worse, np.array([similarity_of(*edge) for edge in edges], float))


def brute_force(num_docs: int, edges: list[Edge]) -> tuple[list[int], list[int]]:
    """Survivors (-1: kept) by the definition, and the best member of each component."""
    survivors: list[int] = []
    for doc in range(num_docs):
        kept = [a for a, b in edges if b == doc and survivors[a] == -1]
        survivors.append(min(kept, default=-1))
    clusters = list(range(num_docs))
    for _ in range(num_docs):
        for a, b in edges:
            clusters[a] = clusters[b] = min(clusters[a], clusters[b])
    return survivors, clusters


def survivors_of(result: Resolution) -> list[int]:
    return [-1 if rank == NONE else int(rank) for rank in result.survivor]


@settings(deadline=None)
@given(graphs())
def test_fates_are_those_of_the_definition(graph: tuple[int, list[Edge]]) -> None:
    num_docs, edges = graph
    result = resolve(num_docs, [pairs_of(edges)])
    survivors, clusters = brute_force(num_docs, edges)
    assert survivors_of(result) == survivors
    assert result.cluster.tolist() == clusters
    for doc, survivor in enumerate(survivors):
        expected = similarity_of(survivor, doc) if survivor >= 0 else 0.0
        assert result.similarity[doc] == expected


@settings(deadline=None)
@given(graphs())
def test_every_drop_is_for_a_kept_document_and_no_two_kept_ones_pair(
    graph: tuple[int, list[Edge]],
) -> None:
    num_docs, edges = graph
    result = resolve(num_docs, [pairs_of(edges)])
    for doc in np.flatnonzero(result.dropped):
        survivor = int(result.survivor[doc])
        assert (survivor, doc) in edges
        assert not result.dropped[survivor]
    assert not any(not result.dropped[a] and not result.dropped[b] for a, b in edges)


@settings(max_examples=50, deadline=None)
@given(graphs(), st.randoms(use_true_random=False), st.integers(1, 30))
def test_order_repeats_and_batches_of_pairs_do_not_matter(
    graph: tuple[int, list[Edge]], random, cut: int
) -> None:
    num_docs, edges = graph
    shuffled = edges + edges[:3]
    random.shuffle(shuffled)
    low = [edge for edge in shuffled if edge[1] < cut]
    high = [edge for edge in shuffled if edge[1] >= cut]
    one, other = (
        resolve(num_docs, [pairs_of(edges)]),
        resolve(num_docs, [pairs_of(low), pairs_of([]), pairs_of(high)]),
    )
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_chain_keeps_its_end() -> None:
    """A ~ B ~ C without A ~ C: connected components would drop C for a document unlike it."""
    result = resolve(3, [pairs_of([(0, 1), (1, 2)])])
    assert survivors_of(result) == [-1, 0, -1]
    assert result.cluster.tolist() == [0, 0, 0]


def test_no_documents_and_no_pairs() -> None:
    assert len(resolve(0, []).survivor) == 0
    assert not resolve(3, []).dropped.any()


def test_too_many_documents_is_an_error_that_says_how_many() -> None:
    with pytest.raises(ValueError, match=str(MAX_DOCS + 1)):
        resolve(MAX_DOCS + 1, [])
