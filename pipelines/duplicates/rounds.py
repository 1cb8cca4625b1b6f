"""Resolution in rounds: what `resolution.resolve` decides in one process, on many.

Ranks are cut into ranges; the task of a range holds the edges whose worse document is in it. In
each round a task walks through its documents from best to worst and decides those whose better
neighbours are decided: dropped when one of them is kept, kept when all are dropped. Of documents
in other ranges it knows what they were at the end of the round before; within its range it goes
on at once, so a chain of any length takes one round for each range that it visits, not one for
each of its documents.

After round r the first r ranges are decided: their edges lead to themselves and to better ranges.
So there are at most as many rounds as ranges, and an end without all decided is an error. In
practice a few rounds are enough, because an order by hash leaves no long chains of dependence
(Blelloch, Fineman and Shun 2012, "Greedy sequential maximal independent set and matching are
parallel on average"), and each reads only the edges that the round before left open.

The first round also finds clusters: each task reduces its edges to a spanning forest, and the
driver joins the forests. A task holds one range of edges and 5 bytes for each better document; the
driver 16 bytes for each document.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from pipelines.config import CorpusConfig
from pipelines.duplicates.edges import EDGE, EdgeFiles, join_edges
from pipelines.duplicates.pieces import Piece
from pipelines.duplicates.resolution import NONE, Resolution, flatten, join, link, new_resolution
from pipelines.stages import Task
from pipelines.workplace import Workplace, run_step
from storage import commit, objects
from storage.commit import PartMarker

KEPT, DROPPED, OPEN = 0, 1, 2
FATE = np.dtype([("survivor", "<u4"), ("similarity", "<f8")], align=True)


def resolve_in_rounds(
    config: CorpusConfig,
    place: Workplace,
    num_docs: int,
    edges: EdgeFiles,
    stage: str,
    links: npt.NDArray[np.uint32] | None = None,
) -> Resolution:
    """Decides all documents, as `resolve` does with the same edges."""
    at_work = config.model_copy(update={"output": place.work})
    found = new_resolution(num_docs)
    num_ranges = len(edges.pieces)
    last_round = [0] * num_ranges
    waiting = list(range(num_ranges))
    for number in range(1, num_ranges + 1):
        tasks = [_task(place, edges, index, last_round) for index in waiting]
        work = DecideRange(place, stage, number, tuple(edges.bounds.tolist()))
        run_step(at_work, f"{stage}/{number}", tasks, work)
        for index in waiting:
            last_round[index] = number
        counts = {
            int(marker.part): marker.counts["open"]
            for marker in commit.read_markers(place.work, f"{stage}/{number}")
        }
        waiting = [index for index in waiting if counts[index]]
        if not waiting:
            break
    assert not waiting, f"ranges {waiting} are undecided after {num_ranges} rounds"
    folder = objects.join(place.work, stage)
    for index, number in enumerate(last_round):
        mine = slice(int(edges.bounds[index]), int(edges.bounds[index + 1]))
        fates = np.frombuffer(objects.read(_path(folder, number, index, "fates")), FATE)
        found.survivor[mine], found.similarity[mine] = fates["survivor"], fates["similarity"]
        forest = np.frombuffer(objects.read(_path(folder, 1, index, "forest")), np.uint32)
        link(forest.reshape(-1, 2), found.cluster)
    if links is not None:
        link(links, found.cluster)
    flatten(found.cluster)
    return found


@dataclass(frozen=True, slots=True)
class DecideRange:
    """One round of one range."""

    place: Workplace
    stage: str
    number: int
    """Of the round, from 1."""
    bounds: tuple[int, ...]

    def __call__(self, task: Task) -> Iterator[PartMarker]:
        index, last_round = task.payload["range"], task.payload["last_round"]
        low, high = self.bounds[index], self.bounds[index + 1]
        states = np.full(high, OPEN, np.uint8)
        if self.number == 1:
            edges = join_edges([Piece(*fields) for fields in task.payload["pieces"]])
            edges = edges[np.argsort(edges.view("<u8")[::2])]
            fates = np.zeros(high - low, FATE)
            fates["survivor"] = NONE
            states[low:] = KEPT
            self._write(index, "forest", spanning_forest(edges, high))
        else:
            for other in range(index + 1):
                data = self._read(other, last_round[other], "states")
                states[self.bounds[other] : self.bounds[other + 1]] = np.frombuffer(data, np.uint8)
            edges = np.frombuffer(self._read(index, last_round[index], "edges"), EDGE)
            fates = np.frombuffer(self._read(index, last_round[index], "fates"), FATE).copy()
        is_open = decide_range(edges, states, low, fates)
        self._write(index, "states", states[low:])
        self._write(index, "fates", fates)
        self._write(index, "edges", edges[is_open])
        counts = {"open": int(is_open.sum())}
        yield PartMarker(f"{self.stage}/{self.number}", task.part, task.recipe_id, [], counts)

    def _read(self, index: int, number: int, what: str) -> bytes:
        return objects.read(_path(objects.join(self.place.work, self.stage), number, index, what))

    def _write(self, index: int, what: str, array: np.ndarray) -> None:
        folder = objects.join(self.place.work, self.stage)
        objects.write(_path(folder, self.number, index, what), array.tobytes())


def decide_range(
    edges: np.ndarray, states: npt.NDArray[np.uint8], low: int, fates: np.ndarray
) -> npt.NDArray[np.bool_]:
    """Decides what can be decided of the documents [low, len(states)); which edges stay open.

    `edges`, dtype EDGE, are sorted by (worse, better); `states` of all documents and `fates` of
    those of the range are brought up to date.
    """
    columns = edges["better"], edges["worse"], edges["jaccard"]
    is_open = np.zeros(len(edges), bool)
    _decide(*columns, states, low, fates["survivor"], fates["similarity"], is_open)
    return is_open


def spanning_forest(edges: np.ndarray, num_docs: int) -> npt.NDArray[np.uint32]:
    """As few links, uint32[links, 2], as connect what `edges` of ranks below `num_docs` connect."""
    parent = np.arange(num_docs, dtype=np.uint32)
    _join(edges["better"], edges["worse"], parent)
    flatten(parent)
    linked = np.flatnonzero(parent != np.arange(num_docs, dtype=np.uint32))
    return np.stack([parent[linked], linked.astype(np.uint32)], axis=1)


@numba.njit(cache=True, nogil=True)
def _join(better, worse, parent):  # pragma: no cover
    for edge in range(len(worse)):
        join(parent, better[edge], worse[edge])


@numba.njit(cache=True, nogil=True)
def _decide(better, worse, jaccard, states, low, survivor, similarity, is_open):  # pragma: no cover
    edge = 0
    while edge < len(worse):
        document = worse[edge]
        waits = False
        while edge < len(worse) and worse[edge] == document:
            state = states[better[edge]]
            if state == KEPT and better[edge] < survivor[document - low]:
                survivor[document - low] = better[edge]
                similarity[document - low] = jaccard[edge]
            elif state == OPEN:
                is_open[edge] = waits = True
            edge += 1
        if survivor[document - low] != NONE:
            states[document] = DROPPED
        else:
            states[document] = OPEN if waits else KEPT


def _task(place: Workplace, edges: EdgeFiles, index: int, last_round: list[int]) -> Task:
    pieces = [] if last_round[index] else [list(piece) for piece in edges.pieces[index]]
    weight = sum(piece.num_bytes for piece in edges.pieces[index])
    payload = {"range": index, "pieces": pieces, "last_round": list(last_round)}
    return Task(f"{index:06d}", place.recipe_id, weight, payload)


def _path(folder: str, number: int, index: int, what: str) -> str:
    return objects.join(folder, f"{number:06d}", f"{index:06d}.{what}")
