import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from storage.errors import ConfigError
from storage.objects import StorageError
from storage.shards import BlockCorrupt
from storage.tables import read_table, write_table
from tests.servers import free_port
from tests.training.corpora import flip_byte
from tests.training.runs import SETTINGS, losses, records, text_corpus, train_config, train_file
from training.checkpoint import CheckpointError, complete_steps, load_checkpoint, newest_checkpoint
from training.evaluate import evaluate
from training.reporter import Reporter
from training.runtime import Runtime
from training.stop import stop_on_signals
from training.trainer import TrainingError, summary, train

ROOT = Path(__file__).parents[2]
TRAIN = (
    "import sys; from storage.settings import load_settings;"
    "from training.config import TrainConfig; from training.trainer import train;"
    "train(load_settings(TrainConfig, sys.argv[1]))"
)

LOOK = """
import gc
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
end = dist.destroy_process_group
def look():
    assert not any(type(one) is DistributedDataParallel for one in gc.get_objects())
    end()
dist.destroy_process_group = look
"""
"""A reducer that outlives its process group may hang the process at its end."""


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    text_corpus(folder / "corpus")
    return folder / "corpus"


@pytest.fixture
def folder(tmp_path: Path, packed: Path) -> Path:
    (tmp_path / "corpus").symlink_to(packed)
    return tmp_path


def start(path: Path, program: str = TRAIN, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", program, path],
        cwd=ROOT,
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
    )


def wait_for_checkpoint(output: Path, step: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not any(found >= step for found in complete_steps(str(output))):
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def same_parameters(one: Path, other: Path) -> bool:
    first, second = newest_checkpoint(str(one)), newest_checkpoint(str(other))
    assert first is not None
    assert second is not None
    return first.step == second.step and all(
        torch.equal(tensor, second_tensors[name])
        for tensors, second_tensors in (
            (first.model, second.model),
            (first.optimizer, second.optimizer),
        )
        for name, tensor in tensors.items()
    )


def test_killed_and_resumed_equals_uninterrupted(folder: Path):
    """SIGKILL at an arbitrary moment after a checkpoint; the losses agree in every bit.

    Muon's runs have AdamW for the embeddings, so that both optimisers are resumed."""
    settings = {"num_steps": 60, "checkpoint": {"every_steps": 5}, "optimizer": {"name": "muon"}}
    process = start(train_file(folder, output="killed", **settings))
    wait_for_checkpoint(folder / "killed", 10, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    resumed_from = complete_steps(str(folder / "killed"))[-1]
    assert 10 <= resumed_from < 60
    train(train_config(folder, output="killed", **settings))
    train(train_config(folder, output="whole", **settings))
    assert losses(folder / "killed") == losses(folder / "whole")
    assert same_parameters(folder / "killed", folder / "whole")


def test_a_run_learns_and_can_be_read_in_its_folder(folder: Path):
    config = train_config(folder, num_steps=60, log={"every_steps": 10, "tensorboard": True})
    result = train(config)
    total = result.validation[-1]
    assert [row.stratum for row in result.validation] == ["pets", "wild", "total"]
    assert total.unigram_loss is not None
    assert total.loss < total.unigram_loss - 0.5
    assert result.num_tokens <= 60 * 8 * 16
    assert evaluate(config) == result.validation
    [final] = [record for record in records(config.output, "validation") if record["step"] == 60]
    assert final["total"]["bits_per_byte"] == total.bits_per_byte
    assert list((folder / "run" / "tensorboard").glob("events*"))
    assert "total" in summary(result)
    files = [file for file in (folder / "run").rglob("*") if file.is_file()]
    text = b"".join(file.read_bytes() for file in files if "checkpoints" in file.parts)
    assert str(folder).encode() not in text


def test_a_finished_run_started_again_only_validates(folder: Path):
    config = train_config(folder)
    first, second = train(config), train(config)
    assert first.validation == second.validation
    assert first.checkpoint == second.checkpoint


def test_micro_batches_give_the_losses_of_whole_batches(folder: Path):
    whole, parts = (
        losses(train(train_config(folder, output=name, **changes)) and folder / name)
        for name, changes in (("whole", {}), ("parts", {"micro_batch_size": 2}))
    )
    assert whole.keys() == parts.keys()
    for step, loss in whole.items():
        assert parts[step] == pytest.approx(loss, rel=1e-5)


def test_document_masks_are_applied_when_asked(folder: Path):
    plain = losses(train(train_config(folder)) and folder / "run")
    config = train_config(folder, output="masked", objective={"document_masks": True})
    masked = losses(train(config) and folder / "masked")
    assert plain[1] != masked[1]


def test_two_ranks_give_the_losses_of_one(folder: Path):
    """torchrun's environment, gloo: equal per-step loss within 1e-5 in float32."""
    path = train_file(folder, output="two", batch_size=6)
    environment = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    ranks = [
        start(path, LOOK + TRAIN, RANK=str(rank), LOCAL_RANK=str(rank), **environment)
        for rank in (0, 1)
    ]
    try:
        for process in ranks:
            _, complaint = process.communicate(timeout=120)
            assert process.returncode == 0, complaint.decode()
    finally:
        for process in ranks:
            process.kill()
    train(train_config(folder, output="one", batch_size=6))
    one, two = losses(folder / "one"), losses(folder / "two")
    assert one.keys() == two.keys()
    for step, loss in one.items():
        assert two[step] == pytest.approx(loss, rel=1e-5)
    validation = [records(folder / name, "validation")[-1]["total"] for name in ("one", "two")]
    assert validation[1]["loss"] == pytest.approx(validation[0]["loss"], rel=1e-5)


def test_a_signal_ends_with_a_checkpoint_and_the_run_goes_on(folder: Path, monkeypatch):
    report = Reporter.train

    def report_then_signal(self: Reporter, step: int, values: dict[str, float]) -> None:
        report(self, step, values)
        if step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Reporter, "train", report_then_signal)
    settings = {"num_steps": 12, "checkpoint": {"every_steps": 100}}
    stopped = train(train_config(folder, **settings))
    assert not stopped.is_finished
    # The step in progress is the one after the record: the request is seen before the next.
    assert complete_steps(str(folder / "run")) == [stopped.num_steps] == [6]
    assert "the same command continues" in summary(stopped)
    monkeypatch.undo()
    train(train_config(folder, **settings))
    train(train_config(folder, output="whole", **settings))
    assert losses(folder / "run") == losses(folder / "whole")


def test_stop_requests_are_noticed_and_handlers_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.is_set
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_cut_log_line_is_dropped_on_resumption(folder: Path):
    config = train_config(folder, num_steps=8)
    train(config)
    expected = losses(folder / "run")
    shutil.rmtree(folder / "run" / "checkpoints" / "step-00000008")
    with (folder / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "step": 9, "lo')
    train(config)
    assert losses(folder / "run") == expected


def test_a_capped_mixture_ends_a_run(folder: Path):
    stream = {**SETTINGS["stream"], "mixture": {"max_epochs": {"*": 1}}}
    result = train(train_config(folder, num_steps=10_000, stream=stream))
    assert result.is_finished
    assert 0 < result.num_steps < 10_000
    assert complete_steps(str(folder / "run"))[-1] == result.num_steps


class TestErrors:
    def test_no_corpus(self, tmp_path: Path):
        with pytest.raises(StorageError, match="no packed corpus at"):
            train(train_config(tmp_path))

    def test_another_model_in_the_same_output(self, folder: Path):
        train(train_config(folder, num_steps=4))
        with pytest.raises(CheckpointError, match=r"does not fit this model: .* has shape"):
            train(train_config(folder, "model.hidden_size=64", num_steps=4))

    def test_another_order_in_the_same_output(self, folder: Path):
        train(train_config(folder, num_steps=4))
        with pytest.raises(ConfigError, match=r"another plan \(seed was 0, is 1\)"):
            train(train_config(folder, "stream.plan.seed=1", num_steps=4))

    def test_a_damaged_checkpoint(self, folder: Path):
        result = train(train_config(folder, num_steps=4))
        path = Path(result.checkpoint) / "model.safetensors"
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=r"damaged checkpoint .*model\.safetensors"):
            train(train_config(folder, num_steps=8))

    def test_a_loss_that_is_not_finite_saves_nothing(self, folder: Path, monkeypatch):
        import training.step

        real = training.step.linear_cross_entropy
        monkeypatch.setattr(
            training.step, "linear_cross_entropy", lambda *args: real(*args) * float("nan")
        )
        with pytest.raises(TrainingError, match=r"loss is nan at step 1: lower optimizer"):
            train(train_config(folder))
        assert complete_steps(str(folder / "run")) == []


def test_a_damaged_block_is_given_up_alike_after_a_resumption(tmp_path: Path, packed: Path):
    shutil.copytree(packed, tmp_path / "corpus")
    shard = tmp_path / "corpus" / "shards" / "train" / "pets-00000.tar"
    flip_byte(shard, int(np.load(shard.with_suffix(".blocks.npy"))[3]["offset"]) + 700)
    stream = {**SETTINGS["stream"], "on_damage": "quarantine"}
    with pytest.warns(UserWarning, match="no unigram and bigram models"):
        result = train(train_config(tmp_path, num_steps=40, stream=stream))
    assert result.validation[-1].bigram_loss is None
    assert "n/a" in summary(result)
    [given_up] = records(tmp_path / "run", "quarantine")
    assert given_up["shard"] == "shards/train/pets-00000.tar"
    assert load_checkpoint(result.checkpoint).state["stream"]["quarantine"]
    expected = losses(tmp_path / "run")
    for step in complete_steps(str(tmp_path / "run"))[1:]:
        shutil.rmtree(tmp_path / "run" / "checkpoints" / f"step-{step:08d}")
    with pytest.warns(UserWarning, match="no unigram and bigram models"):
        train(train_config(tmp_path, num_steps=40, stream=stream))
    assert losses(tmp_path / "run") == expected
    with pytest.raises(BlockCorrupt, match=r"pets-00000\.tar: block at byte \d+ is damaged"):
        train(train_config(tmp_path, output="strict"))


def test_documents_taken_down_are_not_learned_from(tmp_path: Path, packed: Path):
    shutil.copytree(packed, tmp_path / "corpus")
    whole = train(train_config(tmp_path, output="whole"))
    docs = read_table(str(packed / "shards" / "train" / "pets-00000.docs.parquet"), ["doc_id"])
    excluded = docs.cast(pa.schema([("doc_id", pa.uint64())]))
    path = str(tmp_path / "corpus" / "exclusions.parquet")
    write_table(path, excluded, excluded.schema)
    without = train(train_config(tmp_path, output="without"))
    assert 0 < without.num_tokens < 0.7 * whole.num_tokens


def test_checkpoints_hold_the_position_in_the_stream(folder: Path):
    result = train(train_config(folder, num_steps=8))
    checkpoint = load_checkpoint(result.checkpoint)
    assert checkpoint.state["stream"]["g"] == 8 * 8
    assert json.dumps(checkpoint.state)


def test_one_process_exchanges_nothing():
    alone = Runtime(torch.device("cpu"), torch.float32)
    assert alone.sum_over_ranks([1.5, 2]) == [1.5, 2]
    assert alone.gather_json({"a": 1}) == [{"a": 1}]
    assert alone.agree_on_blocks({}) == {}
    assert alone.agree_on_blocks({(1, 2): "why"}) == {(1, 2): "why"}


@pytest.mark.s3
def test_a_run_on_object_storage_resumes(packed: Path, tmp_path: Path, s3_folder: str):
    """Checkpoints, records and corpus on s3://, cut after a checkpoint, equal a local run."""
    from storage import objects

    for file in (path for path in packed.rglob("*") if path.is_file()):
        key = objects.join(s3_folder, "corpus", str(file.relative_to(packed)))
        objects.write(key, file.read_bytes())
    (tmp_path / "corpus").symlink_to(packed)
    train(train_config(tmp_path))
    remote = {"corpus": f"{s3_folder}/corpus", "output": f"{s3_folder}/run"}
    train(train_config(tmp_path, **remote))
    objects.delete(f"{s3_folder}/run/checkpoints/step-00000012/checkpoint.json")
    train(train_config(tmp_path, **remote))
    assert losses(remote["output"]) == losses(tmp_path / "run")
