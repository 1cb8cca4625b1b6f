"""Clusters of vectors: trained on a sample, then every document is sent to its own.

    sample        documents with the lowest content hashes: 64 for each cluster, at least 64,000
    centroids     spherical k-means of the sample, in the driver (filters/kmeans.py)
    assigned      each part sends its rows to the buckets of their clusters

A row that travels is dtype `row_type`: its cluster, what ranks it, its vector. A bucket is some
clusters whose rows make about 64 MB, so that the parts send few and large pieces.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from filters import kmeans
from filters.vectors import Vectors
from pipelines.annotate import signals_stage
from pipelines.config import CorpusConfig, SemanticConfig
from pipelines.duplicates import scopes
from pipelines.duplicates.competing import HASH, Part
from pipelines.duplicates.pieces import write_pieces
from pipelines.duplicates.ranking import RANKED, Ranking, split_hashes
from pipelines.embedding import NAME, num_dimensions
from pipelines.stages import Task
from pipelines.workplace import Workplace
from storage import objects, tables
from storage.commit import PartMarker

EMBEDDING = signals_stage(NAME)
ASSIGNED = "assigned"
CENTROIDS = "centroids.bin"
LEAST_MEMBERS = 10_000
"""Mean documents of a cluster. Comparing in one of this size takes 0.1 ms a document of CPU time,
embedding 100 ms, so smaller ones would lose pairs for nothing."""
SAMPLES_PER_CLUSTER, LEAST_SAMPLE = 64, 64_000
SAMPLE_BYTES_PER_NUMBER = 8
"""Peak memory of training for each number of the sample: int16, float32 and a copy."""
BUCKET_BYTES = 64 << 20
MAX_ROWS = 1 << 14
"""Rows of a part in memory at once."""


def settings(config: CorpusConfig) -> dict[str, object]:
    """What of the configuration decides, besides the embeddings; {} when the stage is off."""
    semantic = config.dedup.semantic
    if semantic is None:
        return {}
    return {
        "semantic_threshold": semantic.threshold,
        "semantic_clusters": semantic.clusters,
        "kmeans_version": kmeans.VERSION,
    }


def num_clusters(semantic: SemanticConfig, num_docs: int) -> int:
    """What is configured, or the square root of the documents, in clusters of 10,000 and more.

    The square root makes finding a document's cluster as long as comparing it within.
    """
    automatic = min(math.isqrt(num_docs), num_docs // LEAST_MEMBERS)
    return max(1, min(num_docs, semantic.clusters or automatic))


def row_type(dimensions: int) -> np.dtype:
    return np.dtype(
        [
            ("cluster", "<u4"),
            ("rank", "<u4"),
            ("doc_id", "<u8"),
            ("scope", "<u8"),
            ("validation", "?"),
            ("vector", "<i2", (dimensions,)),
        ]
    )


def num_buckets(clusters: int, num_docs: int, dimensions: int) -> int:
    """A cluster is in bucket `cluster % num_buckets`."""
    return max(1, min(clusters, num_docs * row_type(dimensions).itemsize // BUCKET_BYTES))


def train(config: CorpusConfig, place: Workplace, parts: Sequence[Part], ranking: Ranking) -> int:
    """Leaves the centroids in the workplace, unless they are there; returns their number."""
    semantic = config.dedup.semantic
    assert semantic is not None
    size = num_dimensions(semantic)
    path = objects.join(place.work, CENTROIDS)
    if not objects.exists(path):
        wanted = num_clusters(semantic, len(ranking.doc_ids))
        sample = _sample(config, parts, ranking, wanted, size)
        objects.write(path, kmeans.train(sample, wanted, config.dedup.seed).astype("<i2").tobytes())
    return len(read_centroids(place, size))


def read_centroids(place: Workplace, dimensions: int) -> Vectors:
    data = objects.read(objects.join(place.work, CENTROIDS))
    return np.frombuffer(data, "<i2").reshape(-1, dimensions)


@dataclass(frozen=True, slots=True)
class Assign:
    """The rows of one part, sent to the buckets of their clusters."""

    place: Workplace
    dimensions: int
    num_buckets: int

    def __call__(self, task: Task) -> Iterator[PartMarker]:
        part = Part(**task.payload)
        written = write_pieces(self.place.work, ASSIGNED, part.name, self._pieces(part))
        yield PartMarker(ASSIGNED, part.name, task.recipe_id, [written])

    def _pieces(self, part: Part) -> Iterator[tuple[int, bytes]]:
        centroids = read_centroids(self.place, self.dimensions)
        for rows in self._rows(part):
            rows["cluster"] = kmeans.assign(rows["vector"], centroids)
            buckets = rows["cluster"] % np.uint32(self.num_buckets)
            order = np.argsort(buckets, kind="stable")
            targets, starts = np.unique(buckets[order], return_index=True)
            for target, mine in zip(targets.tolist(), np.split(order, starts[1:]), strict=True):
                yield target, rows[mine].tobytes()

    def _rows(self, part: Part) -> Iterator[np.ndarray]:
        """The ranked documents of a part with their vectors, in blocks; clusters are not set."""
        ranked = np.frombuffer(objects.read(self.place.ranks_path(part.name)), RANKED)
        own = scopes.read(self.place.work, part.name) if self.place.is_scoped else None
        wanted = part.rows_of(ranked["doc_id"])
        for mine, vectors in read_vectors(self.place.output, part, wanted):
            rows = np.zeros(len(vectors), row_type(self.dimensions))
            rows["rank"], rows["doc_id"] = ranked["rank"][mine], ranked["doc_id"][mine]
            rows["vector"] = vectors
            if own is not None:
                rows["scope"], rows["validation"] = own.own[mine], own.validation[mine]
            yield rows


def read_vectors(
    output: str, part: Part, wanted: npt.NDArray[np.int64]
) -> Iterator[tuple[slice, Vectors]]:
    """Vectors of some rows of a part, in ascending order, with their places in `wanted`."""
    path = objects.join(output, EMBEDDING, f"{part.name}.parquet")
    start = 0
    for batch in tables.iter_batches(path, ["embedding"], max_rows=MAX_ROWS):
        first, last = np.searchsorted(wanted, [start, start + batch.num_rows])
        if first < last:
            column = batch.column(0)
            matrix = column.flatten().to_numpy().reshape(-1, column.type.list_size)
            yield slice(int(first), int(last)), matrix[wanted[first:last] - start]
        start += batch.num_rows


def has_vector(config: CorpusConfig, part: Part) -> npt.NDArray[np.bool_]:
    path = config.path(EMBEDDING, f"{part.name}.parquet")
    return tables.read_table(path, ["squared_length"])["squared_length"].to_numpy() > 0


def _sample(
    config: CorpusConfig, parts: Sequence[Part], ranking: Ranking, clusters: int, dimensions: int
) -> Vectors:
    """Vectors of the documents whose content hashes are lowest in their second half.

    (The first half tells validation from training.) In the order of the hashes, which no cut into
    parts changes.
    """
    num_docs = len(ranking.doc_ids)
    most = config.dedup.memory_bytes // (SAMPLE_BYTES_PER_NUMBER * dimensions)
    wanted = min(num_docs, most, max(SAMPLES_PER_CLUSTER * clusters, LEAST_SAMPLE))
    limit = np.uint64(((1 << 64) - 1) * wanted // max(1, num_docs))
    hashes, found = [np.empty(0, np.uint64)], [np.empty((0, dimensions), np.int16)]
    for part in parts:
        path = config.path(HASH, f"{part.name}.parquet")
        low = split_hashes(tables.read_table(path, ["content_hash"])["content_hash"]).low
        doc_ids, _ = ranking.table.of_part(part.address)
        rows = part.rows_of(doc_ids)
        rows = rows[low[rows] <= limit]
        hashes.append(low[rows])
        found += [vectors for _, vectors in read_vectors(config.output, part, rows)]
    order = np.argsort(np.concatenate(hashes), kind="stable")
    return np.concatenate(found)[order]
