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


class _LinearCrossEntropy(torch.autograd.Function):
    """Sum of weights * nll, with the gradients of hidden and head computed in the forward pass."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        want_grad = hidden.requires_grad or head.requires_grad
        projection = head.to(hidden.dtype)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        hidden_grad = torch.empty_like(hidden) if want_grad else None
        head_grad = torch.zeros_like(head) if want_grad else None
        step = chunk_rows(len(hidden), len(head), hidden.device)
        for start in range(0, len(hidden), step):
            rows = slice(start, start + step)
            probabilities = (hidden[rows] @ projection.T).float()
            log_z = probabilities.logsumexp(-1, keepdim=True)
            picked = probabilities.gather(-1, labels[rows, None])
            total += ((log_z - picked).squeeze(-1) * weights[rows]).sum()
            if hidden_grad is not None and head_grad is not None:
                probabilities.sub_(log_z).exp_()
                probabilities.scatter_add_(-1, labels[rows, None], -torch.ones_like(picked))
                gradient = probabilities.mul_(weights[rows, None]).to(hidden.dtype)
                hidden_grad[rows] = gradient @ projection
                head_grad += gradient.T @ hidden[rows]
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

    hidden [..., E] float, head [V, E] float, labels [...] int64 in [0, V), weights [...] float32.
    Labels of positions with weight 0 must still be valid ids.
    """
    return _LinearCrossEntropy.apply(
        hidden.flatten(0, -2), head, labels.flatten(), weights.flatten()
    )
