"""Cross-entropy of a vocabulary projection without the logits of all positions at once.

The logits of one chunk of positions are made, turned into the loss and at once into its gradient,
and dropped: memory is chunk x vocabulary instead of batch x vocabulary (for 65,536 positions and
50,304 words in float32: 13 GB), and the projection is computed once. Liger (arXiv:2410.10989)
describes the idea. The loss is a weighted sum, never a mean: the trainer divides by the weight
of the whole step, so that accumulation and ranks do not change the objective.
"""

from typing import Any

import torch
from torch import Tensor

CHUNK_LOGITS = 1 << 22  # 16 MiB of float32 stays in a CPU's last-level cache
CHUNK_LOGITS_GPU = 1 << 28


def chunk_rows(num_rows: int, vocab_size: int, device: torch.device) -> int:
    """Number of positions whose logits are made at once."""
    budget = CHUNK_LOGITS if device.type == "cpu" else CHUNK_LOGITS_GPU
    return max(1, min(num_rows, budget // vocab_size))


def _compute_dtype(hidden: Tensor) -> torch.dtype:
    """That of autocast where it is on: inside a custom function it must be applied by hand."""
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return hidden.dtype


class _LinearCrossEntropy(torch.autograd.Function):
    """Sum of weights * nll, with the gradients of hidden and head computed in the forward pass."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        dtype = _compute_dtype(hidden)
        states, projection = hidden.to(dtype), head.to(dtype)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        want_grad = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        hidden_grad = torch.empty_like(hidden) if want_grad else None
        head_grad = torch.zeros_like(head) if want_grad else None
        step = chunk_rows(len(hidden), len(head), hidden.device)
        for start in range(0, len(hidden), step):
            rows = slice(start, start + step)
            logits = states[rows] @ projection.T
            log_probabilities = torch.log_softmax(logits, dim=-1, dtype=torch.float32)
            picked = log_probabilities.gather(-1, labels[rows, None])
            # No dot product here: autocast would round the loss to bfloat16.
            total -= (picked.squeeze(-1) * weights[rows]).sum()
            if hidden_grad is not None and head_grad is not None:
                residual = log_probabilities.exp_()
                residual.scatter_add_(-1, labels[rows, None], torch.full_like(picked, -1.0))
                gradient = residual.mul_(weights[rows, None]).to(dtype)
                hidden_grad[rows] = gradient @ projection
                head_grad += gradient.T @ states[rows]
        if want_grad:
            ctx.save_for_backward(hidden_grad, head_grad)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        hidden_grad, head_grad = ctx.saved_tensors
        scale = grad_outputs[0]
        return hidden_grad * scale, head_grad * scale, None, None


def linear_cross_entropy(hidden: Tensor, head: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Sum over positions of `weights` * -log softmax(hidden @ head.T)[labels], in nats.

    hidden [..., E] float, head [V, E] float, labels [...] int64, weights [...] float32.
    Where the weight is 0 the label may be anything below V, such as -100.
    """
    return _LinearCrossEntropy.apply(
        hidden.flatten(0, -2), head, labels.flatten().clamp_min(0), weights.flatten()
    )
