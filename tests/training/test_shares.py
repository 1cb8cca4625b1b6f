import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.order import WINDOW_DTYPE
from training.shares import Shares, rank_rows, share_rows, sort_batch, worker_rows


@given(st.integers(0, 200), st.integers(1, 17))
def test_ranks_share_a_batch_without_gap_or_overlap(num_rows, world_size):
    parts = [np.arange(num_rows)[rank_rows(num_rows, r, world_size)] for r in range(world_size)]
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(num_rows))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(st.integers(0, 60), st.integers(1, 5), st.integers(1, 8))
def test_workers_share_the_rows_of_a_rank(num_rows, num_workers, micro_rows):
    parts = [worker_rows(num_rows, w, num_workers, micro_rows) for w in range(num_workers)]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(num_rows))


def test_a_sorted_batch_keeps_a_lane_with_one_rank():
    random = np.random.default_rng(0)
    rows = np.zeros(256, WINDOW_DTYPE)
    rows["lane"] = random.permutation(np.arange(256) % 64)
    rows["k"] = np.arange(256)
    rows = sort_batch(rows)
    owners = [set(rows["lane"][rank_rows(256, rank, 8)].tolist()) for rank in range(8)]
    assert all(len(owner) <= 64 // 8 + 1 for owner in owners)


def test_every_rank_gets_as_many_rows():
    batch = np.zeros(6, WINDOW_DTYPE)
    batch["g"] = np.arange(6)
    parts = [share_rows(batch, 6, Shares(rank, 4))["g"].tolist() for rank in range(4)]
    assert parts == [[0, -1], [1, 2], [3, -1], [4, 5]]
