"""AWS clients: they are made and called only here.

boto3 blocks, so calls run in a few threads for each service. They have timeouts, are retried with jittered pauses
(botocore's standard mode), and go through a circuit breaker. No caller waits longer than a deadline.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from cluster.aws.errors import AwsAwayError, AwsRefusedError, aws_error_of
from cluster.config.settings import Settings
from persistence.circuit_breaker import Breaker

T = TypeVar("T")

PURPOSES = {
    "cloudwatch": "metrics",
    "elbv2": "registering nodes",
    "s3": "exports",
    "sesv2": "mail",
    "sqs": "sending notifications on",
}
PAUSE_MIN_S = 0.5
PAUSE_MAX_S = 30.0


@dataclass(frozen=True, slots=True)
class CallLimits:
    """How long a call may take, and how many there may be.

    Args:
        connect_timeout_s, read_timeout_s: for one try.
        tries_max: including the first.
        deadline_s: for all tries, pauses and queueing included. It should have room for ``tries_max`` timeouts.
        threads_max: concurrent calls to one service.
        pending_max: running and queued calls to one service; further calls fail at once.
    """

    connect_timeout_s: float = 2.0
    read_timeout_s: float = 5.0
    tries_max: int = 2
    deadline_s: float = 16.0
    threads_max: int = 4
    pending_max: int = 64


class AwsClients:
    """Clients of AWS services for one process.

    Args:
        region: None: the one that botocore finds by itself.
        endpoint_url: an address for all services, for tests; None: AWS.
    """

    def __init__(
        self, region: str | None = None, endpoint_url: str | None = None, limits: CallLimits | None = None
    ) -> None:
        self._region = region
        self._endpoint_url = endpoint_url
        self._limits = limits or CallLimits()
        self._services: dict[str, _Service] = {}
        # A session must not make clients in two threads at once.
        self._making = threading.Lock()
        self._session: Any = None

    @classmethod
    def of(cls, settings: Settings, limits: CallLimits | None = None) -> AwsClients:
        """Clients as configured."""
        return cls(settings.aws_region, settings.aws_endpoint_url, limits)

    def is_away(self, service: str) -> bool:
        """Whether the last call to ``service`` failed."""
        return service in self._services and self._services[service].breaker.is_away

    async def call(self, service: str, work: Callable[[Any], T]) -> T:
        """Run ``work`` with the client of ``service`` in a thread.

        Raises:
            AwsAwayError: at once while the breaker is open, else after the deadline at the latest.
            AwsRefusedError: if the service refused.
        """
        if service not in self._services:
            self._services[service] = _Service(service, self._limits)
        one, deadline_s = self._services[service], self._limits.deadline_s
        is_probe = one.breaker.is_away
        if not one.breaker.lets_through(deadline_s):
            raise AwsAwayError(f"{service}: left alone for a while after a failure")
        try:
            async with asyncio.timeout(deadline_s):
                answer = await asyncio.wrap_future(one.submit(lambda: work(self._client(one))))
        except (BotoCoreError, ClientError) as error:
            translated = aws_error_of(service, error)
            if isinstance(translated, AwsRefusedError):
                one.breaker.succeeded()  # it answers, so it is not away
            else:
                one.breaker.failed(translated, is_probe=is_probe)
            raise translated from error
        except TimeoutError as error:
            late = AwsAwayError(f"{service}: no answer within {deadline_s:g} s")
            one.breaker.failed(late, is_probe=is_probe)
            raise late from error
        one.breaker.succeeded()
        return answer

    def close(self) -> None:
        """Accept no more calls. Running calls end by their timeouts."""
        for one in self._services.values():
            one.close()

    def _client(self, one: _Service) -> Any:
        with self._making:
            if one.client is None:
                self._session = self._session or boto3.session.Session(region_name=self._region)
                one.client = self._session.client(
                    one.name, endpoint_url=self._endpoint_url, config=client_config(one.name, self._limits)
                )
            return one.client


def client_config(service: str, limits: CallLimits) -> Config:
    """The configuration of the client of a service."""
    return Config(
        # In every region S3 accepts links that are signed by version 4.
        signature_version="s3v4" if service == "s3" else None,
        connect_timeout=limits.connect_timeout_s,
        read_timeout=limits.read_timeout_s,
        retries={"mode": "standard", "total_max_attempts": limits.tries_max},
        max_pool_connections=limits.threads_max,
        tcp_keepalive=True,
    )


class _Service:
    """The threads, the breaker and the client of one service."""

    def __init__(self, name: str, limits: CallLimits) -> None:
        self.name = name
        self.client: Any = None
        self.breaker = Breaker(
            f"AWS {name}", PURPOSES.get(name, name), pause_min_s=PAUSE_MIN_S, pause_max_s=PAUSE_MAX_S
        )
        self._pending_max = limits.pending_max
        self._pending: set[Future[Any]] = set()
        self._executor = ThreadPoolExecutor(limits.threads_max, thread_name_prefix=f"aws-{name}")

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Queue ``work``.

        Raises:
            AwsAwayError: if too much is queued already.
        """
        if len(self._pending) >= self._pending_max:
            raise AwsAwayError(f"{self.name}: {self._pending_max} calls are waiting already")
        future = self._executor.submit(work)
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        return future

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)
