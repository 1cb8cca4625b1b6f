"""MinHash signatures per core, next to datatrove, datasketch and rensa on the same prose.

    python -m benchmarks.minhash --input PROSE [--peer-python VENV/bin/python]

PROSE is text, or JSON lines with a `text` field (.gz, .zst or plain). It is cut into documents of
4.4 kB. Everything runs in one go on one core: CPU seconds, median of the repeats. The peers live
in an environment of their own:

    python3 -m venv VENV && VENV/bin/pip install datatrove==0.10.1 datasketch==2.0.0 \\
        rensa==0.5.0 spacy nltk tokenizers "xxhash<4"
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from benchmarks.prose import cut, read_text
from filters import minhash
from filters.hashing import content_hash
from filters.minhash import MinHashParams
from filters.shingles import shingle_hashes, shingles, word_hashes

NUM_PERM = 112
NGRAM = 5
PEERS = Path(__file__).with_name("minhash_peers.py")


def main() -> None:
    parser = argparse.ArgumentParser(description="MinHash signatures per core, next to peers")
    parser.add_argument("--input", type=Path, required=True, help="text or JSON lines")
    parser.add_argument("--peer-python", help="Python of the environment with the peers")
    parser.add_argument("--document-chars", type=int, default=4400)
    parser.add_argument("--megabytes", type=float, default=8.0, help="of the input to use")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # inherited by the peers
    os.environ |= {"RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

    texts = cut(read_text(options.input, options.megabytes), options.document_chars)
    mean_bytes = sum(len(text.encode()) for text in texts) / len(texts)
    print(f"{len(texts)} documents of {mean_bytes:.0f} bytes, {options.input.name}, one core\n")
    seconds = ours(texts, options.repeats)
    if options.peer_python:
        seconds |= peers(options.peer_python, texts, options.repeats)
    print_table(seconds, mean_bytes)


def ours(texts: list[str], repeats: int) -> dict[str, list[float]]:
    """CPU seconds per document of each step, one entry per repeat."""
    text = pa.array(texts, pa.large_string())
    batch = pa.record_batch({"text": text})
    words = word_hashes(text)
    rows = shingles(words, NGRAM)
    signature = minhash.minimum_hashes(rows, NUM_PERM, 1)
    steps: dict[str, Callable[[], object]] = {
        "tilth": lambda: minhash.signatures(text, NGRAM, NUM_PERM),
        "tilth from hashes": lambda: minhash.minimum_hashes(rows, NUM_PERM, 1),
        "tilth: words": lambda: word_hashes(text),
        "tilth: shingles of words": lambda: shingles(words, NGRAM),
        "tilth: bands of signatures": lambda: minhash.band_hashes(signature, 14, 8),
        "tilth: signals of a batch": lambda: minhash.compute(batch, MinHashParams()),
        "tilth: shingle sets": lambda: shingle_hashes(text, NGRAM),
        "tilth: content hash": lambda: content_hash(text),
    }
    return {
        name: [s / len(texts) for s in cpu_seconds(step, repeats)] for name, step in steps.items()
    }


def cpu_seconds(call: Callable[[], object], repeats: int) -> list[float]:
    call()  # compiles, or reads the compiled kernel from the cache
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return seconds


def peers(python: str, texts: list[str], repeats: int) -> dict[str, list[float]]:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as documents:
        json.dump(texts, documents)
        documents.flush()
        command = [python, "-P", str(PEERS), documents.name, str(repeats)]
        result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(result.stdout.splitlines()[-1])


def print_table(seconds: dict[str, list[float]], mean_bytes: float) -> None:
    """Peers are compared with tilth from the same start: text, or ready shingle hashes."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print("| signatures of 112 permutations | us/document | documents/s | MB/s | tilth is |")
    print("|---|--:|--:|--:|--:|")
    for name, median in medians.items():
        is_peer = not name.startswith("tilth")
        base = medians["tilth from hashes" if name.endswith("from hashes") else "tilth"]
        ratio = f"{median / base:.1f} x" if is_peer else ""
        print(
            f"| {name} | {median * 1e6:.1f} | {1 / median:,.0f} | "
            f"{mean_bytes / median / 1e6:,.1f} | {ratio} |"
        )


if __name__ == "__main__":
    main()
