"""Quality signals per core and script, beside datatrove's four filters on the same text.

    python -m benchmarks.signals --prose PROSE [--sentences FOLDER] [--peer-python VENV/bin/python]

PROSE is text or JSON lines; FOLDER holds `<ISO 639-1 code>.txt.gz` files of one sentence per line,
of which pages are made: four sentences a line, six lines. `all` is what recipe `fineweb` needs:
signal group `text`, C4's line editor with its counts, and the view of what the editor leaves;
datatrove's GopherRepetition, GopherQuality, C4Quality and FineWebQuality filters need the same.
CPU seconds on one core, medians. The peer lives in an environment of its own:

    python3 -m venv VENV && VENV/bin/pip install datatrove==0.10.1 \
        spacy==3.8.18 nltk==3.10.4 tldextract fasttext
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa

from benchmarks.prose import cut, read_text
from filters import c4, textstats
from filters.edits import apply_edits

SCRIPTS = {
    "en": "Latin, English",
    "de": "Latin, German",
    "vi": "Latin, Vietnamese",
    "ru": "Cyrillic",
    "el": "Greek",
    "ar": "Arabic",
    "he": "Hebrew",
    "hi": "Devanagari",
    "ko": "Hangul",
    "zh": "Han",
    "ja": "Han and kana",
    "th": "Thai",
}
LINES_A_PAGE, SENTENCES_A_LINE = 6, 4
VARIANT = c4.VARIANTS["c4_fineweb"]
PEER = Path(__file__).with_name("signals_peer.py")
COLD = """
import time, pyarrow as pa
from filters import c4, textstats
batch = pa.record_batch({"text": pa.array(["Some words of text. " * 50], pa.large_string())})
start = time.perf_counter()
textstats.compute(batch)
c4.compute_with_edits(batch, c4.VARIANTS["c4_fineweb"])
print(time.perf_counter() - start)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="quality signals per core, beside datatrove")
    parser.add_argument("--prose", type=Path, required=True, help="English text or JSON lines")
    parser.add_argument("--sentences", type=Path, help="folder of sentences by language")
    parser.add_argument("--peer-python", help="Python of the environment with datatrove")
    parser.add_argument("--peer-megabytes", type=float, default=0.2)
    parser.add_argument("--megabytes", type=float, default=4.0, help="per script, repeated if less")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # inherited by the peer
    inputs = {"English books": cut(read_text(options.prose, options.megabytes), 4400)}
    if options.sentences:
        inputs |= {
            name: pages(options.sentences / f"{code}.txt.gz", options.megabytes)
            for code, name in SCRIPTS.items()
        }
    print_rates(inputs, options.repeats, options.peer_python, options.peer_megabytes)
    print_cold_start()


def pages(path: Path, megabytes: float) -> list[str]:
    """Pages of the sentences of a file, from its start again until there is enough."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        sentences = [line.rstrip("\n") for line in lines]
    size = LINES_A_PAGE * SENTENCES_A_LINE
    found, num_bytes = [], 0
    for start in itertools.cycle(range(0, len(sentences) - size + 1, size)):
        chosen = sentences[start : start + size]
        rows = [chosen[i : i + SENTENCES_A_LINE] for i in range(0, size, SENTENCES_A_LINE)]
        found.append("\n".join(" ".join(row) for row in rows))
        num_bytes += len(found[-1].encode())
        if num_bytes >= megabytes * 1e6:
            return found
    raise ValueError(f"{path} has fewer than {size} sentences")


def print_rates(
    inputs: dict[str, list[str]], repeats: int, peer_python: str | None, peer_megabytes: float
) -> None:
    print(
        "| text | bytes a document | `text` | C4 editor | view | all | best | datatrove | ratio |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for (name, texts), seconds in zip(inputs.items(), ours(inputs, repeats), strict=True):
        num_bytes = sum(len(text.encode()) for text in texts)
        rates = [num_bytes / statistics.median(step) / 1e6 for step in seconds]
        totals = [sum(steps) for steps in zip(*seconds, strict=True)]
        ours_rate = num_bytes / statistics.median(totals) / 1e6
        best = num_bytes / min(totals) / 1e6
        theirs = peer(peer_python, texts, peer_megabytes) if peer_python else None
        print(
            f"| {name} | {num_bytes / len(texts):,.0f} | "
            + " | ".join(f"{rate:,.1f}" for rate in (*rates, ours_rate, best))
            + (f" | {theirs:.3f} | {ours_rate / theirs:,.0f} x |" if theirs else " | | |"),
            flush=True,
        )


def ours(inputs: dict[str, list[str]], repeats: int) -> list[list[list[float]]]:
    """CPU seconds [inputs, steps, repeats]: signals, editor, view.

    All inputs are measured in turn: a shared core is slower for minutes at a time. Each round is a
    new thread's, which knows no chunks from the round before.
    """
    steps = [steps_of(pa.array(texts, pa.large_string())) for texts in inputs.values()]
    for step in itertools.chain.from_iterable(steps):
        step()  # compiles, or reads the compiled kernel from the cache
    rounds = [[in_new_thread(one) for one in steps] for _ in range(repeats)]
    return [[list(step) for step in zip(*one, strict=True)] for one in zip(*rounds, strict=True)]


def steps_of(text: pa.Array) -> list[Callable[[], object]]:
    batch = pa.record_batch({"text": text})
    _, edits = c4.compute_with_edits(batch, VARIANT)
    return [
        lambda: textstats.compute(batch),
        lambda: c4.compute_with_edits(batch, VARIANT),
        lambda: apply_edits(text, edits),
    ]


def in_new_thread(steps: list[Callable[[], object]]) -> list[float]:
    """CPU seconds of steps one after the other."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: [cpu_second(step) for step in steps]).result()


def cpu_second(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def peer(python: str, texts: list[str], megabytes: float) -> float:
    """MB/s of datatrove's four filters on the first documents."""
    ends = itertools.accumulate(len(text.encode()) for text in texts)
    chosen = [text for text, end in zip(texts, ends, strict=True) if end <= megabytes * 1e6]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as documents:
        json.dump(chosen, documents)
        documents.flush()
        command = [python, "-P", str(PEER), documents.name]
        result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    seconds = float(result.stdout.splitlines()[-1])
    return sum(len(text.encode()) for text in chosen) / seconds / 1e6


def print_cold_start() -> None:
    """Wall seconds of the first batch in a new process; the kernels are in the cache by now."""
    times = []
    for _ in range(5):
        command = [sys.executable, "-c", COLD]
        result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        times.append(float(result.stdout))
    print(
        f"\nfirst batch in a new process, kernels from the cache: {statistics.median(times):.2f} s "
        f"({min(times):.2f}-{max(times):.2f})"
    )


if __name__ == "__main__":
    main()
