"""Hot buckets: band hashes that more than a million documents share.

All rows of a hash meet under one key of the shuffle, and a key must fit a worker's memory, so the
rows of such hashes stay out of it. Map-only steps find them and link their documents:

    suspects  hashes frequent enough in one part to be hot overall: the rows of a hot hash are
              spread over the parts, so at least one of them holds its share
    hot       number of documents and best-ranked document of each suspect, exact over all parts
    links     each document of a hot hash is linked to the best-ranked one

Which hashes are hot does not depend on how parts are cut. A corpus that is too small for a hot
bucket skips all of it; without suspects it costs one reading of the bands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.config import CorpusConfig
from pipelines.duplicates.candidates import canonical_pairs, changes, unique_pairs
from pipelines.duplicates.competing import Part
from pipelines.duplicates.features import read_bands
from pipelines.duplicates.pieces import split_by_part, write_pieces
from pipelines.stages import Task, Work
from pipelines.workplace import Workplace, run_step
from storage import commit, objects
from storage.commit import PartMarker

MAX_SHUFFLED_ROWS = 1_000_000
"""Largest bucket that goes through the shuffle."""
SUSPECTS, HOT, STAGE = "suspects", "hot", "links"
BUCKET = np.dtype(
    [("band", "<u8"), ("hash", "<u8"), ("num_docs", "<u8"), ("rank", "<u8"), ("doc_id", "<u8")]
)
"""What a corpus, or one part of it, holds of a bucket; rank and id are the best document's."""

HotHashes = Mapping[int, npt.NDArray[np.uint64]]
"""Hashes that stay out of the shuffle, by band."""


def link_hot_buckets(
    config: CorpusConfig, place: Workplace, parts: Sequence[Part], num_docs: int
) -> tuple[HotHashes, Counter[str]]:
    """Writes the pairs of hot buckets as pieces; returns their hashes, and counts as for pairs.

    `num_docs` is the number of ranked documents.
    """
    if num_docs <= MAX_SHUFFLED_ROWS:
        return {}, Counter()
    bands = list(range(config.dedup.bands))
    smallest = -(-MAX_SHUFFLED_ROWS // len(parts))
    _run(config, place, parts, SUSPECTS, CountBuckets(place, SUSPECTS, bands, smallest))
    suspects = merge_buckets(_written(place, SUSPECTS))
    if len(suspects) == 0:
        return {}, Counter()
    _run(config, place, parts, HOT, CountBuckets(place, HOT, bands, 1, suspects.tobytes()))
    buckets = merge_buckets(_written(place, HOT))
    buckets = buckets[buckets["num_docs"] > MAX_SHUFFLED_ROWS]
    _run(config, place, parts, STAGE, LinkBuckets(place, buckets.tobytes()))
    return _hashes_by_band(buckets), _counts(buckets)


def frequent_hashes(hashes: npt.NDArray[np.uint64], smallest: int) -> npt.NDArray[np.uint64]:
    """The distinct hashes that occur at least `smallest` times."""
    bins = (hashes & np.uint64(0xFFFF)).astype(np.int64)
    hashes = hashes[(np.bincount(bins) >= smallest)[bins]]  # mostly none: 3 ns a row, a sort 14
    ordered = np.sort(hashes)
    ahead = ordered[smallest - 1 :]
    return np.unique(ahead[ahead == ordered[: len(ahead)]])


def count_buckets(
    band: int, hashes: npt.NDArray[np.uint64], ranks: np.ndarray, doc_ids: np.ndarray
) -> np.ndarray:
    """BUCKET rows of one band of one part, by hash."""
    order = np.lexsort((ranks, hashes))
    values, first, num_docs = np.unique(hashes[order], return_index=True, return_counts=True)
    buckets = np.empty(len(values), BUCKET)
    best = order[first]
    buckets["band"], buckets["hash"], buckets["num_docs"] = band, values, num_docs
    buckets["rank"], buckets["doc_id"] = ranks[best], doc_ids[best]
    return buckets


def merge_buckets(buckets: np.ndarray) -> np.ndarray:
    """BUCKET rows of several parts put together: documents summed, the best of the best."""
    buckets = buckets[np.lexsort((buckets["rank"], buckets["hash"], buckets["band"]))]
    first = np.flatnonzero(changes(buckets["band"]) | changes(buckets["hash"]))
    merged = buckets[first]
    if len(merged):
        merged["num_docs"] = np.add.reduceat(buckets["num_docs"], first)
    return merged


@dataclass(frozen=True, slots=True)
class CountBuckets:
    """Buckets of one part: those of at least `smallest` documents, or given ones of any size."""

    place: Workplace
    stage: str
    bands: list[int]
    smallest: int
    given: bytes | None = None

    def __call__(self, task: Task) -> Iterator[PartMarker]:
        part = Part(**task.payload)
        found = [np.empty(0, BUCKET)]
        for band, ranked, hashes in read_bands(self.place, part, self.bands):
            rows = np.isin(hashes, self._wanted(band, hashes))
            ranked, hashes = ranked[rows], hashes[rows]
            found.append(count_buckets(band, hashes, ranked["rank"], ranked["doc_id"]))
        path = _buckets_path(self.place, self.stage, task.part)
        objects.write(path, np.concatenate(found).tobytes())
        yield PartMarker(self.stage, task.part, task.recipe_id)

    def _wanted(self, band: int, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        if self.given is None:
            return frequent_hashes(hashes, self.smallest)
        return _hashes_by_band(np.frombuffer(self.given, BUCKET)).get(band, hashes[:0])


@dataclass(frozen=True, slots=True)
class LinkBuckets:
    """Pairs of one part's documents with the best documents of their hot buckets."""

    place: Workplace
    buckets: bytes

    def __call__(self, task: Task) -> Iterator[PartMarker]:
        part, buckets = Part(**task.payload), np.frombuffer(self.buckets, BUCKET)
        bands = np.unique(buckets["band"]).tolist()
        pieces = (
            (target, pairs.tobytes())
            for band, ranked, hashes in read_bands(self.place, part, bands)
            for new in [ranked["rank"] >= self.place.num_standing]
            for links in [
                _links(buckets[buckets["band"] == band], hashes[new], ranked["doc_id"][new])
            ]
            for target, pairs in split_by_part(links, links["b"])
        )
        written = write_pieces(self.place.work, STAGE, task.part, pieces)
        yield PartMarker(STAGE, task.part, task.recipe_id, [written])


def _links(
    buckets: np.ndarray, hashes: npt.NDArray[np.uint64], doc_ids: npt.NDArray[np.uint64]
) -> np.ndarray:
    """PAIR rows of documents and the best of their bucket; `buckets` of one band, by hash."""
    places = np.minimum(np.searchsorted(buckets["hash"], hashes), len(buckets) - 1)
    best = buckets["doc_id"][places]
    linked = (buckets["hash"][places] == hashes) & (best != doc_ids)
    return unique_pairs(canonical_pairs(best[linked], doc_ids[linked]))


def _run(
    config: CorpusConfig, place: Workplace, parts: Sequence[Part], stage: str, work: Work
) -> None:
    tasks = [Task(p.name, place.recipe_id, p.num_docs * 8, p.to_payload()) for p in parts]
    run_step(config.model_copy(update={"output": place.work}), stage, tasks, work)


def _written(place: Workplace, stage: str) -> np.ndarray:
    markers = commit.read_markers(place.work, stage)
    paths = [_buckets_path(place, stage, marker.part) for marker in markers]
    return np.concatenate([np.frombuffer(objects.read(path), BUCKET) for path in paths])


def _buckets_path(place: Workplace, stage: str, part: str) -> str:
    return objects.join(place.work, stage, f"{part}.buckets")


def _hashes_by_band(buckets: np.ndarray) -> HotHashes:
    bands = np.unique(buckets["band"]).tolist()
    return {band: buckets["hash"][buckets["band"] == band] for band in bands}


def _counts(buckets: np.ndarray) -> Counter[str]:
    sizes = buckets["num_docs"].astype(object)  # Python integers: squares of many millions
    return Counter(
        buckets=len(sizes),
        large_buckets=len(sizes),
        hot_buckets=len(sizes),
        largest_bucket=max(sizes, default=0),
        unexamined_pairs=sum(size * (size - 1) // 2 - (size - 1) for size in sizes),
    )
