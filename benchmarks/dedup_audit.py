"""`tilth dedup --audit` of prose with near copies, by several settings of bands.

python -m benchmarks.dedup_audit [--megabytes 15]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.dedup_speed import LONG_DOCUMENT, documents, make_corpus, take_megabytes
from benchmarks.processes import ROOT, run_module

SETTINGS = {
    "14 x 8": {},
    "auto": {"bands": "auto", "rows": "auto"},
    "auto, threshold .6": {"bands": "auto", "rows": "auto", "threshold": 0.6},
}


def main() -> None:
    parser = argparse.ArgumentParser(description="recall by edit rate and precision of drops")
    parser.add_argument("--megabytes", type=float, default=15, help="of text")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, dedup) in enumerate(SETTINGS.items()):
            texts = take_megabytes(documents(*LONG_DOCUMENT), options.megabytes)
            corpus = make_corpus(Path(folder) / str(number), texts, 1, dedup)
            run_module("tilth", "annotate", str(corpus))
            command = [sys.executable, "-m", "tilth", "dedup", str(corpus), "--audit"]
            done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
            print(f"{name}\n{done.stdout}")


if __name__ == "__main__":
    main()
