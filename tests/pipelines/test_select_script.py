"""A rule on the script, whose signals are computed where a rule reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from storage import tables
from tests.command_line import CommandLine, write_corpus, write_documents

TEXTS = ["Words of a Latin text.", "\u0421\u043b\u043e\u0432\u0430 text", "12345 67890"]
RULES = [
    {"signal": "script", "in": ["Latn", "Cyrl"], "reason": "script"},
    {"signal": "script_ratio", "min": 0.9, "reason": "mixed_scripts"},
]


def test_documents_are_dropped_by_script(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    tilth = CommandLine(capsys)
    write_documents(tmp_path / "raw" / "a.jsonl", TEXTS)
    without = write_corpus(tmp_path)
    tilth.succeeds("ingest", without)
    assert not (tmp_path / "out" / "signals" / "script").exists()
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"rules": RULES}))
    corpus = write_corpus(tmp_path, {"recipe": "rules.yaml"})
    tilth.succeeds("annotate", corpus)
    for _ in range(2):  # the second time nothing is left to do
        line = "one: 3 documents, 1 kept; dropped: mixed_scripts 1, script 1\n"
        assert tilth.succeeds("select", corpus) == line
    path = tmp_path / "out" / "decisions" / "select" / "one" / "0000000-0000.parquet"
    assert tables.read_table(str(path))["reason"].to_pylist() == ["", "mixed_scripts", "script"]
