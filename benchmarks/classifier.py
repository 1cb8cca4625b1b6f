"""Quality classifier: agreement with human judges, and speed, next to fastText on the same folds.

    python -m benchmarks.classifier --judged PAGES.jsonl --prose PROSE

PAGES are JSON lines with `text` and `label` (0 or 1). AUC is that of 5-fold cross-validation, each
page scored by a model that has not seen it. Speed: CPU seconds on one core, median of 5.
fastText's training is not repeatable with version 0.9.3; three runs are shown.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path

import fasttext
import numpy as np
import pyarrow as pa

from benchmarks.minhash import cpu_seconds
from benchmarks.prose import cut, read_text
from filters.classifier import LinearModel, TrainingParams, area_under_curve, score, train

FOLDS = 5
FASTTEXT = {"wordNgrams": 2, "dim": 100, "bucket": 1 << 18, "thread": 1, "verbose": 0}


def main() -> None:
    parser = argparse.ArgumentParser(description="quality classifier: AUC and speed")
    parser.add_argument("--judged", type=Path, required=True)
    parser.add_argument("--prose", type=Path, required=True)
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rows = [json.loads(line) for line in options.judged.read_text().splitlines()]
    texts, labels = [row["text"] for row in rows], np.array([row["label"] == 1 for row in rows])
    folds = np.random.default_rng(0).permutation(len(rows)) % FOLDS
    print(f"{len(rows)} pages, {labels.mean():.2f} of them good, {FOLDS}-fold\n")
    print("| classifier | settings | AUC |")
    print("|---|---|--:|")
    for ngram in (1, 2):
        for rate in (0.01, 0.02, 0.05, 0.2):
            params = TrainingParams(ngram=ngram, learning_rate=rate)
            auc = area_under_curve(own_scores(texts, labels, folds, params), labels)
            print(
                f"| own | {ngram} words, learning rate {rate}, {params.epochs} epochs | {auc:.3f} |"
            )
    for epochs, rate in ((5, 0.1), (25, 0.5)):
        found = [
            area_under_curve(fasttext_scores(texts, labels, folds, epochs, rate), labels)
            for _ in range(3)
        ]
        shown = ", ".join(f"{auc:.3f}" for auc in found)
        print(f"| fastText 0.9.3 | 2 words, learning rate {rate}, {epochs} epochs | {shown} |")
    print_speed(train(large(texts), labels, TrainingParams()), options.prose)


def own_scores(
    texts: list[str], labels: np.ndarray, folds: np.ndarray, params: TrainingParams
) -> np.ndarray:
    scores = np.zeros(len(texts))
    for fold in range(FOLDS):
        inside, outside = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        model = train(large([texts[i] for i in outside]), labels[outside], params)
        scores[inside] = score(model, large([texts[i] for i in inside]))
    return scores


def fasttext_scores(
    texts: list[str], labels: np.ndarray, folds: np.ndarray, epochs: int, rate: float
) -> np.ndarray:
    scores = np.zeros(len(texts))
    lines = [" ".join(text.split()) for text in texts]
    for fold in range(FOLDS):
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.writelines(
                f"__label__{int(label)} {line}\n"
                for line, label, where in zip(lines, labels, folds, strict=True)
                if where != fold
            )
            file.flush()
            model = fasttext.train_supervised(file.name, epoch=epochs, lr=rate, **FASTTEXT)
        inside = np.flatnonzero(folds == fold)
        found, probabilities = model.predict([lines[i] for i in inside], k=2)
        for i, names, values in zip(inside, found, probabilities, strict=True):
            scores[i] = dict(zip(names, values, strict=True))["__label__1"]
    return scores


def print_speed(model: LinearModel, prose: Path) -> None:
    texts = cut(read_text(prose, 4.0), 4400)
    column = large(texts)
    num_bytes = sum(len(text.encode()) for text in texts)
    score(model, column)
    rate = num_bytes / 1e6 / statistics.median(cpu_seconds(lambda: score(model, column), 5))
    print(f"\nscoring: {rate:.0f} MB/s of one core")


def large(texts: list[str]) -> pa.Array:
    return pa.array(texts, pa.large_string())


if __name__ == "__main__":
    main()
