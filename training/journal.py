"""What a run reports: metrics.jsonl, TensorBoard events, a progress line on a terminal.

metrics.jsonl has one object per line, `kind` train or validation, with the step. A resumed run
first removes lines after the step it resumes from, so that a step stands in the file once. Object
stores cannot append: there the lines are kept in a temporary file and stored at each `flush`.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

from storage import objects

METRICS = "metrics.jsonl"


class Journal:
    """Writes the records of one run; only rank 0 has one that writes."""

    def __init__(self, output: str, first_step: int, *, tensorboard: bool, enabled: bool) -> None:
        self._path = objects.join(output, METRICS)
        self._remote = "://" in output
        self._file: IO[str] | None = None
        self._events = None
        if enabled:
            self._file = self._open(first_step)
            if tensorboard and not self._remote:
                from torch.utils.tensorboard import SummaryWriter

                folder = str(Path(output) / "tensorboard")
                self._events = SummaryWriter(folder, purge_step=first_step + 1)

    def record(self, kind: str, step: int, values: dict[str, Any]) -> None:
        """One line of metrics.jsonl; numbers, also nested ones, become TensorBoard scalars."""
        if self._file is None:
            return
        self._file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
        self._file.flush()
        if self._events is not None:
            for name, value in _numbers(kind, values):
                self._events.add_scalar(name, value, step)

    def flush(self) -> None:
        """Make all records so far durable."""
        if self._file is None:
            return
        if self._remote:
            self._file.seek(0)
            with objects.open_write(self._path) as stored:
                while piece := self._file.read(1 << 20):
                    stored.write(piece.encode())
        if self._events is not None:
            self._events.flush()

    def close(self) -> None:
        self.flush()
        if self._file is not None:
            self._file.close()
        if self._events is not None:
            self._events.close()

    def _open(self, first_step: int) -> IO[str]:
        kept = _lines_until(self._path, first_step)
        if self._remote:
            file = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
            file.writelines(kept)
            return file
        objects.write(self._path, "".join(kept).encode())
        return Path(self._path).open("a", encoding="utf-8")


def _lines_until(path: str, step: int) -> list[str]:
    """Records up to `step`; what a kill left of a last line is dropped."""
    if step == 0 or not objects.exists(path):
        return []
    kept = []
    for line in objects.read(path).decode("utf-8").splitlines(keepends=True):
        if line.endswith("\n") and json.loads(line)["step"] <= step:
            kept.append(line)
    return kept


def _numbers(prefix: str, values: dict[str, Any]) -> list[tuple[str, float]]:
    found = []
    for key, value in values.items():
        if isinstance(value, dict):
            found += _numbers(f"{prefix}/{key}", value)
        elif isinstance(value, int | float):
            found.append((f"{prefix}/{key}", value))
    return found


class ProgressLine:
    """One line on stderr that is written over; nothing when stderr is no terminal."""

    def __init__(self, enabled: bool) -> None:
        self._enabled = enabled and sys.stderr.isatty()

    def show(self, text: str) -> None:
        if self._enabled:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()

    def close(self) -> None:
        if self._enabled:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
