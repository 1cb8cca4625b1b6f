"""Checkpoints: complete or invisible, readable by other tools, never pickled.

    <output>/checkpoints/step-00001000/
        model.safetensors        parameters, in the names of transformers
        optimizer.safetensors    `<parameter>/<state>`
        state.json               step, tokens seen, position in the stream, random states
        config.json              shape of the model and resolved training configuration
        tokenizer.json           so that a checkpoint can generate alone
        checkpoint.json          the marker: size and xxh3-128 of each file above, written last

A folder without its marker is a write that was cut short: readers do not see it, the next save of
that step replaces it. Deleting removes the marker first.
"""

import base64
import json
from dataclasses import dataclass
from typing import Any

import torch
import xxhash
from torch import Tensor

from storage import objects
from storage.errors import UserError
from storage.objects import ObjectNotFound
from training.tensors import TensorFileError, read_tensors, write_tensors

MARKER = "checkpoint.json"
VERSION = 1


class CheckpointError(UserError):
    """A checkpoint that is missing, incomplete or damaged; the message names it."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is saved. `state` and `config` must be JSON-able."""

    step: int
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: dict[str, Any]
    config: dict[str, Any]
    tokenizer: bytes


def checkpoint_path(output: str, step: int) -> str:
    return objects.join(output, "checkpoints", f"step-{step:08d}")


def save_checkpoint(output: str, checkpoint: Checkpoint, keep_last: int) -> str:
    """Write a checkpoint, its marker last, then delete all but the `keep_last` newest ones."""
    folder = checkpoint_path(output, checkpoint.step)
    objects.delete(objects.join(folder, MARKER))
    files = {
        "model.safetensors": write_tensors(
            objects.join(folder, "model.safetensors"), checkpoint.model, {"format": "pt"}
        ),
        "optimizer.safetensors": write_tensors(
            objects.join(folder, "optimizer.safetensors"), checkpoint.optimizer
        ),
        "state.json": _write(folder, "state.json", _json(checkpoint.state)),
        "config.json": _write(folder, "config.json", _json(checkpoint.config)),
        "tokenizer.json": _write(folder, "tokenizer.json", checkpoint.tokenizer),
    }
    marker = {
        "version": VERSION,
        "step": checkpoint.step,
        "files": {name: {"bytes": size, "xxh3": hexa} for name, (size, hexa) in files.items()},
    }
    _write(folder, MARKER, _json(marker))
    _prune(output, keep_last)
    return folder


def complete_steps(output: str) -> list[int]:
    """Steps of the complete checkpoints of a run, ascending."""
    folder = objects.join(output, "checkpoints")
    parts = (info.path.split("/")[-2:] for info in objects.list_objects(folder))
    return sorted(
        int(name.removeprefix("step-"))
        for name, file in parts
        if file == MARKER and name.startswith("step-")
    )


def find_checkpoint(path: str) -> str:
    """The checkpoint folder that `path` means: one itself, or the newest complete one of a run."""
    if objects.exists(objects.join(path, MARKER)):
        return path.rstrip("/")
    steps = complete_steps(path)
    if not steps:
        raise CheckpointError(
            f"no complete checkpoint at {path}: give a run's output folder or a step-NNNNNNNN "
            f"folder with a {MARKER} in it"
        )
    return checkpoint_path(path, steps[-1])


def newest_checkpoint(output: str) -> Checkpoint | None:
    """The newest complete checkpoint of a run; none before its first one."""
    steps = complete_steps(output)
    return load_checkpoint(checkpoint_path(output, steps[-1])) if steps else None


def load_checkpoint(folder: str, with_optimizer: bool = True) -> Checkpoint:
    """Read a checkpoint and verify the checksum of every file read. Raises CheckpointError."""
    marker = _marker(folder)
    try:
        files = {name: (entry["bytes"], entry["xxh3"]) for name, entry in marker["files"].items()}
        return Checkpoint(
            step=marker["step"],
            model=_tensors(folder, "model.safetensors", files),
            optimizer=_tensors(folder, "optimizer.safetensors", files) if with_optimizer else {},
            state=json.loads(_read(folder, "state.json", files)),
            config=json.loads(_read(folder, "config.json", files)),
            tokenizer=_read(folder, "tokenizer.json", files),
        )
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{folder}/{MARKER} lacks {error}: use another checkpoint") from error
    except (ObjectNotFound, TensorFileError) as error:
        raise CheckpointError(f"damaged checkpoint {folder}: {error}") from error


def random_state() -> dict[str, Any]:
    """torch's generators, JSON-able. The stream's randomness is a function of its position."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": _encode(torch.get_rng_state()), "cuda": [_encode(state) for state in cuda]}


def restore_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(_decode(state["cpu"]))
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([_decode(one) for one in state["cuda"]])


def _encode(state: Tensor) -> str:
    return base64.b64encode(state.numpy().tobytes()).decode("ascii")


def _decode(text: str) -> Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def _write(folder: str, name: str, data: bytes) -> tuple[int, str]:
    objects.write(objects.join(folder, name), data)
    return len(data), xxhash.xxh3_128_hexdigest(data)


def _marker(folder: str) -> dict[str, Any]:
    path = objects.join(folder, MARKER)
    try:
        marker = json.loads(objects.read(path))
    except ObjectNotFound as error:
        raise CheckpointError(f"no complete checkpoint at {folder}: {MARKER} is absent") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}; use another checkpoint") from error
    if not isinstance(marker, dict) or marker.get("version") != VERSION:
        raise CheckpointError(f"{path} is of another version; this program reads {VERSION}")
    return marker


def _read(folder: str, name: str, files: dict[str, tuple[int, str]]) -> bytes:
    data = objects.read(objects.join(folder, name))
    _verify(folder, name, files[name][1], xxhash.xxh3_128_hexdigest(data))
    return data


def _tensors(folder: str, name: str, files: dict[str, tuple[int, str]]) -> dict[str, Tensor]:
    tensors, digest = read_tensors(objects.join(folder, name))
    _verify(folder, name, files[name][1], digest)
    return tensors


def _verify(folder: str, name: str, expected: str, found: str) -> None:
    if found != expected:
        raise CheckpointError(
            f"damaged checkpoint {folder}: {name} has xxh3 {found}, its marker says {expected}; "
            "use another checkpoint"
        )


def _prune(output: str, keep_last: int) -> None:
    for step in complete_steps(output)[:-keep_last]:
        folder = checkpoint_path(output, step)
        objects.delete(objects.join(folder, MARKER))
        objects.delete_tree(folder)
