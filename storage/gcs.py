"""Google Cloud Storage objects (gs://), an optional extra: pip install tilth[gcs].

Retries, checksums (CRC32C) and resumable uploads are those of google-cloud-storage; credentials
come from Google's own chain (application default credentials). An object appears when its upload
is finalised; unfinished uploads are invisible, free of charge and expire after a week.

Tested: all functions against a small imitation of the JSON API in tests/storage/test_gcs.py.
Not tested: the real service, its quotas and its permission errors.
"""

# The extra may be absent where types are checked.
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from storage.backend import (
    ObjectInfo,
    ObjectNotFound,
    StorageError,
    printable,
    require_range,
    too_short,
)
from storage.ranged import open_ranged

try:
    from google.api_core import exceptions as google
    from google.auth.exceptions import GoogleAuthError
    from google.cloud import storage as google_storage
    from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
    from google.cloud.storage.retry import DEFAULT_RETRY
    from requests.exceptions import RequestException
except ImportError as missing:
    raise StorageError("gs:// needs an extra package: pip install tilth[gcs]") from missing

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_RETRY_SECONDS = 120.0
_TIMEOUT_SECONDS = (10, 60)  # to connect, between two pieces of an answer
_CHUNK_BYTES = 8 << 20
_FAILURES = (
    google.GoogleAPIError,
    GoogleAuthError,
    DataCorruption,
    InvalidResponse,
    RequestException,
)


def read(path: str) -> bytes:
    with _reported("read", path):
        return _blob(path).download_as_bytes(raw_download=True, **_patience())


def read_range(path: str, offset: int, length: int) -> bytes:
    require_range(path, offset, length)
    return _read_range(path, _current(path), offset, length)


def open_read(path: str) -> BinaryIO:
    blob = _current(path)
    return open_ranged(blob.size, lambda offset, length: _read_range(path, blob, offset, length))


def write(path: str, data: bytes) -> None:
    with open_write(path) as handle:
        handle.write(data)


@contextmanager
def open_write(path: str) -> Iterator[BinaryIO]:
    blob = _blob(path)
    upload = blob.open(
        "wb", chunk_size=_CHUNK_BYTES, ignore_flush=True, checksum="crc32c", **_patience()
    )
    try:
        yield cast(BinaryIO, _Writer(path, upload))
        with _reported("write", path):
            upload.close()
    except BaseException:
        _abandon(upload)
        raise


def list_prefix(prefix: str, max_folders: int | None) -> Iterator[ObjectInfo]:
    bucket, start = _split(prefix)
    delimiter = "/" if max_folders == 0 else None
    with _reported("list", prefix):
        for blob in _client().list_blobs(bucket, prefix=start, delimiter=delimiter, **_patience()):
            if not (blob.name.endswith("/") and blob.size == 0):  # a console's folder marker
                yield ObjectInfo(f"gs://{bucket}/{blob.name}", blob.size)


def size(path: str) -> int:
    return _current(path).size


def exists(path: str) -> bool:
    if not _split(path)[1]:
        return False
    try:
        _current(path)
    except ObjectNotFound:
        return False
    return True


def delete(path: str) -> None:
    with suppress(ObjectNotFound), _reported("delete", path):
        _blob(path).delete(**_patience())


def delete_tree(folder: str) -> None:
    bucket, prefix = _split(folder.rstrip("/") + "/")
    with _reported("delete", folder):
        names = [blob.name for blob in _client().list_blobs(bucket, prefix=prefix, **_patience())]
    for name in names:
        delete(f"gs://{bucket}/{name}")


def discard_unfinished(folder: str) -> int:
    del folder  # unfinished uploads cannot be listed; they expire by themselves
    return 0


class _Writer(io.RawIOBase):
    """Feeds an upload in pieces; closing it does not finalise the upload."""

    def __init__(self, path: str, upload: Any) -> None:
        super().__init__()
        self._path = path
        self._upload = upload
        self._num_bytes = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._num_bytes

    def write(self, data: ReadableBuffer, /) -> int:
        view = memoryview(data).cast("B")
        with _reported("write", self._path):
            for first in range(0, len(view), _CHUNK_BYTES):
                self._upload.write(bytes(view[first : first + _CHUNK_BYTES]))
        self._num_bytes += len(view)
        return len(view)


def _abandon(upload: Any) -> None:
    """Cancel an upload; the failure that led here is what the user must see, not this one."""
    try:
        with suppress(*_FAILURES):
            upload.terminate()
    finally:
        # Left open, it would be closed when collected, and closing publishes what there is.
        upload._buffer.close()


def _read_range(path: str, blob: Any, offset: int, length: int) -> bytes:
    """Exactly `length` bytes of this generation of the object."""
    if offset + length > blob.size:
        raise too_short(path, offset, length, max(0, blob.size - offset))
    if length == 0:
        return b""
    with _reported("read", path):
        data = blob.download_as_bytes(
            start=offset, end=offset + length - 1, raw_download=True, checksum=None, **_patience()
        )
    if len(data) != length:
        raise too_short(path, offset, length, len(data))
    return data


def _blob(path: str) -> Any:
    bucket, key = _split(path)
    if not key:
        raise StorageError(f"{printable(path)} names a bucket, not an object: add /key")
    return _client().bucket(bucket).blob(key)


def _current(path: str) -> Any:
    """The object as it is now: a later read gets this generation or fails."""
    blob = _blob(path)
    with _reported("read", path):
        blob.reload(**_patience())
    return blob


@contextmanager
def _reported(action: str, path: str) -> Iterator[None]:
    failed = f"cannot {action} {printable(path)}"
    try:
        yield
    except google.NotFound as error:
        # One answer for both: telling a missing bucket apart takes a permission on the bucket.
        raise ObjectNotFound(f"{failed}: no such object, or no such bucket") from error
    except (google.Forbidden, google.Unauthorized) as error:
        raise StorageError(
            f"{failed}: access denied ({error.code}); check which identity is used "
            "(GOOGLE_APPLICATION_CREDENTIALS, or gcloud auth application-default login) and that "
            "it may read, write and list objects in this bucket"
        ) from error
    except _FAILURES as error:
        reason = printable(" ".join(str(error).split()))
        raise StorageError(f"{failed}: {reason}; check the bucket, credentials, network") from error


def _patience() -> dict[str, Any]:
    """Time-outs and bounded retries of every request; repeating ours is always safe."""
    return {"timeout": _TIMEOUT_SECONDS, "retry": DEFAULT_RETRY.with_timeout(_RETRY_SECONDS)}


def _client() -> Any:
    return _client_of(os.getpid())  # a client must not be shared across a fork


@cache
def _client_of(pid: int) -> Any:
    del pid  # the key of the cache
    try:
        return google_storage.Client()
    except (GoogleAuthError, OSError) as error:
        raise StorageError(
            "no Google credentials found; set GOOGLE_APPLICATION_CREDENTIALS (and "
            "GOOGLE_CLOUD_PROJECT), or run: gcloud auth application-default login"
        ) from error


def _split(path: str) -> tuple[str, str]:
    bucket, _, key = path.removeprefix("gs://").partition("/")
    if not bucket:
        raise StorageError(f"{printable(path)} names no bucket: write gs://bucket/key")
    return bucket, key
