import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from training.models.decoder import (
    Block,
    Decoder,
    DecoderConfig,
    KeyValueCache,
    document_mask,
    rotary_tables,
)
from training.models.presets import PRESETS

SMALL = DecoderConfig(
    vocab_size=61,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    max_position_embeddings=64,
)
VARIANTS = [
    SMALL,
    replace(SMALL, qk_norm=True),
    replace(SMALL, num_key_value_heads=4, tie_word_embeddings=False),
    replace(SMALL, num_key_value_heads=1, head_dim=16),
]


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def build(config: DecoderConfig) -> Decoder:
    """A decoder whose norms are not all ones, so that a wrong norm shows."""
    model = Decoder(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def first_block(model: Decoder) -> Block:
    block = model.model.layers[0]
    assert isinstance(block, Block)
    return block


def tokens(num_rows: int = 2, length: int = 12) -> Tensor:
    return torch.randint(0, SMALL.vocab_size, (num_rows, length))


def input_gradients(model: Decoder, ids: Tensor, position: int, **kwargs: Tensor) -> Tensor:
    """|d logits[position] / d embedding[t]| per position t: what position can see."""
    embedded = model.model.embed_tokens(ids).detach().requires_grad_()
    handle = model.model.embed_tokens.register_forward_hook(lambda *_: embedded)
    hidden = model(ids, **kwargs)
    handle.remove()
    model.logits(hidden)[:, position].pow(2).sum().backward()
    assert embedded.grad is not None
    return embedded.grad.abs().sum(-1)


@pytest.mark.parametrize("config", VARIANTS)
def test_no_position_sees_later_ones(config: DecoderConfig):
    """The gradient at later inputs is exactly zero, and not zero at the position and before."""
    seen = input_gradients(build(config), tokens(), position=5)
    assert (seen[:, 6:] == 0).all()
    assert (seen[:, :6] > 0).all()


@pytest.mark.parametrize("config", VARIANTS)
def test_document_masks_leak_nothing(config: DecoderConfig):
    """Documents 0 0 0 0 1 1 1 1 1 2 2 2: position 7 sees 4..7 alone, whatever the layer."""
    documents = torch.tensor([[0] * 4 + [1] * 5 + [2] * 3] * 2)
    seen = input_gradients(build(config), tokens(), position=7, document_ids=documents)
    assert (seen[:, 4:8] > 0).all()
    assert (seen[:, :4] == 0).all()
    assert (seen[:, 8:] == 0).all()


def test_masked_document_equals_the_document_alone():
    """Positions need no reset: in a packed row a document's states are those it has alone."""
    model, ids = build(SMALL), tokens(1)
    documents = torch.tensor([[0] * 4 + [1] * 8])
    packed = model(ids, document_ids=documents)[:, 4:]
    torch.testing.assert_close(packed, model(ids[:, 4:]), rtol=1e-4, atol=1e-5)


def test_document_mask_of_a_returning_id_stays_causal():
    mask = document_mask(torch.tensor([[3, 3, 5]]))[0, 0]
    assert mask.tolist() == [[True, False, False], [True, True, False], [False, False, True]]


def rotate_by_complex_numbers(x: Tensor, theta: float) -> Tensor:
    """Rotary positions as multiplication by e^(i position frequency), x [B, heads, T, D]."""
    half = x.shape[-1] // 2
    frequencies = theta ** (-torch.arange(half) / half)
    angles = torch.arange(x.shape[-2])[:, None] * frequencies
    rotated = torch.complex(x[..., :half], x[..., half:]) * torch.polar(
        torch.ones_like(angles), angles
    )
    return torch.cat((rotated.real, rotated.imag), dim=-1)


def test_grouped_attention_follows_its_formula():
    """Query head h attends with key head h // (H / K): softmax(q k / sqrt(D)) v, one by one."""
    model, x = build(SMALL), torch.randn(1, 7, SMALL.hidden_size)
    layer = first_block(model).self_attn
    shape = (1, 7, -1, SMALL.head_dim)
    q, k, v = (p(x).view(shape).transpose(1, 2) for p in (layer.q_proj, layer.k_proj, layer.v_proj))
    q, k = (rotate_by_complex_numbers(y, SMALL.rope_theta) for y in (q, k))
    heads = []
    for head in range(SMALL.num_attention_heads):
        group = head // (SMALL.num_attention_heads // SMALL.num_key_value_heads)
        scores = q[:, head] @ k[:, group].mT / math.sqrt(SMALL.head_dim)
        future = torch.ones(7, 7).triu(1).bool()
        heads.append(scores.masked_fill(future, -math.inf).softmax(-1) @ v[:, group])
    expected = layer.o_proj(torch.cat(heads, dim=-1))
    found = layer(x, rotary_tables(SMALL, torch.arange(7)), None, None)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_tied_embeddings_are_one_parameter():
    tied, untied = build(SMALL), build(replace(SMALL, tie_word_embeddings=False))
    assert tied.head_weight is tied.model.embed_tokens.weight
    assert untied.head_weight is not untied.model.embed_tokens.weight
    difference = sum(p.numel() for p in untied.parameters()) - sum(
        p.numel() for p in tied.parameters()
    )
    assert difference == SMALL.vocab_size * SMALL.hidden_size


@pytest.mark.parametrize("config", VARIANTS)
def test_cache_gives_the_states_of_a_full_pass(config: DecoderConfig):
    model, ids = build(config), tokens()
    full = model(ids)
    caches = [KeyValueCache(2, config, 12, full) for _ in range(config.num_hidden_layers)]
    steps = [model(ids[:, :5], caches=caches)]
    steps += [model(ids[:, t : t + 1], caches=caches) for t in range(5, 12)]
    torch.testing.assert_close(torch.cat(steps, dim=1), full, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("qk_norm", [False, True])
def test_names_and_logits_are_those_of_llama_and_qwen3(qk_norm: bool):
    """Loading without renaming into transformers' own models gives equal logits."""
    ours, ids = build(replace(SMALL, qk_norm=qk_norm)), tokens()
    settings: dict[str, Any] = {
        "vocab_size": SMALL.vocab_size,
        "hidden_size": SMALL.hidden_size,
        "intermediate_size": SMALL.intermediate_size,
        "num_hidden_layers": SMALL.num_hidden_layers,
        "num_attention_heads": SMALL.num_attention_heads,
        "num_key_value_heads": SMALL.num_key_value_heads,
        "head_dim": SMALL.head_dim,
        "rms_norm_eps": SMALL.rms_norm_eps,
        "tie_word_embeddings": True,
    }
    if qk_norm:
        theirs = Qwen3ForCausalLM(Qwen3Config(**settings))
    else:
        theirs = LlamaForCausalLM(LlamaConfig(**settings))
    theirs.load_state_dict(ours.state_dict())
    expected = theirs.eval()(ids).logits
    torch.testing.assert_close(ours.logits(ours(ids)), expected, rtol=1e-4, atol=1e-5)


def test_presets_have_the_size_in_their_names():
    vocabulary = {"1m": 4096, "3m": 4096, "10m": 8192}
    for name, preset in PRESETS.items():
        digits, unit = float(name[:-1]), {"m": 1e6, "b": 1e9}[name[-1]]
        with torch.device("meta"):
            model = Decoder(
                DecoderConfig(
                    vocab_size=vocabulary.get(name, 32_000),
                    hidden_size=preset.hidden_size,
                    intermediate_size=preset.intermediate_size,
                    num_hidden_layers=preset.num_hidden_layers,
                    num_attention_heads=preset.num_attention_heads,
                    num_key_value_heads=preset.num_key_value_heads,
                    head_dim=preset.head_dim,
                    max_position_embeddings=1024,
                )
            )
        count = sum(parameter.numel() for parameter in model.parameters())
        assert abs(count / (digits * unit) - 1) < 0.4, (name, count)


def test_shapes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="num_key_value_heads=3 must divide"):
        replace(SMALL, num_key_value_heads=3)
    with pytest.raises(ValueError, match="head_dim=7 must be even"):
        replace(SMALL, head_dim=7)
