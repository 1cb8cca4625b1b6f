"""Features of documents that dedup compares: band hashes, MinHash signatures, shingle sets.

Signatures and shingle sets travel between parts as rows of numbers.

Packed, as a piece (little-endian): number of documents uint64, doc_ids uint64, lengths uint64,
then the values of all rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from filters.minhash import band_names
from filters.shingles import shingle_hashes
from pipelines.duplicates import scopes
from pipelines.duplicates.competing import MINHASH, Part
from pipelines.duplicates.ranking import RANKED
from pipelines.views import iter_view_with
from pipelines.workplace import Workplace
from storage import objects, tables

MAX_SIGNATURE_ROWS = 1 << 14
"""Rows of the signature column in memory at once."""


class Features(NamedTuple):
    """One row of numbers for each of some documents.

    doc_ids uint64, ascending; row i is `values[offsets[i]:offsets[i + 1]]`, int64 offsets.
    """

    doc_ids: npt.NDArray[np.uint64]
    offsets: npt.NDArray[np.int64]
    values: npt.NDArray[Any]

    @classmethod
    def of_rows(
        cls, doc_ids: npt.NDArray[np.uint64], lengths: npt.NDArray[Any], values: npt.NDArray[Any]
    ) -> Features:
        offsets = np.zeros(len(doc_ids) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        assert offsets[-1] == len(values), "the lengths of the rows do not add up"
        return cls(doc_ids, offsets, values)

    @classmethod
    def unpack(cls, data: bytes, dtype: str) -> Features:
        """What `pack` made; `dtype` is that of the values."""
        num_docs = int(np.frombuffer(data, "<u8", 1)[0])
        head = np.frombuffer(data, "<u8", 2 * num_docs, offset=8)
        values = np.frombuffer(data, dtype, offset=8 + 16 * num_docs)
        return cls.of_rows(head[:num_docs], head[num_docs:], values)

    def pack(self) -> bytes:
        lengths = np.diff(self.offsets).astype("<u8")
        head = np.array([len(self.doc_ids)], "<u8")
        return b"".join(array.tobytes() for array in (head, self.doc_ids, lengths, self.values))

    def rows(self, doc_ids: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Row numbers of documents, all of which must be here."""
        rows = np.searchsorted(self.doc_ids, doc_ids)
        assert np.array_equal(self.doc_ids[rows], doc_ids), "features of a document are missing"
        return rows

    def take(self, doc_ids: npt.NDArray[np.uint64]) -> Features:
        """The features of some documents, given in ascending order."""
        return self._pick(self.rows(doc_ids))

    def merge(self, others: Features) -> Features:
        """These and the features of other documents."""
        doc_ids = np.concatenate([self.doc_ids, others.doc_ids])
        lengths = np.concatenate([np.diff(self.offsets), np.diff(others.offsets)])
        values = np.concatenate([self.values, others.values])
        return Features.of_rows(doc_ids, lengths, values)._pick(np.argsort(doc_ids))

    def _pick(self, rows: npt.NDArray[np.int64]) -> Features:
        lengths = np.diff(self.offsets)[rows]
        starts = np.cumsum(lengths) - lengths
        picks = np.arange(lengths.sum()) + np.repeat(self.offsets[rows] - starts, lengths)
        return Features.of_rows(self.doc_ids[rows], lengths, self.values[picks])


def read_bands(
    place: Workplace, part: Part, bands: Sequence[int]
) -> Iterator[tuple[int, np.ndarray, npt.NDArray[np.uint64]]]:
    """For each band: its number, the ranked documents of a part (dtype RANKED), their hashes.

    Where a scope is set, the hashes are of a document in its scope.
    """
    ranked = np.frombuffer(objects.read(place.ranks_path(part.name)), RANKED)
    if len(ranked) == 0:
        return
    path = objects.join(place.output, MINHASH, f"{part.name}.parquet")
    names = band_names(max(bands) + 1)
    table = tables.read_table(path, [names[band] for band in bands])
    rows = part.rows_of(ranked["doc_id"])
    own = scopes.read(place.work, part.name) if place.is_scoped else None
    for band in bands:
        hashes = table[names[band]].to_numpy()[rows]
        rows_of_band, hashes = own.spread(ranked, hashes) if own else (ranked, hashes)
        yield band, rows_of_band, hashes


def read_signatures(output: str, part: Part, doc_ids: npt.NDArray[np.uint64]) -> Features:
    """Signatures (uint32) of documents of one part, given in ascending order."""
    path = objects.join(output, MINHASH, f"{part.name}.parquet")
    wanted = part.rows_of(doc_ids)
    found = [np.empty(0, np.uint32)]
    start, length = 0, 0
    for batch in tables.iter_batches(path, ["signature"], max_rows=MAX_SIGNATURE_ROWS):
        first, last = np.searchsorted(wanted, [start, start + batch.num_rows])
        column = batch.column(0)
        length = column.type.list_size
        matrix = column.flatten().to_numpy().reshape(-1, length)
        found.append(matrix[wanted[first:last] - start].ravel())
        start += batch.num_rows
    return Features.of_rows(doc_ids, np.full(len(doc_ids), length), np.concatenate(found))


def read_shingles(
    output: str,
    part: Part,
    editors: Sequence[str],
    ngram: int,
    unit: str,
    doc_ids: npt.NDArray[np.uint64],
) -> Features:
    """Shingle sets (uint64, ascending) of documents of one part; reads the text around them."""
    wanted = part.rows_of(doc_ids)
    lengths, values = [np.empty(0, np.int64)], [np.empty(0, np.uint64)]
    for start, batch in iter_view_with(output, part.name, editors, wanted):
        first, last = np.searchsorted(wanted, [start, start + batch.num_rows])
        if first < last:
            text = batch.column("text").take(wanted[first:last] - start)
            sets = shingle_hashes(text, ngram, unit)
            lengths.append(np.diff(sets.offsets))
            values.append(sets.values)
    return Features.of_rows(doc_ids, np.concatenate(lengths), np.concatenate(values))
