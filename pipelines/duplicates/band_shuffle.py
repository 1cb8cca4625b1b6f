"""The one shuffle: packed rows of band hashes to candidate pairs, pass by pass.

    parts -> read the bands of the pass -> (key, packed rows) -> GroupByKey -> pairs in pieces

What crosses the barrier is bytes: 24 per document and band. Rows of hashes that too many documents
share stay out of it (pipelines.duplicates.hot_buckets). Each reducer writes the pairs of its
key as pieces for the part of their last document and commits a marker; nothing comes back
through Beam. A pass is finished when the driver has written its own marker, so a restart repeats
at most one pass.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
import numpy as np

from pipelines.config import CorpusConfig
from pipelines.duplicates import new_documents
from pipelines.duplicates.candidates import (
    ROW,
    Pass,
    merge_counts,
    pairs_of_rows,
    plan_passes,
    split_rows,
)
from pipelines.duplicates.competing import Part
from pipelines.duplicates.features import read_bands
from pipelines.duplicates.hot_buckets import HotHashes, link_hot_buckets
from pipelines.duplicates.pieces import split_by_part, write_pieces
from pipelines.runner import run_pipeline
from pipelines.workplace import Workplace, is_alone
from storage import commit, objects
from storage.commit import PartMarker

STAGE = "candidates"
PASSES = "passes"
TABLE = "candidates"


def run_passes(
    config: CorpusConfig, place: Workplace, parts: Sequence[Part], num_docs: int
) -> None:
    """Runs the passes that are not finished. `num_docs` is the number of ranked documents."""
    if place.num_standing:
        new_documents.write_hashes(config, place, parts)
    hot, counts = link_hot_buckets(config, place, parts, num_docs)
    commit.write_marker(place.work, PartMarker(STAGE, "hot", place.recipe_id, [], dict(counts)))
    finished = {marker.part for marker in commit.read_markers(place.work, PASSES)}
    dedup = config.dedup
    for number, one in enumerate(plan_passes(num_docs, dedup.bands, dedup.memory_bytes)):
        name = f"pass-{number:04d}"
        if name not in finished:
            _run_pass(config, place, parts, one, hot, name)
            commit.write_marker(place.work, PartMarker(PASSES, name, place.recipe_id))


def bucket_counts(place: Workplace) -> dict[str, int]:
    """The counts of `pairs_of_rows` over all keys of all passes, hot buckets included."""
    markers = commit.read_markers(place.work, STAGE)
    return dict(merge_counts([Counter(marker.counts) for marker in markers]))


def _run_pass(
    config: CorpusConfig,
    place: Workplace,
    parts: Sequence[Part],
    one: Pass,
    hot: HotHashes,
    name: str,
) -> None:
    order = sorted(parts, key=lambda part: (-part.num_docs, part.name))
    elements = [(index, json.dumps(part.to_payload())) for index, part in enumerate(order)]
    num_rows = sum(part.num_docs for part in parts) * len(one.bands) * one.num_keys
    num_bytes = num_rows * ROW.itemsize // one.num_slices

    objects.delete_tree(place.failures)
    if is_alone(config.runner, len(parts), num_bytes):
        _shuffle_here(place, order, one, hot, name)
        return
    read = ReadBands(place, one, hot)

    def build(pipeline: beam.Pipeline) -> None:
        _ = (
            pipeline
            | "Parts" >> beam.Create(elements, reshuffle=False)
            | "Spread" >> beam.GroupByKey()
            | "Read bands" >> beam.ParDo(read).with_output_types(tuple[int, bytes])
            | "By band hash" >> beam.GroupByKey()
            | "Write pairs" >> beam.ParDo(WritePairs(place, name))
        )

    run_pipeline(config.runner, build, num_tasks=len(parts), num_bytes=num_bytes)
    place.raise_recorded()


def _shuffle_here(
    place: Workplace, parts: Sequence[Part], one: Pass, hot: HotHashes, name: str
) -> None:
    """What the pipeline does, in this process: the rows of a pass are within its memory."""
    groups: dict[int, list[bytes]] = defaultdict(list)
    for part in parts:
        for key, rows in read_rows(place, one, hot, part):
            groups[key].append(rows)
    for key in sorted(groups):
        marker = write_pairs(place, key_name(name, key), groups.pop(key))
        commit.write_marker(place.work, marker)


def key_name(name: str, key: int) -> str:
    """The part that the marker of one key of a pass names."""
    return f"{name}/key-{key:08d}"


class ReadBands(beam.DoFn):
    """A part to the packed rows of its competing documents, by key."""

    def __init__(self, place: Workplace, one: Pass, hot: HotHashes) -> None:
        self._place, self._pass, self._hot = place, one, hot

    def process(self, element: tuple[int, Iterable[str]]) -> Iterator[tuple[int, bytes]]:
        for text in element[1]:
            part = Part(**json.loads(text))
            with self._place.recording(part.name):
                yield from read_rows(self._place, self._pass, self._hot, part)


class WritePairs(beam.DoFn):
    """All rows of a key to its candidate pairs, written and committed."""

    def __init__(self, place: Workplace, name: str) -> None:
        self._place, self._name = place, name

    def process(self, element: tuple[int, Iterable[bytes]]) -> None:
        key, values = element
        part = key_name(self._name, key)
        with self._place.recording(part):
            commit.write_marker(self._place.work, write_pairs(self._place, part, values))


def read_rows(
    place: Workplace, one: Pass, hot: HotHashes, part: Part
) -> Iterator[tuple[int, bytes]]:
    """(key, packed rows) of one part, for all bands of a pass; without the rows of hot hashes.

    Of documents that are decided, only rows that share their hash with an undecided one.
    """
    for band, ranked, hashes in read_bands(place, part, one.bands):
        if place.num_standing:
            rows = new_documents.concerned(place, band, ranked["rank"], hashes)
            ranked, hashes = ranked[rows], hashes[rows]
        if band in hot:
            cold = ~np.isin(hashes, hot[band])
            ranked, hashes = ranked[cold], hashes[cold]
        yield from split_rows(one, band, hashes, ranked["rank"], ranked["doc_id"])


def write_pairs(place: Workplace, part: str, values: Iterable[bytes]) -> PartMarker:
    """Writes the candidate pairs of one key's rows as pieces, by the part of their last document.

    The rows may come in any order.
    """
    counts: Counter[str] = Counter()
    rows = np.frombuffer(b"".join(values), ROW)
    pieces = (
        (target, pairs.tobytes())
        for chunk in pairs_of_rows(rows, counts, place.num_standing)
        for target, pairs in split_by_part(chunk, chunk["b"])
    )
    written = write_pieces(place.work, TABLE, part, pieces)
    return PartMarker(STAGE, part, place.recipe_id, [written], dict(sorted(counts.items())))
