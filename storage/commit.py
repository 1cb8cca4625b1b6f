"""What is finished: commit markers, recipe ids and fingerprints.

A part of a stage is finished only when `_done/<stage>/<part>.json` exists: it is written last and
names every object the part wrote. Readers follow markers, never listings of tables. Objects are
committed one by one by the storage layer (a rename, or one PUT), so a killed run leaves whole
objects without a marker, which the next run writes again with the same bytes.

Two hashes, not one:

- the *recipe id* of a part = hash(stage, its version, its settings, digests of its inputs)
  decides what a restart skips;
- the *fingerprint* of a corpus = hash of the sorted (table, part, digest) says what it holds.

Neither holds absolute paths, times, hosts or runner options.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import xxhash

from storage import objects
from storage.backend import printable
from storage.tables import TableStats

DONE = "_done"
LIST_THREADS = 16


@dataclass(frozen=True, slots=True)
class WrittenObject:
    path: str
    """Relative to the output."""
    table: str
    part: str
    rows: int
    bytes: int
    digest: str

    @classmethod
    def of_table(cls, table: str, part: str, stats: TableStats) -> WrittenObject:
        """The object `<table>/<part>.parquet`."""
        path = f"{table}/{part}.parquet"
        return cls(path, table, part, stats.rows, stats.bytes, stats.digest)


@dataclass(frozen=True, slots=True)
class PartMarker:
    stage: str
    part: str
    recipe_id: str
    objects: list[WrittenObject] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    """Busy time by step, for the report only: in no hash."""

    def object(self, table: str) -> WrittenObject:
        return next(written for written in self.objects if written.table == table)


def recipe_id(stage: str, version: int, settings: Any, inputs: Iterable[str]) -> str:
    """32 hex characters; `settings` is JSON-able and holds only what can change the output."""
    text = json.dumps([stage, version, settings, list(inputs)], sort_keys=True, ensure_ascii=True)
    return xxhash.xxh3_128_hexdigest(text.encode())


def marker_path(output: str, stage: str, part: str) -> str:
    return objects.join(output, DONE, stage, f"{part}.json")


def write_marker(output: str, marker: PartMarker) -> None:
    fields = asdict(marker)
    fields["checksum"] = _checksum(fields)
    data = json.dumps(fields, sort_keys=True, indent=1).encode()
    objects.write(marker_path(output, marker.stage, marker.part), data)


def read_marker(output: str, stage: str, part: str) -> PartMarker | None:
    try:
        return _read(marker_path(output, stage, part))
    except objects.ObjectNotFound:
        return None


def delete_marker(output: str, stage: str, part: str) -> None:
    objects.delete(marker_path(output, stage, part))


def read_markers(output: str, stage: str) -> list[PartMarker]:
    """All finished parts of a stage, sorted by part."""
    folder = objects.join(output, DONE, stage)
    paths = [info.path for info in objects.list_objects(folder) if info.path.endswith(".json")]
    with ThreadPoolExecutor(LIST_THREADS) as pool:
        markers = pool.map(_read, paths)
        return sorted(markers, key=lambda marker: marker.part)


def is_finished(output: str, stage: str, part: str, recipe_id: str) -> bool:
    marker = read_marker(output, stage, part)
    return marker is not None and marker.recipe_id == recipe_id


def fingerprint(markers: Iterable[PartMarker]) -> str:
    """Hash of the sorted (table, part, digest) of everything that the markers name."""
    rows = sorted(
        (written.table, written.part, written.digest)
        for marker in markers
        for written in marker.objects
    )
    return xxhash.xxh3_128_hexdigest(json.dumps(rows).encode())


def _read(path: str) -> PartMarker:
    data = objects.read(path)
    try:
        fields = json.loads(data)
        if fields.pop("checksum") != _checksum(fields):
            raise ValueError("its checksum is wrong")
        fields["objects"] = [WrittenObject(**written) for written in fields["objects"]]
        return PartMarker(**fields)
    except (ValueError, KeyError, TypeError) as error:
        raise objects.StorageError(
            f"{printable(path)} is no marker of a finished part ({printable(str(error))}); delete "
            "it, and the part is done again"
        ) from error


def _checksum(fields: dict[str, Any]) -> str:
    return xxhash.xxh3_64_hexdigest(json.dumps(fields, sort_keys=True).encode())
