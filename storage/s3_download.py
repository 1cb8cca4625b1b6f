"""Reading bytes of an S3 object, continued where a broken body left off.

A body can end early (a proxy's time-out, a reset connection), stall, or be an answer to another
question (a cache that ignores ranges). Each is noticed from the lengths and ranges that the
service states, and what has arrived is kept. Every request after the first names the entity tag
of the first answer, so that an object replaced meanwhile is an error and never a mixture.
"""

from __future__ import annotations

import re
from contextlib import closing
from typing import Any

from botocore.exceptions import FlexibleChecksumError, IncompleteReadError

from storage.backend import StorageError, printable, too_short
from storage.s3_client import RetryClock
from storage.s3_errors import FAILURES, error_code

_PIECE_BYTES = 256 << 10
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


def download(
    path: str,
    bucket: str,
    key: str,
    offset: int = 0,
    length: int | None = None,
    etag: str | None = None,
) -> bytes:
    """`length` bytes from `offset` (None: to the end) of the object with this entity tag."""
    transfer = _Transfer(path, offset, length, etag)
    clock = RetryClock("read", path)
    while not transfer.complete:
        try:
            request = {"Bucket": bucket, "Key": key, **transfer.next_request()}
            transfer.receive(clock.connection.client.get_object(**request), clock)
        except FAILURES as error:
            if error_code(error) in ("InvalidRange", "416"):
                raise too_short(path, offset, length or 0, transfer.received) from error
            clock.pause(error)
    return b"".join(transfer.pieces)


class _Transfer:
    """What of one range has arrived, and what to ask for next."""

    def __init__(self, path: str, offset: int, length: int | None, etag: str | None) -> None:
        self.path = path
        self.offset = offset
        self.length = length
        self.etag = etag
        self.pieces: list[bytes] = []
        self.received = 0

    @property
    def missing(self) -> int:
        assert self.length is not None, "known since the first answer"
        return self.length - self.received

    @property
    def complete(self) -> bool:
        return self.length is not None and self.missing == 0

    def next_request(self) -> dict[str, str]:
        """The Range and IfMatch of the next request."""
        request = {} if self.etag is None else {"IfMatch": self.etag}
        if self.length is not None:
            first, last = self.offset + self.received, self.offset + self.length - 1
            request["Range"] = f"bytes={first}-{last}"
        return request

    def receive(self, response: dict[str, Any], clock: RetryClock) -> None:
        """Keep what this response brings; IncompleteReadError when the range is not whole yet."""
        self._check_answer(response)
        self.etag = response["ETag"]
        try:
            with closing(response["Body"]) as body:
                while piece := body.read(min(_PIECE_BYTES, self.missing)):
                    self.pieces.append(piece)
                    self.received += len(piece)
                    clock.progress()
        except FlexibleChecksumError:
            self.pieces, self.received = [], 0
            raise
        if not self.complete:
            raise IncompleteReadError(actual_bytes=self.received, expected_bytes=self.length)

    def _check_answer(self, response: dict[str, Any]) -> None:
        if self.length is None:
            self.length = int(response["ContentLength"])
            return
        stated = _CONTENT_RANGE.fullmatch(response.get("ContentRange", ""))
        if not stated or int(stated[1]) != self.offset + self.received:
            raise StorageError(
                f"cannot read {printable(self.path)}: the service or a proxy before it ignores "
                "byte ranges; read it without that proxy"
            )
        if int(stated[2]) < self.offset + self.length:
            available = int(stated[2]) - self.offset
            raise too_short(self.path, self.offset, self.length, available)
