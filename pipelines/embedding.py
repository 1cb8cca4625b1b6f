"""The signal group `embedding`: what `dedup.semantic` compares.

    embedding        fixed_size_list<int16>   the unit vector of a text, times 4000 and rounded
    squared_length   uint32                   of the stored vector; 0 where there is none

A user's own function takes a RecordBatch with a column `text` and returns floats
[rows, dimensions], of any length; zeros say that a text has no vector. It must look at each row
alone: which rows come together depends on how a corpus is cut.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from filters import vectors
from filters.groups import SignalGroup
from pipelines import sentence_model
from pipelines.config import SemanticConfig
from storage.errors import ConfigError

NAME = "embedding"
VERSION = 1

Embed = Callable[[pa.RecordBatch], Any]


def group(semantic: SemanticConfig) -> SignalGroup:
    """Raises ConfigError for a model or function that is not there."""
    return SignalGroup(
        NAME,
        VERSION,
        _settings(semantic),
        schema(num_dimensions(semantic)),
        partial(compute, semantic=semantic),
        "edited",
    )


def check(semantic: SemanticConfig) -> None:
    """Loads the model, or calls the function. Raises ConfigError when it is of no use."""
    text = pa.array(["One text.", "And another, which is longer.", ""], pa.large_string())
    compute(pa.record_batch({"text": text}), semantic)


def compute(batch: pa.RecordBatch, semantic: SemanticConfig) -> pa.RecordBatch:
    """The signals of a batch with a `text` column, aligned by row."""
    size = num_dimensions(semantic)
    found = np.asarray(_embedder(semantic)(batch))
    key = "function" if semantic.function else "model"
    named = f"dedup.semantic.{key} = {semantic.function or semantic.model!r}"
    if found.shape != (batch.num_rows, size) or found.dtype.kind != "f":
        raise ConfigError(
            f"{named} returned {found.dtype}{list(found.shape)} for {batch.num_rows} rows; "
            f"expected floats [{batch.num_rows}, {size}]"
        )
    try:
        units = vectors.quantise(found)
    except ValueError as error:
        raise ConfigError(f"{named}: {error}") from error
    column = pa.FixedSizeListArray.from_arrays(pa.array(units.ravel()), size)
    lengths = pa.array(vectors.squared_lengths(units))
    return pa.record_batch([column, lengths], schema=schema(size))


def schema(size: int) -> pa.Schema:
    return pa.schema(
        [
            pa.field("embedding", pa.list_(pa.int16(), size), nullable=False),
            pa.field("squared_length", pa.uint32(), nullable=False),
        ]
    )


def num_dimensions(semantic: SemanticConfig) -> int:
    return semantic.dimensions or sentence_model.dimensions(semantic.model)


def _settings(semantic: SemanticConfig) -> dict[str, Any]:
    """Model and function by content."""
    if semantic.model:
        digest = sentence_model.digest(semantic.model)
        return {"model": digest, "max_tokens": semantic.max_tokens}
    return {
        "function": semantic.function,
        "digest": _module_digest(semantic.function),
        "dimensions": semantic.dimensions,
    }


def _embedder(semantic: SemanticConfig) -> Embed:
    if semantic.model:
        return sentence_model.load(semantic.model, semantic.max_tokens).embed
    return _function(semantic.function)


def _function(name: str) -> Embed:
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"dedup.semantic.function = {name!r}: {error}") from error


@cache
def _module_digest(name: str) -> str:
    """Of the file that the function is in: a changed one embeds again."""
    _function(name)
    path = importlib.import_module(name.partition(":")[0]).__file__
    return xxhash.xxh3_128_hexdigest(Path(path).read_bytes()) if path else ""
