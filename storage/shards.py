"""Shards: WebDataset tars of token blocks, and the tables beside them.

A shard is three objects with one prefix:

    <prefix>.tar            blocks in turn, each of three members with one key:
        <key>.tokens.npy        uint16 or uint32 [num_tokens], documents one after another
        <key>.lengths.npy       uint32 [num_docs], tokens of each document, all >= 1
        <key>.docs.json         [{"doc_id", "piece", "record", "source", "text_bytes"}, ...]
    <prefix>.blocks.npy     BLOCKS_DTYPE [num_blocks]: all that a training stream reads
    <prefix>.docs.parquet   DOCS, one row per document: trace and evaluation read it

A block holds about `block_bytes` of tokens and is the unit of fetch, cache and verification: one
ranged GET of its members (tar headers and padding included), checked against its xxh3-64. A
document larger than a block is cut into numbered pieces; every piece counts as a document in
`lengths`, `docs` and DOCS, and `text_bytes` is counted once, on piece 0.

The tar is plain ustar with mtime 0, owner 0 and names that follow from the prefix, so equal input
gives equal bytes, and `webdataset.WebDataset(urls).decode()` reads it. No member is a pickle.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import xxhash

from storage import objects, tables
from storage.objects import StorageError

TAR_BLOCK = tarfile.BLOCKSIZE
MAX_BLOCK_DOCS = 1 << 14
"""Bounds docs.json of a block of very short documents to a few MB."""

BLOCKS_DTYPE = np.dtype(
    [("offset", "<u8"), ("bytes", "<u8"), ("tokens", "<u8"), ("docs", "<u4"), ("xxh3", "<u8")]
)

DOCS = pa.schema(
    [
        ("doc_id", pa.uint64()),
        ("piece", pa.uint32()),
        ("block", pa.uint32()),
        ("offset", pa.uint64()),  # first token, counted from the start of the block
        ("count", pa.uint64()),  # tokens
        ("text_bytes", pa.uint64()),  # UTF-8 bytes of the whole document on piece 0, else 0
        ("source", pa.string()),
        ("record", pa.string()),
    ]
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


@dataclass(frozen=True, slots=True)
class ShardStats:
    """One written shard. `docs` counts pieces, `documents` counts whole documents."""

    bytes: int
    docs: int
    documents: int
    tokens: int
    text_bytes: int
    sha256: str
    docs_table: tables.TableStats


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


def shard_key(prefix: str) -> str:
    """Key of a shard's members: WebDataset takes all after a name's first dot as the field.

    Long names are cut and keep a hash, so that a member's name fits the 100 bytes of ustar.
    """
    stem = prefix.rpartition("/")[2]
    key = re.sub(r"[^A-Za-z0-9_-]", "-", stem).lstrip("_") or "shard"
    if len(key) <= 64:
        return key
    return f"{key[:47]}-{xxhash.xxh3_64_hexdigest(stem.encode())}"


def split_pieces(document: ShardDocument, max_tokens: int) -> Iterator[Piece]:
    """The document itself, or consecutive pieces of `max_tokens`, the last one shorter."""
    for number, start in enumerate(range(0, len(document.tokens), max_tokens)):
        yield Piece(document, number, document.tokens[start : start + max_tokens])


class ShardWriter:
    """Writes one shard; nothing is visible until the `with` block ends cleanly.

    Documents keep their order. A block is closed before a piece that would overfill it, so a
    document smaller than a block is never cut. Memory: one block.
    """

    def __init__(self, prefix: str, dtype: np.dtype[Any], block_bytes: int = 1 << 20) -> None:
        self._prefix = prefix
        self._key = shard_key(prefix)
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._max_tokens = max(1, block_bytes // self._dtype.itemsize)
        self._open: list[Piece] = []
        self._open_tokens = 0
        self._offset = 0
        self._sha256 = hashlib.sha256()
        self._blocks: list[tuple[int, int, int, int, int]] = []
        self._docs: list[pa.RecordBatch] = []
        self._stack = ExitStack()
        self._stats: ShardStats | None = None

    @property
    def stats(self) -> ShardStats:
        """Sizes and checksums; there only after a clean end."""
        assert self._stats is not None, f"{self._prefix}.tar is not finished"
        return self._stats

    def __enter__(self) -> Self:
        self._sink = self._stack.enter_context(objects.open_write(f"{self._prefix}.tar"))
        return self

    def add(self, document: ShardDocument) -> None:
        if len(document.tokens) == 0:
            raise ValueError(f"document {document.doc_id} has no tokens: leave it out of the shard")
        for piece in split_pieces(document, self._max_tokens):
            full = self._open_tokens + len(piece.tokens) > self._max_tokens
            if full or len(self._open) >= MAX_BLOCK_DOCS:
                self._flush()
            self._open.append(piece)
            self._open_tokens += len(piece.tokens)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            self._flush()
            self._write(bytes(2 * TAR_BLOCK))
        self._stats = self._write_tables()

    def _flush(self) -> None:
        if not self._open:
            return
        data = encode_block(f"{self._key}-{len(self._blocks):06d}", self._open, self._dtype)
        self._docs.append(_docs_batch(len(self._blocks), self._open))
        checksum = xxhash.xxh3_64_intdigest(data)
        row = (self._offset, len(data), self._open_tokens, len(self._open), checksum)
        self._blocks.append(row)
        self._write(data)
        self._open, self._open_tokens = [], 0

    def _write(self, data: bytes) -> None:
        self._sink.write(data)
        self._sha256.update(data)
        self._offset += len(data)

    def _write_tables(self) -> ShardStats:
        blocks = np.array(self._blocks, BLOCKS_DTYPE)
        docs = pa.Table.from_batches(self._docs, DOCS)
        objects.write(f"{self._prefix}.blocks.npy", _npy(blocks))
        docs_table = tables.write_table(f"{self._prefix}.docs.parquet", docs, DOCS)
        return ShardStats(
            bytes=self._offset,
            docs=docs.num_rows,
            documents=int((docs["piece"].to_numpy() == 0).sum()),
            tokens=int(blocks["tokens"].sum()),
            text_bytes=int(docs["text_bytes"].to_numpy().sum()),
            sha256=self._sha256.hexdigest(),
            docs_table=docs_table,
        )


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
        ("tokens.npy", _npy(tokens)),
        ("lengths.npy", _npy(lengths)),
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
        tokens = _load_array(members["tokens.npy"], np.uint16, np.uint32)
        lengths = _load_array(members["lengths.npy"], np.uint32)
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


def read_block(tar_path: str, row: np.void) -> Block:
    """One block by its row of the block table: one ranged read, verified.

    Raises BlockCorrupt when the bytes changed since they were written.
    """
    data = objects.read_range(tar_path, int(row["offset"]), int(row["bytes"]))
    verify_block(data, row, tar_path)
    return decode_block(data)


def read_blocks_table(tar_path: str) -> np.ndarray:
    """BLOCKS_DTYPE [num_blocks] of the shard at `tar_path`, from the object beside it."""
    path = f"{tar_path.removesuffix('.tar')}.blocks.npy"
    try:
        table = _load_array(memoryview(objects.read(path)), np.void)
    except ValueError as error:
        raise BlockCorrupt(f"{path} is not a block table: {error}") from error
    if table.dtype != BLOCKS_DTYPE:
        raise BlockCorrupt(f"{path} holds {table.dtype}, expected {BLOCKS_DTYPE}")
    return table


def iter_blocks(tar_path: str) -> Iterator[Block]:
    """All blocks of a shard in file order, each verified."""
    for row in read_blocks_table(tar_path):
        yield read_block(tar_path, row)


def docs_path(tar_path: str) -> str:
    return f"{tar_path.removesuffix('.tar')}.docs.parquet"


def _docs_batch(block: int, pieces: list[Piece]) -> pa.RecordBatch:
    counts = np.array([len(piece.tokens) for piece in pieces], np.uint64)
    columns = {
        "doc_id": np.array([piece.document.doc_id for piece in pieces], np.uint64),
        "piece": np.array([piece.number for piece in pieces], np.uint32),
        "block": np.full(len(pieces), block, np.uint32),
        "offset": np.cumsum(counts) - counts,
        "count": counts,
        "text_bytes": np.array([piece.text_bytes for piece in pieces], np.uint64),
        "source": [piece.document.source for piece in pieces],
        "record": [piece.document.record for piece in pieces],
    }
    return pa.RecordBatch.from_pydict(columns, DOCS)


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def _load_array(data: memoryview, *kinds: type[np.generic]) -> np.ndarray:
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
