"""The shuffle of units: packed rows by hash, in passes bounded by `dedup.memory_bytes`.

parts -> rows of the pass -> (key, packed rows) -> GroupByKey -> what each part cuts, in pieces
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipelines.config import CorpusConfig
from pipelines.duplicates.candidates import ROW as BAND_ROW
from pipelines.duplicates.candidates import Pass, plan_passes
from pipelines.duplicates.competing import Part
from pipelines.duplicates.pieces import write_pieces
from pipelines.repeats.groups import ROW, Rule, decide
from pipelines.runner import run_pipeline
from pipelines.workplace import Workplace
from storage import commit, objects
from storage.commit import PartMarker

if TYPE_CHECKING:
    import apache_beam as beam


def run(
    config: CorpusConfig, place: Workplace, parts: Sequence[Part], kind: str, rule: Rule
) -> None:
    """Decides all units below `rows_path`; what parts cut is left as pieces of a `cuts_stage`."""
    sizes = {part.name: objects.size(rows_path(place, kind, part.name)) for part in parts}
    num_rows = sum(sizes.values()) // BAND_ROW.itemsize
    for number, one in enumerate(plan_passes(num_rows, 1, config.dedup.memory_bytes)):
        name = f"{kind}/pass-{number:04d}"
        if commit.read_marker(place.work, "passes", name) is None:
            _run_pass(config, place, [part.name for part in parts], kind, one, rule)
            commit.write_marker(place.work, PartMarker("passes", name, place.recipe_id))


def rows_path(place: Workplace, kind: str, part: str) -> str:
    return objects.join(place.work, kind, f"{part}.rows")


def cuts_stage(kind: str) -> str:
    return f"cuts/{kind}"


def _run_pass(
    config: CorpusConfig,
    place: Workplace,
    parts: Sequence[str],
    kind: str,
    one: Pass,
    rule: Rule,
) -> None:
    elements = list(enumerate(parts))
    name = f"{kind}/{one.first_slice:08d}"

    import apache_beam as beam

    def build(pipeline: beam.Pipeline) -> None:
        _ = (
            pipeline
            | "Parts" >> beam.Create(elements, reshuffle=False)
            | "Spread" >> beam.GroupByKey()
            | "Read"
            >> beam.FlatMap(ReadRows(place, kind, one)).with_output_types(tuple[int, bytes])
            | "By hash" >> beam.GroupByKey()
            | "Decide" >> beam.FlatMap(Decide(place, kind, name, rule))
        )

    objects.delete_tree(place.failures)
    num_bytes = sum(objects.size(rows_path(place, kind, part)) for part in parts)
    run_pipeline(config.runner, build, num_tasks=len(parts), num_bytes=num_bytes)
    place.raise_recorded()


@dataclass(frozen=True, slots=True)
class ReadRows:
    """A part to the packed rows of its units, by key."""

    place: Workplace
    kind: str
    one: Pass

    def __call__(self, element: tuple[int, Iterable[str]]) -> Iterator[tuple[int, bytes]]:
        for part in element[1]:
            with self.place.recording(part):
                data = objects.read(rows_path(self.place, self.kind, part))
                yield from split_rows(np.frombuffer(data, ROW), self.one)


@dataclass(frozen=True, slots=True)
class Decide:
    """All rows of a key to what each part cuts, written and committed."""

    place: Workplace
    kind: str
    name: str
    rule: Rule

    def __call__(self, element: tuple[int, Iterable[bytes]]) -> Iterator[str]:
        key, values = element
        part = f"{self.name}/key-{key:08d}"
        with self.place.recording(part):
            parts, cuts = decide(np.frombuffer(b"".join(values), ROW), self.rule)
            order = np.argsort(parts, kind="stable")
            targets, starts = np.unique(parts[order], return_index=True)
            pieces = zip(targets.tolist(), np.split(cuts[order], starts[1:]), strict=False)
            stage = cuts_stage(self.kind)
            packed = ((target, mine.tobytes()) for target, mine in pieces)
            written = write_pieces(self.place.work, stage, part, packed)
            marker = PartMarker(stage, part, self.place.recipe_id, [written])
            commit.write_marker(self.place.work, marker)
        yield part


def split_rows(rows: np.ndarray, one: Pass) -> Iterator[tuple[int, bytes]]:
    """(key, packed rows) of one part, for the slices of the hash that the pass covers."""
    slices = (rows["high"] >> np.uint64(32)) * np.uint64(one.num_slices) >> np.uint64(32)
    keys = slices.astype(np.int64) - one.first_slice
    ends = np.searchsorted(keys, np.arange(one.num_keys + 1))  # rows ascend by hash
    for key in range(one.num_keys):
        if ends[key] < ends[key + 1]:
            yield one.first_slice + key, rows[ends[key] : ends[key + 1]].tobytes()
