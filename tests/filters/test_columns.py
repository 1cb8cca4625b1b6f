"""Text columns as arrays."""

from __future__ import annotations

import itertools

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.columns import text_bytes


@settings(deadline=None)
@given(
    st.lists(st.none() | st.text(max_size=10), max_size=6),
    st.integers(0, 6),
    st.sampled_from([pa.large_string(), pa.string()]),
)
def test_rows_are_the_utf8_bytes_and_nulls_are_empty(
    texts: list[str | None], start: int, text_type: pa.DataType
) -> None:
    offsets, data = text_bytes(pa.array(texts, text_type).slice(start))
    rows = [data[i:j].tobytes() for i, j in itertools.pairwise(offsets)]
    assert rows == [(text or "").encode() for text in texts[start:]]
    assert not offsets.flags.writeable
    assert not data.flags.writeable


def test_other_types_are_refused() -> None:
    with pytest.raises(TypeError, match="large_string or string, not binary"):
        text_bytes(pa.array([b"a"]))
