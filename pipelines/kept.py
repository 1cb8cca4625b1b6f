"""The documents that the final decisions keep, with their view: what pack and export read.

The view of a document is its stored text without the spans of the editors of its source's recipes.
It is made in memory, batch by batch; nothing here reads a raw file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa

from pipelines import takedown
from pipelines.annotate import signals_stage
from pipelines.config import CorpusConfig
from pipelines.ingest import document_parts
from pipelines.repeats import stage as repeats
from pipelines.stages import require
from pipelines.views import PartEdits, view_editors
from storage import commit, tables
from storage.commit import PartMarker
from storage.errors import UserError

FINAL = "decisions/final"
"""Stage of the final decisions' markers, and the folder of their tables."""


@dataclass(frozen=True, slots=True)
class KeptPart:
    """One part of `documents/` and the tables that decide what of it is kept."""

    name: str
    """As in `web/0000000-0000`."""
    num_docs: int
    num_kept: int
    num_bytes: int
    """Of the documents' Parquet object."""
    editors: Sequence[str]
    digests: list[str]
    """Of the documents, the edits and the final decisions."""

    @property
    def source(self) -> str:
        return self.name.partition("/")[0]

    def table(self, folder: str) -> str:
        """Path of this part in a folder of tables, relative to the output."""
        return f"{folder}/{self.name}.parquet"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class KeptBatch:
    """Kept rows of one batch: their place in the part, their split, and their columns."""

    rows: np.ndarray
    """int64 [n], row numbers within the part."""
    splits: list[str]
    documents: pa.RecordBatch


def kept_parts(config: CorpusConfig) -> list[KeptPart]:
    """All parts with final decisions, by name.

    Raises UserError when a part lacks them, or when they are older than the take-down lists.
    """
    require(config, FINAL, "dedup")
    takedown.require_obeyed(config)
    documents = document_parts(config)
    final = _markers(config, FINAL)
    edits = {
        editor: _markers(config, signals_stage(editor))
        for source in {marker.part.partition("/")[0] for marker in documents}
        for editor in view_editors(config, source)
    }
    cut = {editor: _markers(config, f"edits/{editor}") for editor in repeats.editors(config)}
    parts = []
    for marker in documents:
        name, written = marker.part, marker.object("documents")
        editors = view_editors(config, name.partition("/")[0])
        repeated = repeats.editors(config)
        digests = [written.digest]
        digests += [
            _require(edits[editor], name, "annotate").object(f"edits/{editor}").digest
            for editor in editors
        ]
        digests += [
            _require(cut[editor], name, "dedup").object(f"edits/{editor}").digest
            for editor in repeated
        ]
        decided = _require(final, name, "dedup")
        digests.append(decided.object(FINAL).digest)
        num_kept = decided.counts["kept"]
        parts.append(
            KeptPart(name, written.rows, num_kept, written.bytes, (*editors, *repeated), digests)
        )
    return parts


def iter_kept(config: CorpusConfig, part: KeptPart, columns: list[str]) -> Iterator[KeptBatch]:
    """Batches of the kept rows of a part. `text`, when asked for, is the view."""
    final = tables.read_table(config.path(part.table(FINAL)), ["kept", "split"])
    kept = final["kept"].to_numpy()
    edits = PartEdits(config.output, part.name, part.editors) if "text" in columns else None
    first = 0
    for batch in tables.iter_batches(config.path(part.table("documents")), columns):
        last = first + batch.num_rows
        rows = np.flatnonzero(kept[first:last])
        if len(rows):
            if edits is not None:
                batch = edits.apply(batch, first)
            documents = batch if len(rows) == batch.num_rows else batch.take(pa.array(rows))
            yield KeptBatch(rows + first, final["split"].take(rows + first).to_pylist(), documents)
        first = last
    assert first == final.num_rows, f"{FINAL}/{part.name} is not aligned with its documents"


def read_rows(config: CorpusConfig, part: KeptPart, folder: str, columns: list[str]) -> pa.Table:
    """Columns of a table that is aligned with the part's documents."""
    table = tables.read_table(config.path(part.table(folder)), columns)
    assert table.num_rows == part.num_docs, f"{folder}/{part.name} is not aligned"
    return table


def _markers(config: CorpusConfig, stage: str) -> dict[str, PartMarker]:
    return {marker.part: marker for marker in commit.read_markers(config.output, stage)}


def _require(markers: dict[str, PartMarker], part: str, command: str) -> PartMarker:
    if part not in markers:
        raise UserError(f"part {part} has no decision yet: run `tilth {command}` first")
    return markers[part]
