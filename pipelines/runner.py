"""The one place that chooses and guards the Beam runner.

Beam is imported only where a pipeline runs: it takes a second of each command.

Locally it is FnApiRunner, in this process or with worker processes. Two choices are refused
because they break promises:

- `DirectRunner` is another engine on each machine since Beam 2.68 (Prism when its binary can be
  downloaded, else a fall-back);
- `multi_threading`, and any `data_buffer_time_limit_ms`, lose data: a background flush of the
  data plane races with the encoder.
"""

from __future__ import annotations

import difflib
import fcntl
import io
import logging
import os
import re
import shlex
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines import local_worker
from pipelines.config import RunnerConfig
from storage.errors import ConfigError, UserError

if TYPE_CHECKING:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

LOCAL = "FnApiRunner"
_USER_ERROR = re.compile(r"^(?:storage|pipelines)\.[\w.]+Error: (.*)$", re.MULTILINE)
_BEAM_ADDITION = re.compile(r" \[while running '[^']*'\]$")
SMALL_JOB_BYTES = 64 << 20
"""Below this a job stays in one process: starting worker processes takes 5 to 7 s, as each imports
Beam, and one core reads 10 to 30 MB/s."""


def check_runner(config: RunnerConfig) -> None:
    """Raises ConfigError for a runner or an option that would lose data or differ by machine."""
    options = " ".join(config.options)
    if config.name in ("DirectRunner", "SwitchingDirectRunner", "BundleBasedDirectRunner"):
        raise ConfigError(
            f"runner.name = {config.name!r}: DirectRunner is another engine on each machine; "
            f"use {LOCAL!r}, 'DataflowRunner' or 'FlinkRunner'"
        )
    if "--runner" in options:
        raise ConfigError("runner.options holds --runner; set runner.name instead")
    if "multi_threading" in options or "data_buffer_time_limit_ms" in options:
        raise ConfigError(
            f"runner.options = {options!r}: multi_threading and data_buffer_time_limit_ms lose "
            "data in Beam 2.77; use worker processes (runner.workers)"
        )
    if config.options:
        _check_flags(config.options)


def _check_flags(flags: list[str]) -> None:
    """Raises ConfigError for flags that Beam refuses, or would pass over with a warning."""
    from apache_beam.options.pipeline_options import PipelineOptions

    known = PipelineOptions([]).get_all_options(retain_unknown_options=True)
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):  # argparse explains itself and exits
            given = PipelineOptions(flags).get_all_options(retain_unknown_options=True)
    except SystemExit as error:
        reason = complaint.getvalue().strip().rpartition("\n")[2].partition("error: ")[2]
        raise ConfigError(f"Beam refuses {' '.join(flags)}: {reason}") from error
    for name in sorted(given.keys() - known.keys()):
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean --{near[0]}?" if near else ""
        raise ConfigError(f"Beam knows no flag --{name}{hint}")


def num_workers(config: RunnerConfig, num_tasks: int, num_bytes: int) -> int:
    """Local worker processes for a job; 1 means in this process."""
    if num_bytes < SMALL_JOB_BYTES and config.workers == 0:
        return 1
    return max(1, min(config.workers or os.cpu_count() or 1, num_tasks))


def pipeline_options(config: RunnerConfig, workers: int) -> PipelineOptions:
    from apache_beam.options.pipeline_options import PipelineOptions

    check_runner(config)
    flags = [f"--runner={config.name}", *config.options]
    if config.name == LOCAL:
        flags += [f"--direct_num_workers={workers}", "--direct_running_mode=in_memory"]
    return PipelineOptions(flags)


def run_pipeline(
    config: RunnerConfig,
    build: Callable[[beam.Pipeline], object],
    *,
    num_tasks: int,
    num_bytes: int,
) -> None:
    """Builds and runs one pipeline to its end. `build` adds the transforms.

    Raises UserError for one that a worker could not store, and so left to Beam.
    """
    import apache_beam as beam

    is_local = config.name == LOCAL  # then all that is logged is also raised
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL if is_local else logging.ERROR)
    workers = num_workers(config, num_tasks, num_bytes)
    options = pipeline_options(config, workers)
    with ExitStack() as stack:
        runner = None
        if is_local and workers > 1:
            stack.enter_context(_worker_lock())
            runner = _runner_of_processes()
        try:
            with beam.Pipeline(runner, options) as pipeline:
                build(pipeline)
        except (UserError, RuntimeError) as error:
            message = _message_to_user(error)
            if message is None:
                raise
            raise UserError(message) from error


def _message_to_user(error: Exception) -> str | None:
    """What a worker had to say to the user; from other processes Beam brings it as a traceback."""
    text = str(error)
    if not isinstance(error, UserError):
        found = _USER_ERROR.findall(text)
        text = found[-1] if found else None
    return _BEAM_ADDITION.sub("", text) if text else None


def _runner_of_processes() -> FnApiRunner:
    """What mode multi_processing makes, with our own worker program."""
    from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
    from apache_beam.transforms.environments import SubprocessSDKEnvironment

    command = f"exec {shlex.quote(sys.executable)} -m {local_worker.__name__}"
    return FnApiRunner(SubprocessSDKEnvironment.from_command_string(command))  # pyright: ignore


@contextmanager
def _worker_lock() -> Iterator[None]:
    """Holds the lock without which local workers end; Ctrl-C lets go of it.

    Otherwise Beam would wait for the workers' bundles to end before it lets Ctrl-C through.
    """
    descriptor, name = tempfile.mkstemp(prefix="tilth-driver-")
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.environ[local_worker.DRIVER_LOCK] = name
    try:
        with _on_ctrl_c(lambda: fcntl.flock(descriptor, fcntl.LOCK_UN)):
            yield
    finally:
        os.close(descriptor)
        Path(name).unlink(missing_ok=True)  # a worker may have been faster


@contextmanager
def _on_ctrl_c(act: Callable[[], object]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        threading.excepthook = lambda _: None  # Beam's threads report each worker that ended
        act()
        raise KeyboardInterrupt

    earlier = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, earlier)
