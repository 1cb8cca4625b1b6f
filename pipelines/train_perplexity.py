"""`tilth perplexity train`: texts of one language to an n-gram model and its held-out perplexity.

    output: en.npz
    texts: [{paths: wikipedia-en/, field: text}]

The perplexity of what was held out is printed beside that of the same words in random order, which
a useful model finds far less likely, and written beside the model, as JSON.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import Field, ValidationError, model_validator

from filters import kneser_ney, ngram_model
from filters.ngram_model import MAX_ORDER, NgramModel
from filters.shingles import Ragged, word_hashes
from pipelines.examples import ExamplesConfig, held_out, read_texts, text_column
from storage import objects
from storage.errors import ConfigError
from storage.settings import Settings, absolute_path, explain, load_yaml, set_values


class TrainPerplexityConfig(Settings):
    output: str
    """The model's file; it ends in .npz."""
    texts: list[ExamplesConfig] = Field(min_length=1)
    order: int = Field(default=3, ge=1, le=MAX_ORDER)
    """Words of the longest n-grams."""
    seed: int = Field(default=1, ge=0)
    holdout: float = Field(default=0.05, gt=0, lt=1)
    """Share of the texts that metrics are taken on."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.output.endswith(".npz"):
            raise ValueError(f"output {self.output!r} must end in .npz")
        return self


def load(path: str, overrides: list[str]) -> TrainPerplexityConfig:
    """Reads a model file; relative paths start at its folder. Raises ConfigError."""
    values = load_yaml(path)
    set_values(values, overrides)
    try:
        config = TrainPerplexityConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(path, error, TrainPerplexityConfig)) from error
    texts = [one.resolved(path) for one in config.texts]
    return config.model_copy(update={"output": absolute_path(config.output, path), "texts": texts})


def run(config: TrainPerplexityConfig) -> str:
    """Writes the model and `<output>.metrics.json`; returns the metrics as text.

    Raises ConfigError when there is nothing to train or to measure on.
    """
    texts = read_texts("texts", config.texts)
    outside = held_out(texts, config.holdout, config.seed)
    inside_words = word_hashes(text_column(texts, ~outside))
    outside_words = word_hashes(text_column(texts, outside))
    for name, words in (("training", inside_words), ("held-out", outside_words)):
        if not len(words.values):
            raise ConfigError(
                f"of {len(texts)} texts, the {name} ones have no words; give more, or change "
                f"holdout {config.holdout}"
            )
    model = kneser_ney.train(inside_words, config.order)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.npz"
        ngram_model.save(model, path)
        objects.write(config.output, path.read_bytes())
    metrics = measure(model, outside_words, config.seed)
    metrics |= {
        "training_texts": int((~outside).sum()),
        "training_words": len(inside_words.values),
        "held_out_texts": int(outside.sum()),
        "ngrams": int(np.count_nonzero(model.slots)),
        "model_bytes": model.slots.nbytes,
    }
    objects.write(
        f"{config.output.removesuffix('.npz')}.metrics.json",
        json.dumps(metrics, indent=1, sort_keys=True).encode() + b"\n",
    )
    return _describe(metrics, config.output)


def measure(model: NgramModel, words: Ragged, seed: int) -> dict[str, Any]:
    """Perplexity of all words together, as they are and in random order within each text."""
    random = np.random.Generator(np.random.PCG64(seed))
    shuffled = words.values.copy()
    for start, stop in zip(words.offsets[:-1], words.offsets[1:], strict=True):
        random.shuffle(shuffled[start:stop])
    return {
        "perplexity": _perplexity(model, words),
        "perplexity_shuffled": _perplexity(model, Ragged(words.offsets, shuffled)),
        "held_out_words": len(words.values),
        "unknown_word_share": round(ngram_model.num_unknown(model, words) / len(words.values), 4),
    }


def _perplexity(model: NgramModel, words: Ragged) -> float:
    log_score = ngram_model.log_scores(model, words).sum() / len(words.values)
    return round(float(10.0**-log_score), 1)


def _describe(metrics: dict[str, Any], output: str) -> str:
    return "\n".join(
        [
            f"{metrics['training_texts']:,} texts of {metrics['training_words']:,} words trained "
            f"on, {metrics['ngrams']:,} n-grams, {metrics['model_bytes'] / 1e6:.1f} MB",
            f"{metrics['held_out_texts']:,} texts of {metrics['held_out_words']:,} words held out: "
            f"perplexity {metrics['perplexity']:,}, in random order "
            f"{metrics['perplexity_shuffled']:,}; {metrics['unknown_word_share']:.1%} of the words "
            "unknown",
            output,
        ]
    )
