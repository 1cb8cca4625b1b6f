"""Local files as objects.

A writer works on `<name>.tmp-<pid>-<random>` in the same folder, syncs it and renames it, so a
path holds either nothing, the previous file or the complete new one. Listings pass over such
temporary names. Sorting appends "/" to folder names, which gives the order of object stores
("a.txt" before "a/b", because "." sorts before "/").
"""

from __future__ import annotations

import errno
import io
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from storage.backend import (
    ObjectInfo,
    ObjectNotFound,
    StorageError,
    printable,
    require_range,
    too_short,
)

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

_TEMPORARY = re.compile(r".\.tmp-\d+-[0-9a-f]{8}$")
_WRITE_BUFFER_BYTES = 1 << 20

_WAY_OUT = {
    errno.ENOSPC: "free some space or choose another output folder",
    errno.EDQUOT: "your disk quota is used up; free some space or choose another output folder",
    errno.EFBIG: "the file is larger than this file system or your limits (ulimit -f) allow",
    errno.EACCES: "check the permissions of the file and its folders",
    errno.EPERM: "check the permissions of the file and its folders",
    errno.EROFS: "choose an output folder on a writable file system",
    errno.EISDIR: "that is a folder; name a file",
    errno.EEXIST: "a file stands where a folder is needed; remove it or choose another folder",
    errno.ENOTDIR: "a file stands where a folder is needed; remove it or choose another folder",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "too many open files; raise the limit (ulimit -n)",
    errno.EIO: "the disk reports errors; check it",
}


def read(path: str) -> bytes:
    with _reported("read", path):
        return Path(path).read_bytes()


def read_range(path: str, offset: int, length: int) -> bytes:
    require_range(path, offset, length)
    with _reported("read", path), Path(path).open("rb") as handle:
        handle.seek(offset)
        data = handle.read(length)
    if len(data) != length:
        raise too_short(path, offset, length, len(data))
    return data


def open_read(path: str) -> BinaryIO:
    with _reported("read", path):
        return cast(BinaryIO, io.BufferedReader(_ReportingFile(path, "rb"), 1 << 17))


def write(path: str, data: bytes) -> None:
    with open_write(path) as handle:
        handle.write(data)


@contextmanager
def open_write(path: str) -> Iterator[BinaryIO]:
    temporary = f"{path}.tmp-{os.getpid()}-{secrets.token_hex(4)}"
    with _reported("write", path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        raw = _ReportingFile(temporary, "xb", shown_as=path)
    try:
        buffered = io.BufferedWriter(raw, _WRITE_BUFFER_BYTES)
        yield cast(BinaryIO, buffered)
        buffered.close()
        with _reported("write", path):
            _sync(temporary)
            Path(temporary).replace(path)
    except BaseException:
        raw.close()  # the raw file first: closing the buffer would try to write what is left
        with suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise


def list_prefix(prefix: str, max_folders: int | None) -> Iterator[ObjectInfo]:
    folder = prefix[: prefix.rfind("/") + 1]
    return _walk(folder, prefix, max_folders, ())


def size(path: str) -> int:
    with _reported("read", path):
        info = Path(path).stat()
    if not Path(path).is_file():
        raise ObjectNotFound(f"{printable(path)} is not a file")
    return info.st_size


def exists(path: str) -> bool:
    with _reported("read", path):
        return Path(path).is_file()


def delete(path: str) -> None:
    with _reported("delete", path):
        Path(path).unlink(missing_ok=True)


def delete_tree(folder: str) -> None:
    with _reported("delete", folder), suppress(FileNotFoundError):
        shutil.rmtree(folder)


def discard_unfinished(folder: str) -> int:
    remains = [
        Path(parent, name)
        for parent, _, names in os.walk(folder)
        for name in names
        if _TEMPORARY.search(name)
    ]
    for temporary in remains:
        with _reported("delete", str(temporary)):
            temporary.unlink(missing_ok=True)
    return len(remains)


class _ReportingFile(io.FileIO):
    """A raw file whose failures are StorageErrors that name the object being read or written."""

    def __init__(self, path: str, mode: str, shown_as: str | None = None) -> None:
        super().__init__(path, mode)
        self._shown_as = shown_as or path

    def write(self, data: ReadableBuffer, /) -> int:
        with _reported("write", self._shown_as):
            return super().write(data)

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        with _reported("read", self._shown_as):
            return super().readinto(buffer)


@contextmanager
def _reported(action: str, path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise ObjectNotFound(f"cannot {action} {printable(path)}: no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        number = error.errno if isinstance(error, OSError) else None
        reason = os.strerror(number).lower() if number else str(error)
        way_out = _WAY_OUT.get(number or 0, "check the path")
        raise StorageError(f"cannot {action} {printable(path)}: {reason}; {way_out}") from error


def _sync(path: str) -> None:
    """Bytes reach the disk before the name: a power cut cannot publish an empty file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _walk(
    folder: str, prefix: str, max_folders: int | None, ancestors: tuple[str, ...]
) -> Iterator[ObjectInfo]:
    """Files below `folder` ("" or ending in "/") whose path starts with `prefix`, sorted."""
    real = os.path.realpath(folder or ".")
    if real in ancestors:
        raise StorageError(
            f"cannot list {printable(folder)}: this symbolic link leads back to a folder above "
            "it; remove the link"
        )
    for name, entry in _entries(folder):
        path, is_folder = folder + name, name.endswith("/")
        if not (path.startswith(prefix) or (is_folder and prefix.startswith(path))):
            continue
        if not is_folder:
            yield from _file(path, entry)
        elif max_folders is None or max_folders > 0:
            deeper = None if max_folders is None else max_folders - 1
            yield from _walk(path, prefix, deeper, (*ancestors, real))


def _entries(folder: str) -> list[tuple[str, os.DirEntry[str]]]:
    """The entries of a folder in the order of object stores; folder names end in "/"."""
    with _reported("list", folder or "."):
        try:
            with os.scandir(folder or ".") as entries:
                named = [(e.name + "/" if e.is_dir() else e.name, e) for e in entries]
        except (FileNotFoundError, NotADirectoryError):
            return []
    named = [(name, entry) for name, entry in named if not _TEMPORARY.search(name)]
    return sorted(named, key=itemgetter(0))


def _file(path: str, entry: os.DirEntry[str]) -> Iterator[ObjectInfo]:
    """The listing entry of a file; none for sockets, pipes and what has just been deleted."""
    if entry.is_file():
        with _reported("list", path):
            num_bytes = entry.stat().st_size
        yield ObjectInfo(path, num_bytes)
    elif entry.is_symlink():
        raise StorageError(
            f"cannot list {printable(path)}: this symbolic link leads nowhere; remove the link"
        )
