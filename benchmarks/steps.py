"""CPU seconds of the steps inside a pipeline run, by timers around the functions that do them.

    python -m benchmarks.steps CORPUS.yaml OUT.json       {step: CPU seconds of the process}

Runs all stages in this one process. Time within a nested step counts for that step only. The work
functions run in a thread of Beam while the stage's own thread waits for it, so the steps that are
open at one time are nested although two threads open them; CPU time is that of the whole process.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filters import c4, hashing, language, minhash, textstats
from pipelines import annotate, dedup, documents_part, ingest, pack, report, select, stages
from pipelines.config import load_config
from pipelines.duplicates import band_shuffle, decide, exact, fuzzy, pair_steps
from pipelines.packing import bpe, encoding
from storage import tables

STAGES = {
    "ingest": ingest,
    "annotate": annotate,
    "select": select,
    "dedup": dedup,
    "pack": pack,
    "report": report,
}
STEPS: list[tuple[Any, str, str]] = [
    (documents_part.DocumentsPart, "_batch", "Arrow batches"),
    (textstats, "compute", "signals: text"),
    (c4, "compute_with_edits", "editor: c4 lines"),
    (annotate, "apply_edits", "views"),
    (language, "compute", "signals: language"),
    (hashing, "compute", "signals: hash"),
    (minhash, "compute", "signals: minhash"),
    (tables.TableWriter, "write", "write tables"),
    (tables.TableWriter, "close", "write tables"),
    (bpe, "train", "train tokenizer"),
    (encoding, "choose_engine", "check engines"),
    (encoding.Encoder, "encode", "tokenise"),
    (exact, "run", "exact duplicates"),
    (band_shuffle, "run_passes", "band shuffle"),
    (pair_steps, "run", "verify pairs"),
    (fuzzy, "run", "rank and resolve"),
    (decide, "run", "final decisions"),
]
"""(module or class, function, step)."""
TASKS = {"ingest": "read and extract", "scatter": "read, sort, scatter", "pack": "write shards"}
"""What the task of a stage does besides the steps above."""
OTHER = "plan and run"


class StepTimer:
    """Adds up CPU seconds by (stage, step)."""

    def __init__(self) -> None:
        self.seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
        self._stage = ""
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self._charge()
        self._open.append(name)
        try:
            yield
        finally:
            self._charge()
            self._open.pop()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self._stage = name
        with self.step(OTHER):
            yield

    def wrap(self, owner: Any, function: str, step: str) -> None:
        """Puts a timer around `owner.function`."""
        original: Callable[..., Any] = getattr(owner, function)

        @functools.wraps(original)
        def timed(*arguments: Any, **keywords: Any) -> Any:
            with self.step(step):
                return original(*arguments, **keywords)

        setattr(owner, function, timed)

    def wrap_tasks(self) -> None:
        original = stages.run_task

        @functools.wraps(original)
        def timed(output: str, stage: str, *rest: Any) -> None:
            with self.step(TASKS.get(stage, OTHER)):
                original(output, stage, *rest)

        stages.run_task = timed

    def _charge(self) -> None:
        now = time.process_time()
        if self._open:
            self.seconds[self._stage, self._open[-1]] += now - self._since
        self._since = now


def main(corpus: str, out: str) -> None:
    config = load_config(corpus, ["runner.workers=1"])
    timer = StepTimer()
    for owner, function, step in STEPS:
        timer.wrap(owner, function, step)
    timer.wrap_tasks()
    for name, stage in STAGES.items():
        with timer.stage(name):
            stage.run(config)
    rows = [[stage, step, seconds] for (stage, step), seconds in timer.seconds.items()]
    Path(out).write_text(json.dumps(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
