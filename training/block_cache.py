"""Blocks kept near: decoded ones in memory, raw ones on a local disk.

In memory, decoded blocks up to a number of bytes, the least recently used dropped first; a block in
flight is loaded once however many threads ask for it.

On disk (optional), raw blocks named by checksum and size, so that several ranks, runs and corpora
share a folder without a protocol: files appear by rename, are verified again when read, and a file
that another rank evicted is only a miss.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from storage.shards import Block
from training.order import Layout


class CachedBlock:
    """A decoded block and the layouts of its pieces in the epochs that are being read.

    tokens: uint16 or uint32 [num_tokens]; offsets: int64[num_pieces + 1]; hidden: bool[num_pieces],
    true for pieces of documents that were taken down.
    """

    __slots__ = ("hidden", "layouts", "num_bytes", "offsets", "tokens")

    def __init__(self, block: Block, exclusions: NDArray[np.uint64]):
        self.tokens = block.tokens.copy()
        self.offsets = np.concatenate([[0], np.cumsum(block.lengths, dtype=np.int64)])
        self.layouts: dict[int, Layout] = {}
        self.hidden = _hidden(block, exclusions)
        layout_bytes = 2 * 16 * self.offsets.size
        self.num_bytes = self.tokens.nbytes + self.offsets.nbytes + layout_bytes


def _hidden(block: Block, exclusions: NDArray[np.uint64]) -> NDArray[np.bool_]:
    if exclusions.size == 0:
        return np.zeros(block.lengths.size, np.bool_)
    return np.isin(np.array([doc["doc_id"] for doc in block.docs], np.uint64), exclusions)


class BlockCache:
    """At most `max_bytes` of values, by least recent use; one load per key at a time."""

    def __init__(self, max_bytes: int):
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._lock = threading.Lock()
        self._blocks: OrderedDict[tuple[int, int], CachedBlock] = OrderedDict()
        self._loading: dict[tuple[int, int], Future[CachedBlock]] = {}

    def peek(self, key: tuple[int, int]) -> CachedBlock | None:
        """The value of a key if it is there."""
        with self._lock:
            return self._touch(key)

    def get(self, key: tuple[int, int], load: Callable[[], CachedBlock]) -> CachedBlock:
        """The value of a key, loaded by the first thread that asks; its error reaches all."""
        with self._lock:
            found = self._touch(key)
            if found is not None:
                return found
            pending = self._loading.get(key)
            promise = pending or Future()
            self._loading[key] = promise
        return self._fulfil(key, promise, load) if pending is None else pending.result()

    def _touch(self, key: tuple[int, int]) -> CachedBlock | None:
        if key in self._blocks:
            self._blocks.move_to_end(key)
        return self._blocks.get(key)

    def _fulfil(
        self, key: tuple[int, int], promise: Future[CachedBlock], load: Callable[[], CachedBlock]
    ) -> CachedBlock:
        try:
            block = load()
        except BaseException as error:
            with self._lock:
                del self._loading[key]
            promise.set_exception(error)
            raise
        self._keep(key, block)
        promise.set_result(block)
        return block

    def _keep(self, key: tuple[int, int], block: CachedBlock) -> None:
        with self._lock:
            del self._loading[key]
            self._blocks[key] = block
            self._num_bytes += block.num_bytes
            while self._num_bytes > self._max_bytes and len(self._blocks) > 1:
                self._num_bytes -= self._blocks.popitem(last=False)[1].num_bytes


class DiskCache:
    """Raw blocks in a folder, named by checksum and size, at most about `max_bytes` of them.

    Other ranks write to the folder too, so it is listed again after each sixteenth of the limit
    that this process wrote: together they stay within that share of the limit each.
    """

    def __init__(self, folder: str, max_bytes: int):
        self._folder = Path(folder)
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._sizes = self._scan()
        self._unlisted_bytes = 0

    def read(self, row: np.void) -> bytes | None:
        """The bytes of a block, or None. The caller verifies them, and discards bad ones."""
        name = _cache_name(row)
        try:
            data = (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None
        with self._lock:
            if name in self._sizes:
                self._sizes.move_to_end(name)
        return data

    def discard(self, row: np.void) -> None:
        (self._folder / _cache_name(row)).unlink(missing_ok=True)

    def write(self, row: np.void, data: bytes) -> None:
        """Keep a verified block. A full disk leaves it out: the cache is no promise."""
        name = _cache_name(row)
        temporary = self._folder / f"{name}.tmp-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        try:
            temporary.write_bytes(data)
            temporary.replace(self._folder / name)
        except OSError:
            temporary.unlink(missing_ok=True)
            return
        with self._lock:
            self._sizes[name] = len(data)
            self._sizes.move_to_end(name)
            self._unlisted_bytes += len(data)
            if self._unlisted_bytes > self._max_bytes // 16:
                self._evict()

    def _scan(self) -> OrderedDict[str, int]:
        """Sizes of the files in the folder, the oldest first."""
        found = []
        for path in self._folder.glob("*.block"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            found.append((status.st_mtime, path.name, status.st_size))
        return OrderedDict((name, size) for _, name, size in sorted(found))

    def _evict(self) -> None:
        """Lists the folder and drops the oldest: what others wrote, then what is least used."""
        recent, found = self._sizes, self._scan()
        order = [name for name in found if name not in recent]
        order += [name for name in recent if name in found]
        self._sizes = OrderedDict((name, found[name]) for name in order)
        self._unlisted_bytes = 0
        num_bytes = sum(found.values())
        while num_bytes > self._max_bytes * 15 // 16:
            name, size = self._sizes.popitem(last=False)
            (self._folder / name).unlink(missing_ok=True)
            num_bytes -= size


def _cache_name(row: np.void) -> str:
    return f"{int(row['xxh3']):016x}-{int(row['bytes'])}.block"
