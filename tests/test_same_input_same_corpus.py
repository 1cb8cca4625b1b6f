"""Promise 3: same input, same corpus, whatever the workers, hash seed, kills, slices, storage."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from storage import commit
from tests.whole_line import (
    command,
    digests,
    environment,
    fingerprint,
    manifest_fingerprint,
    run_corpus,
    tilth,
    write_corpus,
)

NUM_KILLS = 10


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    """Output of one uninterrupted run in one process."""
    folder = tmp_path_factory.mktemp("reference")
    run_corpus(write_corpus(folder, "out"), PYTHONHASHSEED="0")
    return folder / "out"


def assert_same(output: str, reference: Path) -> None:
    assert digests(output) == digests(str(reference))
    assert fingerprint(output) == fingerprint(str(reference))


def committed_documents(output: Path) -> list[Path]:
    """Tables of the parts that are ingested."""
    return [
        output / written.path
        for marker in commit.read_markers(str(output), "ingest")
        for written in marker.objects
    ]


def modification_times(paths: Iterable[Path]) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in paths}


@pytest.mark.slow
def test_two_worker_processes_and_another_hash_seed(tmp_path, reference):
    corpus = write_corpus(tmp_path, "out", runner={"workers": 2})
    run_corpus(corpus, PYTHONHASHSEED="12345")
    assert_same(str(tmp_path / "out"), reference)
    assert manifest_fingerprint(tmp_path / "out") == manifest_fingerprint(reference)


@pytest.mark.slow
def test_killed_at_ten_random_moments_and_started_again(tmp_path, reference):
    corpus = write_corpus(tmp_path, "out")
    moments = random.Random(7)
    finished: dict[Path, int] = {}
    for _ in range(NUM_KILLS):
        process = subprocess.Popen(
            command("run", corpus),
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(moments.uniform(2, 9))
        process.send_signal(signal.SIGKILL)
        process.wait()
        finished |= modification_times(committed_documents(tmp_path / "out"))
    run_corpus(corpus)
    assert_same(str(tmp_path / "out"), reference)
    assert finished.items() <= modification_times(committed_documents(tmp_path / "out")).items()
    leftovers = [path.name for path in (tmp_path / "out").rglob("*.tmp-*")]
    assert leftovers == []


@pytest.mark.s3
@pytest.mark.slow
def test_on_object_storage(tmp_path, reference, s3_folder):
    output = f"{s3_folder}/small"
    run_corpus(write_corpus(tmp_path, output))
    assert_same(output, reference)


@pytest.mark.slow
def test_in_slices_without_beam(tmp_path, reference):
    corpus = write_corpus(tmp_path, "out")
    for stage in ("ingest", "annotate", "select", "dedup", "pack", "pack"):
        for index in (1, 0):
            slices = [] if stage == "dedup" else ["--slice", f"{index}/2"]
            done = tilth(stage, corpus, *slices)
            assert done.returncode == 0, done.stderr
    assert "run them again" not in done.stderr
    run_corpus(corpus)
    assert_same(str(tmp_path / "out"), reference)


def test_a_second_run_writes_nothing(reference):
    before = modification_times(reference.rglob("*.parquet"))
    run_corpus(str(reference.parent / "corpus.yaml"))
    assert modification_times(reference.rglob("*.parquet")) == before


def test_a_threshold_redoes_decisions_and_reads_no_raw_file(tmp_path):
    from tests.whole_line import small_sources

    copied = []
    for source in small_sources()[:1]:
        raw = tmp_path / "raw" / source["name"]
        raw.mkdir(parents=True)
        for path in Path(source["paths"][0]).parent.glob(Path(source["paths"][0]).name):
            (raw / path.name).write_bytes(path.read_bytes())
        copied.append({**source, "paths": [str(raw)]})
    corpus = write_corpus(tmp_path, "out", sources=copied)
    run_corpus(corpus)
    output = tmp_path / "out"
    before = digests(str(output))
    for path in (tmp_path / "raw").rglob("*.zst"):
        path.rename(path.with_suffix(".moved"))
    for stage in ("select", "dedup", "pack"):
        done = tilth(stage, corpus, "--set", "select.min_language_score=0.9")
        assert done.returncode == 0, done.stderr
    after = digests(str(output))
    changed = {path.split("/")[0] for path in after if after[path] != before.get(path)}
    assert changed <= {"decisions", "generations", "pairs", "shards", "tokenizer.json"}
    assert "decisions" in changed
