"""Views: documents as their source's editors leave them, made in memory from text and edits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from filters.edits import apply_edits
from pipelines.annotate import source_annotations
from pipelines.config import CorpusConfig
from storage import objects, tables

STORED = "stored"
"""Name of the view without edits."""


def view_editors(config: CorpusConfig, source: str) -> tuple[str, ...]:
    """Names of the editors of a source's view."""
    return tuple(editor.name for editor in source_annotations(config, source).view)


def view_name(editors: Sequence[str]) -> str:
    return "+".join(editors) or STORED


class PartEdits:
    """The edits of one part of `documents/`, applied batch by batch."""

    def __init__(self, output: str, part: str, editors: Sequence[str]) -> None:
        paths = [objects.join(output, "edits", editor, f"{part}.parquet") for editor in editors]
        self._edits = [tables.read_table(path) for path in paths]
        self._rows = [table["row"].to_numpy() for table in self._edits]

    def apply(self, batch: pa.RecordBatch, first_row: int) -> pa.RecordBatch:
        """`batch`, whose first row is the part's row `first_row`, with its edited `text`."""
        here = [
            _rows_between(table, rows, first_row, first_row + batch.num_rows)
            for table, rows in zip(self._edits, self._rows, strict=True)
        ]
        if not any(table.num_rows for table in here):
            return batch
        text = apply_edits(batch.column("text"), *here)
        return batch.set_column(batch.schema.get_field_index("text"), "text", text)


def iter_view(
    output: str, part: str, editors: Sequence[str], columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Batches of one part of `documents/`, in row order, with the edits applied to `text`.

    `columns` must hold `text`.
    """
    edits = PartEdits(output, part, editors)
    first_row = 0
    path = objects.join(output, "documents", f"{part}.parquet")
    for batch in tables.iter_batches(path, list(columns)):
        yield edits.apply(batch, first_row)
        first_row += batch.num_rows


def iter_view_with(
    output: str, part: str, editors: Sequence[str], rows: npt.NDArray[np.int64]
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Batches of `text` with the edits applied, of what holds `rows`; each after its first row."""
    edits = PartEdits(output, part, editors)
    path = objects.join(output, "documents", f"{part}.parquet")
    for first_row, batch in tables.iter_batches_with(path, rows, ["text"]):
        yield first_row, edits.apply(batch, first_row)


def _rows_between(edits: pa.Table, rows: np.ndarray, start: int, end: int) -> pa.Table:
    """The edits of rows [start, end), with rows counted from `start`."""
    first, last = np.searchsorted(rows, [start, end])
    moved = pa.array(rows[first:last] - np.uint32(start), pa.uint32())
    return edits.slice(first, last - first).set_column(0, "row", moved)
