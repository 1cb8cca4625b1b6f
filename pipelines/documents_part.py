"""One part of `documents/` while it is written: batches, casualties, counts, annotations.

Documents are collected into batches of at most 1,024 rows and 8 MB; a larger document is a batch
of its own. Each batch is written and annotated while its text is in memory.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import pyarrow as pa

from filters import pii
from filters.edits import apply_edits
from pipelines.annotate import PartAnnotator, source_annotations
from pipelines.config import CorpusConfig
from pipelines.sources.records import Casualty, Document, Outcome
from storage import tables
from storage.addresses import doc_ids, part_name
from storage.commit import PartMarker, WrittenObject
from storage.tables import CASUALTIES, DOCUMENTS, TableWriter

CASUALTY_PREFIX = "casualty:"
SKIP_PREFIX = "skip:"
MAX_MESSAGE_CHARS = 500


class DocumentsPart:
    """Context manager; on a clean end `written`, `counts` and `annotation_markers` are there."""

    def __init__(self, config: CorpusConfig, source: str, unit: int, part: int) -> None:
        self.counts: Counter[str] = Counter(documents=0, records=0)
        self.written: list[WrittenObject] = []
        self.annotation_markers: list[PartMarker] = []
        self._config = config
        self._source = config.source(source)
        self._unit, self._part = unit, part
        self._name = f"{source}/{part_name(unit, part)}"
        self._stack = ExitStack()
        self._documents: TableWriter | None = None
        self._casualties: TableWriter | None = None
        self._annotator: PartAnnotator | None = None
        self._pending: list[Document] = []
        self._pending_chars = 0
        self._num_rows = 0

    def add(self, outcome: Outcome) -> None:
        """Takes one raw record's outcome."""
        self.counts["records"] += 1
        if isinstance(outcome, Document):
            self._add_document(outcome)
        elif isinstance(outcome, Casualty):
            self.counts[CASUALTY_PREFIX + outcome.kind] += 1
            self._add_casualty(outcome)
        else:
            self.counts[SKIP_PREFIX + outcome.kind] += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            self._flush()
            self._close()

    def _add_document(self, document: Document) -> None:
        num_chars = len(document.text)
        if self._pending and (
            len(self._pending) == tables.MAX_BATCH_ROWS
            or self._pending_chars + num_chars > tables.MAX_BATCH_BYTES
        ):
            self._flush()
        self._pending.append(document)
        self._pending_chars += num_chars
        self.counts["documents"] += 1

    def _add_casualty(self, lost: Casualty) -> None:
        if self._casualties is None:
            self._casualties = self._open("casualties", CASUALTIES)
        row = {"record": lost.record, "kind": lost.kind, "message": lost.message}
        row["message"] = row["message"][:MAX_MESSAGE_CHARS]
        self._casualties.write(pa.RecordBatch.from_pylist([row], schema=CASUALTIES))

    def _open(self, table: str, schema: pa.Schema) -> TableWriter:
        path = self._config.path(table, f"{self._name}.parquet")
        return self._stack.enter_context(TableWriter(path, schema))

    def _flush(self) -> None:
        if not self._pending:
            return
        if self._documents is None:
            self._documents = self._open("documents", DOCUMENTS)
            annotations = source_annotations(self._config, self._source.name)
            annotator = PartAnnotator(self._config, self._name, annotations)
            self._annotator = self._stack.enter_context(annotator)
        assert self._annotator is not None
        batch = self._batch()
        self._documents.write(batch)
        self._annotator.write(batch)
        self._num_rows += batch.num_rows
        self._pending, self._pending_chars = [], 0

    def _batch(self) -> pa.RecordBatch:
        rows = self._pending
        license_default = self._source.license
        columns = {
            "doc_id": doc_ids(self._unit, self._part, self._num_rows, len(rows)),
            "text": [row.text for row in rows],
            "source": [self._source.name] * len(rows),
            "record": [row.record for row in rows],
            "url": [row.url for row in rows],
            "title": [row.title for row in rows],
            "license": [row.license or license_default for row in rows],
            "created": [row.created for row in rows],
            "meta": [sorted(row.meta.items()) for row in rows],
        }
        arrays = [pa.array(columns[field.name], field.type) for field in DOCUMENTS]
        batch = pa.RecordBatch.from_arrays(arrays, schema=DOCUMENTS)
        return _redacted(batch) if self._config.ingest.redact else batch

    def _close(self) -> None:
        """Ends the tables, documents first: the others carry its digest."""
        if self._documents is not None and self._annotator is not None:
            self._documents.close()
            digest = self._documents.stats.digest
            self.annotation_markers = self._annotator.finish(digest)
            self._record("documents", self._documents)
        if self._casualties is not None:
            self._casualties.close()
            self._record("casualties", self._casualties)

    def _record(self, table: str, writer: TableWriter) -> None:
        self.written.append(WrittenObject.of_table(table, self._name, writer.stats))


def _redacted(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with masks for the personal data in its texts and titles."""
    for column in ("text", "title"):
        stored = batch.column(column)
        _, edits = pii.compute_with_edits(pa.record_batch({"text": stored}))
        if edits.num_rows:
            masked = apply_edits(stored, edits).cast(stored.type)
            place = batch.schema.get_field_index(column)
            batch = batch.set_column(place, DOCUMENTS.field(column), masked)
    return batch
