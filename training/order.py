"""The order of training data: `Order.windows(g)` is a pure function of (plan, mixture history).

g, a global window index, leads to a stratum and its k-th window (mixture), then to an epoch and the
x-th window of it, then to a lane, then to a shard and a window within the shard:

    g -> cycle, position -> s, k -> e = k // N, x = k % N -> lane j, place p -> shard, window

Lanes. An epoch's windows, laid out shard after shard in the epoch's permutation, are cut into L
strips of equal length. Step x visits lane bitreverse(x % L), so a batch is spread over the whole
epoch, while one lane moves through its strip window by window and keeps one block open. A batch is
sorted by lane, and a rank takes consecutive rows, so that a lane stays with one rank.

Within an epoch every window is visited exactly once: (lane, y) <-> x is a bijection, the shard
permutation is one, and so are the permutations within a shard (training/packing.py). Nothing here
depends on the number of ranks or workers. Memo tables hold results of pure functions only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from storage.errors import UserError
from training.quotas import QuotaTable, cycle_order

WINDOW_DTYPE = np.dtype(
    [
        ("g", "<i8"),  # global index of the window
        ("stratum", "<i4"),  # position in the plan's list of strata
        ("k", "<i8"),  # this is the k-th window that the stratum gives, over all epochs
        ("epoch", "<i4"),
        ("lane", "<i4"),
        ("shard", "<i8"),  # position within the stratum's list of shards
        ("window", "<i8"),  # position within the shard, in this epoch's layout of it
    ]
)

SHARD, BLOCK, PIECE = 1, 2, 3
"""First key of `hash64`: separates the uses of one seed."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MEMO_ENTRIES_PER_STRATUM = 4


class StreamEndError(UserError):
    """A window beyond the end of a stream whose strata all have caps on epochs."""


def hash64(seed: int, *keys: ArrayLike) -> NDArray[np.uint64]:
    """64 well-mixed bits of integer keys, broadcast together: chained splitmix64 finalisers.

    Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    state = np.array(seed & 0xFFFFFFFFFFFFFFFF, np.uint64)
    with np.errstate(over="ignore"):
        state = _mix(state + _GOLDEN)
        for key in keys:
            state = _mix(state ^ (np.asarray(key).astype(np.uint64) * _GOLDEN + _GOLDEN))
    return state


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def bit_reverse(bits: int) -> NDArray[np.int64]:
    """The bit-reversal permutation of 0 .. 2**bits - 1."""
    reverse = np.zeros(1, np.int64)
    for _ in range(bits):
        reverse = np.concatenate([2 * reverse, 2 * reverse + 1])
    return reverse


@dataclass(frozen=True, slots=True)
class StratumWindows:
    """Windows of a stratum: per shard (int64[num_shards], in manifest order) and in all."""

    name: str
    windows_per_shard: NDArray[np.int64]
    num_windows: int


class Order:
    """`window(g)` for a list of strata, a seed and a mixture history."""

    def __init__(
        self,
        strata: Sequence[StratumWindows],
        quotas: QuotaTable,
        *,
        seed: int,
        cycle: int,
        num_lanes: int,
    ):
        assert num_lanes.bit_count() == 1, "the number of lanes is a power of two"
        self._strata = strata
        self._quotas = quotas
        self._seed = seed
        self._cycle = cycle
        self._num_lanes = num_lanes
        self._num_windows = np.array([stratum.num_windows for stratum in strata], np.int64)
        self._lanes = bit_reverse(num_lanes.bit_length() - 1)
        self._strip_start = _strip_starts(self._num_windows, self._lanes)
        self._cycles: OrderedDict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = OrderedDict()
        self._epochs: OrderedDict[tuple[int, int], Layout] = OrderedDict()

    def windows(self, g: ArrayLike) -> NDArray[np.void]:
        """Where each window is: WINDOW_DTYPE [n], one row per element of g (int64[n]).

        Raises StreamEndError for a g beyond the end of a capped mixture.
        """
        indices = np.asarray(g, np.int64)
        rows = np.zeros(indices.shape, WINDOW_DTYPE)
        rows["g"] = indices
        self._fill_mixture(rows)
        stratum = rows["stratum"]
        epoch_size = self._num_windows[stratum]
        rows["epoch"], x = np.divmod(rows["k"], epoch_size)
        rows["lane"] = self._lanes[x % self._num_lanes]
        place = self._strip_start[stratum, rows["lane"]] + x // self._num_lanes
        self._fill_shards(rows, place)
        return rows

    def end(self, g: int) -> int | None:
        """Number of windows in the stream if it ends in the cycle of g or before, else None."""
        return self._quotas.end(g // self._cycle)

    def _fill_mixture(self, rows: NDArray[np.void]) -> None:
        cycles, position = np.divmod(rows["g"], self._cycle)
        for cycle in np.unique(cycles):
            chosen = cycles == cycle
            stratum, ordinal = self._cycle_order(int(cycle))
            places = position[chosen]
            if places.max() >= stratum.size:
                raise StreamEndError(
                    f"window {rows['g'].max()} is beyond the end of the stream at "
                    f"{self._quotas.end(int(cycle))} windows: every stratum reached its max_epochs"
                )
            rows["stratum"][chosen] = stratum[places]
            rows["k"][chosen] = self._quotas.spent(int(cycle))[stratum[places]] + ordinal[places]

    def _cycle_order(self, cycle: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if cycle not in self._cycles:
            self._cycles[cycle] = cycle_order(self._quotas.quotas(cycle))
            _trim(self._cycles, 4)
        return self._cycles[cycle]

    def _fill_shards(self, rows: NDArray[np.void], place: NDArray[np.int64]) -> None:
        keys = rows["stratum"].astype(np.int64) << 32 | rows["epoch"]
        order = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
        for chosen in np.split(order, starts[1:]) if order.size else []:
            first = rows[chosen[0]]
            shards = self._epoch(int(first["stratum"]), int(first["epoch"]))
            turn = shards.locate(place[chosen])
            rows["shard"][chosen] = shards.permutation[turn]
            rows["window"][chosen] = place[chosen] - shards.start[turn]

    def _epoch(self, stratum: int, epoch: int) -> Layout:
        key = (stratum, epoch)
        if key not in self._epochs:
            windows = self._strata[stratum].windows_per_shard
            self._epochs[key] = shard_layout(self._seed, stratum, epoch, windows)
            _trim(self._epochs, _MEMO_ENTRIES_PER_STRATUM * len(self._strata))
        self._epochs.move_to_end(key)
        return self._epochs[key]


class Layout(NamedTuple):
    """Parts laid one after another: `permutation` names them, `start` is where each begins."""

    permutation: NDArray[np.int64]
    start: NDArray[np.int64]

    def locate(self, places: ArrayLike) -> NDArray[np.int64]:
        """Turn t of the part that holds each place; parts of size 0 hold none."""
        return np.searchsorted(self.start, places, side="right") - 1


def lay_out(hashes: NDArray[np.uint64], sizes: NDArray[np.int64]) -> Layout:
    """Parts of these sizes in the order of their hashes."""
    permutation = np.argsort(hashes, kind="stable")
    sizes = sizes[permutation]
    return Layout(permutation, np.cumsum(sizes) - sizes)


def shard_layout(
    seed: int, stratum: int, epoch: int, windows_per_shard: NDArray[np.int64]
) -> Layout:
    """An epoch's order of shards, in windows."""
    shards = np.arange(windows_per_shard.size)
    return lay_out(hash64(seed, SHARD, stratum, epoch, shards), windows_per_shard)


def _strip_starts(num_windows: NDArray[np.int64], lanes: NDArray[np.int64]) -> NDArray[np.int64]:
    """First place of each lane's strip, int64[S, L]; lanes visited first take the remainder."""
    visit = np.argsort(lanes)
    sizes = num_windows[:, None] // lanes.size + (
        visit[None, :] < num_windows[:, None] % lanes.size
    )
    return np.cumsum(sizes, axis=1) - sizes


def _trim(memo: OrderedDict[Any, Any], limit: int) -> None:
    while len(memo) > limit:
        memo.popitem(last=False)
