"""Repeated text across documents: how fast each kind is found, and whether planted runs are.

    python -m benchmarks.repeats PROSE.txt [--megabytes 20]

The prose is cut into documents of 4,000 characters; each tenth one gets a run of 60 words of
another document in its middle. The stage runs on the tables that dedup leaves, in one process;
rates are per CPU second and of the whole stage: reading Parquet, hashing, the shuffle, the edits.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.prose import cut, read_text
from filters import hashing
from filters.edits import apply_edits
from pipelines.config import CorpusConfig
from pipelines.duplicates import competing
from pipelines.repeats import stage
from storage import commit, tables
from storage.addresses import doc_ids
from storage.commit import PartMarker, WrittenObject
from storage.tables import DOCUMENTS, FINAL

DOCUMENT_CHARS = 4000
PLANTED_WORDS = 60
PLANT_EACH = 10
PART_DOCS = 2500
SETTINGS = {"lines": 2, "paragraphs": 2, "sentences": 2, "boilerplate": 10, "words": 50}


def main() -> None:
    parser = argparse.ArgumentParser(description="speed and recall of repeated text")
    parser.add_argument("prose", type=Path)
    parser.add_argument("--megabytes", type=float, default=20)
    options = parser.parse_args()
    texts, planted = plant(cut(read_text(options.prose, options.megabytes), DOCUMENT_CHARS))
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    print(f"{len(texts):,} documents, {megabytes:.1f} MB, {len(planted):,} planted runs")
    print("| kind | MB/s (CPU) | spans | cut | planted runs found |\n|---|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        config = write_tables(Path(folder), texts)
        run(with_repeats(config, {"words": 50}))  # compiles
        for kind, value in SETTINGS.items():
            one = with_repeats(config, {kind: value, "min_words": 2})
            seconds = run(one)
            counts = [m.counts for m in commit.read_markers(folder, stage.edits_stage(kind))]
            spans, num_bytes = (sum(c[name] for c in counts) for name in ("spans", "bytes"))
            found = f"{found_share(one, planted):.3f}" if kind == "words" else ""
            share = num_bytes / 1e6 / megabytes
            print(f"| {kind} | {megabytes / seconds:.1f} | {spans:,} | {share:.1%} | {found} |")


def plant(texts: list[str]) -> tuple[list[str], list[tuple[int, int, str]]]:
    """Texts with runs of others; each run with the documents that hold it."""
    texts, planted = list(texts), []
    for row in range(0, len(texts), PLANT_EACH):
        origin = (row * 7 + 13) % len(texts)
        run_of_words = " ".join(texts[origin].split()[100 : 100 + PLANTED_WORDS])
        head, tail = texts[row][: DOCUMENT_CHARS // 2], texts[row][DOCUMENT_CHARS // 2 :]
        texts[row] = f"{head} {run_of_words} {tail}"
        planted.append((row, origin, run_of_words))
    return texts, planted


def write_tables(folder: Path, texts: list[str]) -> CorpusConfig:
    config = CorpusConfig.model_validate(
        {
            "name": "repeats",
            "output": str(folder),
            "sources": [{"name": "web", "format": "text", "paths": ["none"]}],
            "runner": {"workers": 1},
        }
    )
    for unit, first in enumerate(range(0, len(texts), PART_DOCS)):
        part = f"web/{unit:07d}-0000"
        mine = texts[first : first + PART_DOCS]
        ids = doc_ids(unit, 0, 0, len(mine))
        columns = {"doc_id": ids, "text": mine, "url": ["http://example.org/"] * len(mine)}
        documents = _filled(DOCUMENTS, columns, {"meta": [[]] * len(mine)})
        _write(config, "ingest", "documents", part, documents)
        hashes = hashing.compute(documents.to_batches()[0])
        _write(config, competing.HASH, competing.HASH, part, pa.Table.from_batches([hashes]))
        final = {"doc_id": ids, "kept": [True] * len(mine)}
        numbers = {
            name: np.zeros(len(mine))
            for name in ("cluster", "survivor", "similarity", "num_copies")
        }
        _write(config, stage.FINAL, stage.FINAL, part, _filled(FINAL, final, numbers))
    return config


def with_repeats(config: CorpusConfig, repeats: dict[str, int]) -> CorpusConfig:
    changed = config.dedup.repeats.model_copy(update=repeats)
    dedup = config.dedup.model_copy(update={"repeats": changed})
    return config.model_copy(update={"dedup": dedup})


def run(config: CorpusConfig) -> float:
    """CPU seconds of the stage."""
    started = time.process_time()
    stage.run(config, competing.find_parts(config))
    return time.process_time() - started


def found_share(config: CorpusConfig, planted: list[tuple[int, int, str]]) -> float:
    """Share of planted runs of which one copy is left at most."""
    left: list[str] = []
    for part in competing.find_parts(config):
        name = f"{part.name}.parquet"
        text = tables.read_table(config.path("documents", name), ["text"])["text"].combine_chunks()
        edits = tables.read_table(config.path(stage.edits_stage("words"), name))
        left += [" ".join(one.split()) for one in apply_edits(text, edits).to_pylist()]
    is_cut = [run not in left[row] or run not in left[origin] for row, origin, run in planted]
    return sum(is_cut) / len(planted)


def _filled(schema: pa.Schema, columns: dict, others: dict) -> pa.Table:
    size = len(columns["doc_id"])
    arrays = [
        pa.array(columns.get(field.name, others.get(field.name, [""] * size)), field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _write(config: CorpusConfig, marker: str, table: str, part: str, rows: pa.Table) -> None:
    stats = tables.write_table(config.path(table, f"{part}.parquet"), rows, rows.schema)
    written = WrittenObject.of_table(table, part, stats)
    commit.write_marker(config.output, PartMarker(marker, part, stats.digest, [written]))


if __name__ == "__main__":
    main()
