"""Perplexity: held-out values, what they tell apart and speed; and the speed of the script signal.

    python -m benchmarks.perplexity --prose PROSE [--other OTHER] [--sentences FOLDER]

PROSE and OTHER are text or JSON lines, OTHER in another language; FOLDER holds `<ISO 639-1
code>.txt.gz`, as for benchmarks.signals. Models are trained on the first part of PROSE and measured
on the documents after it, on their words in random order, and on OTHER. Speeds are CPU seconds on
one core, medians: `words` is filters.shingles.word_hashes, `scores` the look-ups, `all` both.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.minhash import cpu_seconds
from benchmarks.prose import cut, read_text
from benchmarks.signals import SCRIPTS, pages
from filters import kneser_ney, ngram_model, script
from filters.perplexity import perplexities
from filters.shingles import word_hashes

DOCUMENT_CHARS = 4400


def main() -> None:
    parser = argparse.ArgumentParser(description="perplexity and script: values and speed")
    parser.add_argument("--prose", type=Path, required=True)
    parser.add_argument("--other", type=Path)
    parser.add_argument("--sentences", type=Path, help="folder of sentences by language")
    parser.add_argument("--train-megabytes", type=float, default=20.0)
    parser.add_argument("--test-megabytes", type=float, default=4.0)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    megabytes = options.train_megabytes + options.test_megabytes
    texts = cut(read_text(options.prose, megabytes), DOCUMENT_CHARS)
    split = int(len(texts) * options.train_megabytes / megabytes)
    other = cut(read_text(options.other, 0.5), DOCUMENT_CHARS) if options.other else []
    print(
        "| order | train, s | n-grams | MB | perplexity | shuffled | other | words | scores | all |"
    )
    print("|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    for order in (1, 2, 3, 4):
        print(row(texts[:split], texts[split:], other, order, options.repeats), flush=True)
    print_scripts(options.sentences, texts[split:], options.repeats)


def row(train: list[str], test: list[str], other: list[str], order: int, repeats: int) -> str:
    words = word_hashes(large(train))
    start = time.process_time()
    model = kneser_ney.train(words, order)
    seconds = time.process_time() - start
    random = np.random.default_rng(0)
    shuffled = [" ".join(random.permutation(text.split())) for text in test]
    medians = [
        f"{np.median(perplexities(model, large(ones))):,.0f}" if ones else ""
        for ones in (test, shuffled, other)
    ]
    column = large(test)
    hashed = word_hashes(column)
    speeds = rates(
        [
            lambda: word_hashes(column),
            lambda: ngram_model.log_scores(model, hashed),
            lambda: perplexities(model, column),
        ],
        num_bytes(test),
        repeats,
    )
    size = (
        f"{seconds:.1f}",
        f"{np.count_nonzero(model.slots):,}",
        f"{model.slots.nbytes / 1e6:.0f}",
    )
    return "| " + " | ".join((str(order), *size, *medians, *speeds)) + " |"


def print_scripts(folder: Path | None, prose: list[str], repeats: int) -> None:
    inputs = {"prose": prose}
    if folder:
        inputs |= {name: pages(folder / f"{code}.txt.gz", 4.0) for code, name in SCRIPTS.items()}
    print("\n| text | script | MB/s |")
    print("|---|---|--:|")
    for name, texts in inputs.items():
        batch = pa.record_batch({"text": large(texts)})
        found = script.compute(batch).column("script").value_counts().to_pylist()
        best = max(found, key=lambda one: one["counts"])
        (rate,) = rates([lambda batch=batch: script.compute(batch)], num_bytes(texts), repeats)
        share = best["counts"] / len(texts)
        print(f"| {name} | {best['values']} in {share:.1%} | {rate} |", flush=True)


def rates(steps: list[Callable[[], object]], size: int, repeats: int) -> list[str]:
    """MB/s of each step, run once before it is timed."""
    found = []
    for step in steps:
        step()
        found.append(f"{size / 1e6 / statistics.median(cpu_seconds(step, repeats)):,.0f}")
    return found


def num_bytes(texts: list[str]) -> int:
    return sum(len(text.encode()) for text in texts)


def large(texts: list[str]) -> pa.Array:
    return pa.array(texts, pa.large_string())


if __name__ == "__main__":
    main()
