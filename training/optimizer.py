"""Optimisers: AdamW as in GPT-3, and Muon for the hidden matrices.

AdamW (arXiv:1711.05101) decays matrices of two or more dimensions except embeddings; norms are
not decayed. Muon (muon.py) is for the hidden matrices; embeddings, the head and norms stay with
AdamW, undecayed.

State is exchanged as named tensors (`<parameter>/<state>`), never as pickled dictionaries; what
the configuration decides (rates, betas) is not stored, so that a resumed run follows its config.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from storage.settings import Settings
from training.muon import Muon


class OptimizerConfig(Settings):
    name: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = Field(default=3e-4, gt=0, lt=1)
    """Peak rate of AdamW."""
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.1, ge=0, lt=1)
    """AdamW's, of matrices that are not embeddings."""
    muon_learning_rate: float = Field(default=0.02, gt=0, lt=1)
    """Peak rate of Muon, for the hidden matrices."""
    muon_momentum: float = Field(default=0.95, ge=0, lt=1)
    muon_weight_decay: float = Field(default=0.01, ge=0, lt=1)


def is_hidden_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter is a matrix between hidden states: not a norm, embedding or head."""
    return parameter.ndim >= 2 and "embed_tokens" not in name and "lm_head" not in name


def build_optimizers(model: nn.Module, config: OptimizerConfig) -> list[Optimizer]:
    """The optimisers of a model; each group keeps its peak rate as `peak_lr`."""
    named = list(model.named_parameters())
    hidden = [parameter for name, parameter in named if is_hidden_matrix(name, parameter)]
    others = [parameter for name, parameter in named if not is_hidden_matrix(name, parameter)]
    heads = [p for name, p in named if "lm_head" in name]
    if config.name == "adamw":
        norms_and_embeddings = [p for p in others if all(p is not head for head in heads)]
        groups = [
            {"params": hidden + heads, "weight_decay": config.weight_decay},
            {"params": norms_and_embeddings, "weight_decay": 0.0},
        ]
        optimizers: list[Optimizer] = [_adamw(groups, config)]
    else:
        muon = Muon(
            hidden,
            lr=config.muon_learning_rate,
            weight_decay=config.muon_weight_decay,
            momentum=config.muon_momentum,
        )
        optimizers = [muon, _adamw([{"params": others, "weight_decay": 0.0}], config)]
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["peak_lr"] = group["lr"]
    return optimizers


def _adamw(groups: list[dict[str, object]], config: OptimizerConfig) -> AdamW:
    return AdamW(groups, lr=config.learning_rate, betas=config.betas, eps=config.eps, fused=True)


def set_learning_rates(optimizers: list[Optimizer], factor: float) -> None:
    """Set every group's rate to `factor` of its peak."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor


def state_tensors(model: nn.Module, optimizers: list[Optimizer]) -> dict[str, Tensor]:
    """Optimiser state as `<parameter>/<state>` tensors; empty before the first step."""
    names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
    return {
        f"{names[parameter]}/{key}": torch.as_tensor(value)
        for optimizer in optimizers
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    }


def load_state_tensors(
    model: nn.Module, optimizers: list[Optimizer], tensors: dict[str, Tensor]
) -> None:
    """Restore what `state_tensors` gave. Raises ValueError when a parameter has no state."""
    names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
    by_parameter: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        parameter_name, _, state_name = key.rpartition("/")
        by_parameter.setdefault(parameter_name, {})[state_name] = tensor
    for optimizer in optimizers:
        for parameter in (p for group in optimizer.param_groups for p in group["params"]):
            if names[parameter] not in by_parameter:
                raise ValueError(
                    f"no optimiser state for {names[parameter]}: the checkpoint was made with "
                    "another model or optimizer"
                )
            optimizer.state[parameter] = {
                key: tensor.to(parameter.device)
                for key, tensor in by_parameter[names[parameter]].items()
            }
