"""Reading the catalogue: pages, ETags, caching."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from allocator.model.read_models import RoomedMeeting
from allocator.ports import StoreBusyError, StoreUnavailableError
from tests.unit.api.conftest import Api
from tests.unit.api.fakes import SECTION


async def test_pages_follow_each_other_without_gap_or_repeat(api: Api) -> None:
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(4):
        params = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await api.ask("GET", "/api/courses", None, params=params)).body
        seen += [one["code"] for one in page["items"]]
        cursor = page["next_cursor"]

    assert seen == [one.code for one in api.world.catalogue.all_courses]
    assert cursor is None


async def test_a_page_that_is_just_full_is_the_last(api: Api) -> None:
    page = (await api.ask("GET", "/api/courses?limit=7", None)).body

    assert len(page["items"]) == 7
    assert page["next_cursor"] is None


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=ten",
        "limit=1.5",
        "cursor=%00",
        "cursor=!!!",
        "cursor=" + base64.urlsafe_b64encode(b"\xff\xfe").decode(),
        "cursor=" + base64.urlsafe_b64encode(b"A\x00B").decode(),
        "cursor=" + base64.urlsafe_b64encode(b"x" * 300).decode(),
        "cursor=A",
        "q=%00",
        "q=" + "x" * 101,
        "department=a%00b",
    ],
)
async def test_a_query_that_cannot_be_is_422(api: Api, query: str) -> None:
    answer = await api.ask("GET", f"/api/courses?{query}", None)

    assert (answer.status, answer.code) == (422, "invalid")
    assert api.world.catalogue.reads == 0


async def test_unknown_parameters_are_ignored(api: Api) -> None:
    assert (await api.ask("GET", "/api/courses?utm_source=mail", None)).status == 200


@pytest.mark.parametrize(
    "query", ["q=&department=&semester=", "limit=&cursor=", "q=%20%20", "semester=+", "department=%C2%A0", "q=&q="]
)
async def test_an_empty_parameter_is_none(api: Api, query: str) -> None:
    everything = await api.ask("GET", "/api/courses", None)

    answer = await api.ask("GET", f"/api/courses?{query}", None)

    assert (answer.status, answer.body) == (200, everything.body)


async def test_of_a_repeated_parameter_the_first_that_says_something_counts(api: Api) -> None:
    answer = await api.ask("GET", "/api/courses?limit=&limit=2&limit=3", None)

    assert len(answer.body["items"]) == 2


@pytest.mark.parametrize("path", ["/api/courses", "/api/semesters", "/api/courses/5", "/api/courses/5/sections"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_slash_at_the_end_changes_nothing(api: Api, path: str, method: str) -> None:
    without, with_it = [await api.ask(method, one, None) for one in (path, f"{path}/")]

    assert (with_it.status, with_it.body) == (200, without.body)
    assert with_it.headers["ETag"] == without.headers["ETag"]


@pytest.mark.parametrize("path", ["/metrics/", "/ready/", "/health/", "/api/courses//", "/api/enrollments/"])
async def test_a_slash_opens_no_way_around_a_rule_for_a_path(api: Api, path: str) -> None:
    method = "POST" if "enrollments" in path else "GET"

    assert (await api.ask(method, path, json={"section_id": 7} if method == "POST" else None)).status == 404


@pytest.mark.parametrize("semester", ["2026f", " 2026F ", "2026-F", "2026%20f", "%EF%BC%92026F"])
async def test_a_semester_is_named_as_people_type_it(api: Api, semester: str) -> None:
    answer = await api.ask("GET", f"/api/courses?semester={semester}", None)

    assert len(answer.body["items"]) == 7


@pytest.mark.parametrize("path", ["/api/courses", "/api/courses/5/sections"])
async def test_an_unknown_semester_is_422_and_says_so(api: Api, path: str) -> None:
    answer = await api.ask("GET", f"{path}?semester=nonesuch", None)

    assert (answer.status, answer.code) == (422, "invalid")
    assert "no such semester" in answer.body["detail"]


async def test_an_unknown_department_is_422_and_one_without_courses_is_empty(api: Api) -> None:
    unknown = await api.ask("GET", "/api/courses?department=NONESUCH", None)
    again = await api.ask("GET", "/api/courses?department=NONESUCH", None)
    empty = await api.ask("GET", "/api/courses?department=cs&semester=2026S", None)

    assert (unknown.status, unknown.code, again.status) == (422, "invalid", 422)
    assert "no such department" in unknown.body["detail"]
    assert (empty.status, empty.body["items"]) == (200, [])


@pytest.mark.parametrize(("semester", "count"), [("2026F", 7), ("3", 7), ("2026S", 0)])
async def test_a_semester_goes_by_code_or_id(api: Api, semester: str, count: int) -> None:
    answer = await api.ask("GET", f"/api/courses?semester={semester}", None)

    assert len(answer.body["items"]) == count


async def test_course_lists_are_cached_by_all_that_they_depend_on(api: Api) -> None:
    for query in ("", "limit=3", "q=101", "semester=2026F", "department=CS", ""):
        await api.ask("GET", f"/api/courses?{query}", None)

    keys = {key: ttl_s for key, (ttl_s, _) in api.world.cache.values.items() if not key.endswith(":index")}
    assert len(keys) == 5
    assert all(key.startswith("courses:semester:") and ttl_s == 300.0 for key, ttl_s in keys.items())
    assert sum(key.startswith("courses:semester:3:") for key in keys) == 1
    text = await api.metrics()
    assert 'seatline_cache_reads_total{family="courses:semester",result="hit"} 1.0' in text


async def test_what_has_not_changed_is_304(api: Api) -> None:
    first = await api.ask("GET", "/api/courses", None)
    tag = first.headers["ETag"]

    same = await api.ask("GET", "/api/courses", None, headers={"If-None-Match": f'"other", W/{tag}'})
    other = await api.ask("GET", "/api/courses", None, headers={"If-None-Match": '"other"'})

    assert (same.status, same.text, same.headers["ETag"]) == (304, "", tag)
    assert other.status == 200
    assert first.headers["Cache-Control"] == "no-cache"


async def test_a_section_shows_seats_and_meetings(api: Api) -> None:
    answer = await api.ask("GET", "/api/sections/7", None)

    assert answer.status == 200
    shown = answer.body
    assert (shown["capacity"], shown["enrolled"], shown["available"], shown["waitlisted"]) == (30, 28, 2, 0)
    assert (shown["id"], shown["course_id"], shown["semester_id"], shown["code"], shown["credits"]) == (
        7,
        5,
        3,
        "A01",
        4,
    )
    assert shown["is_open"] is True
    assert shown["meetings"] == [
        {"weekday": 0, "start": "09:00", "end": "10:15", "weeks": [1, 2, 4], "room": "Hall 1"},
    ]


async def test_a_section_over_its_capacity_has_no_seats_rather_than_fewer(api: Api) -> None:
    midnight = RoomedMeeting(6, 23 * 60, 24 * 60, 1 << 62, None)
    api.world.catalogue.current = replace(SECTION, capacity=20, enrolled=28, meetings=(midnight,))

    shown = (await api.ask("GET", "/api/sections/7", None)).body

    assert shown["available"] == 0
    assert (shown["meetings"][0]["end"], shown["meetings"][0]["weeks"]) == ("24:00", [63])


@pytest.mark.parametrize("path", ["/api/courses/6", "/api/courses/6/sections", "/api/sections/8", "/api/nonesuch", "/"])
async def test_what_is_not_there_is_404(api: Api, path: str) -> None:
    answer = await api.ask("GET", path, None)

    assert (answer.status, answer.code) == (404, "not_found")


async def test_a_course_tells_what_it_asks_for(api: Api) -> None:
    answer = await api.ask("GET", "/api/courses/5", None)

    assert answer.body["requisites"] == [{"course_id": 4, "code": "CS 100", "kind": "prerequisite", "min_grade": 2.0}]


@pytest.mark.parametrize(("query", "count"), [("", 1), ("?semester=2026F", 1), ("?semester=2", 0)])
async def test_the_sections_of_a_course(api: Api, query: str, count: int) -> None:
    answer = await api.ask("GET", f"/api/courses/5/sections{query}", None)

    assert answer.status == 200
    assert len(answer.body["items"]) == count


async def test_semesters_say_which_is_current(api: Api) -> None:
    items = (await api.ask("GET", "/api/semesters", None)).body["items"]

    assert [(one["code"], one["current"]) for one in items] == [("2026F", True), ("2026S", False)]
    assert items[0]["registration_opens_at"] == "2026-09-01T08:00:00Z"


@pytest.mark.parametrize(
    ("error", "code"), [(StoreUnavailableError("gone"), "unavailable"), (StoreBusyError("full"), "overloaded")]
)
async def test_a_database_that_is_away_is_503(api: Api, error: Exception, code: str) -> None:
    api.world.catalogue.error = error

    answer = await api.ask("GET", "/api/sections/7", None)

    assert (answer.status, answer.code) == (503, code)
    assert int(answer.headers["Retry-After"]) >= 1

    api.world.catalogue.error = None
    assert (await api.ask("GET", "/api/sections/7", None)).status == 200
