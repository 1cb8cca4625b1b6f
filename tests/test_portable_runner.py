"""Promise 3 across Beam's job service, which Flink's, Spark's and Dataflow's runners speak too.

The service (Beam's own, in Python) runs in a process of its own: pipelines are serialised, sent to
it, and their code is loaded there, so that nothing may depend on the driver's memory.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.whole_line import digests, environment, fingerprint, run_corpus, tilth, write_corpus

EMBEDDED = "--environment_type=beam:env:embedded_python_grpc:v1"
"""Workers are started by the service, not by the driver."""
START_SECONDS = 120


@pytest.fixture(scope="module")
def job_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a job service."""
    folder = tmp_path_factory.mktemp("job-service")
    port_file = folder / "port"
    module = "apache_beam.runners.portability.local_job_service_main"
    command = [sys.executable, "-m", module, "-p", "0", "--port_file", str(port_file)]
    command += ["--staging_dir", str(folder / "staged")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment(), stdout=log, stderr=log)
    try:
        yield f"127.0.0.1:{_wait_for(port_file, process)}"
    finally:
        process.kill()
        process.wait()


def _wait_for(port_file: Path, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if port_file.exists() and port_file.read_text():
            return port_file.read_text()
        time.sleep(0.1)
    raise AssertionError(f"the job service did not start: {(port_file.parent / 'log').read_text()}")


@pytest.mark.slow
def test_a_job_service_gives_the_same_corpus(job_service: str, tmp_path: Path) -> None:
    here = write_corpus(tmp_path / "here", "out")
    run_corpus(here)
    there = write_corpus(tmp_path / "there", "out", runner={"name": "PortableRunner"})
    run_corpus(there, "--", f"--job_endpoint={job_service}", EMBEDDED)
    outputs = [str(tmp_path / name / "out") for name in ("here", "there")]
    assert digests(outputs[0]) == digests(outputs[1])
    assert fingerprint(outputs[0]) == fingerprint(outputs[1])


@pytest.mark.slow
def test_a_mistake_is_one_line_there_too(job_service: str, tmp_path: Path) -> None:
    sources = [{"name": "web", "format": "jsonl", "paths": [str(tmp_path / "*.jsonl")]}]
    (tmp_path / "a.jsonl").write_text('{"text": "one document of some words"}\n' * 3)
    corpus = write_corpus(tmp_path, "out", sources=sources, runner={"name": "PortableRunner"})
    flags = ["--", f"--job_endpoint={job_service}", EMBEDDED]
    assert tilth("ingest", corpus, *flags).returncode == 0
    for path in (tmp_path / "out" / "documents").rglob("*.parquet"):
        path.write_bytes(path.read_bytes()[:-50])
    done = tilth("annotate", corpus, "--set", "annotate.pii=true", *flags)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "documents/web/0000000-0000.parquet" in done.stderr
