"""Pairs within clusters: compared bucket by bucket, then sent to the part of their later document.

    compared          rows of a bucket -> for each dropped document, the kept one it resembles
    semantic_pairs    the pairs of a part, as in `pairs/`: `jaccard` holds the cosine

A bucket is read in spans of whole clusters that fit in memory. A cluster that does not fit is a
span of its own and is compared block by block: each block is read again for every later one, which
makes it slow, not large.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.duplicates.candidates import changes
from pipelines.duplicates.clusters import row_type
from pipelines.duplicates.competing import Part
from pipelines.duplicates.pieces import Piece, split_by_part, write_pieces
from pipelines.duplicates.similar_vectors import (
    NONE,
    Matches,
    Members,
    match_each_other,
    match_kept,
)
from pipelines.stages import Task
from pipelines.views import view_name
from pipelines.workplace import Workplace
from storage import objects, tables
from storage.commit import PartMarker, WrittenObject
from storage.tables import PAIRS

COMPARED = "compared"
STAGE = "semantic_pairs"
METHOD = "embedding"
HEAD = np.dtype(
    [
        ("cluster", "<u4"),
        ("rank", "<u4"),
        ("doc_id", "<u8"),
        ("scope", "<u8"),
        ("validation", "?"),
        ("place", "<u8"),
    ]
)
"""A row without its vector, and where it lies among the rows of its bucket."""
FOUND = np.dtype([("a", "<u8"), ("b", "<u8"), ("cosine", "<f8")])
"""Two documents, `a < b` by address."""
COPIES_OF_ROWS = 4
"""Rows of a span in memory: as read, in order, their vectors alone, and a tile's share."""


@dataclass(frozen=True, slots=True)
class Compare:
    """The clusters of one bucket."""

    place: Workplace
    dimensions: int
    threshold: float
    memory_bytes: int

    def __call__(self, task: Task) -> Iterator[PartMarker]:
        bucket = Bucket([Piece(*fields) for fields in task.payload["pieces"]], self.dimensions)
        counts: Counter[str] = Counter()
        found = [np.empty(0, FOUND), *self._pairs(bucket, counts)]
        pairs = np.concatenate(found)
        pieces = ((part, rows.tobytes()) for part, rows in split_by_part(pairs, pairs["b"]))
        written = write_pieces(self.place.work, COMPARED, task.part, pieces)
        yield PartMarker(COMPARED, task.part, task.recipe_id, [written], dict(counts))

    def _pairs(self, bucket: Bucket, counts: Counter[str]) -> Iterator[np.ndarray]:
        most = self.memory_bytes // (COPIES_OF_ROWS * row_type(self.dimensions).itemsize)
        for clusters in bucket.spans(max(1, most)):
            sizes = [cluster.stop - cluster.start for cluster in clusters]
            counts["largest_cluster"] = max(counts["largest_cluster"], *sizes)
            if len(sizes) == 1 and sizes[0] > most:
                counts["clusters_in_blocks"] += 1
                yield self._compare_blocks(bucket, clusters[0], max(1, most // 2))
                continue
            first = clusters[0].start
            span = bucket.members(slice(first, clusters[-1].stop), self.place.num_standing)
            for cluster in clusters:
                members = span.take(slice(cluster.start - first, cluster.stop - first))
                matches = Matches.none(len(members.vectors))
                names = np.arange(cluster.start, cluster.stop)
                match_each_other(members, matches, names, self.threshold)
                yield _found(bucket.heads, names, matches)

    def _compare_blocks(self, bucket: Bucket, cluster: slice, size: int) -> np.ndarray:
        """A cluster of which two blocks of `size` rows fit in memory."""
        names = np.arange(cluster.start, cluster.stop)
        matches = Matches.none(len(names))
        blocks = [slice(start, start + size) for start in range(0, len(names), size)]
        for number, rows in enumerate(blocks):
            block = bucket.members(_moved(rows, cluster), self.place.num_standing)
            mine = matches.part(rows)
            for earlier in blocks[:number]:
                kept = np.flatnonzero(matches.survivor[earlier] == NONE)
                others = bucket.members(_moved(earlier, cluster), self.place.num_standing)
                better = names[earlier][kept]
                match_kept(block, mine, others.take(kept), better, self.threshold)
            match_each_other(block, mine, names[rows], self.threshold)
        return _found(bucket.heads, names, matches)


class Bucket:
    """The rows of some clusters, by cluster and rank; vectors are read when asked for."""

    def __init__(self, pieces: Sequence[Piece], dimensions: int) -> None:
        self._pieces = pieces
        self._dtype = row_type(dimensions)
        heads = [np.empty(0, HEAD)]
        for piece in pieces:
            rows = np.frombuffer(piece.read(), self._dtype)
            head = np.zeros(len(rows), HEAD)
            for name in ("cluster", "rank", "doc_id", "scope", "validation"):
                head[name] = rows[name]
            heads.append(head)
        self.heads = np.concatenate(heads)
        self.heads["place"] = np.arange(len(self.heads))
        self.heads = self.heads[np.lexsort((self.heads["rank"], self.heads["cluster"]))]

    def spans(self, most: int) -> Iterator[list[slice]]:
        """Runs of whole clusters of at most `most` rows together; a larger cluster comes alone."""
        starts = np.flatnonzero(changes(self.heads["cluster"])).tolist() if len(self.heads) else []
        span: list[slice] = []
        for start, stop in itertools.pairwise([*starts, len(self.heads)] if starts else []):
            if span and stop - span[0].start > most:
                yield span
                span = []
            span.append(slice(start, stop))
        if span:
            yield span

    def members(self, rows: slice, num_standing: int) -> Members:
        """Some rows with their vectors."""
        heads = self.heads[rows]
        order = np.argsort(heads["place"])
        places = heads["place"][order]
        vectors = np.empty((len(heads), *self._dtype["vector"].shape), np.int16)
        first = 0
        for piece in self._pieces:
            last = first + piece.num_bytes // self._dtype.itemsize
            here = slice(*np.searchsorted(places, [first, last]))
            if here.start < here.stop:
                read = np.frombuffer(piece.read(), self._dtype)["vector"]
                vectors[order[here]] = read[places[here].astype(np.int64) - first]
            first = last
        standing = heads["rank"] < num_standing
        return Members(vectors, heads["scope"], heads["validation"], standing)


@dataclass(frozen=True, slots=True)
class WritePairs:
    """`semantic_pairs/` of one part, sorted by (doc_a, doc_b)."""

    output: str
    editors: dict[str, tuple[str, ...]]
    """Of the view of each source."""
    sources: dict[int, str]
    """Of each part, by address."""

    def __call__(self, task: Task) -> Iterator[PartMarker]:
        part = Part(**task.payload["part"])
        pieces = [Piece(*fields).read() for fields in task.payload["pieces"]]
        pairs = np.frombuffer(b"".join(pieces), FOUND)
        pairs = pairs[np.lexsort((pairs["b"], pairs["a"]))]
        path = objects.join(self.output, STAGE, f"{part.name}.parquet")
        stats = tables.write_table(path, self._table(pairs, part), PAIRS)
        written = WrittenObject.of_table(STAGE, part.name, stats)
        counts = {"accepted": len(pairs)}
        yield PartMarker(STAGE, part.name, task.recipe_id, [written], counts)

    def _table(self, pairs: np.ndarray, part: Part) -> pa.Table:
        views = np.full(len(pairs), "", object)
        for address, rows in split_by_part(np.arange(len(pairs)), pairs["a"]):
            sources = (self.sources[address], part.source)
            names = dict.fromkeys(view_name(self.editors[source]) for source in sources)
            views[rows] = "|".join(names)
        columns = {
            "doc_a": np.ascontiguousarray(pairs["a"]),
            "doc_b": np.ascontiguousarray(pairs["b"]),
            "jaccard": np.ascontiguousarray(pairs["cosine"]),
            "method": [METHOD] * len(pairs),
            "view": views,
        }
        arrays = [pa.array(columns[field.name], field.type) for field in PAIRS]
        return pa.Table.from_arrays(arrays, schema=PAIRS)


def _moved(rows: slice, cluster: slice) -> slice:
    """Rows of a cluster as rows of its bucket."""
    return slice(cluster.start + rows.start, min(cluster.start + rows.stop, cluster.stop))


def _found(heads: np.ndarray, names: npt.NDArray[np.int64], matches: Matches) -> np.ndarray:
    """A pair for each dropped row, whose names are rows of `heads`."""
    dropped = np.flatnonzero(matches.survivor != NONE)
    one = heads["doc_id"][names[dropped]]
    other = heads["doc_id"][matches.survivor[dropped]]
    pairs = np.empty(len(dropped), FOUND)
    pairs["a"], pairs["b"] = np.minimum(one, other), np.maximum(one, other)
    pairs["cosine"] = matches.cosine[dropped]
    return pairs
