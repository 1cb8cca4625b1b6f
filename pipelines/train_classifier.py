"""`tilth classifier train`: labelled examples to a model and its metrics on held-out ones.

    output: quality.npz
    positives: [{paths: good.jsonl, field: text}]
    negatives: [{paths: web/, field: text, where: {label: 0}}]

Which examples are held out follows from their text, so equal texts are never on both sides. The
metrics are written beside the model, as JSON.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from filters import classifier
from filters.classifier import TrainingParams, area_under_curve
from pipelines.examples import ExamplesConfig, held_out, read_texts, text_column
from pipelines.trained_model import TrainedModelConfig, write_model
from storage.errors import ConfigError

THRESHOLDS = (0.1, 0.25, 0.5, 0.75, 0.9)


class TrainClassifierConfig(TrainedModelConfig):
    positives: list[ExamplesConfig] = Field(min_length=1)
    negatives: list[ExamplesConfig] = Field(min_length=1)
    ngram: int = Field(default=2, ge=1, le=5)
    """Longest run of words that has a weight."""
    buckets: int = Field(default=1 << 20, ge=2)
    """Weights; a power of two, at 4 bytes each."""
    epochs: int = Field(default=5, ge=1, le=1000)
    learning_rate: float = Field(default=0.02, gt=0)
    holdout: float = Field(default=0.1, gt=0, lt=1)
    """Share of the examples that metrics are taken on."""

    @field_validator("buckets")
    @classmethod
    def _check_buckets(cls, buckets: int) -> int:
        if buckets & (buckets - 1):
            raise ValueError("it is no power of two")
        return buckets

    @property
    def params(self) -> TrainingParams:
        return TrainingParams(self.ngram, self.buckets, self.epochs, self.learning_rate, self.seed)


def run(config: TrainClassifierConfig) -> str:
    """Writes the model and `<output>.metrics.json`; returns the metrics as text.

    Raises ConfigError when examples of a kind are missing.
    """
    positives = read_texts("positives", config.positives)
    negatives = read_texts("negatives", config.negatives)
    texts = positives + negatives
    labels = np.arange(len(texts)) < len(positives)
    outside = held_out(texts, config.holdout, config.seed)
    for name, side in (("training", ~outside), ("held-out", outside)):
        if not 0 < labels[side].sum() < side.sum():
            raise ConfigError(
                f"of {len(positives)} positive and {len(negatives)} negative examples, the "
                f"{name} ones are all of one kind; give more, or change holdout {config.holdout}"
            )
    model = classifier.train(text_column(texts, ~outside), labels[~outside], config.params)
    scores = classifier.score(model, text_column(texts, outside)).round(4)
    metrics = measure(scores, labels[outside])
    metrics |= {"training_examples": int((~outside).sum())}
    write_model(config.output, partial(classifier.save, model), metrics)
    return _describe(metrics, config.output)


def measure(scores: npt.NDArray[np.float64], labels: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Area under the curve, and precision and recall of keeping what scores at least so much."""
    rows = []
    for threshold in THRESHOLDS:
        kept = scores >= threshold
        right = int((kept & labels).sum())
        rows.append(
            {
                "min": threshold,
                "kept": round(float(kept.mean()), 4),
                "precision": round(right / int(kept.sum()), 4) if kept.any() else None,
                "recall": round(right / int(labels.sum()), 4),
            }
        )
    return {
        "auc": round(area_under_curve(scores, labels), 4),
        "held_out_examples": len(labels),
        "held_out_positives": int(labels.sum()),
        "thresholds": rows,
    }


def _describe(metrics: dict[str, Any], output: str) -> str:
    lines = [
        f"{metrics['training_examples']:,} examples trained on, "
        f"{metrics['held_out_examples']:,} held out "
        f"({metrics['held_out_positives']:,} positive): AUC {metrics['auc']:.3f}",
        "min     kept  precision  recall",
    ]
    lines += [
        f"{row['min']:<5}  {row['kept']:5.3f}  "
        + (f"{row['precision']:9.3f}" if row["precision"] is not None else "        -")
        + f"  {row['recall']:6.3f}"
        for row in metrics["thresholds"]
    ]
    return "\n".join([*lines, output])
