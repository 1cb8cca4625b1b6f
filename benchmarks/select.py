"""Rules over stored signals: documents per second and core of the evaluation and of the stage.

    python -m benchmarks.select [--encodings [--prose PROSE]]

Signals are those of random documents, as the `text` and `language` groups store them, in parts of
the given size. `evaluate` is filters.rules.evaluate on columns in memory; `stage` is all that
`tilth select` does for a part: it reads the columns that rules name from Parquet, and writes the
table of decisions. `share` is what the driver does before, in memory, when there is a rule by share
such as "the best tenth": it counts the values of what the other rules keep. CPU seconds of the
process, all threads, median of the repeats. `--encodings` compares ways to store the counts that
the largest recipe reads, random ones or those of documents of PROSE, drawn again and again.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.minhash import cpu_seconds
from benchmarks.prose import cut, read_text
from filters import language, textstats
from filters.rules import Rule, evaluate, load_recipe
from filters.shares import ShareBounds
from pipelines import select
from pipelines.annotate import signals_stage
from pipelines.config import CorpusConfig
from pipelines.recipes import source_rules
from pipelines.stages import Task
from storage import tables
from storage.addresses import doc_ids

ZSTD: dict[str, Any] = {"compression": "zstd", "compression_level": 3}
ENCODINGS: dict[str, dict[str, Any]] = {
    "dictionary, lz4 (as stored)": {"compression": "lz4"},
    "dictionary, zstd": {**ZSTD},
    "dictionary, not compressed": {"compression": "none"},
    "differences, zstd": {**ZSTD, "encoding": "DELTA_BINARY_PACKED"},
    "streams of bytes, zstd": {**ZSTD, "encoding": "BYTE_STREAM_SPLIT"},
    "plain, zstd": {**ZSTD, "use_dictionary": False},
}
RECIPES = (["gopher-quality"], ["gopher-repetition"], ["gopher"])
PART = "web/0000000-0000"
MAX_MEGABYTES = 20
BEST_TENTH = Rule(signal="language_score", top=0.1, reason="not_best")


def main() -> None:
    parser = argparse.ArgumentParser(description="select: documents per second and core")
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--encodings", action="store_true")
    parser.add_argument("--prose", type=Path, help="text or JSON lines, for --encodings")
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    pa.set_cpu_count(1)
    print(f"{options.documents:,} documents in one part\n")
    if options.encodings:
        counts = (
            counts_of(options.prose, options.documents)
            if options.prose
            else random_signals(options.documents).select(textstats.SCHEMA.names)
        )
        print_encodings(counts.cast(textstats.SCHEMA), options.repeats)
        return
    signals = random_signals(options.documents)
    print("| recipes | rules | dropped | evaluate, documents/s | stage | share |")
    print("|---|--:|--:|--:|--:|--:|")
    for recipe in RECIPES:
        with tempfile.TemporaryDirectory() as folder:
            print(row(folder, recipe, signals, options.repeats))


def random_signals(num_documents: int) -> pa.Table:
    """Counts as of documents of 300 words; one in four breaks a rule of most recipes."""
    rng = np.random.default_rng(0)
    words = rng.lognormal(5.7, 0.8, num_documents).astype(np.int64) + 1
    arrays = {}
    for field in textstats.SCHEMA:
        share = rng.choice([0.0, 0.01, 0.05, 0.9], num_documents, p=[0.7, 0.2, 0.08, 0.02])
        arrays[field.name] = pa.array((words * share).astype(np.int64)).cast(field.type)
    arrays |= {
        name: pa.array(values.astype(np.int64)).cast(textstats.SCHEMA.field(name).type)
        for name, values in (
            ("num_words", words),
            ("num_nonsymbol_words", words),
            ("num_alpha_words", words * 0.95),
            ("num_distinct_stop_words", np.minimum(words // 20, 8)),
            ("num_chars", words * 6.0),
            ("nonsymbol_word_chars", words * 4.7),
        )
        if name in arrays
    }
    languages = np.array(["en", "de", "fr", "und"])[rng.integers(0, 4, num_documents)]
    arrays["language"] = pa.array(languages)
    arrays["language_score"] = pa.array(rng.random(num_documents, np.float32).round(4))
    return pa.table(arrays)


def counts_of(prose: Path, num_documents: int) -> pa.Table:
    """Counts of documents of 4,400 characters, drawn at random."""
    texts = cut(read_text(prose, MAX_MEGABYTES), 4400)
    batch = pa.record_batch({"text": pa.array(texts, pa.large_string())})
    rows = np.random.default_rng(0).integers(0, len(texts), num_documents)
    return pa.table(textstats.compute(batch)).take(pa.array(rows)).combine_chunks()


def row(folder: str, recipe: list[str], signals: pa.Table, repeats: int) -> str:
    config = CorpusConfig.model_validate(
        {
            "name": "rules",
            "output": folder,
            "sources": [{"name": "web", "format": "jsonl", "paths": "x", "recipe": recipe}],
            "select": {"languages": ["en", "de"], "min_language_score": 0.3},
        }
    )
    rules = source_rules(config, "web")
    num_documents = signals.num_rows
    for group, schema in (("text", textstats.SCHEMA), ("language", language.SCHEMA)):
        path = config.path(signals_stage(group), f"{PART}.parquet")
        batches = signals.select(schema.names).cast(schema).to_batches(tables.MAX_BATCH_ROWS)
        tables.write_table(path, iter(batches), schema, layout=tables.NUMBERS)
    tables.write_table(
        config.path("documents", f"{PART}.parquet"),
        pa.table({"doc_id": doc_ids(0, 0, 0, num_documents)}),
        pa.schema([("doc_id", pa.uint64())]),
    )
    stage = select.SelectPart(config, {"web": rules})
    evaluated = evaluate(rules, signals)
    dropped = np.count_nonzero(evaluated.drop)
    rates = []
    for step in (
        lambda: evaluate(rules, signals),
        lambda: list(stage(Task(PART, "", num_documents))),
        lambda: ShareBounds().add("web", [*rules, BEST_TENTH], signals),
    ):
        step()
        rates.append(num_documents / statistics.median(cpu_seconds(step, repeats)))
    shown = " | ".join(f"{rate / 1e6:.1f} M" for rate in rates)
    return f"| {'+'.join(recipe)} | {len(rules)} | {dropped / num_documents:.2f} | {shown} |"


def print_encodings(signals: pa.Table, repeats: int) -> None:
    """What reading the columns of `gopher` costs, from memory and with checksums of pages."""
    read = {column for rule in load_recipe("gopher").rules for column in rule.columns}
    columns = [name for name in signals.column_names if name in read]
    print(f"| {len(columns)} columns of int64 | bytes/document | read, ns/document |")
    print("|---|--:|--:|")
    for name, options in ENCODINGS.items():
        encoding = options.pop("encoding", None)
        if encoding:
            options |= {"use_dictionary": False}
            options |= {"column_encoding": dict.fromkeys(signals.column_names, encoding)}
        file = io.BytesIO()
        pq.write_table(signals, file, row_group_size=100_000, write_page_checksum=True, **options)

        def read_columns(file: io.BytesIO = file) -> None:
            file.seek(0)
            with pq.ParquetFile(file, page_checksum_verification=True) as parquet:
                parquet.read(columns, use_threads=False)

        seconds = statistics.median(cpu_seconds(read_columns, repeats))
        num_bytes = len(file.getvalue()) / signals.num_rows
        print(f"| {name} | {num_bytes:.1f} | {seconds / signals.num_rows * 1e9:.0f} |")


if __name__ == "__main__":
    main()
