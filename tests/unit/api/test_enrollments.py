"""Enrolling and dropping over HTTP: the commands to the gateway, and the answer to each outcome."""

from __future__ import annotations

from dataclasses import replace

import pytest

from allocator.model.commands import Drop, Enroll
from allocator.model.delivery import MOVED, OVERLOADED, UNAVAILABLE, UNKNOWN, Reply
from allocator.model.outcomes import Code, Outcome, Reason, ReasonCode, refused
from tests.unit.api.conftest import Api, MakeApi
from tests.unit.api.fakes import ADMIN, OTHER_STUDENT, STUDENT, TEACHER, enrollment

CONFLICT = Reason(ReasonCode.SCHEDULE_CONFLICT, "It meets at the same time.", 9)
NO_CREDITS = Reason(ReasonCode.CREDIT_LIMIT, "It would make 20 credits; your limit is 18.")


async def test_a_seat_is_201_and_says_where_to_look(api: Api) -> None:
    answer = await api.enroll({"section_id": 7})

    assert answer.status == 201
    assert answer.body == {"id": 100, "section_id": 7, "status": "enrolled", "waitlist_position": None, "place": None}
    assert answer.headers["Location"] == "/api/enrollments/100/status"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Idempotent-Replayed" not in answer.headers


async def test_a_place_is_201_with_place_and_position(api: Api) -> None:
    api.world.gateway.decide(Outcome(Code.WAITLISTED, 7, 100, place=12, position=3))

    answer = await api.enroll()

    assert answer.status == 201
    assert (answer.body["status"], answer.body["place"], answer.body["waitlist_position"]) == ("waitlisted", 12, 3)


async def test_the_student_comes_from_the_token(api: Api) -> None:
    await api.enroll({"section_id": 7}, who=OTHER_STUDENT)

    (command,) = api.world.gateway.commands
    assert isinstance(command, Enroll)
    assert (command.student_id, command.section_id, command.join_waitlist) == (2, 7, True)


@pytest.mark.parametrize("field", ["student_id", "status", "position", "role", "epoch"])
async def test_a_body_that_claims_more_is_refused(api: Api, field: str) -> None:
    answer = await api.enroll({"section_id": 7, field: 2})

    assert (answer.status, answer.code) == (422, "invalid")
    assert field in answer.body["detail"]
    assert api.world.gateway.commands == []


async def test_without_a_key_each_request_has_its_own(api: Api) -> None:
    await api.enroll()
    await api.enroll()

    first, second = api.world.gateway.envelopes
    assert isinstance(first.command, Enroll)
    assert isinstance(second.command, Enroll)
    assert first.key != second.key
    assert not first.keep_answer
    assert not first.maybe_tried


async def test_a_key_of_the_client_is_kept_and_looked_up(api: Api) -> None:
    await api.enroll(headers={"Idempotency-Key": "my-key"})

    (envelope,) = api.world.gateway.envelopes
    assert isinstance(envelope.command, Enroll)
    assert (envelope.key, envelope.keep_answer, envelope.maybe_tried) == ("my-key", True, True)


@pytest.mark.parametrize("key", ["", "x" * 129, "x" * 4000, 'a"b', "a'b", "a b", "ä"])
async def test_a_key_that_cannot_be_used_is_400(api: Api, key: str) -> None:
    answer = await api.enroll(headers={"Idempotency-Key": key})

    assert (answer.status, answer.code) == (400, "bad_idempotency_key")
    assert api.world.gateway.commands == []


async def test_a_repeat_gets_the_same_answer_and_is_told_so(api: Api) -> None:
    api.world.gateway.decide(Outcome(Code.WAITLISTED, 7, 100, place=12, position=3), replayed=True)

    answer = await api.enroll(headers={"Idempotency-Key": "k"})

    assert answer.status == 201
    assert answer.body["place"] == 12
    assert answer.headers["Idempotent-Replayed"] == "true"


async def test_a_refusal_gives_every_reason(api: Api) -> None:
    api.world.gateway.decide(refused(7, CONFLICT, NO_CREDITS))

    answer = await api.enroll()

    assert (answer.status, answer.code) == (409, "schedule_conflict")
    assert answer.body["type"] == "urn:seatline:problem:schedule_conflict"
    assert answer.body["reasons"] == [
        {"code": "schedule_conflict", "detail": "It meets at the same time.", "subject": 9},
        {"code": "credit_limit", "detail": "It would make 20 credits; your limit is 18."},
    ]


async def test_a_repeated_refusal_is_told_to_be_one(api: Api) -> None:
    api.world.gateway.decide(refused(7, CONFLICT), replayed=True)

    answer = await api.enroll(headers={"Idempotency-Key": "k"})

    assert answer.status == 409
    assert answer.headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize(
    ("reply", "status", "problem", "may_retry"),
    [
        (Reply(Outcome(Code.NOT_FOUND, 7)), 404, "not_found", False),
        (Reply(Outcome(Code.KEY_REUSED, 7)), 422, "key_reused", False),
        (OVERLOADED, 503, "overloaded", True),
        (UNAVAILABLE, 503, "unavailable", True),
        (UNKNOWN, 503, "outcome_unknown", True),
        (MOVED, 503, "unavailable", True),
    ],
)
async def test_every_other_reply_has_its_problem(
    api: Api, reply: Reply, status: int, problem: str, may_retry: bool
) -> None:
    api.world.gateway.reply = reply

    answer = await api.enroll()

    assert (answer.status, answer.code) == (status, problem)
    assert ("Retry-After" in answer.headers) == may_retry
    assert "reasons" not in answer.body


@pytest.mark.parametrize("who", [TEACHER, ADMIN])
async def test_only_students_enrol(api: Api, who: object) -> None:
    answer = await api.enroll(who=who)

    assert (answer.status, answer.code) == (403, "forbidden")
    assert api.world.gateway.commands == []


async def test_a_flood_of_one_student_is_429_and_nobody_elses_trouble(make_api: MakeApi) -> None:
    api = await make_api(enrollments_per_s=1.0, enrollments_burst=3)

    statuses = [(await api.enroll()).status for _ in range(5)]
    limited = await api.enroll()

    assert statuses == [201, 201, 201, 429, 429]
    assert limited.code == "rate_limited"
    assert int(limited.headers["Retry-After"]) >= 1
    assert (await api.enroll(who=OTHER_STUDENT)).status == 201
    assert 'seatline_rate_limited_total{limit="enrollments"} 3.0' in await api.metrics()


async def test_a_drop_is_sent_to_the_section_of_the_enrolment(api: Api) -> None:
    api.world.enrollments.add(enrollment(100))
    api.world.gateway.decide(Outcome(Code.DROPPED, 7, 100))

    answer = await api.ask("DELETE", "/api/enrollments/100")

    assert (answer.status, answer.body) == (200, {"id": 100, "status": "dropped"})
    (command,) = api.world.gateway.commands
    assert isinstance(command, Drop)
    assert (command.section_id, command.student_id, command.enrollment_id) == (7, 1, 100)


async def test_a_drop_is_decided_in_what_looking_it_up_has_left_of_the_deadline(make_api: MakeApi) -> None:
    api = await make_api(request_deadline_s=2.0)
    api.world.enrollments.add(enrollment(100))
    api.world.enrollments.find_takes_s = 0.5
    api.world.gateway.decide(Outcome(Code.DROPPED, 7, 100))

    assert (await api.ask("DELETE", "/api/enrollments/100")).status == 200

    (left_s,) = api.world.gateway.deadlines_s
    assert left_s is not None
    assert 0.0 < left_s < 1.51


async def test_a_drop_that_cannot_be_looked_up_in_time_is_503_and_not_tried(make_api: MakeApi) -> None:
    api = await make_api(request_deadline_s=0.1)
    api.world.enrollments.add(enrollment(100))
    api.world.enrollments.find_takes_s = 30.0

    answer = await api.ask("DELETE", "/api/enrollments/100")

    assert (answer.status, answer.code) == (503, "unavailable")
    assert api.world.gateway.commands == []


@pytest.mark.parametrize(("method", "suffix"), [("DELETE", ""), ("GET", "/status")])
async def test_anothers_enrolment_looks_as_if_it_had_never_been(api: Api, method: str, suffix: str) -> None:
    api.world.enrollments.add(enrollment(100, student_id=2))

    theirs = await api.ask(method, f"/api/enrollments/100{suffix}")
    nobodys = await api.ask(method, f"/api/enrollments/101{suffix}")

    assert (theirs.status, theirs.code) == (404, "not_found")
    assert {**theirs.body, "request_id": ""} == {**nobodys.body, "request_id": ""}
    assert api.world.gateway.commands == []
    assert api.world.audit.entries == [(11, f"foreign_enrollment.{method.lower()}", "enrollment:100")]


@pytest.mark.parametrize("path_id", ["0", "9223372036854775808", "99999999999999999999", "-1", "abc", "1.5", "%D9%A1"])
async def test_an_id_that_no_row_can_have_is_404(api: Api, path_id: str) -> None:
    answer = await api.ask("DELETE", f"/api/enrollments/{path_id}")

    assert (answer.status, answer.code) == (404, "not_found")


async def test_my_list_has_live_positions_over_cached_rows(api: Api) -> None:
    api.world.enrollments.add(enrollment(100), enrollment(101, status="waitlisted", place=5))
    api.world.enrollments.add(enrollment(102, status="dropped"), enrollment(103, student_id=2))
    api.world.enrollments.position_of = {101: 4}
    first = await api.ask("GET", "/api/enrollments/my")
    api.world.enrollments.position_of = {101: 2}

    second = await api.ask("GET", "/api/enrollments/my")

    assert [one["id"] for one in first.body["items"]] == [100, 101]
    assert [one["waitlist_position"] for one in first.body["items"]] == [None, 4]
    assert [one["waitlist_position"] for one in second.body["items"]] == [None, 2]
    assert api.world.cache.values["student:enrollments:1"][0] == 60.0


@pytest.mark.parametrize(("wanted", "ids"), [("2026F", [100]), ("2026f ", [100]), ("3", [100]), ("2026S", [101])])
async def test_my_list_can_be_of_one_semester(api: Api, wanted: str, ids: list[int]) -> None:
    api.world.enrollments.add(enrollment(100), enrollment(101, semester=(2, "2026S")))

    answer = await api.ask("GET", "/api/enrollments/my", params={"semester": wanted})

    assert [one["id"] for one in answer.body["items"]] == ids


async def test_status_tells_the_position_and_what_blocks(api: Api) -> None:
    blocked = enrollment(100, status="waitlisted", place=5, blocked_by=("credit_limit",))
    api.world.enrollments.add(blocked)
    api.world.enrollments.position_of = {100: 1}

    answer = await api.ask("GET", "/api/enrollments/100/status")

    assert answer.status == 200
    assert answer.body["waitlist_position"] == 1
    assert answer.body["place"] == 5
    assert answer.body["blocked_by"] == ["credit_limit"]

    api.world.enrollments.add(replace(blocked, status="enrolled", blocked_by=()))
    promoted = await api.ask("GET", "/api/enrollments/100/status")
    assert (promoted.body["status"], promoted.body["waitlist_position"]) == ("enrolled", None)


async def test_the_schedule_has_seven_days_in_order(api: Api) -> None:
    answer = await api.ask("GET", "/api/students/me/schedule")

    days = answer.body["days"]
    assert [day["name"] for day in days][::6] == ["Monday", "Sunday"]
    assert [day["weekday"] for day in days] == list(range(7))
    assert [(one["course_code"], one["start"], one["end"], one["weeks"]) for one in days[0]["meetings"]] == [
        ("CS 102", "08:00", "09:00", [1]),
        ("CS 101", "09:00", "10:15", [1, 2, 4]),
    ]
    assert days[0]["meetings"][1]["room"] == "Hall 1"
    assert [one["course_code"] for one in days[4]["meetings"]] == ["CS 101"]
    assert [one["course_code"] for one in answer.body["untimed"]] == ["CS 199"]


@pytest.mark.parametrize("path", ["/api/students/me/schedule", "/api/enrollments/my"])
async def test_what_is_of_an_unknown_semester_is_422(api: Api, path: str) -> None:
    answer = await api.ask("GET", f"{path}?semester=nonesuch")

    assert (answer.status, answer.code) == (422, "invalid")
    assert (await api.ask("GET", f"{path}?semester=")).status == 200


async def test_outcomes_are_counted_by_their_codes(api: Api) -> None:
    await api.enroll()
    api.world.gateway.decide(refused(7, CONFLICT, NO_CREDITS))
    await api.enroll(who=STUDENT)

    text = await api.metrics()

    assert 'seatline_enrollment_outcomes_total{code="enrolled"} 1.0' in text
    assert 'seatline_enrollment_outcomes_total{code="schedule_conflict"} 1.0' in text
    assert 'seatline_http_requests_total{method="POST",route="/api/enrollments",status="409"} 1.0' in text
