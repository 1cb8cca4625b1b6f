"""The S3 client of a process, its retries and its errors in a user's words.

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
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar
from urllib.parse import urlsplit

import boto3
from botocore import exceptions as aws
from botocore.config import Config
from urllib3.exceptions import HTTPError

from storage.backend import ObjectNotFound, StorageError, printable

T = TypeVar("T")

FAILURES = (aws.BotoCoreError, aws.ClientError, HTTPError, OSError)

_DEFAULT_RETRY_SECONDS = 120.0
_FIRST_CONTACT_SECONDS = 15.0  # an endpoint that never answered is more likely wrong than busy
_CONNECT_SECONDS = 10.0
_READ_SECONDS = 60.0
_LONGEST_PAUSE_SECONDS = 10.0
_NUM_CONNECTIONS = 32
_AMAZON = (".amazonaws.com", ".amazonaws.com.cn")
_USER_INFO = re.compile(r"//[^/@\s]*@")
_JITTER = random.SystemRandom()  # leaves the seeded generators of the program alone

_TRANSIENT_ERRORS = (
    aws.ConnectionError,
    aws.HTTPClientError,
    aws.ResponseStreamingError,
    aws.IncompleteReadError,
    aws.FlexibleChecksumError,
    HTTPError,
    ConnectionError,
    TimeoutError,
)
_UNREACHABLE = (aws.ConnectionError, aws.ConnectionClosedError)
_TRANSIENT_STATUS = {408, 429, 500, 502, 503, 504, 509}
_TRANSIENT_CODES = {
    "BadDigest",
    "IncompleteBody",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "SlowDown",
    "ThrottlingException",
    "XAmzContentSHA256Mismatch",
}

_SYNONYMS = {
    "403": "AccessDenied",
    "Forbidden": "AccessDenied",
    "InvalidToken": "ExpiredToken",
    "KeyTooLongError": "InvalidObjectName",
}

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
    """A client and what error messages need to know about it."""

    client: Any  # boto3 generates the class at run time
    endpoint: str
    identity: str
    retry_seconds: float
    reached: bool = False


class RetryClock:
    """Decides, for one operation, whether to try again; time without progress is what counts."""

    def __init__(self, action: str, path: str, retry_seconds: float | None = None) -> None:
        self.connection = connection()
        self._action = action
        self._path = path
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
        if not is_transient(error):
            raise explain(error, self._action, self._path, self.connection) from error
        first_contact = isinstance(error, _UNREACHABLE) and not self.connection.reached
        limit = min(self._seconds, _FIRST_CONTACT_SECONDS) if first_contact else self._seconds
        longest = min(_LONGEST_PAUSE_SECONDS, 0.2 * 2**self._num_failures)
        pause = _JITTER.uniform(0, longest)
        waited = time.monotonic() - self._last_progress
        self._num_failures += 1
        if waited + pause > limit:
            raise _gave_up(error, self, waited) from error
        time.sleep(pause)

    def describe(self) -> str:
        return f"cannot {self._action} {printable(self._path)}"

    @property
    def num_failures(self) -> int:
        return self._num_failures


def connection() -> Connection:
    """The connection of this process; made on first use and again after a fork."""
    return _connection_of(os.getpid())


def forget_connection() -> None:
    """Read the environment anew on the next use (it has changed: another endpoint, other keys)."""
    _connection_of.cache_clear()


def retrying(
    action: str, path: str, call: Callable[[Any], T], retry_seconds: float | None = None
) -> T:
    """`call(client)`, again after passing failures; StorageError after lasting ones.

    `action` and `path` complete the sentence "cannot <action> <path>".
    """
    clock = RetryClock(action, path, retry_seconds)
    while True:
        try:
            result = call(clock.connection.client)
        except FAILURES as error:
            clock.pause(error)
        else:
            clock.connection.reached = True
            return result


def error_code(error: Exception) -> str:
    """The service's code, such as "NoSuchKey", or the status alone for a HEAD; else ""."""
    return error.response["Error"].get("Code", "") if isinstance(error, aws.ClientError) else ""


def is_transient(error: Exception) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(error, aws.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return status in _TRANSIENT_STATUS or error_code(error) in _TRANSIENT_CODES
    return isinstance(error, _TRANSIENT_ERRORS)


def split(path: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`; the key may be empty."""
    bucket, _, key = path.removeprefix("s3://").partition("/")
    if not bucket:
        raise StorageError(f"{printable(path)} names no bucket: write s3://bucket/key")
    return bucket, key


def explain(error: Exception, action: str, path: str, at: Connection) -> StorageError:
    """One line for a user: what failed, where, and the way out. Never holds a secret."""
    bucket, _ = split(path)
    failed = f"cannot {action} {printable(path)}"
    code = error_code(error)
    if code in ("NoSuchKey", "404"):
        return ObjectNotFound(f"{failed}: no such object at {at.endpoint}")
    advice = {
        "NoSuchBucket": f"bucket {bucket!r} does not exist at {at.endpoint}; create it or "
        "correct the path",
        "AccessDenied": f"access denied (403); the credentials come from {at.identity}; check "
        "them, and that their policy allows s3:GetObject, s3:PutObject and s3:ListBucket here",
        "InvalidAccessKeyId": f"{at.endpoint} does not know the access key, which comes from "
        f"{at.identity}; correct it there",
        "SignatureDoesNotMatch": f"{at.endpoint} refuses the secret key (403), which comes from "
        f"{at.identity}; correct it there",
        "ExpiredToken": f"the credentials from {at.identity} have expired; sign in again",
        "RequestTimeTooSkewed": "this machine's clock is wrong; set it and try again",
        "PreconditionFailed": "the object was replaced while it was being read; start again",
        "InvalidObjectState": "the object is archived; restore it first",
        "QuotaExceeded": "the bucket's or the user's quota is used up; free space or raise it",
        "InvalidBucketName": f"{bucket!r} is not a valid bucket name; correct the path",
        "InvalidObjectName": "the key is longer than 1,024 bytes or has characters that "
        "the service refuses; correct the path",
        "PermanentRedirect": "the bucket is in another region; set AWS_DEFAULT_REGION",
    }
    code = _SYNONYMS.get(code, code)
    return StorageError(f"{failed}: {advice.get(code) or _explain_others(error, bucket, at)}")


def _explain_others(error: Exception, bucket: str, at: Connection) -> str:
    if isinstance(error, aws.NoCredentialsError | aws.PartialCredentialsError):
        return (
            "no complete AWS credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
            "or AWS_PROFILE, or run on a machine with a role"
        )
    if isinstance(error, aws.ParamValidationError):
        return f"{bucket!r} is not a valid bucket name or the key is too long; correct the path"
    return f"{_one_line(error)} ({at.endpoint})"


def _gave_up(error: Exception, clock: RetryClock, waited: float) -> StorageError:
    if isinstance(error, _UNREACHABLE) and not clock.connection.reached:
        way_out = "check AWS_ENDPOINT_URL and the network"
    else:
        way_out = "try again later, or wait longer with TILTH_S3_RETRY_SECONDS"
    return StorageError(
        f"{clock.describe()}: gave up after {waited:.0f} s and {clock.num_failures} attempts: "
        f"{_one_line(error)} ({clock.connection.endpoint}); {way_out}"
    )


def _one_line(error: Exception) -> str:
    """The failure in one line, without control characters and without user:password@ of URLs."""
    code = error_code(error)
    text = f"error {code}" if code else " ".join(str(error).split())
    return printable(_USER_INFO.sub("//", text))


@cache
def _connection_of(pid: int) -> Connection:
    del pid  # the key of the cache
    retry_seconds = _retry_seconds()
    try:
        session = boto3.Session()
        client = _make_client(session, retry_seconds)
    except (aws.BotoCoreError, ValueError) as error:
        raise StorageError(
            f"cannot set up S3: {_one_line(error)}; check AWS_PROFILE, AWS_ENDPOINT_URL and the "
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
