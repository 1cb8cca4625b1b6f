"""Personal data: precision and recall on the written set, and speed on prose and on pages.

    python -m benchmarks.pii --prose TEXT [--pages FOLDER]

PROSE is a file of text or JSON lines; FOLDER holds HTML files. Their text is extracted, and their
markup is read as text too: it has far more digits, addresses and tokens. One core, CPU seconds,
medians of five runs in turn. `scan` is the byte scan alone, `all` counts and masks.
"""

from __future__ import annotations

import argparse
import gzip
import os
import statistics
from collections import Counter
from pathlib import Path

import pyarrow as pa
from resiliparse.extract.html2text import extract_plain_text

from benchmarks.minhash import cpu_seconds
from benchmarks.prose import cut, read_text
from filters import pii, pii_scan
from filters.columns import text_bytes
from tests.filters import pii_set


def main() -> None:
    parser = argparse.ArgumentParser(description="personal data: precision, recall and speed")
    parser.add_argument("--prose", type=Path)
    parser.add_argument("--pages", type=Path)
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print_scores()
    if options.prose or options.pages:
        print("| text | MB | found per MB | scan MB/s | all MB/s |\n|---|--:|--:|--:|--:|")
    if options.prose:
        print_speed("prose", cut(read_text(options.prose, 8.0), 4400))
    if options.pages:
        pages = read_pages(options.pages)
        print_speed("pages, extracted", [extract_plain_text(page) for page in pages])
        print_speed("pages, HTML as text", pages)


def print_scores() -> None:
    texts, expected = pii_set.load()
    found = pii_set.found_in(texts)
    marked = Counter(row for row, *_ in expected)
    print(f"{len(texts)} texts, {len(texts) - len(marked)} of them without personal data\n")
    print("| kind | to be found | found | missed | wrong | precision | recall |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for kind, score in pii_set.scores(expected, found).items():
        right, missed, wrong = score
        print(
            f"| {kind} | {right + missed} | {right} | {missed} | {wrong} "
            f"| {score.precision:.3f} | {score.recall:.3f} |"
        )
    missed_texts = [
        texts[row].encode()[start:end].decode() for row, start, end, _ in sorted(expected - found)
    ]
    print(f"\nmissed: {'; '.join(missed_texts)}\n")


def print_speed(name: str, texts: list[str]) -> None:
    column = pa.array(texts, pa.large_string())
    batch = pa.record_batch({"text": column})
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    num_found = len(pii.find(column))
    scan, whole = [], []
    for _ in range(5):
        scan += cpu_seconds(lambda: pii_scan.scan(*text_bytes(column)), 1)
        whole += cpu_seconds(lambda: pii.compute_with_edits(batch), 1)
    rates = [megabytes / statistics.median(seconds) for seconds in (scan, whole)]
    print(
        f"| {name} | {megabytes:.1f} | {num_found / megabytes:.1f} "
        f"| {rates[0]:,.0f} | {rates[1]:,.0f} |"
    )


def read_pages(folder: Path, megabytes: float = 20.0) -> list[str]:
    pages: list[str] = []
    num_bytes = 0
    for path in sorted(folder.rglob("*.html*")):
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        pages.append(data.decode("utf-8", "replace"))
        num_bytes += len(data)
        if num_bytes >= megabytes * 1e6:
            break
    return pages


if __name__ == "__main__":
    main()
