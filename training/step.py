"""One optimiser step: gradients of sums, divided once by the weight of the whole batch.

The mean of micro-batch means is not the mean of the batch when their numbers of valid tokens
differ, and they do: padding, quarantined blocks, short documents. So each loss is a weighted sum;
the denominator is the weight of all ranks and micro-batches, known before the first backward.
DistributedDataParallel averages over ranks, which is undone by a factor of the world size.
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from training.loss import linear_cross_entropy
from training.models.decoder import Decoder
from training.objectives.causal import CausalExamples
from training.runtime import Runtime


class CausalLoss(nn.Module):
    """A decoder with the loss of the causal objective: forward gives a weighted sum of nats."""

    def __init__(self, decoder: Decoder, document_masks: bool) -> None:
        super().__init__()
        self.decoder = decoder
        self.document_masks = document_masks

    def forward(
        self, input_ids: Tensor, labels: Tensor, loss_weights: Tensor, document_ids: Tensor | None
    ) -> Tensor:
        """All [B, T]; labels are ignored where `loss_weights` is 0."""
        hidden = self.decoder(input_ids, document_ids)
        return linear_cross_entropy(hidden, self.decoder.head_weight, labels, loss_weights)

    def inputs(
        self, examples: CausalExamples, rows: slice, runtime: Runtime
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Arguments of `forward` for some rows of a batch, on the device."""
        return (
            runtime.to_device(examples.input_ids[rows]),
            runtime.to_device(examples.labels[rows]),
            runtime.to_device(examples.loss_weights[rows]),
            runtime.to_device(examples.document_ids[rows]) if self.document_masks else None,
        )


@dataclass(frozen=True, slots=True)
class StepResult:
    """Of one step, over all ranks. Tensors stay on the device until somebody asks."""

    nll: Tensor
    """This rank's sum of nats."""
    weight: float
    """Valid tokens of all ranks."""
    gradient_norm: Tensor
    """Before clipping."""


def training_step(
    loss_module: CausalLoss,
    parallel: DistributedDataParallel | None,
    optimizers: Sequence[Optimizer],
    examples: CausalExamples,
    *,
    total_weight: float,
    micro_rows: int,
    gradient_clip: float,
    runtime: Runtime,
) -> StepResult:
    """Forward, backward and update on this rank's rows of a batch.

    `total_weight` is the sum of loss weights over all ranks; `micro_rows` rows are in memory at
    once; `parallel` wraps `loss_module` where there are several ranks.
    """
    nll = torch.zeros((), device=runtime.device)
    scale = runtime.world_size / max(total_weight, 1.0)
    for rows, is_last in micro_batches(len(examples.labels), micro_rows):
        # Ranks exchange gradients once, in the last backward.
        waiting = parallel.no_sync() if parallel is not None and not is_last else nullcontext()
        with waiting:
            with runtime.autocast():
                loss = (parallel or loss_module)(*loss_module.inputs(examples, rows, runtime))
            (loss * scale).backward()
        nll += loss.detach()
    norm = nn.utils.clip_grad_norm_(loss_module.parameters(), gradient_clip)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    return StepResult(nll, total_weight, norm)


def micro_batches(num_rows: int, micro_rows: int) -> Iterator[tuple[slice, bool]]:
    """Consecutive slices of at most `micro_rows` rows, and whether each is the last."""
    for start in range(0, num_rows, micro_rows):
        yield slice(start, start + micro_rows), start + micro_rows >= num_rows
