"""Fixtures that tests of every part share: the optional real data and a real S3 service."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import xxhash
from hypothesis import settings

from storage import objects, s3_client
from tests.servers import free_port

ROOT = Path(__file__).parent.parent
LOCAL_S3 = ROOT / "infra" / "local-s3"
S3_PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin", "curl")

settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test that uses the S3 service carries the marker `s3`."""
    for item in items:
        if isinstance(item, pytest.Function) and "s3_bucket" in item.fixturenames:
            item.add_marker("s3")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real files with ground truth that may lie beside the repository."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the optional real data (../shared/data) is not here")
    return folder


@pytest.fixture(scope="session")
def s3_service() -> Iterator[dict[str, str]]:
    """The environment of an S3 service: the caller's own with TILTH_TEST_S3=1, else a new one."""
    if os.environ.get("TILTH_TEST_S3") == "1" and "AWS_ENDPOINT_URL" in os.environ:
        yield {}
        return
    missing = [program for program in S3_PROGRAMS if not shutil.which(program)]
    if missing:
        pytest.skip(f"no S3 service: {', '.join(missing)} not installed (see infra/local-s3)")
    folder = Path(tempfile.mkdtemp(prefix="tilth-s3-")) / "service"
    try:
        yield _start_service(folder)
    finally:
        subprocess.run([LOCAL_S3, "stop", folder], check=True)
        folder.parent.rmdir()


@pytest.fixture
def s3_folder(s3_bucket: str, request: pytest.FixtureRequest) -> str:
    """A folder of the test's own, `s3://bucket/<hash of its name>`."""
    return f"{s3_bucket}/{xxhash.xxh3_64_hexdigest(request.node.nodeid.encode())}"


@pytest.fixture(scope="session")
def s3_bucket(s3_service: dict[str, str]) -> Iterator[str]:
    """A fresh bucket, `s3://name`; the environment points every S3 client at its service."""
    bucket = f"tilth-test-{secrets.token_hex(4)}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_service.items():
            patch.setenv(name, value)
        s3_client.forget_connection()
        client = boto3.client("s3")
        client.create_bucket(Bucket=bucket)
        yield f"s3://{bucket}"
        for info in objects.list_objects(f"s3://{bucket}"):
            objects.delete(info.path)
        client.delete_bucket(Bucket=bucket)
    s3_client.forget_connection()


def _start_service(folder: Path) -> dict[str, str]:
    """Start infra/local-s3 on a free port; the variables that it prints as exports."""
    command = [LOCAL_S3, "start", folder, str(free_port())]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    exports = done.stdout.replace("export ", "").split()
    return dict(export.split("=", 1) for export in exports)
