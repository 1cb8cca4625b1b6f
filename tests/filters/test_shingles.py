"""Word and shingle kernels against their definitions in plain Python."""

from __future__ import annotations

import codecs
import csv
import gzip
import json
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from filters import word_table
from filters.shingles import (
    CHARACTER_SEED,
    Ragged,
    character_hashes,
    containment_of_pairs,
    intersection_sizes,
    jaccard_of_pairs,
    shingle_hashes,
    shingles,
    word_hashes,
)

MASK = (1 << 64) - 1

# Blocks where the rules differ: Latin, combining, Greek, Cyrillic, Hebrew, Arabic, Devanagari,
# Thai, Hangul (both forms), general punctuation, kana, Han, compatibility and presentation forms.
TRICKY = st.one_of(
    *(
        st.characters(min_codepoint=first, max_codepoint=last)
        for first, last in [
            (0x00, 0x7F),
            (0x80, 0x24F),
            (0x300, 0x36F),
            (0x370, 0x52F),
            (0x590, 0x6FF),
            (0x900, 0x97F),
            (0xE00, 0xE7F),
            (0x1100, 0x11FF),
            (0x2000, 0x206F),
            (0x2150, 0x218B),
            (0x3000, 0x33FF),
            (0x4E00, 0x4FFF),
            (0xAC00, 0xD7A3),
            (0xF900, 0xFDFF),
            (0xFE00, 0xFFEF),
            (0x1D400, 0x1D7FF),
            (0x20000, 0x200FF),
        ]
    )
)
PINNED = unicodedata.unidata_version == word_table.UNICODE_VERSION
TEXTS = st.lists(
    st.one_of(
        st.text(TRICKY, max_size=80),
        st.text(TRICKY | st.sampled_from("abc \n"), max_size=80),
        st.text(st.characters(codec="utf-8") if PINNED else TRICKY, max_size=40),
    ),
    max_size=8,
)


def large(texts: list[str]) -> pa.Array:
    return pa.array(texts, pa.large_string())


def plain_words(text: str) -> list[str]:
    """The words of a text by the rules in word_table.py."""
    words: list[str] = []
    is_open = is_single = False
    for code_point in (ord(c) for character in text for c in word_table.fold(character)):
        kind = word_table.kind(code_point)
        if kind == word_table.DROP:
            continue
        if kind == word_table.SEPARATOR:
            is_open = False
            continue
        starts = kind == word_table.SINGLE or (kind == word_table.WORD and is_single)
        if starts or not is_open:
            words.append("")
            is_single = kind == word_table.SINGLE
        words[-1] += chr(code_point)
        is_open = True
    return words


def mix(x: int) -> int:
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    return x ^ (x >> 31)


def plain_word_hash(word: str) -> int:
    data = word.encode()
    h = 0x243F6A8885A308D3
    for start in range(0, len(data), 8):
        h = mix(h ^ int.from_bytes(data[start : start + 8], "big"))
    return h


def plain_shingles(text: str, ngram: int) -> list[int]:
    words = [plain_word_hash(word) for word in plain_words(text)]
    runs = [words[i : i + ngram] for i in range(max(1, len(words) - ngram + 1))] if words else []
    base = 0x9E3779B97F4A7C55
    return [
        mix(sum(w * base ** (len(run) - 1 - k) for k, w in enumerate(run)) & MASK) for run in runs
    ]


def rows(ragged: Ragged) -> list[list[int]]:
    return [row.tolist() for row in np.split(ragged.values, ragged.offsets[1:-1])][
        : len(ragged.offsets) - 1
    ]


@settings(max_examples=300, deadline=None)
@given(TEXTS)
@example([])
@example(["", "\0", "a\0b", "x" * 7, "x" * 8, "x" * 9, "\u00e9" * 9, "\u4e2d" * 3 + "a" * 8])
def test_word_hashes_equal_their_definition(texts: list[str]) -> None:
    expected = [[plain_word_hash(word) for word in plain_words(text)] for text in texts]
    assert rows(word_hashes(large(texts))) == expected


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.integers(1, 7))
def test_shingle_sets_equal_their_definition(texts: list[str], ngram: int) -> None:
    in_order = [plain_shingles(text, ngram) for text in texts]
    assert rows(shingles(word_hashes(large(texts)), ngram)) == in_order
    assert rows(shingle_hashes(large(texts), ngram)) == [sorted(set(row)) for row in in_order]


@settings(max_examples=300, deadline=None)
@given(TEXTS)
@example(["\u321d" * 40, "", "a-b", " a", "\u00bd\u321d" * 50])
def test_character_hashes_equal_their_definition(texts: list[str]) -> None:
    """The words of a text, one space between two, but nothing between letters without spaces."""
    expected = [
        [mix(int(CHARACTER_SEED) ^ ord(char)) for char in plain_characters(text)] for text in texts
    ]
    assert rows(character_hashes(large(texts))) == expected


def plain_characters(text: str) -> str:
    spaced = ""
    for code_point in (ord(c) for character in text for c in word_table.fold(character)):
        kind = word_table.kind(code_point)
        if kind != word_table.DROP:
            spaced += " " if kind == word_table.SEPARATOR else chr(code_point)
    return " ".join(part for part in spaced.split(" ") if part)


def test_character_shingles_see_letters_where_words_see_words() -> None:
    """One letter of ten words: all shingles of five words change, half of those of letters stay."""
    texts = large(["abcdefghij " * 10, "abcdefghij " * 4 + "abcdefghix " + "abcdefghij " * 5])
    one, other = np.array([0]), np.array([1])
    for unit, ngram, least in (("word", 10, 0.0), ("char", 5, 0.5)):
        sets = shingle_hashes(texts, ngram, unit)
        assert jaccard_of_pairs(sets, sets, one, other)[0] >= least
    sets = shingle_hashes(texts, 10, "word")
    assert jaccard_of_pairs(sets, sets, one, other)[0] == 0.0


@settings(max_examples=50, deadline=None)
@given(TEXTS, st.data())
def test_a_slice_gives_the_rows_of_the_whole(texts: list[str], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(texts)))
    length = data.draw(st.integers(0, len(texts) - start))
    for text_type in (pa.large_string(), pa.string()):
        part = pa.array(texts, text_type).slice(start, length)
        for hashes in (word_hashes, character_hashes):
            assert rows(hashes(part)) == rows(hashes(large(texts)))[start : start + length]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=6))
def test_invalid_utf8_separates_words_and_is_read_within_bounds(blobs: list[bytes]) -> None:
    """A byte that starts no valid code point acts as a space, whatever follows it."""
    array = pa.array(blobs, pa.large_binary()).view(pa.large_string())
    repaired = [blob.decode("utf-8", "spaces") for blob in blobs]
    for hashes in (word_hashes, character_hashes):
        assert rows(hashes(array)) == rows(hashes(large(repaired)))


def _one_space_per_bad_byte(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return " ", error.start + 1


codecs.register_error("spaces", _one_space_per_bad_byte)


@pytest.mark.skipif(not PINNED, reason="the table is pinned to another Unicode version")
def test_the_table_is_what_its_builder_makes() -> None:
    for built, shipped in zip(word_table.build(), word_table.load(), strict=True):
        np.testing.assert_array_equal(built, shipped)


def test_many_words_and_long_words_cross_every_internal_border() -> None:
    texts = ["a " * 30_000, "b" * 30_000, "\u4e2d" * 30_000, "\u00bd\u321d" * 5_000, "z"]
    expected = [len(plain_words(text)) for text in texts]
    words = word_hashes(large(texts))
    assert np.diff(words.offsets).tolist() == expected
    assert words.values[-1] == plain_word_hash("z")


@pytest.mark.parametrize("shift", range(0, 1100, 13))
def test_words_do_not_depend_on_where_blocks_of_ascii_end(shift: int) -> None:
    """Blocks are of 1,024 bytes, masks of 64, loads of 8; here every border falls into words."""
    lengths = (1, 2, 7, 8, 9, 16, 17, 63, 64, 3, 5, 1)
    words = ["aZ9"[k % 3] * length for k, length in enumerate(lengths * 6)]
    words[20] = "caf\u00e9"
    text = "." * shift + " ".join(words)
    assert rows(word_hashes(large([text]))) == [[plain_word_hash(w) for w in plain_words(text)]]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Caf\u00e9 cr\u00e8me", "CAFE\u0301 CRE\u0300ME"),  # NFC and NFD, case
        ("cafe", "caf\u00e9"),  # accents are optional
        ("\uff21\uff11", "a1"),  # full-width
        ("e\ufb03cient", "efficient"),  # ligature
        ("Stra\u00dfe", "STRASSE"),
        ("co\u00adoper\u200bate", "cooperate"),  # soft hyphen, zero-width space
        ("don\u2019t -- stop", "don't stop"),
        ("\ud55c\uad6d\uc5b4", unicodedata.normalize("NFD", "\ud55c\uad6d\uc5b4")),
        ("\u304c\u304e", unicodedata.normalize("NFD", "\u304c\u304e")),
        ("\u0643\u062a\u0627\u0628", "\u0643\u0650\u062a\u064e\u0627\u0628"),  # Arabic points
    ],
)
def test_spellings_of_one_text_have_the_same_words(left: str, right: str) -> None:
    a, b = rows(word_hashes(large([left, right])))
    assert a == b


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("in 1998 it cost 12.50", "in 1999 it cost 12.50"),
        ("ab c", "a bc"),
        ("\u304b", "\u304c"),  # ka and ga
        ("\u0915\u0941", "\u0915"),  # Devanagari vowel signs are not optional
    ],
)
def test_different_texts_have_different_words(left: str, right: str) -> None:
    a, b = rows(word_hashes(large([left, right])))
    assert a != b


@pytest.mark.parametrize(
    ("text", "num_words"),
    [
        ("\u4eca\u5929\u5929\u6c14\u5f88\u597d\u3002", 6),  # Chinese: a word per character
        ("\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22", 7),  # Thai: per letter
        ("\u0e01\u0e34\u0e19", 2),  # Thai vowel above belongs to its consonant
        ("GPT\u6a21\u578b4", 4),  # mixed
        ("...!? --", 0),
        ("", 0),
    ],
)
def test_number_of_words(text: str, num_words: int) -> None:
    assert len(rows(word_hashes(large([text])))[0]) == num_words


@settings(max_examples=100, deadline=None)
@given(st.lists(st.frozensets(st.integers(0, 40), max_size=30), min_size=1, max_size=6), st.data())
def test_intersections_equal_those_of_python_sets(
    sets: list[frozenset[int]], data: st.DataObject
) -> None:
    offsets = np.cumsum([0, *map(len, sets)]).astype(np.int64)
    ragged = Ragged(offsets, np.array([x for s in sets for x in sorted(s)], np.uint64))
    row = st.integers(0, len(sets) - 1)
    pairs = data.draw(st.lists(st.tuples(row, row), max_size=10))
    left = np.array([i for i, _ in pairs], np.int64)
    right = np.array([j for _, j in pairs], np.int64)
    shared = [len(sets[i] & sets[j]) for i, j in pairs]
    jaccard = [len(sets[i] & sets[j]) / (len(sets[i] | sets[j]) or 1) for i, j in pairs]
    contained = [len(sets[i] & sets[j]) / (min(len(sets[i]), len(sets[j])) or 1) for i, j in pairs]
    assert intersection_sizes(ragged, ragged, left, right).tolist() == shared
    assert jaccard_of_pairs(ragged, ragged, left, right).tolist() == jaccard
    assert containment_of_pairs(ragged, ragged, left, right).tolist() == contained


def test_similarities_equal_the_published_ones(shared_data: Path) -> None:
    """84 pairs of pages of two editions of one manual, with their exact word 5-gram Jaccard."""
    folder = shared_data / "neardup" / "debian_guide"
    with gzip.open(folder / "docs.dev.jsonl.gz", "rt", encoding="utf-8") as lines:
        documents = [json.loads(line) for line in lines]
    with (folder / "PAIRS.dev.tsv").open(encoding="utf-8", newline="") as lines:
        pairs = list(csv.DictReader(lines, delimiter="\t"))
    row = {document["id"]: i for i, document in enumerate(documents)}
    sets = shingle_hashes(large([document["text"] for document in documents]))
    found = jaccard_of_pairs(
        sets,
        sets,
        np.array([row[pair["a"]] for pair in pairs]),
        np.array([row[pair["b"]] for pair in pairs]),
    )
    expected = [float(pair["jaccard_5word"]) for pair in pairs]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_ngram_must_be_positive() -> None:
    with pytest.raises(ValueError, match="ngram is 0"):
        shingles(word_hashes(large(["a b"])), 0)


def test_other_columns_are_refused() -> None:
    with pytest.raises(TypeError, match="int64"):
        word_hashes(pa.array([1]))
