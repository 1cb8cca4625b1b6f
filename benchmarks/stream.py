"""The training stream: plan, look-ups, tokens per second, fetches per block.

    python -m benchmarks.stream                       a synthetic corpus in a temporary folder
    python -m benchmarks.stream --corpus OUTPUT       a packed corpus, local or s3://

The last figure reads the same tars with webdataset: in file order, without shuffle, resume or
verification, cut into the same windows. It is what decoding the shards costs at least.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from webdataset.compat import WebDataset

from storage.manifest import SHARDS, CorpusManifest, TokenizerEntry, load_manifest
from storage.shards import ShardDocument, ShardWriter, read_blocks_table
from training.objectives.causal import causal
from training.plan import PlanConfig, make_plan
from training.stream import Shares, Stream, StreamConfig, make_order
from training.stream_state import ScheduleEntry, StreamState

VOCAB_SIZE = 32_000
TOKENIZER = TokenizerEntry("", VOCAB_SIZE, VOCAB_SIZE, "uint16", "", "", {}, "none")


def main() -> None:
    arguments = parse_arguments()
    print_plan(arguments.shards)
    with tempfile.TemporaryDirectory() as folder:
        corpus = (
            load_manifest(arguments.corpus)
            if arguments.corpus
            else write_synthetic(Path(folder), arguments.megatokens << 20)
        )
        for world_size in (1, 16):
            print_stream(corpus, arguments, world_size)
        print_webdataset(corpus, arguments.raw_length)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"peak resident memory             {peak_mib} MiB")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", help="a packed corpus instead of a synthetic one")
    parser.add_argument("--megatokens", type=int, default=128)
    parser.add_argument("--raw-length", type=int, default=2048)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument(
        "--shards", type=int, default=1_000_000, help="shards of the planned corpus"
    )
    return parser.parse_args()


def print_plan(num_shards: int) -> None:
    """A corpus that is only planned: 40 strata, 128 MiB of tokens per shard."""
    corpus = planned_corpus(num_shards)
    warm_up(corpus)
    started = time.perf_counter()
    plan = make_plan(corpus, PlanConfig(raw_length=2048))
    order = make_order(plan, first_state(plan.fingerprint))
    order.windows(np.arange(4096))
    print(f"plan of {num_shards:,} shards, first cycle  {time.perf_counter() - started:.3f} s")
    seconds = min(timed(lambda: order.windows(np.arange(4096) + 4096 * 7)) for _ in range(5))
    print(
        f"4,096 look-ups                   {seconds * 1e3:.2f} ms, {4096 / seconds:,.0f} per second"
    )


def warm_up(corpus: CorpusManifest) -> None:
    """Loads the compiled kernel from numba's cache, or compiles it."""
    few = replace(corpus, shards=corpus.shards.slice(0, 10))
    plan = make_plan(few, PlanConfig(raw_length=2048))
    make_order(plan, first_state(plan.fingerprint)).windows([0])


def planned_corpus(num_shards: int) -> CorpusManifest:
    random = np.random.default_rng(0)
    stratum = np.sort(random.integers(0, 40, num_shards))
    columns: dict[str, Any] = {
        "path": [f"shards/train/s-{i:07d}.tar" for i in range(num_shards)],
        "split": np.full(num_shards, "train"),
        "stratum": np.char.add("s", stratum.astype(str)),
        "shard": np.arange(num_shards, dtype=np.uint32),
        "tokens": random.integers(60 << 20, 64 << 20, num_shards).astype(np.uint64),
        "docs": random.integers(50_000, 100_000, num_shards).astype(np.uint64),
    }
    empty = {name: np.zeros(num_shards, np.uint64) for name in ("bytes", "documents", "text_bytes")}
    columns |= empty | {"sha256": np.full(num_shards, "")}
    return CorpusManifest("", "plan", {}, TOKENIZER, "", pa.Table.from_pydict(columns, SHARDS))


def first_state(fingerprint: str) -> StreamState:
    mixture = StreamConfig(plan=PlanConfig(raw_length=1)).mixture
    entry = ScheduleEntry(first_cycle=0, mixture=mixture)
    return StreamState(fingerprint=fingerprint, identity={}, schedule=(entry,), configured=mixture)


class Clock:
    """Wall time, and CPU time of all threads: the second is comparable on a busy machine."""

    def __init__(self) -> None:
        self._started = time.perf_counter(), time.process_time()

    def rate(self, num_tokens: int) -> str:
        wall, cpu = time.perf_counter() - self._started[0], time.process_time() - self._started[1]
        return (
            f"{num_tokens / wall / 1e6:.1f} M tokens/s, {num_tokens / cpu / 1e6:.1f} per CPU second"
        )


def timed(call: Any) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def write_synthetic(root: Path, num_tokens: int) -> CorpusManifest:
    """Two strata of shards of 32 Mi tokens; documents of 600 tokens on average."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(max(2, num_tokens >> 25)):
        stratum, path = ("books", "web")[number % 2], f"shards/train/s-{number:05d}"
        with ShardWriter(str(root / path), np.dtype(np.uint16)) as writer:
            written = 0
            while written < min(num_tokens // 2, 1 << 25):
                size = int(random.geometric(1 / 600))
                tokens = random.integers(0, VOCAB_SIZE, size, dtype=np.uint16)
                writer.add(ShardDocument(number, stratum, "r", 4 * size, tokens))
                written += size
        stats = writer.stats
        rows.append((f"{path}.tar", "train", stratum, number, stats.bytes, stats.docs))
        rows[-1] += (stats.documents, stats.tokens, stats.text_bytes, stats.sha256)
    shards = pa.Table.from_pylist(
        [dict(zip(SHARDS.names, row, strict=True)) for row in rows], SHARDS
    )
    return CorpusManifest(str(root), "synthetic", {}, TOKENIZER, "", shards)


def print_stream(corpus: CorpusManifest, arguments: argparse.Namespace, world_size: int) -> None:
    """One rank reads its rows of an epoch, as causal examples."""
    config = StreamConfig.model_validate(
        {
            "plan": {"raw_length": arguments.raw_length},
            "mixture": {"max_epochs": {"*": 1}},
            "fetch": {"memory_bytes": 1 << 30},
        }
    )
    shares = Shares(rank=world_size // 2, world_size=world_size)
    num_tokens = 0
    with Stream(corpus, config, batch_size=arguments.batch_size, shares=shares) as stream:
        clock = Clock()
        for batch in stream:
            examples = causal(batch.tokens, batch.documents, VOCAB_SIZE)
            num_tokens += int(examples.loss_weights.sum())
        rate = clock.rate(num_tokens)
        touched = stream.counts.blocks
    blocks = sum(
        len(read_blocks_table(corpus.location(p))) for p in stream.plan.shards["path"].to_pylist()
    )
    print(
        f"stream, one rank of {world_size:<2}           "
        f"{rate}, "
        f"{touched} fetches, {touched * world_size / blocks:.2f} per block and epoch"
    )


def print_webdataset(corpus: CorpusManifest, raw_length: int) -> None:
    urls = [corpus.location(p) for p in corpus.select("train")["path"].to_pylist()]
    clock = Clock()
    num_tokens = sum(window.size - 1 for window in webdataset_windows(urls, raw_length))
    print(f"webdataset reader, file order    {clock.rate(num_tokens)}")


def webdataset_windows(urls: list[str], raw_length: int) -> Iterator[np.ndarray]:
    rest = np.zeros(0, np.int64)
    dataset: Any = WebDataset(urls, shardshuffle=False).decode()
    for sample in dataset:
        ends = np.cumsum(sample["lengths.npy"], dtype=np.int64)
        text = np.insert(sample["tokens.npy"].astype(np.int64), ends - sample["lengths.npy"], -1)
        rest = np.concatenate([rest, text])
        while rest.size > raw_length:
            yield rest[: raw_length + 1]
            rest = rest[raw_length:]


if __name__ == "__main__":
    main()
