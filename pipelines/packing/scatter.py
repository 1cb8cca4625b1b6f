"""Work objects between the two halves of `pack`: tokenised documents, sorted for their shards.

A scatter task writes one object: runs of rows sorted by (stratum, order), each cut into groups of
about `GROUP_BYTES`, and a footer that lists the groups. A shard is a range of `order`, so whoever
writes it reads, by ranged GETs, only the groups that overlap its range: the number of shards can
be decided after scattering, from exact totals. A task holds at most one run in memory.

    group, group, ...            Arrow IPC record batches of ROWS, each with its xxh3 in the footer
    footer: GROUPS_DTYPE as .npy, then JSON [[split, stratum], ...]
    tail: 3 x uint64             bytes of the .npy, bytes of the JSON, xxh3 of both

`order` is 64 mixed bits of the content hash: a fixed random order of the corpus that no input
path, part size or worker can change. Ties go by content hash, source and record.
"""

from __future__ import annotations

import io
import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import xxhash

from storage import objects
from storage.objects import StorageError
from storage.shards import ShardDocument

RUN_BYTES = 256 << 20
GROUP_BYTES = 128 << 10

ROWS = pa.schema(
    [
        ("order", pa.uint64()),
        ("content_hash", pa.binary(16)),
        ("doc_id", pa.uint64()),
        ("source", pa.string()),
        ("record", pa.string()),
        ("text_bytes", pa.uint64()),
        ("tokens", pa.large_binary()),  # little-endian ids, uint16 or uint32
    ]
)
GROUPS_DTYPE = np.dtype(
    [
        ("stratum", "<u4"),  # index into the footer's list of (split, stratum)
        ("low", "<u8"),  # smallest and largest `order` within
        ("high", "<u8"),
        ("offset", "<u8"),
        ("bytes", "<u8"),
        ("rows", "<u8"),
        ("token_bytes", "<u8"),
        ("xxh3", "<u8"),
    ]
)
TAIL_BYTES = 24
END = 1 << 64
"""One more than the largest `order`."""


class Stratum(NamedTuple):
    """A split and the name of a stratum: shards are of one of both."""

    split: str
    name: str


@dataclass(frozen=True, slots=True)
class ScatterIndex:
    """The footer of one work object. `groups` is GROUPS_DTYPE [num_groups]."""

    path: str
    strata: list[Stratum]
    groups: np.ndarray

    def of(self, stratum: Stratum) -> np.ndarray:
        """The groups of one stratum."""
        if stratum not in self.strata:
            return self.groups[:0]
        return self.groups[self.groups["stratum"] == self.strata.index(stratum)]


def order_keys(content_hashes: pa.FixedSizeBinaryArray) -> np.ndarray:
    """uint64 [n]: both halves of the 128-bit hashes, mixed (splitmix64, Steele et al. 2014).

    Mixing matters: a split takes the documents with the lowest content hashes, and the shards of
    each split still need keys over the whole range.
    """
    words = np.frombuffer(b"".join(content_hashes.to_pylist()), "<u8").reshape(-1, 2)
    return _mix(_mix(words[:, 0]) ^ words[:, 1])


def _mix(z: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        z = z + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


class ScatterWriter:
    """Writes one work object; nothing is visible until the `with` block ends cleanly."""

    def __init__(self, path: str, run_bytes: int = RUN_BYTES) -> None:
        self._path = path
        self._run_bytes = run_bytes
        self._run: dict[Stratum, list[pa.RecordBatch]] = defaultdict(list)
        self._filled = 0
        self._offset = 0
        self._strata: dict[Stratum, int] = {}
        self._groups: list[tuple[int, ...]] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._sink = self._stack.enter_context(objects.open_write(self._path))
        return self

    def add(self, stratum: Stratum, rows: pa.RecordBatch) -> None:
        """Takes rows of ROWS, in any order."""
        if rows.num_rows == 0:
            return
        self._run[stratum].append(rows)
        self._filled += rows.nbytes
        if self._filled >= self._run_bytes:
            self._flush()

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
            self._sink.write(self._footer())

    def _flush(self) -> None:
        for stratum in sorted(self._run):
            number = self._strata.setdefault(stratum, len(self._strata))
            batches = self._run.pop(stratum)
            for group in _sorted_groups(pa.concat_batches(batches)):
                self._write_group(number, group)
        self._filled = 0

    def _write_group(self, stratum: int, group: pa.RecordBatch) -> None:
        data = group.serialize()
        order = group.column("order").to_numpy()
        token_bytes = int(np.diff(_offsets(group.column("tokens"))).sum())
        checksum = xxhash.xxh3_64_intdigest(data)
        place = (self._offset, data.size, group.num_rows, token_bytes, checksum)
        self._groups.append((stratum, int(order[0]), int(order[-1]), *place))
        self._sink.write(data)
        self._offset += data.size

    def _footer(self) -> bytes:
        buffer = io.BytesIO()
        np.save(buffer, np.array(self._groups, GROUPS_DTYPE), allow_pickle=False)
        groups, strata = buffer.getvalue(), json.dumps(list(self._strata)).encode()
        checksum = xxhash.xxh3_64_intdigest(groups + strata)
        return groups + strata + np.array([len(groups), len(strata), checksum], "<u8").tobytes()


def read_index(path: str) -> ScatterIndex:
    """The footer of a work object. Raises StorageError when it is damaged."""
    size = objects.size(path)
    tail = np.frombuffer(objects.read_range(path, max(0, size - TAIL_BYTES), TAIL_BYTES), "<u8")
    num_groups, num_strata, checksum = (int(word) for word in tail)
    start = size - TAIL_BYTES - num_groups - num_strata
    if start < 0:
        raise StorageError(f"{path} has no footer; remove it and run pack again")
    footer = objects.read_range(path, start, num_groups + num_strata)
    if xxhash.xxh3_64_intdigest(footer) != checksum:
        raise StorageError(f"{path}: the footer is damaged; remove it and run pack again")
    groups = np.load(io.BytesIO(footer[:num_groups]), allow_pickle=False)
    strata = [Stratum(*names) for names in json.loads(footer[num_groups:])]
    return ScatterIndex(path, strata, groups)


class RangeReader:
    """Documents of one stratum from many work objects, by ascending ranges of `order`.

    A group that reaches beyond a range is kept for the next one: memory is one range and at most
    one group per run, besides the footers' rows of the groups between `low` and `high`.
    """

    def __init__(self, paths: list[str], stratum: Stratum, low: int = 0, high: int = END) -> None:
        self._waiting: list[_Group] = []
        for path in paths:
            groups = read_index(path).of(stratum)
            last = np.uint64(high - 1)
            inside = groups[(groups["low"] <= last) & (groups["high"] >= np.uint64(low))]
            self._waiting += [
                _Group(path, *row) for row in inside[list(_Group._fields[1:])].tolist()
            ]
        self._waiting.sort(key=lambda group: (group.low, group.path, group.offset), reverse=True)
        self._open: list[pa.RecordBatch] = []

    def read(self, low: int, high: int, dtype: np.dtype[Any]) -> list[ShardDocument]:
        """Documents with low <= order < high, sorted. Ranges must not go back."""
        found: list[tuple[tuple[Any, ...], ShardDocument]] = []
        for batch in self._batches(low, high):
            found += zip(_sort_keys(batch), _documents(batch, dtype), strict=True)
        found.sort(key=itemgetter(0))
        return [document for _, document in found]

    def _batches(self, low: int, high: int) -> Iterator[pa.RecordBatch]:
        candidates, self._open = self._open, []
        while self._waiting and self._waiting[-1].low < high:
            group = self._waiting.pop()
            if group.high >= low:
                candidates.append(group.read())
        for batch in candidates:
            order = batch.column("order").to_numpy()
            first = int(np.searchsorted(order, np.uint64(low), "left"))
            last = int(np.searchsorted(order, np.uint64(high - 1), "right"))
            yield batch.slice(first, last - first)
            if last < batch.num_rows:
                self._open.append(batch.slice(last))


class _Group(NamedTuple):
    path: str
    low: int
    high: int
    offset: int
    bytes: int
    xxh3: int

    def read(self) -> pa.RecordBatch:
        data = objects.read_range(self.path, self.offset, self.bytes)
        if xxhash.xxh3_64_intdigest(data) != self.xxh3:
            raise StorageError(
                f"{self.path}: damaged at byte {self.offset}; remove it and run pack again"
            )
        return pa.ipc.read_record_batch(pa.py_buffer(data), ROWS)


def _sort_keys(batch: pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    names = ("order", "content_hash", "source", "record")
    return zip(*(batch.column(name).to_pylist() for name in names), strict=True)


def _documents(batch: pa.RecordBatch, dtype: np.dtype[Any]) -> Iterator[ShardDocument]:
    """The rows as documents whose tokens are views of the batch."""
    column = batch.column("tokens")
    offsets = _offsets(column)
    ids = np.frombuffer(column.buffers()[2], dtype, offsets[-1] // dtype.itemsize)
    bounds = (offsets // dtype.itemsize).tolist()
    tokens = (ids[start:end] for start, end in pairwise(bounds))
    names = ("doc_id", "source", "record", "text_bytes")
    columns = (batch.column(name).to_pylist() for name in names)
    return map(ShardDocument, *columns, tokens)


def _sorted_groups(rows: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Rows by `order`, in groups that end with the row that reaches GROUP_BYTES."""
    by_order = np.argsort(rows.column("order").to_numpy(), kind="stable")
    sizes = np.diff(_offsets(rows.column("tokens")))[by_order]
    groups = np.cumsum(sizes) // GROUP_BYTES
    bounds = np.flatnonzero(np.diff(groups)) + 1
    for chosen in np.split(by_order, bounds):
        yield rows.take(pa.array(chosen))


def _offsets(column: pa.LargeBinaryArray) -> np.ndarray:
    start, count = column.offset, len(column) + 1
    return np.frombuffer(column.buffers()[1], "<i8", start + count)[start:]
