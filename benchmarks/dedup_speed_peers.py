"""Near-duplicate removal by other libraries, run by benchmarks/dedup_speed.py.

    PEER_PYTHON dedup_speed_peers.py PEER DOCUMENTS.jsonl SCRATCH

datatrove: its four stages with the default settings (5-grams, 14 buckets x 8 hashes), one process,
JSON lines to JSON lines. rensa: lower case, `str.split`, shingles of five words, signatures, LSH,
clusters by union-find, the kept documents written; `rensa-normalised` finds the words that tilth
and datatrove compare, without accents and punctuation. Everything is in the time of the process.
"""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from collections.abc import Callable
from functools import partial
from pathlib import Path

BANDS, ROWS, NGRAM = 14, 8, 5
WORD, ACCENTS = re.compile(r"[^\W_]+"), re.compile(r"[\u0300-\u036f]+")


def datatrove(documents: Path, scratch: Path) -> None:
    from datatrove.executor import LocalPipelineExecutor  # pyright: ignore
    from datatrove.pipeline.dedup import MinhashDedupSignature  # pyright: ignore
    from datatrove.pipeline.dedup.minhash import (  # pyright: ignore
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
    )
    from datatrove.pipeline.readers import JsonlReader  # pyright: ignore
    from datatrove.pipeline.writers import JsonlWriter  # pyright: ignore

    config = MinhashConfig(n_grams=NGRAM, num_buckets=BANDS, hashes_per_bucket=ROWS)

    def reader() -> JsonlReader:
        return JsonlReader(str(documents.parent), glob_pattern=documents.name)

    def folder(name: str) -> str:
        return str(scratch / name)

    stages = [
        ([reader(), MinhashDedupSignature(folder("signatures"), config=config)], 1),
        ([MinhashDedupBuckets(folder("signatures"), folder("buckets"), config=config)], BANDS),
        ([MinhashDedupCluster(folder("buckets"), folder("remove"), config=config)], 1),
        (
            [
                reader(),
                MinhashDedupFilter(folder("remove")),
                JsonlWriter(folder("kept"), compression=None),
            ],
            1,
        ),
    ]
    for number, (pipeline, tasks) in enumerate(stages):
        logs = folder(f"logs-{number}")
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=1, logging_dir=logs).run()


def split_words(text: str) -> list[str]:
    return text.lower().split()


def normalised_words(text: str) -> list[str]:
    if not text.isascii():
        text = ACCENTS.sub("", unicodedata.normalize("NFKD", text))
    return WORD.findall(text.lower())


def shingles(words: list[str]) -> list[str]:
    return [" ".join(words[i : i + NGRAM]) for i in range(max(1, len(words) - NGRAM + 1))]


def rensa(documents: Path, scratch: Path, words: Callable[[str], list[str]]) -> None:
    from rensa import RMinHash, RMinHashLSH  # pyright: ignore

    with documents.open(encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    sketches = RMinHash.from_token_sets(
        [shingles(words(text)) for text in texts], num_perm=BANDS * ROWS, seed=42
    )
    lsh = RMinHashLSH(threshold=0.7, num_perm=BANDS * ROWS, num_bands=BANDS)
    lsh.insert_pairs(list(enumerate(sketches)))
    parent = list(range(len(texts)))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = node = parent[parent[node]]
        return node

    for document, candidates in enumerate(lsh.query_all(sketches)):
        for other in candidates:
            a, b = root(document), root(other)
            parent[max(a, b)] = min(a, b)
    with (scratch / "kept.jsonl").open("w", encoding="utf-8") as kept:
        for document, text in enumerate(texts):
            if root(document) == document:
                kept.write(json.dumps({"text": text}) + "\n")


if __name__ == "__main__":
    peer, source, target = sys.argv[1:]
    peers = {
        "datatrove": datatrove,
        "rensa": partial(rensa, words=split_words),
        "rensa-normalised": partial(rensa, words=normalised_words),
    }
    peers[peer](Path(source), Path(target))
