"""`top` in a rule: the best share of the corpus, whatever its parts, and decided again with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from storage import commit, tables
from tests.command_line import CommandLine, write_corpus, write_documents

RULES = [
    {"signal": "num_words", "max": 90, "reason": "long"},
    {"signal": "num_words", "top": 0.25, "reason": "not_best"},
]
NO_DEDUP = {"dedup": {"fuzzy": False}}


@pytest.fixture
def tilth(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


def text(num_words: int) -> str:
    return " ".join(f"word{n}" for n in range(num_words))


def corpus_of(folder: Path, sizes: list[list[int]]) -> str:
    """A unit, and so a part, for each list: documents of so many words."""
    for number, ones in enumerate(sizes):
        write_documents(folder / "raw" / f"{number}.jsonl", [text(size) for size in ones])
    (folder / "rules.yaml").write_text(yaml.safe_dump({"rules": RULES}))
    ingest = {"unit_bytes": 1}
    return write_corpus(folder, {"recipe": "rules.yaml"}, ingest=ingest, **NO_DEDUP)


def kept_words(folder: Path) -> list[int]:
    """Words of the documents that select keeps, ascending."""
    output = folder / "out"
    sizes = []
    for marker in commit.read_markers(str(output), "decisions/select"):
        decided = tables.read_table(str(output / "decisions" / "select" / f"{marker.part}.parquet"))
        counted = tables.read_table(str(output / "signals" / "text" / f"{marker.part}.parquet"))
        words, drops = counted["num_words"].to_pylist(), decided["drop"].to_pylist()
        sizes += [size for size, drop in zip(words, drops, strict=True) if not drop]
    return sorted(sizes)


def test_the_best_share_does_not_depend_on_parts(tilth: CommandLine, tmp_path: Path) -> None:
    sizes = [7, 3, 12, 5, 9, 100, 8, 4, 11]  # without the 100, the best two of eight
    for name, parts in (("one", [sizes]), ("two", [sizes[5:], sizes[:2], sizes[2:5]])):
        corpus = corpus_of(tmp_path / name, parts)
        tilth.succeeds("ingest", corpus)
        tilth.succeeds("annotate", corpus)
        tilth.succeeds("select", corpus)
        assert kept_words(tmp_path / name) == [11, 12]
    shown = tilth.succeeds("tune", corpus)
    assert "not_best  num_words  >= 11, top 25 %" in shown
    assert "11 *" in tilth.succeeds("tune", corpus, "--rule", "not_best")


def test_a_grown_corpus_is_decided_again(tilth: CommandLine, tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, [[7, 3, 12, 5], [9, 8]])
    tilth.succeeds("run", corpus)
    assert kept_words(tmp_path) == [9, 12]
    write_documents(tmp_path / "raw" / "2.jsonl", [text(size) for size in (20, 21)])
    tilth.succeeds("run", corpus)
    assert kept_words(tmp_path) == [20, 21]
    assert "not_best" in (tmp_path / "out" / "report.html").read_text()
