"""Map-only stages: tasks in, commit markers out; the same on Beam, in slices and after a kill.

A stage is a picklable `work(task)` that writes the task's objects and yields a PartMarker for each
part it completed, the task's own last. The marker is committed here, right after its part, so a
kill costs at most the part in hand. Tasks whose marker exists under the same recipe are skipped.

A user-level error in one task (StorageError, ConfigError) does not stop the others: it is stored
beside the work data and raised by the driver at the end, first task first.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pipelines.config import CorpusConfig
from pipelines.progress import Progress
from pipelines.runner import LOCAL, check_runner, num_workers, run_pipeline
from storage import commit, objects
from storage.commit import PartMarker
from storage.errors import ConfigError, UserError

if TYPE_CHECKING:
    import apache_beam as beam


class StageError(UserError):
    """A stage that could not finish; the message names the parts and their errors."""


@dataclass(frozen=True, slots=True)
class Task:
    part: str
    """Name of the marker that ends the task, as in `web/0000000-0000`."""
    recipe_id: str
    weight: int
    """Bytes to read: tasks start in descending order of it."""
    payload: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Slice:
    """`--slice i/n`: every n-th task from the i-th on, without Beam (Slurm arrays)."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Slice:
        index, slash, count = text.partition("/")
        if not (slash and index.isdigit() and count.isdigit() and int(index) < int(count)):
            raise ConfigError(f"--slice {text!r}: expected i/n with 0 <= i < n, as in 0/8")
        return cls(int(index), int(count))


Work = Callable[[Task], Iterable[PartMarker]]


FINISHED = "stages"
"""Markers of whole stages: `_done/stages/<stage>.json`."""


def run_tasks(
    config: CorpusConfig, stage: str, tasks: list[Task], work: Work, only: Slice | None = None
) -> None:
    """Runs the unfinished tasks of a map-only stage; the last one marks the stage as finished.

    Raises StageError when a task failed on something its user can mend.
    """
    todo = _unfinished(config, stage, tasks)
    if todo:
        commit.delete_marker(config.output, FINISHED, stage)
    if only is not None:
        mine = {task.part for task in tasks[only.index :: only.count]}
        todo = [task for task in todo if task.part in mine]
    todo.sort(key=lambda task: (-task.weight, task.part))
    for task in todo:  # an old marker must not vouch for an object that is being replaced
        commit.delete_marker(config.output, stage, task.part)
    if todo:
        _run(config, stage, todo, work, only)
    if not _unfinished(config, stage, tasks):
        recipe = commit.recipe_id(stage, 0, None, [task.recipe_id for task in tasks])
        commit.write_marker(config.output, PartMarker(FINISHED, stage, recipe))


def require(config: CorpusConfig, stage: str, command: str) -> None:
    """Raises UserError when an earlier stage has not finished."""
    if commit.read_marker(config.output, FINISHED, stage) is None:
        raise UserError(
            f"{config.name}: {command} has not finished in {config.output}; run `tilth {command}`"
        )


def _unfinished(config: CorpusConfig, stage: str, tasks: list[Task]) -> list[Task]:
    finished = {one.part: one.recipe_id for one in commit.read_markers(config.output, stage)}
    return [task for task in tasks if finished.get(task.part) != task.recipe_id]


def _run(
    config: CorpusConfig, stage: str, tasks: list[Task], work: Work, only: Slice | None
) -> None:
    for path in _failures(config, stage, tasks):
        objects.delete(path)
    num_bytes = sum(task.weight for task in tasks)
    check_runner(config.runner)
    is_alone = (
        config.runner.name == LOCAL and num_workers(config.runner, len(tasks), num_bytes) == 1
    )
    with Progress(config, stage, tasks):
        if only is not None or is_alone:  # importing Beam and a pipeline take a second and a half
            for task in tasks:
                run_task(config.output, stage, work, task)
        else:
            _run_on_beam(config, stage, tasks, work, num_bytes)
    _raise_failures(config, stage, tasks)


def run_task(output: str, stage: str, work: Work, task: Task) -> None:
    """One task to its end: commits each marker as its part completes."""
    started = time.perf_counter()
    try:
        for marker in work(task):
            busy = time.perf_counter() - started
            seconds = marker.seconds or {"busy": round(busy, 3)}
            commit.write_marker(output, replace(marker, seconds=seconds))
            started = time.perf_counter()
    except UserError as error:
        path = _failure_path(output, stage, task)
        try:
            objects.write(path, json.dumps({"part": task.part, "error": str(error)}).encode())
        except UserError:
            raise error from None  # a full disk has no room for its own error


@dataclass(frozen=True, slots=True)
class RunTask:
    """A task at the edge of Beam."""

    output: str
    stage: str
    work: Work

    def __call__(self, element: tuple[int, Iterable[str]]) -> Iterator[str]:
        _, tasks = element
        for text in tasks:
            task = Task(**json.loads(text))
            run_task(self.output, self.stage, self.work, task)
            yield task.part


def _run_on_beam(
    config: CorpusConfig, stage: str, tasks: list[Task], work: Work, num_bytes: int
) -> None:
    import apache_beam as beam

    keyed = [(index, json.dumps(asdict(task))) for index, task in enumerate(tasks)]

    def build(pipeline: beam.Pipeline) -> None:
        # Grouping by position, not Reshuffle's random keys: FnApiRunner deals keys out in turn,
        # so each local worker gets large and small tasks alike, the same on every run.
        _ = (
            pipeline
            | "Tasks" >> beam.Create(keyed, reshuffle=False)
            | "Spread" >> beam.GroupByKey()
            | f"Run {stage}" >> beam.FlatMap(RunTask(config.output, stage, work))
        )

    run_pipeline(config.runner, build, num_tasks=len(tasks), num_bytes=num_bytes)


def _failure_path(output: str, stage: str, task: Task | None = None) -> str:
    """Of one task, or of the folder of all."""
    name = f"{task.part}.json" if task else ""
    return objects.join(output, ".work", "failed", stage, name)


def _failures(config: CorpusConfig, stage: str, tasks: list[Task]) -> list[str]:
    """Where the errors of these tasks are stored; other slices may be at work on others."""
    mine = {_failure_path(config.output, stage, task) for task in tasks}
    stored = objects.list_objects(_failure_path(config.output, stage))
    return [info.path for info in stored if info.path in mine]


def _raise_failures(config: CorpusConfig, stage: str, tasks: list[Task]) -> None:
    failed = [json.loads(objects.read(path)) for path in _failures(config, stage, tasks)]
    if failed:
        shown = "; ".join(f"{one['part']}: {one['error']}" for one in failed[:3])
        more = f" (and {len(failed) - 3} more)" if len(failed) > 3 else ""
        raise StageError(f"{stage}: {len(failed)} of its parts failed: {shown}{more}")
