"""The order in which documents compete: the better-ranked one of two duplicates survives.

Rank = (validation first, survivor policy, content hash, source, record). Nothing in it depends on
how the corpus was cut into files or read: document ids, which are addresses, take no part. Exact
duplicates share a content hash and are told apart by source and record (`pipelines.exact`), so
among their survivors (validation, policy, content hash) is a total order, and a rank is a dense
number: 0 is the best of all documents that compete.

Memory of `rank_order` is 40 bytes a document (50 M documents in 2 GB).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

UInt64Array = npt.NDArray[np.uint64]

VALIDATION_FIRST = np.uint64(1 << 63)
MAX_POLICY = (1 << 63) - 1


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


def policy_key(survivor: str, num_bytes: UInt64Array, source_index: UInt64Array) -> UInt64Array:
    """The survivor policy as a number: lower is better. `source_index` is its place in the config.

    Raises ValueError for an unknown policy.
    """
    if survivor == "longest":
        return np.uint64(MAX_POLICY) - num_bytes
    if survivor == "shortest":
        return num_bytes
    if survivor == "source_priority":
        return source_index
    raise ValueError(f"dedup.survivor = {survivor!r}: no such policy")


def rank_order(
    validation: npt.NDArray[np.bool_], policy: UInt64Array, hashes: ContentHashes
) -> npt.NDArray[np.int64]:
    """Positions of the documents from best to worst. Their content hashes must differ."""
    first = np.where(validation, np.uint64(0), VALIDATION_FIRST) | policy
    return np.lexsort((hashes.low, hashes.high, first))
