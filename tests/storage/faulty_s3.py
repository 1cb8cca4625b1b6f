"""A small imitation of S3 on a real socket that misbehaves on demand.

It keeps objects in memory and knows the requests of `storage.s3`: PUT, GET with ranges and
If-Match, HEAD, DELETE and multipart uploads in one bucket. Like the real service it refuses a
body that does not have the SHA-256 that was signed. `faults` is a queue; each request that a
fault applies to takes one.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

Kind = Literal[
    "status",  # answer with this status and error code
    "silence",  # never answer, until the client gives up
    "hang up",  # close the connection without an answer
    "lost answer",  # do what was asked, then close the connection
    "truncate",  # state the whole length, send `num_bytes` of the body, close
    "stall",  # state the whole length, send `num_bytes`, then nothing more
    "trickle",  # send the body in pieces of `num_bytes`, 20 ms apart
    "corrupt upload",  # flip a bit of the body on its way in
    "ignore range",  # answer 200 with the whole object
    "replace object",  # after this answer's `num_bytes` the object is another one
]


@dataclass
class Fault:
    kind: Kind
    request: str = "GET"  # or PUT, HEAD, DELETE, LIST, CREATE, PART, COMPLETE
    num_bytes: int = 0
    status: int = 500
    code: str = "InternalError"
    times: int = 1


@dataclass
class FaultyS3:
    """State of the imitation; `requests` counts by the names that `Fault.request` has."""

    endpoint: str = ""
    bucket: str = "bucket"
    objects: dict[str, bytes] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reset(self) -> None:
        for part in (self.objects, self.etags, self.uploads, self.faults, self.requests):
            part.clear()

    def store(self, key: str, data: bytes, etag_suffix: str = "") -> None:
        self.etags[key] = f'"{hashlib.md5(data).hexdigest()}{etag_suffix}"'
        self.objects[key] = data

    def take_fault(self, request: str) -> Fault | None:
        with self.lock:
            self.requests[request] += 1
            for fault in self.faults:
                if fault.request == request and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None


@contextmanager
def serve() -> Iterator[FaultyS3]:
    state = FaultyS3()
    handler = type("BoundHandler", (Handler,), {"state": state})
    server = Server(("127.0.0.1", 0), handler)
    state.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that give up on a silent answer reset the connection; that is the point."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: FaultyS3

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _request_name(self) -> str:
        """S3 overloads the HTTP methods; these are the operations."""
        if self.command == "PUT" and "uploadId" in self.query:
            return "PART"
        if self.command == "POST":
            return "CREATE" if "uploads" in self.query else "COMPLETE"
        return "LIST" if "list-type" in self.query else self.command

    def _serve(self) -> None:
        url = urlsplit(self.path)
        bucket, _, self.key = unquote(url.path).lstrip("/").partition("/")
        self.query = {name: v[0] for name, v in parse_qs(url.query, True).items()}
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        name = self._request_name()
        self.fault = self.state.take_fault(name)
        kind = self.fault.kind if self.fault else ""
        if self.fault and kind == "status":
            return self._error(self.fault.status, self.fault.code)
        if kind in ("silence", "hang up"):
            return self._abandon(silent=kind == "silence")
        if kind == "corrupt upload":
            self.body = bytes([self.body[0] ^ 1]) + self.body[1:]
        signed = self.headers.get("x-amz-content-sha256", "")
        if signed != hashlib.sha256(self.body).hexdigest():
            return self._error(400, "XAmzContentSHA256Mismatch")
        if bucket != self.state.bucket:
            return self._error(404, "NoSuchBucket")
        return getattr(self, f"_{name.lower()}")()

    def _list(self) -> None:
        self._answer(200, b"<R><IsTruncated>false</IsTruncated></R>")

    def _get(self) -> None:
        if self.key not in self.state.objects:
            return self._error(404, "NoSuchKey")
        data, etag = self.state.objects[self.key], self.state.etags[self.key]
        if self.headers.get("If-Match", etag) != etag:
            return self._error(412, "PreconditionFailed")
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not asked or (self.fault and self.fault.kind == "ignore range"):
            return self._answer(200, data, {"ETag": etag})
        first, last = int(asked[1]), min(int(asked[2]), len(data) - 1)
        if first >= len(data):
            return self._error(416, "InvalidRange")
        content_range = f"bytes {first}-{last}/{len(data)}"
        headers = {"ETag": etag, "Content-Range": content_range}
        return self._answer(206, data[first : last + 1], headers)

    def _head(self) -> None:
        if self.key not in self.state.objects:
            return self._error(404, "")
        data = self.state.objects[self.key]
        return self._answer(200, data, {"ETag": self.state.etags[self.key]})

    def _put(self) -> None:
        self.state.store(self.key, self.body)
        self._answer(200, b"", {"ETag": self.state.etags[self.key]})

    def _create(self) -> None:
        upload_id = f"upload-{self.state.requests['CREATE']}"
        self.state.uploads[upload_id] = {}
        self._answer(200, f"<R><UploadId>{upload_id}</UploadId></R>".encode())

    def _part(self) -> None:
        if self.query["uploadId"] not in self.state.uploads:
            return self._error(404, "NoSuchUpload")
        parts = self.state.uploads[self.query["uploadId"]]
        parts[int(self.query["partNumber"])] = self.body
        return self._answer(200, b"", {"ETag": f'"part-{self.query["partNumber"]}"'})

    def _complete(self) -> None:
        parts = self.state.uploads.pop(self.query["uploadId"], None)
        if parts is None:
            return self._error(404, "NoSuchUpload")
        whole = b"".join(parts[n] for n in sorted(parts))
        self.state.store(self.key, whole, f"-{len(parts)}")
        return self._answer(200, b"<R><ETag>whole</ETag></R>")

    def _delete(self) -> None:
        if "uploadId" in self.query:
            self.state.uploads.pop(self.query["uploadId"], None)
        else:
            self.state.objects.pop(self.key, None)
        self._answer(204, b"")

    def _error(self, status: int, code: str) -> None:
        self.fault = None
        body = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
        self._answer(status, body if code else b"")

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        if self.fault and self.fault.kind == "lost answer":
            return self._abandon(silent=False)
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self._send(body)
        return None

    def _send(self, body: bytes) -> None:
        fault = self.fault or Fault("truncate", num_bytes=len(body))
        if fault.kind == "trickle":
            for first in range(0, len(body), fault.num_bytes):
                self.wfile.write(body[first : first + fault.num_bytes])
                time.sleep(0.02)
            return
        cut = fault.kind in ("truncate", "stall", "replace object")
        self.wfile.write(body[: fault.num_bytes] if cut else body)
        if fault.kind == "replace object":
            self.state.store(self.key, b"another object")
        if cut and fault.num_bytes < len(body):
            self._abandon(silent=fault.kind == "stall")

    def _abandon(self, *, silent: bool) -> None:
        """Leave the client without (the rest of) its answer; silently: until it gives up."""
        self.wfile.flush()
        if silent:
            self.rfile.read(1)
        self.close_connection = True
