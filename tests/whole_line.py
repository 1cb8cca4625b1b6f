"""A small corpus of real files, run by the command line as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

from storage import commit

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "quickstart" / "data"
TIMEOUT_SECONDS = 600


def small_sources() -> list[dict]:
    """Four forms of raw data, 700 KB, a few seconds of work."""
    return [
        {
            "name": "questions",
            "format": "jsonl",
            "paths": [str(EXAMPLE / "questions" / "coffee*.jsonl.zst")],
            "recipe": ["gopher"],
        },
        {"name": "code", "format": "repository", "paths": [str(EXAMPLE / "code" / "*.tar.gz")]},
        {
            "name": "guides",
            "format": "jsonl",
            "paths": [str(EXAMPLE / "mc4" / f"c4-{name}.*") for name in ("ca", "en", "ja", "ru")],
            "recipe": ["c4"],
        },
        {
            "name": "science",
            "format": "parquet",
            "paths": [str(EXAMPLE / "science" / "*.parquet")],
            "recipe": ["fineweb"],
        },
    ]


def write_corpus(folder: Path, output: str, **sections: object) -> str:
    """A corpus file with small parts, so that there is something to interrupt."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {
        "name": "small",
        "output": output,
        "sources": small_sources(),
        "ingest": {"part_bytes": 64 << 10, "unit_bytes": 64 << 10},
        "tokenizer": {"vocab_size": 512, "sample_bytes": 200_000},
        "pack": {"validation_fraction": 0.1, "shard_bytes": 256 << 10, "block_bytes": 16 << 10},
        **sections,
    }
    path = folder / "corpus.yaml"
    path.write_text(yaml.safe_dump(values))
    return str(path)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tilth", *arguments]


def environment(**variables: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **variables}


def tilth(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs one command to its end."""
    return subprocess.run(
        command(*arguments),
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )


def run_corpus(corpus: str, *arguments: str, **variables: str) -> None:
    done = tilth("run", corpus, *arguments, **variables)
    assert done.returncode == 0, done.stderr


def fingerprint(output: str) -> str:
    """Of every table and shard that any stage has committed."""
    return commit.fingerprint(commit.read_markers(output, ""))


def digests(output: str) -> dict[str, str]:
    """Every committed object by path: what differs can be named."""
    return {
        written.path: written.digest
        for marker in commit.read_markers(output, "")
        for written in marker.objects
    }


def manifest_fingerprint(output: Path) -> str:
    return json.loads((output / "manifest.json").read_text())["fingerprint"]
