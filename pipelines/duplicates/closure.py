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


def write_candidates(
    place: Workplace,
    ranking: Ranking,
    resolution: Resolution,
    read_pairs: Callable[[], Iterable[Pairs]],
) -> None:
    """Writes the new candidates as pieces for the part of their last document.

    `read_pairs` gives the accepted pairs, in ranks; it is called twice, so that only the edges of
    documents with two kept neighbours are ever in memory.
    """
    pairs = neighbours_of_dropped(resolution, read_pairs)
    pairs = pairs[pairs["b"] >= place.num_standing]
    doc_ids = canonical_pairs(ranking.doc_ids[pairs["a"]], ranking.doc_ids[pairs["b"]])
    doc_ids = unique_pairs(doc_ids)
    pieces = ((part, rows.tobytes()) for part, rows in split_by_part(doc_ids, doc_ids["b"]))
    written = write_pieces(place.work, STAGE, "all", pieces)
    commit.write_marker(place.work, PartMarker(STAGE, "all", place.recipe_id, [written]))


def neighbours_of_dropped(
    resolution: Resolution, read_pairs: Callable[[], Iterable[Pairs]]
) -> np.ndarray:
    """Pairs (dtype PAIR, of ranks) of kept documents that share a dropped neighbour."""
    dropped = resolution.dropped
    num_kept = np.zeros(len(dropped), np.uint32)
    for edges in _edges(dropped, read_pairs()):
        counts = np.bincount((edges >> HALF).astype(np.int64), minlength=len(dropped))
        num_kept += counts.astype(np.uint32)
    many = [edges[num_kept[edges >> HALF] > 1] for edges in _edges(dropped, read_pairs())]
    edges = np.sort(np.concatenate([np.empty(0, np.uint64), *many]))  # by dropped, then by kept
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
