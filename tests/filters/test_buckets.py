"""Buckets against their definition, and bounds from shares."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import ccnet
from filters.buckets import ANY_LANGUAGE, Buckets, LanguageShares, assign

NAMES = ("head", "middle", "tail")
VALUES = st.one_of(st.integers(0, 20).map(lambda n: n / 4), st.just(math.nan))
ROWS = st.lists(st.tuples(VALUES, st.sampled_from(["de", "en", "xx"])), max_size=30)


def table(rows: list[tuple[float, str]]) -> pa.Table:
    values, languages = zip(*rows, strict=True) if rows else ((), ())
    return pa.table(
        {"x": pa.array(values, pa.float32()), "language": pa.array(languages, pa.string())}
    )


def plain_bucket(value: float, bounds: tuple[float, ...] | None) -> str:
    if bounds is None or math.isnan(value):
        return "all"
    above = [name for name, bound in zip(NAMES, bounds, strict=False) if value <= bound]
    return above[0] if above else NAMES[-1]


@settings(max_examples=100, deadline=None)
@given(ROWS, st.booleans())
def test_the_bucket_is_the_first_whose_bound_is_not_below(
    rows: list[tuple[float, str]], has_any: bool
) -> None:
    bounds: dict[str, tuple[float, ...]] = {"en": (1.25, 3.0), "de": (2.0, 2.5)}
    if has_any:
        bounds[ANY_LANGUAGE] = (1.0, 4.0)
    found = assign(Buckets("x", NAMES, bounds), table(rows)).to_pylist()
    expected = [plain_bucket(v, bounds.get(one, bounds.get(ANY_LANGUAGE))) for v, one in rows]
    assert found == expected


@settings(max_examples=100, deadline=None)
@given(ROWS, st.integers(0, 30))
def test_bounds_split_each_language_into_its_shares(
    rows: list[tuple[float, str]], cut: int
) -> None:
    counts = LanguageShares("x")
    for part in (rows[cut:], rows[:cut]):
        counts.add(table(part), np.ones(len(part), bool))
    bounds = counts.bounds((0.3, 0.6))
    for language in {language for _, language in rows}:
        values = [value for value, one in rows if one == language and not math.isnan(value)]
        assert (language in bounds) == bool(values)
        for share, bound in zip((3, 6), bounds.get(language, ()), strict=False):
            assert 10 * sum(value <= bound for value in values) >= share * len(values)
            assert 10 * sum(value < bound for value in values) < share * len(values)


def test_rows_that_do_not_count_move_no_bound() -> None:
    counts = LanguageShares("x")
    counts.add(table([(1.0, "en"), (2.0, "en"), (9.0, "en")]), np.array([True, True, False]))
    assert counts.bounds((0.5, 0.9)) == {"en": (1.0, 2.0)}


def test_a_bound_is_compared_as_the_value_is_stored() -> None:
    rows = [(0.3, "en"), (0.3001, "en")]
    assert assign(Buckets("x", ("low", "high"), {"en": (0.3,)}), table(rows)).to_pylist() == [
        "low",
        "high",
    ]


def test_published_bounds_ascend() -> None:
    assert all(head < middle for head, middle in ccnet.PERPLEXITIES.values())
    assert ccnet.PERPLEXITIES["en"] == (340, 520)
