"""Peak memory of each stage's processes at two sizes of the corpus.

    python -m benchmarks.memory [--megabytes 20] [--times 20] [--folder DIR]

Two worker processes and default settings; two raw files per source, so that the larger corpus gives
each worker larger files rather than more of them. `driver` is the process of the command itself,
which holds the data of the one shuffle on this runner; `worker` the larger of the two others.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.processes import run_module
from benchmarks.raw_corpus import RawCorpus, write_raw_corpus

STAGES = ("ingest", "annotate", "select", "dedup", "pack", "report")
KINDS = ("worker", "driver")
MAP_ONLY = ("ingest", "annotate", "select", "pack")
WORKERS = 2
LIMIT_BYTES = 2e9

Peaks = dict[str, dict[str, int]]
"""Stage -> kind of process -> bytes."""


def main() -> None:
    parser = argparse.ArgumentParser(description="peak memory per process at two sizes")
    parser.add_argument("--megabytes", type=float, default=20, help="of text, in the smaller one")
    parser.add_argument("--times", type=int, default=20, help="how much larger the other is")
    parser.add_argument("--folder", type=Path, help="for the corpora; default a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        run_module("tilth", "run", str(_small(Path(temporary)).corpus_file))  # compiles kernels
        sizes = (options.megabytes, options.megabytes * options.times)
        small, large = (measure(Path(temporary) / str(size), size) for size in sizes)
    print_table(small, large, *sizes)


def measure(folder: Path, megabytes: float) -> Peaks:
    """Runs the stages on a corpus of their own."""
    settings = {"runner": {"workers": WORKERS}}
    corpus = str(write_raw_corpus(folder, megabytes, WORKERS, settings).corpus_file)
    return {stage: run_module("tilth", stage, corpus, peaks=True).peak_bytes for stage in STAGES}


def _small(folder: Path) -> RawCorpus:
    return write_raw_corpus(folder / "compile", 1, 1, {})


def print_table(small: Peaks, large: Peaks, small_mb: float, large_mb: float) -> None:
    """Peaks in MB; says which of the map-only stages stay below the limit."""
    titles = [
        f"{kind}, {size:g} MB" for kind in ("worker", "driver") for size in (small_mb, large_mb)
    ]
    print(f"| stage (peak MB) | {' | '.join(titles)} |\n|---|--:|--:|--:|--:|")
    for stage in STAGES:
        cells = [_megabytes(run[stage].get(kind)) for kind in KINDS for run in (small, large)]
        print(f"| {stage} | {' | '.join(cells)} |")
    fits = {stage: max(large[stage].values()) < LIMIT_BYTES for stage in MAP_ONLY}
    below = ", ".join(stage for stage, fit in fits.items() if fit) or "none"
    above = ", ".join(stage for stage, fit in fits.items() if not fit) or "none"
    print(f"\nmap-only stages below {LIMIT_BYTES / 1e9:g} GB: {below}; above: {above}")


def _megabytes(peak: int | None) -> str:
    return "-" if peak is None else f"{peak / 1e6:,.0f}"


if __name__ == "__main__":
    main()
