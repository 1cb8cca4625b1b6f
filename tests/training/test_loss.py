import pytest
import torch
import torch.nn.functional as F

from training import loss
from training.loss import linear_cross_entropy


@pytest.mark.parametrize("chunk_logits", [1, 100, 1 << 20])
def test_value_and_gradients_are_those_of_whole_logits(monkeypatch, chunk_logits: int):
    monkeypatch.setattr(loss, "CHUNK_LOGITS", chunk_logits)
    torch.manual_seed(0)
    hidden = torch.randn(3, 7, 16, requires_grad=True)
    head = torch.randn(29, 16, requires_grad=True)
    labels, weights = torch.randint(0, 29, (3, 7)), torch.rand(3, 7)
    nll = F.cross_entropy((hidden @ head.T).flatten(0, 1), labels.flatten(), reduction="none")
    expected = (nll * weights.flatten()).sum()
    expected_gradients = torch.autograd.grad(expected * 0.25, (hidden, head))
    found = linear_cross_entropy(hidden, head, labels, weights)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    gradients = torch.autograd.grad(found * 0.25, (hidden, head))
    for one, other in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_autocast_rounds_the_logits_and_nothing_after_them():
    torch.manual_seed(0)
    hidden = torch.randn(200, 16, requires_grad=True)
    head = torch.randn(29, 16, requires_grad=True)
    labels, weights = torch.randint(0, 29, (200,)), torch.rand(200)
    logits = (hidden.bfloat16() @ head.bfloat16().T).float()
    expected = (F.cross_entropy(logits, labels, reduction="none") * weights).sum()
    with torch.autocast("cpu", torch.bfloat16):
        found = linear_cross_entropy(hidden, head, labels, weights)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    for one, other in zip(
        torch.autograd.grad(found, (hidden, head)),
        torch.autograd.grad(expected, (hidden, head)),
        strict=True,
    ):
        assert one.dtype == torch.float32
        assert (one - other).norm() < 0.01 * other.norm()


def test_weight_zero_takes_part_in_nothing():
    torch.manual_seed(0)
    hidden, head = torch.randn(6, 8, requires_grad=True), torch.randn(11, 8)
    weights = torch.tensor([1.0, 0, 1, 0, 0, 1])
    linear_cross_entropy(hidden, head, torch.zeros(6, dtype=torch.long), weights).backward()
    assert hidden.grad is not None
    assert (hidden.grad[weights == 0] == 0).all()
    assert (hidden.grad[weights == 1] != 0).any(-1).all()


def test_extreme_logits_stay_finite():
    hidden, head = torch.full((2, 4), 1e4), torch.eye(4) * 1e3
    found = linear_cross_entropy(hidden, head, torch.tensor([0, 3]), torch.ones(2))
    assert torch.isfinite(found)
