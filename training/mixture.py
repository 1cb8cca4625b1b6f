"""How many windows each stratum gives: weights, their schedule, caps on epochs, integer quotas.

The stream is cut into cycles of `cycle` windows. Each cycle has one integer quota per stratum; the
quotas of a cycle sum to its length. They follow the cumulative target by largest remainder, so the
error never grows: after any number of cycles a stratum is within about one window of its share.
A weight of 0 gives a quota of 0, whatever rounding is left over from earlier cycles.

Weights are shares of windows, not of documents. A key is a stratum's name or a glob; a glob's
weight is divided among its strata in proportion to their windows. Every stratum must be named: one
that is forgotten is an error, never a silent 0. Weights of a schedule are taken in the middle of
each cycle. A cap on epochs holds over the whole run: what a capped stratum cannot give goes to the
others in proportion to their weights, and when every stratum is spent, the stream ends.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Literal

import numba
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from storage.errors import ConfigError
from storage.settings import Settings

UNLIMITED = np.iinfo(np.int64).max
"""Windows that a stratum without a cap on epochs may give."""


class MixtureError(ConfigError):
    """A mixture that does not fit the corpus; the message names the key and the way out."""


class MixtureChange(Settings):
    """New weights from window `at_window` (a global index g) on."""

    at_window: int = Field(gt=0)
    weights: dict[str, float]


class Mixture(Settings):
    """Weights per stratum, their schedule and caps; `weights: null` takes the corpus as it is.

    `transition` says how weights move between changes: `step` keeps them until the next change,
    `linear` interpolates the normalised weights.
    """

    weights: dict[str, float] | None = None
    changes: tuple[MixtureChange, ...] = ()
    transition: Literal["step", "linear"] = "step"
    max_epochs: dict[str, float] = Field(default_factory=dict)


def resolve_weights(
    weights: dict[str, float] | None, names: Sequence[str], num_windows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Shares per stratum, float64[S], summing to 1; raises MixtureError."""
    if weights is None:
        return num_windows / num_windows.sum()
    shares = np.zeros(len(names))
    owner: dict[int, str] = {}
    for key, members in _members(weights, names).items():
        _check_weight(key, weights[key])
        for member in members:
            if member in owner:
                raise MixtureError(
                    f"mixture keys {owner[member]!r} and {key!r} both match stratum "
                    f"{names[member]!r}; keep one of them"
                )
            owner[member] = key
        _divide(shares, members, weights[key], num_windows, key)
    _check_all_named(owner, names)
    if shares.sum() <= 0:
        raise MixtureError("all mixture weights are 0; give at least one stratum a weight above 0")
    return shares / shares.sum()


def _members(keys: dict[str, float], names: Sequence[str]) -> dict[str, list[int]]:
    """Strata of each key. A name given exactly is not matched by globs as well."""
    exact = {name: index for index, name in enumerate(names)}
    members: dict[str, list[int]] = {}
    for key in keys:
        if key in exact:
            members[key] = [exact[key]]
            continue
        members[key] = [
            i for name, i in exact.items() if name not in keys and fnmatchcase(name, key)
        ]
        if not members[key] and not any(fnmatchcase(name, key) for name in names):
            nearest = difflib.get_close_matches(key, names, n=1, cutoff=0.0)
            raise MixtureError(
                f"mixture key {key!r} matches no stratum; did you mean {nearest[0]!r}? "
                f"strata: {', '.join(names[:20])}"
            )
    return members


def _check_weight(key: str, weight: float) -> None:
    if not (np.isfinite(weight) and weight >= 0):
        raise MixtureError(f"mixture weight of {key!r} is {weight}; it must be 0 or above")


def _divide(
    shares: NDArray[np.float64],
    members: list[int],
    weight: float,
    num_windows: NDArray[np.int64],
    key: str,
) -> None:
    if weight == 0 or not members:
        return
    total = num_windows[members].sum()
    if total == 0:
        raise MixtureError(f"mixture key {key!r} has weight {weight} but no tokens; give it 0")
    shares[members] = weight * num_windows[members] / total


def _check_all_named(owner: dict[int, str], names: Sequence[str]) -> None:
    missing = [name for index, name in enumerate(names) if index not in owner]
    if missing:
        raise MixtureError(
            f"stratum {missing[0]!r} has no weight in the mixture ({len(missing)} in all); "
            "give it a weight, or 0 to leave it out"
        )


def resolve_caps(
    max_epochs: dict[str, float], names: Sequence[str], num_windows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Windows that each stratum may give over the whole run, int64[S]."""
    caps = np.full(len(names), UNLIMITED, np.int64)
    for key, members in _members(max_epochs, names).items():
        epochs = max_epochs[key]
        if not (np.isfinite(epochs) and epochs >= 0):
            raise MixtureError(f"max_epochs of {key!r} is {epochs}; it must be 0 or above")
        caps[members] = np.floor(epochs * num_windows[members]).astype(np.int64)
    return caps


class Schedule:
    """A mixture resolved against a corpus: weights per cycle and caps.

    names: strata in plan order; num_windows: int64[S], windows in one epoch of each.
    """

    def __init__(self, mixture: Mixture, names: Sequence[str], num_windows: NDArray[np.int64]):
        if num_windows.sum() == 0:
            raise MixtureError("the corpus has no tokens in its training split")
        starts = [0, *(change.at_window for change in mixture.changes)]
        if any(b <= a for a, b in pairwise(starts)):
            raise MixtureError(f"mixture changes must be in ascending at_window; got {starts[1:]}")
        points = [mixture.weights, *(change.weights for change in mixture.changes)]
        self.caps = resolve_caps(mixture.max_epochs, names, num_windows)
        self._starts = np.array(starts, np.float64)
        self._shares = np.stack([resolve_weights(point, names, num_windows) for point in points])
        self._linear = mixture.transition == "linear"

    def weights(self, first_cycle: int, num_cycles: int, cycle: int) -> NDArray[np.float64]:
        """Shares at the middle of each cycle, float64[num_cycles, S]."""
        middle = (np.arange(first_cycle, first_cycle + num_cycles) + 0.5) * cycle
        if self._linear:
            columns = [np.interp(middle, self._starts, shares) for shares in self._shares.T]
            return np.stack(columns, axis=1)
        return self._shares[np.searchsorted(self._starts, middle, side="right") - 1]


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
