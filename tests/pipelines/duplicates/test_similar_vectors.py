"""Dropping within a cluster: the rule in plain Python, over all pairs, says the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.vectors import quantise
from pipelines.duplicates import similar_vectors
from pipelines.duplicates.similar_vectors import Matches, Members, match_each_other, match_kept


def by_definition(members: Members, threshold: float) -> tuple[list[int], list[float]]:
    """In rank order a document is dropped for the best kept one whose cosine is large enough."""
    vectors = members.vectors.tolist()
    survivor, cosines = [-1] * len(vectors), [0.0] * len(vectors)
    for i, vector in enumerate(vectors):
        for j in range(0 if members.standing[i] else i):
            dot = sum(map(int.__mul__, vector, vectors[j]))
            squares = sum(x * x for x in vector) * sum(x * x for x in vectors[j])
            cosine = dot / math.sqrt(squares)
            meets = members.scope[i] == members.scope[j]
            meets |= bool(members.validation[i] or members.validation[j])
            if survivor[j] == -1 and meets and cosine >= threshold:
                survivor[i], cosines[i] = j, cosine
                break
    return survivor, cosines


def random_members(num_docs: int, seed: int) -> Members:
    """Documents around a few centres, some equal, in two scopes; the first ones stand."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(5, 6))[random.integers(0, 5, num_docs)]
    rows += 0.2 * random.normal(size=rows.shape) * random.integers(0, 2, (num_docs, 1))
    standing = np.arange(num_docs) < random.integers(0, num_docs // 3 + 1)
    scope = random.integers(0, 2, num_docs).astype(np.uint64)
    return Members(quantise(rows), scope, random.random(num_docs) < 0.2, standing)


MEMBERS = st.builds(random_members, st.integers(1, 60), st.integers(0, 2**32 - 1))


@settings(deadline=None, max_examples=40)
@given(MEMBERS, st.sampled_from([0.5, 0.9, 0.97, 1.0]), st.sampled_from([1, 3, 64]))
def test_all_pairs_in_plain_python_say_the_same(
    members: Members, threshold: float, tile: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similar_vectors, "TILE_ROWS", tile)
        patch.setattr(similar_vectors, "TILE_COLUMNS", tile + 1)
        matches = Matches.none(len(members.vectors))
        match_each_other(members, matches, np.arange(len(members.vectors)), threshold)
    survivor, cosine = by_definition(members, threshold)
    assert matches.survivor.tolist() == survivor
    assert matches.cosine.tolist() == cosine


@settings(deadline=None, max_examples=25)
@given(MEMBERS, st.integers(1, 59))
def test_in_two_blocks_as_in_one(members: Members, cut: int) -> None:
    """The better half decides first; its kept documents drop from the worse half."""
    names = np.arange(len(members.vectors))
    whole, halves = Matches.none(len(names)), Matches.none(len(names))
    match_each_other(members, whole, names, 0.9)
    first, second = slice(0, cut), slice(cut, None)
    match_each_other(members.take(first), halves.part(first), names[first], 0.9)
    kept = np.flatnonzero(halves.survivor[first] == similar_vectors.NONE)
    rest = members.take(second)
    match_kept(rest, halves.part(second), members.take(kept), kept, 0.9)
    match_each_other(rest, halves.part(second), names[second], 0.9)
    assert halves.survivor.tolist() == whole.survivor.tolist()


def test_a_million_pairs_of_copies_make_a_thousand_comparisons() -> None:
    """Copies of one page: one is kept, and all others name it."""
    vectors = quantise(np.ones((1000, 3)))
    none = np.zeros(1000, bool)
    members = Members(vectors, np.zeros(1000, np.uint64), none, none)
    matches = Matches.none(1000)
    match_each_other(members, matches, np.arange(1000), 1.0)
    assert matches.survivor.tolist() == [-1] + [0] * 999
    assert matches.cosine[1:].tolist() == [1.0] * 999
