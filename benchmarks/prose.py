"""Text for benchmarks: any file of prose, cut into documents of one size."""

from __future__ import annotations

import gzip
import io
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import zstandard


def read_text(path: Path, megabytes: float) -> str:
    """The first `megabytes` million characters of a text or JSON lines file (.gz, .zst, plain)."""
    pieces, num_chars = [], 0
    for piece in _pieces(path):
        pieces.append(piece)
        num_chars += len(piece)
        if num_chars >= megabytes * 1e6:
            break
    return "\n".join(pieces)[: int(megabytes * 1e6)]


def cut(text: str, document_chars: int) -> list[str]:
    """Documents of `document_chars` characters; what remains at the end is left out."""
    starts = range(0, len(text) - document_chars + 1, document_chars)
    return [text[start : start + document_chars] for start in starts]


def _pieces(path: Path) -> Iterator[str]:
    with open_text(path) as lines:
        if ".jsonl" in path.name or ".json" in path.name:
            for line in lines:
                yield json.loads(line)["text"]
        else:
            yield from iter(lambda: "".join(itertools.islice(lines, 10_000)), "")


def open_text(path: Path, binary: bool = False) -> IO[Any]:
    """A file, decompressed by its name (.gz, .zst), as UTF-8 text or as bytes."""
    file: Any
    if path.suffix == ".gz":
        file = gzip.open(path)  # noqa: SIM115
    elif path.suffix == ".zst":
        file = zstandard.open(path, "rb")
    else:
        file = path.open("rb")
    return file if binary else io.TextIOWrapper(file, "utf-8")
