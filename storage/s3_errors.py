"""What an S3 failure means: try again, or tell the user one line with the way out.

The messages name the endpoint and where the credentials came from, never a credential.
"""

from __future__ import annotations

import re

from botocore import exceptions as aws
from urllib3.exceptions import HTTPError

from storage.backend import ObjectNotFound, StorageError, printable

FAILURES = (aws.BotoCoreError, aws.ClientError, HTTPError, OSError)
UNREACHABLE = (aws.ConnectionError, aws.ConnectionClosedError)

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
    "301": "PermanentRedirect",
    "403": "AccessDenied",
    "404": "NoSuchKey",
    "Forbidden": "AccessDenied",
    "InvalidToken": "ExpiredToken",
    "KeyTooLongError": "InvalidObjectName",
}
_ADVICE = {
    "400": "the service refuses the request (400): the credentials from {identity} may have "
    "expired, or AWS_DEFAULT_REGION may be wrong",
    "AccessDenied": "access denied (403); the credentials come from {identity}; check them, and "
    "that their policy allows s3:GetObject, s3:PutObject and s3:ListBucket here",
    "ExpiredToken": "the credentials from {identity} have expired; sign in again",
    "InvalidAccessKeyId": "{endpoint} does not know the access key, which comes from {identity}; "
    "correct it there",
    "InvalidBucketName": "{bucket!r} is not a valid bucket name; correct the path",
    "InvalidObjectName": "the key is longer than 1,024 bytes or has characters that the service "
    "refuses; correct the path",
    "InvalidObjectState": "the object is archived; restore it first",
    "NoSuchBucket": "bucket {bucket!r} does not exist at {endpoint}; create it or correct the path",
    "NoSuchKey": "no such object at {endpoint}",
    "NoSuchUpload": "the unfinished upload was removed meanwhile, by a lifecycle rule or by "
    "another process; start again",
    "PermanentRedirect": "the bucket is in another region; set AWS_DEFAULT_REGION",
    "PreconditionFailed": "the object was replaced while it was being read; start again",
    "QuotaExceeded": "the bucket's or the user's quota is used up; free space or raise it",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it and try again",
    "SignatureDoesNotMatch": "{endpoint} refuses the secret key (403), which comes from "
    "{identity}; correct it there",
}
_NO_CREDENTIALS = (
    "no complete AWS credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or "
    "AWS_PROFILE, or run on a machine with a role"
)
_USER_INFO = re.compile(r"//[^/@\s]*@")


def is_transient(error: Exception) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(error, aws.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return status in _TRANSIENT_STATUS or error_code(error) in _TRANSIENT_CODES
    return isinstance(error, _TRANSIENT_ERRORS)


def error_code(error: Exception) -> str:
    """The service's code, such as "NoSuchKey", or the status alone for a HEAD; else ""."""
    return error.response["Error"].get("Code", "") if isinstance(error, aws.ClientError) else ""


def explain(
    failed: str, error: Exception, bucket: str, endpoint: str, identity: str
) -> StorageError:
    """The StorageError to raise; `failed` is "cannot <action> <path>"."""
    code = error_code(error)
    advice = _ADVICE.get(_SYNONYMS.get(code, code))
    if advice:
        reason = advice.format(bucket=bucket, endpoint=endpoint, identity=identity)
    elif isinstance(error, aws.NoCredentialsError | aws.PartialCredentialsError):
        reason = _NO_CREDENTIALS
    elif isinstance(error, aws.ParamValidationError):
        reason = f"{bucket!r} is not a valid bucket name or the key is empty; correct the path"
    else:
        reason = f"{one_line(error)} ({endpoint})"
    kind = ObjectNotFound if code in ("NoSuchKey", "404") else StorageError
    return kind(f"{failed}: {reason}")


def one_line(error: Exception) -> str:
    """The failure in one line, without control characters and without user:password@ of URLs."""
    code = error_code(error)
    text = f"error {code}" if code else " ".join(str(error).split())
    return printable(_USER_INFO.sub("//", text))
