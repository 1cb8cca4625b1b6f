"""Languages of paragraphs: counts of documents whose languages are known."""

from __future__ import annotations

import pyarrow as pa

from filters import paragraph_language
from filters.paragraph_language import SCHEMA, compute
from filters.rules import Rule, evaluate
from tests.filters.test_language import SENTENCES

ENGLISH, FRENCH, GERMAN = (SENTENCES[name] for name in ("en", "fr", "de"))
SHORT = "Une ligne courte."


def batch(*texts: str) -> pa.RecordBatch:
    return pa.record_batch({"text": pa.array(texts, pa.large_string())})


def counts(text: str) -> list[int]:
    return [column[0].as_py() for column in compute(batch(text)).columns]


def test_paragraphs_are_compared_with_the_document() -> None:
    start = "\n".join([ENGLISH] * 13)  # more than the 1,000 characters that name the document
    text = f"{start}\n\n{FRENCH}\n  {GERMAN}\n{SHORT}"
    foreign = len(FRENCH) + len(GERMAN)
    assert counts(text) == [15, 2, 13 * len(ENGLISH) + foreign, foreign]
    assert counts(start) == [13, 0, 13 * len(ENGLISH), 0]


def test_what_is_too_short_or_empty_is_not_judged() -> None:
    for text in ("", "\n\n", SHORT, "\n".join([SHORT] * 50), "\0" * 100, "12345 " * 200):
        assert counts(text)[1] == 0
    assert counts(SHORT) == [0, 0, 0, 0]


def test_rows_do_not_depend_on_their_batch() -> None:
    whole = batch(ENGLISH, "", f"{ENGLISH}\n{FRENCH}", GERMAN)
    found = compute(whole)
    assert found.schema == SCHEMA
    assert found.slice(2, 1).equals(compute(whole.slice(2, 1)))
    assert compute(whole.slice(0, 0)).num_rows == 0


def test_rules_read_the_share() -> None:
    start = "\n".join([ENGLISH] * 13)
    signals = compute(batch(start, "\n".join([start, *[FRENCH] * 13]), ""))
    rule = Rule(signal="foreign_paragraph_char_ratio", max=0.3, reason="mixed")
    assert evaluate([rule], signals).drop.to_pylist() == [False, True, False]
    assert {ratio.name for ratio in paragraph_language.RATIOS} == {
        "foreign_paragraph_ratio",
        "foreign_paragraph_char_ratio",
    }
