"""Commands as users run them, with their time and the peak memory of each process they start."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
SAMPLE_SECONDS = 0.05
WORKER = "pipelines.local_worker"
"""In the command line of local worker processes."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one command and all processes it waited for took."""

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: dict[str, int] = field(default_factory=dict)
    """The largest of each kind of process, `driver` or `worker`; empty unless asked for."""


def run_module(*arguments: str, peaks: bool = False) -> Usage:
    """Runs `python -m ...` to its end. Raises CalledProcessError with its output when it fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", *arguments]
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    sampler = PeakSampler(process.pid) if peaks else None
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    code = process.returncode = os.waitstatus_to_exitcode(status)
    found = sampler.stop() if sampler else {}
    if code:
        raise subprocess.CalledProcessError(code, command, stderr=errors)
    return Usage(wall, usage.ru_utime + usage.ru_stime, found)


class PeakSampler:
    """Follows the peak resident memory (VmHWM) of the processes of a session, by kind.

    The kernel keeps the peak: only what a process reaches in its last `SAMPLE_SECONDS` is missed.
    """

    def __init__(self, session: int) -> None:
        self._session = session
        self._peaks: dict[str, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def stop(self) -> dict[str, int]:
        self._stop.set()
        self._thread.join()
        return self._peaks

    def _follow(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            for folder in Path("/proc").glob("[0-9]*"):
                try:
                    self._look_at(folder)
                except (FileNotFoundError, ProcessLookupError):
                    continue  # it has ended

    def _look_at(self, folder: Path) -> None:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        if int(fields[3]) != self._session:
            return
        kind = "worker" if WORKER in (folder / "cmdline").read_text() else "driver"
        for line in (folder / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                peak = int(line.split()[1]) * 1024
                self._peaks[kind] = max(peak, self._peaks.get(kind, 0))
