"""Turns what happens in a run into records and a progress line.

Throughput counts the tokens and the time of training steps since the last record; validation and
saving are left out by `pause`.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict

from training.comparison import ComparedLoss
from training.config import TrainConfig
from training.journal import Journal, ProgressLine
from training.metrics import flops_per_token, model_flops_utilisation
from training.models.decoder import DecoderConfig
from training.runtime import Runtime


class Reporter:
    """Records of one run; on ranks other than the first it does nothing."""

    def __init__(
        self,
        config: TrainConfig,
        shape: DecoderConfig,
        num_parameters: int,
        first_step: int,
        runtime: Runtime,
    ) -> None:
        self._config, self._runtime = config, runtime
        self._flops = flops_per_token(shape, num_parameters, shape.max_position_embeddings)
        self._journal = Journal(
            config.output,
            first_step,
            tensorboard=config.log.tensorboard,
            enabled=runtime.is_first,
        )
        self._line = ProgressLine(enabled=runtime.is_first)
        self._validation = ""
        self._num_tokens = 0
        self._seconds = 0.0
        self._running_since = time.monotonic()

    def count(self, num_tokens: int) -> None:
        self._num_tokens += num_tokens

    def pause(self) -> None:
        """Stop the clock, until `go_on`."""
        self._seconds += time.monotonic() - self._running_since

    def go_on(self) -> None:
        self._running_since = time.monotonic()

    def train(self, step: int, values: dict[str, float]) -> None:
        """Record `loss` and other values of a step, with the throughput since the last record."""
        self.pause()
        rate = self._num_tokens / max(self._seconds, 1e-9)
        runtime = self._runtime
        utilisation = model_flops_utilisation(
            rate, self._flops, runtime.device_name, runtime.world_size
        )
        speed = {"tokens_per_second": round(rate, 1), "mfu": utilisation}
        self._journal.record("train", step, {**values, **speed})
        self._show(step, values["loss"], rate)
        self._num_tokens, self._seconds = 0, 0.0
        self.go_on()

    def validation(self, step: int, rows: Sequence[ComparedLoss]) -> None:
        strata = {row.stratum: asdict(row) for row in rows}
        self._journal.record("validation", step, strata)
        if rows:
            total = rows[-1]
            self._validation = f"  validation {total.loss:.3f}"

    def event(self, kind: str, step: int, values: dict[str, object]) -> None:
        self._journal.record(kind, step, values)

    def flush(self) -> None:
        self._journal.flush()

    def close(self) -> None:
        self._journal.close()
        self._line.close()

    def _show(self, step: int, loss: float, rate: float) -> None:
        left = (self._config.num_steps - step) * self._tokens_per_step / max(rate, 1e-9)
        minutes, seconds = divmod(round(left), 60)
        self._line.show(
            f"step {step:,}/{self._config.num_steps:,}  loss {loss:.3f}{self._validation}  "
            f"{rate:,.0f} tokens/s  {minutes}:{seconds:02} left"
        )

    @property
    def _tokens_per_step(self) -> int:
        return self._config.batch_size * self._config.stream.plan.raw_length
