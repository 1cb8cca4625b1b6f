import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from training import checkpoint as checkpoints
from training.checkpoint import (
    Checkpoint,
    CheckpointError,
    complete_steps,
    find_checkpoint,
    load_checkpoint,
    random_state,
    restore_random_state,
    save_checkpoint,
)
from training.tensors import TensorFileError, read_tensors, write_tensors

TENSORS = {
    "weight": torch.arange(6, dtype=torch.float32).reshape(2, 3).T,
    "half": torch.ones(3, dtype=torch.bfloat16),
    "step": torch.tensor(7.0),
    "bytes": torch.arange(5, dtype=torch.uint8),
    "empty": torch.empty(0, 4),
}


def example(step: int = 10) -> Checkpoint:
    return Checkpoint(
        step=step,
        model={"a": torch.randn(4, 4)},
        optimizer={"a/exp_avg": torch.randn(4, 4)},
        state={"step": step, "random": random_state()},
        config={"model": {"vocab_size": 4}},
        tokenizer=b"{}",
    )


def test_tensors_are_read_by_the_safetensors_library(tmp_path: Path):
    path = str(tmp_path / "x.safetensors")
    write_tensors(path, TENSORS, {"format": "pt"})
    for found in (load_file(path), read_tensors(path)[0]):
        assert found.keys() == TENSORS.keys()
        for name, tensor in TENSORS.items():
            assert found[name].dtype == tensor.dtype
            assert torch.equal(found[name], tensor)


def test_files_of_the_safetensors_library_are_read(tmp_path: Path):
    path = str(tmp_path / "x.safetensors")
    save_file({name: tensor.contiguous() for name, tensor in TENSORS.items()}, path)
    found, _ = read_tensors(path)
    assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items())


@pytest.mark.parametrize("keep", [0, 7, 20, 200])
def test_truncated_tensors_are_an_error(tmp_path: Path, keep: int):
    path = tmp_path / "x.safetensors"
    write_tensors(str(path), TENSORS)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(TensorFileError, match="truncated"):
        read_tensors(str(path))


def test_what_is_saved_is_loaded(tmp_path: Path):
    saved = example()
    folder = save_checkpoint(str(tmp_path), saved, keep_last=2)
    loaded = load_checkpoint(find_checkpoint(str(tmp_path)))
    assert folder == find_checkpoint(folder)
    assert torch.equal(loaded.model["a"], saved.model["a"])
    assert torch.equal(loaded.optimizer["a/exp_avg"], saved.optimizer["a/exp_avg"])
    assert replace(loaded, model={}, optimizer={}) == replace(saved, model={}, optimizer={})


def test_no_file_is_a_pickle(tmp_path: Path):
    folder = Path(save_checkpoint(str(tmp_path), example(), keep_last=1))
    for file in folder.iterdir():
        if file.suffix == ".json":
            json.loads(file.read_text())
        else:
            assert file.suffix == ".safetensors"
            load_file(file)


def test_only_the_newest_are_kept(tmp_path: Path):
    for step in (5, 10, 15, 20):
        save_checkpoint(str(tmp_path), example(step), keep_last=2)
    assert complete_steps(str(tmp_path)) == [15, 20]
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


@pytest.mark.parametrize("survivors", range(5))
def test_a_cut_save_is_invisible(tmp_path: Path, monkeypatch, survivors: int):
    """A save that dies after any number of files leaves the earlier checkpoint as the newest."""
    save_checkpoint(str(tmp_path), example(5), keep_last=1)
    written = 0

    def dying(original):
        def write(*args):
            nonlocal written
            if written == survivors:
                raise OSError("killed")
            written += 1
            return original(*args)

        return write

    monkeypatch.setattr(checkpoints, "write_tensors", dying(write_tensors))
    monkeypatch.setattr(checkpoints.objects, "write", dying(checkpoints.objects.write))
    with pytest.raises(OSError, match="killed"):
        save_checkpoint(str(tmp_path), example(10), keep_last=1)
    assert find_checkpoint(str(tmp_path)).endswith("step-00000005")
    load_checkpoint(find_checkpoint(str(tmp_path)))


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_a_flipped_byte_is_an_error(tmp_path: Path, name: str):
    folder = save_checkpoint(str(tmp_path), example(), keep_last=1)
    data = bytearray((Path(folder) / name).read_bytes())
    data[-2] ^= 1
    (Path(folder) / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=f"damaged checkpoint .*{name}"):
        load_checkpoint(folder)


def test_errors_name_the_place(tmp_path: Path):
    with pytest.raises(CheckpointError, match=f"no complete checkpoint at {tmp_path}"):
        find_checkpoint(str(tmp_path))
    folder = Path(save_checkpoint(str(tmp_path), example(), keep_last=1))
    (folder / "optimizer.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"damaged checkpoint .*optimizer\.safetensors"):
        load_checkpoint(str(folder))
    (folder / "checkpoint.json").write_text("{")
    with pytest.raises(CheckpointError, match="is not JSON"):
        load_checkpoint(str(folder))


def test_random_state_continues():
    torch.manual_seed(3)
    torch.rand(5)
    state = json.loads(json.dumps(random_state()))
    expected = torch.rand(8)
    torch.manual_seed(99)
    restore_random_state(state)
    assert torch.equal(torch.rand(8), expected)
