"""What every kind of storage offers: the errors, the listing entry and the functions of a backend.

A backend is a module (`storage.local`, `storage.s3`, `storage.gcs`) whose functions match
`Backend`; `storage.objects` picks one by the scheme of the path. Backends never interpret
globs, and never show an object whose writer has not finished.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from storage.errors import UserError


class StorageError(UserError):
    """Storage refused or failed. The message is one line for a user: what, where, the way out."""


class ObjectNotFound(StorageError):  # noqa: N818 (the established name)
    """There is no object at this path."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object in a listing: its path as the other functions take it, and its size in bytes."""

    path: str
    size: int


class Backend(Protocol):
    """The functions of one kind of storage; `storage.objects` documents them for callers."""

    def read(self, path: str) -> bytes: ...
    def read_range(self, path: str, offset: int, length: int) -> bytes: ...
    def open_read(self, path: str) -> BinaryIO: ...
    def write(self, path: str, data: bytes) -> None: ...
    def open_write(self, path: str) -> AbstractContextManager[BinaryIO]: ...
    def list_prefix(self, prefix: str, max_folders: int | None) -> Iterator[ObjectInfo]:
        """Objects whose path starts with `prefix`, sorted by path, at most `max_folders` deeper."""
        ...

    def size(self, path: str) -> int: ...
    def exists(self, path: str) -> bool: ...
    def delete(self, path: str) -> None: ...
    def delete_tree(self, folder: str) -> None: ...
    def discard_unfinished(self, folder: str) -> int: ...


def printable(text: str) -> str:
    """`text` with control characters escaped: names come from outside and end on terminals."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def require_range(path: str, offset: int, length: int) -> None:
    """Refuse negative offsets and lengths before they become a surprising request."""
    if offset < 0 or length < 0:
        raise StorageError(
            f"cannot read {length} bytes at offset {offset} of {printable(path)}: "
            "offset and length must not be negative"
        )


def too_short(path: str, offset: int, length: int, received: int) -> StorageError:
    """The error for a range that reaches beyond the end of the object."""
    return StorageError(
        f"{printable(path)} ends early: asked for {length} bytes at offset {offset}, "
        f"got {received}; the object is shorter than its table says, write it again"
    )
