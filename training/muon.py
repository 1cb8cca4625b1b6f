"""Muon (Jordan et al. 2024): momentum of each matrix, made nearly orthogonal.

As torch.optim.Muon, but for the precision of the Newton-Schulz steps: that computes them in
bfloat16, which processors without such instructions emulate. With AVX2 alone a product took 24
times as long as in float32, and the optimiser 9 of 10 seconds of a small model's step. Here GPUs
use bfloat16 and CPUs float32.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

COEFFICIENTS = 3.4445, -4.775, 2.0315
"""Of the quintic: the steepest at zero that still settles within 0.7 to 1.2."""
STEPS = 5
EPSILON = 1e-7


class Muon(Optimizer):
    """For matrices only. The rate of a matrix is scaled by max(1, rows / columns) ** 0.5."""

    def __init__(
        self, matrices: Iterable[nn.Parameter], *, lr: float, weight_decay: float, momentum: float
    ) -> None:
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(matrices, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self._step(matrix, matrix.grad, group)

    def _step(self, matrix: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[matrix]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        momentum = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        update = orthogonal(gradient.lerp(momentum, group["momentum"]))  # Nesterov's
        rows, columns = matrix.shape
        rate = group["lr"] * math.sqrt(max(1.0, rows / columns))
        matrix.mul_(1 - group["lr"] * group["weight_decay"])
        matrix.add_(update.to(matrix.dtype), alpha=-rate)


def orthogonal(matrix: Tensor) -> Tensor:
    """About U V^T for a matrix U S V^T: singular values between 0.7 and 1.2."""
    a, b, c = COEFFICIENTS
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if is_tall else matrix
    x = x.to(torch.bfloat16 if matrix.is_cuda else torch.float32)
    x = x / x.norm().clamp(min=EPSILON)
    for _ in range(STEPS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if is_tall else x
