"""`select.buckets` end to end: shards of their own for each bucket of a language."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml

from storage import commit, tables
from storage.manifest import load_manifest
from tests.command_line import CommandLine, write_corpus, write_documents

SIZES = [7, 12, 5, 9, 20, 8, 4, 11, 30, 16, 100]  # words of the documents; a rule drops the last
RULES = {"rules": [{"signal": "num_words", "max": 90, "reason": "long"}]}
PARTITION = {"validation_fraction": 0.0, "partition_by": ["source", "bucket"]}


@pytest.fixture
def tilth(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


def corpus_of(folder: Path, **buckets) -> str:
    texts = [" ".join(f"word{n}" for n in range(size)) for size in SIZES]
    write_documents(folder / "raw" / "a.jsonl", texts)
    (folder / "rules.yaml").write_text(yaml.safe_dump(RULES))
    select = {"languages": [], "buckets": {"signal": "num_words", **buckets}}
    sections = {"select": select, "pack": PARTITION, "dedup": {"fuzzy": False}}
    return write_corpus(folder, {"recipe": "rules.yaml"}, **sections)


def strata(folder: Path) -> dict[str, int]:
    rows = load_manifest(str(folder / "out")).strata
    return {row["stratum"]: row["documents"] for row in rows}


def test_shares_of_what_is_kept_become_strata(tilth: CommandLine, tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, bounds={"*": [8, 12]})
    tilth.succeeds("run", corpus)
    assert strata(tmp_path) == {"one.head": 4, "one.middle": 3, "one.tail": 3}
    corpus = corpus_of(tmp_path, bounds={"xx": [8, 12]})
    tilth.succeeds("run", corpus)
    assert strata(tmp_path) == {"one.all": 10}
    languages = Counter(
        language
        for marker in commit.read_markers(str(tmp_path / "out"), "signals/language")
        for language in tables.read_table(
            str(tmp_path / "out" / marker.object("signals/language").path)
        )["language"].to_pylist()[:-1]
    )
    corpus = corpus_of(tmp_path, shares=[0.3, 0.6])
    tilth.succeeds("run", corpus)
    heads = sum(-(-3 * number // 10) for number in languages.values())
    assert strata(tmp_path)["one.head"] == heads
    assert sum(strata(tmp_path).values()) == 10


def test_mistakes_are_named(tilth: CommandLine, tmp_path: Path) -> None:
    assert "either shares" in tilth.fails(2, "run", corpus_of(tmp_path))
    assert "3 buckets need 2 limits" in tilth.fails(2, "run", corpus_of(tmp_path, shares=[0.3]))
    corpus = corpus_of(tmp_path, bounds={"en": [9, 3]})
    assert "ascending" in tilth.fails(2, "run", corpus)
    corpus = corpus_of(tmp_path, signal="perplexity", bounds="ccnet")
    assert "unknown signal 'perplexity'" in tilth.fails(2, "run", corpus)
    corpus = write_corpus(tmp_path, pack=PARTITION)
    assert "select.buckets" in tilth.fails(2, "run", corpus)
