"""`tilth classifier train`: labelled examples to a model and its metrics on held-out ones.

    output: quality.npz
    positives: [{paths: good.jsonl, field: text}]
    negatives: [{paths: web/, field: text, where: {label: 0}}]

Which examples are held out follows from their text, so equal texts are never on both sides. The
metrics are written beside the model, as JSON.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash
from pydantic import Field, ValidationError, model_validator

from filters import classifier
from filters.classifier import TrainingParams, area_under_curve
from pipelines.config import lists_of
from pipelines.dataset_files import iter_rows, list_files
from pipelines.sources.fields import look_up
from storage import objects
from storage.errors import ConfigError
from storage.settings import Settings, absolute_path, explain, load_yaml, set_values

THRESHOLDS = (0.1, 0.25, 0.5, 0.75, 0.9)


class ExamplesConfig(Settings):
    """Texts of one kind."""

    paths: list[str] = Field(min_length=1)
    """JSON Lines, Parquet or Arrow files, folders or globs of them."""
    field: str = "text"
    """Column or dotted path of the text."""
    where: dict[str, str | int | float | bool] = {}
    """Only rows with these values."""
    max_examples: int | None = Field(default=None, ge=1)
    """The first ones."""

    @model_validator(mode="before")
    @classmethod
    def _one_or_many(cls, values: Any) -> Any:
        return lists_of(values, "paths")


class TrainClassifierConfig(Settings):
    output: str
    """The model's file; it ends in .npz."""
    positives: list[ExamplesConfig] = Field(min_length=1)
    negatives: list[ExamplesConfig] = Field(min_length=1)
    ngram: int = Field(default=2, ge=1, le=5)
    """Longest run of words that has a weight."""
    buckets: int = Field(default=1 << 20, ge=2)
    """Weights; a power of two, at 4 bytes each."""
    epochs: int = Field(default=5, ge=1, le=1000)
    learning_rate: float = Field(default=0.02, gt=0)
    seed: int = Field(default=1, ge=0)
    holdout: float = Field(default=0.1, gt=0, lt=1)
    """Share of the examples that metrics are taken on."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.output.endswith(".npz"):
            raise ValueError(f"output {self.output!r} must end in .npz")
        if self.buckets & (self.buckets - 1):
            raise ValueError(f"buckets {self.buckets} is no power of two")
        return self

    @property
    def params(self) -> TrainingParams:
        return TrainingParams(self.ngram, self.buckets, self.epochs, self.learning_rate, self.seed)


def load(path: str, overrides: list[str]) -> TrainClassifierConfig:
    """Reads a classifier file; relative paths start at its folder. Raises ConfigError."""
    values = load_yaml(path)
    set_values(values, overrides)
    try:
        config = TrainClassifierConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(path, error, TrainClassifierConfig)) from error

    def resolved(examples: list[ExamplesConfig]) -> list[ExamplesConfig]:
        return [
            one.model_copy(update={"paths": [absolute_path(p, path) for p in one.paths]})
            for one in examples
        ]

    return config.model_copy(
        update={
            "output": absolute_path(config.output, path),
            "positives": resolved(config.positives),
            "negatives": resolved(config.negatives),
        }
    )


def run(config: TrainClassifierConfig) -> str:
    """Writes the model and `<output>.metrics.json`; returns the metrics as text.

    Raises ConfigError when examples of a kind are missing.
    """
    positives, negatives = _texts("positives", config), _texts("negatives", config)
    texts = positives + negatives
    labels = np.arange(len(texts)) < len(positives)
    held_out = np.array([_is_held_out(text, config) for text in texts])
    for name, side in (("training", ~held_out), ("held-out", held_out)):
        if not 0 < labels[side].sum() < side.sum():
            raise ConfigError(
                f"of {len(positives)} positive and {len(negatives)} negative examples, the "
                f"{name} ones are all of one kind; give more, or change holdout {config.holdout}"
            )
    model = classifier.train(_column(texts, ~held_out), labels[~held_out], config.params)
    scores = classifier.score(model, _column(texts, held_out)).round(4)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.npz"
        classifier.save(model, path)
        objects.write(config.output, path.read_bytes())
    metrics = measure(scores, labels[held_out])
    metrics |= {"training_examples": int((~held_out).sum())}
    objects.write(
        f"{config.output.removesuffix('.npz')}.metrics.json",
        json.dumps(metrics, indent=1, sort_keys=True).encode() + b"\n",
    )
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


def _texts(kind: str, config: TrainClassifierConfig) -> list[str]:
    """Distinct texts of one kind, in order."""
    texts: dict[str, None] = {}
    for examples in getattr(config, kind):
        found = list(_examples(kind, examples))
        if not found:
            raise ConfigError(
                f"{kind}: no row of {', '.join(examples.paths)} has a text in "
                f"{examples.field!r}{' where ' + str(examples.where) if examples.where else ''}"
            )
        texts |= dict.fromkeys(found[: examples.max_examples])
    return list(texts)


def _examples(kind: str, examples: ExamplesConfig) -> Iterator[str]:
    for path in list_files(kind, examples.paths):
        for row in iter_rows(path):
            text = look_up(row, examples.field)
            if isinstance(text, str) and all(
                look_up(row, name) == value for name, value in examples.where.items()
            ):
                yield text


def _is_held_out(text: str, config: TrainClassifierConfig) -> bool:
    digest = xxhash.xxh3_64_intdigest(text.encode("utf-8", "replace"), seed=config.seed)
    return digest < config.holdout * 2**64


def _column(texts: list[str], chosen: npt.NDArray[np.bool_]) -> pa.Array:
    rows = np.flatnonzero(chosen).tolist()
    clean = [texts[row].encode("utf-8", "replace").decode() for row in rows]
    return pa.array(clean, pa.large_string())


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
