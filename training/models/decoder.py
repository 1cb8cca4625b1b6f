"""A decoder-only transformer in the Llama family, written to be read and to be fast.

Pre-norm blocks: RMSNorm (arXiv:1910.07467), rotary positions in the half-split form
(arXiv:2104.09864), SwiGLU (arXiv:2002.05202), grouped-query attention (arXiv:2305.13245),
optional RMSNorm of queries and keys per head (arXiv:2302.05442).

Parameter names are those of `LlamaForCausalLM` (with QK-norm: `Qwen3ForCausalLM`) in
`transformers`, so export copies tensors without renaming. The forward pass returns hidden states:
the vocabulary projection belongs to the loss, which never holds all logits at once (loss.py).

Shapes: B rows, T positions, S cached and new positions, H query heads, K key heads, D head size,
E hidden size.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

INITIAL_STD = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfig:
    """Shape of a decoder, in the field names of a Hugging Face `config.json`."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    rope_theta: float = 10_000.0
    rms_norm_eps: float = 1e-6
    qk_norm: bool = False
    tie_word_embeddings: bool = True

    def __post_init__(self) -> None:
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"model.num_key_value_heads={self.num_key_value_heads} must divide "
                f"num_attention_heads={self.num_attention_heads}"
            )
        if self.head_dim % 2:
            raise ValueError(f"model.head_dim={self.head_dim} must be even: rotation pairs halves")


class KeyValueCache:
    """Keys and values of the positions seen so far, for one layer: two [B, K, capacity, D]."""

    def __init__(self, batch_size: int, config: DecoderConfig, capacity: int, like: Tensor) -> None:
        shape = (batch_size, config.num_key_value_heads, capacity, config.head_dim)
        self.keys = like.new_zeros(shape)
        self.values = like.new_zeros(shape)
        self.length = 0

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store keys and values [B, K, T, D] and return all so far [B, K, S, D]."""
        end = self.length + keys.shape[2]
        self.keys[:, :, self.length : end] = keys
        self.values[:, :, self.length : end] = values
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last dimension, computed in float32."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)


def rotary_tables(config: DecoderConfig, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines [T, D/2] in float32 of each position's rotation angles."""
    exponents = torch.arange(0, config.head_dim, 2, device=positions.device).float()
    frequencies = 1.0 / config.rope_theta ** (exponents / config.head_dim)
    angles = positions.float()[:, None] * frequencies
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the pairs (x[i], x[i + D/2]) of [B, heads, T, D] by each position's angles."""
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def document_mask(document_ids: Tensor) -> Tensor:
    """Boolean [B, 1, T, T], true where a position may attend: the same document, not later.

    Positions need no reset at a document's start: rotary attention sees only differences.
    """
    same = document_ids[:, None, :, None] == document_ids[:, None, None, :]
    return same.tril()


class Attention(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.num_groups = config.num_attention_heads // config.num_key_value_heads
        query_size = config.num_attention_heads * config.head_dim
        key_size = config.num_key_value_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, query_size, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, key_size, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, key_size, bias=False)
        self.o_proj = nn.Linear(query_size, config.hidden_size, bias=False)
        if config.qk_norm:
            self.q_norm = RMSNorm(config.head_dim, config.rms_norm_eps)
            self.k_norm = RMSNorm(config.head_dim, config.rms_norm_eps)
        self.qk_norm = config.qk_norm

    def forward(
        self,
        x: Tensor,
        rotary: tuple[Tensor, Tensor],
        mask: Tensor | None,
        cache: KeyValueCache | None,
    ) -> Tensor:
        queries, keys, values = (
            projection(x).unflatten(-1, (-1, self.head_dim))
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        if self.qk_norm:
            queries, keys = self.q_norm(queries), self.k_norm(keys)
        queries, keys, values = (y.transpose(1, 2) for y in (queries, keys, values))
        queries, keys = rotate(queries, *rotary), rotate(keys, *rotary)
        if cache is not None:
            keys, values = cache.append(keys, values)
        grouped = self.num_groups > 1
        if grouped and mask is not None:
            # CUDA's kernels that take a mask do not group heads; torch would fall back to the
            # one that holds all scores.
            keys, values = (y.repeat_interleave(self.num_groups, 1) for y in (keys, values))
            grouped = False
        out = F.scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=mask,
            is_causal=mask is None and queries.shape[2] > 1,
            enable_gqa=grouped,
        )
        return self.o_proj(out.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x))."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = FeedForward(config)

    def forward(
        self,
        x: Tensor,
        rotary: tuple[Tensor, Tensor],
        mask: Tensor | None,
        cache: KeyValueCache | None,
    ) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), rotary, mask, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class DecoderBody(nn.Module):
    """Embeddings, blocks and the final norm (`model.*` in the names of transformers)."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self,
        input_ids: Tensor,
        mask: Tensor | None,
        caches: list[KeyValueCache] | None,
    ) -> Tensor:
        past = caches[0].length if caches else 0
        positions = torch.arange(past, past + input_ids.shape[1], device=input_ids.device)
        rotary = rotary_tables(self.config, positions)
        x = self.embed_tokens(input_ids)
        for index, layer in enumerate(self.layers):
            x = layer(x, rotary, mask, caches[index] if caches else None)
        return self.norm(x)


class Decoder(nn.Module):
    """Causal language model; `head_weight` [V, E] projects its hidden states to logits."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.model = DecoderBody(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight
        self.apply(self._initialise)

    def _initialise(self, module: nn.Module) -> None:
        """Normal(0, 0.02) matrices; those that write to the residual stream shrink with depth
        (GPT-2, section 2.3), so that its variance at the start does not grow with it."""
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=INITIAL_STD)
        residual_std = INITIAL_STD / math.sqrt(2 * self.config.num_hidden_layers)
        if isinstance(module, Attention):
            nn.init.normal_(module.o_proj.weight, std=residual_std)
        if isinstance(module, FeedForward):
            nn.init.normal_(module.down_proj.weight, std=residual_std)

    @property
    def head_weight(self) -> Tensor:
        return self.lm_head.weight

    def forward(
        self,
        input_ids: Tensor,
        document_ids: Tensor | None = None,
        caches: list[KeyValueCache] | None = None,
    ) -> Tensor:
        """Hidden states [B, T, E] of `input_ids` [B, T].

        `document_ids` [B, T] keeps attention inside each document. `caches`, one per layer, hold
        earlier positions: the first call may bring many positions, later ones bring one.
        """
        mask = None if document_ids is None else document_mask(document_ids)
        return self.model(input_ids, mask, caches)

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.head_weight.to(hidden.dtype))
