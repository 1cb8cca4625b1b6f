"""Stage `ingest`: raw files -> documents and casualties, with signals and edits on the way.

Map-only over parts of raw files. A large file that can be entered in the middle gives one task per
part; otherwise one task reads the files of a unit in turn and cuts parts by decompressed offset,
running past the parts that an earlier, killed run has finished (taking a record is cheap, parsing
it is not). Annotation is fused: the text of a batch is in memory once.

Accounting, per part: raw records = documents + casualties + named skips.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import xxhash

from filters import pii, public_suffix
from pipelines.config import CorpusConfig
from pipelines.documents_part import CASUALTY_PREFIX, SKIP_PREFIX, DocumentsPart
from pipelines.registry import RawFile, Unit, update_registry
from pipelines.sources import SourceFormat, load_source
from pipelines.sources.records import WHOLE_FILE, PartRange, RawRecord, Skip
from pipelines.stages import Slice, Task, run_tasks
from storage import commit
from storage.addresses import MAX_PARTS, part_name
from storage.commit import PartMarker
from storage.errors import ConfigError

STAGE = "ingest"
VERSION = 2
PARTS = "parts"
"""Count in the marker of a unit that one task reads."""


def run(config: CorpusConfig, only: Slice | None = None) -> None:
    """Ingests what is not ingested yet. Raises ConfigError, StorageError, StageError."""
    tasks = plan(config, update_registry(config))
    _forget_stale_parts(config, tasks)
    run_tasks(config, STAGE, tasks, IngestUnit(config), only)
    if only is None:
        for marker in document_parts(config):
            check_accounting(marker)


def plan(config: CorpusConfig, units: list[Unit]) -> list[Task]:
    """One task per part of a file that can be entered, else one per unit."""
    return [task for unit in units for task in _plan_unit(config, unit)]


def document_parts(config: CorpusConfig) -> list[PartMarker]:
    """The finished parts that hold documents, of the configured sources, sorted by part."""
    names = {source.name for source in config.sources}
    return [
        marker
        for marker in commit.read_markers(config.output, STAGE)
        if marker.part.split("/")[0] in names
        and any(written.table == "documents" for written in marker.objects)
    ]


def check_accounting(marker: PartMarker) -> None:
    """raw records = documents + casualties + named skips, for one part."""
    counts = marker.counts
    explained = counts["documents"] + sum(
        number for name, number in counts.items() if name.startswith((SKIP_PREFIX, CASUALTY_PREFIX))
    )
    assert counts["records"] == explained, f"{marker.part}: {counts} does not add up"


def _plan_unit(config: CorpusConfig, unit: Unit) -> list[Task]:
    source = config.source(unit.source)
    part_bytes = config.ingest.part_bytes
    settings = {
        "format": source.format,
        "options": source.options,
        "license": source.license,
        "sample": config.sample,
        "part_bytes": part_bytes,
        "max_document_bytes": config.ingest.max_document_bytes,
    }
    if config.ingest.redact:
        settings["redact"] = [pii.VERSION, public_suffix.LIST_VERSION]
    inputs = [f"{file.path}:{file.num_bytes}" for file in unit.files]
    recipe = commit.recipe_id(STAGE, VERSION, settings, inputs)
    files = [[file.path, file.location, file.num_bytes] for file in unit.files]
    payload = {"unit": unit.number, "source": unit.source, "files": files}
    reader = load_source(source.format, source.options, source.name)
    enterable = len(files) == 1 and unit.num_bytes > part_bytes
    if enterable and reader.can_enter(unit.files[0].location):
        starts = range(0, unit.num_bytes, part_bytes)
        if len(starts) > MAX_PARTS:
            raise ConfigError(
                f"{unit.files[0].location} has {len(starts)} parts of {part_bytes} bytes, "
                f"{MAX_PARTS} at most; raise ingest.part_bytes"
            )
        return [
            Task(
                f"{unit.source}/{part_name(unit.number, part)}",
                recipe,
                min(part_bytes, unit.num_bytes - start),
                {**payload, "part": part, "range": [start, start + part_bytes]},
            )
            for part, start in enumerate(starts)
        ]
    return [Task(f"{unit.source}/{unit.number:07d}", recipe, unit.num_bytes, payload)]


def _forget_stale_parts(config: CorpusConfig, tasks: list[Task]) -> None:
    """Removes markers of units whose recipe changed, because their parts may be cut elsewhere now.

    So too the marker of a unit that lacks a part: somebody deleted it to have it written again.
    """
    recipes = {_unit_of(task.part): task.recipe_id for task in tasks}
    markers = commit.read_markers(config.output, STAGE)
    num_parts = Counter(_unit_of(one.part) for one in markers if _unit_of(one.part) != one.part)
    for marker in markers:
        changed = recipes.get(_unit_of(marker.part), marker.recipe_id) != marker.recipe_id
        if changed or marker.counts.get(PARTS, num_parts[marker.part]) != num_parts[marker.part]:
            commit.delete_marker(config.output, STAGE, marker.part)


def _unit_of(part: str) -> str:
    source, _, name = part.partition("/")
    return f"{source}/{name.partition('-')[0]}"


@dataclass(frozen=True, slots=True)
class IngestUnit:
    """The work of one task."""

    config: CorpusConfig

    def __call__(self, task: Task) -> Iterator[PartMarker]:
        files = [RawFile(*file) for file in task.payload["files"]]
        source = self.config.source(task.payload["source"])
        reader = load_source(source.format, source.options, source.name)
        if "part" in task.payload:
            number, (start, end) = task.payload["part"], task.payload["range"]
            records = self._read(reader, files[0], PartRange(start, end))
            yield self._write_part(task, number, (record for _, record in records))
            return
        yield from self._read_in_turn(task, reader, files)

    def _read_in_turn(
        self, task: Task, reader: SourceFormat, files: list[RawFile]
    ) -> Iterator[PartMarker]:
        """Cuts the records of a unit's files into parts; skips parts that are finished."""
        num_parts = 0
        for number, records in _cut_parts(
            self._read_files(reader, files), self.config.ingest.part_bytes
        ):
            num_parts += 1
            name = f"{task.payload['source']}/{part_name(task.payload['unit'], number)}"
            if commit.is_finished(self.config.output, STAGE, name, task.recipe_id):
                continue
            yield self._write_part(task, number, records)
        yield PartMarker(STAGE, task.part, task.recipe_id, counts={PARTS: num_parts})

    def _read_files(
        self, reader: SourceFormat, files: list[RawFile]
    ) -> Iterator[tuple[int, RawRecord]]:
        """(coordinate within the unit, record); each file goes on where the last one ended."""
        base = 0
        for file in files:
            coordinate = base
            for coordinate, record in self._read(reader, file, WHOLE_FILE, base):
                yield coordinate, record
            base = coordinate

    def _read(
        self, reader: SourceFormat, file: RawFile, part: PartRange, base: int = 0
    ) -> Iterator[tuple[int, RawRecord]]:
        limit = self.config.ingest.max_document_bytes
        for record in reader.read(file.location, file.path, part, limit):
            yield base + record.offset, _sampled(self.config.sample, file.path, record)

    def _write_part(self, task: Task, number: int, records: Iterable[RawRecord]) -> PartMarker:
        source, unit = task.payload["source"], task.payload["unit"]
        with DocumentsPart(self.config, source, unit, number) as part:
            for record in records:
                part.add(record.parse())
        name = f"{source}/{part_name(unit, number)}"
        for marker in part.annotation_markers:
            commit.write_marker(self.config.output, marker)
        return PartMarker(
            STAGE, name, task.recipe_id, part.written, dict(sorted(part.counts.items()))
        )


def _sampled(share: float, path: str, record: RawRecord) -> RawRecord:
    if share >= 1:
        return record
    if xxhash.xxh3_64_intdigest(f"{path}#{record.offset}".encode()) < share * 2**64:
        return record
    return RawRecord(record.offset, lambda: Skip("not_sampled"))


def _cut_parts(
    records: Iterator[tuple[int, RawRecord]], part_bytes: int
) -> Iterator[tuple[int, Iterator[RawRecord]]]:
    """Groups consecutive records by `coordinate // part_bytes`; unread rests are run past."""
    pending = next(records, None)

    def members(number: int) -> Iterator[RawRecord]:
        nonlocal pending
        while pending is not None and pending[0] // part_bytes == number:
            record = pending[1]
            pending = None
            yield record
            pending = next(records, None)

    while pending is not None:
        number = pending[0] // part_bytes
        group = members(number)
        yield number, group
        for _ in group:
            pass
