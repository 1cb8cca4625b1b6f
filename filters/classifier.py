"""Quality classifiers: logistic regression on hashed word n-grams, or any fastText model.

The own model is what fastText's supervised mode is with one dimension (Joulin et al.,
arXiv:1607.01759): the mean of the weights of a text's words and word pairs, through a sigmoid,
trained by AdaGrad (Duchi et al., JMLR 12, 2011). It is trained on one thread in a fixed order, so
the same examples give the same model; fastText 0.9.3 starts from uninitialised memory and does not.

    feature    mix(w) of a word, mix(w1 * P + w2) of two words, ..., modulo the number of buckets
    score      1 / (1 + exp(-(bias + scale * sum of weights / number of features)))

Words are those of word_table.py: case, accents and punctuation do not count. Scores are rounded to
1e-4: exp differs in the last bits between platforms. A text without words scores 0.

A file that ends in .npz is an own model; .bin and .ftz are fastText's, and the score is the
probability of `label`.
"""

from __future__ import annotations

import functools
import itertools
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from filters.columns import text_bytes
from filters.shingles import SHINGLE_BASE, Ragged, mix, word_hashes

VERSION = 1
_FORMAT = 1
_U = np.uint64
_LABEL_PREFIX = "__label__"
_SCALE = 10.0  # means of weights are small; with it steps of 0.02 are right


class LinearModel(NamedTuple):
    """weights float32[buckets], a power of two; `ngram` is the longest run of words."""

    weights: npt.NDArray[np.float32]
    bias: float
    ngram: int


class TrainingParams(NamedTuple):
    ngram: int = 2
    buckets: int = 1 << 20
    epochs: int = 5
    learning_rate: float = 0.02
    seed: int = 1


@dataclass(frozen=True, slots=True)
class ClassifierParams:
    """Settings of one `classifier` signal group."""

    name: str
    model_path: str
    label: str = "hq"
    """Of a fastText model."""


def schema(params: ClassifierParams) -> pa.Schema:
    """One column, `<name>_score`."""
    return pa.schema([pa.field(f"{params.name}_score", pa.float32(), nullable=False)])


def compute(batch: pa.RecordBatch, params: ClassifierParams) -> pa.RecordBatch:
    """The score of each text of a batch with a `text` column."""
    text = batch.column("text")
    model = load(params.model_path)
    if isinstance(model, LinearModel):
        scores = score(model, text)
    else:
        scores = _fasttext_scores(model, text, params.label)
    rounded = np.round(scores, 4).astype(np.float32)
    return pa.record_batch([pa.array(rounded)], schema=schema(params))


def score(model: LinearModel, text: pa.Array) -> npt.NDArray[np.float64]:
    """Probability of a positive example: float64[texts], not rounded."""
    words = word_hashes(text)
    return _scores(words.offsets, words.values, *model)


def train(text: pa.Array, labels: npt.NDArray[np.bool_], params: TrainingParams) -> LinearModel:
    """A model of the texts whose label is true. Raises ValueError when there are not both kinds."""
    if not 0 < labels.sum() < len(labels):
        raise ValueError("a classifier needs positive and negative examples")
    return train_words(word_hashes(text), labels, params)


def train_words(
    words: Ragged, labels: npt.NDArray[np.bool_], params: TrainingParams
) -> LinearModel:
    """As `train`, from the words of the texts."""
    random = np.random.Generator(np.random.PCG64(params.seed))
    weights = np.zeros(params.buckets)
    squares = np.zeros(params.buckets)
    bias = np.zeros(2)  # and its sum of squared gradients
    # each kind counts half, however many examples it has
    share = labels.mean()
    costs = np.where(labels, 0.5 / share, 0.5 / (1 - share))
    for _ in range(params.epochs):
        order = random.permutation(len(labels))
        _train_epoch(
            words.offsets,
            words.values,
            labels,
            costs,
            order,
            params.ngram,
            params.learning_rate,
            weights,
            squares,
            bias,
        )
    return LinearModel(weights.astype(np.float32), float(np.float32(bias[0])), params.ngram)


def area_under_curve(scores: npt.NDArray[np.float64], labels: npt.NDArray[np.bool_]) -> float:
    """Probability that a positive example scores above a negative one, ties half (Mann-Whitney)."""
    values, ranks, counts = np.unique(scores, return_inverse=True, return_counts=True)
    del values
    mean_ranks = np.cumsum(counts) - (counts - 1) / 2
    num_positive = int(labels.sum())
    num_negative = len(labels) - num_positive
    if not num_positive or not num_negative:
        return float("nan")
    rank_sum = mean_ranks[ranks][labels].sum()
    return float((rank_sum - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative))


def save(model: LinearModel, path: Path) -> None:
    """Writes the model; equal models give equal bytes."""
    with path.open("wb") as file:
        np.savez(
            file,
            format=np.int64(_FORMAT),
            weights=model.weights,
            bias=np.float64(model.bias),
            ngram=np.int64(model.ngram),
        )


@functools.lru_cache(maxsize=8)
def load(path: str) -> Any:
    """An own model as LinearModel, or a fastText model; read once per process.

    Raises ValueError when the file is neither.
    """
    if not path.endswith(".npz"):
        return _load_fasttext(path)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in ("format", "weights", "bias", "ngram")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"classifier {path} cannot be read: {error}") from error
    weights, ngram = found["weights"], int(found["ngram"])
    size = weights.size
    if int(found["format"]) != _FORMAT or weights.dtype != np.float32 or weights.ndim != 1:
        raise ValueError(f"classifier {path} is of another format; train it again")
    if size == 0 or size & (size - 1) or ngram < 1 or not np.isfinite(weights).all():
        raise ValueError(f"classifier {path} is damaged; train it again")
    return LinearModel(weights, float(found["bias"]), ngram)


def _load_fasttext(path: str) -> Any:
    import fasttext

    try:
        return fasttext.load_model(path)
    except ValueError as error:
        raise ValueError(
            f"classifier {path}: {error}; give a .npz of `tilth classifier train`, or a fastText "
            ".bin or .ftz file"
        ) from error


def _fasttext_scores(model: Any, text: pa.Array, label: str) -> npt.NDArray[np.float64]:
    wanted = _LABEL_PREFIX + label.removeprefix(_LABEL_PREFIX)
    if wanted not in model.get_labels():
        raise ValueError(f"the classifier has no label {label!r}: {', '.join(model.get_labels())}")
    offsets, data = text_bytes(text)
    view = data.data
    lines = [
        str(view[start:stop], "utf-8").replace("\n", " ").replace("\0", " ").replace("</s>", " ")
        for start, stop in itertools.pairwise(offsets.tolist())
    ]
    scores = np.zeros(len(lines))
    rows = [row for row, line in enumerate(lines) if line.strip()]
    if rows:
        found, probabilities = model.predict([lines[row] for row in rows], k=-1)
        for row, names, values in zip(rows, found, probabilities, strict=True):
            scores[row] = min(1.0, float(dict(zip(names, values, strict=True)).get(wanted, 0.0)))
    return scores


@numba.njit(cache=True, nogil=True, inline="always")
def _sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


@numba.njit(cache=True, nogil=True)
def _features(words, first, stop, ngram, mask, out):
    """Buckets of all runs of 1 to `ngram` of the words [first, stop); how many there are."""
    count = 0
    for i in range(first, stop):
        h = _U(0)
        for length in range(1, min(ngram, stop - i) + 1):
            h = h * SHINGLE_BASE + words[i + length - 1]
            out[count] = np.int64(mix(h + _U(length)) & mask)
            count += 1
    return count


@numba.njit(cache=True, nogil=True)
def _scores(offsets, words, weights, bias, ngram):
    num_docs = offsets.size - 1
    scores = np.zeros(num_docs)
    mask = _U(weights.size - 1)
    buckets = np.empty(ngram * max(1, np.max(np.diff(offsets)) if num_docs else 1), np.int64)
    for doc in range(num_docs):
        count = _features(words, offsets[doc], offsets[doc + 1], ngram, mask, buckets)
        total = 0.0
        for k in range(count):
            total += weights[buckets[k]]
        if count:
            scores[doc] = _sigmoid(bias + _SCALE * total / count)
    return scores


@numba.njit(cache=True, nogil=True)
def _train_epoch(
    offsets, words, labels, costs, order, ngram, learning_rate, weights, squares, bias
):
    mask = _U(weights.size - 1)
    buckets = np.empty(ngram * max(1, np.max(np.diff(offsets))), np.int64)
    for doc in order:
        count = _features(words, offsets[doc], offsets[doc + 1], ngram, mask, buckets)
        if count == 0:
            continue
        total = 0.0
        for k in range(count):
            total += weights[buckets[k]]
        error = costs[doc] * (_sigmoid(bias[0] + _SCALE * total / count) - labels[doc])
        bias[1] += error * error
        bias[0] -= learning_rate * error / np.sqrt(bias[1] + 1e-8)
        gradient = _SCALE * error / count
        for k in range(count):
            bucket = buckets[k]
            squares[bucket] += gradient * gradient
            weights[bucket] -= learning_rate * gradient / np.sqrt(squares[bucket] + 1e-8)
