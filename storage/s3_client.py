"""The S3 client of a process and its retries.

One boto3 client per process: making one costs about 200 ms, and a client must not be shared
across a fork. Credentials, endpoint and region come from the AWS SDK's own chain only
(environment, profile, single sign-on, role of the machine), never from our configuration.

Retries are ours, one place for requests and for bodies that break off half-way: full-jitter
exponential back-off until an operation has failed for TILTH_S3_RETRY_SECONDS (default 120)
without receiving anything. botocore itself tries once and keeps its adaptive rate limiter,
which slows this process down while the service answers 503 SlowDown.

Uploads are verified by the service. Amazon's endpoints check the CRC that boto3 adds. Other
implementations differ: Ceph 16 accepts that header and ignores it, and over TLS older ones
refuse the chunked form that carries it; all check the SHA-256 of a signed payload, so that is
what they get.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar
from urllib.parse import urlsplit

import boto3
from botocore import exceptions as aws
from botocore.config import Config

from storage.backend import StorageError, printable
from storage.s3_errors import FAILURES, UNREACHABLE, explain, is_transient, one_line

T = TypeVar("T")

_DEFAULT_RETRY_SECONDS = 120.0
_FIRST_CONTACT_SECONDS = 15.0  # an endpoint that never answered is more likely wrong than busy
_CONNECT_SECONDS = 10.0
_READ_SECONDS = 60.0
_LONGEST_PAUSE_SECONDS = 10.0
_NUM_CONNECTIONS = 32
_AMAZON = (".amazonaws.com", ".amazonaws.com.cn")
_JITTER = random.SystemRandom()  # leaves the seeded generators of the program alone

_IDENTITY_SOURCES = {
    "env": "the environment (AWS_ACCESS_KEY_ID)",
    "shared-credentials-file": "the shared credentials file, profile {profile}",
    "config-file": "the AWS config file, profile {profile}",
    "sso": "single sign-on, profile {profile}",
    "iam-role": "the role of this machine",
    "container-role": "the role of this container",
}


@dataclass
class Connection:
    """A client and what is known about the service behind it."""

    client: Any  # boto3 generates the class at run time
    endpoint: str
    identity: str
    retry_seconds: float
    reached: bool = False
    known_buckets: set[str] = field(default_factory=set)


class RetryClock:
    """Decides, for one operation, whether to try again; time without progress is what counts.

    `action` and `path` complete the sentence "cannot <action> <path>".
    """

    def __init__(self, action: str, path: str, retry_seconds: float | None = None) -> None:
        self.connection = connection()
        self._bucket = split(path)[0]
        self._failed = f"cannot {action} {printable(path)}"
        self._seconds = retry_seconds or self.connection.retry_seconds
        self._num_failures = 0
        self._last_progress = time.monotonic()

    def progress(self) -> None:
        """Bytes have arrived: start counting anew."""
        self.connection.reached = True
        self._num_failures = 0
        self._last_progress = time.monotonic()

    def pause(self, error: Exception) -> None:
        """Sleep before the next attempt, or raise StorageError when there should be none."""
        at = self.connection
        if not is_transient(error):
            raise explain(self._failed, error, self._bucket, at.endpoint, at.identity) from error
        lost = isinstance(error, UNREACHABLE) and not at.reached
        limit = min(self._seconds, _FIRST_CONTACT_SECONDS) if lost else self._seconds
        pause = _JITTER.uniform(0, min(_LONGEST_PAUSE_SECONDS, 0.2 * 2**self._num_failures))
        self._num_failures += 1
        if time.monotonic() - self._last_progress + pause > limit:
            raise self._give_up(error, lost) from error
        time.sleep(pause)

    def _give_up(self, error: Exception, lost: bool) -> StorageError:
        waited = time.monotonic() - self._last_progress
        if lost:
            way_out = "check AWS_ENDPOINT_URL and the network"
        else:
            way_out = "try again later, or wait longer with TILTH_S3_RETRY_SECONDS"
        return StorageError(
            f"{self._failed}: gave up after {waited:.0f} s and {self._num_failures} attempts: "
            f"{one_line(error)} ({self.connection.endpoint}); {way_out}"
        )


def connection() -> Connection:
    """The connection of this process; made on first use and again after a fork."""
    return _connection_of(os.getpid())


def forget_connection() -> None:
    """Read the environment anew on the next use (it has changed: another endpoint, other keys)."""
    _connection_of.cache_clear()


def retrying(
    action: str, path: str, call: Callable[[Any], T], retry_seconds: float | None = None
) -> T:
    """`call(client)`, again after passing failures; StorageError after lasting ones."""
    clock = RetryClock(action, path, retry_seconds)
    while True:
        try:
            result = call(clock.connection.client)
        except FAILURES as error:
            clock.pause(error)
        else:
            clock.connection.reached = True
            return result


def split(path: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`; the key may be empty."""
    bucket, _, key = path.removeprefix("s3://").partition("/")
    if not bucket:
        raise StorageError(f"{printable(path)} names no bucket: write s3://bucket/key")
    return bucket, key


@cache
def _connection_of(pid: int) -> Connection:
    del pid  # the key of the cache
    retry_seconds = _retry_seconds()
    try:
        session = boto3.Session()
        client = _make_client(session, retry_seconds)
    except (aws.BotoCoreError, ValueError) as error:
        raise StorageError(
            f"cannot set up S3: {one_line(error)}; check AWS_PROFILE, AWS_ENDPOINT_URL and the "
            "AWS config files"
        ) from error
    url = urlsplit(client.meta.endpoint_url)
    endpoint = f"{url.scheme}://{url.netloc.rpartition('@')[2]}"
    return Connection(client, endpoint, _identity_source(session), retry_seconds)


def _make_client(session: boto3.Session, retry_seconds: float) -> Any:
    config = Config(
        retries={"mode": "adaptive", "total_max_attempts": 1},
        connect_timeout=min(_CONNECT_SECONDS, retry_seconds),
        read_timeout=min(_READ_SECONDS, retry_seconds),
        max_pool_connections=_NUM_CONNECTIONS,
        tcp_keepalive=True,
    )
    client = session.client("s3", config=config)
    if (urlsplit(client.meta.endpoint_url).hostname or "").endswith(_AMAZON):
        return client
    sign_payloads = Config(
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"payload_signing_enabled": True},
    )
    return session.client("s3", config=config.merge(sign_payloads))


def _identity_source(session: boto3.Session) -> str:
    credentials = session.get_credentials()
    method = credentials.method if credentials else "none found"
    return _IDENTITY_SOURCES.get(method, method).format(profile=session.profile_name)


def _retry_seconds() -> float:
    text = os.environ.get("TILTH_S3_RETRY_SECONDS", "")
    try:
        seconds = float(text) if text else _DEFAULT_RETRY_SECONDS
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 86_400:
        raise StorageError(
            f"TILTH_S3_RETRY_SECONDS={text!r}: give a number of seconds between 0 and 86400"
        )
    return seconds
