"""Bounds of rules by share against their definition, whatever the parts and their order."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from filters.rules import Rule, evaluate
from filters.shares import ShareBounds, ValueCounts

BEST = Rule(signal="score", top=0.1, reason="low_quality")
LONG = Rule(signal="num_words", min=50, reason="short")
SHARES = st.integers(1, 99).map(lambda percent: percent / 100)
ROWS = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 9).map(lambda n: n / 8), st.just(math.nan)),
        st.sampled_from([10, 50, 90]),
        st.sampled_from(["de", "en", "fr"]),
    ),
    max_size=30,
)


def table(rows: list[tuple[float, int, str]]) -> pa.Table:
    scores, words, languages = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table(
        {
            "score": pa.array(scores, pa.float32()),
            "num_words": pa.array(words, pa.int64()),
            "language": pa.array(languages, pa.string()),
        }
    )


def plain_best(values: list[float], share: float) -> float | None:
    """The k-th best of them."""
    numbers = sorted((value for value in values if not math.isnan(value)), reverse=True)
    k = math.ceil(Fraction(str(share)) * len(numbers))
    return numbers[k - 1] if numbers else None


def bounded(parts: list[tuple[str, pa.Table]], rules: list[Rule], source: str) -> list[Rule]:
    bounds = ShareBounds()
    for name, signals in parts:
        bounds.add(name, rules, signals)
    return bounds.bounded(source, rules)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.floats(allow_infinity=False), max_size=9), max_size=6), SHARES)
def test_counts_give_the_value_at_the_rank(batches: list[list[float]], share: float) -> None:
    counts = ValueCounts()
    for batch in batches:
        counts.add(np.array(batch, np.float64))
    values = [value for batch in batches for value in batch]
    assert counts.highest(share) == plain_best(values, share)
    lowest = plain_best([-value for value in values], share)
    assert counts.lowest(share) == (None if lowest is None else -lowest)


@settings(max_examples=100, deadline=None)
@given(ROWS, SHARES, st.integers(0, 30))
def test_a_share_is_of_what_the_other_rules_keep_in_any_parts_and_order(
    rows: list[tuple[float, int, str]], share: float, cut: int
) -> None:
    best = BEST.model_copy(update={"top": share})
    rules = [best, LONG]
    found = bounded([("web", table(rows))], rules, "web")
    again = bounded([("web", table(rows[cut:])), ("web", table(rows[:cut]))], rules, "web")
    assert found == again
    expected = plain_best([score for score, words, _ in rows if words >= 50], share)
    assert found[0].min == (-math.inf if expected is None else expected)
    decided = evaluate(found, table(rows))
    kept = sum(not drop for drop in decided.drop.to_pylist())
    ranked = sum(words >= 50 and not math.isnan(score) for score, words, _ in rows)
    assert kept >= Fraction(str(share)) * ranked
    above = sum(words >= 50 and score > (found[0].min or 0.0) for score, words, _ in rows)
    assert above < Fraction(str(share)) * ranked or not ranked  # no smaller set would do


def test_the_share_is_exact_and_ties_stay() -> None:
    tenth = bounded([("web", table([(n / 32, 90, "en") for n in range(30)]))], [BEST], "web")
    assert tenth[0].min == 27 / 32  # 3 of 30, though 0.1 * 30 is above 3 in floating point
    ties = bounded([("web", table([(0.5, 90, "en")] * 20))], [BEST], "web")
    assert not any(evaluate(ties, table([(0.5, 90, "en")] * 20)).drop.to_pylist())


def test_shares_are_of_all_sources_or_of_each_source_and_language() -> None:
    web = table([(n / 16, 90, "en") for n in range(8)])
    books = table([(1 + n / 16, 90, "de") for n in range(8)])
    parts = [("web", web), ("books", books)]
    half = BEST.model_copy(update={"top": 0.5})
    assert bounded(parts, [half], "web")[0].min == 1.0
    by_source = half.model_copy(update={"per": ("source",)})
    assert bounded(parts, [by_source], "web")[0].min == 0.25
    by_language = half.model_copy(update={"per": ("language",)})
    found = bounded(parts, [by_language], "web")
    assert [(one.languages, one.min) for one in found] == [(("de",), 1.25), (("en",), 0.25)]
    both = half.model_copy(update={"per": ("source", "language")})
    assert [one.languages for one in bounded(parts, [both], "books")] == [("de",)]
    scoped = half.model_copy(update={"languages": ("de",)})
    assert bounded(parts, [scoped], "web")[0].min == 1.25


def test_the_lowest_stay_and_no_number_never_does() -> None:
    rows = [(n / 16, 90, "en") for n in range(10)] + [(math.nan, 90, "en")]
    lowest = Rule(signal="score", bottom=0.3, reason="unusual")
    found = bounded([("web", table(rows))], [lowest], "web")
    assert evaluate(found, table(rows)).drop.to_pylist() == [False] * 3 + [True] * 8
    nothing = bounded([("web", table(rows[-1:]))], [lowest], "web")
    assert evaluate(nothing, table(rows[-1:])).drop.to_pylist() == [True]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"top": 0.1, "min": 3}, "either a range, a list or one share"),
        ({"top": 0.1, "bottom": 0.1}, "either a range, a list or one share"),
        ({"min": 0.1, "per": ["language"]}, "top and bottom only"),
        ({"top": 10}, "less than 1"),
        ({"top": 0.1, "per": ["letter"]}, "'source' or 'language'"),
    ],
)
def test_impossible_shares_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Rule(signal="score", reason="r", **fields)
