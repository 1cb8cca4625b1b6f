"""Units of text against plain Python: where they are, and that equal words have equal hashes."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import repeated_units
from filters.repeated_units import Units, Words, anchor_words

ALPHABET = "ab1 .!?\n\n\r,\u3002\u4e2d\xe9\U0001f600"
texts = st.lists(st.text(alphabet=ALPHABET, max_size=60), max_size=6)


def words_of(texts: list[str]) -> Words:
    return Words.of(pa.array(["padding", *texts], pa.large_string()).slice(1))


def spans(units: Units, texts: list[str]) -> list[tuple[int, str]]:
    return [
        (row, texts[row].encode()[start:end].decode())
        for row, start, end in zip(
            units.rows.tolist(), units.starts.tolist(), units.ends.tolist(), strict=True
        )
    ]


def has_words(text: str) -> bool:
    return len(words_of([text]).hashes.values) > 0


@settings(deadline=None)
@given(texts)
def test_lines_are_those_with_words(texts: list[str]) -> None:
    expected = [
        (row, line)
        for row, text in enumerate(texts)
        for line in re.findall(r"[^\n]*\n|[^\n]+", text)
        if has_words(line)
    ]
    assert spans(repeated_units.lines(words_of(texts)), texts) == expected


@settings(deadline=None)
@given(texts)
def test_paragraphs_are_parted_by_blank_lines(texts: list[str]) -> None:
    expected = []
    for row, text in enumerate(texts):
        groups: list[str] = []
        after_blank = True
        for line in re.findall(r"[^\n]*\n|[^\n]+", text):
            blank = all(byte <= 32 for byte in line.encode())
            if not groups or (not blank and after_blank):
                groups.append("")
            groups[-1] += line
            after_blank = blank
        expected += [(row, group) for group in groups if has_words(group)]
    assert spans(repeated_units.paragraphs(words_of(texts)), texts) == expected


def test_spans_of_three_sentences() -> None:
    texts = [
        "One is. Two are! Three be? Four",
        "a b",
        "x. y",
        "\u4e2d\u3002\u6587\u3002\u5b57\u3002",
    ]
    assert spans(repeated_units.sentences(words_of(texts)), texts) == [
        (0, "One is. Two are! Three be? "),
        (0, "Two are! Three be? Four"),
        (3, "\u4e2d\u3002\u6587\u3002\u5b57\u3002"),
    ]


@settings(deadline=None)
@given(texts)
def test_sentences_of_any_text(texts: list[str]) -> None:
    """Each span starts at a word, three sentences long, and lies inside its text."""
    for row, span in spans(repeated_units.sentences(words_of(texts)), texts):
        assert span in texts[row]
        assert has_words(span)


small_words = st.lists(st.lists(st.sampled_from("abc"), max_size=40), max_size=5)


@settings(deadline=None)
@given(small_words, st.integers(1, 9))
def test_windows_are_equal_when_their_words_are(docs: list[list[str]], size: int) -> None:
    texts = [" ".join(doc) for doc in docs]
    units = repeated_units.windows(words_of(texts), size)
    expected = [
        (row, " ".join(doc[k : k + size]))
        for row, doc in enumerate(docs)
        for k in range(len(doc) - size + 1)
    ]
    assert spans(units, texts) == expected
    by_hash: dict[tuple[int, int], set[str]] = {}
    for (_, text), high, low in zip(expected, units.high.tolist(), units.low.tolist(), strict=True):
        by_hash.setdefault((high, low), set()).add(text)
    assert all(len(same) == 1 for same in by_hash.values())
    assert len(by_hash) == len({text for _, text in expected})


@settings(deadline=None)
@given(small_words, st.integers(2, 9))
def test_every_window_has_the_anchor_of_its_words(docs: list[list[str]], size: int) -> None:
    """Equal windows have an equal anchor at an equal place: one that repeats is never missed."""
    texts = [" ".join(doc) for doc in docs]
    found = repeated_units.anchors(words_of(texts), size)
    places: dict[int, dict[int, int]] = {}
    for row, start, high in zip(
        found.rows.tolist(), found.starts.tolist(), found.high.tolist(), strict=True
    ):
        places.setdefault(row, {})[start] = high
    seen: dict[str, set[tuple[int, int]]] = {}
    for row, doc in enumerate(docs):
        for k in range(len(doc) - size + 1):
            inside = {
                (place - k, high)
                for place, high in places.get(row, {}).items()
                if k <= place <= k + size - anchor_words(size)
            }
            assert inside
            window = " ".join(doc[k : k + size])
            seen[window] = seen.get(window, inside) & inside
    assert all(seen.values())


@pytest.mark.parametrize("kind", ["lines", "paragraphs", "sentences"])
def test_hashes_say_whether_words_are_equal(kind: str) -> None:
    """Case, accents and punctuation do not count; order and digits do."""
    of = getattr(repeated_units, kind)
    base = "The caf\xe9 opens. At eight! Every day?"
    same = "the CAFE opens, \u201cAT\u201d eight -- every; day"
    others = [
        "The cafe opens. At nine! Every day?",
        "Day every. Eight at! Opens cafe the?",
        "At 8.",
    ]
    texts = [base, *others] if kind == "sentences" else [base, same, *others]
    units = of(words_of(texts))
    keys = list(zip(units.high.tolist(), units.low.tolist(), strict=True))
    if kind != "sentences":
        assert keys[0] == keys[1]
        keys = keys[1:]
    assert len(set(keys)) == len(keys) >= 3


def test_units_with_few_words_do_not_count() -> None:
    texts = ["one\none two\none two three\n"]
    for least, expected in ((1, 3), (2, 2), (3, 1), (4, 0)):
        assert len(repeated_units.lines(words_of(texts), least).rows) == expected


def test_no_documents_and_no_words() -> None:
    for texts in ([], [""], ["", "..\n\n. ", "\n"]):
        words = words_of(texts)
        for units in (
            repeated_units.lines(words),
            repeated_units.paragraphs(words),
            repeated_units.sentences(words),
            repeated_units.windows(words, 5),
            repeated_units.anchors(words, 5),
        ):
            assert len(units.rows) == 0
            assert units.high.dtype == np.uint64
