from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.rules import Rule
from pipelines.reporting.samples import (
    DIFFERS,
    Piece,
    Reading,
    applies,
    cut_pieces,
    differing,
    read_row,
    read_rule,
    shortened,
)
from storage import tables

ALPHABET = st.text(st.sampled_from("ab \u00e9\n.<"), max_size=40)


@settings(deadline=None)
@given(ALPHABET, st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=5))
def test_pieces_are_the_text_and_marks_what_spans_cover(
    text: str, ends: list[tuple[int, int]]
) -> None:
    """Spans, which may overlap, are cut at characters."""
    places = [sorted(min(end, len(text)) for end in pair) for pair in ends]
    spans = [(len(text[:a].encode()), len(text[:b].encode()), "line") for a, b in places]
    pieces = list(cut_pieces(text.encode(), spans))
    assert "".join(piece.text for piece in pieces) == text
    covered = {n for a, b in places for n in range(a, b)}
    assert "".join(piece.text for piece in pieces if not piece.mark) == "".join(
        char for n, char in enumerate(text) if n not in covered
    )


@settings(deadline=None)
@given(ALPHABET, ALPHABET)
def test_differing_marks_nothing_that_both_have(first: str, second: str) -> None:
    mine, theirs = differing(first, second)
    assert "".join(piece.text for piece in mine) == first
    assert "".join(piece.text for piece in theirs) == second
    common = [
        "".join(piece.text for piece in pieces if not piece.mark) for pieces in (mine, theirs)
    ]
    assert common[0] == common[1]
    if first == second:
        assert not any(piece.text and piece.mark for piece in (*mine, *theirs))


def test_differing_words() -> None:
    mine, theirs = differing("the red fox.", "the brown fox!")
    assert [piece.text for piece in mine if piece.mark == DIFFERS] == ["red", "."]
    assert [piece.text for piece in theirs if piece.mark == DIFFERS] == ["brown", "!"]


def test_shortened_stops_reading() -> None:
    def pieces():
        yield Piece("abc")
        yield Piece("defg", "line")
        raise AssertionError("read on after the limit")

    assert list(shortened(pieces(), 5)) == [Piece("abc"), Piece("de", "line")]


def test_read_row_reads_the_row_group_that_holds_it(tmp_path: Path) -> None:
    schema = pa.schema([("n", pa.int64()), ("text", pa.large_string())])
    path = str(tmp_path / "rows.parquet")
    batches = [
        pa.RecordBatch.from_pydict({"n": [n, n + 1], "text": ["x" * 60, "y"]}, schema)
        for n in range(0, 20, 2)
    ]
    tables.write_table(path, batches, schema, layout=tables.Layout("zstd", 100))
    with tables.open_table(path) as parquet:
        assert parquet.num_row_groups > 3
    assert [read_row(path, row, ["n"])["n"] for row in range(20)] == list(range(20))
    with pytest.raises(AssertionError, match="has no row 20"):
        read_row(path, 20, ["n"])


def test_readings_say_value_and_bounds() -> None:
    signals = {"num_words": 40, "num_hashes": 10, "language": "de"}
    rules = [
        Rule(signal="num_words", min=50, max=100_000, reason="words"),
        Rule(signal="hash_word_ratio", max=0.25, reason="hashes"),
        Rule(signal="language", in_=("en", "fr"), reason="language"),
    ]
    readings = [read_rule(rule, signals) for rule in rules]
    assert readings == [
        Reading(rules[0], 40, True),
        Reading(rules[1], 0.25, False),
        Reading(rules[2], "de", True),
    ]
    assert [reading.allowed for reading in readings] == [
        "at least 50, at most 100,000",
        "at most 0.25",
        "one of en, fr",
    ]


def test_rules_of_other_languages_do_not_apply() -> None:
    rule = Rule(signal="num_words", min=50, reason="words", languages=("en",))
    assert applies(rule, {"language": "en"})
    assert not applies(rule, {"language": "de"})
