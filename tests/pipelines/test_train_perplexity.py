"""`tilth perplexity train`, then its model as a signal of a finished corpus and a rule on it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from storage import commit, tables
from tests.command_line import CommandLine, write_corpus, write_documents

NOUNS = ("farmer", "miller", "doctor", "teacher", "brother", "neighbour")
NO_DEDUP = {"dedup": {"fuzzy": False}}


@pytest.fixture
def tilth(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


def sentences(first: int, number: int) -> list[str]:
    """Texts that a model can learn: the order of words is always the same."""
    return [
        f"In the year {n} the {NOUNS[n % 6]} told his {NOUNS[n % 5]} that the corn was ripe and "
        f"that the {NOUNS[n % 4]} had come to the village to buy {n} bags of it."
        for n in range(first, first + number)
    ]


def write_model(folder: Path, **settings) -> str:
    write_documents(folder / "texts.jsonl", sentences(0, 200))
    values = {"output": "en.npz", "texts": [{"paths": "texts.jsonl"}], "holdout": 0.2, **settings}
    path = folder / "model.yaml"
    path.write_text(yaml.safe_dump(values))
    return str(path)


def digests(folder: Path) -> dict[str, str]:
    return {
        written.path: written.digest
        for marker in commit.read_markers(str(folder / "out"), "")
        for written in marker.objects
    }


def test_a_model_is_trained_measured_and_the_same_again(tilth: CommandLine, tmp_path: Path) -> None:
    path = write_model(tmp_path)
    assert "perplexity" in tilth.succeeds("perplexity", "train", path)
    metrics = json.loads((tmp_path / "en.metrics.json").read_text())
    assert metrics["held_out_texts"] + metrics["training_texts"] == 200
    assert metrics["perplexity"] < metrics["perplexity_shuffled"] / 3
    first = (tmp_path / "en.npz").read_bytes()
    tilth.succeeds("perplexity", "train", path)
    assert (tmp_path / "en.npz").read_bytes() == first


def test_adding_a_model_writes_its_group_only_and_a_rule_decides_by_it(
    tilth: CommandLine, tmp_path: Path
) -> None:
    tilth.succeeds("perplexity", "train", write_model(tmp_path))
    random = np.random.default_rng(0)
    good = sentences(1000, 10)
    bad = [" ".join(random.permutation(text.split())) for text in good]
    write_documents(tmp_path / "raw" / "a.jsonl", [*good, *bad])
    tilth.succeeds("run", write_corpus(tmp_path, **NO_DEDUP))
    before = digests(tmp_path)
    (tmp_path / "raw" / "a.jsonl").rename(tmp_path / "moved.jsonl")
    rule = {"signal": "perplexity", "bottom": 0.5, "per": ["language"], "reason": "unusual"}
    rule |= {"languages": ["en"]}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"rules": [rule]}))
    annotate = {"perplexity": {"en": "en.npz"}}
    corpus = write_corpus(tmp_path, {"recipe": "rules.yaml"}, annotate=annotate, **NO_DEDUP)
    tilth.succeeds("annotate", corpus)
    after = digests(tmp_path)
    stored = "signals/perplexity/one/0000000-0000.parquet"
    assert {path for path in after if after[path] != before.get(path)} == {stored}
    tilth.succeeds("select", corpus)
    path = tmp_path / "out" / "decisions" / "select" / "one" / "0000000-0000.parquet"
    assert tables.read_table(str(path))["drop"].to_pylist() == [False] * 10 + [True] * 10
    (tmp_path / "moved.jsonl").rename(tmp_path / "raw" / "a.jsonl")
    fused = tmp_path / "fused"
    (fused / "raw").mkdir(parents=True)
    for name in ("en.npz", "rules.yaml", "raw/a.jsonl"):
        (fused / name).write_bytes((tmp_path / name).read_bytes())
    corpus = write_corpus(fused, {"recipe": "rules.yaml"}, annotate=annotate, **NO_DEDUP)
    tilth.succeeds("ingest", corpus)
    assert digests(fused)[stored] == after[stored]


def test_mistakes_are_named(tilth: CommandLine, tmp_path: Path) -> None:
    path = write_model(tmp_path)

    def fails(*values: str) -> str:
        sets = [word for value in values for word in ("--set", value)]
        return tilth.fails(2, "perplexity", "train", path, *sets)

    assert "must end in .npz" in fails("output=x.bin")
    assert "order" in fails("order=9")
    assert "no row of" in fails("texts.0.field=body")
    assert "have no words" in fails("holdout=0.000001")
    (tmp_path / "bad.npz").write_bytes(b"no model")
    corpus = write_corpus(tmp_path, annotate={"perplexity": {"en": "bad.npz"}})
    assert "annotate.perplexity.en" in tilth.fails(2, "run", corpus)
    corpus = write_corpus(tmp_path, annotate={"perplexity": {"en": "en.zip"}})
    (tmp_path / "en.zip").write_bytes(b"no model")
    assert "must end in one of .npz, .arpa" in tilth.fails(2, "run", corpus)
    tilth.succeeds("run", write_corpus(tmp_path))
    corpus = write_corpus(tmp_path, annotate={"perplexity": {"en": "missing.npz"}})
    assert "missing.npz cannot be read" in tilth.fails(2, "annotate", corpus)
