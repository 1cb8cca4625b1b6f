"""Counts by words of str.split against their definition, and the recipes that use them."""

from __future__ import annotations

import statistics
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from filters import space_words, textstats
from filters.rules import evaluate, load_recipe

PIECES = st.sampled_from(
    ["the", "The", "of", "of,", "a", "word", "#", "x#y", "\u2026", "12", "\u4f60\u597d", "\u00b2",
     " ", " ", "\t", "\n", "\n", "\n\n", "\u2028", "\xa0", "\r\n", "same line\n", "- ", "* "]
)  # fmt: skip
TEXT = st.lists(PIECES, max_size=30).map("".join)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def defined(text: str) -> dict[str, float]:
    words = text.split()
    copies = {line: n for line, n in Counter(text.split("\n")).items() if line and n > 1}
    return {
        "median_space_word_chars": statistics.median(map(len, words)) if words else 0,
        "num_symbol_space_words": sum("#" in word or "\u2026" in word for word in words),
        "num_alpha_space_words": sum(any(map(str.isalpha, word)) for word in words),
        "num_stop_space_words": sum(word in space_words.STOP_WORDS for word in words),
        "num_folded_stop_space_words": sum(
            word.lower() in space_words.STOP_WORDS for word in words
        ),
        "space_word_chars": sum(map(len, words)),
        "num_copied_lines": sum(copies.values()),
        "copied_line_chars": sum(len(line) * n for line, n in copies.items()),
    }


def batch_of(texts: list[str]) -> pa.RecordBatch:
    return pa.record_batch({"text": pa.array(["left out", *texts], pa.large_string())}).slice(1)


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXT | ANY_TEXT, max_size=3))
@example(["\n".join(str(k % 90) for k in range(300)), "", "\n\n"])  # the sets grow
def test_counts_equal_their_definition(texts: list[str]) -> None:
    assert space_words.compute(batch_of(texts)).to_pylist() == [defined(text) for text in texts]


def test_long_words_have_at_most_255_characters() -> None:
    assert space_words.compute(batch_of(["x" * 1000])).column(0).to_pylist() == [255]


DISTINCT = [f"{chr(97 + k % 26)}ord{chr(97 + k // 26)}" for k in range(60)]
PAGE = " ".join(["the of", *DISTINCT])


def broken_rules(recipe: str, page: str) -> set[str]:
    """All reasons of a recipe for which a page could be dropped."""
    batch = batch_of([page])
    counts = [textstats.compute(batch), space_words.compute(batch)]
    signals = pa.table({name: part.column(name) for part in counts for name in part.schema.names})
    marginal = evaluate(load_recipe(recipe).rules, signals).marginal
    return {reason for reason, count in marginal.items() if count}


@pytest.mark.parametrize(
    ("page", "broken"),
    [
        (PAGE, set()),
        (PAGE.replace("the of", "the, of,"), {"few_stop_words"}),
        (" ".join(DISTINCT[:40]) + " the of", {"few_words"}),
        (" ".join(["the of", *(f"{word} 1{k}" for k, word in enumerate(DISTINCT))]),
         {"few_alphabetic_words"}),
        (" ".join(["the of", *(word[0] + word[4] for word in DISTINCT)]), {"short_words"}),
        (PAGE.replace("ord", "#rd", 7), {"symbols"}),
        ("\n*".join(["the of", *DISTINCT]), {"bullet_lines"}),
        (f"{PAGE}\n" + "so\nso\n", {"copied_lines"}),
        (PAGE.replace("ord", "extraordinary"), {"long_words"}),
    ],
)  # fmt: skip
def test_each_reason_of_dolma(page: str, broken: set[str]) -> None:
    found = {r.removeprefix("gopher_dolma_") for r in broken_rules("gopher-dolma", page)}
    assert found == broken


@pytest.mark.parametrize(
    ("page", "broken"),
    [
        (PAGE, set()),
        (PAGE.replace("the of", "The THE"), set()),
        (PAGE.replace("the of", "the, the"), {"few_stop_words"}),
        (" ".join(["the of", *(f"{word}, ({word[::-1]})." for word in DISTINCT)]), set()),
        (" ".join(["the of", *(f"{word} 1{k}" for k, word in enumerate(DISTINCT))]),
         {"few_alphabetic_words"}),
        (" ".join(["the of", *(word[0] + word[4] for word in DISTINCT)]), {"short_words"}),
        (PAGE.replace("ord", "extraordinary"), {"long_words"}),
        (PAGE.replace("ord", "ord #", 4).replace("ord ", "ord... ", 4), {"symbols"}),
        ("\n*".join(["the of", *DISTINCT]), {"bullet_lines"}),
        ("... \n".join(["the to of", *DISTINCT]), {"ellipsis_lines", "symbols"}),
    ],
)  # fmt: skip
def test_each_reason_of_dclm(page: str, broken: set[str]) -> None:
    found = {r.removeprefix("gopher_dclm_") for r in broken_rules("gopher-dclm", page)}
    assert found == broken
