import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.mixture import Mixture, Schedule
from training.order import (
    Order,
    StratumWindows,
    StreamEndError,
    bit_reverse,
    hash64,
    shard_layout,
)
from training.quotas import QuotaTable

CYCLE = 64


def make_order(strata, *, mixture=None, seed=1, num_lanes=8, cycle=CYCLE) -> Order:
    counts = [np.array(windows, np.int64) for windows in strata]
    named = [StratumWindows(f"s{i}", c, int(c.sum())) for i, c in enumerate(counts)]
    schedule = Schedule(
        Mixture.model_validate(mixture or {}),
        [stratum.name for stratum in named],
        np.array([stratum.num_windows for stratum in named]),
    )
    return Order(
        named, QuotaTable([(0, schedule)], cycle), seed=seed, cycle=cycle, num_lanes=num_lanes
    )


shards = st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(any)
lanes = st.sampled_from([1, 2, 8, 64])


@settings(deadline=None)
@given(st.lists(shards, min_size=1, max_size=4), lanes, st.integers(0, 2**64 - 1))
def test_every_epoch_visits_every_window_exactly_once(strata, num_lanes, seed):
    order = make_order(strata, seed=seed, num_lanes=num_lanes)
    rows = order.windows(np.arange(3 * sum(map(sum, strata)) + CYCLE))
    for index, windows in enumerate(strata):
        expected = [(shard, w) for shard, count in enumerate(windows) for w in range(count)]
        given_ = rows[rows["stratum"] == index]
        np.testing.assert_array_equal(given_["k"], np.arange(given_.size))
        for epoch in range(given_.size // len(expected)):
            visited = given_[given_["epoch"] == epoch][["shard", "window"]].tolist()
            assert sorted(visited) == expected


@settings(deadline=None)
@given(st.lists(shards, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_a_window_does_not_depend_on_what_was_asked_before(strata, random):
    in_order = make_order(strata).windows(np.arange(500))
    indices = list(range(500))
    random.shuffle(indices)
    order = make_order(strata)
    for g in indices[:40]:
        assert order.windows(np.array([g]))[0] == in_order[g]
    np.testing.assert_array_equal(order.windows(indices), in_order[indices])


def test_a_new_epoch_has_a_new_order():
    order = make_order([[5] * 100])
    rows = order.windows(np.arange(1500))
    first, second, third = (rows[rows["epoch"] == epoch] for epoch in range(3))
    assert (first["shard"] != second["shard"]).mean() > 0.9
    assert (second["shard"] != third["shard"]).mean() > 0.9


def test_another_seed_gives_another_order():
    one, two = (make_order([[5] * 100], seed=seed).windows(np.arange(500)) for seed in (1, 2))
    assert (one["shard"] != two["shard"]).mean() > 0.9


def test_strata_of_equal_shape_are_shuffled_apart():
    rows = make_order([[1] * 64, [1] * 64]).windows(np.arange(128))
    one, two = (rows[rows["stratum"] == s]["shard"] for s in (0, 1))
    assert (one != two).mean() > 0.8


def test_a_lane_reads_its_strip_window_by_window():
    num_lanes, windows = 16, [100] * 10
    rows = make_order([windows], num_lanes=num_lanes).windows(np.arange(1000))
    moves = 0
    for lane in range(num_lanes):
        strip = rows[rows["lane"] == lane]
        assert strip.size in (1000 // num_lanes, 1000 // num_lanes + 1)
        follows = (np.diff(strip["window"]) == 1) & (np.diff(strip["shard"]) == 0)
        moves += (~follows).sum()
    assert moves <= len(windows)


@settings(deadline=None)
@given(st.integers(1, 300), lanes, st.integers(1, 200))
def test_a_stretch_of_an_epoch_is_spread_over_all_of_it(num_windows, num_lanes, stretch):
    rows = make_order([[num_windows]], num_lanes=num_lanes).windows(np.arange(num_windows))
    visits = np.bincount(rows["lane"][:stretch], minlength=num_lanes)
    assert visits.max() - visits.min() <= 1


def test_the_end_of_a_capped_stream():
    order = make_order([[10], [20]], mixture={"max_epochs": {"*": 2}})
    assert order.end(0) == 60
    assert order.windows(np.arange(60)).size == 60
    with pytest.raises(StreamEndError, match="window 60 is beyond the end of the stream at 60"):
        order.windows([60])
    with pytest.raises(StreamEndError, match="window 1000"):
        order.windows([1000])
    assert make_order([[10]]).end(10**6) is None


@given(st.integers(0, 10))
def test_bit_reverse_is_the_definition(bits):
    expected = [int(format(i, f"0{bits}b")[::-1], 2) if bits else 0 for i in range(2**bits)]
    np.testing.assert_array_equal(bit_reverse(bits), expected)


def _splitmix(z: int) -> int:
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


@given(st.integers(0, 2**64 - 1), st.lists(st.integers(0, 2**63 - 1), max_size=5))
def test_hash64_is_the_definition(seed, keys):
    golden = 0x9E3779B97F4A7C15
    state = _splitmix((seed + golden) % 2**64)
    for key in keys:
        state = _splitmix(state ^ (key * golden + golden) % 2**64)
    assert int(hash64(seed, *keys)) == state


def test_hash64_golden():
    """The order of a run must not change between versions unless ORDER_VERSION does."""
    assert hash64(7, 1, 2, np.arange(3)).tolist() == GOLDEN_HASHES
    permutation, start = shard_layout(7, 0, 0, np.array([3, 1, 2, 5]))
    assert permutation.tolist() == GOLDEN_PERMUTATION
    assert start.tolist() == GOLDEN_STARTS


GOLDEN_HASHES = [15219130801028271476, 8991884054966353396, 7078337218507551063]
GOLDEN_PERMUTATION = [0, 2, 1, 3]
GOLDEN_STARTS = [0, 3, 5, 6]


def test_a_million_shards_need_no_loop_over_shards():
    windows = np.random.default_rng(0).integers(1000, 3000, 1_000_000)
    order = make_order([windows], num_lanes=256, cycle=4096)
    rows = order.windows(np.arange(4096))
    assert np.unique(rows["shard"]).size > 200
    assert (rows["window"] < windows[rows["shard"]]).all()
