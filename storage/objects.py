"""One small interface to local files, s3:// and gs:// objects.

A path is a string everywhere: `/data/x.parquet`, `s3://bucket/key` or `gs://bucket/key`.
Objects are immutable once they can be seen: a local file is written under a temporary name and
renamed, an object is one PUT or one completed multipart upload. Whatever interrupts a writer
(an exception, SIGKILL, a lost machine) leaves nothing that a reader could take for finished.
Listings are sorted by path, the same way on every storage.

Folders exist only as prefixes of objects: writers create what they need, `exists` is true for
objects alone, and a folder without objects is an empty listing.

Globs know `*` and `?` (within one path segment) and `**` (any number of segments); a path that
exists literally is taken literally.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO

from storage.backend import Backend, ObjectInfo, ObjectNotFound, StorageError, printable

__all__ = [
    "ObjectInfo",
    "ObjectNotFound",
    "StorageError",
    "delete",
    "delete_tree",
    "discard_unfinished",
    "exists",
    "expand",
    "join",
    "list_objects",
    "open_read",
    "open_write",
    "read",
    "read_range",
    "require_supported",
    "size",
    "write",
]

_WILDCARD = re.compile(r"[*?]")
_GLOB_TOKENS = re.compile(r"\*\*/|\*\*|\*|\?|[^*?]+")
_GLOB_REGEX = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def require_supported(path: str) -> None:
    """Raises StorageError for a path on no known storage, or an address without a bucket."""
    scheme, separator, rest = path.partition("://")
    _backend(path)
    if separator and not rest.strip("/"):
        raise StorageError(f"{printable(path)} names no bucket: write {scheme}://bucket/key")


def join(base: str, *parts: str) -> str:
    """`base/part/part`. A part may hold slashes, but must not be absolute or climb with `..`."""
    for part in parts:
        if part.startswith("/") or ".." in part.split("/"):
            raise StorageError(
                f"{printable(part)!r} would leave the folder {printable(base)}: "
                "names inside a folder must be relative and without '..'"
            )
    names = [name for name in parts if name]
    if not base or not names:
        return "/".join([base, *names]) if base else "/".join(names)
    return "/".join([base.rstrip("/"), *names])


def read(path: str) -> bytes:
    """The whole object. Raises ObjectNotFound, StorageError."""
    return _backend(path).read(path)


def read_range(path: str, offset: int, length: int) -> bytes:
    """Exactly `length` bytes from `offset`; StorageError when the object ends before."""
    return _backend(path).read_range(path, offset, length)


def open_read(path: str) -> BinaryIO:
    """A seekable, buffered reader; on object stores it fetches ranges of up to 8 MiB ahead."""
    return _backend(path).open_read(path)


def write(path: str, data: bytes) -> None:
    """Create or replace an object at once: readers see the old bytes or all of the new ones."""
    _backend(path).write(path, data)


def open_write(path: str) -> AbstractContextManager[BinaryIO]:
    """Stream into an object that appears on a clean exit of the `with`, never on an exception.

    The handle has write, tell and flush, and is not seekable on object stores. Memory stays
    bounded whatever the size. Closing the handle inside the block does not publish the object.
    """
    return _backend(path).open_write(path)


def list_objects(folder: str) -> Iterator[ObjectInfo]:
    """All objects below `folder`, at any depth, sorted by path; none when there is no folder."""
    if not folder:
        raise StorageError("the folder is empty: use '.' for the current one")
    return _backend(folder).list_prefix(folder.rstrip("/") + "/", None)


def expand(pattern: str) -> list[ObjectInfo]:
    """The objects that a user's path means: a file, a folder with all below it, or a glob.

    Sorted by path. Raises ObjectNotFound when nothing matches.
    """
    if not pattern:
        raise StorageError("the path is empty: give a file, a folder or a glob")
    if not pattern.endswith("/") and exists(pattern):
        return [ObjectInfo(pattern, size(pattern))]
    found = list(_match_glob(pattern) if _WILDCARD.search(pattern) else list_objects(pattern))
    if not found:
        raise ObjectNotFound(
            f"nothing at {printable(pattern)}: give an existing file, a folder with files in it "
            "or a glob (* and ? within one folder, ** across folders)"
        )
    return found


def size(path: str) -> int:
    """Size in bytes. Raises ObjectNotFound."""
    return _backend(path).size(path)


def exists(path: str) -> bool:
    """Whether there is an object at exactly this path (a folder is not an object)."""
    return _backend(path).exists(path)


def delete(path: str) -> None:
    """Remove an object; a missing one is fine."""
    _backend(path).delete(path)


def delete_tree(folder: str) -> None:
    """Remove everything below `folder`, remains of interrupted writers included."""
    _require_folder(folder)
    _backend(folder).delete_tree(folder)


def discard_unfinished(folder: str) -> int:
    """Remove what killed writers left below `folder`; returns how many remains there were.

    Invisible to readers, but it takes disk space and, as unfinished multipart uploads, costs
    money. Only for a moment when nobody writes there: a live writer would lose its object.
    """
    _require_folder(folder)
    return _backend(folder).discard_unfinished(folder)


def _backend(path: str) -> Backend:
    scheme, separator, _ = path.partition("://")
    if not separator:
        from storage import local

        return local
    if scheme == "s3":
        from storage import s3

        return s3
    if scheme == "gs":
        from storage import gcs

        return gcs
    raise StorageError(
        f"cannot open {printable(path)}: {printable(scheme)}:// is not supported; "
        "use a local path, s3://bucket/key or gs://bucket/key"
    )


def _match_glob(pattern: str) -> Iterator[ObjectInfo]:
    """Objects matching `pattern`; lists from the longest prefix without a wildcard."""
    wildcard = _WILDCARD.search(pattern)
    assert wildcard is not None
    prefix, rest = pattern[: wildcard.start()], pattern[wildcard.start() :]
    max_folders = None if "**" in rest else rest.count("/")
    regex = re.compile(_glob_to_regex(pattern), re.DOTALL)
    for info in _backend(pattern).list_prefix(prefix, max_folders):
        if regex.fullmatch(info.path):
            yield info


def _glob_to_regex(pattern: str) -> str:
    tokens = _GLOB_TOKENS.findall(pattern)
    return "".join(_GLOB_REGEX.get(token) or re.escape(token) for token in tokens)


def _require_folder(folder: str) -> None:
    """Deleting needs a named folder: not "", not "/", not a whole bucket."""
    _, separator, name = folder.partition("://")
    named = name.strip("/").partition("/")[2] if separator else folder.strip("/. ")
    if not named:
        raise StorageError(f"refusing to delete everything below {folder!r}: name a folder in it")
