"""From document ids to ranks: one look-up in a table of 4 bytes for each row of a part.

An id is an address, part and row, so the rank of a document is found without a search: 20 ns where
a binary search among 50 M ids takes half a microsecond. Resolution looks up both sides of pairs.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, Self

import numba
import numpy as np
import numpy.typing as npt

from storage import objects
from storage.addresses import ROW_BITS

UInt64Array = npt.NDArray[np.uint64]
UInt32Array = npt.NDArray[np.uint32]

UNRANKED = np.uint32(0xFFFFFFFF)
_ROWS = np.uint64((1 << ROW_BITS) - 1)


class RankTable(NamedTuple):
    parts: UInt64Array
    """Addresses (`doc_id >> 28`) of the parts that have ranked documents, ascending."""
    offsets: UInt64Array
    """Where the rows of each part begin in `ranks`, and their end: [parts + 1]."""
    ranks: UInt32Array
    """By row, of all parts; UNRANKED where a document does not compete."""

    @classmethod
    def of(cls, doc_ids: UInt64Array, ranks: UInt32Array) -> Self:
        """`doc_ids` ascend."""
        addresses = doc_ids >> np.uint64(ROW_BITS)
        firsts = np.flatnonzero(np.diff(addresses, prepend=~addresses[:1]))
        lasts = np.append(firsts[1:], len(doc_ids))[: len(firsts)] - 1
        offsets = np.zeros(len(firsts) + 1, np.uint64)
        np.cumsum((doc_ids[lasts] & _ROWS) + np.uint64(1), out=offsets[1:])
        table = cls(addresses[firsts], offsets, np.full(int(offsets[-1]), UNRANKED, np.uint32))
        for part, (first, last) in enumerate(zip(firsts.tolist(), lasts.tolist(), strict=True)):
            rows = doc_ids[first : last + 1] & _ROWS
            table.ranks[offsets[part] + rows] = ranks[first : last + 1]
        return table

    def ranks_of(self, doc_ids: UInt64Array) -> npt.NDArray[np.int64]:
        """The rank of each document, -1 for those that do not compete."""
        found = np.empty(len(doc_ids), np.int64)
        _look_up(np.ascontiguousarray(doc_ids), *self, found)
        return found

    def of_part(self, address: int) -> tuple[UInt64Array, UInt32Array]:
        """Ids, ascending, and ranks of the ranked documents of one part."""
        place = int(np.searchsorted(self.parts, address))
        if place == len(self.parts) or self.parts[place] != address:
            return np.empty(0, np.uint64), np.empty(0, np.uint32)
        ranks = self.ranks[int(self.offsets[place]) : int(self.offsets[place + 1])]
        rows = np.flatnonzero(ranks != UNRANKED).astype(np.uint64)
        return np.uint64(address << ROW_BITS) | rows, ranks[rows]

    def write(self, path: str) -> None:
        """As one object: number of parts, then the three arrays."""
        head = np.array([len(self.parts)], np.uint64)
        with objects.open_write(path) as sink:
            for array in (head, *self):
                sink.write(array.view(np.uint8).data)

    @classmethod
    @lru_cache(maxsize=1)  # the tasks of a worker share it
    def read(cls, path: str) -> Self:
        data = objects.read(path)
        num_parts = int(np.frombuffer(data, np.uint64, 1)[0])
        head = np.frombuffer(data, np.uint64, 2 * num_parts + 1, offset=8)
        ranks = np.frombuffer(data, np.uint32, offset=8 * (2 * num_parts + 2))
        return cls(head[:num_parts], head[num_parts:], ranks)


@numba.njit(cache=True, nogil=True)
def _look_up(doc_ids, parts, offsets, ranks, found):  # pragma: no cover
    part = 0
    for k in range(len(doc_ids)):
        address = doc_ids[k] >> np.uint64(ROW_BITS)
        if part >= len(parts) or parts[part] != address:
            part = np.searchsorted(parts, address)
        found[k] = -1
        if part < len(parts) and parts[part] == address:
            place = offsets[part] + (doc_ids[k] & _ROWS)
            if place < offsets[part + 1] and ranks[place] != UNRANKED:
                found[k] = ranks[place]
