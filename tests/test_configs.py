"""The ready corpora and training runs of configs/: each can be used, and does what it says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipelines import preflight
from pipelines.config import load_config
from storage.settings import load_settings, load_yaml
from tests.whole_line import EXAMPLE, ROOT, run_corpus
from training.config import TrainConfig
from training.models.presets import PRESETS

CORPORA = sorted((ROOT / "configs" / "corpora").glob("*.yaml"))
TRAINING = sorted((ROOT / "configs" / "training").glob("*.yaml"))
RAW_FILES = {
    "crawl": "web/*.warc.gz",
    "books": "books/11*.gz",
    "wikipedia": "wikipedia/*.bz2",
    "code": "code/*.gz",
}
"""What users put into the folders that the corpora name, by examples of it."""


def file_name(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", CORPORA, ids=file_name)
def test_a_corpus_can_be_used_where_it_is_copied(path: Path, tmp_path: Path) -> None:
    shutil.copy(path, tmp_path / "corpus.yaml")
    config = load_config(str(tmp_path / "corpus.yaml"))
    preflight.check(config)
    assert config.name == path.stem
    for source in config.sources:
        for raw in source.paths:
            assert Path(raw).relative_to(tmp_path).parts[0] in RAW_FILES


@pytest.mark.parametrize("path", TRAINING, ids=file_name)
def test_a_training_run_names_its_own_size(path: Path, tmp_path: Path) -> None:
    config = load_settings(TrainConfig, str(path))
    _, _, size = path.stem.partition("-")
    assert config.model.preset == size
    assert size in PRESETS


@pytest.mark.slow
def test_the_mixture_is_made_of_every_source(tmp_path: Path) -> None:
    for folder, pattern in RAW_FILES.items():
        (tmp_path / folder).mkdir()
        for path in EXAMPLE.glob(pattern):
            shutil.copy(path, tmp_path / folder)
    corpus = tmp_path / "corpus.yaml"
    shutil.copy(ROOT / "configs" / "corpora" / "mixture.yaml", corpus)
    run_corpus(str(corpus), "--set", "tokenizer.vocab_size=600")
    strata = {shard.name.partition("-0")[0] for shard in (tmp_path / "out").rglob("train/*.tar")}
    weights = load_yaml(str(ROOT / "configs" / "training" / "decoder-135m.yaml"))
    assert strata == set(weights["stream"]["mixture"]["weights"])
