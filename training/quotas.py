"""How many windows of each stratum are in each cycle of the stream, and in which order.

The stream is cut into cycles of `cycle` windows. Each cycle has one integer quota per stratum; the
quotas of a cycle sum to its length. They follow the cumulative target by largest remainder, so the
error never grows: after any number of cycles a stratum is within about one window of its share.
A weight of 0 gives a quota of 0, whatever rounding is left over from earlier cycles.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from training.mixture import Schedule


@numba.njit(cache=True, nogil=True)
def _shares_of_cycle(weights, left, cycle, shares):  # pragma: no cover (compiled)
    """Real-valued shares of one cycle: proportional to the weights, none above what is left."""
    shares[:] = 0.0
    rest = float(cycle)
    open_ = (weights > 0.0) & (left > 0)
    clamped = True
    while clamped and rest > 0.0:
        clamped = False
        total = weights[open_].sum()
        budget = rest
        for s in range(weights.size):
            if open_[s] and budget * (weights[s] / total) >= left[s]:
                shares[s] = left[s]
                rest -= left[s]
                open_[s] = False
                clamped = True
    if rest > 0.0 and open_.any():
        total = weights[open_].sum()
        for s in range(weights.size):
            if open_[s]:
                shares[s] = rest * (weights[s] / total)


@numba.njit(cache=True, nogil=True)
def _round_to(length, deficit, limit, quota):  # pragma: no cover (compiled)
    """Integers that sum to `length`, near `deficit` by largest remainder, in 0..limit."""
    total = 0
    for s in range(deficit.size):
        quota[s] = min(max(int(np.floor(deficit[s])), 0), limit[s])
        total += quota[s]
    while total != length:
        step = 1 if total < length else -1
        best = -1
        for s in range(deficit.size):
            movable = quota[s] < limit[s] if step > 0 else quota[s] > 0
            gain = step * (deficit[s] - quota[s])
            if movable and (best < 0 or gain > step * (deficit[best] - quota[best])):
                best = s
        quota[best] += step
        total += step


@numba.njit(cache=True, nogil=True)
def apportion(weights, caps, cycle, target, spent):  # pragma: no cover (compiled)
    """Quotas of consecutive cycles, int64[num_cycles, S].

    weights: float64[num_cycles, S]; caps, spent: int64[S]; target: float64[S]. `target` (the
    cumulative share, in windows) and `spent` (the cumulative quota) are carried on in place. A row
    sums to `cycle`, or to less in the cycle in which every stratum with weight reaches its cap.
    """
    quotas = np.zeros(weights.shape, np.int64)
    shares = np.zeros(caps.size)
    limit = np.zeros(caps.size, np.int64)
    for c in range(weights.shape[0]):
        left = caps - spent
        _shares_of_cycle(weights[c], left, cycle, shares)
        length = 0
        for s in range(caps.size):
            limit[s] = min(left[s], cycle) if weights[c, s] > 0.0 else 0
            length += limit[s]
            target[s] += shares[s]
        _round_to(min(length, cycle), target - spent, limit, quotas[c])
        spent += quotas[c]
        if length < cycle:
            return quotas[: c + 1]
    return quotas


class QuotaTable:
    """Quotas and their prefix sums for any cycle: a pure function of its arguments, memoised.

    history: (first cycle, Schedule) in ascending order, the first at cycle 0. A later entry
    replaces the one before from its first cycle on; what was spent carries over.
    """

    def __init__(self, history: Sequence[tuple[int, Schedule]], cycle: int):
        assert history[0][0] == 0, "the history of a mixture starts at cycle 0"
        self._history = list(history)
        self._cycle = cycle
        num_strata = history[0][1].caps.size
        self._quotas = np.zeros((0, num_strata), np.int64)
        self._spent = np.zeros((1, num_strata), np.int64)
        self._target = np.zeros(num_strata)
        self._num_windows: int | None = None

    def end(self, cycle: int) -> int | None:
        """Length of the stream in windows if it ends in this cycle or before, else None."""
        self._grow(cycle + 1)
        end = self._num_windows
        return end if end is not None and end < (cycle + 1) * self._cycle else None

    def quotas(self, cycle: int) -> NDArray[np.int64]:
        """Windows that each stratum gives in this cycle, int64[S]; all 0 beyond the end."""
        self._grow(cycle + 1)
        beyond = cycle >= len(self._quotas)
        return np.zeros_like(self._quotas[0]) if beyond else self._quotas[cycle]

    def spent(self, cycle: int) -> NDArray[np.int64]:
        """Windows that each stratum gave before this cycle, int64[S]."""
        self._grow(cycle)
        return self._spent[min(cycle, len(self._quotas))]

    def _grow(self, num_cycles: int) -> None:
        while len(self._quotas) < num_cycles and self._num_windows is None:
            self._append(max(num_cycles, 2 * len(self._quotas), 64))

    def _append(self, goal: int) -> None:
        done = len(self._quotas)
        index = sum(first <= done for first, _ in self._history) - 1
        schedule = self._history[index][1]
        if index + 1 < len(self._history):
            goal = min(goal, self._history[index + 1][0])
        weights = schedule.weights(done, goal - done, self._cycle)
        spent = self._spent[-1].copy()
        quotas = apportion(weights, schedule.caps, self._cycle, self._target, spent)
        self._spent = np.concatenate([self._spent, self._spent[-1] + np.cumsum(quotas, axis=0)])
        self._quotas = np.concatenate([self._quotas, quotas])
        if quotas[-1].sum() < self._cycle:
            self._num_windows = int(self._quotas.sum())


def cycle_order(quotas: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Interleaving of one cycle: (stratum, i-th window of that stratum in the cycle) per position.

    Pairs (s, i < q_s) in the order of ((2i + 1) / (2 q_s), s): each stratum evenly spread.
    """
    stratum = np.repeat(np.arange(quotas.size), quotas)
    ordinal = np.arange(stratum.size) - np.repeat(np.cumsum(quotas) - quotas, quotas)
    order = np.argsort((2 * ordinal + 1) / (2 * quotas[stratum]), kind="stable")
    return stratum[order], ordinal[order]
