"""The tables of a corpus: Parquet with zstd, written atomically, read in bounded batches.

Rows of one part are aligned across its tables: row i of `signals/text/web/0000000-0000.parquet`
describes row i of `documents/web/0000000-0000.parquet`. The schemas here are the contract that
other tools rely on; docs/tables.md explains them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from storage import objects
from storage.backend import printable
from storage.digest import TableDigest

MAX_BATCH_ROWS = 1024
MAX_BATCH_BYTES = 8 << 20
ZSTD_LEVEL = 3
MAX_REASON_CHARS = 200
ID_COLUMNS = {"doc_id", "doc_a", "doc_b", "cluster", "survivor"}
USE_THREADS = False
"""A thread of Arrow that lets go of a Python file while the interpreter ends aborts the process
(one in six runs of a command that reads and exits); workers are one per core anyway."""

DOCUMENTS = pa.schema(
    [
        ("doc_id", pa.uint64()),
        ("text", pa.large_string()),
        ("source", pa.string()),
        ("record", pa.string()),
        ("url", pa.string()),
        ("title", pa.string()),
        ("license", pa.string()),
        ("created", pa.string()),
        ("meta", pa.map_(pa.string(), pa.string())),
    ]
)
CASUALTIES = pa.schema([("record", pa.string()), ("kind", pa.string()), ("message", pa.string())])
EDITS = pa.schema(
    [
        ("row", pa.uint32()),
        ("start", pa.uint64()),
        ("end", pa.uint64()),
        ("replacement", pa.large_string()),
        ("reason", pa.string()),
    ]
)
PAIRS = pa.schema(
    [
        ("doc_a", pa.uint64()),
        ("doc_b", pa.uint64()),
        ("jaccard", pa.float64()),
        ("method", pa.string()),
        ("view", pa.string()),
    ]
)
DECISION = pa.schema(
    [
        pa.field("doc_id", pa.uint64(), nullable=False),
        pa.field("drop", pa.bool_(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
    ]
)
FINAL = pa.schema(
    [
        ("doc_id", pa.uint64()),
        ("kept", pa.bool_()),
        ("reason", pa.string()),
        ("stage", pa.string()),
        ("split", pa.string()),
        ("cluster", pa.uint64()),
        ("survivor", pa.uint64()),
        ("similarity", pa.float64()),
        ("num_copies", pa.uint32()),  # of a kept document: itself and those dropped for it
    ]
)


class Layout(NamedTuple):
    """How a table is stored: what it costs to read, never what it holds."""

    compression: Literal["zstd", "lz4"]
    row_group_bytes: int
    """In memory."""


TEXT = Layout("zstd", 8 << 20)
"""Row groups so small that whoever wants a few documents reads a fraction of a part."""
NUMBERS = Layout("lz4", 32 << 20)
"""For tables that are read whole and often: 26 counts a document take two thirds of zstd's time,
and a fifth more room, which is below 1 % of the text that they describe."""


@dataclass(frozen=True, slots=True)
class TableStats:
    rows: int
    bytes: int
    digest: str


class TableWriter:
    """Writes one Parquet object; nothing is visible until the `with` block ends cleanly."""

    def __init__(
        self,
        path: str,
        schema: pa.Schema,
        metadata: dict[str, str] | None = None,
        layout: Layout = TEXT,
    ) -> None:
        """Columns that are dictionaries of strings in `schema` are stored as the strings."""
        self._path = path
        self._layout = layout
        self.metadata = dict(metadata or {})
        """Stored with the file; may be completed until the `with` block ends."""
        self._schema = schema.remove_metadata()
        self._digest = TableDigest(schema)
        self._pending: list[pa.RecordBatch] = []
        self._pending_bytes = 0
        self._rows = 0
        self._stack = ExitStack()
        self._stats: TableStats | None = None

    @property
    def stats(self) -> TableStats:
        """Rows, bytes and content digest; there only after a clean end."""
        assert self._stats is not None, f"{self._path} is not finished"
        return self._stats

    def __enter__(self) -> Self:
        self._sink = self._stack.enter_context(objects.open_write(self._path))
        compression = self._layout.compression
        has_dictionary = any(pa.types.is_dictionary(kind) for kind in self._schema.types)
        self._parquet = pq.ParquetWriter(
            self._sink,
            self._schema,
            store_schema=not has_dictionary,  # or they would be read as dictionaries
            compression=compression,
            compression_level=ZSTD_LEVEL if compression == "zstd" else None,
            use_dictionary=_repeating_columns(self._schema),  # pyright: ignore
            column_encoding=dict.fromkeys(_id_columns(self._schema), "DELTA_BINARY_PACKED"),
            write_page_checksum=True,
            write_statistics=False,  # nobody asks for them, and no checksum covers them
        )
        return self

    def write(self, batch: pa.RecordBatch) -> None:
        if batch.num_rows == 0:
            return
        batch = batch.cast(self._schema)
        self._digest.update(batch)
        self._rows += batch.num_rows
        self._pending.append(batch)
        self._pending_bytes += batch.nbytes
        if self._pending_bytes >= self._layout.row_group_bytes:
            self._flush()

    def close(self) -> None:
        """Commits the object; the end of the `with` block does the same."""
        if self._stats is not None:
            return
        with self._stack:
            self._flush()
            self._parquet.add_key_value_metadata(self.metadata)
            self._parquet.close()
            num_bytes = self._sink.tell()
        self._stats = TableStats(self._rows, num_bytes, self._digest.hexdigest())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        elif self._stats is None:
            self._parquet.is_open = False  # its finaliser would write to the aborted sink
            self._stack.__exit__(kind, error, trace)

    def _flush(self) -> None:
        if self._pending:
            self._parquet.write_table(pa.Table.from_batches(self._pending, self._schema))
        self._pending, self._pending_bytes = [], 0


def write_table(
    path: str,
    rows: pa.Table | Iterable[pa.RecordBatch],
    schema: pa.Schema,
    metadata: dict[str, str] | None = None,
    layout: Layout = TEXT,
) -> TableStats:
    """Writes `rows` as one object and returns its rows, bytes and content digest."""
    batches = rows.to_batches() if isinstance(rows, pa.Table) else rows  # pyright: ignore
    with TableWriter(path, schema, metadata, layout) as writer:
        for batch in batches:
            writer.write(batch)
    return writer.stats


@contextmanager
def open_table(path: str, encoded: Sequence[str] = ()) -> Iterator[pq.ParquetFile]:
    """A Parquet file on any storage, whose pages are checked as they are read.

    Raises StorageError, from here and from the `with` block, when it is damaged.
    """
    try:
        handle = objects.open_read(path)
        with pq.ParquetFile(
            handle,
            pre_buffer=False,
            page_checksum_verification=True,
            read_dictionary=list(encoded) or None,
        ) as parquet:
            yield parquet
    except (pa.ArrowException, OSError) as error:
        reason = printable(" ".join(str(error).split())[:MAX_REASON_CHARS])
        raise objects.StorageError(
            f"{printable(path)} is not a readable Parquet file: {reason}; restore it, or delete "
            "its marker below _done/ and run again"
        ) from error


def read_table(
    path: str, columns: list[str] | None = None, encoded: Sequence[str] = ()
) -> pa.Table:
    """The whole table, columns in the order asked for. Raises StorageError.

    `encoded`: columns of strings to give as dictionary arrays, which takes a fifth of the time.
    """
    with open_table(path, encoded) as parquet:
        _require_columns(path, parquet, columns)
        table = parquet.read(columns, use_threads=USE_THREADS)
    return table.select(columns) if columns else table


def iter_batches(
    path: str,
    columns: list[str] | None = None,
    max_rows: int = MAX_BATCH_ROWS,
    max_bytes: int = MAX_BATCH_BYTES,
) -> Iterator[pa.RecordBatch]:
    """Batches of at most `max_rows` rows and about `max_bytes`; one larger row comes alone."""
    with open_table(path) as parquet:
        _require_columns(path, parquet, columns)
        for batch in parquet.iter_batches(
            batch_size=max_rows, columns=columns, use_threads=USE_THREADS
        ):
            if columns:
                batch = batch.select(columns)
            yield from split_batch(batch, max_bytes)


def iter_batches_with(
    path: str, rows: npt.NDArray[np.int64], columns: list[str]
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Batches of the row groups that hold any of `rows`, ascending; each after its first row."""
    with open_table(path) as parquet:
        _require_columns(path, parquet, columns)
        groups = range(parquet.num_row_groups)
        sizes = [parquet.metadata.row_group(group).num_rows for group in groups]
        starts = np.cumsum([0, *sizes])
        for group in np.unique(np.searchsorted(starts, rows, side="right") - 1).tolist():
            start = int(starts[group])
            for read in parquet.iter_batches(
                MAX_BATCH_ROWS, row_groups=[group], columns=columns, use_threads=USE_THREADS
            ):
                for batch in split_batch(read.select(columns)):
                    yield start, batch
                    start += batch.num_rows


def _repeating_columns(schema: pa.Schema) -> list[str]:
    """Paths of columns that a dictionary may shorten: not those of hashes, ids and scores.

    A dictionary of values that never repeat costs half the time of a write, and is given up.
    """
    paths = []
    for field in schema:
        if isinstance(field.type, pa.MapType):
            paths += [f"{field.name}.key_value.key", f"{field.name}.key_value.value"]
        elif not (
            pa.types.is_uint64(field.type)
            or pa.types.is_float64(field.type)
            or pa.types.is_fixed_size_binary(field.type)
            or pa.types.is_nested(field.type)
        ):
            paths.append(field.name)
    return paths


def _id_columns(schema: pa.Schema) -> list[str]:
    """Columns of document ids: neighbours are close, so a decision takes half the time to write."""
    return [one.name for one in schema if one.name in ID_COLUMNS and pa.types.is_uint64(one.type)]


def _require_columns(path: str, parquet: pq.ParquetFile, columns: list[str] | None) -> None:
    missing = [name for name in columns or [] if name not in parquet.schema_arrow.names]
    if missing:
        raise objects.StorageError(f"{printable(path)} has no column {missing[0]!r}")


def split_batch(
    batch: pa.RecordBatch, max_bytes: int = MAX_BATCH_BYTES
) -> Iterator[pa.RecordBatch]:
    """Halves a batch until each piece has at most `max_bytes` or one row."""
    if batch.num_rows <= 1 or batch.nbytes <= max_bytes:
        yield batch
        return
    half = batch.num_rows // 2
    yield from split_batch(batch.slice(0, half), max_bytes)
    yield from split_batch(batch.slice(half), max_bytes)
