"""`registry.parquet`: which raw files belong to which unit, fixed before any work.

A unit is one large raw file or a run of small ones of one source, up to `ingest.unit_bytes`. The
registry is append-only: files that come later become new units, and no unit is ever renumbered,
because unit numbers are part of document ids. Raw files are immutable: one whose size changed, or
that the corpus file no longer names, stops the run.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import PurePosixPath

import pyarrow as pa

from pipelines.config import CorpusConfig, SourceConfig
from pipelines.sources import SourceFormat, load_source
from storage import objects, tables
from storage.addresses import MAX_UNITS
from storage.errors import ConfigError

REGISTRY = "registry.parquet"
SCHEMA = pa.schema(
    [
        ("unit", pa.uint32()),
        ("source", pa.string()),
        ("path", pa.string()),  # relative to the source's root
        ("bytes", pa.uint64()),
    ]
)
GLOB_CHARACTERS = "*?"


@dataclass(frozen=True, slots=True)
class RawFile:
    path: str
    """Relative to the source's root; the start of every `record` address."""
    location: str
    """Where it can be opened now; in no hash and no table."""
    num_bytes: int


@dataclass(frozen=True, slots=True)
class Unit:
    number: int
    source: str
    files: tuple[RawFile, ...]

    @property
    def num_bytes(self) -> int:
        return sum(file.num_bytes for file in self.files)


def update_registry(config: CorpusConfig) -> list[Unit]:
    """Lists the raw files, appends new ones as new units, returns all units of the config.

    Raises ConfigError for an empty source, a changed or vanished file, StorageError for a path
    that does not exist.
    """
    registered = _read(config)
    next_unit = max((unit for unit, *_ in registered), default=-1) + 1
    known = {(source, path): (unit, size) for unit, source, path, size in registered}
    units: list[Unit] = []
    rows = list(registered)
    for source in config.sources:
        files = list_files(source)
        _check_unchanged(config, source, files, known)
        new = [file for path, file in files.items() if (source.name, path) not in known]
        for group in _group_small(new, config.ingest.unit_bytes):
            rows += [(next_unit, source.name, file.path, file.num_bytes) for file in group]
            next_unit += 1
        units += _units_of(source.name, files, rows)
    if next_unit > MAX_UNITS:
        raise ConfigError(f"{next_unit} units do not fit document ids; raise ingest.unit_bytes")
    if len(rows) > len(registered):
        _write(config, rows)
    return units


def list_files(source: SourceConfig) -> dict[str, RawFile]:
    """Raw files of a source by relative path, in sorted order.

    Of a folder the files with an ending of the source's format are taken; what is passed over is
    said on stderr.
    """
    found: dict[str, RawFile] = {}
    source_format = load_source(source.format, source.options, source.name)
    for pattern in source.paths:
        root = _root(pattern)
        for info in _expand(source, pattern, source_format):
            path = _relative(info.path, root, source.name)
            if path in found and found[path].location != info.path:
                raise ConfigError(
                    f"source {source.name!r}: {found[path].location} and {info.path} are both "
                    f"{path!r} below their roots; put them in two sources"
                )
            found[path] = RawFile(path, info.path, info.size)
    if not any(file.num_bytes for file in found.values()):
        raise ConfigError(f"source {source.name!r}: {', '.join(source.paths)} holds no data")
    return dict(sorted(found.items()))


def _expand(
    source: SourceConfig, pattern: str, source_format: SourceFormat
) -> list[objects.ObjectInfo]:
    try:
        infos = objects.expand(pattern)
    except objects.ObjectNotFound as error:
        raise ConfigError(f"source {source.name!r}: {error}") from error
    if any(char in pattern for char in GLOB_CHARACTERS) or infos[0].path == pattern:
        return infos
    taken = [info for info in infos if source_format.takes(info.path)]
    if len(taken) < len(infos):
        other = next(info.path for info in infos if not source_format.takes(info.path))
        print(
            f"source {source.name!r}: {len(infos) - len(taken)} of {len(infos)} files in {pattern} "
            f"have no ending of format {source.format!r} and are not read, as {other}; "
            "name them by a glob to read them",
            file=sys.stderr,
        )
    return taken


def _root(pattern: str) -> str:
    """The folder before the first glob character, or the pattern itself (a file or a folder)."""
    first = min((pattern.find(char) for char in GLOB_CHARACTERS if char in pattern), default=-1)
    return pattern.rstrip("/") if first < 0 else pattern[:first].rpartition("/")[0]


def _relative(path: str, root: str, source: str) -> str:
    if path == root:
        return PurePosixPath(path).name
    assert path.startswith(root), f"{path} is outside the root {root} of source {source}"
    return path[len(root) :].lstrip("/")


def _check_unchanged(
    config: CorpusConfig,
    source: SourceConfig,
    files: dict[str, RawFile],
    known: dict[tuple[str, str], tuple[int, int]],
) -> None:
    for (name, path), (_, size) in known.items():
        if name != source.name:
            continue
        if path not in files:
            raise ConfigError(
                f"source {name!r}: {path!r} is in {config.path(REGISTRY)} but no longer among its "
                "files; put it back, or start a new output"
            )
        if files[path].num_bytes != size:
            raise ConfigError(
                f"source {name!r}: {files[path].location} has {files[path].num_bytes} bytes, "
                f"{size} when it was registered; give the new content a new name"
            )


def _group_small(files: list[RawFile], unit_bytes: int) -> list[list[RawFile]]:
    """Consecutive files up to `unit_bytes` together; a larger one alone."""
    groups: list[list[RawFile]] = []
    filled = 0
    for file in files:
        if not groups or filled + file.num_bytes > unit_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(file)
        filled += file.num_bytes
    return groups


def _units_of(
    source: str, files: dict[str, RawFile], rows: list[tuple[int, str, str, int]]
) -> list[Unit]:
    members: dict[int, list[RawFile]] = {}
    for unit, name, path, _ in rows:
        if name == source:
            members.setdefault(unit, []).append(files[path])
    return [Unit(unit, source, tuple(group)) for unit, group in sorted(members.items())]


def _read(config: CorpusConfig) -> list[tuple[int, str, str, int]]:
    path = config.path(REGISTRY)
    if not objects.exists(path):
        return []
    columns = tables.read_table(path, SCHEMA.names).to_pydict()
    return list(zip(*(columns[name] for name in SCHEMA.names), strict=True))


def _write(config: CorpusConfig, rows: list[tuple[int, str, str, int]]) -> None:
    columns = zip(*rows, strict=True)
    table = pa.Table.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)],
        schema=SCHEMA,
    )
    tables.write_table(config.path(REGISTRY), table, SCHEMA)
