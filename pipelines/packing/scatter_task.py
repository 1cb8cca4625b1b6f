"""First half of `pack`: the work of one task, from documents to one sorted work object."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
import xxhash

from filters import hashing, licenses
from pipelines.config import CorpusConfig
from pipelines.kept import KeptBatch, KeptPart, iter_kept, read_rows
from pipelines.packing import tokenizer
from pipelines.packing.encoding import Encoder, Tokens, parse_tokenizer
from pipelines.packing.scatter import ROWS, ScatterWriter, Stratum, order_keys
from pipelines.stages import Task
from storage import objects
from storage.commit import PartMarker

STAGE = "scatter"
ALIGNED = {"language": "signals/language", "bucket": "decisions/select"}
"""Of `pack.partition_by`, the columns of other tables than the documents', and those tables."""
COLUMNS = ["doc_id", "text", "source", "record", "license"]
MAX_NAME_CHARS = 80


@dataclass(frozen=True, slots=True)
class ScatterParts:
    """Tokenises the kept documents of some parts. Counts: kept = packed + empty."""

    config: CorpusConfig
    engine: str
    work: str
    """Folder of the work objects."""

    def __call__(self, task: Task) -> Iterator[PartMarker]:
        path = self.config.path(tokenizer.FILE)
        encoder = Encoder(parse_tokenizer(objects.read(path).decode(), path), self.engine)
        counts: Counter[str] = Counter(kept=0, packed=0, empty=0, text_bytes=0)
        with ScatterWriter(work_path(self.work, task.part)) as writer:
            for fields in task.payload["parts"]:
                self._scatter(KeptPart.from_json(fields), encoder, writer, counts)
        yield PartMarker(STAGE, task.part, task.recipe_id, counts=dict(counts))

    def _scatter(
        self, part: KeptPart, encoder: Encoder, writer: ScatterWriter, counts: Counter[str]
    ) -> None:
        aligned = {
            column: read_rows(self.config, part, table, [column])[column]
            for column, table in ALIGNED.items()
            if column in self.config.pack.partition_by
        }
        for batch in iter_kept(self.config, part, COLUMNS):
            names = {column: rows.take(batch.rows).to_pylist() for column, rows in aligned.items()}
            strata = strata_of(self.config, batch, names)
            tokens = encoder.encode(batch.documents.column("text"))
            rows = token_rows(batch.documents, tokens)
            filled = tokens.lengths > 0
            counts["kept"] += rows.num_rows
            counts["packed"] += int(filled.sum())
            counts["empty"] += int((~filled).sum())
            counts["text_bytes"] += int(rows.column("text_bytes").to_numpy().sum())
            for stratum in sorted(set(strata)):
                chosen = [n for n, one in enumerate(strata) if one == stratum and filled[n]]
                writer.add(stratum, rows.take(pa.array(chosen, pa.int64())))


def work_path(work: str, part: str) -> str:
    return objects.join(work, STAGE, part)


def token_rows(documents: pa.RecordBatch, tokens: Tokens) -> pa.RecordBatch:
    """ROWS of a batch of documents and their ids."""
    hashes = hashing.compute(documents)
    content_hash = hashes.column("content_hash")
    offsets = np.concatenate([[0], np.cumsum(tokens.lengths)]) * tokens.ids.itemsize
    little = tokens.ids.dtype.newbyteorder("<")
    data = pa.py_buffer(np.ascontiguousarray(tokens.ids, little))
    ids = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(tokens.lengths), [None, pa.py_buffer(offsets.astype("<i8")), data]
    )
    columns = [
        pa.array(order_keys(content_hash)),
        content_hash,
        documents.column("doc_id"),
        documents.column("source"),
        documents.column("record"),
        hashes.column("text_bytes"),
        ids,
    ]
    return pa.RecordBatch.from_arrays(columns, schema=ROWS)


def strata_of(
    config: CorpusConfig, batch: KeptBatch, aligned: dict[str, list[str]]
) -> list[Stratum]:
    """Split and stratum of each document, by `pack.partition_by`; `aligned` are columns of it."""
    by = {"source": batch.documents.column("source").to_pylist(), **aligned}
    if "license" in config.pack.partition_by:
        texts = batch.documents.column("license").to_pylist()
        by["license"] = [licenses.family(text or "") for text in texts]
    columns = [by[name] for name in config.pack.partition_by]
    names = [stratum_name(values) for values in zip(*columns, strict=True)]
    names = names or ["all"] * len(batch.splits)
    return [Stratum(split, name) for split, name in zip(batch.splits, names, strict=True)]


@cache
def stratum_name(values: tuple[str, ...]) -> str:
    """`source.language`: a file name; a value that needed cleaning keeps a hash of itself."""
    return ".".join(_clean(value) for value in values)


def _clean(value: str) -> str:
    cleaned = re.sub(r"[^A-Za-z0-9_-]", "-", value)[:MAX_NAME_CHARS].lstrip("_-") or "none"
    return cleaned if cleaned == value else f"{cleaned}-{xxhash.xxh3_64_hexdigest(value.encode())}"
