"""An HTTP response as archived: header lines and the decoded body.

Crawlers often store the body decoded but keep the headers of the encoded one (Common Crawl renames
them, older crawls and wget do not), so a body that is not in the declared coding is taken as it is.
A body that ends early is kept and reported in `truncated`.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass

from fastwarc.stream_io import BrotliReader

from pipelines.sources.streams import (
    PIECE_BYTES,
    Codec,
    DamagedStreamError,
    Decoder,
    TooLargeError,
    decompress,
    pump_zlib,
    sniff,
)

MAX_HEADER_BYTES = 256 << 10
_END_OF_HEADERS = re.compile(rb"\r{0,2}\n\r{0,2}\n")
_STATUS = re.compile(rb"HTTP/\d(?:\.\d)? +(\d{3})\b")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.I)
_CHUNK_SIZE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\n]*)?\r?\n")


@dataclass(frozen=True, slots=True)
class HttpResponse:
    status: int
    """0 when there is no status line."""
    headers: dict[str, str]
    """By lower-case name; the first of repeated ones."""
    body: bytes
    """As stored, still in its codings."""

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def charset(self) -> str:
        """The declared charset, as written; "" without one."""
        match = re.search(
            r"charset\s*=\s*[\"']?([\w.:-]+)", self.headers.get("content-type", ""), re.I
        )
        return match[1] if match else ""


def parse_headers(lines: bytes) -> dict[str, str]:
    """Header lines by lower-case name; folded lines are joined, the first of a name wins."""
    headers: dict[str, str] = {}
    name = ""
    for line in lines.decode("utf-8", "replace").split("\n"):
        if line[:1] in (" ", "\t") and name:
            headers[name] += " " + line.strip()
            continue
        key, colon, value = line.partition(":")
        name = key.strip().lower() if colon else ""
        if name in headers:
            name = ""
        elif name:
            headers[name] = value.strip()
    return headers


def parse_response(block: bytes) -> HttpResponse:
    """The response in a WARC block; a block without a status line is all body."""
    status = _STATUS.match(block)
    if status is None:
        return HttpResponse(0, {}, block)
    end = _END_OF_HEADERS.search(block, 0, MAX_HEADER_BYTES)
    head_end, body_start = (end.start(), end.end()) if end else (len(block), len(block))
    first_line_end = block.find(b"\n", 0, head_end)
    lines = block[first_line_end + 1 : head_end] if first_line_end >= 0 else b""
    return HttpResponse(int(status[1]), parse_headers(lines), block[body_start:])


def decode_body(response: HttpResponse, max_bytes: int) -> tuple[bytes, bool]:
    """(decoded body, whether it ends early).

    Raises TooLargeError above `max_bytes`, DamagedStreamError when not even its start decodes.
    """
    body = response.body
    declared = response.headers.get("content-length", "")
    is_truncated = declared.isdigit() and len(body) < int(declared[:18])
    if "chunked" in response.headers.get("transfer-encoding", "").lower():
        body, cut = _dechunk(body)
        is_truncated |= cut
    # Codings are listed in the order in which they were applied.
    codings = response.headers.get("content-encoding", "").lower().split(",")
    for coding in reversed(codings):
        body, cut = _undo(coding.strip(), body, max_bytes)
        is_truncated |= cut
    if len(body) > max_bytes:
        raise TooLargeError(f"more than {max_bytes} bytes")
    return body, is_truncated


def _undo(coding: str, body: bytes, max_bytes: int) -> tuple[bytes, bool]:
    """Undo one content coding; a body that is not in it (or an unknown coding) stays."""
    if coding in ("gzip", "x-gzip", "zstd"):
        codec: Codec = "zstd" if coding == "zstd" else "gzip"
        is_coded = sniff(body[:10]) == codec
        return _collect(decompress([body], codec), max_bytes) if is_coded else (body, False)
    if coding == "deflate":
        return _collect(_inflate(body), max_bytes)
    if coding == "br":
        return _collect(_unbrotli(body), max_bytes)
    return body, False


def _collect(pieces: Iterator[bytes], max_bytes: int) -> tuple[bytes, bool]:
    """(all pieces before the damage, whether there was any)."""
    body = bytearray()
    try:
        for piece in pieces:
            body += piece
            if len(body) > max_bytes:
                raise TooLargeError(f"more than {max_bytes} bytes")
    except DamagedStreamError:
        if not body:
            raise
        return bytes(body), True
    return bytes(body), False


def _inflate(body: bytes) -> Generator[bytes, None, None]:
    """`deflate` means zlib, but some servers send the bare stream."""
    is_zlib = len(body) > 1 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
    decoder = Decoder(zlib.decompressobj(wbits=15 if is_zlib else -15), pump_zlib)
    yield from decoder.feed(body)
    if not decoder.is_finished:
        raise DamagedStreamError("truncated", "the deflate stream ends early")


def _unbrotli(body: bytes) -> Iterator[bytes]:
    reader = BrotliReader(io.BytesIO(body))
    while True:
        try:
            piece = reader.read(PIECE_BYTES)
        except OSError as error:
            raise DamagedStreamError("corrupt", f"brotli: {error}") from error
        if not piece:
            return
        yield piece


def _dechunk(body: bytes) -> tuple[bytes, bool]:
    """(the chunks' data, whether it ends early); a body without a first chunk size stays."""
    if not _CHUNK_SIZE.match(body):
        return body, False
    pieces: list[bytes] = []
    position = 0
    while True:
        size = _CHUNK_SIZE.match(body, position)
        if size is None:
            return b"".join(pieces), True
        num_bytes = int(size[1], 16)
        if num_bytes == 0:
            return b"".join(pieces), False
        pieces.append(body[size.end() : size.end() + num_bytes])
        if size.end() + num_bytes > len(body):
            return b"".join(pieces), True
        position = size.end() + num_bytes
        position += 2 if body.startswith(b"\r\n", position) else body.startswith(b"\n", position)
