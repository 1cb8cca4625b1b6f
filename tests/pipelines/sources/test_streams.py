from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from fastwarc.stream_io import Lz4Writer
from hypothesis import given
from hypothesis import strategies as st

from pipelines.sources.streams import (
    Codec,
    DamagedStreamError,
    TooLargeError,
    codec_of,
    decoded_chunks,
    decompress,
    read_decoded,
    sniff,
)

# Incompressible and longer than a chunk of input.
PAYLOAD = random.Random(0).randbytes(1_500_000)


def lz4(data: bytes) -> bytes:
    class Kept(io.BytesIO):
        def close(self) -> None: ...

    buffer = Kept()
    writer = Lz4Writer(buffer)
    writer.write(data)
    writer.close()
    return buffer.getvalue()


COMPRESSORS: dict[Codec, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
    "lz4": lz4,
}


@pytest.fixture(params=COMPRESSORS)
def codec(request: pytest.FixtureRequest) -> Codec:
    return request.param


def write(folder: Path, data: bytes) -> str:
    path = folder / "data"
    path.write_bytes(data)
    return str(path)


def read_until_damage(path: str) -> tuple[bytes, DamagedStreamError | None]:
    good = bytearray()
    try:
        for chunk in decoded_chunks(path):
            good += chunk
    except DamagedStreamError as error:
        return bytes(good), error
    return bytes(good), None


def test_reads_back_what_was_compressed(codec: Codec, tmp_path: Path) -> None:
    path = write(tmp_path, COMPRESSORS[codec](PAYLOAD))
    assert codec_of(path) == codec
    assert read_decoded(path, len(PAYLOAD)) == PAYLOAD


def test_reads_concatenated_streams(codec: Codec, tmp_path: Path) -> None:
    one = COMPRESSORS[codec]
    path = write(tmp_path, one(b"first ") + one(b"") + one(b"second"))
    assert read_decoded(path, 100) == b"first second"


def test_truncation_gives_a_prefix_and_the_damage(codec: Codec, tmp_path: Path) -> None:
    compressed = COMPRESSORS[codec](PAYLOAD)
    good, damage = read_until_damage(write(tmp_path, compressed[: len(compressed) * 2 // 3]))
    assert damage is not None
    assert damage.kind == "truncated"
    assert PAYLOAD.startswith(good)
    if codec != "lz4":  # its blocks are up to 4 MiB, and a cut block is lost whole
        assert len(good) > len(PAYLOAD) // 2


def test_a_flipped_byte_is_damage(codec: Codec, tmp_path: Path) -> None:
    if codec == "lz4":
        pytest.skip("fastwarc writes lz4 frames without checksums")
    compressed = bytearray(COMPRESSORS[codec](PAYLOAD))
    compressed[len(compressed) // 2] ^= 0x55
    _, damage = read_until_damage(write(tmp_path, bytes(compressed)))
    assert damage is not None


def test_trailing_bytes_are_damage_but_zero_padding_is_not(codec: Codec, tmp_path: Path) -> None:
    compressed = COMPRESSORS[codec](b"all of it")
    good, damage = read_until_damage(write(tmp_path, compressed + b"trailing bytes"))
    assert damage is not None
    assert good in (b"all of it", b"")  # lz4 fails before it hands over its buffer
    if codec != "lz4":
        assert read_until_damage(write(tmp_path, compressed + bytes(512))) == (b"all of it", None)


def test_a_bomb_stops_at_the_limit(codec: Codec, tmp_path: Path) -> None:
    path = write(tmp_path, COMPRESSORS[codec](bytes(20 << 20)))
    with pytest.raises(TooLargeError):
        read_decoded(path, 1 << 20)


def test_a_text_that_begins_like_bzip2_is_text() -> None:
    assert sniff(b"BZh9 is how bzip2 files begin") == ""


def test_zstd_skippable_frames_are_passed_over(tmp_path: Path) -> None:
    frame = b"\x50\x2a\x4d\x18\x05\x00\x00\x00abcde"
    path = write(tmp_path, frame + zstandard.compress(b"seekable") + frame)
    assert read_decoded(path, 100) == b"seekable"


@given(st.binary(max_size=400), st.lists(st.integers(1, 50), max_size=20), st.integers(0, 200))
def test_the_cut_into_chunks_does_not_matter(data: bytes, sizes: list[int], cut: int) -> None:
    """Chunk borders may fall into headers and trailers; a cut stream gives a prefix."""
    compressed = gzip.compress(data) + gzip.compress(data)
    compressed = compressed[: max(0, len(compressed) - cut)]
    chunks, start = [], 0
    for size in sizes:
        chunks.append(compressed[start : start + size])
        start += size
    chunks.append(compressed[start:])
    good = bytearray()
    try:
        for chunk in decompress(filter(None, chunks), "gzip"):
            good += chunk
    except DamagedStreamError:
        assert cut > 0
    assert (data + data).startswith(bytes(good))
    if cut == 0:
        assert bytes(good) == data + data


def test_output_of_exactly_one_chunk_is_complete() -> None:
    data = bytes(3 << 20)
    assert b"".join(decompress([gzip.compress(data)], "gzip")) == data
    assert b"".join(decompress([zlib.compress(data, wbits=31)], "gzip")) == data
