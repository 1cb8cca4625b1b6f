"""What a kill costs: a large WARC is ingested, killed again and again, and started again.

    python -m benchmarks.kill_resume [--megabytes 1000] [--kills 10] [--workers 2] [--folder DIR]

The WARC (gzip, one member per page) repeats 32 MB of different pages. Each attempt runs until it
has read a random number of bytes; then all its processes are stopped, the positions of their
handles on the WARC are read from /proc (Linux), and they are killed with SIGKILL. What had been
read of parts that are not committed is what the next attempt reads again. The finished output is
compared with that of a run which nobody killed.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from benchmarks.processes import ROOT
from benchmarks.raw_corpus import EXAMPLE, example_pages, write_warc
from pipelines.config import IngestConfig, load_config
from storage import commit

STAGE = "ingest"
SOURCE = "web"
DIFFERENT_BYTES = 32_000_000
HTML_PER_BYTE = 5.5
"""Bytes of the example's pages for one of their gzip members."""
MIN_READ, MAX_READ = 0.02, 0.4
"""Share of the WARC that an attempt reads before it is killed."""
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Attempt:
    seconds: float
    num_committed: int
    """Parts of the WARC that are finished after it."""
    lost_bytes: int
    """Read, but not committed when the attempt was killed."""
    was_killed: bool


def main() -> None:
    parser = argparse.ArgumentParser(description="bytes that are read again after a kill")
    parser.add_argument("--megabytes", type=float, default=1000, help="size of the WARC")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--part-bytes", type=int, default=IngestConfig().part_bytes)
    parser.add_argument("--folder", type=Path, help="for the WARC; default a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = Path(temporary)
        warc = folder / "large.warc.gz"
        write_large_warc(warc, int(options.megabytes * 1e6))
        killed = write_corpus(folder / "killed", warc, options)
        attempts = run_with_kills(killed, warc, options.kills, options.part_bytes)
        whole = write_corpus(folder / "whole", warc, options)
        started = time.perf_counter()
        start(whole).wait()
        seconds = time.perf_counter() - started
        is_same = fingerprint(killed) == fingerprint(whole)
        print_table(attempts, warc.stat().st_size, seconds, is_same)


def write_large_warc(path: Path, num_bytes: int) -> None:
    """Different pages up to 32 MB, repeated until the file has at least `num_bytes`."""
    pages = example_pages(EXAMPLE / "data/web/debian.warc.gz")
    html_bytes = int(min(num_bytes, DIFFERENT_BYTES) * HTML_PER_BYTE)
    write_warc(path, pages, html_bytes, seed=1)
    once = path.read_bytes()
    with path.open("ab") as file:
        while file.tell() < num_bytes:
            file.write(once)


def write_corpus(folder: Path, warc: Path, options: argparse.Namespace) -> Path:
    folder.mkdir()
    recipe = str(EXAMPLE / "web.yaml")
    source = {"name": SOURCE, "format": "warc", "paths": str(warc), "recipe": recipe}
    values = {
        "name": "killed",
        "output": str(folder / "out"),
        "sources": [source],
        "ingest": {"part_bytes": options.part_bytes},
        "runner": {"workers": options.workers},
    }
    path = folder / "corpus.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def run_with_kills(corpus: Path, warc: Path, num_kills: int, part_bytes: int) -> list[Attempt]:
    """Attempts until one ends by itself; the first `num_kills` of them are killed if they last."""
    rng, num_bytes = random.Random(7), warc.stat().st_size
    attempts: list[Attempt] = []
    while not attempts or attempts[-1].was_killed:
        limit = num_bytes * rng.uniform(MIN_READ, MAX_READ) if len(attempts) < num_kills else None
        attempts.append(attempt(corpus, warc, part_bytes, limit))
        print(attempts[-1], file=sys.stderr)
    return attempts


def attempt(corpus: Path, warc: Path, part_bytes: int, limit: float | None) -> Attempt:
    """One run, killed when it has read `limit` bytes of the WARC; None lets it end."""
    started = time.perf_counter()
    num_before = len(committed_parts(corpus))
    process = start(corpus)
    handles = Handles(process.pid, warc, part_bytes)
    lost = 0
    while process.poll() is None:
        time.sleep(POLL_SECONDS)
        finished = committed_parts(corpus)
        lost = handles.uncommitted_bytes(finished)
        num_read = lost + part_bytes * (len(finished) - num_before)
        if limit is not None and num_read >= limit:
            lost = kill(process, corpus, handles)
            break
    code = process.wait()
    if code > 0:
        raise SystemExit(f"tilth ingest failed with exit code {code}")
    seconds = time.perf_counter() - started
    return Attempt(seconds, len(committed_parts(corpus)), lost if code else 0, code < 0)


def start(corpus: Path) -> subprocess.Popen[bytes]:
    """`tilth ingest` in a session of its own, which names all processes that it starts."""
    return subprocess.Popen(
        [sys.executable, "-m", "tilth", "ingest", str(corpus)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def kill(process: subprocess.Popen[bytes], corpus: Path, handles: Handles) -> int:
    """Stops the session, measures what it loses, and kills it."""
    os.killpg(process.pid, signal.SIGSTOP)
    lost = handles.uncommitted_bytes(committed_parts(corpus))
    os.killpg(process.pid, signal.SIGKILL)
    return lost


def committed_parts(corpus: Path) -> set[int]:
    """Numbers of the finished parts of the WARC."""
    folder = corpus.parent / "out" / commit.DONE / STAGE / SOURCE
    return {int(path.stem.rpartition("-")[2]) for path in folder.glob("*-*.json")}


class Handles:
    """The handles of a session's processes on one file, and the part that each of them reads."""

    def __init__(self, session: int, path: Path, part_bytes: int) -> None:
        self._session, self._path, self._part_bytes = session, path, part_bytes
        self._parts: dict[Path, int] = {}

    def uncommitted_bytes(self, finished: set[int]) -> int:
        """Bytes between the beginning of each part that is not finished and its reader.

        A part is read to the end of its last record, so a position alone does not name the part;
        where its handle was first seen does.
        """
        lost = 0
        for handle, position in read_positions(self._session, self._path):
            part = self._parts.get(handle)
            if part is None or part in finished:
                part = self._parts[handle] = position // self._part_bytes
            lost += max(0, position - part * self._part_bytes)
        return lost


def read_positions(session: int, path: Path) -> Iterator[tuple[Path, int]]:
    """The open handles on `path` of the processes of a session, with their positions."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(folder.name)) != session:
                continue
            for handle in (folder / "fd").iterdir():
                if handle.readlink() == path:
                    info = (folder / "fdinfo" / handle.name).read_text()
                    yield handle, int(info.split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended


def fingerprint(corpus: Path) -> str:
    return commit.fingerprint(commit.read_markers(load_config(str(corpus)).output, ""))


def print_table(attempts: list[Attempt], num_bytes: int, seconds: float, is_same: bool) -> None:
    print("| attempt | ended by | s | parts finished | MB to read again |\n|--:|---|--:|--:|--:|")
    for number, one in enumerate(attempts, 1):
        end = "SIGKILL" if one.was_killed else "itself"
        print(
            f"| {number} | {end} | {one.seconds:.0f} | {one.num_committed} "
            f"| {one.lost_bytes / 1e6:.0f} |"
        )
    most = max(one.lost_bytes for one in attempts) / 1e6
    total = sum(one.seconds for one in attempts)
    print(
        f"\nWARC of {num_bytes / 1e6:,.0f} MB; at most {most:.0f} MB read again after a kill; "
        f"{total:.0f} s with kills, {seconds:.0f} s without; outputs "
        f"{'equal' if is_same else 'DIFFERENT'}"
    )


if __name__ == "__main__":
    main()
