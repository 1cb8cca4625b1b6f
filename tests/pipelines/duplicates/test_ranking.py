"""Ranks against sorting by all keys, and their look-up against a dictionary."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.duplicates import ranking
from pipelines.duplicates.pieces import stable_order
from pipelines.duplicates.rank_table import RankTable
from pipelines.duplicates.ranking import ContentHashes, Ranking, best_first
from storage.addresses import pack_doc_id

BITS = st.sampled_from([1, 3, 40, 61, 63])


@settings(deadline=None)
@given(st.integers(0, 50), BITS, BITS, st.integers(0, 2**32), st.integers(1, 9))
def test_documents_rank_by_all_keys_in_turn(
    num_docs: int, policy_bits: int, hash_bits: int, seed: int, block_rows: int
) -> None:
    """Few bits make many documents agree in the leading keys, many bits overflow 64."""
    rng = np.random.default_rng(seed)
    policy = rng.integers(0, 1 << policy_bits, num_docs, dtype=np.uint64)
    high, low = rng.integers(0, 1 << hash_bits, (2, num_docs), dtype=np.uint64)
    ties = rng.permutation(num_docs).astype(np.uint64)
    validation, standing = rng.integers(0, 2, (2, num_docs)).astype(bool)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "BLOCK_ROWS", block_rows)
        order = best_first(validation, policy, ContentHashes(high, low), ties, standing)
    expected = sorted(
        range(num_docs),
        key=lambda k: (not standing[k], not validation[k], policy[k], high[k], low[k], ties[k]),
    )
    assert order.tolist() == expected


def test_ranks_are_found_again_and_only_those(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    parts = [(0, 1), (3, 0), (3, 7), (900, 0)]
    ids = np.array([pack_doc_id(*p, row) for p in parts for row in range(60)], np.uint64)
    ranked = np.sort(rng.choice(ids, 100, replace=False))
    ranks = rng.permutation(100).astype(np.uint32)
    table = RankTable.of(ranked, ranks)
    table.write(str(tmp_path / "table.bin"))
    known = dict(zip(ranked.tolist(), ranks.tolist(), strict=True))
    strangers = [pack_doc_id(0, 0, 5), pack_doc_id(3, 1, 0), pack_doc_id(900, 0, 61), 2**63]
    asked = rng.permutation(np.array([*ids.tolist(), *strangers], np.uint64))
    for one in (table, RankTable.read(str(tmp_path / "table.bin"))):
        assert one.ranks_of(asked).tolist() == [known.get(i, -1) for i in asked.tolist()]
        own = [one.of_part(pack_doc_id(*part, 0) >> 28) for part in [*parts, (5, 5)]]
        assert np.concatenate([part_ids for part_ids, _ in own]).tolist() == ranked.tolist()
        assert np.concatenate([part_ranks for _, part_ranks in own]).tolist() == ranks.tolist()


def test_no_documents_have_no_ranks() -> None:
    none = np.empty(0, np.uint64)
    empty = Ranking.of(none, none.astype(bool), none, ContentHashes(none, none))
    assert empty.ranks_of(np.array([0, 7], np.uint64)).tolist() == [-1, -1]


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(2**40, 2**40 + 5), max_size=40))
def test_stable_order_is_that_of_a_stable_argsort(values: list[int]) -> None:
    array = np.array(values, np.uint64)
    assert stable_order(array).tolist() == np.argsort(array, kind="stable").tolist()
