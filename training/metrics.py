"""Model FLOPs, utilisation (MFU) and the units in which losses are reported.

FLOPs per token follow PaLM (arXiv:2204.02311, appendix B): 6 N + 12 L H Q T, where N are the
parameters without position embeddings, L layers, H heads of size Q, T the sequence length. No
discount is made for causal or document masks, nor is recomputation counted.
"""

import math

from training.models.decoder import DecoderConfig

PEAK_FLOPS = {
    "H200 NVL": 836e12,
    "H200": 989e12,
    "H100 NVL": None,
    "H100 PCIe": None,
    "H100": 989e12,
    "A100": 312e12,
}
"""Dense bf16 FLOP/s by a part of the device's name, the first match counts. None: a variant whose
peak is not that of the SXM module and is not in this table."""


def peak_flops(device_name: str) -> float | None:
    """Peak dense bf16 FLOP/s of a device, None when unknown: never a default."""
    return next((peak for part, peak in PEAK_FLOPS.items() if part in device_name), None)


def flops_per_token(config: DecoderConfig, num_parameters: int, sequence_length: int) -> float:
    """Training FLOPs (forward and backward) per token, PaLM's convention."""
    attention_size = config.num_attention_heads * config.head_dim
    return 6 * num_parameters + 12 * config.num_hidden_layers * attention_size * sequence_length


def model_flops_utilisation(
    tokens_per_second: float, flops_of_token: float, device_name: str, num_devices: int = 1
) -> float | None:
    """Share of the devices' peak in [0, 1]; None when the device is unknown."""
    peak = peak_flops(device_name)
    return None if peak is None else tokens_per_second * flops_of_token / (num_devices * peak)


def perplexity(nll: float, num_tokens: float) -> float:
    """exp of the mean negative log-likelihood; `nll` is a sum in nats."""
    return math.exp(min(nll / num_tokens, 700.0)) if num_tokens else math.nan


def bits_per_byte(nll: float, num_bytes: float) -> float:
    """Bits per UTF-8 byte of the text whose negative log-likelihood is the sum `nll` in nats."""
    return nll / math.log(2) / num_bytes if num_bytes else math.nan
