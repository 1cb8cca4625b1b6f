"""Decontamination: speed against an index of a million n-grams, recall of planted items, and what
clean books are accused of.

    python -m benchmarks.decontamination --prose PROSE --data ../shared/data

PROSE is text or JSON lines, cut into documents of 4.4 kB. DATA is the folder of the optional real
data; its evaluation sets are planted at random places of the prose, and looked for in its books.
Speed is in CPU seconds on one core, median of the repeats, and counts words, lookups and tables.
"""

from __future__ import annotations

import argparse
import gzip
import os
import random
import statistics
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.minhash import cpu_seconds
from benchmarks.prose import cut, read_text
from filters.decontamination import (
    Evaluation,
    NgramIndex,
    build_index,
    compute_with_edits,
    find_hits,
)
from filters.shingles import word_hashes
from pipelines.evaluations import EvaluationFiles, read_texts

NGRAM = 13
BATCH_ROWS = 1024
EVALUATIONS = {
    "gsm8k": (("gsm8k/test.jsonl",), ("question", "answer")),
    "lambada": (("lambada/lambada_test.jsonl",), ("text",)),
    "humaneval": (("humaneval/HumanEval.jsonl.gz",), ("prompt", "canonical_solution")),
    "arc": (("hf_arrow/ai2_arc",), ("question",)),
    "boolq": (("hf_arrow/boolq",), ("question", "passage")),
    "sciq": (("hf_arrow/sciq",), ("question", "support")),
    "social_i_qa": (("hf_arrow/social_i_qa",), ("context+question",)),
    "openbookqa": (("hf_arrow/openbookqa",), ("question_stem",)),
    "nq_open": (("hf_arrow/nq_open",), ("question",)),
    "mmlu": (("hf_arrow/hails",), ("question",)),
    "rte": (("hf_arrow/glue/rte",), ("sentence1",)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="decontamination: speed, recall, false positives")
    parser.add_argument("--prose", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="folder of the optional real data")
    parser.add_argument("--ngrams", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    texts = cut(read_text(options.prose, 8.0), 4400)
    print_speed(texts, options.ngrams, options.repeats)
    if options.data:
        evaluations = [
            EvaluationFiles(name, tuple(str(options.data / "eval" / p) for p in paths), fields, 13)
            for name, (paths, fields) in EVALUATIONS.items()
        ]
        found = {one.name: read_texts(one) for one in evaluations}
        index = build_index([Evaluation(name, large(items)) for name, items in found.items()])
        print_recall(index, found, texts)
        print_books(index, options.data / "books")


def print_speed(texts: list[str], num_ngrams: int, repeats: int) -> None:
    """Of prose that shares nothing with the index, and of prose that is in the index."""
    rng = np.random.default_rng(0)
    words = rng.integers(0, 50_000, (num_ngrams // 488 + 1, 500))
    items = [" ".join(f"w{n}" for n in row) for row in words.tolist()]
    index = build_index([Evaluation("random", large(items))])
    leaky = build_index([Evaluation("random", large(items)), Evaluation("prose", large(texts[:9]))])
    num_bytes = sum(len(text.encode()) for text in texts)
    batches = [
        pa.record_batch({"text": large(texts[start : start + BATCH_ROWS])})
        for start in range(0, len(texts), BATCH_ROWS)
    ]

    def scan(with_index: NgramIndex) -> None:
        for batch in batches:
            compute_with_edits(batch, with_index)

    def words_only() -> None:
        for batch in batches:
            word_hashes(batch.column("text"))

    print(f"{len(texts)} documents, {num_bytes / 1e6:.1f} MB, {index.num_ngrams:,} n-grams\n")
    print("| step | MB/s of one core |")
    print("|---|--:|")
    for name, step in (
        ("words only", words_only),
        ("words, lookups, tables", lambda: scan(index)),
        ("the same, 9 documents are leaks", lambda: scan(leaky)),
    ):
        step()
        rate = num_bytes / 1e6 / statistics.median(cpu_seconds(step, repeats))
        print(f"| {name} | {rate:.0f} |")


def print_recall(index: NgramIndex, found: dict[str, list[str]], texts: list[str]) -> None:
    """Each item that can be found is planted once, at a random word of a random document."""
    places = random.Random(0)
    print("\n| evaluation | texts | too short | planted | found | n-grams |")
    print("|---|--:|--:|--:|--:|--:|")
    for coverage in index.coverage:
        items = large(found[coverage.name])
        counts = np.diff(word_hashes(items).offsets)
        long = [item for item, n in zip(items.to_pylist(), counts, strict=True) if n >= NGRAM]
        planted = []
        for item in long:
            words = places.choice(texts).split(" ")
            words.insert(places.randrange(len(words) + 1), item)
            planted.append(" ".join(words))
        rows = find_hits(word_hashes(large(planted)), index).rows
        print(
            f"| {coverage.name} | {coverage.num_texts} | {coverage.num_too_short} "
            f"| {len(long)} | {len(np.unique(rows))} | {coverage.num_ngrams} |"
        )


def print_books(index: NgramIndex, folder: Path) -> None:
    """What books that are no evaluation share with the evaluations."""
    paths = sorted(folder.glob("*/*.txt.gz"))
    texts = [gzip.decompress(path.read_bytes()).decode("utf-8", "replace") for path in paths]
    batch = pa.record_batch({"text": large(texts)})
    signals, edits = compute_with_edits(batch, index)
    num_bytes = sum(len(text.encode()) for text in texts)
    hit = np.count_nonzero(signals["contaminated_ngrams"].to_numpy())
    print(
        f"\n{len(texts)} books, {num_bytes / 1e6:.1f} MB: {hit} share a {NGRAM}-gram with an "
        f"evaluation, in {edits.num_rows} places:"
    )
    places = Counter(zip(edits["reason"].to_pylist(), edits["row"].to_pylist(), strict=True))
    for (name, row), number in sorted(places.items()):
        span = edits.filter(
            pa.array((edits["row"].to_numpy() == row) & (np.array(edits["reason"]) == name))
        ).to_pylist()[0]
        shared = texts[row].encode()[span["start"] : span["end"]].decode()
        print(f"- {paths[row].name}, {name}, {number}: {' '.join(shared.split())[:120]!r}")


def large(texts: list[str]) -> pa.Array:
    return pa.array(texts, pa.large_string())


if __name__ == "__main__":
    main()
