"""S3 through a service that fails: the result is right, or a clear error comes in bounded time."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from storage import objects, s3_client
from storage.objects import ObjectNotFound, StorageError
from storage.s3_upload import SMALLEST_PART_BYTES
from tests.storage.faulty_s3 import Fault, FaultyS3, Kind, serve

PATH = "s3://bucket/folder/object"
DATA = random.Random(1).randbytes(1_500_000)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[FaultyS3]:
    """One server and, because making one is slow, one client for all tests that can share it."""
    with serve() as server, pytest.MonkeyPatch.context() as patch:
        use(patch, server.endpoint, retry_seconds=30)
        yield server
    s3_client.forget_connection()


@pytest.fixture
def service(endpoint: FaultyS3) -> FaultyS3:
    endpoint.reset()
    endpoint.store("folder/object", DATA)
    return endpoint


@pytest.fixture
def impatient(service: FaultyS3) -> Iterator[FaultyS3]:
    """The same service for a process that was told to give up after 0.5 s."""
    with pytest.MonkeyPatch.context() as patch:
        use(patch, service.endpoint, retry_seconds=2)
        yield service
    s3_client.forget_connection()


def use(patch: pytest.MonkeyPatch, endpoint: str, retry_seconds: float) -> None:
    patch.setenv("AWS_ENDPOINT_URL", endpoint)
    patch.setenv("AWS_ACCESS_KEY_ID", "key")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "do-not-print-me")
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    patch.setenv("TILTH_S3_RETRY_SECONDS", str(retry_seconds))
    s3_client.forget_connection()


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", times=2),
        Fault("status", status=503, code="SlowDown"),
        Fault("status", status=429, code="TooManyRequests"),
        Fault("hang up", times=2),
        Fault("truncate", num_bytes=0, times=2),
        Fault("truncate", num_bytes=700_000),
        Fault("trickle", num_bytes=100_000),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.num_bytes or fault.status}",
)
def test_read_survives(service: FaultyS3, fault: Fault) -> None:
    service.faults.append(replace(fault))
    assert objects.read(PATH) == DATA
    assert service.requests["GET"] >= 1 + (fault.kind != "trickle")


def test_broken_body_is_continued_where_it_broke(service: FaultyS3) -> None:
    # Each connection breaks after 400 kB: 4 requests bring 1.5 MB. Starting over would never end.
    service.faults.append(Fault("truncate", num_bytes=400_000, times=1_000))
    assert objects.read(PATH) == DATA
    assert service.requests["GET"] == 4


def test_range_is_continued_where_it_broke(service: FaultyS3) -> None:
    service.faults.append(Fault("truncate", num_bytes=300_000, times=2))
    assert objects.read_range(PATH, 11, 1_000_000) == DATA[11:1_000_011]
    with objects.open_read(PATH) as handle:
        handle.seek(1_234)
        service.faults.append(Fault("truncate", num_bytes=1_000, times=5))
        assert handle.read() == DATA[1_234:]


@pytest.mark.parametrize("kind", ["silence", "stall"])
def test_silent_service_times_out_and_is_asked_again(impatient: FaultyS3, kind: Kind) -> None:
    impatient.faults.append(Fault(kind, num_bytes=1_000_000))
    s3_client.connection().retry_seconds = 30  # the time-out of one request remains 0.5 s
    assert objects.read(PATH) == DATA


def test_object_replaced_while_being_read_is_an_error(service: FaultyS3) -> None:
    service.faults.append(Fault("replace object", num_bytes=500_000))
    with pytest.raises(StorageError, match=r"folder/object: the object was replaced"):
        objects.read(PATH)


def test_ignored_range_is_an_error_and_not_other_bytes(service: FaultyS3) -> None:
    service.faults.append(Fault("ignore range"))
    with pytest.raises(StorageError, match="ignores byte ranges"):
        objects.read_range(PATH, 5, 10)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", "PUT", times=2),
        Fault("status", "PUT", status=400, code="RequestTimeout"),
        Fault("hang up", "PUT"),
        Fault("lost answer", "PUT"),
        Fault("corrupt upload", "PUT"),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.code}",
)
def test_single_write_survives(service: FaultyS3, fault: Fault) -> None:
    service.faults.append(replace(fault))
    objects.write("s3://bucket/new", DATA)
    assert service.objects["new"] == DATA
    assert service.requests["PUT"] == 1 + fault.times


@pytest.mark.parametrize("request_name", ["CREATE", "PART", "COMPLETE"])
@pytest.mark.parametrize("kind", ["status", "hang up", "lost answer"])
def test_multipart_write_survives(service: FaultyS3, kind: Kind, request_name: str) -> None:
    service.faults.append(Fault(kind, request_name))
    data = DATA * 12  # 18 MB: three parts
    with objects.open_write("s3://bucket/new") as handle:
        handle.write(data)
    assert service.objects["new"] == data
    assert service.requests["PUT"] == 0


def test_corrupt_part_is_sent_again(service: FaultyS3) -> None:
    service.faults.append(Fault("corrupt upload", "PART"))
    objects.write("s3://bucket/new", DATA * 6)
    assert service.objects["new"] == DATA * 6


@pytest.mark.parametrize("request_name", ["CREATE", "PART", "COMPLETE"])
def test_failed_multipart_write_leaves_nothing(impatient: FaultyS3, request_name: str) -> None:
    impatient.faults.append(Fault("status", request_name, times=1_000))
    with pytest.raises(StorageError, match="cannot write s3://bucket/new: gave up after"):
        objects.write("s3://bucket/new", bytes(SMALLEST_PART_BYTES + 1))
    assert "new" not in impatient.objects
    assert not impatient.uploads


def test_exception_in_the_block_aborts(service: FaultyS3) -> None:
    def write_and_fail() -> None:
        with objects.open_write("s3://bucket/new") as handle:
            handle.write(bytes(SMALLEST_PART_BYTES + 1))
            assert service.uploads
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        write_and_fail()
    assert not service.uploads
    assert "new" not in service.objects


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault("status", status=503, code="SlowDown"), "SlowDown"),
        (Fault("status"), "InternalError"),
        (Fault("hang up"), "Connection was closed"),
        (Fault("silence"), "Read timeout"),
        (Fault("truncate", num_bytes=0), "IncompleteRead|0 read"),
        (Fault("stall", num_bytes=0), "[Rr]ead time"),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else "",
)
def test_lasting_failure_is_one_clear_line_in_bounded_time(
    impatient: FaultyS3, fault: Fault, message: str
) -> None:
    objects.read(PATH)  # known to be there
    impatient.faults.append(replace(fault, times=1_000_000))
    started = time.monotonic()
    with pytest.raises(StorageError, match=message) as caught:
        objects.read(PATH)
    # The limit, and at most one more time-out of the same length; the rest is slack for a busy
    # machine. The default of 120 s would show here.
    assert time.monotonic() - started < 30
    line = str(caught.value)
    assert line.startswith(f"cannot read {PATH}: gave up after")
    assert impatient.endpoint in line
    assert "TILTH_S3_RETRY_SECONDS" in line
    assert "\n" not in line
    assert "do-not-print-me" not in line


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (403, "AccessDenied", r"denied \(403\); the credentials come from the environment"),
        (403, "InvalidAccessKeyId", "does not know the access key, which comes from the env"),
        (403, "SignatureDoesNotMatch", r"refuses the secret key \(403\), which comes from the env"),
        (400, "ExpiredToken", "have expired; sign in again"),
        (403, "RequestTimeTooSkewed", "this machine's clock is wrong"),
        (403, "QuotaExceeded", "quota is used up"),
        (418, "Teapot", r"cannot read s3://bucket/folder/object: error Teapot \(http://127"),
    ],
)
def test_refusal_is_not_repeated(service: FaultyS3, status: int, code: str, message: str) -> None:
    service.faults.append(Fault("status", status=status, code=code, times=1_000))
    with pytest.raises(StorageError, match=message) as caught:
        objects.read(PATH)
    assert service.requests["GET"] == 1
    assert "do-not-print-me" not in str(caught.value)


def test_refused_head_names_the_identity(service: FaultyS3) -> None:
    service.faults.append(Fault("status", "HEAD", status=403, code=""))
    with pytest.raises(StorageError, match=r"the environment \(AWS_ACCESS_KEY_ID\)"):
        objects.exists(PATH)


def test_unreachable_endpoint_names_itself_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(monkeypatch, "http://user:do-not-print-me@127.0.0.1:9", retry_seconds=2)
    with pytest.raises(StorageError, match=r"127.0.0.1:9\); check AWS_ENDPOINT_URL") as caught:
        objects.read(PATH)
    assert "do-not-print-me" not in str(caught.value)
    s3_client.forget_connection()


def test_missing_things(service: FaultyS3) -> None:
    assert objects.exists(PATH)
    assert not objects.exists("s3://bucket/missing")
    with pytest.raises(ObjectNotFound, match="s3://bucket/missing"):
        objects.read("s3://bucket/missing")
    for fail in (objects.exists, objects.read, objects.size):
        with pytest.raises(StorageError, match="bucket 'elsewhere' does not exist at http://127"):
            fail("s3://elsewhere/x")


@pytest.mark.parametrize("text", ["0", "-1", "soon", "nan", "inf"])
def test_impossible_retry_time_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    use(monkeypatch, "http://127.0.0.1:9", retry_seconds=1)
    monkeypatch.setenv("TILTH_S3_RETRY_SECONDS", text)
    with pytest.raises(StorageError, match="give a number of seconds"):
        objects.read(PATH)
    s3_client.forget_connection()
