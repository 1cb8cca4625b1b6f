"""The loss of a model on validation text, per stratum and in total, in units that compare.

Nats per token depend on the tokenizer; bits per byte do not, because the bytes are those of the
documents' texts. Sums of nll are added over ranks, so that the result does not depend on how many
there are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from training.metrics import bits_per_byte, perplexity
from training.models.decoder import Decoder
from training.objectives.causal import CausalExamples, causal
from training.runtime import Runtime
from training.step import CausalLoss
from training.validation import ValidationStrip

TOTAL = "total"


@dataclass(frozen=True, slots=True)
class StratumLoss:
    """Sums over the labels of a stratum; `nll` in nats."""

    stratum: str
    nll: float
    num_tokens: int
    num_bytes: int

    @property
    def loss(self) -> float:
        """Nats per token."""
        return self.nll / self.num_tokens

    @property
    def perplexity(self) -> float:
        return perplexity(self.nll, self.num_tokens)

    @property
    def bits_per_byte(self) -> float:
        return bits_per_byte(self.nll, self.num_bytes)

    def as_json(self) -> dict[str, float | str]:
        units = {
            "loss": self.loss,
            "perplexity": self.perplexity,
            "bits_per_byte": self.bits_per_byte,
        }
        return {**asdict(self), **units}


def validation_losses(
    decoder: Decoder,
    strips: Sequence[ValidationStrip],
    *,
    separator_id: int,
    document_masks: bool,
    batch_rows: int,
    runtime: Runtime,
) -> list[StratumLoss]:
    """The loss on each strip, in order, then their total."""
    loss_module = CausalLoss(decoder, document_masks)
    length = decoder.config.max_position_embeddings
    sums = [
        _nll(loss_module, causal(*strip.windows(length), separator_id), batch_rows, runtime)
        for strip in strips
    ]
    sums = runtime.sum_over_ranks(sums)
    losses = [
        StratumLoss(strip.stratum, nll, strip.num_labels, strip.num_bytes)
        for strip, nll in zip(strips, sums, strict=True)
    ]
    return [*losses, total_loss(losses)]


def total_loss(losses: Sequence[StratumLoss]) -> StratumLoss:
    return StratumLoss(
        TOTAL,
        sum(one.nll for one in losses),
        sum(one.num_tokens for one in losses),
        sum(one.num_bytes for one in losses),
    )


def _nll(
    loss_module: CausalLoss, examples: CausalExamples, batch_rows: int, runtime: Runtime
) -> float:
    """This rank's share of the sum: every world_size-th batch of rows."""
    total = 0.0
    with torch.no_grad():
        for rows in _shares(len(examples.labels), batch_rows, runtime):
            with runtime.autocast():
                total += loss_module(*loss_module.inputs(examples, rows, runtime)).item()
    return total


def _shares(num_rows: int, batch_rows: int, runtime: Runtime) -> Iterator[slice]:
    for start in np.arange(0, num_rows, batch_rows)[runtime.rank :: runtime.world_size]:
        yield slice(int(start), int(start) + batch_rows)
