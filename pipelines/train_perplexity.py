"""`tilth perplexity train`: texts of one language to an n-gram model and its held-out perplexity.

    output: en.npz
    texts: [{paths: wikipedia-en/, field: text}]

The perplexity of what was held out is printed beside that of the same words in random order, which
a useful model finds far less likely, and written beside the model, as JSON.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from pydantic import Field

from filters import kneser_ney, ngram_model
from filters.ngram_model import MAX_ORDER, NgramModel
from filters.shingles import Ragged, word_hashes
from pipelines.examples import ExamplesConfig, held_out, read_texts, text_column
from pipelines.trained_model import TrainedModelConfig, write_model
from storage.errors import ConfigError


class TrainPerplexityConfig(TrainedModelConfig):
    texts: list[ExamplesConfig] = Field(min_length=1)
    order: int = Field(default=3, ge=1, le=MAX_ORDER)
    """Words of the longest n-grams."""
    holdout: float = Field(default=0.05, gt=0, lt=1)
    """Share of the texts that metrics are taken on."""


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
    metrics = measure(model, outside_words, config.seed)
    metrics |= {
        "training_texts": int((~outside).sum()),
        "training_words": len(inside_words.values),
        "held_out_texts": int(outside.sum()),
        "ngrams": int(np.count_nonzero(model.slots)),
        "model_bytes": model.slots.nbytes,
    }
    write_model(config.output, partial(ngram_model.save, model), metrics)
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
