"""Near-duplicate removal end to end: documents in Parquet to final decisions, next to peers.

    python -m benchmarks.dedup_speed [--megabytes 1000] [--workers 1 2] [--peer-python PYTHON]

The documents have about 4.4 kB of windows of real prose in random order; every fifth is a near copy
of one of the last 10,000 with up to 5 % of its words replaced. `tilth` is two commands as users run
them, `annotate` (which here lacks the content hashes and the signatures alone) and `dedup`, with
their start-up, reading and writing. The difference of two sizes gives the rate of each further MB,
which is what a large corpus sees. Peers remove duplicates from a sample of the same documents, in
JSON lines, by the programs in dedup_speed_peers.py; their imports are not in their rates either:
they too are measured at two sizes.

The peers' environment is that of benchmarks/minhash.py.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.processes import PeakSampler, run_module
from pipelines.annotate import signals_stage, source_annotations
from pipelines.config import CorpusConfig, load_config
from pipelines.stages import FINISHED
from storage import commit, tables
from storage.addresses import doc_ids
from storage.commit import PartMarker, WrittenObject
from storage.tables import DECISION, DOCUMENTS, TableWriter

BOOKS = Path(__file__).parent.parent / "examples" / "quickstart" / "data" / "books"
PEERS = Path(__file__).with_name("dedup_speed_peers.py")
PART_BYTES = 64_000_000
BATCH = 1024
LONG_DOCUMENT = (60, 13)
"""Words of each window of prose, and windows of a document."""
COPIES, MAX_EDITS, NUM_EARLIER = 0.2, 0.05, 10_000
PEER_SHARE = {"datatrove": 0.01, "rensa": 0.1, "rensa-normalised": 0.1}
"""Of the documents; a peer's rate does not depend on it, its run time does."""


@dataclass(frozen=True)
class Run:
    megabytes: float
    cpu_seconds: float
    wall_seconds: float
    peak_bytes: int


def main() -> None:
    parser = argparse.ArgumentParser(description="dedup end to end, with peers")
    parser.add_argument("--megabytes", type=float, default=1000, help="of text, larger run")
    parser.add_argument("--workers", type=int, nargs="+", default=[1])
    parser.add_argument("--peer-python")
    parser.add_argument("--folder", type=Path, help="for the corpora; default a temporary one")
    options = parser.parse_args()
    sizes = (options.megabytes / 4, options.megabytes)
    table: dict[str, list[Run]] = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = Path(temporary)
        ours(folder / "compile", write_given(folder / "given", 1), 1)  # kernels, into the cache
        given = [write_given(folder / f"given-{size:g}", size) for size in sizes]
        for workers in options.workers:
            name = f"tilth, {workers} worker{'s' if workers > 1 else ''}"
            places = [folder / f"{workers}-{size:g}" for size in sizes]
            runs = [ours(*one, workers) for one in zip(places, given, strict=True)]
            for step in ("annotate", "dedup"):
                table[f"{name}: {step}"] = [run[step] for run in runs]
            table[name] = [together(run["annotate"], run["dedup"]) for run in runs]
            print_table(table)  # a long run may be stopped
        for peer, share in PEER_SHARE.items() if options.peer_python else ():
            table[peer] = [
                peer_run(options.peer_python, peer, folder / f"{peer}-{size:g}", size * share)
                for size in sizes
            ]
    print_table(table)


def documents(window_words: int, num_windows: int) -> Iterator[str]:
    """Texts without end: windows of prose in random order, and near copies of earlier ones."""
    rng = random.Random(1)
    words = [word for path in sorted(BOOKS.glob("*.txt.gz")) for word in read_words(path)]
    earlier: list[list[str]] = []
    while True:
        if earlier and rng.random() < COPIES:
            own = list(rng.choice(earlier))
            for _ in range(int(len(own) * rng.random() * MAX_EDITS)):
                own[rng.randrange(len(own))] = rng.choice(words)
        else:
            starts = [rng.randrange(len(words) - window_words) for _ in range(num_windows)]
            own = [word for start in starts for word in words[start : start + window_words]]
            if len(earlier) < NUM_EARLIER:
                earlier.append(own)
            else:  # clusters are as large in a large corpus as in a small one
                earlier[rng.randrange(NUM_EARLIER)] = own
        yield " ".join(own)


def take_megabytes(texts: Iterator[str], megabytes: float) -> Iterator[str]:
    """The first of some texts, until they have that many bytes of UTF-8."""
    written = 0
    while written < megabytes * 1e6:
        text = next(texts)
        written += len(text.encode())
        yield text


def read_words(path: Path) -> list[str]:
    with gzip.open(path) as book:
        return book.read().decode("utf-8", "replace").split()


def write_given(folder: Path, megabytes: float) -> Path:
    """Documents for runs with any number of workers."""
    make_corpus(folder, take_megabytes(documents(*LONG_DOCUMENT), megabytes), 1, {})
    return folder


def ours(folder: Path, given: Path, workers: int) -> dict[str, Run]:
    """Both commands on a copy of the documents in `given`."""
    shutil.copytree(given / "out", folder / "out")
    corpus = write_config(folder, workers, {})
    markers = commit.read_markers(str(folder / "out"), "ingest")
    megabytes = sum(marker.counts["text_bytes"] for marker in markers) / 1e6
    return {step: run_step(corpus, step, megabytes) for step in ("annotate", "dedup")}


def run_step(corpus: Path, step: str, megabytes: float) -> Run:
    usage = run_module("tilth", step, str(corpus), peaks=True)
    return Run(megabytes, usage.cpu_seconds, usage.wall_seconds, max(usage.peak_bytes.values()))


def make_corpus(folder: Path, texts: Iterator[str], workers: int, dedup: dict[str, Any]) -> Path:
    """A corpus file and its documents, selected and not annotated."""
    folder.mkdir()
    corpus = write_config(folder, workers, dedup)
    write_corpus(load_config(str(corpus), []), texts)
    return corpus


def write_config(folder: Path, workers: int, dedup: dict[str, Any]) -> Path:
    corpus = folder / "corpus.yaml"
    settings = {
        "name": "speed",
        "output": str(folder / "out"),
        "sources": [{"name": "web", "format": "jsonl", "paths": [str(folder / "*.jsonl")]}],
        "dedup": dedup,
        "pack": {"validation_fraction": 0.0},
        "runner": {"workers": workers},
    }
    corpus.write_text(json.dumps(settings))
    return corpus


def write_corpus(config: CorpusConfig, texts: Iterator[str]) -> None:
    """Documents as ingest and select leave them, without signals."""
    part, more = 0, True
    while more:
        name = f"web/{part:07d}-0000"
        path = config.path("documents", f"{name}.parquet")
        num_docs = num_bytes = 0
        with TableWriter(path, DOCUMENTS) as writer:
            while more and num_bytes < PART_BYTES:
                chunk = list(islice(texts, BATCH))
                more = len(chunk) == BATCH
                writer.write(_batch(part, num_docs, chunk))
                num_docs += len(chunk)
                num_bytes += sum(len(text.encode()) for text in chunk)
        counts = {"records": num_docs, "documents": num_docs, "text_bytes": num_bytes}
        written = WrittenObject.of_table("documents", name, writer.stats)
        _commit(config, PartMarker("ingest", name, "r", [written], counts), part)
        part += 1
    for stage in ("ingest", "decisions/select"):
        commit.write_marker(config.output, PartMarker(FINISHED, stage, "benchmark"))


def _batch(part: int, first_row: int, texts: list[str]) -> pa.RecordBatch:
    columns = {
        "doc_id": doc_ids(part, 0, first_row, len(texts)),
        "text": texts,
        "source": ["web"] * len(texts),
        "record": [f"{part}#{first_row + row}" for row in range(len(texts))],
        "meta": [[] for _ in texts],
    }
    empty = [""] * len(texts)
    arrays = [pa.array(columns.get(field.name, empty), field.type) for field in DOCUMENTS]
    return pa.RecordBatch.from_arrays(arrays, schema=DOCUMENTS)


def _commit(config: CorpusConfig, ingested: PartMarker, part: int) -> None:
    """Markers of the stages before; signals that dedup does not need count as written."""
    name, num_docs, digest = ingested.part, ingested.counts["documents"], ingested.objects[0].digest
    commit.write_marker(config.output, ingested)
    for group, recipe in source_annotations(config, "web").recipe_ids(digest).items():
        if group not in ("hash", "minhash"):
            commit.write_marker(config.output, PartMarker(signals_stage(group), name, recipe))
    ids = pa.array(doc_ids(part, 0, 0, num_docs))
    drop, reason = pa.array([False] * num_docs), pa.array([""] * num_docs)
    table = pa.Table.from_arrays([ids, drop, reason], schema=DECISION)
    stage = "decisions/select"
    stats = tables.write_table(config.path(stage, f"{name}.parquet"), table, DECISION)
    selected = WrittenObject.of_table(stage, name, stats)
    commit.write_marker(config.output, PartMarker(stage, name, "r", [selected]))


def peer_run(python: str, peer: str, folder: Path, megabytes: float) -> Run:
    folder.mkdir()
    given = folder / "documents.jsonl"
    num_bytes = 0
    with given.open("w", encoding="utf-8") as lines:
        for number, text in enumerate(take_megabytes(documents(*LONG_DOCUMENT), megabytes)):
            lines.write(json.dumps({"text": text, "id": str(number)}) + "\n")
            num_bytes += len(text.encode())
    started = time.perf_counter()
    environment = {**os.environ, "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [python, "-P", str(PEERS), peer, str(given), str(folder)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    sampler = PeakSampler(process.pid)
    _, status, usage = os.wait4(process.pid, 0)
    peak = max(sampler.stop().values())
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{peer} ended with {process.returncode}; run {PEERS} to see why")
    wall, cpu = time.perf_counter() - started, usage.ru_utime + usage.ru_stime
    return Run(num_bytes / 1e6, cpu, wall, peak)


def together(first: Run, second: Run) -> Run:
    return Run(
        first.megabytes,
        first.cpu_seconds + second.cpu_seconds,
        first.wall_seconds + second.wall_seconds,
        max(first.peak_bytes, second.peak_bytes),
    )


def print_table(table: dict[str, list[Run]]) -> None:
    print(
        "\n| | MB | CPU s | MB/s per core | each further MB: MB/s per core | wall s | peak MB |",
        end="",
    )
    print(" tilth is |\n|---|--:|--:|--:|--:|--:|--:|--:|")
    ours = next(marginal(runs) for name, runs in table.items() if ":" not in name)
    for name, runs in table.items():
        last, rate = runs[-1], marginal(runs)
        ratio = "" if name.startswith("tilth") else f"{ours / rate:.1f} x"
        print(
            f"| {name} | {last.megabytes:.1f} | {last.cpu_seconds:.1f} | "
            f"{last.megabytes / last.cpu_seconds:.1f} | {rate:.1f} | {last.wall_seconds:.1f} | "
            f"{last.peak_bytes / 1e6:,.0f} | {ratio} |",
            flush=True,
        )


def marginal(runs: list[Run]) -> float:
    """MB per CPU second between the two sizes."""
    small, large = runs
    return (large.megabytes - small.megabytes) / (large.cpu_seconds - small.cpu_seconds)


if __name__ == "__main__":
    main()
