"""The whole pipeline: MB of text per second and core, and the share of each stage.

    python -m benchmarks.pipeline [--megabytes 200] [--folder DIR]

Runs the stages as a user does, one command each, first with one worker and then with two, on the
same raw files, and compares the fingerprints of the two corpora. CPU seconds are those of all
processes of a command, start-up and imports included; busy seconds are what its workers report in
their commit markers. A second table splits the stages into steps, measured by timers in one more
run within one process. MB are UTF-8 bytes of text: of all documents for the rates of the line as a
whole, of the kept ones for pack.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.processes import Usage, run_module
from benchmarks.raw_corpus import RawCorpus, write_raw_corpus
from storage import commit, objects, tables

FOLDERS = {
    "ingest": ("ingest",),
    "annotate": (),
    "select": ("decisions/select",),
    "dedup": ("dedup", "decisions/exact", "decisions/final"),
    "pack": ("tokenizer", "pack"),
    "report": (),
}
"""Stages, and the folders of the markers that say how long their workers were busy. Annotation is
fused into ingest: the stage of its own finds nothing to do."""
NUM_FILES = 8
SETTINGS: dict[str, Any] = {
    "ingest": {"unit_bytes": 1 << 20},  # each raw file is a unit, so that two workers have work
    "tokenizer": {"vocab_size": 32_000, "sample_bytes": 20_000_000},
}


@dataclass(frozen=True, slots=True)
class Run:
    """All stages with one number of workers."""

    usage: dict[str, Usage]
    busy_seconds: dict[str, float]
    fingerprint: str
    text_bytes: int
    kept_bytes: int
    num_tokens: int


def main() -> None:
    parser = argparse.ArgumentParser(description="the whole pipeline per core, by stage")
    parser.add_argument("--megabytes", type=float, default=200, help="of text")
    parser.add_argument("--folder", type=Path, help="for the corpora; default a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        compiled = write_raw_corpus(Path(temporary) / "compile", 1, 1, SETTINGS)
        run_module("tilth", "run", str(compiled.corpus_file))
        corpus = write_raw_corpus(Path(temporary) / "raw", options.megabytes, NUM_FILES, SETTINGS)
        one, two = (run_stages(corpus, workers) for workers in (1, 2))
        steps = run_steps(corpus)
    print_run(one, two)
    print_stages(one, two)
    print_steps(steps, one)


def run_stages(corpus: RawCorpus, workers: int) -> Run:
    output = str(corpus.folder / f"out-{workers}")
    overrides = ["--set", f"output={output}", "--set", f"runner.workers={workers}"]
    usage = {
        stage: run_module("tilth", stage, str(corpus.corpus_file), *overrides) for stage in FOLDERS
    }
    busy = {stage: busy_seconds(output, folders) for stage, folders in FOLDERS.items()}
    markers = commit.read_markers(output, "")
    result = Run(usage, busy, commit.fingerprint(markers), *_sizes(output))
    objects.delete_tree(output)
    return result


def run_steps(corpus: RawCorpus) -> list[tuple[str, str, float]]:
    """(stage, step, CPU seconds)."""
    out = corpus.folder / "steps.json"
    run_module("benchmarks.steps", str(corpus.corpus_file), str(out))
    return json.loads(out.read_text())


def busy_seconds(output: str, folders: tuple[str, ...]) -> float:
    markers = [marker for folder in folders for marker in commit.read_markers(output, folder)]
    return sum(sum(marker.seconds.values()) for marker in markers)


def _sizes(output: str) -> tuple[int, int, int]:
    """Bytes of stored text, bytes that were packed, and tokens."""
    documents = [marker for marker in commit.read_markers(output, "ingest") if marker.objects]
    stored = 0
    for marker in documents:
        path = objects.join(output, marker.object("documents").path)
        stored += sum(
            int(batch.column(0).cast(pa.large_binary()).nbytes) - 8 * (batch.num_rows + 1)
            for batch in tables.iter_batches(path, ["text"])
        )
    shards = [marker.counts for marker in commit.read_markers(output, "pack") if marker.objects]
    kept, tokens = (sum(one[name] for one in shards) for name in ("text_bytes", "tokens"))
    return stored, kept, tokens


def print_run(one: Run, two: Run) -> None:
    cpu = sum(usage.cpu_seconds for usage in one.usage.values())
    walls = [sum(usage.wall_seconds for usage in run.usage.values()) for run in (one, two)]
    print(
        f"{one.text_bytes / 1e6:.1f} MB of text, {one.kept_bytes / 1e6:.1f} MB kept, "
        f"{one.num_tokens:,} tokens; whole line {one.text_bytes / 1e6 / cpu:.2f} MB/s per core; "
        f"wall {walls[0]:.0f} s with 1 worker, {walls[1]:.0f} s with 2\n"
        f"fingerprints of 1 and 2 workers: "
        f"{'equal' if one.fingerprint == two.fingerprint else 'DIFFERENT'}, {one.fingerprint}\n"
    )


def print_stages(one: Run, two: Run) -> None:
    total = sum(usage.cpu_seconds for usage in one.usage.values())
    print(
        "| stage | CPU s | share | MB/s per core | busy s | MB/s per busy core "
        "| wall s, 1 worker | wall s, 2 workers | CPU s, 2 workers |\n"
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    )
    for stage, usage in one.usage.items():
        megabytes = (one.kept_bytes if stage == "pack" else one.text_bytes) / 1e6
        busy = one.busy_seconds[stage]
        print(
            f"| {stage} | {usage.cpu_seconds:.1f} | {usage.cpu_seconds / total:.1%} "
            f"| {megabytes / usage.cpu_seconds:.1f} | {busy:.1f} "
            f"| {f'{megabytes / busy:.1f}' if busy else '-'} | {usage.wall_seconds:.1f} "
            f"| {two.usage[stage].wall_seconds:.1f} | {two.usage[stage].cpu_seconds:.1f} |"
        )


def print_steps(steps: list[tuple[str, str, float]], run: Run) -> None:
    total = sum(seconds for *_, seconds in steps)
    print("\n| stage | step | CPU s | share | MB/s per core |\n|---|---|--:|--:|--:|")
    for stage, step, seconds in sorted(
        steps, key=lambda row: (list(FOLDERS).index(row[0]), -row[2])
    ):
        if seconds < total / 1000:
            continue
        megabytes = (run.kept_bytes if stage == "pack" else run.text_bytes) / 1e6
        rate = megabytes / seconds
        print(f"| {stage} | {step} | {seconds:.2f} | {seconds / total:.1%} | {rate:,.1f} |")


if __name__ == "__main__":
    main()
