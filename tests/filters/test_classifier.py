"""The linear classifier against its definition, its determinism, and human judgements."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import classifier, language
from filters.classifier import (
    ClassifierParams,
    LinearModel,
    TrainingParams,
    area_under_curve,
    compute,
    load,
    save,
    score,
    train,
)
from tests.filters.test_shingles import MASK, mix, plain_word_hash, plain_words

BASE = 0x9E3779B97F4A7C55
GOOD = ["The theorem follows from the lemma.", "We prove the lemma by induction.", "QED, a proof"]
BAD = ["Click here to subscribe now!", "Buy cheap watches here now", "Subscribe and like now"]
SMALL = TrainingParams(buckets=1 << 12, epochs=20)


def large(texts: list[str]) -> pa.Array:
    return pa.array(texts, pa.large_string())


def plain_score(model: LinearModel, text: str) -> float:
    words = [plain_word_hash(word) for word in plain_words(text)]
    weights = []
    for i in range(len(words)):
        for length in range(1, min(model.ngram, len(words) - i) + 1):
            h = 0
            for word in words[i : i + length]:
                h = (h * BASE + word) & MASK
            weights.append(float(model.weights[mix((h + length) & MASK) % len(model.weights)]))
    if not weights:
        return 0.0
    return 1 / (1 + math.exp(-(model.bias + 10 * sum(weights) / len(weights))))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=40), max_size=5), st.integers(1, 3))
def test_scores_equal_their_definition(texts: list[str], ngram: int) -> None:
    weights = np.random.default_rng(0).normal(size=64).astype(np.float32)
    model = LinearModel(weights, 0.25, ngram)
    expected = [plain_score(model, text) for text in texts]
    assert score(model, large(texts)) == pytest.approx(expected, abs=1e-12)


def test_it_learns_what_separates_and_the_same_examples_give_the_same_model() -> None:
    labels = np.array([True] * 3 + [False] * 3)
    model = train(large(GOOD + BAD), labels, SMALL)
    scores = score(model, large(["A proof of the theorem", "subscribe to watches now", ""]))
    assert scores[0] > 0.6 > 0.4 > scores[1]
    assert scores[2] == 0
    again = train(large(GOOD + BAD), labels, SMALL)
    assert again.weights.tobytes() == model.weights.tobytes()
    assert again.bias == model.bias
    other = train(large(GOOD + BAD), labels, SMALL._replace(seed=2))
    assert other.weights.tobytes() != model.weights.tobytes()
    with pytest.raises(ValueError, match="positive and negative"):
        train(large(GOOD), np.ones(3, bool), SMALL)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30))
def test_area_under_curve_counts_pairs(rows: list[tuple[int, bool]]) -> None:
    positive = [value for value, label in rows if label]
    negative = [value for value, label in rows if not label]
    found = area_under_curve(
        np.array([value for value, _ in rows], float), np.array([label for _, label in rows])
    )
    if not positive or not negative:
        assert math.isnan(found)
        return
    wins = sum((p > n) + 0.5 * (p == n) for p in positive for n in negative)
    assert found == pytest.approx(wins / (len(positive) * len(negative)))


def test_models_are_files_without_code(tmp_path: Path) -> None:
    model = train(large(GOOD + BAD), np.array([True] * 3 + [False] * 3), SMALL)
    first, second = tmp_path / "a.npz", tmp_path / "b.npz"
    save(model, first)
    save(model, second)
    assert first.read_bytes() == second.read_bytes()
    batch = pa.record_batch({"text": large(GOOD)})
    params = ClassifierParams("quality", str(first))
    found = compute(batch, params)
    assert found.schema == classifier.schema(params)
    assert found.column(0).to_pylist() == pytest.approx(score(model, large(GOOD)), abs=1e-4)
    damaged = tmp_path / "c.npz"
    damaged.write_bytes(first.read_bytes()[:1000])
    pickled = tmp_path / "d.npz"
    np.savez(pickled, format=1, weights=np.array([print], object), bias=0.0, ngram=1)
    odd = tmp_path / "e.npz"
    np.savez(odd, format=1, weights=np.zeros(3, np.float32), bias=0.0, ngram=1)
    for path in (damaged, pickled, odd, tmp_path / "missing.npz"):
        with pytest.raises(ValueError, match=path.name):
            load(str(path))


def test_any_fasttext_model_has_a_label_whose_probability_is_the_score() -> None:
    batch = pa.record_batch({"text": large(["This is English text\nof two lines", "", "\0"])})
    params = ClassifierParams("english", str(language.DEFAULT_MODEL), "en")
    scores = compute(batch, params).column("english_score").to_pylist()
    assert scores[0] > 0.8
    assert scores[1:] == [0.0, 0.0]
    unknown = ClassifierParams("english", str(language.DEFAULT_MODEL), "no_such_label")
    with pytest.raises(ValueError, match="no label 'no_such_label'"):
        compute(batch, unknown)


def test_it_agrees_with_human_judges_of_quality(shared_data: Path) -> None:
    """5-fold cross-validation on 256 pages that people labelled for DCLM (arXiv:2406.11794)."""
    path = shared_data / "quality" / "dclm_human_majority.dev.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    texts, labels = [row["text"] for row in rows], np.array([row["label"] == 1 for row in rows])
    folds = np.random.default_rng(0).permutation(len(rows)) % 5
    scores = np.zeros(len(rows))
    for fold in range(5):
        inside, outside = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        model = train(large([texts[i] for i in outside]), labels[outside], TrainingParams())
        scores[inside] = score(model, large([texts[i] for i in inside]))
    assert area_under_curve(scores, labels) > 0.8
