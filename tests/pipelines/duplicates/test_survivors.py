"""Policies as numbers: they order documents as dates and values do."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.duplicates.survivors import WORST, date_keys, value_keys


@given(st.lists(st.floats(allow_nan=False), min_size=2))
def test_values_keep_their_order(values: list[float]) -> None:
    keys = value_keys(pa.chunked_array([pa.array(values, pa.float64())]))
    order = np.argsort(values, kind="stable")
    assert (np.diff(keys[order].astype(object)) >= 0).all()
    assert keys.max() <= WORST


def test_a_document_without_a_value_is_last() -> None:
    values = pa.chunked_array([pa.array([None, math.nan, -math.inf, -1.0, -0.0, 0.0, 1.0])])
    keys = value_keys(values).tolist()
    assert keys[0] == keys[1] == 0 < keys[2] < keys[3] < keys[4] == keys[5] < keys[6]


def test_integers_keep_their_order() -> None:
    keys = value_keys(pa.chunked_array([pa.array([3, 1, 1 << 40, 0], pa.uint64())]))
    assert np.argsort(keys).tolist() == [3, 1, 0, 2]


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("", "1998"),
        ("July, 1999", "1998"),
        ("1998", "1998-05"),
        ("1998-05", "1998-05-01"),
        ("1998-05-01", "1998-05-01T00:00:01Z"),
        ("1998-05-01 10:00", "1998-05-01T10:00:01.25+02:00"),
        ("1998-05-01T23:59:59Z", "1998-06"),
        ("99999", "0001"),
    ],
)
def test_dates(older: str, newer: str) -> None:
    keys = date_keys(pa.chunked_array([pa.array([older, newer])]))
    assert keys[0] < keys[1]


@given(st.lists(st.text()))
def test_any_text_is_a_date_or_none(texts: list[str]) -> None:
    keys = date_keys(pa.chunked_array([pa.array(texts, pa.string())]))
    assert len(keys) == len(texts)
    assert (keys < 10**14).all()
