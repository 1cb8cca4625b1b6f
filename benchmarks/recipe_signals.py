"""Speed of what single recipes need beside signal group `text`: editors and optional groups.

    python -m benchmarks.recipe_signals --prose PROSE [--code FILE.whl] [--sentences FOLDER]

PROSE is text or JSON lines, of which pages of 4,400 characters are cut; FILE is a zip of source
files (a wheel); FOLDER holds `<ISO 639-1 code>.txt.gz` files of one sentence per line, see
benchmarks/signals.py. C4's editor is measured in turn with the others. CPU seconds on one core,
medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from benchmarks.prose import cut, read_text
from benchmarks.signals import SCRIPTS, cpu_second, pages
from filters import c4, refinedweb, source_code, space_words

STEPS: dict[str, Callable[[pa.RecordBatch], object]] = {
    "C4 editor": lambda batch: c4.compute_with_edits(batch, c4.VARIANTS["c4"]),
    "RefinedWeb editor": refinedweb.compute_with_edits,
    "`space_words`": space_words.compute,
    "`code`": source_code.compute,
}
LANGUAGES = ("de", "ru", "zh")


def main() -> None:
    parser = argparse.ArgumentParser(description="signals of single recipes per core")
    parser.add_argument("--prose", type=Path, required=True, help="English text or JSON lines")
    parser.add_argument("--code", type=Path, help="zip or wheel with source files")
    parser.add_argument("--sentences", type=Path, help="folder of sentences by language")
    parser.add_argument("--megabytes", type=float, default=4.0, help="per text, at most")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    inputs = {"English books": cut(read_text(options.prose, options.megabytes), 4400)}
    if options.sentences:
        inputs |= {
            SCRIPTS[code]: pages(options.sentences / f"{code}.txt.gz", options.megabytes)
            for code in LANGUAGES
        }
    if options.code:
        inputs["source files"] = source_files(options.code, options.megabytes)
    print(f"MB/s | bytes a document | {' | '.join(STEPS)}")
    for name, texts in inputs.items():
        print_row(name, texts, options.repeats)


def source_files(path: Path, megabytes: float) -> list[str]:
    """The UTF-8 files of an archive, until there is enough."""
    texts: list[str] = []
    num_bytes = 0
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            content = archive.read(name)
            try:
                texts.append(content.decode())
            except UnicodeDecodeError:
                continue
            num_bytes += len(content)
            if num_bytes >= megabytes * 1e6:
                break
    return texts


def print_row(name: str, texts: list[str], repeats: int) -> None:
    meta = pa.array([[("lang", "Python")]] * len(texts), pa.map_(pa.string(), pa.string()))
    batch = pa.record_batch({"text": pa.array(texts, pa.large_string()), "meta": meta})
    num_bytes = sum(len(text.encode()) for text in texts)
    for step in STEPS.values():
        step(batch)  # compiles, or reads the compiled kernel from the cache
    rounds = [
        [cpu_second(lambda step=step: step(batch)) for step in STEPS.values()]
        for _ in range(repeats)
    ]
    rates = [num_bytes / statistics.median(seconds) / 1e6 for seconds in zip(*rounds, strict=True)]
    print(f"{name} | {num_bytes / len(texts):,.0f} | " + " | ".join(f"{r:,.1f}" for r in rates))


if __name__ == "__main__":
    main()
