"""Scripts against Unicode's own property, as the package regex has it, and real languages."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import script
from filters.script import compute, count_scripts

# characters that Unicode 14 has, of scripts that texts mix, and some that belong to none
ALPHABET = (
    "aZ\u00e9\u0131 \u0430\u042f\u03b1\u05d0\u0627\u0915\u093f\u0e01\uac00\u4e00\u4e8c\u3042\u3044"
    "\u30a2\uff71\u10d0\u0531\u1f600 1.,!\u0301\u200d\u3000\u3005\U00020000\U0001f600\ufffd"
)
SAMPLES = {
    "en": "Latn",
    "vi": "Latn",
    "ru": "Cyrl",
    "el": "Grek",
    "ar": "Arab",
    "he": "Hebr",
    "hi": "Deva",
    "ko": "Hang",
    "zh": "Hani",
    "ja": "Jpan",
    "th": "Thai",
}


def batch_of(texts: list[str]) -> pa.RecordBatch:
    return pa.record_batch({"text": pa.array(texts, pa.large_string())})


def plain_scripts(text: str) -> Counter[str]:
    """Characters of each script, one pattern after the other."""
    codes = script.load().codes[1:]
    found = {code: len(regex.findall(rf"\p{{Script={code}}}", text)) for code in codes}
    return Counter({code: number for code, number in found.items() if number})


def plain_script(text: str) -> tuple[str, int, int]:
    counts = plain_scripts(text)
    total = counts.total()
    kana, han = counts["Hira"] + counts["Kana"], counts["Hani"]
    if kana and 10 * kana >= kana + han:
        for code in ("Hira", "Kana", "Hani"):
            del counts[code]
        counts["Jpan"] = kana + han
    counts = +counts
    if not counts:
        return "Zyyy", 0, 0
    best = min(counts, key=lambda code: (-counts[code], code))
    return best, counts[best], total


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.sampled_from(ALPHABET), max_size=20), max_size=4))
def test_scripts_equal_their_definition(texts: list[str]) -> None:
    rows = compute(batch_of(texts)).to_pylist()
    assert [tuple(row.values()) for row in rows] == [plain_script(text) for text in texts]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=4), st.integers(0, 4))
def test_any_text_in_any_batches(texts: list[str], cut: int) -> None:
    whole = compute(batch_of(texts)).to_pylist()
    pieces = [compute(batch_of(part)).to_pylist() for part in (texts[:cut], texts[cut:])]
    assert whole == [*pieces[0], *pieces[1]]
    for text, row in zip(texts, whole, strict=True):
        assert row["script_chars"] <= row["scripted_chars"] <= len(text)
        assert (row["script"] == "Zyyy") == (row["scripted_chars"] == 0)


def test_the_table_is_that_of_unicode() -> None:
    """All characters of the large scripts; a later Unicode of regex may have more."""
    characters = [chr(c) for c in range(0x3000)] + [chr(c) for c in range(0xA000, 0xD800)]
    counts, codes = count_scripts(pa.array(characters, pa.large_string()))
    for code in ("Latn", "Cyrl", "Grek", "Deva", "Thai", "Hang"):
        here = {char for char, n in zip(characters, counts[:, codes.index(code)], strict=True) if n}
        there = {char for char in characters if regex.match(rf"\p{{Script={code}}}", char)}
        assert here <= there
        assert len(here) > 0.97 * len(there)


def test_few_kana_are_no_japanese() -> None:
    chinese, japanese = "\u4e00" * 20 + "\u306e", "\u4e00" * 9 + "\u306e"
    assert compute(batch_of([chinese, japanese])).column(0).to_pylist() == ["Hani", "Jpan"]
    assert compute(batch_of([chinese])).to_pylist()[0]["script_chars"] == 20


@pytest.mark.parametrize("language", SAMPLES)
def test_languages_have_their_script(language: str, shared_data: Path) -> None:
    path = shared_data / "multilingual" / "lingua_sentences" / f"{language}.txt.gz"
    text = "\n".join(gzip.decompress(path.read_bytes()).decode().splitlines()[:200])
    row = compute(batch_of([text])).to_pylist()[0]
    assert row["script"] == SAMPLES[language]
    assert row["script_chars"] > 0.9 * row["scripted_chars"]
