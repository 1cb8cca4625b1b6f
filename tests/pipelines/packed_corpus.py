"""A small corpus as the earlier stages leave it: documents, signals, edits and final decisions."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from filters import groups, hashing
from filters.edits import apply_edits
from pipelines.config import CorpusConfig, PackConfig, SourceConfig, TokenizerConfig
from pipelines.recipes import source_recipe
from pipelines.stages import FINISHED
from storage import commit, tables
from storage.addresses import doc_ids, part_name
from storage.commit import PartMarker, WrittenObject
from storage.tables import DOCUMENTS, EDITS, FINAL

LANGUAGE = pa.schema([("language", pa.string()), ("language_score", pa.float32())])


@dataclass(frozen=True)
class Doc:
    text: str
    source: str = "web"
    split: str = "train"
    reason: str = ""
    language: str = "en"
    record: str = ""
    cut: tuple[int, int] | None = None
    """Bytes that the editor of the recipe `c4` takes out."""
    survivor: int | None = None


@dataclass(frozen=True)
class Corpus:
    config: CorpusConfig
    docs: dict[int, Doc] = field(default_factory=dict)
    """By doc_id."""

    @property
    def kept(self) -> dict[int, Doc]:
        return {doc_id: doc for doc_id, doc in self.docs.items() if not doc.reason}


def make_config(output: Path | str, **pack: object) -> CorpusConfig:
    sources = [
        SourceConfig(name="web", format="jsonl", paths=["raw"], recipe=["c4"]),
        SourceConfig(name="books", format="text", paths=["raw"]),
    ]
    return CorpusConfig(
        name="small",
        output=str(output),
        sources=sources,
        tokenizer=TokenizerConfig(vocab_size=400),
        pack=PackConfig.model_validate({"block_bytes": 4096, "shard_bytes": 1 << 16, **pack}),
    )


def write_corpus(output: Path | str, docs: list[Doc], part_docs: int = 7, **pack: object) -> Corpus:
    """Documents of each source in parts of `part_docs`, unit 0 for web and 1 for books."""
    corpus = Corpus(make_config(output, **pack))
    for unit, source in enumerate(("web", "books")):
        mine = [doc for doc in docs if doc.source == source]
        for part, first in enumerate(range(0, len(mine), part_docs)):
            rows = mine[first : first + part_docs]
            _write_part(corpus, source, unit, part, rows)
    commit.write_marker(corpus.config.output, PartMarker(FINISHED, "decisions/final", "r"))
    return corpus


def _write_part(corpus: Corpus, source: str, unit: int, part: int, docs: list[Doc]) -> None:
    ids = doc_ids(unit, part, 0, len(docs))
    corpus.docs.update(zip(ids.tolist(), docs, strict=True))
    name = f"{source}/{part_name(unit, part)}"
    documents = pa.Table.from_pylist(
        [_document(int(doc_id), doc) for doc_id, doc in zip(ids, docs, strict=True)], DOCUMENTS
    )
    edits = pa.Table.from_pylist(
        [_edit(row, doc) for row, doc in enumerate(docs) if doc.cut], EDITS
    )
    _table(corpus, "ingest", name, "documents", documents)
    view = documents
    for editor in source_recipe(corpus.config, source).editors:
        _table(corpus, f"signals/{editor.name}", name, f"edits/{editor.name}", edits)
        text = apply_edits(documents["text"].combine_chunks(), edits)
        view = documents.set_column(1, "text", text)
    batch = view.combine_chunks().to_batches()[0]
    _table(corpus, "signals/hash", name, "signals/hash", pa.table(hashing.compute(batch)))
    languages = [{"language": doc.language, "language_score": 0.5} for doc in docs]
    language = pa.Table.from_pylist(languages, LANGUAGE)
    _table(corpus, "signals/language", name, "signals/language", language)
    final = pa.Table.from_pylist(
        [_final(int(doc_id), doc) for doc_id, doc in zip(ids, docs, strict=True)], FINAL
    )
    counts = {"kept": sum(not doc.reason for doc in docs)}
    _table(corpus, "decisions/final", name, "decisions/final", final, counts)


def write_signals(corpus: Corpus) -> None:
    """Counts of the kernels, for tests that read them: loading these takes a second."""
    for marker in commit.read_markers(corpus.config.output, "ingest"):
        documents = tables.read_table(corpus.config.path(marker.object("documents").path))
        stored = documents.combine_chunks().to_batches()[0]
        _signals(corpus, marker.part, "text", groups.text_group().compute(stored))
        for editor in source_recipe(corpus.config, marker.part.partition("/")[0]).editors:
            _signals(corpus, marker.part, editor.name, editor.compute(stored)[0])


def _signals(corpus: Corpus, part: str, group: str, rows: pa.RecordBatch) -> None:
    path = corpus.config.path("signals", group, f"{part}.parquet")
    tables.write_table(path, [rows], rows.schema)


def _document(doc_id: int, doc: Doc) -> dict[str, object]:
    return {
        "doc_id": doc_id,
        "text": doc.text,
        "source": doc.source,
        "record": doc.record or f"raw#{doc_id & 0xFFF}+9",
        "url": f"https://example.org/{doc_id}",
        "title": "",
        "license": "CC0-1.0",
        "created": "",
        "meta": [],
    }


def _edit(row: int, doc: Doc) -> dict[str, object]:
    assert doc.cut
    start, end = doc.cut
    return {"row": row, "start": start, "end": end, "replacement": "", "reason": "line"}


def _final(doc_id: int, doc: Doc) -> dict[str, object]:
    survivor = doc_id if doc.survivor is None else doc.survivor
    return {
        "doc_id": doc_id,
        "kept": not doc.reason,
        "reason": doc.reason,
        "stage": "fuzzy" if doc.reason else "",
        "split": doc.split,
        "cluster": survivor,
        "survivor": survivor,
        "similarity": 0.9 if survivor != doc_id else 0.0,
    }


def _table(
    corpus: Corpus,
    stage: str,
    part: str,
    table: str,
    rows: pa.Table,
    counts: dict[str, int] | None = None,
) -> None:
    path = corpus.config.path(table, f"{part}.parquet")
    stats = tables.write_table(path, rows, rows.schema)
    written = WrittenObject.of_table(table, part, stats)
    marker = PartMarker(stage, part, "r", [written], counts or {})
    commit.write_marker(corpus.config.output, marker)
