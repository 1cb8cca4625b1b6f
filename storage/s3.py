"""S3 objects: one PUT or one completed multipart upload each, ranged reads that resume.

Nothing is ever renamed on S3, and nothing needs to be: an object cannot be seen before its PUT
or its multipart upload completes. A broken body is continued at the byte where it broke, under
the entity tag of the first answer, so that an object replaced meanwhile is an error instead of
a mixture. Listings follow the service's order, which is that of the UTF-8 bytes of the keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from storage.backend import ObjectInfo, ObjectNotFound, StorageError, printable, require_range
from storage.ranged import open_ranged
from storage.s3_client import connection, retrying, split
from storage.s3_download import download
from storage.s3_upload import MultipartWriter

_MAX_DELETIONS = 1_000  # of one DeleteObjects request


def read(path: str) -> bytes:
    return download(path, *_object(path))


def read_range(path: str, offset: int, length: int) -> bytes:
    require_range(path, offset, length)
    if length == 0:
        size(path)  # a missing object is an error here too
        return b""
    return download(path, *_object(path), offset, length)


def open_read(path: str) -> BinaryIO:
    bucket, key = _object(path)
    head = _head(path)
    return open_ranged(
        head["ContentLength"],
        lambda offset, length: download(path, bucket, key, offset, length, head["ETag"]),
    )


def write(path: str, data: bytes) -> None:
    with open_write(path) as handle:
        handle.write(data)


@contextmanager
def open_write(path: str) -> Iterator[BinaryIO]:
    writer = MultipartWriter(path, *_object(path))
    try:
        yield cast(BinaryIO, writer)
        writer.commit()
    except BaseException:
        writer.abort()
        raise


def list_prefix(prefix: str, max_folders: int | None) -> Iterator[ObjectInfo]:
    bucket, start = split(prefix)
    options = {"Delimiter": "/"} if max_folders == 0 else {}
    for entry in _list_keys(prefix, bucket, start, options):
        if not (entry["Key"].endswith("/") and entry["Size"] == 0):  # a console's folder marker
            yield ObjectInfo(f"s3://{bucket}/{entry['Key']}", entry["Size"])


def size(path: str) -> int:
    return _head(path)["ContentLength"]


def exists(path: str) -> bool:
    if not split(path)[1]:
        return False
    try:
        _head(path)
    except ObjectNotFound:
        return False
    return True


def delete(path: str) -> None:
    bucket, key = _object(path)
    retrying("delete", path, lambda s3: s3.delete_object(Bucket=bucket, Key=key))


def delete_tree(folder: str) -> None:
    bucket, prefix = split(folder.rstrip("/") + "/")
    keys = [entry["Key"] for entry in _list_keys(folder, bucket, prefix, {})]
    for first in range(0, len(keys), _MAX_DELETIONS):
        _delete_keys(folder, bucket, keys[first : first + _MAX_DELETIONS])
    discard_unfinished(folder)


def discard_unfinished(folder: str) -> int:
    bucket, prefix = split(folder.rstrip("/") + "/")
    uploads = list(_list_uploads(folder, bucket, prefix))
    for upload in uploads:
        target = {"Bucket": bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
        retrying(
            "discard an unfinished upload of",
            f"s3://{bucket}/{upload['Key']}",
            lambda s3, target=target: s3.abort_multipart_upload(**target),
        )
    return len(uploads)


def _object(path: str) -> tuple[str, str]:
    bucket, key = split(path)
    if not key:
        raise StorageError(f"{printable(path)} names a bucket, not an object: add /key")
    return bucket, key


def _head(path: str) -> dict[str, Any]:
    """Size and entity tag. A HEAD has no body, so a missing bucket takes a second request."""
    bucket, key = _object(path)
    try:
        head = retrying("read", path, lambda s3: s3.head_object(Bucket=bucket, Key=key))
    except ObjectNotFound:
        _require_bucket(path, bucket)
        raise
    return head


def _require_bucket(path: str, bucket: str) -> None:
    known = connection().known_buckets
    if bucket not in known:
        retrying("read", path, lambda s3: s3.list_objects_v2(Bucket=bucket, MaxKeys=1))
        known.add(bucket)


def _list_keys(
    shown: str, bucket: str, prefix: str, options: dict[str, str]
) -> Iterator[dict[str, Any]]:
    """Entries {Key, Size} in the order of the keys, 1,000 to a request."""
    request = {"Bucket": bucket, "Prefix": prefix, **options}
    while True:
        page = retrying("list", shown, lambda s3: s3.list_objects_v2(**request))
        yield from page.get("Contents", [])
        if not page["IsTruncated"]:
            return
        request["ContinuationToken"] = page["NextContinuationToken"]


def _list_uploads(shown: str, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
    request = {"Bucket": bucket, "Prefix": prefix}
    while True:
        page = retrying("list", shown, lambda s3: s3.list_multipart_uploads(**request))
        yield from page.get("Uploads", [])
        if not page["IsTruncated"]:
            return
        request["KeyMarker"] = page["NextKeyMarker"]
        request["UploadIdMarker"] = page["NextUploadIdMarker"]


def _delete_keys(folder: str, bucket: str, keys: list[str]) -> None:
    batch = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
    reply = retrying("delete", folder, lambda s3: s3.delete_objects(Bucket=bucket, Delete=batch))
    for failure in reply.get("Errors", []):
        raise StorageError(
            f"cannot delete s3://{bucket}/{printable(failure['Key'])}: {failure.get('Code')} "
            f"{failure.get('Message', '')}; check what the credentials allow in this bucket"
        )
