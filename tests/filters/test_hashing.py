"""Content hashes."""

from __future__ import annotations

import pyarrow as pa
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import hashing

TEXTS = st.lists(st.text(max_size=50), max_size=6)


@settings(deadline=None)
@given(TEXTS, st.integers(0, 6), st.sampled_from([pa.large_string(), pa.string()]))
def test_hash_and_size_are_those_of_the_utf8_bytes(
    texts: list[str], start: int, text_type: pa.DataType
) -> None:
    batch = pa.record_batch({"text": pa.array(texts, text_type)}).slice(start)
    signals = hashing.compute(batch)
    expected = [text.encode() for text in texts[start:]]
    assert signals.schema == hashing.SCHEMA
    assert signals.column("content_hash").to_pylist() == [
        xxhash.xxh3_128(text).digest() for text in expected
    ]
    assert signals.column("text_bytes").to_pylist() == [len(text) for text in expected]


def test_golden_hashes() -> None:
    """The canonical form: what the `xxhsum -H2` program prints."""
    text = pa.array(["", "a", "A", "a\0", "\u00e9"], pa.large_string())
    assert [value.hex() for value in hashing.content_hash(text).to_pylist()] == [
        "99aa06d3014798d86001c324468d497f",
        "a96faf705af16834e6c632b61e964e1f",
        xxhash.xxh3_128_hexdigest(b"A"),
        xxhash.xxh3_128_hexdigest(b"a\0"),
        xxhash.xxh3_128_hexdigest("\u00e9".encode()),
    ]
