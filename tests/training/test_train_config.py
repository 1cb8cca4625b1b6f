from pathlib import Path

import pytest
import yaml

from storage.errors import ConfigError
from storage.settings import load_settings
from tests.training.runs import train_config, train_file
from training.config import TrainConfig, dump_train_config


def test_a_minimal_file_is_enough(tmp_path: Path):
    path = tmp_path / "train.yaml"
    path.write_text("corpus: c\noutput: o\nnum_steps: 200\nstream: {plan: {raw_length: 64}}\n")
    config = load_settings(TrainConfig, str(path))
    assert config.corpus == str(tmp_path / "c")
    assert config.output == str(tmp_path / "o")
    assert config.optimizer.name == "adamw"


def test_addresses_of_other_storage_stay(tmp_path: Path):
    config = train_config(tmp_path, "corpus=s3://bucket/c", "output=/runs/o/")
    assert (config.corpus, config.output) == ("s3://bucket/c", "/runs/o")


def test_overrides_are_read_as_yaml(tmp_path: Path):
    config = train_config(tmp_path, "optimizer.learning_rate=0.5", "objective.document_masks=true")
    assert config.optimizer.learning_rate == 0.5
    assert config.objective.document_masks


def test_the_resolved_config_loads_to_itself(tmp_path: Path):
    config = train_config(tmp_path)
    assert TrainConfig.model_validate(yaml.safe_load(dump_train_config(config))) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_step": 3}, "unknown key 'num_step'; did you mean 'num_steps'"),
        (
            {"optimizer": {"learning_rat": 1}},
            r"'optimizer\.learning_rat'; did you mean 'learning_rate'",
        ),
        ({"optimizer": {"learning_rate": 3}}, r"optimizer\.learning_rate = 3: .*less than 1"),
        ({"model": {"preset": "7b"}}, "preset '7b' is unknown; use one of 1m, 3m"),
        ({"batch_size": 0}, "batch_size = 0: .*greater than or equal to 1"),
        ({"micro_batch_size": 9}, "micro_batch_size=9 is above batch_size=8"),
        (
            {"schedule": {"warmup_steps": 13}},
            r"schedule\.warmup_steps=13 is above num_steps=12",
        ),
        ({"stream": {}}, r"key 'stream\.plan' is missing"),
        ({"runtime": {"device": "tpu"}}, r"runtime\.device = 'tpu'"),
    ],
)
def test_mistakes_name_the_key_and_the_way_out(tmp_path: Path, changes: dict, message: str):
    path = train_file(tmp_path, **changes)
    with pytest.raises(ConfigError, match=message):
        load_settings(TrainConfig, str(path))


def test_sizes_that_do_not_fit_each_other_are_refused(tmp_path: Path):
    config = train_config(tmp_path, "model.num_key_value_heads=3")
    with pytest.raises(ConfigError, match="num_key_value_heads=3 must divide"):
        config.model.decoder(300, 16)


def test_the_vocabulary_is_padded_to_a_multiple(tmp_path: Path):
    model = train_config(tmp_path).model
    assert model.decoder(301, 16).vocab_size == 320
    assert model.decoder(320, 16).vocab_size == 320
