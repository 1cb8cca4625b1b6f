"""`make demo`: curate the example corpus, train on it, sample from it, say where to look."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
RUNS = ROOT / "runs" / "quickstart"
PROMPT = "The old man looked at the sea and"
TILTH = Path(sys.executable).parent / "tilth"


def main() -> None:
    corpus, training = HERE / "corpus.yaml", HERE / "train.yaml"
    step("Curating the example corpus", "run", corpus)
    step("Training a small model on it", "train", training)
    step("A sample of what it writes", "generate", RUNS / "model", "--prompt", PROMPT)
    shown = Path(os.path.relpath(TILTH, ROOT))
    example = corpus.relative_to(ROOT)
    print(
        f"""
Look at {RUNS / "corpus" / "report.html"}

Next:
  {shown} trace {example} --url https://www.debian.org/doc/debian-handbook/en-US/foreword.html
  {shown} run {example} --set dedup.threshold=0.6
  {shown} export {(RUNS / "model").relative_to(ROOT)} runs/quickstart/hugging-face"""
    )


def step(title: str, *arguments: object) -> None:
    """Runs one tilth command, shown as a user would type it; a failure ends the demo."""
    print(f"\n== {title}: tilth {' '.join(map(str, arguments))}", flush=True)
    started = time.monotonic()
    done = subprocess.run([str(TILTH), *map(str, arguments)], cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    print(f"-- {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
