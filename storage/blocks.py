"""One block of a shard: its bytes in the tar, its checksum, its contents.

A block is three tar members with one key: `tokens.npy`, `lengths.npy` and `docs.json`. Its bytes,
headers and padding included, are what BLOCKS_DTYPE addresses and what xxh3-64 covers; they are
plain ustar with mtime 0 and owner 0, and no member is a pickle. See storage/shards.py.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import xxhash

from storage.objects import StorageError

TAR_BLOCK = tarfile.BLOCKSIZE
BLOCKS_DTYPE = np.dtype(
    [("offset", "<u8"), ("bytes", "<u8"), ("tokens", "<u8"), ("docs", "<u4"), ("xxh3", "<u8")]
)


class BlockCorrupt(StorageError):  # noqa: N818
    """The bytes of a block are not those that were written."""


class ShardDocument(NamedTuple):
    """What goes into a shard: `tokens` uint16 or uint32 [n >= 1], `text_bytes` UTF-8 bytes."""

    doc_id: int
    source: str
    record: str
    text_bytes: int
    tokens: np.ndarray


class Piece(NamedTuple):
    document: ShardDocument
    number: int
    tokens: np.ndarray

    @property
    def text_bytes(self) -> int:
        return self.document.text_bytes if self.number == 0 else 0


@dataclass(frozen=True)
class Block:
    """One decoded block. `tokens` uint16 or uint32 [num_tokens]; `lengths` uint32 [num_docs]."""

    key: str
    tokens: np.ndarray
    lengths: np.ndarray
    docs_json: bytes

    @cached_property
    def docs(self) -> list[dict[str, Any]]:
        """Origin of each document; parsed on first use, since training does not need it."""
        return json.loads(self.docs_json)


def split_pieces(document: ShardDocument, max_tokens: int) -> Iterator[Piece]:
    """The document itself, or consecutive pieces of `max_tokens`, the last one shorter."""
    for number, start in enumerate(range(0, len(document.tokens), max_tokens)):
        yield Piece(document, number, document.tokens[start : start + max_tokens])


def encode_block(key: str, pieces: list[Piece], dtype: np.dtype[Any]) -> bytes:
    """The tar members of one block, headers and padding included."""
    lengths = np.array([len(piece.tokens) for piece in pieces], "<u4")
    tokens = np.concatenate([piece.tokens for piece in pieces]).astype(dtype, copy=False)
    docs = [
        {
            "doc_id": int(piece.document.doc_id),
            "piece": piece.number,
            "record": piece.document.record,
            "source": piece.document.source,
            "text_bytes": piece.text_bytes,
        }
        for piece in pieces
    ]
    members = (
        ("tokens.npy", npy_bytes(tokens)),
        ("lengths.npy", npy_bytes(lengths)),
        ("docs.json", json.dumps(docs, separators=(",", ":")).encode("ascii")),
    )
    return b"".join(_member(f"{key}.{field}", data) for field, data in members)


def decode_block(data: bytes) -> Block:
    """The block in `data`, the bytes of its members. Arrays are read-only views of `data`.

    Raises BlockCorrupt when the members or their sizes do not fit together.
    """
    members, key = {}, ""
    try:
        for name, content in _iter_members(data):
            key, _, field = name.partition(".")
            members[field] = content
        tokens = load_array(members["tokens.npy"], np.uint16, np.uint32)
        lengths = load_array(members["lengths.npy"], np.uint32)
        docs_json = bytes(members["docs.json"])
    except (KeyError, ValueError, tarfile.HeaderError) as error:
        raise BlockCorrupt(f"not a block of tokens: {error}") from error
    if int(lengths.sum(dtype=np.uint64)) != len(tokens):
        raise BlockCorrupt(f"block {key}: lengths sum to {lengths.sum()}, tokens {len(tokens)}")
    return Block(key, tokens, lengths, docs_json)


def verify_block(data: bytes, row: np.void, place: str) -> None:
    """Raises BlockCorrupt unless `data` has the checksum of its BLOCKS_DTYPE row."""
    found = xxhash.xxh3_64_intdigest(data)
    if found != int(row["xxh3"]):
        raise BlockCorrupt(
            f"{place}: block at byte {int(row['offset'])} is damaged "
            f"(xxh3 {found:016x}, expected {int(row['xxh3']):016x})"
        )


def npy_bytes(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def load_array(data: memoryview, *kinds: type[np.generic]) -> np.ndarray:
    """A .npy as a view of `data`. ValueError when it is not 1-D, or not of `kinds`."""
    header = io.BytesIO(data[: 1 << 12])
    np.lib.format.read_magic(header)
    shape, _, dtype = np.lib.format.read_array_header_1_0(header)
    if len(shape) != 1 or dtype.hasobject or dtype.type not in kinds:
        raise ValueError(f"array of {dtype} with shape {shape}")
    return np.frombuffer(data, dtype, shape[0], offset=header.tell())


def _member(name: str, data: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    header = info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")
    return header + data + bytes(-len(data) % TAR_BLOCK)


def _iter_members(data: bytes) -> Iterator[tuple[str, memoryview]]:
    view, offset = memoryview(data), 0
    while offset < len(data):
        info = tarfile.TarInfo.frombuf(bytes(view[offset : offset + TAR_BLOCK]), "ascii", "strict")
        start = offset + TAR_BLOCK
        if not 0 <= info.size <= len(data) - start:
            raise ValueError(f"member {info.name!r} is cut short")
        yield info.name, view[start : start + info.size]
        offset = start + info.size + -info.size % TAR_BLOCK
