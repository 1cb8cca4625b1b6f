"""How the time and memory of dedup grow with the number of documents.

    python -m benchmarks.dedup_growth [--documents 100000 300000 1000000 3000000] [--workers 2]

Short documents, so that millions fit a laptop: about 400 bytes of prose in windows of ten words,
every fifth a near copy, as in benchmarks/dedup_speed.py. For each number of documents `annotate`
(content hashes and signatures alone) and `dedup` run as users run them. A run's time has the
start-up of two commands in it, which is most of the smallest one; "each further" is the time
between two sizes, divided by the documents between them.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from benchmarks.dedup_speed import documents, make_corpus
from benchmarks.processes import Usage, run_module
from pipelines.duplicates.decide import STAGE
from storage import commit

SHORT_DOCUMENT = (10, 7)


class Growth(NamedTuple):
    num_docs: int
    num_kept: int
    annotate: Usage
    dedup: Usage

    @property
    def cpu_seconds(self) -> float:
        return self.annotate.cpu_seconds + self.dedup.cpu_seconds

    def peak(self, kind: str) -> int:
        """Bytes of the largest process of a kind, in both commands; 0 when there was none."""
        return max(usage.peak_bytes.get(kind, 0) for usage in (self.annotate, self.dedup))


def main() -> None:
    parser = argparse.ArgumentParser(description="growth of dedup")
    sizes = [100_000, 300_000, 1_000_000, 3_000_000]
    parser.add_argument("--documents", type=int, nargs="+", default=sizes)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="for the corpora; default a temporary one")
    options = parser.parse_args()
    print("| documents | annotate | dedup | us/document | each further | wall s | ", end="")
    print("peak MB driver | worker | kept |\n|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    before = None
    for num_docs in options.documents:
        with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
            run = grow(Path(temporary) / "corpus", num_docs, options.workers)
        print_row(run, before)
        before = run


def grow(folder: Path, num_docs: int, workers: int) -> Growth:
    corpus = make_corpus(folder, islice(documents(*SHORT_DOCUMENT), num_docs), workers, {})
    steps = [run_module("tilth", step, str(corpus), peaks=True) for step in ("annotate", "dedup")]
    decided = commit.read_markers(str(folder / "out"), STAGE)
    return Growth(num_docs, sum(marker.counts["kept"] for marker in decided), *steps)


def print_row(run: Growth, before: Growth | None) -> None:
    def per_document(usage: Usage) -> float:
        return usage.cpu_seconds * 1e6 / run.num_docs

    further = ""
    if before:
        seconds = run.cpu_seconds - before.cpu_seconds
        further = f"{seconds * 1e6 / (run.num_docs - before.num_docs):.1f}"
    wall = run.annotate.wall_seconds + run.dedup.wall_seconds
    print(
        f"| {run.num_docs:,} | {per_document(run.annotate):.1f} | {per_document(run.dedup):.1f} | "
        f"{run.cpu_seconds * 1e6 / run.num_docs:.1f} | {further} | {wall:.0f} | "
        f"{run.peak('driver') / 1e6:,.0f} | {run.peak('worker') / 1e6:,.0f} | {run.num_kept:,} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
