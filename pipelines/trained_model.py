"""Shared by `tilth classifier train` and `tilth perplexity train`: settings, and how to write."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, field_validator

from pipelines.examples import ExamplesConfig
from storage import objects
from storage.errors import ConfigError
from storage.settings import Settings, absolute_path, explain, load_yaml, set_values


class TrainedModelConfig(Settings):
    output: str
    """The model's file; it ends in .npz."""
    seed: int = Field(default=1, ge=0)

    @field_validator("output")
    @classmethod
    def _check_output(cls, output: str) -> str:
        if not output.endswith(".npz"):
            raise ValueError("it must end in .npz")
        return output

    @classmethod
    def load(cls, path: str, overrides: list[str]) -> Self:
        """Reads a model's file; relative paths start at its folder. Raises ConfigError."""
        values = load_yaml(path)
        set_values(values, overrides)
        try:
            config = cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(explain(path, error, cls)) from error
        examples = {
            name: [one.resolved(path) for one in value]
            for name, value in config
            if isinstance(value, list) and all(isinstance(one, ExamplesConfig) for one in value)
        }
        return config.model_copy(update={"output": absolute_path(config.output, path), **examples})


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
