"""A progress line for anything longer than 2 s: bytes done, rate, time left.

It counts commit markers, so it works alike for threads, processes and remote runners. Nothing is
shown when stderr is not a terminal.
"""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as RichProgress

from storage import commit, objects

if TYPE_CHECKING:
    from pipelines.config import CorpusConfig
    from pipelines.stages import Task

FIRST_SHOWN_SECONDS = 2.0
LOCAL_POLL_SECONDS = 1.0
REMOTE_POLL_SECONDS = 10.0


class Progress:
    """Shows how much of `tasks` is committed while the `with` block runs."""

    def __init__(self, config: CorpusConfig, stage: str, tasks: list[Task]) -> None:
        self._folder = objects.join(config.output, commit.DONE, stage)
        self._stage = stage
        self._weights = {f"{task.part}.json": max(task.weight, 1) for task in tasks}
        remote = "://" in config.output
        self._poll_seconds = REMOTE_POLL_SECONDS if remote else LOCAL_POLL_SECONDS
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _show(self) -> None:
        if self._stop.wait(FIRST_SHOWN_SECONDS):
            return
        columns = (
            TextColumn("{task.description:<10}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with RichProgress(*columns, console=Console(stderr=True), transient=True) as bar:
            line = bar.add_task(self._stage, total=sum(self._weights.values()))
            while not self._stop.wait(self._poll_seconds):
                bar.update(line, completed=self._done_weight())

    def _done_weight(self) -> int:
        prefix = len(self._folder) + 1
        parts = (info.path[prefix:] for info in objects.list_objects(self._folder))
        return sum(self._weights.get(part, 0) for part in parts)
