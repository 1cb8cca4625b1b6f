"""Settings of a stream."""

from __future__ import annotations

import warnings
from typing import Literal

from pydantic import Field

from storage.settings import Settings
from training.blocks import FetchConfig
from training.mixture import Mixture
from training.plan import Plan, PlanConfig

NOMINAL_BLOCK_BYTES = 1 << 20


class StreamConfig(Settings):
    """The `stream` section of a training config."""

    plan: PlanConfig
    mixture: Mixture = Mixture()
    fetch: FetchConfig = FetchConfig()
    prefetch_batches: int = Field(default=2, ge=0)
    on_damage: Literal["stop", "quarantine"] = "stop"
    max_quarantined: int = Field(default=16, ge=0)
    """Blocks; more of them stop the run whatever the policy."""


def warn_of_a_small_cache(plan: Plan, fetch: FetchConfig, world_size: int) -> None:
    """One lane keeps one block open; blocks that do not fit are fetched again and again."""
    blocks = plan.shards["bytes"].to_numpy() // NOMINAL_BLOCK_BYTES + 1
    num_lanes = sum(min(plan.config.num_lanes, int(blocks[rows].sum())) for rows in plan.rows)
    needed = num_lanes * NOMINAL_BLOCK_BYTES // world_size
    if needed > fetch.memory_bytes and fetch.disk_folder is None:
        warnings.warn(
            f"{num_lanes} lanes over {world_size} ranks need about {needed >> 20} MiB of blocks, "
            f"more than fetch.memory_bytes ({fetch.memory_bytes >> 20} MiB): raise it, set "
            "fetch.disk_folder, or lower plan.num_lanes for a new run",
            RuntimeWarning,
            stacklevel=4,
        )
