"""`tilth tune`: its counts against the documents, and text that attacks the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.command_line import CommandLine, write_corpus, write_documents

NUM_DOCUMENTS = 12
RECIPE = {
    "rules": [
        {"signal": "num_words", "min": 6, "reason": "few_words"},
        {"signal": "num_words", "min": 4, "reason": "very_few_words"},
        {"signal": "language", "in": ["en", "xx"], "reason": "strange"},
    ]
}


@pytest.fixture
def tilth(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


@pytest.fixture
def corpus(tmp_path: Path, tilth: CommandLine) -> str:
    """Document n has n words, from 1 on."""
    texts = [" ".join(["house"] * (n - 1) + ["\x1b[31mred\u202e"]) for n in range(1, 13)]
    write_documents(tmp_path / "raw" / "a.jsonl", texts)
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(RECIPE))
    path = write_corpus(tmp_path, {"recipe": "rules.yaml"})
    tilth.succeeds("ingest", path)
    tilth.succeeds("annotate", path)
    return path


def cells(text: str, first: str) -> list[str]:
    """The line that begins with a word, in pieces."""
    return next(line.split() for line in text.splitlines() if line.split()[:1] == [first])


def test_rules_are_counted_first_alone_and_only(tilth: CommandLine, corpus: str) -> None:
    text = tilth.succeeds("tune", corpus)
    assert cells(text, "few_words") == ["few_words", "num_words", ">=", "6", "5", "5", "2"]
    assert cells(text, "very_few_words")[-3:] == ["0", "3", "0"]


def test_thresholds_keep_what_they_say(tilth: CommandLine, corpus: str) -> None:
    text = tilth.succeeds("tune", corpus, "--rule", "few_words")
    assert "rule few_words: num_words >= 6: 12 documents" in text
    assert cells(text, "all")[:2] == ["all", "12"]
    assert cells(text, "all")[6] == "6"  # lower median of 1..12
    assert cells(text, "6")[:4] == ["6", "*", "7", "58.3"]
    assert cells(text, "11")[:2] == ["11", "2"]
    lines = [line.split() for line in text.splitlines()]
    edge = [line[:2] for line in lines if line[1:2] in (["kept"], ["dropped"])]
    assert sorted(edge) == [
        ["4", "dropped"],
        ["5", "dropped"],
        ["6", "kept"],
        ["7", "kept"],
        ["8", "kept"],
    ]


def test_signals_without_a_rule_and_lists(tilth: CommandLine, corpus: str) -> None:
    text = tilth.succeeds("tune", corpus, "--rule", "mean_word_chars")
    assert "12 documents" in text
    listed = tilth.succeeds("tune", corpus, "--rule", "strange")
    numbers = [int(line.split()[1]) for line in listed.splitlines()[2:]]
    assert sum(numbers) == NUM_DOCUMENTS


def test_text_cannot_act_on_the_terminal(tilth: CommandLine, corpus: str) -> None:
    text = tilth.succeeds("tune", corpus, "--rule", "few_words")
    assert r"\x1b[31mred\u202e" in text
    assert all(line.isprintable() for line in text.splitlines())


def test_mistakes_are_named(tilth: CommandLine, corpus: str, tmp_path: Path) -> None:
    line = tilth.fails(2, "tune", corpus, "--rule", "few_wrods")
    assert "rules are few_words, strange, very_few_words" in line
    fresh = write_corpus(tmp_path / "fresh")
    assert "run `tilth annotate`" in tilth.fails(1, "tune", fresh)
