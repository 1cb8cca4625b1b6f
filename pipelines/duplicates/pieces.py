"""Pieces: how parts send packed numbers to each other through files, outside any Beam barrier.

A task writes one object with a piece of bytes for each part it has something for, and an index
behind them; a later task reads the pieces addressed to its own part with ranged reads. A part is
addressed by the upper bits of its document ids (`doc_id >> 28`). The object:

    piece, piece, ... , index: (target, start, bytes) uint64 each

The marker of the object says how many pieces there are.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

from storage import objects
from storage.addresses import ROW_BITS
from storage.commit import PartMarker, WrittenObject

INDEX = np.dtype([("target", "<u8"), ("start", "<u8"), ("bytes", "<u8")])


class Piece(NamedTuple):
    """A range of bytes of an object that part `origin` wrote."""

    origin: int
    path: str
    start: int
    num_bytes: int

    def read(self) -> bytes:
        return objects.read_range(self.path, self.start, self.num_bytes)


def address_of(doc_ids: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The part of each document, as pieces are addressed."""
    return doc_ids >> np.uint64(ROW_BITS)


def split_by_part(
    rows: np.ndarray, doc_ids: npt.NDArray[np.uint64]
) -> Iterator[tuple[int, np.ndarray]]:
    """(part address, its rows) for each part that `doc_ids`, aligned with `rows`, fall into."""
    addresses = address_of(doc_ids)
    order = stable_order(addresses)
    addresses, rows = addresses[order], rows[order]
    starts = np.flatnonzero(np.diff(addresses, prepend=~addresses[:1])).tolist()
    for start, end in itertools.pairwise([*starts, len(rows)]):
        yield int(addresses[start]), rows[start:end]


def stable_order(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """`np.argsort(values, kind="stable")`, several times as fast where the values are close.

    Sorts values and places as one number each: 20 ns a row, not 130.
    """
    bits = max(1, (len(values) - 1).bit_length())
    lowest = values.min(initial=np.iinfo(np.uint64).max)
    if int(values.max(initial=0)) - int(lowest) >= 1 << (64 - bits):
        return np.argsort(values, kind="stable")
    packed = (values - lowest) << np.uint64(bits) | np.arange(len(values), dtype=np.uint64)
    return (np.sort(packed) & np.uint64((1 << bits) - 1)).astype(np.int64)


def write_pieces(
    output: str, table: str, part: str, pieces: Iterable[tuple[int, bytes | memoryview]]
) -> WrittenObject:
    """Writes `<table>/<part>.pieces`; `rows` of what it returns is the number of pieces."""
    path = f"{table}/{part}.pieces"
    index: list[tuple[int, int, int]] = []
    digest = xxhash.xxh3_128()
    end = 0
    with objects.open_write(objects.join(output, path)) as sink:
        for target, data in pieces:
            sink.write(data)
            digest.update(data)
            index.append((target, end, len(data)))
            end += len(data)
        tail = np.array(index, INDEX).tobytes()
        sink.write(tail)
        digest.update(tail)
    num_bytes = end + len(tail)
    return WrittenObject(path, table, part, len(index), num_bytes, digest.hexdigest())


def pieces_by_target(
    output: str, markers: Iterable[PartMarker], addresses: Mapping[str, int]
) -> dict[int, list[Piece]]:
    """All pieces of the objects that the markers name, by the part they are addressed to.

    `addresses` of parts by name; what another writer than a part wrote has origin 0.
    """
    found: dict[int, list[Piece]] = defaultdict(list)
    for marker in markers:
        origin = addresses.get(marker.part, 0)
        for written in marker.objects:
            path = objects.join(output, written.path)
            index_bytes = written.rows * INDEX.itemsize
            data = objects.read_range(path, written.bytes - index_bytes, index_bytes)
            for target, start, num_bytes in np.frombuffer(data, INDEX).tolist():
                found[target].append(Piece(origin, path, start, num_bytes))
    return found
