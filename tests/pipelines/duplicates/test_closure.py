"""The second look: which pairs it proposes, and what it finds that LSH missed."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import dedup
from pipelines.duplicates import closure
from pipelines.duplicates.candidates import PAIR
from pipelines.duplicates.closure import neighbours_of_dropped
from pipelines.duplicates.resolution import Pairs, resolve
from storage import tables
from tests.pipelines.dedup_corpus import Doc, corpus_config, read_final, write_corpus

Edge = tuple[int, int]
EDGES = st.lists(
    st.tuples(st.integers(0, 11), st.integers(0, 11)).filter(lambda edge: edge[0] < edge[1]),
    max_size=40,
)


def pairs_of(edges: list[Edge]) -> Pairs:
    better, worse = (np.array([edge[side] for edge in edges], np.uint32) for side in (0, 1))
    return Pairs(better, worse, np.ones(len(edges)))


@settings(deadline=None)
@given(EDGES, st.integers(0, 11))
def test_kept_neighbours_of_a_dropped_document_become_candidates(
    edges: list[Edge], cut: int
) -> None:
    """Each with the best of them and with the next better one, whatever the batches."""
    resolution = resolve(12, [pairs_of(edges)])
    batches = [
        pairs_of([e for e in edges if e[1] < cut]),
        pairs_of([e for e in edges if e[1] >= cut]),
    ]
    expected = set()
    for document in np.flatnonzero(resolution.dropped).tolist():
        around = {a + b - document for a, b in edges if document in (a, b)}
        kept = sorted(n for n in around if not resolution.dropped[n])
        expected |= {(kept[0], later) for later in kept[1:]}
        expected |= set(itertools.pairwise(kept))
    for memory_bytes in (1 << 30, 400):
        found = neighbours_of_dropped(resolution, lambda: batches, memory_bytes)
        assert {pair for pairs in found for pair in pairs.tolist()} == expected


def test_families_keep_fewer_copies_and_nothing_unlike_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six copies of each page at J = .8 or more; bands that miss a third of such pairs."""
    rng = random.Random(3)
    docs = []
    for family in range(25):
        page = [f"w{rng.randrange(10**9)}" for _ in range(200)]
        for member in range(6):
            copy = list(page)
            for place in rng.sample(range(200), 2):
                copy[place] = f"x{rng.randrange(10**9)}"
            docs.append(Doc(" ".join(copy), f"{family}.{member}"))
    kept = {}
    for name in ("second", "first only"):
        config = corpus_config(tmp_path / name, ["web"], bands=6, rows=12)
        write_corpus(config, {"web/0000000-0000": docs[::2], "web/0000001-0000": docs[1::2]})
        if name == "first only":
            monkeypatch.setattr(closure, "neighbours_of_dropped", lambda *_: [np.empty(0, PAIR)])
        dedup.run(config)
        final = read_final(config)
        kept[name] = sum(row["kept"] for row in final.values())
        for record, row in final.items():
            assert row["survivor"].split(".")[0] == record.split(".")[0]
            assert row["kept"] or row["similarity"] >= 0.8
    assert 25 <= kept["second"] < kept["first only"]
    pairs = tables.read_table(config.path("pairs", "web/0000000-0000.parquet"))
    assert pairs.num_rows > 0
