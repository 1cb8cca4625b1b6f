"""Commands run in this process, as a user would type them, and what they must say when they fail.

In this process because starting one costs seconds of imports.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

import tilth
from storage import commit, tables

STAGE_TIME = re.compile(
    r"(ingest|annotate|takedown|license|select|decontaminate|dedup|pack) +\d+\.\d s"
)
NUM_DOCUMENTS = 8


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


class CommandLine:
    """`tilth` with the output of each command caught."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def call(self, *arguments: str) -> Outcome:
        self._capsys.readouterr()
        code = tilth.main(list(arguments))
        caught = self._capsys.readouterr()
        return Outcome(code, caught.out, caught.err)

    def succeeds(self, *arguments: str) -> str:
        """What a command printed."""
        outcome = self.call(*arguments)
        assert outcome.code == 0, outcome.err
        return outcome.out

    def fails(self, code: int, *arguments: str) -> str:
        """The one line with which a command must fail."""
        outcome = self.call(*arguments)
        assert outcome.code == code, outcome
        return error_line(outcome.err)


def error_line(stderr: str) -> str:
    """The line of an error; asserts that there is nothing else, a traceback least of all."""
    lines = [line for line in stderr.splitlines() if not STAGE_TIME.fullmatch(line)]
    assert len(lines) == 1, stderr
    assert lines[0].startswith("tilth: "), stderr
    assert lines[0].isprintable()
    return lines[0].removeprefix("tilth: ")


def write_documents(path: Path, texts: list[str] | None = None) -> None:
    """A JSONL file; by default of NUM_DOCUMENTS documents that nothing drops."""
    texts = texts or [
        f"Number {n}: the {n * n} hens of farm {n * 7} lay {n + 3} eggs a day, says page {n * 31}."
        for n in range(NUM_DOCUMENTS)
    ]
    rows = [{"text": text, "url": f"https://example.org/{n}"} for n, text in enumerate(texts)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_corpus(folder: Path, source: dict[str, Any] | None = None, **sections: Any) -> str:
    """A corpus file of one source, with output `out` and, unless `source` says, raw/a.jsonl."""
    values = {
        "name": "small",
        "output": "out",
        "sources": [{"name": "one", "format": "jsonl", "paths": "raw/*", **(source or {})}],
        "tokenizer": {"vocab_size": 300},
        "pack": {"validation_fraction": 0.0},
        **sections,
    }
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "raw").exists():
        write_documents(folder / "raw" / "a.jsonl")
    path = folder / "corpus.yaml"
    path.write_text(yaml.safe_dump(values))
    return str(path)


def documents(folder: Path, source: str = "one") -> list[dict[str, Any]]:
    """The rows of `documents/` that are committed below `folder/out`."""
    return _rows(folder, "documents", source)


def casualties(folder: Path, source: str = "one") -> list[dict[str, Any]]:
    return _rows(folder, "casualties", source)


def _rows(folder: Path, table: str, source: str) -> list[dict[str, Any]]:
    output = folder / "out"
    return [
        row
        for marker in commit.read_markers(str(output), "ingest")
        for written in marker.objects
        if written.table == table and marker.part.startswith(f"{source}/")
        for row in tables.read_table(str(output / written.path)).to_pylist()
    ]
