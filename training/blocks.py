"""Blocks of tokens from storage: fetched once, verified on arrival, counted.

A block arrives by one ranged GET and is checked against the xxh3 of its row in the block table. A
mismatch, or a shard that ends before the block does, is read again a bounded number of times, and
then raises BlockCorrupt: what follows from that is the stream's policy. Anything else that storage
reports (no such shard, no network) is an error at once; it must never pass for a damaged block. A
block table that does not fit the manifest is one too: without it, positions are unknown.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from storage import objects, shards
from storage.manifest import CorpusManifest
from storage.objects import ObjectNotFound, StorageError
from storage.settings import Settings
from storage.shards import BlockCorrupt
from training.block_cache import BlockCache, CachedBlock, DiskCache
from training.exclusions import read_exclusions

MAX_TABLES = 4096
"""Block tables kept in memory, about 5 KB each."""


class FetchConfig(Settings):
    """How blocks are read; none of it changes what is read."""

    memory_bytes: int = Field(default=1 << 30, gt=0)
    """Decoded blocks kept in memory, per rank."""
    disk_folder: str | None = None
    """Local folder for raw blocks, shared by the ranks of a node; null keeps none."""
    disk_bytes: int = Field(default=64 << 30, gt=0)
    num_threads: int = Field(default=8, gt=0)
    """Blocks in flight at once."""
    attempts: int = Field(default=3, gt=0)
    """Reads of a block before it is given up as damaged."""


@dataclass
class FetchCounts:
    """What reading cost so far; threads of one process add to it."""

    blocks: int = 0
    """Blocks that arrived from storage and were good."""
    bytes: int = 0
    """Bytes of blocks read from storage, damaged ones included."""
    memory_hits: int = 0
    disk_hits: int = 0
    refetched: int = 0
    """Blocks read again because their bytes were damaged."""
    corrupt: int = 0
    """Blocks given up."""
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, **amounts: int) -> None:
        with self.lock:
            for name, amount in amounts.items():
                setattr(self, name, getattr(self, name) + amount)


class BlockStore:
    """Blocks of the shards in one table (columns of storage.manifest.SHARDS), by row and number.

    Hides documents that were taken down. Safe to use from many threads.
    """

    def __init__(self, corpus: CorpusManifest, shard_table: pa.Table, config: FetchConfig):
        self.counts = FetchCounts()
        self._corpus = corpus
        self._shards = shard_table
        self._attempts = config.attempts
        self._exclusions = read_exclusions(corpus)
        self._memory = BlockCache(config.memory_bytes)
        self._disk = (
            DiskCache(config.disk_folder, config.disk_bytes) if config.disk_folder else None
        )
        self._tables: OrderedDict[int, NDArray[np.void]] = OrderedDict()
        self._corrupt: dict[tuple[int, int], str] = {}
        self._lock = threading.Lock()

    def path(self, shard: int) -> str:
        """Path of a shard's tar."""
        return self._corpus.location(self._shards["path"][shard].as_py())

    def table(self, shard: int) -> NDArray[np.void]:
        """BLOCKS_DTYPE [num_blocks] of a shard, checked against the manifest's sums."""
        with self._lock:
            if shard in self._tables:
                self._tables.move_to_end(shard)
                return self._tables[shard]
        table = self._read_table(shard)
        with self._lock:
            self._tables[shard] = table
            if len(self._tables) > MAX_TABLES:
                self._tables.popitem(last=False)
        return table

    def get(self, shard: int, block: int) -> CachedBlock:
        """A verified block. Raises BlockCorrupt when it stays damaged, StorageError.

        A block that was given up is not read again by this store.
        """
        return self._memory.get((shard, block), lambda: self._load(shard, block))

    def cached(self, shard: int, block: int) -> CachedBlock | None:
        """The block if it is in memory."""
        found = self._memory.peek((shard, block))
        self.counts.add(memory_hits=found is not None)
        return found

    def _load(self, shard: int, block: int) -> CachedBlock:
        if (shard, block) in self._corrupt:
            raise BlockCorrupt(self._corrupt[shard, block])
        row = self.table(shard)[block]
        data = self._from_disk(self.path(shard), row)
        if data is None:
            data = self._fetch(shard, block, row)
            self.counts.add(blocks=1)
            if self._disk:
                self._disk.write(row, data)
        return CachedBlock(shards.decode_block(data), self._exclusions)

    def _from_disk(self, path: str, row: np.void) -> bytes | None:
        data = self._disk.read(row) if self._disk else None
        if self._disk is None or data is None:
            return None
        try:
            shards.verify_block(data, row, path)
        except BlockCorrupt:
            self._disk.discard(row)
            return None
        self.counts.add(disk_hits=1)
        return data

    def _fetch(self, shard: int, block: int, row: np.void) -> bytes:
        damage: BlockCorrupt | None = None
        for attempt in range(self._attempts):
            self.counts.add(refetched=attempt > 0)
            try:
                return self._fetch_once(self.path(shard), row)
            except BlockCorrupt as error:
                damage = error
        self.counts.add(corrupt=1)
        self._corrupt[shard, block] = f"block {block}, read {self._attempts} times: {damage}"
        raise BlockCorrupt(self._corrupt[shard, block]) from damage

    def _fetch_once(self, path: str, row: np.void) -> bytes:
        offset, length = int(row["offset"]), int(row["bytes"])
        try:
            data = objects.read_range(path, offset, length)
        except ObjectNotFound:
            raise
        except StorageError as error:
            if objects.size(path) >= offset + length:
                raise
            raise BlockCorrupt(f"{path} ends before byte {offset + length}") from error
        self.counts.add(bytes=len(data))
        shards.verify_block(data, row, path)
        return data

    def _read_table(self, shard: int) -> NDArray[np.void]:
        path, damage = self.path(shard), ""
        for _ in range(self._attempts):
            try:
                table = shards.read_blocks_table(path)
            except BlockCorrupt as error:
                damage = str(error)
                continue
            found = (int(table["tokens"].sum()), int(table["docs"].sum()))
            expected = tuple(self._shards[column][shard].as_py() for column in ("tokens", "docs"))
            if found == expected:
                return table
            damage = f"its (tokens, docs) sum to {found}, the manifest says {expected}"
        raise StorageError(f"the block table of {path} is damaged: {damage}; restore it")
