"""Spans applied to texts against a plain Python definition."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.c4 import EDITS
from filters.edits import EditError, apply_edits

Span = tuple[int, int, int, str]  # row, start, end, replacement

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def table(spans: list[Span]) -> pa.Table:
    columns = [list(column) for column in zip(*spans, strict=True)] if spans else [[]] * 4
    return pa.table([*columns, ["test"] * len(spans)], schema=EDITS)


def applied(texts: list[str], spans: list[Span]) -> list[str]:
    """Cut every byte that a span covers; replacements go where no span covers the place before."""
    results = []
    for row, text in enumerate(texts):
        data = text.encode()
        mine = [span[1:] for span in spans if span[0] == row]
        result = b""
        done = 0
        for start, end, replacement in sorted(mine, key=lambda span: span[0]):
            if start >= done:
                result += data[done:start] + replacement.encode()
            done = max(done, end)
        results.append((result + data[done:]).decode())
    return results


@st.composite
def texts_with_spans(draw: st.DrawFn) -> tuple[list[str], list[Span]]:
    texts = draw(st.lists(TEXT, min_size=1, max_size=5))
    spans = []
    for _ in range(draw(st.integers(0, 8))):
        row = draw(st.integers(0, len(texts) - 1))
        first, last = sorted(draw(st.tuples(*[st.integers(0, len(texts[row]))] * 2)))
        start, end = (len(texts[row][:k].encode()) for k in (first, last))
        spans.append((row, start, end, draw(st.sampled_from(["", "\n", "\u20ac|"]))))
    return texts, spans


@settings(max_examples=150, deadline=None)
@given(texts_with_spans(), st.integers(0, 8))
def test_edits_equal_their_definition(case: tuple[list[str], list[Span]], cut: int) -> None:
    texts, spans = case
    array = pa.array(["left out", *texts], pa.large_string()).slice(1)
    tables = [table(sorted(spans[:cut])), table(sorted(spans[cut:]))]
    result = apply_edits(array, *tables)
    result.validate(full=True)
    in_order = sorted(spans[:cut]) + sorted(spans[cut:])
    assert result.to_pylist() == applied(texts, in_order)


def test_no_edits_give_the_text() -> None:
    texts = pa.array(["a", "", "b"], pa.large_string())
    assert apply_edits(texts).equals(texts)
    assert apply_edits(texts, table([])).equals(texts)


@pytest.mark.parametrize("span", [(0, 0, 9, ""), (0, 2, 1, ""), (0, 1, 2, ""), (1, 0, 1, "")])
def test_edits_of_other_documents_are_refused(span: Span) -> None:
    with pytest.raises(EditError, match=f"row {span[0]}"):
        apply_edits(pa.array(["a\u20acb"], pa.large_string()), table([span]))
