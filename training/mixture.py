"""How much each stratum gives: weights, their schedule, caps on epochs.

Weights are shares of windows, not of documents. A key is a stratum's name or a glob; a glob's
weight is divided among its strata in proportion to their windows. Every stratum must be named: one
that is forgotten is an error, never a silent 0. Weights of a schedule are taken in the middle of
each cycle of the stream (training/quotas.py). A cap on epochs holds over the whole run: what a
capped stratum cannot give goes to the others in proportion to their weights, and when every stratum
is spent, the stream ends.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Literal

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
