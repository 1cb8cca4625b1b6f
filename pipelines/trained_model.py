"""Shared by `tilth classifier train` and `tilth perplexity train`: settings, and how to write."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from storage import objects
from storage.settings import ConfigPath, Settings


def _npz(path: str) -> str:
    if not path.endswith(".npz"):
        raise ValueError("it must end in .npz")
    return path


class TrainedModelConfig(Settings):
    output: Annotated[ConfigPath, AfterValidator(_npz)]
    """The model's file; it ends in .npz."""
    seed: int = Field(default=1, ge=0)


def write_model(output: str, save: Callable[[Path], None], metrics: Mapping[str, Any]) -> None:
    """Writes the file that `save` makes to `output`, and the metrics beside it, as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.npz"
        save(path)
        objects.write(output, path.read_bytes())
    objects.write(
        f"{output.removesuffix('.npz')}.metrics.json",
        json.dumps(metrics, indent=1, sort_keys=True).encode() + b"\n",
    )
