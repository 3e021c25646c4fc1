"""Errors of calls to AWS, reduced to two: away, or refused."""

from __future__ import annotations

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004  (botocore's, for a name or an address that leads nowhere)
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    ResponseStreamingError,
)

THROTTLED = frozenset({
    "LimitExceededException",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
})  # fmt: skip
"""Codes for too many requests. A service that throttles is treated like one that is away."""

UNREACHED = (ConnectionError, HTTPClientError, IncompleteReadError, ResponseStreamingError, CredentialRetrievalError)


class AwsError(Exception):
    """A call to AWS failed."""


class AwsAwayError(AwsError):
    """The service was not called, did not answer in time, or cannot do it now. Later it may."""


class AwsRefusedError(AwsError):
    """The service refused, and will again: wrong credentials, wrong region, no such queue.

    ``detail`` may name an address or a resource, so it is for operators only and not part of the text.
    """

    def __init__(self, service: str, code: str, detail: str = "") -> None:
        super().__init__(f"{service}: {code}")
        self.code = code
        self.detail = detail


def aws_error_of(service: str, error: BotoCoreError | ClientError) -> AwsError:
    """The error of ours for an error of botocore, by its class and code."""
    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code", "unknown"))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if status >= 500 or status == 429 or code in THROTTLED:
            return AwsAwayError(f"{service}: {code}")
        return AwsRefusedError(service, code, str(error.response.get("Error", {}).get("Message", "")))
    if isinstance(error, UNREACHED):
        return AwsAwayError(f"{service}: {type(error).__name__}")
    return AwsRefusedError(service, type(error).__name__, str(error))
