"""The one shuffle: packed rows of band hashes to candidate pairs.

    parts -> read bands -> (key, packed rows) -> all rows of a key -> pairs in pieces

A row is 16 bytes for each document and band. Rows of hashes that too many documents share stay out
of it (pipelines.duplicates.hot_buckets). Each reducer writes the pairs of its key as pieces for the
part of their last document and commits a marker; nothing comes back through Beam.

How the rows of a key meet depends on the runner, and nothing else does:

- Dataflow, Flink and the like shuffle well: a GroupByKey, in passes within `dedup.memory_bytes`. A
  pass is finished when the driver has written its own marker, so a restart repeats at most one.
- FnApiRunner holds four to six times in memory what it shuffles, and starts its workers anew for
  each pass. So parts leave their rows in files, as pieces by key, and a second map-only step reads
  them: one pass, a process holds one part or one key, and the time is a quarter (RESULTS.md,
  "Dedup at scale"). The files take 16 bytes for each document and band until the step ends.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipelines.config import CorpusConfig, RunnerConfig
from pipelines.duplicates import new_documents
from pipelines.duplicates.candidates import (
    ROW,
    Pass,
    Rows,
    merge_counts,
    pairs_of_rows,
    plan_passes,
    split_rows,
    unpack_rows,
    whole_shuffle,
)
from pipelines.duplicates.competing import Part
from pipelines.duplicates.features import read_bands
from pipelines.duplicates.hot_buckets import HotHashes, link_hot_buckets
from pipelines.duplicates.pieces import Piece, pieces_by_target, split_by_part, write_pieces
from pipelines.runner import LOCAL, run_pipeline
from pipelines.stages import Task
from pipelines.workplace import Workplace, run_step
from storage import commit, objects
from storage.commit import PartMarker

if TYPE_CHECKING:
    import apache_beam as beam

STAGE = "candidates"
PASSES = "passes"
ROWS = "rows"
"""Files with the rows of parts."""
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
    num_bands, memory = config.dedup.bands, config.dedup.memory_bytes
    in_files = is_in_files(config.runner)
    passes = [whole_shuffle(num_docs, num_bands)] if in_files else []
    for number, one in enumerate(passes or plan_passes(num_docs, num_bands, memory)):
        name = f"pass-{number:04d}"
        if name not in finished:
            run_pass = _run_pass_in_files if in_files else _run_pass_on_beam
            run_pass(config, place, parts, one, hot, name)
            commit.write_marker(place.work, PartMarker(PASSES, name, place.recipe_id))
    objects.delete_tree(objects.join(place.work, ROWS))


def is_in_files(runner: RunnerConfig) -> bool:
    """Whether rows meet in files: where the runner would hold them in memory."""
    return runner.name == LOCAL


def bucket_counts(place: Workplace) -> dict[str, int]:
    """The counts of `pairs_of_rows` over all keys of all passes, hot buckets included."""
    markers = commit.read_markers(place.work, STAGE)
    return dict(merge_counts([Counter(marker.counts) for marker in markers]))


def _run_pass_on_beam(
    config: CorpusConfig,
    place: Workplace,
    parts: Sequence[Part],
    one: Pass,
    hot: HotHashes,
    name: str,
) -> None:
    import apache_beam as beam

    order = sorted(parts, key=lambda part: (-part.num_docs, part.name))
    elements = [(index, json.dumps(part.to_payload())) for index, part in enumerate(order)]
    num_rows = sum(part.num_docs for part in parts) * len(one.bands) * one.num_keys
    num_bytes = num_rows * ROW.itemsize // one.num_slices

    def build(pipeline: beam.Pipeline) -> None:
        _ = (
            pipeline
            | "Parts" >> beam.Create(elements, reshuffle=False)
            | "Spread" >> beam.GroupByKey()
            | "Read bands"
            >> beam.FlatMap(ReadBands(place, one, hot)).with_output_types(tuple[int, bytes])
            | "By band hash" >> beam.GroupByKey()
            | "Write pairs" >> beam.FlatMap(WritePairs(place, name))
        )

    objects.delete_tree(place.failures)
    run_pipeline(config.runner, build, num_tasks=len(parts), num_bytes=num_bytes)
    place.raise_recorded()


def _run_pass_in_files(
    config: CorpusConfig,
    place: Workplace,
    parts: Sequence[Part],
    one: Pass,
    hot: HotHashes,
    name: str,
) -> None:
    at_work = config.model_copy(update={"output": place.work})
    row_bytes = len(one.bands) * ROW.itemsize
    tasks = [
        Task(part.name, place.recipe_id, part.num_docs * row_bytes, part.to_payload())
        for part in parts
    ]
    run_step(at_work, ROWS, tasks, ScatterRows(place, one, hot))
    keys = pieces_by_target(place.work, commit.read_markers(place.work, ROWS), {})
    tasks = [
        Task(
            key_name(name, key),
            place.recipe_id,
            sum(piece.num_bytes for piece in pieces),
            {"pieces": [list(piece) for piece in pieces]},
        )
        for key, pieces in sorted(keys.items())
    ]
    run_step(at_work, STAGE, tasks, GatherRows(place))


@dataclass(frozen=True, slots=True)
class ScatterRows:
    """The rows of one part, as pieces by key."""

    place: Workplace
    one: Pass
    hot: HotHashes

    def __call__(self, task: Task) -> Iterator[PartMarker]:
        rows = read_rows(self.place, self.one, self.hot, Part(**task.payload))
        written = write_pieces(self.place.work, ROWS, task.part, rows)
        yield PartMarker(ROWS, task.part, task.recipe_id, [written])


@dataclass(frozen=True, slots=True)
class GatherRows:
    """All rows of one key, from the files of all parts, to its candidate pairs."""

    place: Workplace

    def __call__(self, task: Task) -> Iterator[PartMarker]:
        values = (Piece(*fields).read() for fields in task.payload["pieces"])
        yield write_pairs(self.place, task.part, values)


def key_name(name: str, key: int) -> str:
    """The part that the marker of one key of a pass names."""
    return f"{name}/key-{key:08d}"


@dataclass(frozen=True, slots=True)
class ReadBands:
    """A part to the packed rows of its competing documents, by key."""

    place: Workplace
    one: Pass
    hot: HotHashes

    def __call__(self, element: tuple[int, Iterable[str]]) -> Iterator[tuple[int, bytes]]:
        for text in element[1]:
            part = Part(**json.loads(text))
            with self.place.recording(part.name):
                yield from read_rows(self.place, self.one, self.hot, part)


@dataclass(frozen=True, slots=True)
class WritePairs:
    """All rows of a key to its candidate pairs, written and committed."""

    place: Workplace
    name: str

    def __call__(self, element: tuple[int, Iterable[bytes]]) -> Iterator[str]:
        key, values = element
        part = key_name(self.name, key)
        with self.place.recording(part):
            commit.write_marker(self.place.work, write_pairs(self.place, part, values))
        yield part


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
        rows = Rows(hashes, ranked["rank"], ranked["doc_id"])
        yield from split_rows(one, band, part.address, rows)


def write_pairs(place: Workplace, part: str, values: Iterable[bytes]) -> PartMarker:
    """Writes the candidate pairs of one key's rows as pieces, by the part of their last document.

    The rows may come in any order.
    """
    counts: Counter[str] = Counter()
    pieces = (
        (target, pairs.tobytes())
        for chunk in pairs_of_rows(unpack_rows(values), counts, place.num_standing)
        for target, pairs in split_by_part(chunk, chunk["b"])
    )
    written = write_pieces(place.work, TABLE, part, pieces)
    return PartMarker(STAGE, part, place.recipe_id, [written], dict(sorted(counts.items())))
