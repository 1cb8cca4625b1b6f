"""Where dedup keeps temporary data, and how it runs the small steps that make it up.

`<output>/.work/dedup/<recipe_id>` is an output of its own: its objects are committed by markers
below it, so a run that is killed goes on there. It is removed when the decisions are written, or
when a run under another recipe finds it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from pipelines.config import CorpusConfig, RunnerConfig
from pipelines.runner import LOCAL, num_workers
from pipelines.stages import Slice, StageError, Task, Work, run_tasks
from storage import objects
from storage.errors import UserError

FOLDER = ".work/dedup"
SMALL_STEP_BYTES = 1 << 30
"""Below this a step of dedup stays in one process. Steps read 60 MB/s and more, and there are a
dozen: at 256 MB, a GB of text took two workers 41 s of CPU time, and this process 21."""


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where the tables of the corpus are, and where this run's temporary data goes."""

    output: str
    work: str
    recipe_id: str
    num_standing: int = 0
    """Documents with lower ranks are decided; two of them make no pair (`dedup.mode: append`)."""
    is_scoped: bool = False
    """Band hashes are those of one scope (`dedup.scope`)."""

    @classmethod
    def open(cls, config: CorpusConfig, recipe_id: str) -> Self:
        """The workplace of a run; removes what runs under other recipes have left."""
        folder = config.path(FOLDER)
        names = {info.path[len(folder) + 1 :] for info in objects.list_objects(folder)}
        for stale in {name.partition("/")[0] for name in names} - {recipe_id}:
            objects.delete_tree(objects.join(folder, stale))
        return cls(config.output, objects.join(folder, recipe_id), recipe_id)

    def remove(self) -> None:
        objects.delete_tree(objects.join(self.output, FOLDER))

    def ranks_path(self, part: str) -> str:
        """Packed RANKED rows of the documents of a part that compete, ascending by doc_id."""
        return objects.join(self.work, "ranks", f"{part}.bin")

    @property
    def failures(self) -> str:
        """Folder of the errors of workers."""
        return objects.join(self.work, "failures")

    @contextmanager
    def recording(self, name: str) -> Iterator[None]:
        """In a worker: an error that a user can mend is stored, not raised through Beam."""
        try:
            yield
        except UserError as error:
            objects.write(objects.join(self.failures, f"{name}.txt"), str(error).encode())

    def raise_recorded(self) -> None:
        """In the driver: raises StageError with the first error that workers stored."""
        for info in objects.list_objects(self.failures):
            message = objects.read(info.path).decode()
            objects.delete_tree(self.failures)
            raise StageError(f"dedup: {message}")


def run_step(config: CorpusConfig, stage: str, tasks: list[Task], work: Work) -> None:
    """Runs a map-only step; without Beam where this process is enough."""
    num_bytes = sum(task.weight for task in tasks)
    alone = is_alone(config.runner, len(tasks), num_bytes)
    run_tasks(config, stage, tasks, work, Slice(0, 1) if alone else None)


def is_alone(runner: RunnerConfig, num_tasks: int, num_bytes: int) -> bool:
    """Whether a step of dedup runs in this process, without Beam.

    A pipeline costs half a second in this process and 5-7 s with worker processes, so what they
    would do in that time is done here, however many workers there may be.
    """
    is_small = num_bytes < SMALL_STEP_BYTES
    return runner.name == LOCAL and (is_small or num_workers(runner, num_tasks, num_bytes) == 1)
