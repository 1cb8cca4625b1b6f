"""`tilth classifier train`, then its model as a signal of a finished corpus and a rule on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from storage import commit, tables
from tests.command_line import CommandLine, write_corpus, write_documents

TOPICS = {1: ["lemma", "theorem", "proof", "axiom"], 0: ["click", "buy", "cheap", "subscribe"]}


@pytest.fixture
def tilth(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


def texts(label: int, number: int) -> list[str]:
    words = TOPICS[label]
    return [
        " ".join(words[(n + k * (n % 3 + 1)) % 4] for k in range(5)) + f" number {n}"
        for n in range(number)
    ]


def write_classifier(folder: Path, **settings) -> str:
    rows = [{"text": text, "label": label} for label in (1, 0) for text in texts(label, 40)]
    lines = "".join(json.dumps(row) + "\n" for row in [*rows, {"label": 1}, {"text": 3}])
    (folder / "labelled.jsonl").write_text(lines)
    values = {
        "output": "quality.npz",
        "positives": [{"paths": "labelled.jsonl", "where": {"label": 1}}],
        "negatives": [{"paths": "labelled.jsonl", "where": {"label": 0}}],
        "buckets": 4096,
        "epochs": 20,
        "holdout": 0.3,
        **settings,
    }
    path = folder / "classifier.yaml"
    path.write_text(yaml.safe_dump(values))
    return str(path)


def digests(folder: Path) -> dict[str, str]:
    return {
        written.path: written.digest
        for marker in commit.read_markers(str(folder / "out"), "")
        for written in marker.objects
    }


def test_a_classifier_is_trained_measured_and_the_same_again(
    tilth: CommandLine, tmp_path: Path
) -> None:
    path = write_classifier(tmp_path)
    assert "AUC 1.000" in tilth.succeeds("classifier", "train", path)
    metrics = json.loads((tmp_path / "quality.metrics.json").read_text())
    assert metrics["held_out_examples"] + metrics["training_examples"] == 80
    assert metrics["thresholds"][2]["precision"] == 1.0
    first = (tmp_path / "quality.npz").read_bytes()
    tilth.succeeds("classifier", "train", path)
    assert (tmp_path / "quality.npz").read_bytes() == first


def test_adding_a_classifier_writes_its_group_only_and_a_rule_decides_by_it(
    tilth: CommandLine, tmp_path: Path
) -> None:
    tilth.succeeds("classifier", "train", write_classifier(tmp_path))
    write_documents(tmp_path / "raw" / "a.jsonl", [*texts(1, 50)[40:], *texts(0, 50)[40:]])
    no_dedup = {"dedup": {"fuzzy": False}}
    corpus = write_corpus(tmp_path, **no_dedup)
    tilth.succeeds("run", corpus)
    before = digests(tmp_path)
    (tmp_path / "raw" / "a.jsonl").rename(tmp_path / "moved.jsonl")
    rule = {"signal": "quality_score", "min": 0.5, "reason": "low_quality"}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"rules": [rule]}))
    annotate = {"classifiers": [{"name": "quality", "model": "quality.npz"}]}
    corpus = write_corpus(tmp_path, {"recipe": "rules.yaml"}, annotate=annotate, **no_dedup)
    tilth.succeeds("annotate", corpus)
    after = digests(tmp_path)
    assert {path for path in after if after[path] != before.get(path)} == {
        "signals/classifier_quality/one/0000000-0000.parquet"
    }
    tilth.succeeds("select", corpus)
    path = tmp_path / "out" / "decisions" / "select" / "one" / "0000000-0000.parquet"
    assert tables.read_table(str(path))["drop"].to_pylist() == [False] * 10 + [True] * 10


def test_mistakes_are_named(tilth: CommandLine, tmp_path: Path) -> None:
    path = write_classifier(tmp_path)

    def fails(*values: str) -> str:
        sets = [word for value in values for word in ("--set", value)]
        return tilth.fails(2, "classifier", "train", path, *sets)

    assert "must end in .npz" in fails("output=x.bin")
    assert "no power of two" in fails("buckets=1000")
    assert "unknown key 'ngrams'; did you mean 'ngram'" in fails("ngrams=2")
    assert "no row of" in fails("positives.0.where.label=7")
    assert "nothing at" in fails("positives.0.paths=missing.jsonl")
    assert "all of one kind" in fails("holdout=0.000001")
    (tmp_path / "bad.npz").write_bytes(b"no model")
    annotate = {"classifiers": [{"name": "quality", "model": "bad.npz"}]}
    corpus = write_corpus(tmp_path, annotate=annotate)
    assert "annotate.classifiers.quality" in tilth.fails(2, "run", corpus)
    tilth.succeeds("run", write_corpus(tmp_path))
    annotate = {"classifiers": [{"name": "quality", "model": "missing.npz"}]}
    corpus = write_corpus(tmp_path, annotate=annotate)
    assert "missing.npz, cannot be read" in tilth.fails(2, "annotate", corpus)
