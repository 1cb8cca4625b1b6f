"""Resolution in rounds equals resolution in one process, for any graph and any ranges."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.duplicates import rounds
from pipelines.duplicates.edges import EDGE, EdgeFiles
from pipelines.duplicates.pieces import pieces_by_target, write_pieces
from pipelines.duplicates.resolution import Pairs, Resolution, resolve
from pipelines.duplicates.rounds import resolve_in_rounds, spanning_forest
from pipelines.workplace import Workplace
from storage import commit
from storage.commit import PartMarker
from tests.pipelines.dedup_corpus import corpus_config

Edge = tuple[int, int]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, list[Edge]]:
    """Random edges, and chains along the ranks, against them and by jumps."""
    num_docs = draw(st.integers(1, 40))
    node = st.integers(0, num_docs - 1)
    edges = draw(st.lists(st.tuples(node, node), max_size=60))
    step = draw(st.integers(0, 5))
    if step:
        edges += [(one, one + step) for one in range(num_docs - step)]
    return num_docs, sorted({(min(edge), max(edge)) for edge in edges if edge[0] != edge[1]})


def edges_of(pairs: list[Edge]) -> np.ndarray:
    edges = np.zeros(len(pairs), EDGE)
    edges["better"] = [better for better, _ in pairs]
    edges["worse"] = [worse for _, worse in pairs]
    edges["jaccard"] = 0.8 + (edges["better"] * 31 + edges["worse"]) % 20 / 100
    return edges


def in_one_process(num_docs: int, edges: np.ndarray, links: np.ndarray | None = None) -> Resolution:
    return resolve(num_docs, [Pairs(edges["better"], edges["worse"], edges["jaccard"])], links)


def in_rounds(
    folder: Path, num_docs: int, edges: np.ndarray, cuts: list[int], links: np.ndarray | None = None
) -> tuple[Resolution, int]:
    """What rounds over ranges that end at `cuts` decide, and how many there were."""
    bounds = np.array([0, *sorted(cuts), num_docs], np.uint32)
    place = Workplace(str(folder), str(folder / ".work"), "recipe")
    ranges = np.searchsorted(bounds[1:], edges["worse"], "right")
    pieces = ((number, edges[ranges == number].tobytes()) for number in range(len(bounds) - 1))
    marker = PartMarker("edges", "all", "", [write_pieces(place.work, "edges", "all", pieces)])
    by_range = pieces_by_target(place.work, [marker], {})
    files = EdgeFiles(bounds, tuple(tuple(by_range[k]) for k in range(len(bounds) - 1)), 1)
    config = corpus_config(folder, ["web"])
    found = resolve_in_rounds(config, place, num_docs, files, "rounds", links)
    number = 0
    while commit.read_markers(place.work, f"rounds/{number + 1}"):
        number += 1
    return found, number


def assert_equal(one: Resolution, other: Resolution) -> None:
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left, right)


@settings(max_examples=60, deadline=None)
@given(
    graphs(),
    st.lists(st.integers(0, 40), max_size=6),
    st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=4),
)
def test_rounds_decide_what_one_process_decides(
    graph: tuple[int, list[Edge]], cuts: list[int], links: list[Edge]
) -> None:
    num_docs, pairs = graph
    edges = np.random.default_rng(1).permutation(edges_of(pairs))
    cuts = [min(cut, num_docs) for cut in cuts]
    joined = np.array([link for link in links if max(link) < num_docs], np.uint32).reshape(-1, 2)
    with tempfile.TemporaryDirectory() as folder:
        found, num_rounds = in_rounds(Path(folder), num_docs, edges, cuts, joined)
    assert_equal(found, in_one_process(num_docs, edges, joined))
    assert num_rounds <= len(cuts) + 1


@pytest.mark.parametrize("step", [1, 3, 250])
def test_a_chain_needs_no_more_rounds_than_ranges(tmp_path: Path, step: int) -> None:
    """1,000 documents in a chain: one process would call that 1,000 steps of dependence."""
    edges = edges_of([(one, one + step) for one in range(1000 - step)])
    found, num_rounds = in_rounds(tmp_path, 1000, edges, [250, 500, 750])
    assert_equal(found, in_one_process(1000, edges))
    assert num_rounds == 4


def test_an_order_by_hash_needs_few_rounds_whatever_the_number_of_ranges(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    ranks = rng.permutation(2000).tolist()
    edges = edges_of(sorted((min(pair), max(pair)) for pair in pairwise(ranks)))
    found, num_rounds = in_rounds(tmp_path, 2000, edges, list(range(50, 2000, 50)))
    assert_equal(found, in_one_process(2000, edges))
    assert num_rounds <= 12  # of 40 ranges


def test_an_end_without_decisions_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "decide_range", lambda edges, *_: np.ones(len(edges), bool))
    with pytest.raises(AssertionError, match="undecided after 2 rounds"):
        in_rounds(tmp_path, 10, edges_of([(0, 1), (1, 9)]), [5])


@settings(deadline=None)
@given(graphs())
def test_a_spanning_forest_connects_the_same_with_fewest_links(
    graph: tuple[int, list[Edge]],
) -> None:
    num_docs, pairs = graph
    edges = edges_of(pairs)
    forest = spanning_forest(edges, num_docs)
    whole = in_one_process(num_docs, edges).cluster
    linked = in_one_process(num_docs, edges_of([(a, b) for a, b in forest.tolist()])).cluster
    np.testing.assert_array_equal(linked, whole)
    assert len(forest) == num_docs - len(np.unique(whole))
