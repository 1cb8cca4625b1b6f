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
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import xxhash

from storage import objects, tables
from storage.blocks import (
    BLOCKS_DTYPE,
    TAR_BLOCK,
    Block,
    BlockCorrupt,
    Piece,
    ShardDocument,
    decode_block,
    encode_block,
    load_array,
    npy_bytes,
    split_pieces,
    verify_block,
)

__all__ = [
    "BLOCKS_DTYPE",
    "DOCS",
    "Block",
    "BlockCorrupt",
    "ShardDocument",
    "ShardStats",
    "ShardWriter",
    "decode_block",
    "docs_path",
    "iter_blocks",
    "read_block",
    "read_blocks_table",
    "shard_key",
    "verify_block",
]

MAX_BLOCK_DOCS = 1 << 14
"""Bounds docs.json of a block of very short documents to a few MB."""

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


def shard_key(prefix: str) -> str:
    """Key of a shard's members: WebDataset takes all after a name's first dot as the field.

    Long names are cut and keep a hash, so that a member's name fits the 100 bytes of ustar.
    """
    stem = prefix.rpartition("/")[2]
    key = re.sub(r"[^A-Za-z0-9_-]", "-", stem).lstrip("_") or "shard"
    if len(key) <= 64:
        return key
    return f"{key[:47]}-{xxhash.xxh3_64_hexdigest(stem.encode())}"


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
        objects.write(f"{self._prefix}.blocks.npy", npy_bytes(blocks))
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
        table = load_array(memoryview(objects.read(path)), np.void)
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
