"""Dedup at scale without text: band hashes and verified pairs are made up, and the stages run.

    python -m benchmarks.scale [--documents 1000000 3000000] [--pairs 10] [--folder DIR] [--keep]

For each size the tables that earlier stages would leave are written: 14 band hashes, a content hash
and up to 10 verified pairs for each document, 7.8 on average (`--pairs 15`: 10.2), half of them
above the threshold. Then:

    candidates   rank, the shuffle of band hashes, candidate pairs
    resolution   exact duplicates, rank, all pairs of `pairs/`, decisions and final decisions

Each runs in a process of its own with two workers; a step's time is its CPU time, because other
work on the machine does not change that, and its peak that of the largest process. A fifth of the
documents resembles another one; one in 500 shares its first band with all of its kind (a template).
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from filters.hashing import SCHEMA as HASH_SCHEMA
from filters.minhash import band_names
from pipelines.config import CorpusConfig
from pipelines.duplicates import (
    band_shuffle,
    competing,
    decide,
    decisions,
    exact,
    fuzzy,
    generations,
    pair_steps,
)
from pipelines.duplicates.competing import HASH, MINHASH
from pipelines.workplace import Workplace
from storage import commit, tables
from storage.addresses import pack_doc_id, part_name
from storage.commit import PartMarker, WrittenObject
from storage.tables import DECISION, PAIRS

PART_DOCS = 500_000
BATCH_DOCS = 50_000
CLUSTER_DOCS = 25
"""Documents that `pairs/` connects; half of the pairs are above the threshold."""
MEMORY_BYTES = 2 << 30
WORKERS = 2
STEPS = ("candidates", "resolution")
UInt64Array = np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description="dedup of made-up signatures and pairs")
    parser.add_argument("--documents", type=int, nargs="+", default=[1_000_000, 3_000_000])
    parser.add_argument("--pairs", type=int, default=10, help="per document at most")
    parser.add_argument("--folder", type=Path, help="for the tables; default a temporary one")
    parser.add_argument("--keep", action="store_true", help="keep the tables, and use kept ones")
    parser.add_argument("--max-resolve-edges", type=int, default=200_000_000)
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        config = corpus(options.folder, options.max_resolve_edges)
        print(json.dumps(run_step(config, options.step)))
        return
    base = options.folder or Path(tempfile.mkdtemp())
    print("| documents | pairs | step | us/document (CPU) | s | peak GB | result |")
    print("|--:|--:|---|--:|--:|--:|---|")
    for num_docs in options.documents:
        folder = base / f"scale-{num_docs}-{options.pairs}"
        num_pairs = write_tables(corpus(folder), num_docs, options.pairs)
        for step in STEPS:
            found = measure(folder, step, options.max_resolve_edges)
            print_row(num_docs, num_pairs, step, found)
        if not options.keep:
            shutil.rmtree(folder)


def corpus(output: Path, max_resolve_edges: int = 200_000_000) -> CorpusConfig:
    return CorpusConfig.model_validate(
        {
            "name": "scale",
            "output": str(output),
            "sources": [{"name": "web", "format": "text", "paths": ["none"]}],
            "dedup": {"memory_bytes": MEMORY_BYTES, "max_resolve_edges": max_resolve_edges},
            "runner": {"workers": WORKERS},
        }
    )


def measure(folder: Path, step: str, max_resolve_edges: int) -> dict[str, float | str]:
    command = [sys.executable, "-m", "benchmarks.scale", "--folder", str(folder), "--step", step]
    command += ["--max-resolve-edges", str(max_resolve_edges)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def print_row(num_docs: int, num_pairs: int, step: str, found: dict[str, float | str]) -> None:
    cpu = float(found["cpu_seconds"]) / num_docs * 1e6
    print(
        f"| {num_docs:,} | {num_pairs:,} | {step} | {cpu:.2f} | "
        f"{float(found['seconds']):.0f} | {float(found['peak_bytes']) / 1e9:.2f} | "
        f"{found['result']} |",
        flush=True,
    )


def run_step(config: CorpusConfig, step: str) -> dict[str, float | str]:
    """Runs one step in this process; its cost, with that of the workers."""
    started = time.monotonic()
    result = find_candidates(config) if step == "candidates" else resolve(config)
    own, workers = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return {
        "seconds": time.monotonic() - started,
        "cpu_seconds": sum(one.ru_utime + one.ru_stime for one in (own, workers)),
        "peak_bytes": 1024 * max(own.ru_maxrss, workers.ru_maxrss),
        "result": result,
    }


def find_candidates(config: CorpusConfig) -> str:
    parts = competing.find_parts(config)
    generation = generations.begin(config, parts)
    place = Workplace.open(config, "scale")
    place.remove()
    ranking = fuzzy.rank_documents(config, parts, competing.earlier_stages(config), generation)
    fuzzy.write_ranks(place, parts, ranking)
    num_docs = len(ranking.doc_ids)
    del ranking
    band_shuffle.run_passes(config, place, parts, num_docs)
    counts = band_shuffle.bucket_counts(place)
    place.remove()
    return f"{counts['buckets']:,} buckets, largest {counts['largest_bucket']:,}"


def resolve(config: CorpusConfig) -> str:
    parts = competing.find_parts(config)
    generation = generations.begin(config, parts)
    for stage in (exact.STAGE, fuzzy.STAGE, decide.STAGE):  # of an earlier run
        decisions.forget(config, stage)
    exact.run(config, parts, generation)
    stages = [*competing.earlier_stages(config), exact.STAGE]
    recipe = fuzzy.recipe_of(config, stages, parts, generation)
    for marker in commit.read_markers(config.output, pair_steps.STAGE):  # as if verified just now
        done = PartMarker(marker.stage, marker.part, recipe, marker.objects, marker.counts)
        commit.write_marker(config.output, done)
    fuzzy.run(config, parts, generation)
    counts = decide.run(config, parts)
    return f"{counts['kept']:,} kept, fingerprint {fingerprint(config)[:8]}"


def fingerprint(config: CorpusConfig) -> str:
    return commit.fingerprint(commit.read_markers(config.output, decide.STAGE))


def write_tables(config: CorpusConfig, num_docs: int, pairs: int) -> int:
    """What ingest, annotate, select and the verification of pairs would leave; how many pairs.

    Parts that are there already stay.
    """
    with ProcessPoolExecutor(WORKERS) as pool:
        parts = range(-(-num_docs // PART_DOCS))
        list(pool.map(partial(write_part, config, num_docs, pairs), parts))
    markers = commit.read_markers(config.output, pair_steps.STAGE)
    return sum(marker.object(pair_steps.STAGE).rows for marker in markers)


def write_part(config: CorpusConfig, num_docs: int, pairs: int, part: int) -> None:
    name = f"web/{part_name(part, 0)}"
    if commit.read_marker(config.output, pair_steps.STAGE, name) is not None:
        return
    first = part * PART_DOCS
    numbers = np.arange(first, min(first + PART_DOCS, num_docs), dtype=np.uint64)
    none = pa.array(np.zeros(len(numbers), bool)), pa.repeat("", len(numbers))
    ids = pa.array(ids_of(numbers))
    selected = pa.Table.from_arrays([ids, *none], schema=DECISION)
    _write(config, "decisions/select", name, [selected])
    _write(config, "ingest", name, [pa.table({"doc_id": ids})], "documents")
    _write(config, HASH, name, _hash_rows(numbers))
    _write(config, MINHASH, name, _band_rows(config, numbers, num_docs))
    _write(config, pair_steps.STAGE, name, _pair_rows(numbers, num_docs, pairs))


def ids_of(numbers: UInt64Array) -> UInt64Array:
    """doc_ids of documents numbered through the corpus."""
    per_part = np.uint64(PART_DOCS)
    return (numbers // per_part) * np.uint64(pack_doc_id(1, 0, 0)) + numbers % per_part


def _hash_rows(numbers: UInt64Array) -> Iterator[pa.Table]:
    halves = np.stack([_mix(numbers, 1), _mix(numbers, 2)], axis=1).astype(">u8").tobytes()
    buffers = [None, pa.py_buffer(halves)]
    hashes = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(numbers), buffers)
    num_bytes = _mix(numbers, 3) % np.uint64(10_000)
    yield pa.Table.from_arrays([hashes, pa.array(num_bytes)], schema=HASH_SCHEMA)


def _band_rows(config: CorpusConfig, numbers: UInt64Array, num_docs: int) -> Iterator[pa.Table]:
    names = band_names(config.dedup.bands)
    for rows in np.array_split(numbers, -(-len(numbers) // BATCH_DOCS)):
        near = _mix(rows, 4) % np.uint64(5) == 0
        original = np.where(near, _mix(rows, 5) % np.uint64(num_docs), rows)
        columns = {}
        for band, name in enumerate(names):
            shared = _mix(rows, 100 + band) % np.uint64(10) < 6
            columns[name] = _mix(np.where(shared, original, rows), 200 + band)
        template = _mix(rows, 6) % np.uint64(500) == 0
        columns[names[0]] = np.where(template, np.uint64(7), columns[names[0]])
        columns["num_shingles"] = np.full(len(rows), 100, np.uint32)
        yield pa.table(columns)


def _pair_rows(numbers: UInt64Array, num_docs: int, pairs: int) -> Iterator[pa.Table]:
    """Pairs with up to `pairs` earlier documents of a cluster, spread over all parts."""
    stride = np.uint64(max(1, num_docs // CLUSTER_DOCS))
    for rows in np.array_split(numbers, -(-len(numbers) // BATCH_DOCS)):
        place = rows // stride  # within the cluster
        later = np.repeat(rows, np.minimum(place, pairs).astype(np.int64))
        step = np.arange(len(later), dtype=np.uint64) + _mix(later, 7) % np.uint64(2)
        earlier = later % stride + step % (later // stride) * stride
        similarity = 0.6 + 0.4 * (_mix(later * np.uint64(31) + earlier, 8) >> np.uint64(11)) / 2**53
        count = len(later)
        columns = [
            ids_of(earlier),
            ids_of(later),
            similarity,
            pa.repeat("exact", count),
            pa.repeat("stored", count),
        ]
        yield pa.Table.from_arrays([pa.array(column) for column in columns], schema=PAIRS)


def _mix(values: UInt64Array, seed: int) -> UInt64Array:
    """splitmix64."""
    with np.errstate(over="ignore"):
        x = values + np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
        x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return x ^ x >> np.uint64(31)


def _write(
    config: CorpusConfig,
    stage: str,
    part: str,
    rows: Iterator[pa.Table] | list[pa.Table],
    table: str = "",
) -> None:
    table = table or stage
    rows = iter(rows)
    first = next(rows)
    with tables.TableWriter(config.path(table, f"{part}.parquet"), first.schema) as writer:
        accepted = 0
        for one in itertools.chain([first], rows):
            if stage == pair_steps.STAGE:
                accepted += int((one["jaccard"].to_numpy() >= config.dedup.threshold).sum())
            for batch in one.to_batches():
                writer.write(batch)
    written = WrittenObject.of_table(table, part, writer.stats)
    counts = {"accepted": accepted, "kept": writer.stats.rows}
    commit.write_marker(config.output, PartMarker(stage, part, "scale", [written], counts))


if __name__ == "__main__":
    main()
