"""Curated text as a product: the kept documents with their signals, one object per part and split.

    <folder>/<split>/<source>-<unit>-<part>.parquet    or .jsonl.zst
    <folder>/export.json                               what was written: a later export replaces it

`datasets.load_dataset("parquet" or "json", data_dir=folder)` reads the splits by their folders.
Columns: `text` (the view that pack tokenises), its origin, the final decision's split, and every
signal of every source: a source without a signal has nulls in Parquet; JSON Lines hold the signals
that all sources have. So all objects of an export have one schema. A column name that two groups
share is written `<group>.<column>`. MinHash signatures and embeddings stay out.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa
import zstandard

from filters.groups import Editor, SignalGroup
from pipelines.annotate import signals_stage, source_annotations
from pipelines.config import CorpusConfig
from pipelines.kept import KeptPart, iter_kept, kept_parts, read_rows
from pipelines.stages import Task, run_tasks
from storage import commit, objects, tables
from storage.commit import PartMarker, WrittenObject
from storage.errors import ConfigError, UserError

STAGE = "export-text"
LISTING = "export.json"
ORIGIN = pa.schema(
    [
        ("text", pa.large_string()),
        ("url", pa.string()),
        ("title", pa.string()),
        ("source", pa.string()),
        ("license", pa.string()),
        ("created", pa.string()),
        ("record", pa.string()),
        ("doc_id", pa.uint64()),
        ("split", pa.string()),
    ]
)
DOCUMENT_COLUMNS = [name for name in ORIGIN.names if name != "split"]
LEFT_OUT = ("minhash", "embedding")
SUFFIXES = {"parquet": ".parquet", "jsonl": ".jsonl.zst"}

WriteBatch = Callable[[pa.RecordBatch], None]


@dataclass(frozen=True, slots=True)
class SignalColumn:
    """A column of a signals table and its name in the export."""

    group: str
    column: str
    name: str
    type: pa.DataType

    @property
    def is_binary(self) -> bool:
        return pa.types.is_fixed_size_binary(self.type)

    @property
    def field(self) -> pa.Field:
        return pa.field(self.name, pa.string() if self.is_binary else self.type)


def run(config: CorpusConfig, folder: str, file_format: str = "parquet") -> str:
    """Writes the export into `folder`; returns a summary.

    Raises ConfigError for an unknown format, UserError for a folder that holds something else.
    """
    if file_format not in SUFFIXES:
        raise ConfigError(f"--format {file_format!r}: choose one of {', '.join(SUFFIXES)}")
    parts = [part for part in kept_parts(config) if part.num_kept]
    folder = folder.rstrip("/")
    _clear(folder)
    objects.delete_tree(config.path(commit.DONE, STAGE))
    tasks = [Task(part.name, "", part.num_bytes, part.to_json()) for part in parts]
    run_tasks(config, STAGE, tasks, ExportPart(config, folder, file_format))
    markers = commit.read_markers(config.output, STAGE)
    written = sorted(one.path for marker in markers for one in marker.objects)
    objects.write(objects.join(folder, LISTING), json.dumps(written, indent=1).encode())
    objects.delete_tree(config.path(commit.DONE, STAGE))
    counts: Counter[str] = Counter()
    for marker in markers:
        counts.update(marker.counts)
    assert sum(counts.values()) == sum(part.num_kept for part in parts)
    splits = ", ".join(f"{number:,} {split}" for split, number in sorted(counts.items()))
    return f"{folder}: {splits or 'no'} documents in {len(written)} files"


@dataclass(frozen=True, slots=True)
class ExportPart:
    """The work of one task: the kept documents of a part, by split."""

    config: CorpusConfig
    folder: str
    file_format: str

    def __call__(self, task: Task) -> Iterator[PartMarker]:
        part = KeptPart.from_json(task.payload)
        columns = signal_columns(self.config, self.file_format)
        schema = pa.schema([*ORIGIN, *(column.field for column in columns)])
        signals = _read_signals(self.config, part, columns)
        open_writer = _parquet_writer if self.file_format == "parquet" else _jsonl_writer
        counts: Counter[str] = Counter()
        paths: dict[str, str] = {}
        writers: dict[str, WriteBatch] = {}
        with ExitStack() as stack:
            for batch in iter_kept(self.config, part, DOCUMENT_COLUMNS):
                split = pa.array(batch.splits, pa.string())
                arrays = [*batch.documents.columns, split]
                arrays += [values.take(pa.array(batch.rows)) for values in signals]
                rows = pa.RecordBatch.from_arrays(arrays, schema=schema)
                for name, number in sorted(Counter(batch.splits).items()):
                    if name not in writers:
                        paths[name] = self._path(name, part)
                        target = objects.join(self.folder, paths[name])
                        writers[name] = open_writer(stack, target, schema)
                    writers[name](rows.filter(pa.array([one == name for one in batch.splits])))
                    counts[name] += number
        written = [
            WrittenObject(path, STAGE, part.name, counts[name], 0, "")
            for name, path in sorted(paths.items())
        ]
        yield PartMarker(STAGE, task.part, task.recipe_id, written, dict(counts))

    def _path(self, split: str, part: KeptPart) -> str:
        return f"{split}/{part.name.replace('/', '-')}{SUFFIXES[self.file_format]}"


def signal_columns(config: CorpusConfig, file_format: str) -> list[SignalColumn]:
    """The signals of all sources, without repetition, in the order of the sources.

    JSON Lines hold those that every source has: without a schema, a reader takes the type of a
    column from the first file, and a file of nulls would spoil it.
    """
    found: dict[tuple[str, str], pa.DataType] = {}
    sources: Counter[str] = Counter()
    for source in config.sources:
        for group in _groups(config, source.name):
            sources[group.name] += 1
            found.update({(group.name, field.name): field.type for field in group.schema})
    if file_format == "jsonl":
        found = {key: kind for key, kind in found.items() if sources[key[0]] == len(config.sources)}
    taken = Counter([*ORIGIN.names, *(column for _, column in found)])
    return [
        SignalColumn(group, column, f"{group}.{column}" if taken[column] > 1 else column, kind)
        for (group, column), kind in found.items()
    ]


def _groups(config: CorpusConfig, source: str) -> list[SignalGroup | Editor]:
    annotations = source_annotations(config, source)
    groups = (*annotations.signal_groups, *annotations.editors)
    return [group for group in groups if group.name not in LEFT_OUT]


def _read_signals(
    config: CorpusConfig, part: KeptPart, columns: list[SignalColumn]
) -> list[pa.Array]:
    """Each column of the part's rows; nulls for a group that its source does not have."""
    read: dict[str, pa.Table] = {}
    for group in _groups(config, part.source):
        folder = signals_stage(group.name)
        read[group.name] = read_rows(config, part, folder, group.schema.names)
    return [_column(read.get(column.group), column, part.num_docs) for column in columns]


def _column(table: pa.Table | None, column: SignalColumn, num_docs: int) -> pa.Array:
    if table is None:
        return pa.nulls(num_docs, column.field.type)
    values = table[column.column].combine_chunks()
    if column.is_binary:
        return pa.array([value.hex() for value in values.to_pylist()], pa.string())
    return values


def _clear(folder: str) -> None:
    """Removes an earlier export. Raises UserError when the folder holds anything else."""
    listing = objects.join(folder, LISTING)
    if objects.exists(listing):
        for path in json.loads(objects.read(listing)):
            objects.delete(objects.join(folder, path))
        objects.delete(listing)
    for info in objects.list_objects(folder):
        raise UserError(f"{folder} is not empty ({info.path}): name a new folder, or clear it")


def _parquet_writer(stack: ExitStack, path: str, schema: pa.Schema) -> WriteBatch:
    return stack.enter_context(tables.TableWriter(path, schema)).write


def _jsonl_writer(stack: ExitStack, path: str, schema: pa.Schema) -> WriteBatch:
    sink: BinaryIO = stack.enter_context(objects.open_write(path))
    compressor = zstandard.ZstdCompressor(level=3)
    stream = stack.enter_context(compressor.stream_writer(sink, closefd=False))
    lines = stack.enter_context(io.TextIOWrapper(stream, encoding="utf-8", newline="\n"))

    def write(batch: pa.RecordBatch) -> None:
        for row in batch.to_pylist():
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")

    return write
