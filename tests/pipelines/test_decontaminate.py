"""Decontamination as a user runs it: drops, cuts, changed thresholds, mistakes in the file."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage import commit, tables
from tests.command_line import CommandLine, write_corpus, write_documents

QUESTIONS = [
    "If a train leaves the station at nine and travels for three hours at sixty miles an hour, "
    "how far has it gone when the clock strikes noon?",
    "Seven brothers share a field of forty acres so that each has two acres more than the next "
    "younger one; how much does the youngest get?",
]
FARM = "Number {0}: the {1} hens of farm {0}7 lay {1}3 eggs a day, says page {1}31 of the book."
LEAK_ROWS = {2: 0, 5: 1}
"""Row of a document -> question that it holds."""


@pytest.fixture
def tilth(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


def write_leaky_documents(folder: Path) -> None:
    texts = [FARM.format(n, n * n) for n in range(8)]
    for row, question in LEAK_ROWS.items():
        texts[row] = f"{texts[row]}\n\n{QUESTIONS[question].upper()}\n\nThe answer is left out."
    write_documents(folder / "raw" / "a.jsonl", texts)


def write_evaluations(folder: Path) -> list[dict]:
    """One question each in JSON Lines and in an Arrow stream; Parquet with neither."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trains.jsonl").write_text(json.dumps({"q": {"text": QUESTIONS[0]}, "id": 1}) + "\n")
    rows = pa.table({"question": [QUESTIONS[1]], "answers": [["12", "no"]]})
    arrow = folder / "fields" / "validation"
    arrow.mkdir(parents=True)
    with pa.ipc.new_stream(str(arrow / "data-0.arrow"), rows.schema) as writer:
        writer.write_table(rows)
    (arrow / "dataset_info.json").write_text("{}")
    pq.write_table(pa.table({"text": ["One two three"]}), folder / "none.parquet")
    return [
        {"name": "trains", "paths": str(folder / "trains.jsonl"), "fields": "q.text"},
        {"name": "fields", "paths": str(folder / "fields"), "fields": ["question", "answers"]},
        {"name": "none", "paths": str(folder / "*.parquet")},
    ]


def fates(folder: Path) -> list[tuple[str, str]]:
    path = folder / "out" / "decisions" / "final" / "one" / "0000000-0000.parquet"
    rows = tables.read_table(str(path)).to_pylist()
    return [(row["stage"], row["reason"]) for row in rows]


def digests(folder: Path) -> dict[str, str]:
    return {
        written.path: written.digest
        for marker in commit.read_markers(str(folder / "out"), "")
        for written in marker.objects
    }


def test_documents_with_leaks_are_dropped(tilth: CommandLine, tmp_path: Path) -> None:
    write_leaky_documents(tmp_path)
    evaluations = write_evaluations(tmp_path / "eval")
    corpus = write_corpus(tmp_path, decontamination={"evaluations": evaluations})
    tilth.succeeds("run", corpus)
    expected = [("", "")] * 8
    expected[2] = ("decontamination", "leak_trains")
    expected[5] = ("decontamination", "leak_fields")
    assert fates(tmp_path) == expected
    tilth.succeeds("report", corpus)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "trains: the first 1 of 1 places" in page
    assert f"<mark>{QUESTIONS[0][:-1].upper()}</mark>?" in page


def test_a_threshold_rewrites_decisions_only(tilth: CommandLine, tmp_path: Path) -> None:
    write_leaky_documents(tmp_path)
    evaluations = write_evaluations(tmp_path / "eval")
    corpus = write_corpus(tmp_path, decontamination={"evaluations": evaluations})
    tilth.succeeds("run", corpus)
    before = digests(tmp_path)
    (tmp_path / "raw" / "a.jsonl").rename(tmp_path / "moved.jsonl")
    changed = ("--set", "decontamination.min_ngrams=1000")
    for stage in ("annotate", "decontaminate", "dedup"):
        tilth.succeeds(stage, corpus, *changed)
    assert fates(tmp_path) == [("", "")] * 8
    after = digests(tmp_path)
    folders = {path.split("/")[0] for path in after if after[path] != before.get(path)}
    assert "decisions" in folders
    assert not folders & {"documents", "signals", "edits"}


def test_sources_in_cut_lose_the_leak_and_keep_the_document(
    tilth: CommandLine, tmp_path: Path
) -> None:
    write_leaky_documents(tmp_path)
    evaluations = write_evaluations(tmp_path / "eval")
    settings = {"evaluations": evaluations, "cut": ["one"]}
    corpus = write_corpus(tmp_path, decontamination=settings)
    tilth.succeeds("run", corpus)
    assert fates(tmp_path) == [("", "")] * 8
    tilth.succeeds("export-text", corpus, "--folder", str(tmp_path / "text"))
    texts = [
        row["text"]
        for path in sorted((tmp_path / "text").rglob("*.parquet"))
        for row in tables.read_table(str(path)).to_pylist()
    ]
    assert len(texts) == 8
    for row in LEAK_ROWS:
        assert texts[row] == f"{FARM.format(row, row * row)}\n\n?\n\nThe answer is left out."


def test_adding_an_evaluation_writes_its_group_only(tilth: CommandLine, tmp_path: Path) -> None:
    write_leaky_documents(tmp_path)
    corpus = write_corpus(tmp_path)
    tilth.succeeds("run", corpus)
    before = digests(tmp_path)
    evaluations = write_evaluations(tmp_path / "eval")
    corpus = write_corpus(tmp_path, decontamination={"evaluations": evaluations})
    (tmp_path / "raw" / "a.jsonl").rename(tmp_path / "moved.jsonl")
    tilth.succeeds("annotate", corpus)
    after = digests(tmp_path)
    assert {path for path in after if after[path] != before.get(path)} == {
        "signals/decontamination/one/0000000-0000.parquet",
        "edits/decontamination/one/0000000-0000.parquet",
    }
    assert "decontaminate" in tilth.fails(1, "dedup", corpus)


def test_what_cannot_be_read_stops_before_work(tilth: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"a": "b"}\n{"a": \n')
    (tmp_path / "bad.arrow").write_bytes(b"not arrow at all")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "readme.txt").write_text("nothing")

    def fails(code: int = 2, **evaluation) -> str:
        settings = {"evaluations": [{"name": "e", **evaluation}]}
        return tilth.fails(code, "run", write_corpus(tmp_path, decontamination=settings))

    assert "bad.jsonl line 2 is not JSON" in fails(paths="bad.jsonl")
    assert "bad.arrow is not an Arrow file" in fails(paths="bad.arrow")
    assert "holds no file that ends in" in fails(paths="folder")
    assert "nothing at" in fails(paths="missing.jsonl")
    good = tmp_path / "good.jsonl"
    good.write_text('{"a": "b"}\n')
    assert "no field 'b' in" in fails(paths="good.jsonl", fields=["a", "b"])
    assert "its fields are a" in fails(paths="good.jsonl", fields="b")
    assert "ngram" in fails(paths="good.jsonl", ngram=0)
    settings = {"evaluations": [], "cut": ["two"]}
    corpus = write_corpus(tmp_path, decontamination=settings)
    assert "decontamination.cut names 'two'" in tilth.fails(2, "run", corpus)
