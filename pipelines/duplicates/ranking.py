"""The order in which documents compete: the better-ranked one of two duplicates survives.

Rank = (kept by an earlier generation, validation, survivor policy, content hash, source, record).
Only `dedup.mode: append` knows earlier generations. Nothing in it depends on
how the corpus was cut into files or read: document ids, which are addresses, take no part. Exact
duplicates share a content hash and are told apart by source and record (`exact`), so among their
survivors the rest is a total order, and a rank is a dense number: 0 is
the best of all documents that compete.

One process ranks all documents: 66 bytes each at the peak (3.3 GB for 50 M), 21 afterwards.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

UInt64Array = npt.NDArray[np.uint64]

RANKED = np.dtype([("doc_id", "<u8"), ("rank", "<u8")])
TRAINING = np.uint64(1 << 63)


class ContentHashes(NamedTuple):
    """128-bit content hashes as two columns; comparing (high, low) compares the hash bytes."""

    high: UInt64Array
    low: UInt64Array


def split_hashes(column: pa.Array | pa.ChunkedArray) -> ContentHashes:
    """The two halves of a `fixed_size_binary(16)` column without nulls."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    assert array.null_count == 0, "every document has a content hash"
    _, buffer = array.buffers()
    data = buffer.to_pybytes() if buffer is not None else b""
    words = np.frombuffer(data, ">u8").reshape(-1, 2)[array.offset : array.offset + len(array)]
    return ContentHashes(words[:, 0].astype(np.uint64), words[:, 1].astype(np.uint64))


def is_validation(high: UInt64Array, fraction: float) -> npt.NDArray[np.bool_]:
    """Which documents are held out: those with the lowest content hashes.

    The choice depends on a document's text alone, so it holds for the life of a corpus, and exact
    duplicates are always on the same side.
    """
    limit = int(fraction * 2.0**64)
    return high < np.uint64(limit)


class Ranking(NamedTuple):
    """The ranks of all documents that compete for near-duplicates."""

    doc_ids: UInt64Array
    """By rank, best first."""
    addresses: UInt64Array
    """The same document ids, ascending."""
    ranks: npt.NDArray[np.uint32]
    """Rank of each of `addresses`."""
    validation: npt.NDArray[np.bool_]
    """By rank."""
    num_standing: int = 0
    """Documents kept by an earlier generation; they have the first ranks."""
    scopes: UInt64Array | None = None
    """By rank; None when all documents compete with each other."""

    @classmethod
    def of(
        cls,
        addresses: UInt64Array,
        validation: npt.NDArray[np.bool_],
        policy: UInt64Array,
        hashes: ContentHashes,
        ties: UInt64Array | None = None,
        standing: npt.NDArray[np.bool_] | None = None,
        scopes: UInt64Array | None = None,
    ) -> Ranking:
        """Ranks documents given in ascending order of their ids.

        `ties` orders documents of equal content hash; no two documents may be equal in all keys.
        Documents of `standing` rank before all others.
        """
        assert (addresses[1:] > addresses[:-1]).all(), "documents must ascend by doc_id"
        first = np.where(validation, np.uint64(0), TRAINING) | policy
        new = np.ones(len(addresses), bool) if standing is None else ~standing
        equals = () if ties is None else (ties,)
        order = np.lexsort((*equals, hashes.low, hashes.high, first, new))
        ranks = np.empty(len(order), np.uint32)
        ranks[order] = np.arange(len(order), dtype=np.uint32)
        num_standing = len(addresses) - int(new.sum())
        by_rank = None if scopes is None else scopes[order]
        return cls(addresses[order], addresses, ranks, validation[order], num_standing, by_rank)

    def ranks_of(self, doc_ids: UInt64Array) -> npt.NDArray[np.int64]:
        """The rank of each document, -1 for those that do not compete."""
        if len(self.addresses) == 0:
            return np.full(len(doc_ids), -1)
        places = np.minimum(np.searchsorted(self.addresses, doc_ids), len(self.addresses) - 1)
        found = self.addresses[places] == doc_ids
        return np.where(found, self.ranks[places].astype(np.int64), -1)
