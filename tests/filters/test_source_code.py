"""Counts of source files against their definition, and The Stack's rules."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from filters import source_code, textstats
from filters.rules import evaluate, load_recipe

PIECES = st.sampled_from(
    ["x", "word", "1", "\u00e9", "\u00b2", "\u2160", "\u4f60", "\U0001f600", "_", "{", " ", "\t",
     "\n", "\r\n", "\x0b", "\u2028", "<?xml version=", "y" * 63, "\u00e9" * 70]
)  # fmt: skip
TEXT = st.lists(PIECES, max_size=30).map("".join)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=120)


def defined(text: str) -> list[int]:
    lines = text.splitlines()
    return [
        max(map(len, lines), default=0),
        max((len(line.encode()) for line in lines), default=0),
        sum(map(len, lines)),
        sum(map(str.isalnum, text)),
        sum(map(str.isalpha, text)),
        int("<?xml version=" in text[:100]),
        0,
    ]


def batch_of(texts: list[str], languages: list[str]) -> pa.RecordBatch:
    meta = pa.array(
        [[("path", "a"), ("lang", one)] for one in languages], pa.map_(pa.string(), pa.string())
    )
    return pa.record_batch({"text": pa.array(texts, pa.large_string()), "meta": meta})


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXT | ANY_TEXT, max_size=3))
@example(["\u00e9" * 86 + "<?xml version=", "\u00e9" * 87 + "<?xml version=", ""])
def test_counts_equal_their_definition(texts: list[str]) -> None:
    found = source_code.compute(batch_of(["left out", *texts], ["C"] * (1 + len(texts))).slice(1))
    assert [list(row.values()) for row in found.to_pylist()] == [
        ["C", *defined(text)] for text in texts
    ]


def test_files_without_a_language_have_none() -> None:
    meta = pa.array([[], [("path", "a.py")], None], pa.map_(pa.string(), pa.string()))
    text = pa.array(["a", "b", "c"], pa.large_string())
    found = source_code.compute(pa.record_batch({"text": text, "meta": meta}))
    assert found.column("code_language").to_pylist() == ["", "", ""]


LONG = "some_words = " * 77  # 1,001 characters
LINES = "\n".join(["value = 1"] * 30)
PAGE = '<a href="some/long/path/to/a/page">word</a>\n' * 30


@pytest.mark.parametrize(
    ("text", "language", "broken"),
    [
        (LINES, "Python", set()),
        (LONG + "\n" + LINES, "Python", {"code_long_line"}),
        (LONG + "\n" + LINES, "Markdown", set()),
        (LONG[:500], "", {"code_long_lines"}),
        ("+" * 76 + "a" * 24, "C", {"code_few_alphanumerics"}),
        ("+" * 75 + "a" * 25, "C", set()),
        (("1" * 49 + "a\n") * 9, "MATLAB", {"code_few_letters"}),
        (("1" * 49 + "a\n") * 9, "Python", set()),
        (
            '{"values": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]}\n' * 4,
            "JSON",
            {"code_data_few_letters"},
        ),
        ("key: value\n" * 4, "YAML", {"code_data_size"}),
        ("key: value\n" * 400, "YAML", set()),
        ("key: value\n" * 500, "YAML", {"code_data_size"}),
        ("key: value\n" * 500, "TOML", set()),
        ('<?xml version="1.0"?>\n<project/>', "", {"code_xml"}),
        ("<p>" + "word\n" * 20 + "w</p>", "HTML", set()),
        ("<p>" + "word\n" * 20 + "</p>", "HTML", {"code_html_short_text"}),
        (PAGE, "HTML", {"code_html_little_text"}),
        (PAGE, "PHP", set()),
    ],
)
def test_each_reason(text: str, language: str, broken: set[str]) -> None:
    batch = batch_of([text], [language])
    counts = [textstats.compute(batch), source_code.compute(batch)]
    signals = pa.table({name: part.column(name) for part in counts for name in part.schema.names})
    marginal = evaluate(load_recipe("code-stack").rules, signals).marginal
    assert {reason for reason, count in marginal.items() if count} == broken
