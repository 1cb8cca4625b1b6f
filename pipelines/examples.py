"""Texts that models are trained on, and which of them are held out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash
from pydantic import Field, model_validator

from pipelines.config import lists_of
from pipelines.dataset_files import iter_rows, list_files
from pipelines.sources.fields import look_up
from storage.errors import ConfigError
from storage.settings import ConfigPath, Settings


class ExamplesConfig(Settings):
    """Texts of one kind."""

    paths: list[ConfigPath] = Field(min_length=1)
    """JSON Lines, Parquet or Arrow files, folders or globs of them."""
    field: str = "text"
    """Column or dotted path of the text."""
    where: dict[str, str | int | float | bool] = {}
    """Only rows with these values."""
    max_examples: int | None = Field(default=None, ge=1)
    """The first ones."""

    @model_validator(mode="before")
    @classmethod
    def _one_or_many(cls, values: Any) -> Any:
        return lists_of(values, "paths")


def read_texts(kind: str, examples: Sequence[ExamplesConfig]) -> list[str]:
    """Distinct texts, in order. Raises ConfigError, which names `kind`, when there are none."""
    texts: dict[str, None] = {}
    for one in examples:
        found = list(_iter_texts(kind, one))
        if not found:
            raise ConfigError(
                f"{kind}: no row of {', '.join(one.paths)} has a text in "
                f"{one.field!r}{' where ' + str(one.where) if one.where else ''}"
            )
        texts |= dict.fromkeys(found[: one.max_examples])
    return list(texts)


def held_out(texts: Sequence[str], share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Which texts are: by their content, so equal texts are never on both sides."""
    return np.array([_hash(text, seed) < share * 2**64 for text in texts], np.bool_)


def text_column(texts: Sequence[str], chosen: npt.NDArray[np.bool_]) -> pa.Array:
    """The chosen texts; what is no character is replaced."""
    rows = np.flatnonzero(chosen).tolist()
    clean = [texts[row].encode("utf-8", "replace").decode() for row in rows]
    return pa.array(clean, pa.large_string())


def _iter_texts(kind: str, examples: ExamplesConfig) -> Iterator[str]:
    for path in list_files(kind, examples.paths):
        for row in iter_rows(path):
            text = look_up(row, examples.field)
            if isinstance(text, str) and all(
                look_up(row, name) == value for name, value in examples.where.items()
            ):
                yield text


def _hash(text: str, seed: int) -> int:
    return xxhash.xxh3_64_intdigest(text.encode("utf-8", "replace"), seed=seed)
