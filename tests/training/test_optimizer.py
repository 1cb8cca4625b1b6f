import pytest
import torch

from tests.training.test_decoder import SMALL, first_block
from training.models.decoder import Decoder
from training.optimizer import (
    OptimizerConfig,
    build_optimizers,
    load_state_tensors,
    set_learning_rates,
    state_tensors,
)

ADAMW = OptimizerConfig(name="adamw", learning_rate=1e-2, weight_decay=0.5)
MUON = OptimizerConfig(name="muon", learning_rate=1e-2)


def model_with_gradients(seed: int = 0) -> Decoder:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = Decoder(SMALL)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    return model


@pytest.mark.parametrize("config", [ADAMW, MUON])
def test_every_parameter_is_in_exactly_one_group(config: OptimizerConfig):
    model = model_with_gradients()
    grouped = [
        parameter
        for optimizer in build_optimizers(model, config)
        for group in optimizer.param_groups
        for parameter in group["params"]
    ]
    assert sorted(map(id, grouped)) == sorted(map(id, model.parameters()))


def test_decay_is_decoupled_and_only_of_hidden_matrices():
    """With zero gradients AdamW moves by its decay alone: w (1 - lr wd), norms and embeddings
    stay."""
    model = model_with_gradients()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for optimizer in build_optimizers(model, ADAMW):
        optimizer.step()
    for name, parameter in model.named_parameters():
        decayed = "_proj" in name
        expected = before[name] * (1 - 1e-2 * 0.5) if decayed else before[name]
        torch.testing.assert_close(parameter.detach(), expected)


def test_muon_update_is_nearly_orthogonal():
    """Singular values of a step are near lr (within Newton-Schulz's 0.7 to 1.2)."""
    model = model_with_gradients()
    weight = first_block(model).mlp.gate_proj.weight
    before = weight.detach().clone()
    config = OptimizerConfig(name="muon", muon_learning_rate=0.1, muon_weight_decay=0.0)
    for optimizer in build_optimizers(model, config):
        optimizer.step()
    scale = 0.1 * (weight.shape[0] / weight.shape[1]) ** 0.5
    values = torch.linalg.svdvals(before - weight.detach()) / scale
    assert values.min() > 0.6
    assert values.max() < 1.3


@pytest.mark.parametrize("config", [ADAMW, MUON])
def test_state_restored_gives_the_same_next_step(config: OptimizerConfig):
    model, other = model_with_gradients(), model_with_gradients()
    optimizers, others = build_optimizers(model, config), build_optimizers(other, config)
    for optimizer in optimizers:
        optimizer.step()
    other.load_state_dict(model.state_dict())
    saved = {name: tensor.clone() for name, tensor in state_tensors(model, optimizers).items()}
    load_state_tensors(other, others, saved)
    for optimizer in [*optimizers, *others]:
        optimizer.step()
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def test_state_of_another_model_is_refused():
    model = model_with_gradients()
    with pytest.raises(ValueError, match=r"no optimiser state for model\.layers"):
        load_state_tensors(model, build_optimizers(model, ADAMW), {})


def test_rates_are_a_factor_of_each_peak():
    optimizers = build_optimizers(model_with_gradients(), MUON)
    set_learning_rates(optimizers, 0.5)
    set_learning_rates(optimizers, 0.25)
    rates = {group["lr"] for optimizer in optimizers for group in optimizer.param_groups}
    assert rates == {0.02 * 0.25, 1e-2 * 0.25}


def test_muon_is_torchs_within_the_rounding_of_bfloat16():
    model, peer = model_with_gradients(), model_with_gradients()
    ours, _ = build_optimizers(model, MUON)
    group = ours.param_groups[0]
    names = [
        name for name, one in model.named_parameters() if any(one is p for p in group["params"])
    ]
    matrices = [dict(peer.named_parameters())[name] for name in names]
    options = {key: group[key] for key in ("lr", "weight_decay", "momentum")}
    theirs = torch.optim.Muon(matrices, **options)
    before = [matrix.detach().clone() for matrix in matrices]
    for _ in range(3):
        ours.step()
        theirs.step()
    for mine, matrix, start in zip(group["params"], matrices, before, strict=True):
        moved = (matrix - start).norm()
        assert (mine - matrix).norm() < 0.03 * moved
