"""Storage that fails, and damaged outputs: one clear line, nothing already written is lost."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from storage import commit, s3_client
from tests.command_line import (
    NUM_DOCUMENTS,
    CommandLine,
    documents,
    write_corpus,
    write_documents,
)
from tests.whole_line import digests

KEYS = {"AWS_ACCESS_KEY_ID": "AKIAWRONGWRONGWRONG0", "AWS_SECRET_ACCESS_KEY": "w/rong+secret"}
FILE_LIMIT_BYTES = 64 << 10


@pytest.fixture
def line(capsys) -> CommandLine:
    return CommandLine(capsys)


@pytest.fixture
def s3_environment(monkeypatch) -> Iterator[pytest.MonkeyPatch]:
    """To change what the S3 client reads; it forgets that again afterwards."""
    yield monkeypatch
    monkeypatch.undo()
    s3_client.forget_connection()


def test_wrong_s3_credentials_are_named_by_their_place_only(
    line, tmp_path, s3_bucket, s3_environment
):
    for name, value in KEYS.items():
        s3_environment.setenv(name, value)
    s3_client.forget_connection()
    message = line.fails(1, "run", write_corpus(tmp_path, output=f"{s3_bucket}/out"))
    assert f"{s3_bucket}/out" in message
    assert "environment" in message
    assert not any(secret in message for secret in KEYS.values())


def test_a_bucket_that_does_not_exist(line, tmp_path, s3_bucket):
    missing = f"{s3_bucket}-missing"
    message = line.fails(1, "run", write_corpus(tmp_path, output=f"{missing}/out"))
    assert f"bucket '{missing.removeprefix('s3://')}' does not exist" in message


def test_raw_files_in_a_bucket_that_does_not_exist(line, tmp_path, s3_bucket):
    source = {"paths": f"{s3_bucket}-missing/raw/"}
    assert f"{s3_bucket}-missing" in line.fails(1, "run", write_corpus(tmp_path, source))


def test_no_endpoint(line, tmp_path, s3_environment):
    for name, value in KEYS.items():
        s3_environment.setenv(name, value)
    s3_environment.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    s3_environment.setenv("TILTH_S3_RETRY_SECONDS", "0.5")
    s3_client.forget_connection()
    message = line.fails(1, "run", write_corpus(tmp_path, output="s3://bucket/out"))
    assert "http://127.0.0.1:9" in message


@pytest.mark.parametrize("scheme", ["http://host/out", "ftp://host/out", "s3://"])
def test_an_output_on_no_known_storage(line, tmp_path, scheme):
    assert scheme in line.fails(2, "run", write_corpus(tmp_path, output=scheme))


def test_an_output_where_a_file_stands(line, tmp_path):
    (tmp_path / "out").write_text("a file")
    message = line.fails(1, "run", write_corpus(tmp_path))
    assert f"{tmp_path}/out/" in message
    assert (tmp_path / "out").read_text() == "a file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_that_may_not_be_written(line, tmp_path):
    (tmp_path / "out").mkdir(mode=0o555)
    assert "permission" in line.fails(1, "run", write_corpus(tmp_path))


@contextmanager
def limited_files() -> Iterator[None]:
    """Files of this process may not grow beyond FILE_LIMIT_BYTES."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def big_corpus(folder: Path, **sections: Any) -> str:
    """A corpus of two sources, of which the second does not fit a small disk."""
    noise = random.Random(1)
    write_documents(
        folder / "big" / "b.jsonl", [noise.randbytes(2000).hex() + f" {n}" for n in range(200)]
    )
    big = {"name": "two", "format": "jsonl", "paths": "big/*"}
    small = {"name": "one", "format": "jsonl", "paths": "raw/*"}
    return write_corpus(folder, sources=[small, big], **sections)


def test_a_file_that_may_not_grow(line, tmp_path):
    corpus = big_corpus(tmp_path)
    with limited_files():
        message = line.fails(1, "run", corpus)
    assert "two/0000001" in message
    assert "ulimit -f" in message


@pytest.fixture
def small_disk(tmp_path, request) -> Iterator[Path]:
    """A file system of 400 KB, or with another limit; only root can make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    limit = getattr(request, "param", "size=400k")
    command = ["mount", "-t", "tmpfs", "-o", limit, "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no right to mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_no_space_left(line, tmp_path, small_disk, workers):
    """What was written stays; with space the same command goes on."""
    corpus = big_corpus(tmp_path, output=str(small_disk / "out"), runner={"workers": workers})
    message = line.fails(1, "ingest", corpus)
    assert "no space left on device; free some space" in message
    assert f"{small_disk}/out/" in message
    written = commit.read_markers(str(small_disk / "out"), "ingest")
    assert [marker.part for marker in written] == ["one/0000000", "one/0000000-0000"]
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    line.succeeds("ingest", corpus)
    assert len(commit.read_markers(str(small_disk / "out"), "ingest")) == 4


@pytest.mark.parametrize("small_disk", ["nr_inodes=6"], indirect=True)
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_no_space_left_for_the_error_either(line, tmp_path, small_disk, workers):
    """Errors of workers are stored beside the output; one that cannot be arrives all the same."""
    output = str(small_disk / "out")
    corpus = big_corpus(tmp_path, output=output, runner={"workers": workers})
    message = line.fails(1, "ingest", corpus)
    assert message.startswith(f"cannot write {output}/")
    assert "no space left on device; free some space" in message


DAMAGE = {
    "flipped": lambda data: data[:40] + bytes([data[40] ^ 64]) + data[41:],  # in the first page
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    import tilth

    folder = tmp_path_factory.mktemp("finished")
    assert tilth.main(["run", write_corpus(folder)]) == 0
    return folder


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize(
    ("pattern", "command"),
    [
        ("documents/one/*.parquet", ["export-text"]),
        ("documents/one/*.parquet", ["select", "--set", "select.min_language_score=0.01"]),
        ("signals/hash/one/*.parquet", ["dedup", "--set", "dedup.survivor=shortest"]),
        ("decisions/final/one/*.parquet", ["report"]),
        ("registry.parquet", ["ingest"]),
        ("_done/ingest/one/*-*.json", ["ingest"]),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_a_damaged_output_is_named(line, tmp_path, finished, pattern, command, kind):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    path = next((tmp_path / "out").glob(pattern))
    path.write_bytes(DAMAGE[kind](path.read_bytes()))
    name, *rest = command
    assert str(path) in line.fails(1, name, str(tmp_path / "corpus.yaml"), *rest)


def test_a_damaged_part_is_written_again_without_its_marker(line, tmp_path):
    corpus = write_corpus(tmp_path)
    line.succeeds("ingest", corpus)
    before = digests(str(tmp_path / "out"))
    part = next((tmp_path / "out" / "documents" / "one").iterdir())
    part.write_bytes(part.read_bytes()[:-100])
    (tmp_path / "out" / "_done" / "ingest" / "one" / f"{part.stem}.json").unlink()
    line.succeeds("ingest", corpus)
    assert digests(str(tmp_path / "out")) == before
    assert len(documents(tmp_path)) == NUM_DOCUMENTS


ESCAPE = "\x1b]0;owned\x07\x1b[31mred\x9b2J"


def test_terminal_escapes_never_reach_the_terminal(line, tmp_path):
    url = f"https://example.org/{ESCAPE}"
    rows = [{"text": f"{n} hens {ESCAPE} lay {n * n} eggs", "url": url} for n in range(4)]
    raw = tmp_path / "raw" / f"a{ESCAPE}.jsonl"
    raw.parent.mkdir()
    raw.write_text("".join(json.dumps(row) + "\n" for row in rows) + f"broken {ESCAPE}\n")
    corpus = write_corpus(tmp_path)
    out = tmp_path / "out"
    said = [line.succeeds("run", corpus)]
    said += [line.succeeds("inspect", str(path)) for path in [out, *out.rglob("*.parquet")]]
    said += [line.succeeds("inspect", str(path)) for path in out.rglob("*.tar")]
    said += [line.succeeds("trace", corpus, "--shard", "shards/train/one-00000.tar")]
    said += [line.succeeds("trace", corpus, "--url", url), line.call("inspect", ESCAPE).err]
    said += [line.call("run", corpus, "--set", f"{ESCAPE}=1").err]
    said += [line.call("run", corpus, f"--{ESCAPE}").err]
    for text in said:
        assert text
        assert all(part.isprintable() for part in text.split("\n")), ascii(text)
