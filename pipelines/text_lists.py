"""Lists in text files that a corpus file names: one entry a line, `#` begins a comment.

They may lie on any storage. What a list says enters recipe ids by its content, so a list that is
moved is the same list, and one that is edited is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import xxhash

from storage import objects
from storage.errors import ConfigError

T = TypeVar("T")


def read_lines(path: str) -> list[tuple[int, str]]:
    """(number, entry) of the lines that hold one. Raises ConfigError for a file that cannot be."""
    try:
        text = objects.read(path).decode("utf-8-sig")
    except objects.StorageError as error:
        raise ConfigError(str(error)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start})") from error
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [(number, line) for number, line in enumerate(lines, 1) if line]


def parse_lists(paths: Sequence[str], parse: Callable[[str], T]) -> list[T]:
    """All entries of some files. Raises ConfigError that names the file and the line."""
    entries: list[T] = []
    for path in paths:
        for number, line in read_lines(path):
            try:
                entries.append(parse(line))
            except ValueError as error:
                raise ConfigError(f"{path}, line {number}: {error}") from error
    return entries


def digest(entries: Sequence[object]) -> str:
    """Of the entries of a list, whatever their order."""
    return xxhash.xxh3_128_hexdigest("\n".join(sorted(map(str, set(entries)))).encode())
