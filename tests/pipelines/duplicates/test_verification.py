"""Verification: the estimate where it is sure, exact Jaccard elsewhere; real near-duplicates."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import minhash
from filters.shingles import shingle_hashes
from pipelines import dedup
from pipelines.duplicates.candidates import PAIR
from pipelines.duplicates.features import Features
from pipelines.duplicates.known_pairs import KnownPairs
from pipelines.duplicates.verification import estimated_jaccard, exact_jaccard, is_undecided
from storage import tables
from tests.pipelines.dedup_corpus import Doc, corpus_config, read_final, write_corpus

word = st.sampled_from(["the", "cat", "sat", "on", "a", "mat", "dog", "7", "8"])
texts = st.lists(st.lists(word, max_size=12).map(" ".join), min_size=1, max_size=8)


def shingle_features(documents: list[str]) -> Features:
    sets = shingle_hashes(pa.array(documents, pa.large_string()), 2)
    doc_ids = np.arange(len(documents), dtype=np.uint64) * np.uint64(3)
    return Features.of_rows(doc_ids, np.diff(sets.offsets), sets.values)


def all_pairs(doc_ids: np.ndarray) -> np.ndarray:
    return np.array([(a, b) for a in doc_ids for b in doc_ids], PAIR)


def shingles(text: str) -> set[tuple[str, ...]]:
    """The definition, for words of letters and digits."""
    found = text.split()
    if len(found) < 2:
        return {tuple(found)} if found else set()
    return set(itertools.pairwise(found))


@settings(deadline=None)
@given(texts)
def test_exact_jaccard_is_that_of_the_sets(documents: list[str]) -> None:
    features = shingle_features(documents)
    pairs = all_pairs(features.doc_ids)
    sets = [shingles(text) for text in documents]
    expected = [len(a & b) / max(1, len(a | b)) for a in sets for b in sets]
    np.testing.assert_array_equal(exact_jaccard(pairs, features, features), expected)


@settings(deadline=None)
@given(texts, st.data())
def test_features_travel_unchanged(documents: list[str], data: st.DataObject) -> None:
    features = shingle_features(documents)
    chosen = sorted(data.draw(st.sets(st.sampled_from(features.doc_ids.tolist()))))
    sent = Features.unpack(features.take(np.array(chosen, np.uint64)).pack(), "<u8")
    assert sent.doc_ids.tolist() == chosen
    for row, doc_id in enumerate(chosen):
        original = doc_id // 3
        ours = sent.values[sent.offsets[row] : sent.offsets[row + 1]]
        start, end = features.offsets[original : original + 2]
        np.testing.assert_array_equal(ours, features.values[start:end])


def test_estimates_are_shares_of_equal_values() -> None:
    rng = np.random.default_rng(1)
    matrix = rng.integers(0, 3, (20, 112)).astype(np.uint32)
    doc_ids = np.arange(20, dtype=np.uint64)
    features = Features.of_rows(doc_ids, np.full(20, 112), matrix.ravel())
    pairs = all_pairs(doc_ids)
    expected = [(matrix[a] == matrix[b]).mean() for a, b in pairs.tolist()]
    np.testing.assert_allclose(estimated_jaccard(pairs, features, features), expected)


@given(st.floats(0.05, 1), st.integers(16, 512))
def test_three_sigmas_around_the_threshold_are_undecided(threshold: float, num: int) -> None:
    estimates = np.arange(num + 1) / num
    undecided = is_undecided(estimates, threshold, num)
    width = 3 * math.sqrt(threshold * (1 - threshold) / num)
    assert not undecided[np.abs(estimates - threshold) > width * 1.000001 + 1e-12].any()
    assert undecided[np.abs(estimates - threshold) < width * 0.999999].all()


@settings(deadline=None)
@given(
    st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30),
    st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30),
)
def test_known_pairs_are_found(known: set[tuple[int, int]], wanted: set[tuple[int, int]]) -> None:
    pairs, asked = (np.array(sorted(some), PAIR) for some in (known, wanted))
    table = KnownPairs(pairs, np.zeros(len(known)), np.zeros(len(known), bool), 0.8)
    order = sorted(known)
    expected = [order.index(pair) if pair in known else -1 for pair in sorted(wanted)]
    assert table.places_of(asked).tolist() == expected


def quality(
    tmp_path: Path, documents: dict[str, str], truth: dict[tuple[str, str], float]
) -> tuple[float, float, float]:
    """Precision, recall and greatest error of similarities after the whole stage at .8.

    Precision: dropped documents whose survivor is a true near-duplicate. Recall: true pairs of
    which not both are kept. Two hundredths either side of the threshold count as either.
    """
    config = corpus_config(tmp_path, ["web"])
    docs = [Doc(text, name) for name, text in documents.items()]
    write_corpus(config, {"web/0000000-0000": docs[::2], "web/0000001-0000": docs[1::2]})
    dedup.run(config)
    final = read_final(config)
    dropped = {name: row for name, row in final.items() if not row["kept"]}
    similar = [truth.get(key(name, row["survivor"]), 0.0) for name, row in dropped.items()]
    errors = [
        abs(row["similarity"] - value)
        for row, value in zip(dropped.values(), similar, strict=True)
        if row["stage"] == "fuzzy"
    ]
    true_pairs = [pair for pair, value in truth.items() if value >= 0.82]
    found = [not (final[a]["kept"] and final[b]["kept"]) for a, b in true_pairs]
    return float(np.mean(np.array(similar) >= 0.78)), float(np.mean(found)), max(errors)


def key(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one < other else (other, one)


def read_truth(path: Path) -> dict[tuple[str, str], float]:
    with path.open() as lines:
        rows = csv.DictReader(lines, delimiter="\t")
        return {key(row["a"], row["b"]): float(row["jaccard_5word"]) for row in rows}


def test_pages_of_two_editions_of_a_guide(tmp_path: Path, shared_data: Path) -> None:
    folder = shared_data / "neardup" / "debian_guide"
    truth = read_truth(folder / "PAIRS.dev.tsv")
    with gzip.open(folder / "docs.dev.jsonl.gz") as lines:
        documents = {row["id"]: row["text"] for row in map(json.loads, lines)}
    precision, recall, error = quality(tmp_path, documents, truth)
    assert precision == 1.0
    assert recall == 1.0
    assert error < 0.12  # of an estimate; they are accepted above .91


def test_editions_of_books(tmp_path: Path, shared_data: Path) -> None:
    truth = read_truth(shared_data / "neardup" / "gutenberg_editions_PAIRS.dev.tsv")
    names = sorted({name for pair in truth for name in pair})
    documents = {}
    for name in names:
        with gzip.open(shared_data / name) as book:
            documents[name] = book.read().decode("utf-8", errors="replace")
    precision, recall, _ = quality(tmp_path, documents, truth)
    assert precision == 1.0
    assert recall == 1.0


def test_every_accepted_pair_of_one_template_is_truly_similar(tmp_path: Path) -> None:
    """Plain LSH would merge these: half the words of each page are the template's."""
    rng = np.random.default_rng(2)
    frame = [f"frame{k}" for k in range(200)]
    docs = []
    for k in range(120):
        own = [f"own{value}" for value in rng.integers(0, 10**9, 10 + k)]
        docs.append(Doc(" ".join(frame + own), f"{k:03d}"))
    config = corpus_config(tmp_path, ["web"])
    write_corpus(config, {"web/0000000-0000": docs})
    dedup.run(config)
    table = tables.read_table(config.path("pairs", "web/0000000-0000.parquet")).to_pylist()
    sets = [shingles_of(doc.text) for doc in docs]
    assert len(table) > 200
    for row in table:
        a, b = sets[row["doc_a"]], sets[row["doc_b"]]
        similarity = len(a & b) / len(a | b)
        if row["method"] == "exact":
            assert row["jaccard"] == similarity
        elif row["jaccard"] >= 0.8:
            assert similarity >= 0.8
    assert {row["method"] for row in table} == {"estimate", "exact"}


def shingles_of(text: str) -> set[tuple[str, ...]]:
    found = text.split()
    return set(zip(*(found[k:] for k in range(5)), strict=False))


@pytest.mark.parametrize("num_permutations", [112])
def test_estimates_scatter_as_the_formula_says(num_permutations: int) -> None:
    """|estimate - J| over random pairs of sets: standard deviation sqrt(J (1 - J) / n)."""
    rng = np.random.default_rng(3)
    documents, similarities = [], []
    for _ in range(300):
        common = [f"c{value}" for value in rng.integers(0, 10**9, 80)]
        ends = [[f"e{value}" for value in rng.integers(0, 10**9, 10)] for _ in range(2)]
        documents += [" ".join(common + end) for end in ends]
        sets = [shingles_of(text) for text in documents[-2:]]
        similarities.append(len(sets[0] & sets[1]) / len(sets[0] | sets[1]))
    signatures, _ = minhash.signatures(pa.array(documents, pa.large_string()), 5, num_permutations)
    errors = minhash.estimate(signatures[::2], signatures[1::2]) - np.array(similarities)
    sigma = math.sqrt(similarities[0] * (1 - similarities[0]) / num_permutations)
    assert abs(errors.mean()) < 4 * sigma / math.sqrt(len(errors))
    assert 0.8 < errors.std() / sigma < 1.2
