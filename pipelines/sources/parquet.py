"""Parquet: one document per row, with the field names of JSON Lines.

Only the columns that can matter are read, a few megabytes of a row group at a time. Parts are cut
between row groups. A file without a readable footer is one casualty, and so is what is left of a
row group behind a damaged page.

Address: `path#row=n`, counted from the start of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.sources.encoding import decode_utf8
from pipelines.sources.fields import TEXT, FieldOptions, to_document
from pipelines.sources.records import Casualty, Outcome, PartRange, RawRecord, casualty
from storage import objects
from storage.settings import ConfigError

SUFFIXES = (".parquet", ".pq")
MAX_BATCH_BYTES = 8 << 20
MAX_BATCH_ROWS = 1024
_READ_ERRORS = (pa.ArrowException, OSError)


class Options(FieldOptions):
    """Names of the columns; see FieldOptions."""


@dataclass(frozen=True, slots=True)
class _RowGroup:
    offset: int
    index: int
    first_row: int
    num_rows: int
    num_bytes: int
    """Uncompressed."""


def can_enter(path: str, options: Options) -> bool:
    """Always: the footer says where row groups are."""
    return True


def read(
    path: str, record_prefix: str, part: PartRange, options: Options, max_document_bytes: int
) -> Iterator[RawRecord]:
    """The rows of the row groups of `path` that start in `part`."""
    size = objects.size(path)
    with objects.open_read(path) as source:
        try:
            file = pq.ParquetFile(source)
            names = file.schema_arrow.names
        except (*_READ_ERRORS, UnicodeDecodeError) as error:
            if 0 in part:
                yield casualty(0, record_prefix, "corrupt", f"no Parquet footer: {error}")
            return
        columns = _columns(names, options, path)
        for group in _row_groups(file.metadata, size):
            if group.offset in part:
                yield from _read_group(
                    file, group, columns, record_prefix, options, max_document_bytes
                )


def _columns(columns: list[str], options: Options, path: str) -> list[str]:
    """Top-level columns that hold a field. Raises ConfigError when none holds the text."""
    text = [options.text_field] if options.text_field else list(TEXT)
    if not any(_top_level(name, columns) for name in text):
        raise ConfigError(
            f"{path} has no column {' or '.join(map(repr, text))} "
            f"(it has {', '.join(columns[:20])}); name it with text_field"
        )
    found = (_top_level(name, columns) for name in options.names())
    return sorted({name for name in found if name})


def _top_level(name: str, columns: list[str]) -> str:
    return next((top for top in (name, name.partition(".")[0]) if top in columns), "")


def _row_groups(metadata: pq.FileMetaData, size: int) -> Iterator[_RowGroup]:
    """The row groups in order, spread over the bytes of the file in proportion to their size.

    Their true offsets stand in the column metadata, but pyarrow aborts the process when those are
    damaged; and any placing that all parts agree on will do.
    """
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    sizes = [max(1, group.total_byte_size) for group in groups]
    total = sum(sizes)
    first_row = position = 0
    for index, (group, num_bytes) in enumerate(zip(groups, sizes, strict=True)):
        offset = size * position // total
        yield _RowGroup(offset, index, first_row, group.num_rows, num_bytes)
        first_row += group.num_rows
        position += num_bytes


def _read_group(
    file: pq.ParquetFile,
    group: _RowGroup,
    columns: list[str],
    record_prefix: str,
    options: Options,
    max_document_bytes: int,
) -> Iterator[RawRecord]:
    row = group.first_row
    row_bytes = max(1, group.num_bytes // max(1, group.num_rows))
    batch_rows = min(MAX_BATCH_ROWS, max(1, MAX_BATCH_BYTES // row_bytes))
    try:
        for batch in file.iter_batches(batch_rows, row_groups=[group.index], columns=columns):
            for index in range(batch.num_rows):
                record = f"{record_prefix}#row={row}"
                parse = partial(parse_row, batch, index, record, options, max_document_bytes)
                yield RawRecord(group.offset, parse)
                row += 1
    except _READ_ERRORS as error:
        record = f"{record_prefix}#row={row}"
        num_lost = group.first_row + group.num_rows - row
        message = f"{num_lost} rows of row group {group.index} are lost: {error}"
        yield casualty(group.offset, record, "corrupt", message)


def parse_row(
    batch: pa.RecordBatch, index: int, record: str, options: Options, max_document_bytes: int
) -> Outcome:
    """The document in one row."""
    row: dict[str, Any] = {}
    num_replaced = 0
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            row[name], replaced = _value(column[index])
        except UnicodeDecodeError as error:  # within a struct or list
            return Casualty(record, "encoding", f"column {name!r}: {error}")
        num_replaced += replaced
    meta = {"utf8_repaired": str(num_replaced)} if num_replaced else None
    return to_document(row, record, options, max_document_bytes, meta)


def _value(scalar: pa.Scalar) -> tuple[Any, int]:
    """(Python value, number of repaired UTF-8 sequences); Arrow does not validate strings."""
    if not scalar.is_valid:
        return None, 0
    if isinstance(scalar, pa.StringScalar | pa.BinaryScalar):
        return decode_utf8(scalar.as_buffer().to_pybytes())
    if pa.types.is_temporal(scalar.type):
        return str(scalar), 0
    return scalar.as_py(), 0
