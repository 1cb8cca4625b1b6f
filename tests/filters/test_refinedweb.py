"""RefinedWeb's line editor against the published steps in plain Python.

The steps are those of DCLM's configuration refinedweb.yaml from `newline_removal_modifier` on,
without the rules on pages: each takes and returns a whole text.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from filters import refinedweb
from filters.columns import text_bytes
from filters.edits import apply_edits
from filters.refinedweb_lines import NOUNS, REASONS, is_counter, measure
from filters.rules import evaluate, load_recipe

COUNTER = re.compile(
    r"^\W*\d(?:,|\.|\d)*(?:K|k|M|m|B|b)?\s+(?:likes|shares|comments|retweets|reposts|quotes|"
    r"bookmarks|upvotes|downvotes|downloads|views|followers)\W*$"
)
PHRASES = (  # dots are wild cards in the published code, too
    re.compile(r"\s?(?:items in cart)", re.IGNORECASE),
    re.compile(r"\s?(?:read more...)$", re.IGNORECASE),
    re.compile(r"^(?:sign-in)\s?", re.IGNORECASE),
)
FASTTEXT_GAPS = re.compile("[ \n\r\t\v\f\0]+")


def words(text: str) -> int:
    """Words that begin with a letter or digit, as fastText's tokenizer cuts them."""
    return sum(word[0].isalnum() for word in FASTTEXT_GAPS.split(text) if word)


class Cleaned(NamedTuple):
    text: str
    lines: dict[str, int]


def keep_lines(text: str, drops: Callable[[str], object], name: str, lines: dict[str, int]) -> str:
    kept = []
    for line in text.split("\n"):
        if line and drops(line):
            lines[name] += 1
        else:
            kept.append(line)
    return "\n".join(kept)


def clean(text: str) -> Cleaned:
    """The published steps; `lines` counts by the step that cut them."""
    lines: dict[str, int] = dict.fromkeys(REASONS[:4], 0)
    text = re.sub("\n{3,}", "\n\n", text)
    text = keep_lines(
        text, lambda t: sum(c.isupper() for c in t) / len(t) > 0.5, "uppercase", lines
    ).strip()
    text = keep_lines(
        text, lambda t: sum(c.isdigit() for c in t) / len(t) > 0.999999, "numeric", lines
    ).strip()
    text = keep_lines(text, lambda t: COUNTER.search(t.lower()), "counter", lines).strip()
    text = keep_lines(text, lambda t: len(t.split()) < 2, "few_words", lines)
    for phrase in PHRASES:
        left = []
        for line in text.split("\n"):
            if len(line.split()) <= 10:
                cut = phrase.sub("", line)
                if line and (not cut or cut.isspace()):
                    continue
                left.append(cut)
            else:
                left.append(line)
        text = "\n".join(left).strip()
    return Cleaned(text, lines)


def batch_of(texts: list[str]) -> pa.RecordBatch:
    """A slice of a larger batch."""
    return pa.record_batch({"text": pa.array(["left out", *texts], pa.large_string())}).slice(1)


def cleaned(texts: list[str]) -> tuple[list[str], list[dict[str, int]]]:
    """The view that the edits give, and the counts without the group's name."""
    batch = batch_of(texts)
    signals, edits = refinedweb.compute_with_edits(batch)
    rows = [
        {name.removeprefix("refinedweb_"): value for name, value in row.items()}
        for row in signals.to_pylist()
    ]
    return apply_edits(batch.column("text"), edits).to_pylist(), rows


WORDS = (
    "a the Word CAPS 12 3 \u00b2 \u0663 3,4.5K 7m likes Views VIEWS \u212a li\u212aes _ ... - "
    "items in cart sign-in Sign-In SIGN-IN Read more more... more.. \u0130tems item\u017f "
    "s\u0131gn-in \u2160 \u24b6 \u00e9t\u00e9 \u00c9T\u00c9 \u4f60\u597d \u00bd"
)
WORD = st.sampled_from(WORDS.split())
PHRASE = st.sampled_from(
    ["items in cart", "Items In Cart", "item\u017f \u0130n cart", "Read more...", "read more on",
     "READ MORE\u2026 .", "Sign-in", "S\u0131gn-in", "3 likes", "(1.2K views)", "5 \u212a likes"]
)  # fmt: skip
SPACE = st.sampled_from([" ", " ", " ", "  ", "", "\t", "\xa0", "\u3000", "\x1c", "\0"])
LINE = st.lists(WORD | WORD | PHRASE | SPACE, max_size=14).flatmap(
    lambda parts: st.lists(SPACE, min_size=len(parts), max_size=len(parts)).map(
        lambda gaps: "".join(itertools.chain.from_iterable(zip(parts, gaps, strict=True)))
    )
)
BREAK = st.sampled_from(["\n", "\n", "\n", "\n\n", "\n\n\n\n", "\r\n", " \n", "\u2028"])
PAGE = st.lists(LINE | BREAK, max_size=12).map("\n".join)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@settings(max_examples=400, deadline=None)
@given(st.lists(PAGE | ANY_TEXT, max_size=3))
@example(["Read items in cart more...", "\n\n\n\n", "", "  Sign-in now", "a b\nread more...  "])
@example(["Sign-in read more...\n  sign-in a b\nx y\nitems in cart items in cart\n"])
@example([" AB\n 12 \n 3 likes\nno yes\n", "a b\n\n\n\n\nc d", "\u0130tems \u0131n cart a b"])
@example(["a b\nc d read more... \nitems in cart items in cart"])
def test_pages_equal_the_published_steps(texts: list[str]) -> None:
    views, counts = cleaned(texts)
    for text, view, count in zip(texts, views, counts, strict=True):
        expected = clean(text)
        assert view == expected.text
        assert count["num_words"] == words(text)
        assert count["num_removed_words"] == words(text) - words(expected.text)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(LINE.filter(lambda t: "\n" not in t), max_size=6), max_size=3))
def test_lines_are_counted_by_the_first_reason(pages: list[list[str]]) -> None:
    pages = [[line.strip() for line in page] for page in pages]  # as the steps strip the first
    _, counts = cleaned(["\n".join(page) for page in pages])
    for page, count in zip(pages, counts, strict=True):
        expected = clean("\n".join(page))
        assert count["num_lines"] == sum(line != "" for line in page)
        found = {reason: count[f"num_{reason}_lines"] for reason in expected.lines}
        assert found == expected.lines


@settings(max_examples=100, deadline=None)
@given(st.lists(PAGE, max_size=3))
def test_spans_are_sorted_and_apart(texts: list[str]) -> None:
    _, edits = refinedweb.compute_with_edits(batch_of(texts))
    spans = [(e["row"], e["start"], e["end"], e["reason"]) for e in edits.to_pylist()]
    assert all(start < end and reason in REASONS for _, start, end, reason in spans)
    for (row, _, end, _), (next_row, start, _, _) in itertools.pairwise(spans):
        assert row < next_row or end <= start


COUNTED = st.builds(
    str.join,
    st.sampled_from(["", " ", "\xa0"]),
    st.lists(
        st.sampled_from(
            [*NOUNS, *(noun.upper() for noun in NOUNS), "1", "2,3", ".", "k", "K", "\u212a", "B",
             " ", "\t", "(", ")", "_", "\u0130", "li\u212aes", "\u0663", "\u00b2", "\u2160", "-"]
        ),
        max_size=7,
    ),
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(COUNTED | ANY_TEXT)
@example("* 1.2K views *")
def test_counters_are_those_of_the_published_expression(line: str) -> None:
    line = line.replace("\n", " ")
    _, data = text_bytes(pa.array([line + "2 likes"], pa.large_string()))
    found = is_counter(data, 0, len(line.encode()))
    assert found == (COUNTER.search(line.lower()) is not None)


@pytest.mark.parametrize("padding", [0, 1, 62, 63, 64, 65, 200])
def test_lines_are_measured_alike_at_every_offset(padding: int) -> None:
    """Blocks of 64 bytes, the end of the array, and lines with other characters."""
    for word in ("Ab1", "\u00c9\u00b2x", "a\0B", "q\x1cr", "\u4f60 \u597d"):
        line = "x" * padding + word + " Y" * padding
        _, data = text_bytes(pa.array([line], pa.large_string()))
        assert measure(data, 0, data.size) == (
            len(line),
            sum(c.isupper() for c in line),
            sum(c.isdigit() for c in line),
            len(line.split()),
            words(line),
        )


PROSE = "the cat and the dog have been to the old house of that man with a red hat"


@pytest.mark.parametrize(
    ("page", "reasons"),
    [
        (PROSE, {}),
        (f"{PROSE}\n3 likes", {"counter": 1}),
        (f"{PROSE}\nHOME ABOUT\n2024\nMenu", {"uppercase": 1, "numeric": 1, "few_words": 1}),
        (f"{PROSE}\n3 items in cart\nSign-in here", {"phrase": 2}),
    ],
)
def test_each_reason(page: str, reasons: dict[str, int]) -> None:
    _, (counts,) = cleaned([page])
    found = {name: counts[f"num_{name}_lines"] for name in REASONS[:5]}
    expected: dict[str, int] = dict.fromkeys(REASONS[:5], 0)
    assert found == expected | reasons


@pytest.mark.parametrize(("num_lost", "dropped"), [(10, False), (12, True)])
def test_a_page_may_lose_one_word_in_twenty(num_lost: int, dropped: bool) -> None:
    page = "\n".join(["two words"] * ((200 - num_lost) // 2) + ["Menu"] * num_lost)
    signals, _ = refinedweb.compute_with_edits(batch_of([page]))
    (rule,) = (r for r in load_recipe("refinedweb").rules if r.signal.startswith("refinedweb_"))
    assert signals.column("refinedweb_num_words").to_pylist() == [200]
    assert signals.column("refinedweb_num_removed_words").to_pylist() == [num_lost]
    assert evaluate([rule], signals).drop.to_pylist() == [dropped]


def test_no_rows_and_no_text() -> None:
    signals, edits = refinedweb.compute_with_edits(batch_of([]))
    assert (signals.num_rows, edits.num_rows) == (0, 0)
    signals, edits = refinedweb.compute_with_edits(batch_of(["", ""]))
    assert np.all([column.to_numpy() == 0 for column in signals.columns])
    assert edits.num_rows == 0
