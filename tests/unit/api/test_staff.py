"""Requests of staff, and that nobody else may make them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from allocator.model.commands import ChangeCapacity, CloseSection, OpenSection
from allocator.model.delivery import UNKNOWN
from allocator.model.outcomes import Code, Outcome
from allocator.model.read_models import Account
from allocator.ports import StoreUnavailableError
from tests.unit.api.conftest import Api, MakeApi
from tests.unit.api.fakes import ADMIN, OTHER_TEACHER, SECTION, STUDENT, TEACHER

PATH = "/api/admin/sections/7"
ROSTER = "/api/sections/7/roster"


@pytest.fixture(autouse=True)
def _changes_are_made(api: Api) -> None:
    api.world.gateway.decide(Outcome(Code.CHANGED, 7))


@pytest.mark.parametrize(
    ("body", "commands"),
    [
        ({"capacity": 40}, [ChangeCapacity(7, 40, 31)]),
        ({"capacity": 0}, [ChangeCapacity(7, 0, 31)]),
        ({"is_open": False}, [CloseSection(7, 31)]),
        ({"is_open": True}, [OpenSection(7, 31)]),
        ({"is_open": False, "capacity": 40}, [CloseSection(7, 31), ChangeCapacity(7, 40, 31)]),
        ({"is_open": True, "capacity": 40}, [ChangeCapacity(7, 40, 31), OpenSection(7, 31)]),
    ],
)
async def test_a_change_becomes_commands_in_a_safe_order(api: Api, body: Any, commands: list[object]) -> None:
    answer = await api.ask("PATCH", PATH, ADMIN, json=body)

    assert answer.status == 200
    assert answer.body["id"] == 7
    assert api.world.gateway.commands == commands


async def test_a_change_answers_with_the_section_as_it_is_now_not_as_it_was_cached(api: Api) -> None:
    await api.ask("GET", "/api/sections/7", None)
    api.world.catalogue.current = replace(SECTION, capacity=40)

    answer = await api.ask("PATCH", PATH, ADMIN, json={"capacity": 40})

    assert answer.body["capacity"] == 40


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"capacity": -1},
        {"capacity": 100_001},
        {"capacity": 2.5},
        {"capacity": None},
        {"capacity": True},
        {"is_open": "yes"},
        {"is_open": None},
        {"capacity": 3, "enrolled": 0},
    ],
)
async def test_a_change_that_is_none_is_422(api: Api, body: Any) -> None:
    answer = await api.ask("PATCH", PATH, ADMIN, json=body)

    assert (answer.status, answer.code) == (422, "invalid")
    assert api.world.gateway.commands == []


async def test_a_change_stops_at_the_first_command_that_fails(api: Api) -> None:
    api.world.gateway.reply = UNKNOWN

    answer = await api.ask("PATCH", PATH, ADMIN, json={"is_open": False, "capacity": 1})

    assert (answer.status, answer.code) == (503, "outcome_unknown")
    assert api.world.gateway.commands == [CloseSection(7, 31)]


async def test_a_change_is_on_record_before_it_is_made(api: Api) -> None:
    await api.ask("PATCH", PATH, ADMIN, json={"is_open": False, "capacity": 1})

    assert api.world.audit.entries == [
        (31, "section.close", "section:7"),
        (31, "section.change_capacity", "section:7"),
    ]


@pytest.mark.parametrize(("method", "path", "body"), [("PATCH", PATH, {"capacity": 1}), ("GET", ROSTER, None)])
async def test_what_cannot_be_put_on_record_is_neither_done_nor_shown(
    api: Api, method: str, path: str, body: Any
) -> None:
    api.world.audit.error = StoreUnavailableError("away")

    answer = await api.ask(method, path, ADMIN, json=body)

    assert (answer.status, answer.code) == (503, "unavailable")
    assert api.world.gateway.commands == []
    assert "S001" not in answer.text


async def test_several_commands_of_one_change_share_its_deadline(make_api: MakeApi) -> None:
    api = await make_api(request_deadline_s=2.0)
    api.world.gateway.decide(Outcome(Code.CHANGED, 7))
    api.world.audit.takes_s = 0.3

    assert (await api.ask("PATCH", PATH, ADMIN, json={"is_open": False, "capacity": 40})).status == 200

    first_s, second_s = (left_s or 0.0 for left_s in api.world.gateway.deadlines_s)
    # The loop's clock ticks in milliseconds: a wait of 0.3 s may look a little shorter.
    assert 0.0 < second_s < first_s - 0.29 < 1.42


async def test_a_change_that_cannot_be_put_on_record_in_time_is_503_and_not_made(make_api: MakeApi) -> None:
    api = await make_api(request_deadline_s=0.1)
    api.world.audit.takes_s = 30.0

    answer = await api.ask("PATCH", PATH, ADMIN, json={"capacity": 40})

    assert (answer.status, answer.code) == (503, "unavailable")
    assert api.world.gateway.commands == []


async def test_a_change_of_no_section_is_404(api: Api) -> None:
    api.world.gateway.decide(Outcome(Code.NOT_FOUND, 8))

    assert (await api.ask("PATCH", "/api/admin/sections/8", ADMIN, json={"capacity": 1})).code == "not_found"


@pytest.mark.parametrize("who", [STUDENT, TEACHER])
async def test_only_administrators_change_sections(api: Api, who: Account) -> None:
    # The body is not even looked at: whoever may not ask learns nothing about what may be asked.
    answer = await api.ask("PATCH", PATH, who, json={"nonsense": 1})

    assert (answer.status, answer.code) == (403, "forbidden")
    assert api.world.gateway.commands == []


@pytest.mark.parametrize("who", [ADMIN, TEACHER])
async def test_a_roster_is_shown_and_the_look_is_on_record(api: Api, who: Account) -> None:
    answer = await api.ask("GET", ROSTER, who)

    assert answer.status == 200
    assert [one["student_number"] for one in answer.body["enrolled"]] == ["S001"]
    assert [(one["name"], one["place"]) for one in answer.body["waitlisted"]] == [("Bob", 1)]
    assert answer.headers["Cache-Control"] == "no-store"
    assert api.world.audit.entries == [(who.user_id, "roster.read", "section:7")]


@pytest.mark.parametrize("who", [STUDENT, OTHER_TEACHER])
async def test_nobody_else_sees_a_roster(api: Api, who: Account) -> None:
    answer = await api.ask("GET", ROSTER, who)

    assert (answer.status, answer.code) == (403, "forbidden")
    assert "S001" not in answer.text
    tried = [] if who is STUDENT else [(who.user_id, "roster.refused", "section:7")]
    assert api.world.audit.entries == tried


async def test_a_roster_of_no_section_is_404(api: Api) -> None:
    assert (await api.ask("GET", "/api/sections/8/roster", ADMIN)).code == "not_found"


@pytest.mark.parametrize("path", [PATH, ROSTER, "/api/enrollments/my", "/api/students/me/schedule"])
async def test_without_a_token_it_is_401(api: Api, path: str) -> None:
    answer = await api.ask("PATCH" if path is PATH else "GET", path, None)

    assert (answer.status, answer.code) == (401, "unauthenticated")
