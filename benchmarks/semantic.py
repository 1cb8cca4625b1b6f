"""Semantic duplicates: what embeddings find that shingles do not, what clusters lose, how fast.

    python -m benchmarks.semantic --model FOLDER --answers DATA/neardup/clough_stevenson
    OPENBLAS_NUM_THREADS=1 python -m benchmarks.semantic

FOLDER is a sentence model as sentence-transformers saves it, all-MiniLM-L6-v2 for instance. The
answers are those of Clough and Stevenson (Language Resources and Evaluation 45, 2011): students
answered questions by copying an encyclopaedia article, by revising it lightly or heavily, or from
lecture notes without having seen it ("non").

Clusters are tried on paragraphs of the books of the quickstart and on copies of them with a tenth
of the words replaced: of all pairs whose cosine reaches .95, how many lie in one cluster. Without a
model, the speed of the steps after it is measured. Speed is in CPU seconds of one core.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.dedup_quality import BOOKS, read_gzip
from benchmarks.prose import cut
from filters import kmeans
from filters.shingles import jaccard_of_pairs, shingle_hashes
from filters.vectors import Vectors, products, quantise, squared_lengths
from pipelines import embedding
from pipelines.config import SemanticConfig
from pipelines.duplicates import clusters
from pipelines.duplicates.similar_vectors import Matches, Members, match_each_other

CATEGORIES = {
    "cut": "copied",
    "light": "lightly revised",
    "heavy": "heavily revised",
    "non": "without the article",
}
JACCARDS, COSINES = (0.8, 0.5), (0.95, 0.9, 0.85, 0.8)
PARAGRAPHS, PARAGRAPH_CHARS, PARAGRAPH_TOKENS = 2000, 400, 64
NUM_VECTORS, DIMENSIONS = 100_000, 384

Result = TypeVar("Result")


def main() -> None:
    parser = argparse.ArgumentParser(description="semantic duplicates: quality and speed")
    parser.add_argument("--model")
    parser.add_argument("--answers", type=Path)
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if not options.model:
        print_cluster_speed()
        return
    if options.answers:
        print_answers(options.model, options.answers)
    print_embedding_speed(options.model)
    print_clusters(options.model)


def print_answers(model: str, folder: Path) -> None:
    """Share of answers that reach a similarity with the article that they answer about."""
    with (folder / "file_information.dev.csv").open() as lines:
        answers = [row for row in csv.DictReader(lines) if row["Category"] in CATEGORIES]
    articles = sorted({row["Task"] for row in answers})
    names = [row["File"] for row in answers] + [f"orig_task{task}.txt" for task in articles]
    texts = [(folder / name).read_text(encoding="utf-8", errors="replace") for name in names]
    units = embed(model, texts, 256)
    cosines = all_cosines(units)
    sets = shingle_hashes(pa.array(texts, pa.large_string()), 5, "word")
    print("| answers | number | median Jaccard | median cosine |", end="")
    print("".join(f" J >= {j} |" for j in JACCARDS) + "".join(f" cos >= {c} |" for c in COSINES))
    print("|---|" + "--:|" * (3 + len(JACCARDS) + len(COSINES)))
    for category, title in [*CATEGORIES.items(), ("", "any, and an article on something else")]:
        pairs = [
            (number, len(answers) + place)
            for number, row in enumerate(answers)
            for place, task in enumerate(articles)
            if (row["Category"] == category and row["Task"] == task)
            or (not category and row["Task"] != task)
        ]
        left, right = np.array(pairs).T
        jaccard, cosine = jaccard_of_pairs(sets, sets, left, right), cosines[left, right]
        cells = [f"{np.median(jaccard):.2f}", f"{np.median(cosine):.3f}"]
        cells += [f"{(jaccard >= j).mean():.2f}" for j in JACCARDS]
        cells += [f"{(cosine >= c).mean():.2f}" for c in COSINES]
        print(f"| {title} | {len(pairs)} | " + " | ".join(cells) + " |")


def print_embedding_speed(model: str) -> None:
    print("\n| text | tokens looked at | documents/s | MB/s of text |")
    print("|---|--:|--:|--:|")
    for chars, tokens in ((4400, 256), (4400, 128), (1000, 256), (400, 64)):
        texts = cut("\n".join(map(read_gzip, sorted(BOOKS.glob("*.txt.gz")))), chars)[:64]
        embed(model, texts[:2], tokens)  # loads the model
        seconds, _ = timed(lambda texts=texts, tokens=tokens: embed(model, texts, tokens))
        num_bytes = sum(len(text.encode()) for text in texts)
        rate = len(texts) / seconds
        print(f"| {chars} characters | {tokens} | {rate:.1f} | {num_bytes / seconds / 1e6:.3f} |")


def print_clusters(model: str) -> None:
    """Of all pairs with cosine .95, the share within one cluster."""
    books = [cut(read_gzip(path), PARAGRAPH_CHARS) for path in sorted(BOOKS.glob("*.txt.gz"))]
    rng = random.Random(1)
    texts = rng.sample(list(itertools.chain(*books)), PARAGRAPHS)
    words = [word for text in texts for word in text.split()]
    copies = [
        " ".join(rng.choice(words) if rng.random() < 0.1 else word for word in text.split())
        for text in texts
    ]
    units = embed(model, [*texts, *copies], PARAGRAPH_TOKENS)
    left, right = np.nonzero(np.triu(all_cosines(units) >= 0.95, 1))
    print(f"\n{len(units):,} texts, {len(left):,} pairs with cosine .95 and more\n")
    print("| clusters | mean size | pairs within one cluster |")
    print("|--:|--:|--:|")
    for number in (4, 16, 63, 250):
        order = np.random.default_rng(number).permutation(len(units))
        found = kmeans.assign(units, kmeans.train(units[order], number, seed=1))
        share = (found[left] == found[right]).mean()
        print(f"| {number} | {len(units) // number} | {share:.3f} |")


def print_cluster_speed() -> None:
    """Everything after the embeddings, on vectors around random centres."""
    random_numbers = np.random.default_rng(1)
    centres = random_numbers.normal(size=(2000, DIMENSIONS))
    rows = centres[random_numbers.integers(0, len(centres), NUM_VECTORS)]
    units = quantise(rows + 0.5 * random_numbers.normal(size=rows.shape))
    number = NUM_VECTORS // clusters.LEAST_MEMBERS
    sample = units[: clusters.LEAST_SAMPLE]
    training, centroids = timed(lambda: kmeans.train(sample, number, seed=1))
    assigning, found = timed(lambda: kmeans.assign(units, centroids))
    order = np.argsort(found, kind="stable")
    groups = np.split(units[order], np.flatnonzero(np.diff(found[order])) + 1)
    compare(groups[0][:10])  # reads the compiled kernel
    comparing, dropped = timed(lambda: sum(map(compare, groups)))
    print(f"\n{NUM_VECTORS:,} vectors of {DIMENSIONS} dimensions, {number} clusters, ", end="")
    print(f"largest {max(map(len, groups)):,}; {dropped:,} dropped\n")
    print("| step | CPU s | documents/s |")
    print("|---|--:|--:|")
    steps = ((f"train on {len(sample):,}", training), ("assign", assigning), ("compare", comparing))
    for step, seconds in steps:
        print(f"| {step} | {seconds:.1f} | {NUM_VECTORS / seconds:,.0f} |")


def compare(units: Vectors) -> int:
    none = np.zeros(len(units), bool)
    matches = Matches.none(len(units))
    members = Members(units, np.zeros(len(units), np.uint64), none, none)
    match_each_other(members, matches, np.arange(len(units)), 0.95)
    return int((matches.survivor >= 0).sum())


def embed(model: str, texts: list[str], max_tokens: int) -> Vectors:
    batch = pa.record_batch({"text": pa.array(texts, pa.large_string())})
    signals = embedding.compute(batch, SemanticConfig(model=model, max_tokens=max_tokens))
    return signals.column("embedding").flatten().to_numpy().reshape(len(texts), -1)


def all_cosines(units: Vectors) -> npt.NDArray[np.float64]:
    lengths = np.sqrt(squared_lengths(units).astype(np.float64))
    return products(units, units) / np.outer(lengths, lengths)


def timed(call: Callable[[], Result]) -> tuple[float, Result]:
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


if __name__ == "__main__":
    main()
