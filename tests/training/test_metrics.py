import math

import pytest

from tests.training.test_decoder import SMALL
from training.metrics import (
    bits_per_byte,
    flops_per_token,
    model_flops_utilisation,
    peak_flops,
    perplexity,
)


@pytest.mark.parametrize(
    ("device", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA H200 NVL", 836e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA B200", None),
        ("AMD EPYC", None),
    ],
)
def test_peak_of_known_devices_only(device: str, peak: float | None):
    assert peak_flops(device) == peak
    assert (model_flops_utilisation(1e4, 1e9, device) is None) == (peak is None)


def test_flops_of_gpt2_small():
    """GPT-2 124M at T = 1024 costs 8.5e8 FLOPs a token in PaLM's count."""
    from dataclasses import replace

    config = replace(SMALL, num_hidden_layers=12, num_attention_heads=12, head_dim=64)
    assert flops_per_token(config, 123_600_000, 1024) == pytest.approx(8.55e8, rel=0.01)


def test_units():
    assert perplexity(200 * math.log(50), 200) == pytest.approx(50)
    assert bits_per_byte(80 * math.log(2), 40) == pytest.approx(2)
    assert math.isnan(bits_per_byte(1.0, 0))
