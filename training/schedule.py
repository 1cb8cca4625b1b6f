"""Learning-rate schedules: pure functions from a step to a factor of the peak rate.

`cosine` is warm-up, then half a cosine to `final_ratio` (arXiv:1608.03983, as in GPT-3).
`wsd` is warm-up, stable, then a linear decay over the last `decay_fraction` of the steps
(arXiv:2404.06395; linear to a small value after arXiv:2405.18392): a run can be prolonged from a
checkpoint taken before the decay. `constant` is warm-up alone.
"""

import math
from typing import Literal

from pydantic import Field

from storage.settings import Settings


class ScheduleConfig(Settings):
    name: Literal["cosine", "wsd", "constant"] = "cosine"
    warmup_steps: int = Field(default=100, ge=0)
    final_ratio: float = Field(default=0.1, ge=0, le=1)
    """Learning rate at the end, as a share of the peak."""
    decay_fraction: float = Field(default=0.2, gt=0, le=1)
    """wsd: the share of all steps in which the rate falls."""


def learning_rate_factor(schedule: ScheduleConfig, step: int, num_steps: int) -> float:
    """Factor in [0, 1] of the peak learning rate at `step` (0-based) of `num_steps`."""
    if step < schedule.warmup_steps:
        return (step + 1) / schedule.warmup_steps
    if schedule.name == "constant":
        return 1.0
    if schedule.name == "cosine":
        start = schedule.warmup_steps
        shape = 0.5 * (1 + math.cos(math.pi * _progress(step, start, num_steps)))
    else:
        start = max(schedule.warmup_steps, round(num_steps * (1 - schedule.decay_fraction)))
        shape = 1 - _progress(step, start, num_steps)
    return schedule.final_ratio + (1 - schedule.final_ratio) * shape


def _progress(step: int, start: int, end: int) -> float:
    """Share of [start, end) that has passed, in [0, 1]."""
    return min(1.0, max(0.0, (step - start) / max(1, end - start)))
