"""Throughput and latency of the object interface: one command, one table.

    python -m benchmarks.storage [FOLDER ...]        # local folders, s3:// or gs:// addresses

The S3 columns mean something only beside the same bytes through plain boto3, which is measured
with the same client on every s3:// folder.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable

from storage import objects, s3_client

MIB = 1 << 20
NUM_LARGE_BYTES = 128 * MIB  # the size of a shard
NUM_SMALL = 100
REPEATS = 3


def main(folders: list[str]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        for folder in folders or [temporary]:
            print(f"\n{folder}: {NUM_LARGE_BYTES // MIB} MiB objects, median of {REPEATS}")
            for name, figure, unit in measure(objects.join(folder, "tilth-benchmark")):
                print(f"  {name:34} {figure:10.1f} {unit}")


def measure(folder: str) -> list[tuple[str, float, str]]:
    """(what, figure, unit) for one storage; leaves nothing behind."""
    data = bytes(range(256)) * (NUM_LARGE_BYTES // 256)
    path = f"{folder}/large"
    try:
        rows = [
            ("write", megabytes_per_second(lambda: objects.write(path, data)), "MB/s"),
            ("open_write, 1 MiB pieces", megabytes_per_second(lambda: stream(path, data)), "MB/s"),
            ("read", megabytes_per_second(lambda: objects.read(path)), "MB/s"),
            ("open_read, 1 MiB pieces", megabytes_per_second(lambda: consume(path)), "MB/s"),
        ]
        if path.startswith("s3://"):
            rows += plain_boto3(path, data)
        rows += [
            ("read_range of 1 MiB", milliseconds(lambda: objects.read_range(path, MIB, MIB)), "ms"),
            (
                "write of 1 kB",
                milliseconds(lambda: objects.write(f"{folder}/s", b"x" * 1000)),
                "ms",
            ),
            ("exists, present", milliseconds(lambda: objects.exists(path)), "ms"),
            ("exists, missing", milliseconds(lambda: objects.exists(f"{folder}/none")), "ms"),
        ]
    finally:
        objects.delete_tree(folder)
    return rows


def plain_boto3(path: str, data: bytes) -> list[tuple[str, float, str]]:
    client = s3_client.connection().client
    bucket, key = s3_client.split(path)

    def get() -> None:
        client.get_object(Bucket=bucket, Key=key)["Body"].read()

    def put() -> None:
        client.put_object(Bucket=bucket, Key=key, Body=data)

    def head() -> None:
        client.head_object(Bucket=bucket, Key=key)

    return [
        ("plain boto3 put_object", megabytes_per_second(put), "MB/s"),
        ("plain boto3 get_object", megabytes_per_second(get), "MB/s"),
        ("plain boto3 head_object", milliseconds(head), "ms"),
    ]


def stream(path: str, data: bytes) -> None:
    with objects.open_write(path) as handle:
        for first in range(0, len(data), MIB):
            handle.write(data[first : first + MIB])


def consume(path: str) -> None:
    with objects.open_read(path) as handle:
        while handle.read(MIB):
            pass


def megabytes_per_second(action: Callable[[], object]) -> float:
    return NUM_LARGE_BYTES / 1e6 / median_seconds(action, REPEATS)


def milliseconds(action: Callable[[], object]) -> float:
    return 1e3 * median_seconds(action, NUM_SMALL)


def median_seconds(action: Callable[[], object], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


if __name__ == "__main__":
    main(sys.argv[1:])
