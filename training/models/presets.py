"""Named decoder shapes from 1 M to 1 B parameters.

Names count all parameters, embeddings tied, with the vocabulary that fits the size: 4,096 for 1m
and 3m, 8,192 for 10m, 32,000 above. Widths are multiples of 64, feed-forward sizes about 8/3 of
the width, so that SwiGLU's three matrices cost what two of width x 4 would. The larger shapes
follow published ones (SmolLM2-135M and 360M, Llama-3.2-1B) in depth, width and grouped heads.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Preset:
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int


PRESETS = {
    "1m": Preset(128, 4, 4, 4, 32, 384),
    "3m": Preset(192, 4, 3, 3, 64, 512),
    "10m": Preset(320, 6, 5, 5, 64, 896),
    "35m": Preset(512, 6, 8, 8, 64, 1408),
    "135m": Preset(576, 30, 9, 3, 64, 1536),
    "360m": Preset(960, 32, 15, 5, 64, 2560),
    "1b": Preset(2048, 16, 32, 8, 64, 8192),
}
