"""gs:// objects against a small imitation of Google's JSON API (skipped without tilth[gcs])."""

from __future__ import annotations

import base64
import gc
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import requests

from storage import objects
from storage.objects import ObjectNotFound, StorageError

EXTRA = "needs the extra: pip install tilth[gcs]"
fileio = pytest.importorskip("google.cloud.storage.fileio", reason=EXTRA)
google_crc32c = pytest.importorskip("google_crc32c", reason=EXTRA)

FOLDER = "gs://bucket/folder"
STORED: dict[str, bytes] = {}
UPLOADS: dict[str, tuple[str, bytearray]] = {}


class Handler(BaseHTTPRequestHandler):
    """Objects in STORED; unfinished resumable uploads in UPLOADS."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _parse(self) -> tuple[str, dict[str, str], bytes]:
        url = urlsplit(self.path)
        name = unquote(url.path.partition("/o/")[2])
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        return name, query, self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _metadata(self, name: str) -> dict[str, str]:
        data = STORED[name]
        crc32c = base64.b64encode(google_crc32c.Checksum(data).digest()).decode()
        return {"name": name, "size": str(len(data)), "generation": "1", "crc32c": crc32c}

    def do_GET(self) -> None:
        name, query, _ = self._parse()
        if not name:
            found = [key for key in sorted(STORED) if key.startswith(query.get("prefix", ""))]
            if "delimiter" in query:
                found = [key for key in found if "/" not in key[len(query["prefix"]) :]]
            items = [self._metadata(key) for key in found]
            return self._answer(200, json.dumps({"items": items}).encode())
        if name not in STORED:
            return self._answer(404)
        if query.get("alt") != "media":
            return self._answer(200, json.dumps(self._metadata(name)).encode())
        data = STORED[name]
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not asked:
            crc32c = self._metadata(name)["crc32c"]
            return self._answer(200, data, X_Goog_Hash=f"crc32c={crc32c}")
        first, last = int(asked[1]), min(int(asked[2]), len(data) - 1)
        content_range = f"bytes {first}-{last}/{len(data)}"
        return self._answer(206, data[first : last + 1], Content_Range=content_range)

    def do_POST(self) -> None:
        _, query, body = self._parse()
        assert query["uploadType"] == "resumable", "storage.gcs starts no other uploads"
        upload = f"upload-{len(UPLOADS)}"
        UPLOADS[upload] = (json.loads(body)["name"], bytearray())
        host = self.headers["Host"]
        return self._answer(200, Location=f"http://{host}/resumable/{upload}")

    def do_PUT(self) -> None:
        _, _, body = self._parse()
        upload = self.path.rpartition("/")[2]
        name, received = UPLOADS[upload]
        received += body
        if self.headers["Content-Range"].endswith("/*"):
            return self._answer(308, Range=f"bytes=0-{len(received) - 1}")
        STORED[name] = bytes(UPLOADS.pop(upload)[1])
        return self._answer(200, json.dumps(self._metadata(name)).encode())

    def do_DELETE(self) -> None:
        name, _, _ = self._parse()
        return self._answer(204 if STORED.pop(name, None) is not None else 404)


@pytest.fixture(autouse=True, scope="module")
def service() -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_address[1]}")
        patch.setenv("GOOGLE_CLOUD_PROJECT", "test")
        yield
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def empty() -> None:
    STORED.clear()
    UPLOADS.clear()


@pytest.mark.parametrize("num_bytes", [0, 1, 100_000, 8 << 20, (20 << 20) + 1])
def test_write_then_read(num_bytes: int) -> None:
    data = bytes(range(256)) * (num_bytes // 256) + bytes(num_bytes % 256)
    path = f"{FOLDER}/object"
    objects.write(path, data)
    assert objects.read(path) == data
    assert objects.size(path) == num_bytes
    assert objects.exists(path)
    with objects.open_read(path) as handle:
        assert handle.read() == data
    assert not UPLOADS
    objects.delete(path)
    objects.delete(path)
    assert not objects.exists(path)


def fail_to_connect(writer: object) -> None:
    raise requests.exceptions.ConnectionError


def test_read_range() -> None:
    STORED["folder/object"] = b"0123456789"
    assert objects.read_range(f"{FOLDER}/object", 3, 4) == b"3456"
    assert objects.read_range(f"{FOLDER}/object", 10, 0) == b""
    with pytest.raises(StorageError, match="ends early: asked for 4 bytes at offset 8, got 2"):
        objects.read_range(f"{FOLDER}/object", 8, 4)


@pytest.mark.parametrize("cancelling_fails", [False, True])
def test_exception_in_the_block_leaves_the_old_object(
    monkeypatch: pytest.MonkeyPatch, cancelling_fails: bool
) -> None:
    if cancelling_fails:
        monkeypatch.setattr(fileio.BlobWriter, "terminate", fail_to_connect)
    STORED["folder/object"] = b"old"

    def write_and_fail(num_bytes: int) -> None:
        with objects.open_write(f"{FOLDER}/object") as handle:
            handle.write(bytes(num_bytes))
            handle.close()
            raise KeyError("mine")

    for num_bytes in (10, 20 << 20):
        with pytest.raises(KeyError, match="mine"):
            write_and_fail(num_bytes)
        gc.collect()  # the library's writer would publish when it is collected unclosed
        assert objects.read(f"{FOLDER}/object") == b"old"


def test_listing_globs_and_deleting() -> None:
    for name in ("folder/a.gz", "folder/a/b.gz", "folder/z", "folder/sub/", "folderx"):
        STORED[name] = b"" if name.endswith("/") else b"x"
    assert [info.path for info in objects.list_objects(FOLDER)] == [
        f"{FOLDER}/{name}" for name in ("a.gz", "a/b.gz", "z")
    ]
    assert [info.path for info in objects.expand(f"{FOLDER}/*.gz")] == [f"{FOLDER}/a.gz"]
    assert len(objects.expand(f"{FOLDER}/**/*.gz")) == 2
    objects.delete_tree(FOLDER)
    assert list(STORED) == ["folderx"]


def test_errors_are_one_clear_line() -> None:
    for fail in (objects.read, objects.size, objects.open_read):
        with pytest.raises(ObjectNotFound, match="cannot read gs://bucket/missing: no such"):
            fail("gs://bucket/missing")
    with pytest.raises(StorageError, match="names a bucket, not an object"):
        objects.read("gs://bucket")
