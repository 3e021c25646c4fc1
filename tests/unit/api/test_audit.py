"""The audit log of requests: one JSON object a line, with ids, and without names, addresses or tokens."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from allocator.model.read_models import RefusedRefresh
from api.http.audit import LINES_BURST, LOGGER, keep_audit_lines
from cluster.config.logs import configure_logging, configure_structlog
from tests.unit.api.conftest import QUICK_HASHER, Api, MakeApi
from tests.unit.api.fakes import ADMIN, OTHER_STUDENT, OTHER_TEACHER, STUDENT, enrollment

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def audited() -> Iterator[Lines]:
    """The audit lines so far, with a LOG_LEVEL that hides all else."""
    root, before = logging.getLogger(), (logging.getLogger().handlers, logging.getLogger().level)
    configure_logging("ERROR")
    configure_structlog()
    keep_audit_lines()
    stream = io.StringIO()
    (handler,) = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(stream)

    def lines() -> list[dict[str, Any]]:
        found = [json.loads(line) for line in stream.getvalue().splitlines()]
        return [line for line in found if line["logger"] == LOGGER]

    yield lines
    root.handlers, root.level = before
    structlog.reset_defaults()


def brief(lines: list[dict[str, Any]]) -> list[tuple[str, int | None]]:
    return [(line["event"], line["user_id"]) for line in lines]


async def test_staff_who_look_or_change_leave_a_line(api: Api, audited: Lines) -> None:
    await api.ask("GET", "/api/sections/7/roster", ADMIN)
    await api.ask("PATCH", "/api/admin/sections/7", ADMIN, json={"capacity": 5, "is_open": True})
    await api.ask("GET", "/api/sections/7/roster", OTHER_TEACHER)

    assert brief(audited()) == [
        ("roster.read", 31),
        ("section.change_capacity", 31),
        ("section.open", 31),
        ("roster.refused", 22),
    ]
    assert {line["subject"] for line in audited()} == {"section:7"}


async def test_whoever_reaches_for_what_is_anothers_leaves_a_line(api: Api, audited: Lines) -> None:
    api.world.enrollments.add(enrollment(100, student_id=2))

    reached = await api.ask("DELETE", "/api/enrollments/100")
    await api.ask("GET", "/api/enrollments/101/status")  # nobody's: a mistake, not an attempt
    await api.ask("GET", "/api/sections/7/roster", STUDENT)

    assert brief(audited()) == [("foreign_enrollment.delete", 11), ("forbidden", 11)]
    assert audited()[0]["request_id"] == reached.headers["X-Request-Id"]


async def test_logins_and_refreshes_that_fail_leave_a_line(api: Api, audited: Lines) -> None:
    api.world.accounts.change(11, password_hash=QUICK_HASHER.hash("right"))
    for email in ("ada@example.edu", "nobody@example.edu"):
        await api.post("/api/auth/login", {"email": email, "password": "secret-guess"})
    api.world.limiter.refuse = "127.0.0.1"
    await api.post("/api/auth/login", {"email": "ada@example.edu", "password": "secret-guess"})
    for reason in (RefusedRefresh.REUSED, RefusedRefresh.UNKNOWN):
        api.world.tokens.refuse_with = reason
        await api.post("/api/auth/refresh", {"refresh_token": "secret-token"})

    assert brief(audited()) == [
        ("login.failed", 11),
        ("login.failed", None),
        ("login.limited", None),
        ("refresh.reused", 11),
        ("refresh.unknown", None),
    ]
    text = json.dumps(audited())
    assert not any(word in text for word in ("secret", "example.edu", "Ada"))
    assert api.world.audit.entries == [], "whoever has no account cannot fill the table"


async def test_whoever_floods_does_not_fill_the_log_nor_hide_others(api: Api, audited: Lines) -> None:
    for _ in range(LINES_BURST * 2):
        await api.ask("GET", "/api/sections/7/roster", STUDENT)
    await api.ask("GET", "/api/sections/7/roster", OTHER_STUDENT)

    users = [line["user_id"] for line in audited()]
    assert LINES_BURST <= users.count(11) <= LINES_BURST + 5
    assert users.count(12) == 1


async def test_guessing_ids_is_limited_and_does_not_tell_which_exist(make_api: MakeApi) -> None:
    for student_id in (2, None):
        api = await make_api(enrollments_per_s=0.01, enrollments_burst=3)
        if student_id is not None:
            api.world.enrollments.add(*(enrollment(number, student_id) for number in range(100, 106)))

        asked = [await api.ask("GET", f"/api/enrollments/{number}/status") for number in range(100, 106)]

        assert [one.status for one in asked] == [404] * 3 + [429] * 3


async def test_ones_own_enrolment_may_be_looked_at_as_often_as_one_likes(make_api: MakeApi) -> None:
    api = await make_api(enrollments_per_s=0.01, enrollments_burst=1)
    api.world.enrollments.add(enrollment(100))

    assert {(await api.ask("GET", "/api/enrollments/100/status")).status for _ in range(5)} == {200}
