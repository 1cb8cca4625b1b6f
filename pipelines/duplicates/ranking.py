"""The order in which documents compete: the better-ranked one of two duplicates survives.

Rank = (kept by an earlier generation, validation, survivor policy, content hash, source, record).
Only `dedup.mode: append` knows earlier generations. Nothing in it depends on
how the corpus was cut into files or read: document ids, which are addresses, take no part. Exact
duplicates share a content hash and are told apart by source and record (`exact`), so among their
survivors the rest is a total order, and a rank is a dense number: 0 is
the best of all documents that compete.

One process ranks all documents: 50 bytes each at the peak (2.5 GB for 50 M), 13 afterwards.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.duplicates.rank_table import RankTable

UInt64Array = npt.NDArray[np.uint64]

RANKED = np.dtype([("doc_id", "<u8"), ("rank", "<u8")])
TRAINING = np.uint64(1 << 63)
BLOCK_ROWS = 1 << 22


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
    table: RankTable
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
        order = best_first(validation, policy, hashes, ties, standing)
        num_standing = 0 if standing is None else int(standing.sum())
        return cls.in_order(addresses, order, validation, num_standing, scopes)

    @classmethod
    def in_order(
        cls,
        addresses: UInt64Array,
        order: npt.NDArray[np.int64],
        validation: npt.NDArray[np.bool_],
        num_standing: int = 0,
        scopes: UInt64Array | None = None,
    ) -> Ranking:
        """Documents, by ascending id, that are ranked already: `order` is that of `best_first`."""
        assert (addresses[1:] > addresses[:-1]).all(), "documents must ascend by doc_id"
        ranks = np.empty(len(order), np.uint32)
        ranks[order] = np.arange(len(order), dtype=np.uint32)
        table = RankTable.of(addresses, ranks)
        by_rank = None if scopes is None else scopes[order]
        return cls(addresses[order], table, validation[order], num_standing, by_rank)

    def ranks_of(self, doc_ids: UInt64Array) -> npt.NDArray[np.int64]:
        """The rank of each document, -1 for those that do not compete."""
        return self.table.ranks_of(doc_ids)


def best_first(
    validation: npt.NDArray[np.bool_],
    policy: UInt64Array,
    hashes: ContentHashes,
    ties: UInt64Array | None = None,
    standing: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.int64]:
    """Row numbers by rank; the keys are those of `Ranking.of`, `policy` is below 2**63.

    Sorts the first 64 bits of what ranks documents (standing, validation, policy, hash), 80 ns a
    document, and by all keys only the few that agree in them: sorting all by all takes 900 ns.
    """
    lowest = policy.min(initial=TRAINING)
    bits = max(1, int(policy.max(initial=0) - lowest).bit_length()) if len(policy) else 1
    shift = np.uint64(max(0, 62 - bits))
    first = policy - lowest
    if bits > 62:
        first >>= np.uint64(bits - 62)
    first <<= shift
    if shift:
        first |= hashes.high >> (np.uint64(64) - shift)
    first[~validation] |= TRAINING >> np.uint64(1)
    if standing is not None:
        first[~standing] |= TRAINING
    order = np.argsort(first)
    repeated = repeated_places(first, order)
    rows = order[repeated]
    equals = () if ties is None else (ties[rows],)
    keys = (*equals, hashes.low[rows], hashes.high[rows], policy[rows], first[rows])
    order[repeated] = rows[np.lexsort(keys)]
    return order


def repeated_places(values: UInt64Array, order: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Places in `order` whose value is that of a neighbour, ascending; by blocks, for memory."""
    found = [np.empty(0, np.int64)]
    for start in range(0, len(order), BLOCK_ROWS):
        block = values[order[max(0, start - 1) : start + BLOCK_ROWS + 1]]
        same = block[1:] == block[:-1]
        either = np.append(same, False) | np.append(False, same)
        skipped = int(start > 0)
        found.append(start + np.flatnonzero(either[skipped : skipped + BLOCK_ROWS]))
    return np.concatenate(found)
