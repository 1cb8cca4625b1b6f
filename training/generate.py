"""`tilth generate`: text that continues a prompt, sampled token by token.

A prompt is the beginning of a document, so the separator that begins documents in training stands
before it. Keys and values of earlier positions are kept (KeyValueCache): each new token costs one
position, not a whole pass. Sampling is temperature, then top-k, then top-p (nucleus,
arXiv:1904.09751), with a generator of its own: the same seed gives the same text.
"""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from storage.errors import ConfigError
from training.models.decoder import Decoder, KeyValueCache
from training.models.restore import restore_model
from training.vocabulary import tokenizer_with_separator


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is drawn; temperature 0 takes the likeliest one."""

    temperature: float = 0.8
    top_k: int = 50
    """Draw from this many likeliest tokens; 0 is no limit."""
    top_p: float = 1.0
    """Draw from the likeliest tokens that hold this much probability together."""

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ConfigError(f"temperature is {self.temperature}; it must be 0 or above")
        if self.top_k < 0:
            raise ConfigError(f"top_k is {self.top_k}; it must be 0 (no limit) or above")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p is {self.top_p}; it must be above 0 and at most 1")


def run(
    checkpoint: str,
    prompt: str,
    *,
    max_tokens: int = 100,
    temperature: float = 0.8,
    top_k: int = 50,
    top_p: float = 1.0,
    seed: int = 0,
) -> str:
    """`prompt` and its continuation by the model of a checkpoint folder or a run.

    Raises ConfigError when both do not fit the model's context, CheckpointError.
    """
    sampling = Sampling(temperature, top_k, top_p)
    model = restore_model(checkpoint)
    tokenizer = tokenizer_with_separator(model.tokenizer, model.vocabulary)
    separator_id = model.vocabulary.separator_id
    # The prompt's own text never becomes a control token, as in the shards.
    tokenizer.encode_special_tokens = True
    ids = [separator_id, *tokenizer.encode(prompt, add_special_tokens=False).ids]
    context = model.decoder.config.max_position_embeddings
    if len(ids) + max_tokens > context:
        raise ConfigError(
            f"the prompt has {len(ids)} tokens; with max_tokens={max_tokens} that is more than the "
            f"{context} positions that the model was trained on: shorten one of them"
        )
    generator = torch.Generator().manual_seed(seed)
    new_ids = continue_ids(
        model.decoder, ids, max_tokens, sampling, generator, separator_id, model.vocabulary.num_ids
    )
    return _without_controls(tokenizer.decode([*ids[1:], *new_ids]))


def _without_controls(text: str) -> str:
    """Control characters shown as U+FFFD: a model may have learned terminal escapes."""
    return "".join(
        "\ufffd" if unicodedata.category(char) == "Cc" and char not in "\n\t" else char
        for char in text
    )


@torch.inference_mode()
def continue_ids(
    decoder: Decoder,
    ids: list[int],
    max_tokens: int,
    sampling: Sampling,
    generator: torch.Generator,
    stop_id: int,
    num_ids: int,
) -> list[int]:
    """At most `max_tokens` new ids after `ids`, ending before `stop_id`.

    num_ids: ids at and above it are padding of the vocabulary and never drawn.
    """
    found = []
    for new_id in _sampled(decoder, ids, max_tokens, sampling, generator, num_ids):
        if new_id == stop_id:
            break
        found.append(new_id)
    return found


def _sampled(
    decoder: Decoder,
    ids: list[int],
    max_tokens: int,
    sampling: Sampling,
    generator: torch.Generator,
    num_ids: int,
) -> Iterator[int]:
    weight = decoder.head_weight
    capacity = len(ids) + max_tokens
    caches = [
        KeyValueCache(1, decoder.config, capacity, weight)
        for _ in range(decoder.config.num_hidden_layers)
    ]
    inputs = torch.tensor([ids], device=weight.device)
    for _ in range(max_tokens):
        logits = decoder.logits(decoder(inputs, caches=caches)[0, -1])[:num_ids]
        new_id = draw(logits.float().cpu(), sampling, generator)
        yield new_id
        inputs = torch.tensor([[new_id]], device=weight.device)


def draw(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """One id from logits [V]."""
    if sampling.temperature == 0:
        return int(logits.argmax())
    values, ids = (logits / sampling.temperature).sort(descending=True, stable=True)
    if sampling.top_k:
        values = values[: sampling.top_k]
    probabilities = values.softmax(-1)
    # A token stays while those before it hold less than top_p: at least the likeliest one does.
    before = probabilities.cumsum(-1) - probabilities
    probabilities = probabilities.masked_fill(before >= sampling.top_p, 0.0)
    return int(ids[torch.multinomial(probabilities, 1, generator=generator)])
