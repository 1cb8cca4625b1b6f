"""The audit: planted copies at known rates, drops verified, and nothing of the corpus touched."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from pipelines import annotate, dedup, ingest, select
from pipelines.config import CorpusConfig
from pipelines.duplicates import audit
from pipelines.duplicates.audit import edited
from pipelines.stages import Slice
from storage import commit
from storage.errors import UserError

STAGES = ("decisions/exact", "decisions/fuzzy", "decisions/final", "pairs", "ingest")


def page(seed: int, count: int = 150) -> str:
    rng = random.Random(seed)
    return " ".join("".join(rng.choices("abcdefghijklmnop", k=7)) for _ in range(count))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> CorpusConfig:
    folder = tmp_path_factory.mktemp("audit")
    texts = [page(number) for number in range(80)]
    texts += [text + " and more" for text in texts[:10]]
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    config = CorpusConfig.model_validate(
        {
            "name": "audited",
            "output": str(folder / "out"),
            "sources": [{"name": "web", "format": "jsonl", "paths": [str(folder / "a.jsonl")]}],
            "pack": {"validation_fraction": 0.0},
            "runner": {"workers": 1},
        }
    )
    for stage in (ingest, annotate, select):
        stage.run(config, Slice(0, 1))
    dedup.run(config)
    return config


def fingerprint(config: CorpusConfig) -> str:
    return commit.fingerprint(m for s in STAGES for m in commit.read_markers(config.output, s))


def test_recall_by_edit_rate_and_precision_of_drops(corpus: CorpusConfig) -> None:
    before = fingerprint(corpus)
    found = audit.run(corpus)
    assert fingerprint(corpus) == before
    assert not Path(corpus.path(audit.REHEARSAL)).exists()
    assert sum(rate.planted for rate in found.rates) == 80
    assert found.rates[0].similar == found.rates[0].found == found.rates[0].planted
    assert found.rates[-1].similar == 0
    assert found.similar >= found.found >= 0.9 * found.similar > 0
    assert not any(rate.mistaken for rate in found.rates)
    assert [rate.similarity for rate in found.rates] == sorted(
        (rate.similarity for rate in found.rates), reverse=True
    )
    assert (found.verified, found.right) == (10, 10)
    assert audit.read(corpus) == found
    assert found.decisions == audit.decisions_of(corpus)
    assert "recall" in found.table()


def test_the_same_corpus_gives_the_same_audit(corpus: CorpusConfig) -> None:
    assert audit.run(corpus) == audit.run(corpus)


def test_a_wrong_drop_is_seen(corpus: CorpusConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decisions of a lower threshold, judged by a higher one."""
    dedup_config = corpus.dedup.model_copy(update={"threshold": 0.999})
    found = audit.run(corpus.model_copy(update={"dedup": dedup_config}))
    assert found.verified == 10
    assert found.right == 0
    assert 0.8 <= found.lowest < 0.999


def test_an_audit_needs_decisions_of_the_fuzzy_stage(corpus: CorpusConfig, tmp_path: Path) -> None:
    undecided = corpus.model_copy(update={"output": str(tmp_path)})
    with pytest.raises(UserError, match="tilth dedup"):
        audit.run(undecided)
    exact_only = corpus.dedup.model_copy(update={"fuzzy": False})
    with pytest.raises(UserError, match=r"dedup\.fuzzy"):
        audit.run(corpus.model_copy(update={"dedup": exact_only}))


@pytest.mark.parametrize("percent", [1, 5, 30])
def test_edits_have_the_rate_they_claim(percent: int) -> None:
    for text in (page(1, 400), "".join(chr(0x4E00 + k) for k in range(400))):
        changed = edited(text, percent, 7)
        assert changed == edited(text, percent, 7)
        units = (text.split(), changed.split()) if " " in text else (list(text), None)
        if units[1] is not None:
            different = sum(a != b for a, b in zip(*units, strict=True))
            assert different == round(len(units[0]) * percent / 100)
    assert edited("one two", 0, 1) == "one two"
    assert edited("", 30, 1) == ""
