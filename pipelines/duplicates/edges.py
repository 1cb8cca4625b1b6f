"""Accepted pairs as edges between ranks, in files by ranges of the worse document.

Pairs lie in the files of parts; resolution wants them by rank. One map-only step reads each pair
once, looks its ranks up and leaves 16 bytes for it as a piece for its range. A range is what one
process holds in memory: `dedup.memory_bytes` says how many there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipelines.config import CorpusConfig
from pipelines.duplicates.competing import Part, stage_markers
from pipelines.duplicates.pieces import Piece, pieces_by_target, write_pieces
from pipelines.duplicates.rank_table import RankTable
from pipelines.duplicates.ranking import Ranking
from pipelines.duplicates.resolution import Pairs
from pipelines.stages import Task
from pipelines.workplace import Workplace, run_step
from storage import commit, objects, tables
from storage.commit import PartMarker

EDGE = np.dtype([("better", "<u4"), ("worse", "<u4"), ("jaccard", "<f8")])
"""The first 8 bytes are also one number that orders edges by (worse, better)."""
BYTES_PER_EDGE = 64
"""Peak memory while the edges of a range are sorted."""
BATCH_PAIRS = 1 << 20


class PairsAbove(NamedTuple):
    """The pairs that a stage wrote and that reach a threshold: its accepted ones."""

    stage: str
    threshold: float


@dataclass(frozen=True, slots=True)
class EdgeFiles:
    """The edges of a corpus."""

    bounds: npt.NDArray[np.uint32]
    """Range k holds the edges whose worse document ranks in [bounds[k], bounds[k + 1])."""
    pieces: tuple[tuple[Piece, ...], ...]
    """Of each range."""
    num_edges: int

    def read(self, number: int) -> np.ndarray:
        """The edges of one range, dtype EDGE, in any order."""
        return join_edges(self.pieces[number])

    def batches(self) -> Iterator[Pairs]:
        """All edges, range by range."""
        for number in range(len(self.pieces)):
            edges = self.read(number)
            yield Pairs(edges["better"], edges["worse"], edges["jaccard"])


def join_edges(pieces: Sequence[Piece]) -> np.ndarray:
    """The edges that some pieces hold."""
    edges = np.empty(sum(piece.num_bytes for piece in pieces) // EDGE.itemsize, EDGE)
    end = 0
    for piece in pieces:
        mine = np.frombuffer(piece.read(), EDGE)
        edges[end : end + len(mine)] = mine
        end += len(mine)
    return edges


def write_edges(
    config: CorpusConfig,
    place: Workplace,
    accepted: PairsAbove,
    parts: Sequence[Part],
    ranking: Ranking,
    stage: str,
) -> EdgeFiles:
    """The accepted pairs below `config.output`, between documents that are ranked.

    After an append the tables also hold those of earlier generations: pairs of documents that no
    longer compete, and of two kept then, decide nothing and are left out.
    """
    markers = stage_markers(config, accepted.stage, parts)
    num_edges = sum(marker.counts["accepted"] for marker in markers.values())
    num_ranges = 1 + num_edges * BYTES_PER_EDGE // config.dedup.memory_bytes
    # The worse rank is the greater of two: of random pairs a share x**2 has it in the first x.
    shares = np.sqrt(np.linspace(0, 1, num_ranges + 1))
    bounds = (shares * len(ranking.doc_ids)).astype(np.uint32)
    work = ScatterEdges(config.output, accepted, place, stage, bounds.tobytes())
    ranking.table.write(work.table_path)
    if ranking.scopes is not None:
        objects.write(work.scopes_path, ranking.scopes.tobytes())
        objects.write(work.validation_path, ranking.validation.tobytes())
    tasks = [
        Task(
            part.name,
            place.recipe_id,
            sum(written.rows for written in markers[part.name].objects) * EDGE.itemsize,
            part.to_payload(),
        )
        for part in parts
    ]
    run_step(config.model_copy(update={"output": place.work}), stage, tasks, work)
    pieces = pieces_by_target(place.work, commit.read_markers(place.work, stage), {})
    ranges = tuple(tuple(pieces[number]) for number in range(num_ranges))
    return EdgeFiles(bounds, ranges, num_edges)


@dataclass(frozen=True, slots=True)
class ScatterEdges:
    """The accepted pairs of one part, as pieces for the ranges of their worse documents."""

    output: str
    """Where the tables of pairs are."""
    accepted: PairsAbove
    place: Workplace
    stage: str
    bounds: bytes

    def __call__(self, task: Task) -> Iterator[PartMarker]:
        written = write_pieces(self.place.work, self.stage, task.part, self._pieces(task.part))
        yield PartMarker(self.stage, task.part, task.recipe_id, [written])

    @property
    def table_path(self) -> str:
        return objects.join(self.place.work, f"{self.stage}-ranks", "table.bin")

    @property
    def scopes_path(self) -> str:
        """The scope of each document, uint64 by rank; there only where a scope is set."""
        return objects.join(self.place.work, f"{self.stage}-ranks", "scopes.bin")

    @property
    def validation_path(self) -> str:
        return objects.join(self.place.work, f"{self.stage}-ranks", "validation.bin")

    def _pieces(self, part: str) -> Iterator[tuple[int, memoryview]]:
        bounds = np.frombuffer(self.bounds, np.uint32)
        for edges in self._edges(part):
            ranges = np.searchsorted(bounds[1:], edges["worse"], "right").astype(np.uint16)
            edges = edges[np.argsort(ranges, kind="stable")]  # a radix sort: 16 bits
            ends = np.cumsum(np.bincount(ranges, minlength=len(bounds) - 1)).tolist()
            for number, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
                if start < end:
                    yield number, edges[start:end].view(np.uint8).data

    def _edges(self, part: str) -> Iterator[np.ndarray]:
        table = RankTable.read(self.table_path)
        columns = ["doc_a", "doc_b", "jaccard"]
        path = objects.join(self.output, self.accepted.stage, f"{part}.parquet")
        for batch in tables.iter_batches(path, columns, BATCH_PAIRS, BATCH_PAIRS * 32):
            doc_a, doc_b, jaccard = (column.to_numpy() for column in batch.columns)
            rows = np.flatnonzero(jaccard >= self.accepted.threshold)
            rank_a, rank_b = table.ranks_of(doc_a[rows]), table.ranks_of(doc_b[rows])
            better, worse = np.minimum(rank_a, rank_b), np.maximum(rank_a, rank_b)
            here = (better >= 0) & (worse >= self.place.num_standing)
            if self.place.is_scoped:
                here &= self._in_one_scope(better, worse)
            edges = np.empty(int(here.sum()), EDGE)
            edges["better"], edges["worse"] = better[here], worse[here]
            edges["jaccard"] = jaccard[rows][here]
            yield edges

    def _in_one_scope(
        self, better: npt.NDArray[np.int64], worse: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.bool_]:
        """Validation documents are in all scopes."""
        scopes = np.frombuffer(objects.read(self.scopes_path), np.uint64)
        validation = np.frombuffer(objects.read(self.validation_path), bool)
        either = validation[better] | validation[worse]
        return either | (scopes[better] == scopes[worse])
