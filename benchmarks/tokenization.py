"""Tokenization next to `tokenizers`, and tokenize + pack, on one core.

    python -m benchmarks.tokenization --text PROSE [PROSE ...] [--tokenizer tokenizer.json]

PROSE (text or JSON lines, .gz or .zst too) is cut into documents of one size. Both encoders get the
same Arrow column and the same tokenizer.json, and must return the same ids. Each repeat makes a new
encoder, because fastokens remembers words that it has seen: a corpus is read once. `pack` is the
whole stage on a corpus of the same documents: reading Parquet, editing, encoding, sorting, writing
shards and tables, the manifest; the tokenizer is given. CPU seconds of the process, medians.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.prose import cut, read_text
from filters import hashing
from pipelines import pack
from pipelines.config import CorpusConfig
from pipelines.kept import FINAL
from pipelines.packing import bpe
from pipelines.packing.encoding import EXACT, FAST, Encoder, Tokens, parse_tokenizer
from pipelines.stages import FINISHED, Slice
from storage import commit, objects, tables
from storage.addresses import doc_ids, part_name
from storage.commit import PartMarker, WrittenObject
from storage.tables import DOCUMENTS

DOCUMENT_CHARS = 4400
PART_DOCUMENTS = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description="tokenization and packing on one core")
    parser.add_argument("--text", type=Path, nargs="+", required=True)
    parser.add_argument("--tokenizer", type=Path, help="default: a BPE trained on the text")
    parser.add_argument("--vocab-size", type=int, default=32_000)
    parser.add_argument("--megabytes", type=float, default=32, help="of text, in all")
    parser.add_argument("--slow-megabytes", type=float, default=4, help="for tokenizers")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    documents = _read(options.text, options.megabytes)
    with tempfile.TemporaryDirectory() as folder:
        path = options.tokenizer or Path(folder) / "tokenizer.json"
        if options.tokenizer is None:
            sample = documents.slice(0, 2000).to_pylist()
            path.write_text(bpe.train(sample, options.vocab_size, 2))
        slow = documents.slice(0, int(len(documents) * options.slow_megabytes / options.megabytes))
        print("| step | MB | MB/s per core (median) | range |")
        print("|---|--:|--:|--:|")
        _print_encoders(path, documents, slow, options.repeats)
        _print_packs(Path(folder), path, documents, options.repeats)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\n{len(documents)} documents of {DOCUMENT_CHARS} characters; peak memory {peak:.0f} MB")


def _read(paths: list[Path], megabytes: float) -> pa.LargeStringArray:
    texts: list[str] = []
    for path in paths:
        texts += cut(read_text(path, megabytes - len(texts) * DOCUMENT_CHARS / 1e6), DOCUMENT_CHARS)
    return pa.array(texts, pa.large_string())


def _print_encoders(
    path: Path, documents: pa.LargeStringArray, slow: pa.LargeStringArray, repeats: int
) -> None:
    tokenizer = parse_tokenizer(path.read_text(), str(path))
    found: dict[str, Tokens] = {}
    for engine, column in ((FAST, documents), (EXACT, slow)):

        def encode(engine: str = engine, column: pa.LargeStringArray = column) -> float:
            encoder = Encoder(tokenizer, engine)
            start = time.process_time()
            batches = [encoder.encode(column.slice(n, 1024)) for n in range(0, len(column), 1024)]
            seconds = time.process_time() - start
            found[engine] = Tokens(*(np.concatenate(parts) for parts in zip(*batches, strict=True)))
            return seconds

        seconds = [encode() for _ in range(repeats)]
        _print_rates(f"encode, {engine}", _megabytes(column), seconds)
    exact, fast = found[EXACT], found[FAST]
    assert np.array_equal(exact.lengths, fast.lengths[: len(slow)])
    assert np.array_equal(exact.ids, fast.ids[: len(exact.ids)])
    print(f"| (tokens, equal for both on {len(slow)} documents) | {len(fast.ids):,} | | |")


def _print_packs(
    folder: Path, tokenizer: Path, documents: pa.LargeStringArray, repeats: int
) -> None:
    """The whole, and the rate between a quarter and the whole: without loading and checking."""
    quarter = documents.slice(0, len(documents) // 4)
    runs = [_packer(folder / name, tokenizer, column)
            for name, column in (("quarter", quarter), ("whole", documents))]  # fmt: skip
    seconds = [(runs[0](), runs[1]()) for _ in range(repeats)]
    whole = [all_of_it for _, all_of_it in seconds]
    further = [all_of_it - part for part, all_of_it in seconds]
    _print_rates("pack, all (loads and checks the encoder)", _megabytes(documents), whole)
    megabytes = _megabytes(documents) - _megabytes(quarter)
    _print_rates("pack, each further MB", megabytes, further)


def _packer(output: Path, tokenizer: Path, documents: pa.LargeStringArray) -> Callable[[], float]:
    config = CorpusConfig.model_validate(
        {
            "name": "benchmark",
            "output": str(output),
            "sources": [{"name": "prose", "format": "text", "paths": ["none"]}],
            "tokenizer": {"path": str(tokenizer)},
        }
    )
    _write_corpus(config, documents)

    def run() -> float:
        objects.delete_tree(config.path(commit.DONE, pack.STAGE))
        objects.delete_tree(config.path("shards"))
        start = time.process_time()
        pack.run(config, Slice(0, 1))
        return time.process_time() - start

    return run


def _write_corpus(config: CorpusConfig, documents: pa.LargeStringArray) -> None:
    """What the earlier stages leave for pack, every document kept."""
    for part, first in enumerate(range(0, len(documents), PART_DOCUMENTS)):
        text = documents.slice(first, PART_DOCUMENTS)
        ids = doc_ids(0, part, 0, len(text))
        blank = pa.array([""] * len(text))
        columns = {"doc_id": pa.array(ids), "text": text, "source": pa.array(["prose"] * len(text))}
        columns["record"] = pa.array([f"prose.txt#{first + n}+1" for n in range(len(text))])
        columns["meta"] = pa.array([[]] * len(text), DOCUMENTS.field("meta").type)
        rows = pa.table([columns.get(name, blank) for name in DOCUMENTS.names], schema=DOCUMENTS)
        final = {
            "doc_id": pa.array(ids),
            "kept": pa.array([True] * len(text)),
            "split": pa.array(["train"] * len(text)),
        }
        signals = pa.table(hashing.compute(pa.record_batch({"text": text})))
        name = f"prose/{part_name(0, part)}"
        _commit(config, "ingest", "documents", name, rows)
        _commit(config, "signals/hash", "signals/hash", name, signals)
        _commit(config, FINAL, FINAL, name, pa.table(final))
    commit.write_marker(config.output, PartMarker(FINISHED, FINAL, ""))


def _commit(config: CorpusConfig, stage: str, table: str, part: str, rows: pa.Table) -> None:
    stats = tables.write_table(config.path(table, f"{part}.parquet"), rows, rows.schema)
    written = WrittenObject.of_table(table, part, stats)
    counts = {"documents": rows.num_rows, "kept": rows.num_rows}
    commit.write_marker(config.output, PartMarker(stage, part, "", [written], counts))


def _megabytes(column: pa.LargeStringArray) -> float:
    return sum(len(text.as_buffer()) for text in column) / 1e6


def _print_rates(step: str, megabytes: float, seconds: list[float]) -> None:
    rates = [megabytes / one for one in seconds]
    middle = statistics.median(rates)
    print(f"| {step} | {megabytes:.1f} | {middle:.1f} | {min(rates):.1f}-{max(rates):.1f} |")


if __name__ == "__main__":
    main()
