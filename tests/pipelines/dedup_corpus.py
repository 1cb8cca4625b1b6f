"""A corpus as ingest, annotate and select would leave it, from texts given in a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from filters import hashing, minhash
from pipelines.annotate import minhash_params
from pipelines.config import CorpusConfig
from pipelines.duplicates import band_shuffle, fuzzy, hot_buckets
from pipelines.duplicates.candidates import PAIR, canonical_pairs, unique_pairs
from pipelines.duplicates.competing import MINHASH, Part
from pipelines.duplicates.pieces import pieces_by_target
from pipelines.duplicates.ranking import ContentHashes, Ranking
from pipelines.workplace import Workplace
from storage import commit, tables
from storage.addresses import doc_ids, parse_part_name
from storage.commit import PartMarker, WrittenObject
from storage.tables import DECISION, DOCUMENTS


@dataclass(frozen=True)
class Doc:
    text: str
    record: str
    drop: str = ""
    """Reason for which `select` drops it."""


def corpus_config(output: Path, sources: Sequence[str], **dedup: Any) -> CorpusConfig:
    return CorpusConfig.model_validate(
        {
            "name": "test",
            "output": str(output),
            "sources": [{"name": name, "format": "text", "paths": ["none"]} for name in sources],
            "dedup": dedup,
            "pack": {"validation_fraction": 0.0},
            "runner": {"workers": 1},
        }
    )


def with_validation(config: CorpusConfig, fraction: float) -> CorpusConfig:
    pack = config.pack.model_copy(update={"validation_fraction": fraction})
    return config.model_copy(update={"pack": pack})


def with_dedup(config: CorpusConfig, **settings: Any) -> CorpusConfig:
    return config.model_copy(update={"dedup": config.dedup.model_copy(update=settings)})


def write_corpus(config: CorpusConfig, parts: Mapping[str, Sequence[Doc]]) -> None:
    """Writes and commits the tables of all parts, named as in `web/0000000-0000`."""
    for part, docs in parts.items():
        documents = _documents(part, docs)
        digest = _write(config, "ingest", "documents", part, documents)
        text = documents.select(["text"]).combine_chunks().to_batches(max_chunksize=1 << 20)
        batch = text[0] if text else pa.RecordBatch.from_pylist([], documents.schema)
        params = minhash_params(config.dedup)
        _write(config, "signals/hash", "signals/hash", part, hashing.compute(batch), digest)
        signatures = minhash.compute(batch, params)
        recipe = digest + str(params)
        _write(config, "signals/minhash", "signals/minhash", part, signatures, recipe)
        write_selection(config, part, [doc.drop for doc in docs])


def write_selection(config: CorpusConfig, part: str, reasons: Sequence[str]) -> None:
    """`decisions/select` of one part: drops for the reasons that are not empty."""
    ids = doc_ids(*parse_part_name(part.rpartition("/")[2]), 0, len(reasons))
    columns = [pa.array(ids), pa.array([bool(r) for r in reasons]), pa.array(reasons, pa.string())]
    table = pa.Table.from_arrays(columns, schema=DECISION)
    _write(config, "decisions/select", "decisions/select", part, table)


def read_final(config: CorpusConfig) -> dict[str, dict[str, Any]]:
    """FINAL rows by record; addresses in them are replaced by records."""
    rows: dict[int, dict[str, Any]] = {}
    for marker in commit.read_markers(config.output, "ingest"):
        path = f"{marker.part}.parquet"
        final = tables.read_table(config.path("decisions/final", path)).to_pylist()
        records = tables.read_table(config.path("documents", path), ["record"]).to_pylist()
        for row, record in zip(final, records, strict=True):
            rows[row["doc_id"]] = row | record
    records = {doc_id: row["record"] for doc_id, row in rows.items()}
    return {
        row["record"]: row
        | {"cluster": records[row["cluster"]], "survivor": records[row["survivor"]], "doc_id": 0}
        for row in rows.values()
    }


def kept_records(config: CorpusConfig) -> set[str]:
    return {record for record, row in read_final(config).items() if row["kept"]}


def ranks_of(num_docs: int) -> np.ndarray:
    """The ranks of the documents of `shuffled_pairs`."""
    return np.random.default_rng(6).permutation(num_docs).astype(np.uint64)


def shuffled_pairs(
    output: Path, hashes: np.ndarray, num_parts: int, **dedup: Any
) -> tuple[np.ndarray, dict[str, int]]:
    """Candidate pairs of documents cut into parts, in ranks, and counts of their buckets.

    `hashes` are the band hashes, uint64[docs, bands].
    """
    num_docs, num_bands = hashes.shape
    config = corpus_config(output, ["web"], bands=num_bands, **dedup)
    place = Workplace(str(output), str(output / ".work"), "recipe")
    sizes = np.diff(np.linspace(0, num_docs, num_parts + 1).astype(int)).tolist()
    parts = [Part(f"web/{k:07d}-0000", size, 1) for k, size in enumerate(sizes)]
    first = 0
    for part in parts:
        rows = hashes[first : first + part.num_docs]
        table = pa.table({f"band_{band:02d}": rows[:, band] for band in range(num_bands)})
        tables.write_table(config.path(MINHASH, f"{part.name}.parquet"), table, table.schema)
        first += part.num_docs
    doc_ids = np.concatenate([part.doc_ids for part in parts])
    none = np.zeros(num_docs, np.uint64)
    hash_columns = ContentHashes(none, none)
    ranking = Ranking.of(doc_ids, none.astype(bool), ranks_of(num_docs), hash_columns, none)
    fuzzy.write_ranks(place, parts, ranking)
    band_shuffle.run_passes(config, place, parts, num_docs)
    markers = [
        marker
        for stage in (band_shuffle.STAGE, hot_buckets.STAGE)
        for marker in commit.read_markers(place.work, stage)
    ]
    pieces = pieces_by_target(place.work, markers, {})
    found = [np.frombuffer(piece.read(), PAIR) for many in pieces.values() for piece in many]
    pairs = np.concatenate([np.empty(0, PAIR), *found])
    in_ranks = canonical_pairs(ranking.ranks_of(pairs["a"]), ranking.ranks_of(pairs["b"]))
    return unique_pairs(in_ranks), band_shuffle.bucket_counts(place)


def _documents(part: str, docs: Sequence[Doc]) -> pa.Table:
    source, _, name = part.partition("/")
    columns: dict[str, Any] = {
        "doc_id": doc_ids(*parse_part_name(name), 0, len(docs)),
        "text": [doc.text for doc in docs],
        "source": [source] * len(docs),
        "record": [doc.record for doc in docs],
    }
    empty = {"meta": [[] for _ in docs]}
    arrays = [
        pa.array(columns.get(field.name, empty.get(field.name, [""] * len(docs))), field.type)
        for field in DOCUMENTS
    ]
    return pa.Table.from_arrays(arrays, schema=DOCUMENTS)


def _write(
    config: CorpusConfig,
    stage: str,
    table: str,
    part: str,
    rows: pa.Table | pa.RecordBatch,
    recipe: str = "",
) -> str:
    rows = rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows])
    stats = tables.write_table(config.path(table, f"{part}.parquet"), rows, rows.schema)
    written = WrittenObject.of_table(table, part, stats)
    commit.write_marker(config.output, PartMarker(stage, part, recipe or stats.digest, [written]))
    return stats.digest
