"""The object interface on a real S3 service (infra/local-s3)."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage import objects, s3_client
from storage.objects import ObjectNotFound, StorageError
from storage.s3_upload import MAX_PARTS, NUM_EQUAL_PARTS, SMALLEST_PART_BYTES, part_bytes

ROOT = Path(__file__).parents[2]
MIB = 1 << 20


@pytest.fixture
def folder(s3_bucket: str, request: pytest.FixtureRequest) -> str:
    return f"{s3_bucket}/{request.node.name}"


def names(folder: str, pattern: str = "") -> list[str]:
    found = objects.expand(f"{folder}/{pattern}") if pattern else objects.list_objects(folder)
    return [info.path.removeprefix(f"{folder}/") for info in found]


def unfinished_uploads(folder: str) -> int:
    bucket, prefix = s3_client.split(folder)
    reply = boto3.client("s3").list_multipart_uploads(Bucket=bucket, Prefix=prefix)
    return len(reply.get("Uploads", []))


def test_write_then_read(folder: str) -> None:
    path = f"{folder}/new/object"
    objects.write(path, b"first, longer")
    objects.write(path, b"second")
    assert objects.read(path) == b"second"
    assert objects.size(path) == 6
    assert objects.exists(path)
    assert not objects.exists(f"{folder}/new")  # a folder is no object
    objects.delete(path)
    objects.delete(path)
    assert not objects.exists(path)
    with pytest.raises(ObjectNotFound, match="new/object: no such object"):
        objects.read(path)


def test_empty_object(folder: str) -> None:
    objects.write(f"{folder}/empty", b"")
    with objects.open_write(f"{folder}/untouched"):
        pass
    for name in ("empty", "untouched"):
        assert objects.read(f"{folder}/{name}") == b""
        assert objects.open_read(f"{folder}/{name}").read() == b""
        assert objects.read_range(f"{folder}/{name}", 0, 0) == b""
        assert objects.exists(f"{folder}/{name}")
    with pytest.raises(StorageError, match="ends early"):
        objects.read_range(f"{folder}/empty", 0, 1)


def test_read_range(folder: str) -> None:
    path = f"{folder}/object"
    objects.write(path, b"0123456789")
    assert objects.read_range(path, 3, 4) == b"3456"
    assert objects.read_range(path, 0, 10) == b"0123456789"
    for offset, length in ((8, 4), (10, 1), (99, 1)):
        with pytest.raises(StorageError, match=f"ends early: asked for {length} bytes"):
            objects.read_range(path, offset, length)


def test_multipart_of_30_mb(folder: str) -> None:
    data = random.Random(2).randbytes(30_000_000)
    path = f"{folder}/big"
    with objects.open_write(path) as handle:
        for first in range(0, len(data), 1_234_567):
            handle.write(data[first : first + 1_234_567])
            assert handle.tell() == min(first + 1_234_567, len(data))
        assert not objects.exists(path)
    assert objects.read(path) == data
    bucket, key = s3_client.split(path)
    head = boto3.client("s3").head_object(Bucket=bucket, Key=key)
    assert head["ETag"].endswith('-4"')  # 3 parts of 8 MiB and a rest
    with objects.open_read(path) as handle:
        for offset in random.Random(3).sample(range(len(data)), 20):
            handle.seek(offset)
            assert handle.read(100_000) == data[offset : offset + 100_000]
        handle.seek(-7, os.SEEK_END)
        assert handle.read() == data[-7:]


@pytest.mark.parametrize("num_bytes", [8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 16 * MIB])
def test_sizes_around_a_part(folder: str, num_bytes: int) -> None:
    data = random.Random(num_bytes).randbytes(num_bytes)
    objects.write(f"{folder}/object", data)
    assert objects.read(f"{folder}/object") == data
    assert unfinished_uploads(folder) == 0


def test_parts_suffice_for_5_tb() -> None:
    sizes = [part_bytes(number) for number in range(1, MAX_PARTS + 1)]
    assert sum(sizes) > 5 * 2**40
    assert sizes == sorted(sizes)
    assert set(sizes[:NUM_EQUAL_PARTS]) == {SMALLEST_PART_BYTES}
    assert max(sizes) < 5 * 2**30


def test_listing_of_more_than_a_thousand_keys(folder: str) -> None:
    paths = [f"{folder}/part-{number:05d}" for number in range(1_100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda path: objects.write(path, b"x"), paths))
    assert [info.path for info in objects.list_objects(folder)] == paths
    assert len(objects.expand(f"{folder}/part-*")) == 1_100
    assert len(objects.expand(f"{folder}/part-010*")) == 100
    objects.delete_tree(folder)
    assert names(folder) == []


def test_same_listing_as_on_local_files(folder: str, tmp_path: Path) -> None:
    paths = ["a.gz", "a/b.gz", "a/b/c.gz", "a b", "a+b&c=%20", "\u00e9/\u4e2d", "Z", "q?.txt"]
    for path in paths:
        objects.write(f"{folder}/{path}", path.encode())
        objects.write(f"{tmp_path}/{path}", path.encode())
    assert names(folder) == sorted(paths) == names(str(tmp_path))
    for pattern in ("*", "*.gz", "**/*.gz", "a/**", "a", "?/*", "q?.txt", "*/*/*", "Z"):
        assert names(folder, pattern) == names(str(tmp_path), pattern)
    for path in paths:
        assert objects.read(f"{folder}/{path}") == path.encode()
    with pytest.raises(ObjectNotFound, match=r"nothing at .*\*\.zip"):
        objects.expand(f"{folder}/*.zip")


def test_folder_markers_of_consoles_are_no_objects(folder: str) -> None:
    bucket, key = s3_client.split(folder)
    boto3.client("s3").put_object(Bucket=bucket, Key=f"{key}/sub/", Body=b"")
    objects.write(f"{folder}/sub/x", b"x")
    assert names(folder) == ["sub/x"]
    objects.delete_tree(folder)
    assert boto3.client("s3").list_objects_v2(Bucket=bucket, Prefix=key)["KeyCount"] == 0


def test_delete_tree_spares_the_neighbours(folder: str) -> None:
    for name in ("a/b", "a/c/d", "ab"):
        objects.write(f"{folder}/{name}", b"")
    objects.delete_tree(f"{folder}/a")
    objects.delete_tree(f"{folder}/a")
    assert names(folder) == ["ab"]


def test_exception_in_the_block_leaves_the_old_object(folder: str) -> None:
    path = f"{folder}/object"
    objects.write(path, b"old")

    def write_and_fail() -> None:
        with objects.open_write(path) as handle:
            handle.write(bytes(20 * MIB))
            assert unfinished_uploads(folder) == 1
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        write_and_fail()
    assert objects.read(path) == b"old"
    assert unfinished_uploads(folder) == 0


KILLED_WRITER = """
import sys, time
from storage import objects
with objects.open_write(sys.argv[1]) as handle:
    handle.write(bytes(20 << 20))
    print("writing", flush=True)
    time.sleep(60)
"""


def test_sigkill_in_the_middle_leaves_nothing_visible(folder: str) -> None:
    command = [sys.executable, "-c", KILLED_WRITER, f"{folder}/object"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        process.send_signal(signal.SIGKILL)
    assert names(folder) == []
    assert not objects.exists(f"{folder}/object")
    assert unfinished_uploads(folder) == 1
    assert objects.discard_unfinished(folder) == 1
    assert unfinished_uploads(folder) == 0


def test_a_forked_child_makes_its_own_client(folder: str) -> None:
    objects.write(f"{folder}/object", b"from the parent")
    mine = s3_client.connection().client
    child = os.fork()
    if child == 0:
        right = objects.read(f"{folder}/object") == b"from the parent"
        os._exit(0 if right and s3_client.connection().client is not mine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert s3_client.connection().client is mine


def test_parquet_through_the_handles(folder: str) -> None:
    table = pa.table({"number": range(200_000), "text": ["some text"] * 200_000})
    with objects.open_write(f"{folder}/t.parquet") as handle:
        pq.write_table(table, handle, row_group_size=50_000)
    with objects.open_read(f"{folder}/t.parquet") as handle:
        assert pq.read_table(handle) == table
    with objects.open_read(f"{folder}/t.parquet") as handle:
        assert pq.read_table(handle, columns=["number"]) == table.select(["number"])


def test_missing_bucket_is_named(s3_bucket: str) -> None:
    del s3_bucket  # only the service is needed
    missing = "s3://tilth-no-such-bucket/x"
    message = "bucket 'tilth-no-such-bucket' does not exist at http://.*; create it"
    for fail in (objects.exists, objects.read, objects.expand, objects.open_read, objects.size):
        with pytest.raises(StorageError, match=message):
            fail(missing)
    for data in (b"", bytes(9 * MIB)):
        with pytest.raises(StorageError, match=message):
            objects.write(missing, data)
    with pytest.raises(StorageError, match="not a valid bucket name"):
        objects.read("s3://No Bucket/x")
    with pytest.raises(StorageError, match="names a bucket, not an object"):
        objects.read("s3://bucket")


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("AWS_ACCESS_KEY_ID", "does not know the access key, which comes from the environment"),
        ("AWS_SECRET_ACCESS_KEY", r"refuses the secret key \(403\), which comes from the env"),
    ],
)
def test_wrong_credentials_name_their_source(
    folder: str, monkeypatch: pytest.MonkeyPatch, variable: str, message: str
) -> None:
    monkeypatch.setenv(variable, "wrong-and-not-to-be-shown")
    s3_client.forget_connection()
    try:
        with pytest.raises(StorageError, match=message) as caught:
            objects.write(f"{folder}/object", b"")
        assert "wrong-and-not-to-be-shown" not in str(caught.value)
        with pytest.raises(StorageError, match=r"denied \(403\).* the environment"):
            objects.exists(f"{folder}/object")
    finally:
        monkeypatch.undo()
        s3_client.forget_connection()


def test_no_credentials(folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(variable)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", f"{tmp_path}/none")
    monkeypatch.setenv("AWS_CONFIG_FILE", f"{tmp_path}/none")
    s3_client.forget_connection()
    try:
        with pytest.raises(StorageError, match="no complete AWS credentials found; set AWS_"):
            objects.read(f"{folder}/object")
    finally:
        monkeypatch.undo()
        s3_client.forget_connection()


def test_an_object_of_another_user_is_denied(folder: str) -> None:
    """A bucket policy that denies reading: 403 although the keys are right."""
    objects.write(f"{folder}/object", b"x")
    bucket, key = s3_client.split(folder)
    client = boto3.client("s3")
    policy = (
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", '
        f'"Action": "s3:GetObject", "Resource": "arn:aws:s3:::{bucket}/{key}/*"}}]}}'
    )
    client.put_bucket_policy(Bucket=bucket, Policy=policy)
    try:
        with pytest.raises(StorageError, match=r"denied \(403\).*check them, and that their pol"):
            objects.read(f"{folder}/object")
    finally:
        client.delete_bucket_policy(Bucket=bucket)


def test_names_that_the_service_refuses(folder: str) -> None:
    with pytest.raises(StorageError, match="the key is longer than 1,024 bytes"):
        objects.write(f"{folder}/{'k' * 1_100}", b"")
