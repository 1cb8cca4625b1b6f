"""Rows of files that people exchange data sets in: JSON Lines, Parquet, Arrow.

For small inputs that must be read whole, such as evaluation sets and labelled examples: a file that
is damaged is an error, not a casualty.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from pipelines.sources.streams import DamagedStreamError, TooLargeError, read_decoded
from storage import objects, tables
from storage.errors import ConfigError

MAX_FILE_BYTES = 4 << 30
_FOLDER_SUFFIXES = (".jsonl", ".ndjson", ".jsonl.gz", ".jsonl.zst", ".parquet", ".arrow")
"""What is read of a folder: beside Arrow files lie `dataset_info.json` and the like."""
_ARROW_FILE = b"ARROW1"
"""How an Arrow file begins; `datasets` writes streams, which have no such mark."""


def list_files(owner: str, paths: Sequence[str]) -> list[str]:
    """The files that paths, folders and globs mean. Raises ConfigError, which names `owner`."""
    found: list[str] = []
    for pattern in paths:
        try:
            infos = objects.expand(pattern)
        except objects.StorageError as error:
            raise ConfigError(f"{owner}: {error}") from error
        is_folder = not any(char in pattern for char in "*?") and infos[0].path != pattern
        found += [
            info.path
            for info in infos
            if not is_folder or info.path.lower().endswith(_FOLDER_SUFFIXES)
        ]
    if not found:
        raise ConfigError(
            f"{owner}: {', '.join(paths)} holds no file that ends in {', '.join(_FOLDER_SUFFIXES)}"
        )
    return found


def iter_rows(path: str) -> Iterator[dict[str, Any]]:
    """The rows of one file, by its ending. Raises ConfigError, StorageError."""
    if path.lower().endswith(".parquet"):
        for batch in tables.iter_batches(path):
            yield from batch.to_pylist()
    elif path.lower().endswith(".arrow"):
        yield from _arrow_rows(path)
    else:
        yield from _json_rows(path)


def _arrow_rows(path: str) -> Iterator[dict[str, Any]]:
    data = objects.read(path)
    try:
        opened = pa.ipc.open_file if data.startswith(_ARROW_FILE) else pa.ipc.open_stream
        rows = opened(pa.py_buffer(data)).read_all()
        rows.validate(full=True)
    except pa.ArrowException as error:
        raise ConfigError(f"{path} is not an Arrow file: {' '.join(str(error).split())}") from error
    for batch in rows.to_batches(max_chunksize=tables.MAX_BATCH_ROWS):
        yield from batch.to_pylist()


def _json_rows(path: str) -> Iterator[dict[str, Any]]:
    try:
        lines = read_decoded(path, MAX_FILE_BYTES).split(b"\n")
    except (DamagedStreamError, TooLargeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{path} line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise ConfigError(f"{path} line {number} holds {type(row).__name__}, not an object")
        yield row
