"""The state of a stream: counters, and what was decided on the way. JSON, a few KB.

g            the next window; every window before it was learned from, skipped or given up
schedule     mixtures, each with the cycle from which it holds
skips        ranges of g left out on purpose, such as batches after a spike of the loss
quarantine   blocks given up as damaged, each from a batch on
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from storage.errors import ConfigError
from storage.settings import Settings
from training.mixture import Mixture


class ScheduleEntry(Settings):
    """A mixture and the first cycle in which it holds."""

    first_cycle: int
    mixture: Mixture


class QuarantinedBlock(Settings):
    """Tokens of this block have weight 0 in every window from `first_g` on."""

    shard: str
    """Path of the tar, relative to the manifest."""
    block: int
    first_g: int
    reason: str


class StreamState(Settings):
    """All that a stream needs to go on, beside the corpus and its config."""

    version: int = 1
    fingerprint: str
    identity: dict[str, Any]
    """What the fingerprint covers, to name the difference when it does not match."""
    g: int = 0
    schedule: tuple[ScheduleEntry, ...]
    configured: Mixture
    """The mixture of the config when the run last started: an edited config is a change."""
    skips: tuple[tuple[int, int], ...] = ()
    quarantine: tuple[QuarantinedBlock, ...] = ()

    def with_mixture(self, mixture: Mixture, g: int, cycle: int) -> StreamState:
        """The same state with another mixture from the first cycle that starts at g or later."""
        if mixture == self.schedule[-1].mixture:
            return self
        first = -(-g // cycle)
        kept = tuple(entry for entry in self.schedule if entry.first_cycle < first)
        entry = ScheduleEntry(first_cycle=first, mixture=mixture)
        return self.model_copy(update={"schedule": (*kept, entry)})

    def with_skip(self, first: int, last: int) -> StreamState:
        """The same state without windows [first, last)."""
        if not 0 <= first < last:
            raise ConfigError(f"cannot skip windows [{first}, {last}): the range is empty")
        return self.model_copy(update={"skips": tuple(sorted({*self.skips, (first, last)}))})


def read_state(saved: dict[str, Any]) -> StreamState:
    """The state in a checkpoint. Raises ConfigError when it is not one."""
    try:
        return StreamState.model_validate(saved)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"stream state: {first['loc']}: {first['msg']}") from error


def check_identity(saved: StreamState, fingerprint: str, identity: dict[str, Any]) -> None:
    """Raises ConfigError naming what changed, since a changed plan has another order."""
    if saved.fingerprint == fingerprint:
        return
    changed = [
        f"{key} was {saved.identity.get(key)!r}, is {value!r}"
        for key, value in identity.items()
        if saved.identity.get(key) != value
    ]
    raise ConfigError(
        f"this checkpoint was made with another plan ({'; '.join(changed)}): "
        "restore these, or start a new run"
    )


def next_unskipped(
    g: int, count: int, skips: tuple[tuple[int, int], ...], end: int | None = None
) -> NDArray[np.int64]:
    """The first `count` indices from g on, outside of the ranges in `skips` and before `end`."""
    found: list[NDArray[np.int64]] = []
    missing = count
    for first, last in [*sorted(skips), (np.iinfo(np.int64).max, 0)]:
        stop = min(first, g + missing)
        if stop > g:
            found.append(np.arange(g, stop))
            missing -= stop - g
        g = max(g, last)
        if missing == 0:
            break
    indices = np.concatenate(found) if found else np.zeros(0, np.int64)
    return indices if end is None else indices[indices < end]
