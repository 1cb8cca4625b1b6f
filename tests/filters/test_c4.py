"""C4's line editor and page counts against the published procedure in plain Python."""

from __future__ import annotations

import itertools
import re

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from filters import c4, textstats
from filters.c4 import VARIANTS, C4Params
from filters.edits import apply_edits

CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
POLICY = re.compile(
    "terms of use|privacy policy|cookie policy|uses cookies|use of cookies|use cookies"
)


VIEW_COLUMNS = (
    "num_chars",
    "num_newlines",
    "num_nonblank_lines",
    "num_terminal_lines",
    "num_short_lines",
    "duplicate_nonblank_line_chars",
)


def ascii_lower(text: str) -> str:
    return "".join(c.lower() if c.isascii() else c for c in text)


def judge(line: str, params: C4Params) -> tuple[str, str]:
    """The line without citations, and the first reason to cut it ("" to keep it)."""
    words = line.split()
    if any(len(word) > params.max_word_chars for word in words):
        return line, "long_word"
    line = CITATION.sub("", line)
    if params.require_terminal and (
        not line.endswith(tuple(params.end_marks)) or line.endswith("...")
    ):
        return line, "no_terminal_mark"
    if len(words if params.count_cited_words else line.split()) < params.min_words:
        return line, "few_words"
    lower = ascii_lower(line)
    if "lorem ipsum" in lower:
        return line, "lorem_ipsum"
    if "javascript" in lower:
        return line, "javascript"
    if "{" in line:
        return line, "curly_bracket"
    return line, "policy" if POLICY.search(lower) else ""


def clean(text: str, params: C4Params) -> tuple[str, dict[str, int]]:
    """What is left of a page, and the counts of its lines."""
    kept: list[str] = []
    reasons: list[str] = []
    for line in text.splitlines():
        cut, reason = judge(line.strip(), params)
        if not reason and cut.strip():
            kept.append(cut.strip())
        reasons.append(reason)
    counts = {f"num_{reason}_lines": reasons.count(reason) for reason in c4.REASONS[:7]}
    counts |= {"num_lines": len(reasons), "num_kept_lines": len(kept)}
    return "\n".join(kept), counts


def cleaned(texts: list[str], params: C4Params) -> tuple[list[str], list[dict[str, int]]]:
    """The view that the edits give, and the counts without the variant's name."""
    batch = pa.record_batch({"text": pa.array(["left out", *texts], pa.large_string())}).slice(1)
    signals, edits = c4.compute_with_edits(batch, params)
    rows = [
        {name.removeprefix(f"{params.name}_"): value for name, value in row.items()}
        for row in signals.to_pylist()
    ]
    return apply_edits(batch.column("text"), edits).to_pylist(), rows


PIECES = (
    "one two, three four five six seven. why? Yes! \u201cquoted\u201d 'so.' end... [1] [23] "
    "[edit] [citation_needed] [\u0663] [x] [[2]] JavaScript lorem_ipsum Lorem_IPSUM {x} "
    "Terms_of_Use cookie_policy use_cookies. uses_cookies \u4f60\u597d\u3002"
)
LINES = st.builds(
    str.join,
    st.sampled_from([" ", " ", ""]),
    st.lists(
        st.sampled_from([*(p.replace("_", " ") for p in PIECES.split()), "\xa0", "\t", " "]),
        max_size=12,
    ),
)
BREAKS = st.sampled_from(["\n", "\n", "\n", "\r\n", "\n\n", " \n", "\r", "\x0b", "\u2028"])
PAGE = st.lists(st.builds(str.__add__, LINES, BREAKS), max_size=8).map("".join)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@settings(max_examples=150, deadline=None)
@given(st.lists(PAGE | ANY_TEXT, max_size=3), st.sampled_from(list(VARIANTS.values())))
@example(["[1] [2] [3]\n a b c d e [3].\nx", "", "\n \n", "a b c [1]"], VARIANTS["c4_fineweb"])
def test_pages_equal_the_published_procedure(texts: list[str], params: C4Params) -> None:
    views, counts = cleaned(texts, params)
    for text, view, count in zip(texts, views, counts, strict=True):
        expected, line_counts = clean(text, params)
        assert view == expected
        assert {name: count[name] for name in line_counts} == line_counts


@settings(max_examples=50, deadline=None)
@given(st.lists(PAGE, max_size=3), st.sampled_from(list(VARIANTS.values())))
def test_counts_of_what_is_left_are_those_of_the_view(texts: list[str], params: C4Params) -> None:
    views, counts = cleaned(texts, params)
    stats = textstats.compute(pa.record_batch({"text": pa.array(views, pa.large_string())}))
    for row, stat in zip(counts, stats.to_pylist(), strict=True):
        same = ["num_words", *VIEW_COLUMNS]
        assert {name: row[name] for name in same} == {name: stat[name] for name in same}


@settings(max_examples=50, deadline=None)
@given(st.lists(PAGE, max_size=3))
def test_spans_are_sorted_and_give_each_line_its_reason(texts: list[str]) -> None:
    params = VARIANTS["c4"]
    batch = pa.record_batch({"text": pa.array(texts, pa.large_string())})
    signals, edits = c4.compute_with_edits(batch, params)
    spans = [(e["row"], e["start"], e["end"], e["reason"]) for e in edits.to_pylist()]
    for (row, _, end, _), (next_row, start, _, _) in itertools.pairwise(spans):
        assert row < next_row or end <= start
    for row, counts in enumerate(signals.to_pylist()):
        reasons = [reason for span_row, _, _, reason in spans if span_row == row]
        for reason in c4.REASONS[:7]:
            assert reasons.count(reason) == counts[f"c4_num_{reason}_lines"]


def test_long_words_are_measured_in_characters() -> None:
    lines = [f"one two three four {'é' * n}." for n in (999, 1000)]
    views, _ = cleaned(["\n".join(lines)], VARIANTS["c4"])
    assert views == [lines[0]]


LONG_LINE = st.lists(
    st.builds(
        lambda letter, size, white: letter * size + white,
        st.sampled_from("ab\u00e9\u4e2d"),
        st.sampled_from([1, 5, 62, 63, 64, 65, 500, 999, 1000, 1001]),
        st.sampled_from([" ", "\t", "  ", "\u3000", "\xa0", " \u2003"]),
    ),
    min_size=1,
    max_size=12,
).map("".join)


@settings(max_examples=150, deadline=None)
@given(st.lists(LONG_LINE, min_size=1, max_size=3).map("\n".join))
def test_long_words_are_found_between_all_white_space(text: str) -> None:
    params = VARIANTS["c4_fineweb"]
    (view,), (count,) = cleaned([text], params)
    expected, line_counts = clean(text, params)
    assert view == expected
    assert {name: count[name] for name in line_counts} == line_counts


@pytest.mark.parametrize(("text", "sentences"), [("Mr. Smith saw 3.5 of it. Did he? Yes.", 3)])
def test_sentences_of_a_line(text: str, sentences: int) -> None:
    _, (counts,) = cleaned([text], VARIANTS["c4"])
    assert counts["num_sentences"] == sentences
