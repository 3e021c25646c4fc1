"""Sends registrations to a running Seatline, concurrently over HTTP, and counts the outcomes."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson

from cluster.clients.http import AsyncConnection, HttpReply, Target, get, post
from cluster.clients.latency import summary_ms
from cluster.clients.retry_budget import RetryBudget

TRIES_MAX = 100
PAUSE_FIRST_S = 0.1
PAUSE_MAX_S = 5.0
REPLY_TIMEOUT_S = 60.0
NO_ANSWER = "no_answer"
RETRIED = frozenset({429, 503})


class Registration(NamedTuple):
    """An enrolment to send.

    Args:
        token: access token of the student.
    """

    token: str
    section_id: int


@dataclass(slots=True)
class LoadReport:
    """The result of sending registrations.

    Args:
        outcomes: counts by code: enrolled, waitlisted, the first reason of a refusal, or the code of a problem.
        seconds: from the first request to the last answer.
        latencies_s: of each registration, retries included.
    """

    requests: int
    outcomes: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)

    @property
    def answered(self) -> bool:
        """Whether every request got a decision."""
        undecided = {NO_ANSWER, "overloaded", "unavailable", "outcome_unknown", "rate_limited", "internal_error"}
        return not undecided & self.outcomes.keys()

    def as_json(self) -> dict[str, object]:
        """The report for ``--json``."""
        return {
            "requests": self.requests,
            "outcomes": dict(self.outcomes.most_common()),
            "seconds": round(self.seconds, 3),
            "per_second": round(self.requests / self.seconds, 1) if self.seconds else 0.0,
            "latency_ms": summary_ms(self.latencies_s),
            "retries": self.retries,
        }


async def is_up(target: Target, timeout_s: float = 5.0) -> bool:
    """Whether a Seatline answers at ``target``."""
    connection = AsyncConnection(target)
    try:
        return (await connection.exchange(get(target, "/health"), timeout_s)).status == 200
    except (OSError, TimeoutError):
        return False
    finally:
        connection.close()


async def send_registrations(
    target: Target,
    registrations: Sequence[Registration],
    connections: int,
    seed: int,
    on_done: Callable[[], None] = lambda: None,
) -> LoadReport:
    """Send registrations in an order that ``seed`` shuffles.

    Each has an Idempotency-Key of its own. One that is answered with 429 or 503, or gets no answer, is sent again with
    the same key: up to ``TRIES_MAX`` times, not before ``Retry-After``, and within one ``RetryBudget`` for all. A
    latency is measured from the first try to the last answer.

    Args:
        target: the server.
        registrations: what to send.
        connections: how many requests are under way at once.
        seed: shuffles the order. A file lists one section after the other, but students do not arrive like that.
        on_done: called after each registration.
    """
    shuffled = list(registrations)
    random.Random(seed).shuffle(shuffled)  # noqa: S311
    queue = iter(shuffled)
    report = LoadReport(len(shuffled))
    budget = RetryBudget()
    started = time.perf_counter()

    async def work() -> None:
        connection = AsyncConnection(target)
        for registration in queue:
            await _send(connection, target, registration, report, budget)
            on_done()
        connection.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(min(connections, len(shuffled))):
            group.create_task(work())
    report.seconds = time.perf_counter() - started
    return report


async def _send(
    connection: AsyncConnection, target: Target, registration: Registration, report: LoadReport, budget: RetryBudget
) -> None:
    body = orjson.dumps({"section_id": registration.section_id})
    request = post(target, "/api/enrollments", registration.token, str(uuid.uuid4()), body)
    started = time.perf_counter()
    outcome = NO_ANSWER
    budget.first_try()
    for attempt in range(TRIES_MAX):
        if attempt:
            report.retries += 1
        pause_s = min(PAUSE_MAX_S, PAUSE_FIRST_S * 2**attempt)
        try:
            reply = await connection.exchange(request, REPLY_TIMEOUT_S)
        except (OSError, TimeoutError):
            outcome = NO_ANSWER
        else:
            outcome = outcome_of(reply)
            if reply.status not in RETRIED:
                break
            pause_s = reply.retry_after_s or pause_s
        pause_s *= random.uniform(1.0, 1.4)  # noqa: S311  (never sooner than asked for; not all at once)
        await asyncio.sleep(max(pause_s, budget.retry()))
    report.outcomes[outcome] += 1
    report.latencies_s.append(time.perf_counter() - started)


def outcome_of(reply: HttpReply) -> str:
    """The outcome of an enrolment, as one code."""
    try:
        body = orjson.loads(reply.body)
        return str(body["status"] if reply.status == 201 else body["code"])
    except (ValueError, KeyError, TypeError):
        return f"http_{reply.status}"
