"""Language identification: accuracy on labelled sentences, and speed next to bare fastText.

    python -m benchmarks.language --sentences FOLDER [--prose TEXT]

FOLDER holds `<ISO 639-1 code>.txt.gz` files with one sentence per line. Speed is measured on whole
documents of PROSE (text or JSON lines), on one core in CPU seconds: `bare` is fastText's own
`predict` on a ready list of strings of the same characters, so the difference is the cost of
cutting, cleaning and building columns.
"""

from __future__ import annotations

import argparse
import functools
import gzip
import os
import statistics
from collections import Counter
from pathlib import Path

import fasttext
import pyarrow as pa

from benchmarks.minhash import cpu_seconds
from benchmarks.prose import cut, read_text
from filters import language

EQUIVALENT = {"nb": "no"}  # lid.176 calls Norwegian Bokmal `no`


def main() -> None:
    parser = argparse.ArgumentParser(description="language identification: accuracy and speed")
    parser.add_argument("--sentences", type=Path, required=True)
    parser.add_argument("--prose", type=Path)
    parser.add_argument("--max-sentences", type=int, default=1000, help="per language")
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print_accuracy(options.sentences, options.max_sentences)
    if options.prose:
        print_speed(cut(read_text(options.prose, 4.0), 4400))


def print_accuracy(folder: Path, max_sentences: int) -> None:
    """Per language: sentences right, also with a minimum score, and what they are taken for."""
    known = {str(name).removeprefix("__label__") for name in model().get_labels()}
    print("| language | sentences | right | right, score >= 0.65 | kept at 0.65 | taken for |")
    print("|---|--:|--:|--:|--:|---|")
    right_shares = []
    for path in sorted(folder.glob("*.txt.gz")):
        name = path.name.removesuffix(".txt.gz")
        label = EQUIVALENT.get(name, name)
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            sentences = [line.rstrip("\n") for line in lines][:max_sentences]
        found, scores = language.predict(pa.array(sentences, pa.large_string()))
        right = [language_found == label for language_found in found.to_pylist()]
        kept = [score >= 0.65 for score in scores.to_pylist()]
        right_and_kept = sum(r and k for r, k in zip(right, kept, strict=True))
        others = Counter(f for f in found.to_pylist() if f != label).most_common(3)
        if label in known:
            right_shares.append(sum(right) / len(right))
        print(
            f"| {name}{'' if label in known else ' (not in the model)'} | {len(right)} "
            f"| {sum(right) / len(right):.3f} | {right_and_kept / max(1, sum(kept)):.3f} "
            f"| {sum(kept) / len(kept):.3f} | {', '.join(f'{f} {n}' for f, n in others)} |"
        )
    print(
        f"\n{len(right_shares)} languages of the model: mean accuracy per sentence "
        f"{statistics.mean(right_shares):.3f}, median {statistics.median(right_shares):.3f}\n"
    )


def print_speed(texts: list[str]) -> None:
    column = pa.array(texts, pa.large_string())
    model()
    print("| first characters | documents/s | bare fastText | share of bare |")
    print("|--:|--:|--:|--:|")
    for max_chars in (500, 1000, 2000):
        lines = [text[:max_chars].replace("\n", " ") for text in texts]
        ours, bare = [], []
        for _ in range(5):  # in turn, so that both see the same machine
            ours += cpu_seconds(lambda n=max_chars: language.predict(column, max_chars=n), 1)
            bare += cpu_seconds(lambda ready=lines: model().predict(ready), 1)
        ours_rate, bare_rate = (len(texts) / statistics.median(s) for s in (ours, bare))
        print(
            f"| {max_chars} | {ours_rate:,.0f} | {bare_rate:,.0f} | {ours_rate / bare_rate:.3f} |"
        )


@functools.cache
def model() -> fasttext.FastText._FastText:
    return fasttext.load_model(str(language.DEFAULT_MODEL))


if __name__ == "__main__":
    main()
