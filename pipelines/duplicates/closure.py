"""A second look: kept documents that resemble one dropped document may resemble each other.

LSH misses a similar pair now and then (7.6 % at J = .8 by default). In a cluster the miss shows:
a dropped document has two kept neighbours. Each kept neighbour becomes a candidate with the best
kept one and with the next better one, at most two pairs for each accepted pair, and is verified
like any other candidate. So recall within clusters exceeds that of the LSH formula, and nothing is
dropped unverified, which is what separates it from connected components.

Signatures of a pair that LSH missed are not independent of the miss, but verification reads
shingles where they are in doubt.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt

from pipelines.duplicates.candidates import canonical_pairs, changes, unique_pairs
from pipelines.duplicates.pieces import split_by_part, write_pieces
from pipelines.duplicates.ranking import Ranking
from pipelines.duplicates.resolution import Pairs, Resolution
from pipelines.workplace import Workplace
from storage import commit
from storage.commit import PartMarker

STAGE = "closure"

HALF = np.uint64(32)
BYTES_PER_EDGE = 150
"""Peak memory while the edges of dropped documents become pairs: both links, sorted."""


def write_candidates(
    place: Workplace,
    ranking: Ranking,
    resolution: Resolution,
    read_pairs: Callable[[], Iterable[Pairs]],
    memory_bytes: int,
) -> None:
    """Writes the new candidates as pieces for the part of their last document.

    `read_pairs` gives the accepted pairs, in ranks. It is called several times, so that the edges
    of a range of dropped documents are all that is in memory.
    """
    pieces = (
        (part, rows.tobytes())
        for pairs in neighbours_of_dropped(resolution, read_pairs, memory_bytes)
        for new in [pairs[pairs["b"] >= place.num_standing]]
        for ids in [canonical_pairs(ranking.doc_ids[new["a"]], ranking.doc_ids[new["b"]])]
        for part, rows in split_by_part(ids, ids["b"])
    )
    written = write_pieces(place.work, STAGE, "all", pieces)
    commit.write_marker(place.work, PartMarker(STAGE, "all", place.recipe_id, [written]))


def neighbours_of_dropped(
    resolution: Resolution,
    read_pairs: Callable[[], Iterable[Pairs]],
    memory_bytes: int,
) -> Iterator[np.ndarray]:
    """Pairs (dtype PAIR, of ranks) of kept documents that share a dropped neighbour.

    Each pair once for a range of dropped documents.
    """
    dropped = resolution.dropped
    num_kept = np.zeros(len(dropped), np.uint32)
    for edges in _edges(dropped, read_pairs()):
        np.add.at(num_kept, edges >> HALF, np.uint32(1))
    num_kept[num_kept < 2] = 0
    ends = np.cumsum(num_kept, dtype=np.uint64)
    num_ranges = 1 + int(num_kept.sum(dtype=np.uint64)) * BYTES_PER_EDGE // memory_bytes
    shares = np.arange(1, num_ranges) * (int(num_kept.sum(dtype=np.uint64)) // num_ranges)
    cuts = np.searchsorted(ends, shares).tolist()
    del ends
    for first, last in itertools.pairwise([0, *cuts, len(dropped)]):
        mine = np.zeros(len(dropped), bool)
        mine[first:last] = num_kept[first:last] > 0
        many = [edges[mine[edges >> HALF]] for edges in _edges(dropped, read_pairs())]
        yield _linked(np.concatenate([np.empty(0, np.uint64), *many]))


def _linked(edges: npt.NDArray[np.uint64]) -> np.ndarray:
    """Pairs of the kept documents of each dropped one: with the best, and with the next better."""
    edges = np.sort(edges)  # by dropped, then by kept
    edges = edges[changes(edges)]
    kept = edges & np.uint64(0xFFFFFFFF)
    starts = changes(edges >> HALF)
    first = np.flatnonzero(starts)[np.cumsum(starts) - 1] if len(edges) else np.empty(0, int)
    rows = np.flatnonzero(~starts)
    others = np.concatenate([first[rows], rows - 1])
    return unique_pairs(canonical_pairs(kept[others], np.tile(kept[rows], 2)))


def _edges(
    dropped: npt.NDArray[np.bool_], batches: Iterable[Pairs]
) -> Iterator[npt.NDArray[np.uint64]]:
    """Accepted pairs of a dropped and a kept document, as ranks: dropped << 32 | kept."""
    for better, worse, _ in batches:
        for one, other in ((better, worse), (worse, better)):
            here = dropped[one] & ~dropped[other]
            yield one[here].astype(np.uint64) << HALF | other[here]
