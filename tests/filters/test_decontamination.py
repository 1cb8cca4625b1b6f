"""Evaluation text in documents: hits against a plain definition, spans, leaks at every position."""

from __future__ import annotations

import gzip
import json
import random
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.decontamination import (
    EDITS,
    SCHEMA,
    Evaluation,
    build_index,
    compute_with_edits,
    find_hits,
)
from filters.edits import apply_edits
from filters.shingles import word_hashes, word_spans
from tests.filters.test_shingles import TRICKY, plain_words

QUESTION = (
    "If a train leaves the station at nine and travels for three hours at sixty miles an hour, "
    "how far has it gone when the clock strikes noon?"
)
FEW_WORDS = st.lists(st.sampled_from(["a", "B", "c,", "d\u0301", "\u0e01", "\u4e2d"]), max_size=24)


def large(texts: list[str]) -> pa.Array:
    return pa.array(texts, pa.large_string())


def batch(*texts: str) -> pa.RecordBatch:
    return pa.record_batch({"text": large(list(texts))})


def plain_hits(text: str, evaluations: dict[str, list[str]], ngram: int) -> list[tuple[int, str]]:
    """(first word, first evaluation that has it) of each n-gram of `text` that one has."""
    owners: dict[tuple[str, ...], str] = {}
    for name, items in evaluations.items():
        for item in items:
            words = plain_words(item)
            for i in range(len(words) - ngram + 1):
                owners.setdefault(tuple(words[i : i + ngram]), name)
    words = plain_words(text)
    runs = [tuple(words[i : i + ngram]) for i in range(len(words) - ngram + 1)]
    return [(i, owners[run]) for i, run in enumerate(runs) if run in owners]


@settings(max_examples=100, deadline=None)
@given(st.lists(FEW_WORDS, max_size=4), FEW_WORDS, FEW_WORDS, st.integers(1, 4))
def test_hits_equal_their_definition(
    documents: list[list[str]], first: list[str], second: list[str], ngram: int
) -> None:
    texts = [" ".join(words) for words in documents]
    evaluations = {"one": [" ".join(first), "x y z"], "two": [" ".join(second)]}
    index = build_index(
        [Evaluation(name, large(items), ngram) for name, items in evaluations.items()]
    )
    hits = find_hits(word_hashes(large(texts)), index)
    found = [
        (row, word, index.names[owner])
        for row, word, owner in zip(hits.rows, hits.words, hits.owners, strict=True)
    ]
    expected = [
        (row, *hit)
        for row, text in enumerate(texts)
        for hit in plain_hits(text, evaluations, ngram)
    ]
    assert found == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.sampled_from("ab 1,\n\u00e9e\u0301\u0e01\u4e2d\u00ad")), max_size=4))
def test_word_spans_are_where_the_words_are(texts: list[str]) -> None:
    words = word_hashes(large(texts))
    starts, ends = word_spans(large(texts), words)
    for row, text in enumerate(texts):
        here = slice(words.offsets[row], words.offsets[row + 1])
        data = text.encode()
        for start, end, value in zip(starts[here], ends[here], words.values[here], strict=True):
            assert word_hashes(large([data[start:end].decode()])).values.tolist() == [value]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(TRICKY), max_size=4))
def test_word_spans_of_any_text_are_in_order_and_between_characters(texts: list[str]) -> None:
    words = word_hashes(large(texts))
    starts, ends = word_spans(large(texts), words)
    assert (starts <= ends).all()
    for row, text in enumerate(texts):
        here = slice(words.offsets[row], words.offsets[row + 1])
        assert (np.diff(starts[here]) >= 0).all()
        bounds = {len(text[:i].encode()) for i in range(len(text) + 1)}
        assert bounds.issuperset({*starts[here].tolist(), *ends[here].tolist()})


@pytest.mark.parametrize("disguise", [str, str.upper, lambda text: re.sub(r"\W+", " - ", text)])
def test_a_leak_is_found_and_cut_at_every_position(disguise) -> None:
    filler = [f"word{n}" for n in range(60)]
    index = build_index([Evaluation("trains", large([QUESTION]))])
    texts, rests = [], []
    for position in range(len(filler) + 1):
        before, after = " ".join(filler[:position]), " ".join(filler[position:])
        texts.append(f"{before} {disguise(QUESTION)} {after}")
        rests.append((before, after))
    signals, edits = compute_with_edits(batch(*texts), index)
    assert signals.schema == SCHEMA
    assert edits.schema == EDITS
    num_ngrams = len(plain_words(QUESTION)) - 12
    assert signals["contaminated_ngrams"].to_pylist() == [num_ngrams] * len(texts)
    assert set(signals["contaminated_by"].to_pylist()) == {"trains"}
    left = apply_edits(large(texts), edits).to_pylist()
    for text, (before, after) in zip(left, rests, strict=True):
        assert text.startswith(before)
        assert text.endswith(after)
        assert not any(word in plain_words(text) for word in ("train", "noon", "sixty"))


def test_thirteen_words_of_an_item_are_enough_and_twelve_are_not() -> None:
    words = plain_words(QUESTION)
    index = build_index([Evaluation("trains", large([QUESTION]))])
    for start in range(len(words) - 12):
        leaks = (" ".join(words[start : start + n]) for n in (12, 13))
        signals, _ = compute_with_edits(batch(*leaks), index)
        assert signals["contaminated_ngrams"].to_pylist() == [0, 1]


def test_items_that_are_too_short_are_counted() -> None:
    short, empty = "Which planet is the largest?", ""
    index = build_index(
        [
            Evaluation("planets", large([short, empty, QUESTION])),
            Evaluation("small", large([short]), 5),
        ]
    )
    assert [one.num_too_short for one in index.coverage] == [2, 0]
    assert [one.num_ngrams for one in index.coverage] == [len(plain_words(QUESTION)) - 12, 1]
    signals, edits = compute_with_edits(batch(f"Well: {short}", "largest planet"), index)
    assert signals["contaminated_by"].to_pylist() == ["small", ""]
    assert edits["reason"].to_pylist() == ["small"]


def test_nothing_to_look_for_and_nothing_to_look_at() -> None:
    for index in (build_index([]), build_index([Evaluation("none", large([]))])):
        signals, edits = compute_with_edits(batch(QUESTION, ""), index)
        assert signals["contaminated_ngrams"].to_pylist() == [0, 0]
        assert edits.num_rows == 0
    index = build_index([Evaluation("trains", large([QUESTION]))])
    assert compute_with_edits(batch(QUESTION).slice(0, 0), index)[0].num_rows == 0
    with pytest.raises(ValueError, match="ngram of x is 0"):
        build_index([Evaluation("x", large([]), 0)])


def test_a_document_is_named_after_the_evaluation_with_most_hits() -> None:
    other = "There are seventeen green bottles on the wall and each of them may fall down today ok"
    index = build_index([Evaluation("a", large([other])), Evaluation("b", large([QUESTION]))])
    signals, edits = compute_with_edits(batch(f"{other}. {QUESTION}"), index)
    assert signals["contaminated_by"].to_pylist() == ["b"]
    assert edits.num_rows == 1  # they touch
    assert signals["contaminated_bytes"][0].as_py() == len(f"{other}. {QUESTION[:-1]}")


def test_every_item_of_real_evaluations_is_found_in_books(shared_data: Path) -> None:
    """Planted whole, at random places of real prose: recall is 1; the prose itself is clean."""
    items = []
    for line in (shared_data / "eval" / "gsm8k" / "test.jsonl").read_text().splitlines():
        items.append(json.loads(line)["question"])
    with gzip.open(shared_data / "books" / "1342" / "1342-0.txt.gz", "rt") as book:
        prose = book.read().split()
    index = build_index([Evaluation("gsm8k", large(items))])
    long = [item for item in items if len(plain_words(item)) >= 13]
    places = random.Random(0)
    texts = []
    for item in long:
        start = places.randrange(len(prose) - 200)
        words = prose[start : start + 200]
        words.insert(places.randrange(201), item)
        texts.append(" ".join(words))
    signals, _ = compute_with_edits(batch(*texts, " ".join(prose)), index)
    found = signals["contaminated_ngrams"].to_pylist()
    assert len(long) > 1200
    expected = [len(plain_words(item)) - 12 for item in long]
    assert all(n >= e for n, e in zip(found, expected, strict=False))
    assert found[-1] == 0
