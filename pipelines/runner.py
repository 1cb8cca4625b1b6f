"""The one place that chooses and guards the Beam runner.

Locally it is FnApiRunner, in this process or with worker processes. Two choices are refused
because they break promises:

- `DirectRunner` is another engine on each machine since Beam 2.68 (Prism when its binary can be
  downloaded, else a fall-back);
- `multi_threading`, and any `data_buffer_time_limit_ms`, lose data: a background flush of the
  data plane races with the encoder.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.config import RunnerConfig
from storage.errors import ConfigError

LOCAL = "FnApiRunner"
SMALL_JOB_BYTES = 24 << 20
"""Below this a job stays in one process: starting worker processes takes 3-5 s."""


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


def num_workers(config: RunnerConfig, num_tasks: int, num_bytes: int) -> int:
    """Local worker processes for a job; 1 means in this process."""
    if num_bytes < SMALL_JOB_BYTES and config.workers == 0:
        return 1
    return max(1, min(config.workers or os.cpu_count() or 1, num_tasks))


def pipeline_options(config: RunnerConfig, num_tasks: int, num_bytes: int) -> PipelineOptions:
    check_runner(config)
    flags = [f"--runner={config.name}", *config.options]
    if config.name == LOCAL:
        workers = num_workers(config, num_tasks, num_bytes)
        mode = "multi_processing" if workers > 1 else "in_memory"
        flags += [f"--direct_running_mode={mode}", f"--direct_num_workers={workers}"]
        flags += ["--default_sdk_harness_log_level=WARNING"]
    return PipelineOptions(flags)


def run_pipeline(
    config: RunnerConfig,
    build: Callable[[beam.Pipeline], object],
    *,
    num_tasks: int,
    num_bytes: int,
) -> None:
    """Builds and runs one pipeline to its end. `build` adds the transforms."""
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    with beam.Pipeline(options=pipeline_options(config, num_tasks, num_bytes)) as pipeline:
        build(pipeline)
