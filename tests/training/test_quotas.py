import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from training.mixture import Mixture, Schedule
from training.quotas import QuotaTable, cycle_order

CYCLE = 64
NAMES = ["books", "code.go", "code.rust", "web"]
WINDOWS = np.array([100, 30, 10, 1000])


def table(mixture: dict, names=NAMES, windows=WINDOWS, cycle=CYCLE) -> QuotaTable:
    return QuotaTable([(0, Schedule(Mixture.model_validate(mixture), names, windows))], cycle)


def quotas(quota_table: QuotaTable, num_cycles: int) -> np.ndarray:
    return np.stack([quota_table.quotas(cycle) for cycle in range(num_cycles)])


def sequence(quota_table: QuotaTable, num_cycles: int) -> np.ndarray:
    """Stratum of each window, in order."""
    return np.concatenate([cycle_order(row)[0] for row in quotas(quota_table, num_cycles)])


weights_of_40 = st.lists(st.floats(0.001, 1.0), min_size=1, max_size=40)


@settings(deadline=None, max_examples=25)
@given(weights_of_40, st.sampled_from([1, 7, 64, 4096]))
def test_the_realised_share_is_within_two_windows_of_the_target(weights, cycle):
    names = [f"s{i:02d}" for i in range(len(weights))]
    windows = np.full(len(weights), 1000)
    quota_table = table({"weights": dict(zip(names, weights, strict=True))}, names, windows, cycle)
    strata = sequence(quota_table, 4000 // cycle + 1)[:4000]
    realised = np.cumsum(strata[:, None] == np.arange(len(names)), axis=0)
    target = np.arange(1, strata.size + 1)[:, None] * (np.array(weights) / sum(weights))
    assert np.abs(realised - target).max() <= 2.2


@settings(deadline=None, max_examples=50)
@given(weights_of_40, st.integers(1, 100), st.integers(0, 1000))
def test_quotas_sum_to_the_cycle_whatever_was_asked_first(weights, cycle, first):
    names = [f"s{i:02d}" for i in range(len(weights))]
    windows = np.full(len(weights), 50)
    mixture = {"weights": dict(zip(names, weights, strict=True))}
    jumped, walked = (table(mixture, names, windows, cycle) for _ in range(2))
    rows = quotas(walked, first + 1)
    np.testing.assert_array_equal(jumped.quotas(first), rows[first])
    np.testing.assert_array_equal(jumped.spent(first), rows[:first].sum(axis=0))
    assert (rows.sum(axis=1) == cycle).all()


def test_weight_zero_gives_nothing_even_after_a_change():
    before = {"books": 0.333, "code.*": 0.333, "web": 0.334}
    after = {"books": 0, "code.*": 0.5, "web": 0.5}
    mixture = {"weights": before, "changes": [{"at_window": 5 * CYCLE, "weights": after}]}
    rows = quotas(table(mixture), 40)
    assert (rows[:5, 0] > 0).all()
    assert rows[5:, 0].sum() == 0


def test_a_change_starts_at_the_next_cycle():
    weights = [{"web": 1, "*": 0}, {"books": 1, "*": 0}]
    middle = CYCLE + CYCLE // 2 + 1
    mixture = {"weights": weights[0], "changes": [{"at_window": middle, "weights": weights[1]}]}
    np.testing.assert_array_equal(
        quotas(table(mixture), 3), [[0, 0, 0, CYCLE], [0, 0, 0, CYCLE], [CYCLE, 0, 0, 0]]
    )


def test_a_linear_transition_passes_through_the_middle():
    change = {"at_window": 100 * CYCLE, "weights": {"books": 1, "*": 0}}
    mixture = {"weights": {"web": 1, "*": 0}, "changes": [change], "transition": "linear"}
    rows = quotas(table(mixture), 110)
    assert abs(rows[:100, 0].sum() - 50 * CYCLE) <= 2
    assert (np.diff(rows[:100, 0]) >= -1).all()
    assert (rows[100:, 0] == CYCLE).all()


def test_a_capped_stratum_stops_at_its_cap_and_the_others_take_over():
    mixture = {"weights": {"*": 0, "books": 0.5, "web": 0.5}, "max_epochs": {"books": 2}}
    rows = quotas(table(mixture), 20)
    assert rows[:, 0].sum() == 200
    assert (rows.sum(axis=1) == CYCLE).all()
    assert (rows[7:, 0] == 0).all()


def test_the_stream_ends_when_every_stratum_is_spent():
    quota_table = table({"max_epochs": {"*": 1}})
    assert quota_table.end(10) is None
    assert quota_table.end(100) == WINDOWS.sum()
    np.testing.assert_array_equal(quota_table.spent(1000), WINDOWS)
    assert quota_table.quotas(1000).sum() == 0


def test_history_keeps_what_was_given_before():
    first, second = (
        Schedule(Mixture(weights=weights), NAMES, WINDOWS)
        for weights in ({"web": 0.9, "*": 0.1}, {"web": 0.2, "*": 0.8})
    )
    alone = QuotaTable([(0, first)], CYCLE)
    changed = QuotaTable([(0, first), (7, second)], CYCLE)
    np.testing.assert_array_equal(quotas(alone, 7), quotas(changed, 7))
    assert abs(changed.spent(107)[3] - CYCLE * (7 * 0.9 + 100 * 0.2)) <= 2


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20).filter(any))
def test_a_cycle_spreads_each_stratum_evenly(quota):
    strata, ordinals = cycle_order(np.array(quota))
    for stratum, count in enumerate(quota):
        np.testing.assert_array_equal(ordinals[strata == stratum], np.arange(count))
    pairs = sorted(((2 * i + 1) / (2 * q), s) for s, q in enumerate(quota) for i in range(q))
    assert [s for _, s in pairs] == strata.tolist()
