"""Writing an S3 object: one PUT when it is small, else a multipart upload, seen only when whole.

Parts hold 8 MiB for the first 2,000 (equal parts, which some services insist on, up to 16 GiB)
and then grow so that the 10,000 parts of an upload hold more than 5 TB. One part is in memory
at a time. A writer that dies leaves an unfinished upload, which no reader can see;
`objects.discard_unfinished` removes it.
"""

from __future__ import annotations

import io
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from storage.backend import StorageError
from storage.s3_client import retrying
from storage.s3_errors import error_code

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

SMALLEST_PART_BYTES = 8 << 20
NUM_EQUAL_PARTS = 2_000
MAX_PARTS = 10_000
_PARTS_PER_STEP = 48
_PART_CHECKSUMS = ("ChecksumCRC32", "ChecksumCRC32C", "ChecksumCRC64NVME")
_ABORT_SECONDS = 10.0


def part_bytes(number: int) -> int:
    """Size in bytes of part `number` (from 1)."""
    steps = max(0, number - NUM_EQUAL_PARTS + _PARTS_PER_STEP - 1) // _PARTS_PER_STEP
    return SMALLEST_PART_BYTES * (1 + steps)


class MultipartWriter(io.RawIOBase):
    """Collects bytes and sends them in parts; `commit` publishes the object, `abort` drops it.

    Closing it does neither: libraries close the handles they are given.
    """

    def __init__(self, path: str, bucket: str, key: str) -> None:
        super().__init__()
        self._path = path
        self._target = {"Bucket": bucket, "Key": key}
        self._buffer = bytearray()
        self._num_bytes = 0
        self._upload_id = ""
        self._parts: list[dict[str, Any]] = []

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._num_bytes

    def write(self, data: ReadableBuffer, /) -> int:
        if self.closed:
            raise ValueError("write to a closed file")
        rest = memoryview(data).cast("B")
        num_bytes = len(rest)
        while rest:
            room = part_bytes(len(self._parts) + 1) - len(self._buffer)
            self._buffer += rest[:room]
            rest = rest[room:]
            if len(self._buffer) == part_bytes(len(self._parts) + 1):
                self._send_part()
        self._num_bytes += num_bytes
        return num_bytes

    def commit(self) -> None:
        """Publish the object."""
        if not self._upload_id:
            body = bytes(self._buffer)
            retrying("write", self._path, lambda s3: s3.put_object(**self._target, Body=body))
            return
        if self._buffer:
            self._send_part()
        retrying("write", self._path, self._complete)

    def abort(self) -> None:
        """Drop what was sent. The failure that led here is what the user must see, not this one."""
        self._buffer.clear()
        if self._upload_id:
            upload = {**self._target, "UploadId": self._upload_id}
            with suppress(StorageError):
                retrying(
                    "abort the upload of",
                    self._path,
                    lambda s3: s3.abort_multipart_upload(**upload),
                    _ABORT_SECONDS,
                )

    def _send_part(self) -> None:
        if not self._upload_id:
            self._upload_id = retrying(
                "write", self._path, lambda s3: s3.create_multipart_upload(**self._target)
            )["UploadId"]
        number = len(self._parts) + 1
        part = {**self._target, "UploadId": self._upload_id, "PartNumber": number}
        reply = retrying("write", self._path, lambda s3: s3.upload_part(**part, Body=self._buffer))
        checksums = {name: reply[name] for name in _PART_CHECKSUMS if name in reply}
        self._parts.append({"PartNumber": number, "ETag": reply["ETag"], **checksums})
        self._buffer = bytearray()

    def _complete(self, s3: Any) -> None:
        upload = {**self._target, "UploadId": self._upload_id}
        try:
            s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": self._parts})
        except ClientError as error:
            # A first attempt completed the upload and its answer was lost on the way.
            if error_code(error) == "NoSuchUpload" and self._is_published(s3):
                return
            raise

    def _is_published(self, s3: Any) -> bool:
        head = s3.head_object(**self._target)
        same_parts = head["ETag"].strip('"').endswith(f"-{len(self._parts)}")
        return head["ContentLength"] == self._num_bytes and same_parts
