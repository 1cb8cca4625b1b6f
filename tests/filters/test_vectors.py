"""Vectors in whole numbers: unit lengths, exact products, cosines that rounding hardly moves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import vectors


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 2000), st.integers(0, 2**32 - 1), st.sampled_from([1e-30, 1e-3, 1.0, 1e30]))
def test_rows_have_unit_length(dimensions: int, seed: int, scale: float) -> None:
    """Whatever the length of what comes in; rounding adds half a unit in each dimension at most."""
    rows = np.random.default_rng(seed).normal(size=(4, dimensions)).astype(np.float32) * scale
    units = vectors.quantise(rows)
    lengths = np.sqrt(vectors.squared_lengths(units).astype(np.float64))
    assert (np.abs(lengths - vectors.SCALE) <= 0.51 * dimensions**0.5).all()
    assert (lengths < vectors.MAX_LENGTH).all()


def test_the_longest_vectors_stay_exact() -> None:
    """The bound on which exactness rests holds for as many dimensions as are allowed."""
    longest = vectors.SCALE + 0.5 * vectors.MAX_DIMENSIONS**0.5
    assert longest**2 < vectors.MAX_LENGTH**2 == 2**24


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 1500), st.integers(0, 2**32 - 1))
def test_products_are_those_of_whole_numbers(dimensions: int, seed: int) -> None:
    """Near copies too, whose products are the largest; in any order of the dimensions."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(20, dimensions))
    rows[10:] = rows[:10] + 1e-3 * random.normal(size=(10, dimensions))
    units = vectors.quantise(rows)
    expected = units.astype(np.int64) @ units.astype(np.int64).T
    assert np.array_equal(vectors.products(units, units), expected)
    order = random.permutation(dimensions)
    assert np.array_equal(vectors.products(units[:, order], units[:, order]), expected)


@pytest.mark.parametrize("dimensions", [8, 384, 4096])
def test_rounding_moves_cosines_by_little(dimensions: int) -> None:
    """By 1 / (4000 sqrt 6) = 1e-4 at one standard deviation; five of them are never exceeded."""
    random = np.random.default_rng(dimensions)
    rows = random.normal(size=(60, dimensions))
    rows[30:] = rows[:30] + 0.3 * random.normal(size=(30, dimensions))
    exact = rows @ rows.T / np.outer(*2 * [np.linalg.norm(rows, axis=1)])
    units = vectors.quantise(rows)
    lengths = np.sqrt(vectors.squared_lengths(units).astype(np.float64))
    cosines = vectors.products(units, units) / np.outer(lengths, lengths)
    sigma = 1 / (vectors.SCALE * 6**0.5)
    moved = np.abs(cosines - exact)[np.triu_indices(60, 1)]
    assert moved.max() < 5 * sigma
    assert 0.3 * sigma < np.sqrt(np.square(moved).mean()) < 1.5 * sigma


def test_no_vector_stays_none() -> None:
    units = vectors.quantise(np.array([[0.0, 0.0], [3.0, 4.0]]))
    assert units.tolist() == [[0, 0], [2400, 3200]]
    assert vectors.squared_lengths(units).tolist() == [0, 4000**2]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_number_that_is_none_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        vectors.quantise(np.array([[1.0, bad]]))
