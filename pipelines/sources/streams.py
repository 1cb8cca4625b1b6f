"""Decompression that knows when it was cut short.

Python's file-like decompressors differ in what they do with a damaged stream: gzip raises late,
zstandard ends silently. Here every codec goes through its incremental object, so that a caller gets
all bytes before the damage and then a `DamagedStreamError`, never a quiet end.

The codec is sniffed from the first bytes, because suffixes lie (`.warc.gz.open`, `.bad`, none).
Concatenated streams (pigz, pbzip2, multi-frame zstd) are read through; zero padding after a stream
is accepted, any other trailing bytes are damage.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, TypeAlias

import zstandard
from fastwarc.stream_io import Lz4Reader

from storage import objects

CHUNK_BYTES = 1 << 20
# A decoder that fails takes the output of the call with it, so calls are kept small.
PIECE_BYTES = 64 << 10
# A zstd block of 4 bytes can expand to 128 KiB and the bindings have no output limit, so the input
# is fed in slices: 4 KiB bound a hostile file to 128 MiB of output per step.
ZSTD_INPUT_BYTES = 4 << 10
# The limit of the zstd command line. A frame made with --long=31 needs 2 GiB and is refused.
ZSTD_MAX_WINDOW_BYTES = 128 << 20
XZ_MAX_MEMORY_BYTES = 256 << 20

Codec = Literal["", "gzip", "bzip2", "xz", "zstd", "lz4"]
_MAGIC: tuple[tuple[bytes, Codec], ...] = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
)
# BZh1..BZh9 could begin a text; the first block or the empty stream's footer must follow.
_BZIP2_BLOCK = (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90")
_SKIPPABLE_ZSTD = range(0x184D2A50, 0x184D2A60)
_DECODER_ERRORS = (zlib.error, OSError, EOFError, lzma.LZMAError, zstandard.ZstdError)


COMPRESSION_SUFFIXES = ("", ".gz", ".bz2", ".xz", ".zst", ".zstd", ".lz4")


class DamagedStreamError(Exception):
    """The decoder cannot go on. Everything before the damage has been delivered."""

    def __init__(self, kind: Literal["truncated", "corrupt"], message: str) -> None:
        super().__init__(message)
        self.kind: Literal["truncated", "corrupt"] = kind
        self.message = message


class TooLargeError(Exception):
    """A stream holds more decompressed bytes than its reader allows."""


def sniff(head: bytes) -> Codec:
    """The compression of a file that begins with `head` (10 bytes are enough); "" for none."""
    for magic, codec in _MAGIC:
        if head.startswith(magic):
            is_text = codec == "bzip2" and head[4:10] not in _BZIP2_BLOCK
            return "" if is_text else codec
    if len(head) >= 4 and int.from_bytes(head[:4], "little") in _SKIPPABLE_ZSTD:
        return "zstd"
    return ""


def codec_of(path: str) -> Codec:
    """The compression of the file at `path`, from its first bytes (one small read)."""
    head_bytes = min(10, objects.size(path))
    return sniff(objects.read_range(path, 0, head_bytes)) if head_bytes else ""


def raw_chunks(path: str, start: int = 0) -> Iterator[bytes]:
    """The stored bytes of `path` from byte `start`, in chunks of 1 MiB."""
    with objects.open_read(path) as file:
        file.seek(start)
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def decoded_chunks(path: str) -> Iterator[bytes]:
    """The decompressed bytes of `path`; raises DamagedStreamError after the last good ones."""
    chunks = raw_chunks(path)
    first = next(chunks, b"")
    codec = sniff(first)
    if codec == "lz4":
        yield from _lz4_chunks(path)
    elif first:
        yield from decompress(chain([first], chunks), codec)


def read_decoded(path: str, max_bytes: int) -> bytes:
    """All decompressed bytes. Raises TooLargeError above `max_bytes`, DamagedStreamError."""
    pieces: list[bytes] = []
    num_bytes = 0
    for chunk in decoded_chunks(path):
        num_bytes += len(chunk)
        if num_bytes > max_bytes:
            raise TooLargeError(f"more than {max_bytes} bytes")
        pieces.append(chunk)
    return b"".join(pieces)


def decompress(chunks: Iterable[bytes], codec: Codec) -> Generator[bytes, None, None]:
    """Decompress the concatenated streams in `chunks` ("" passes them through)."""
    if not codec:
        yield from chunks
        return
    decoder: Decoder | None = None
    num_streams = 0
    for chunk in chunks:
        data = chunk
        while True:
            if decoder is None:
                data = data.lstrip(b"\0") if num_streams else data
                if not data:
                    break
                decoder = new_decoder(codec)
            data = yield from decoder.feed(data)
            if not decoder.is_finished:
                break
            decoder, num_streams = None, num_streams + 1
    if decoder is not None:
        raise DamagedStreamError("truncated", f"the {codec} stream ends before its end marker")


Pump: TypeAlias = Callable[[Any, bytes], Generator[bytes, None, bytes]]


@dataclass(frozen=True, slots=True)
class Decoder:
    """One compressed stream: a standard library style decompressor and how to feed it."""

    engine: Any
    pump: Pump

    @property
    def is_finished(self) -> bool:
        """Whether the end marker of the stream was seen (and its checksum held)."""
        return self.engine.eof

    def feed(self, data: bytes) -> Generator[bytes, None, bytes]:
        """Yields output in pieces of bounded size, returns the bytes after the stream's end."""
        try:
            return (yield from self.pump(self.engine, data))
        except _DECODER_ERRORS as error:
            raise DamagedStreamError("corrupt", f"{type(error).__name__}: {error}") from error


def new_decoder(codec: Codec) -> Decoder:
    """A decoder for one stream of `codec`."""
    if codec == "gzip":
        return Decoder(zlib.decompressobj(wbits=31), pump_zlib)
    if codec == "bzip2":
        return Decoder(bz2.BZ2Decompressor(), _pump_until_hungry)
    if codec == "xz":
        return Decoder(lzma.LZMADecompressor(memlimit=XZ_MAX_MEMORY_BYTES), _pump_until_hungry)
    assert codec == "zstd", codec
    engine = zstandard.ZstdDecompressor(max_window_size=ZSTD_MAX_WINDOW_BYTES)
    return Decoder(engine.decompressobj(), _pump_zstd)


def _pump_until_hungry(decoder: Any, data: bytes) -> Generator[bytes, None, bytes]:
    """bz2 and lzma: they keep what they could not use and say when they want more."""
    while True:
        yield decoder.decompress(data, PIECE_BYTES)
        data = b""
        if decoder.eof or decoder.needs_input:
            return decoder.unused_data


def pump_zlib(decoder: Any, data: bytes) -> Generator[bytes, None, bytes]:
    """zlib: it hands back what it could not use; a full piece may leave output inside."""
    while True:
        out = decoder.decompress(data, PIECE_BYTES)
        yield out
        data = decoder.unconsumed_tail
        if decoder.eof or (not data and len(out) < PIECE_BYTES):
            return decoder.unused_data


def _pump_zstd(decoder: Any, data: bytes) -> Generator[bytes, None, bytes]:
    """zstd: no output limit, hence small inputs."""
    for start in range(0, len(data), ZSTD_INPUT_BYTES):
        end = start + ZSTD_INPUT_BYTES
        yield decoder.decompress(data[start:end])
        if decoder.eof:
            return decoder.unused_data + data[end:]
    return b""


def _lz4_chunks(path: str) -> Iterator[bytes]:
    """lz4 frames. A file cut exactly before the 4-byte end mark passes for complete."""
    with objects.open_read(path) as file:
        reader = Lz4Reader(file)
        while True:
            try:
                chunk = reader.read(PIECE_BYTES)
            except OSError as error:
                kind = "truncated" if "fill whole buffer" in str(error) else "corrupt"
                raise DamagedStreamError(kind, f"lz4: {error}") from error
            if not chunk:
                return
            yield chunk
