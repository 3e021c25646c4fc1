"""What applies to every request: ids, headers, logs, errors, origins, proxies."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from allocator.ports import StoreBusyError
from tests.unit.api.conftest import Api, Logged, MakeApi


async def test_a_sane_request_id_is_kept(api: Api) -> None:
    answer = await api.ask("GET", "/health", None, headers={"X-Request-Id": "abc-1.2_X"})

    assert answer.headers["X-Request-Id"] == "abc-1.2_X"


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "<script>", "é", 'a"', "a\tb"])
async def test_any_other_request_id_is_replaced(api: Api, given: str) -> None:
    answer = await api.ask("GET", "/nonesuch", None, headers={"X-Request-Id": given})

    assert answer.headers["X-Request-Id"] != given
    assert answer.code == "not_found"


async def test_request_ids_that_we_give_differ(api: Api) -> None:
    ids = {(await api.ask("GET", "/health", None)).headers["X-Request-Id"] for _ in range(5)}

    assert len(ids) == 5


@pytest.mark.parametrize(
    "path", ["/health", "/api/semesters", "/nonesuch", "/metrics", "/api/docs", "/api/web/swagger-init.js"]
)
async def test_every_answer_has_the_headers_that_keep_browsers_in_check(api: Api, path: str) -> None:
    headers = (await api.ask("GET", path, None)).headers

    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Server"] == "seatline"
    assert "Strict-Transport-Security" not in headers


async def test_https_is_promised_in_production_only(make_api: MakeApi) -> None:
    api = await make_api(is_production=True)

    assert "max-age=" in (await api.ask("GET", "/health", None)).headers["Strict-Transport-Security"]
    assert "Strict-Transport-Security" in (await api.ask("GET", "/nonesuch", None)).headers


async def test_another_method_is_405_and_says_which_would_do(api: Api) -> None:
    answer = await api.ask("PUT", "/api/enrollments", json={})

    assert (answer.status, answer.code) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == "POST"


async def test_methods_made_up_by_clients_do_not_become_metrics(api: Api) -> None:
    for number in range(3):
        await api.ask(f"MADEUP{number}", "/health", None)
        await api.ask("GET", f"/nonesuch/{number}", None)

    text = await api.metrics()

    assert "MADEUP" not in text
    assert 'seatline_http_requests_total{method="GET",route="unmatched",status="404"} 3.0' in text


async def test_a_bug_is_a_plain_500_whose_id_is_in_the_log(api: Api, logged: Logged) -> None:
    api.world.catalogue.error = RuntimeError("password=hunter2 ada@example.edu")

    answer = await api.ask("GET", "/api/sections/7", None)

    assert (answer.status, answer.code) == (500, "internal_error")
    assert "hunter2" not in answer.text
    assert "RuntimeError" not in answer.text
    events = logged()
    (failure,) = [one for one in events if one["event"] == "request failed"]
    assert failure["request_id"] == answer.body["request_id"]
    assert failure["error"] == "RuntimeError"
    assert "hunter2" not in json.dumps(events)


async def test_a_slow_request_is_logged_by_its_template(make_api: MakeApi, logged: Logged) -> None:
    api = await make_api(slow_request_s=0.0)

    await api.ask("GET", "/api/courses?q=secret")

    (line,) = logged()
    assert (line["event"], line["level"]) == ("request", "warning")
    assert (line["method"], line["route"], line["status"]) == ("GET", "/api/courses", 200)
    assert not any(word in json.dumps(line) for word in ("secret", "Bearer", "ada@"))


async def test_a_quick_request_is_not_logged(api: Api, logged: Logged) -> None:
    await api.ask("GET", "/api/courses")
    await api.ask("GET", "/nonesuch")

    assert logged() == []


async def test_control_characters_in_a_header_do_not_reach_a_terminal(api: Api, logged: Logged) -> None:
    answer = await api.raw(b"GET /health HTTP/1.1\r\nHost: x\r\nUser-Agent: a\x1b[31m\rb\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 400 ") or answer.startswith(b"HTTP/1.0 400 ")
    assert logged() == [], "whoever sends nonsense does not get to fill the log"


async def test_no_origin_is_allowed_unless_it_is_named(make_api: MakeApi) -> None:
    closed = await make_api()
    opened = await make_api(cors_origins=("https://campus.example",))
    origin = {"Origin": "https://campus.example"}

    assert (
        "Access-Control-Allow-Origin" not in (await closed.ask("GET", "/api/semesters", None, headers=origin)).headers
    )
    allowed = await opened.ask("GET", "/api/semesters", None, headers=origin)
    assert allowed.headers["Access-Control-Allow-Origin"] == "https://campus.example"
    assert "Access-Control-Allow-Credentials" not in allowed.headers
    evil = await opened.ask("GET", "/api/semesters", None, headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in evil.headers


async def test_a_preflight_is_answered(make_api: MakeApi) -> None:
    api = await make_api(cors_origins=("https://campus.example",))
    asked = {
        "Origin": "https://campus.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
    }

    answer = await api.ask("OPTIONS", "/api/enrollments", None, headers=asked)

    assert answer.status == 200
    assert "IDEMPOTENCY-KEY" in answer.headers["Access-Control-Allow-Headers"].upper()


@pytest.mark.parametrize(
    ("trusted", "forwarded", "seen"),
    [
        ((), "203.0.113.9", "127.0.0.1"),
        (("127.0.0.0/8",), "203.0.113.9", "203.0.113.9"),
        (("127.0.0.0/8",), "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        (("10.0.0.0/8",), "203.0.113.9", "127.0.0.1"),
        (("127.0.0.1", "10.0.0.0/8"), "203.0.113.9, 10.1.2.3", "203.0.113.9"),
    ],
    ids=["nobody is trusted", "the proxy is", "what the client made up", "another proxy is", "two hops"],
)
async def test_addresses_are_believed_from_trusted_proxies_only(
    make_api: MakeApi, trusted: tuple[str, ...], forwarded: str, seen: str
) -> None:
    api = await make_api(trusted_proxies=trusted)
    body: Any = {"email": "a@b.c", "password": "x"}

    await api.post("/api/auth/login", body, headers={"X-Forwarded-For": forwarded})

    assert api.world.limiter.hits[0][0].startswith(f"login:{seen}:")


async def test_a_forwarded_address_that_is_none_is_400(make_api: MakeApi) -> None:
    api = await make_api(trusted_proxies=("127.0.0.1",))

    answer = await api.ask("GET", "/health", None, headers={"X-Forwarded-For": "not an address"})

    assert (answer.status, answer.code) == (400, "bad_request")


async def test_a_flood_of_failures_does_not_flood_the_log(make_api: MakeApi, logged: Logged) -> None:
    api = await make_api()
    api.world.catalogue.error = StoreBusyError("full")
    for _ in range(60):
        assert (await api.ask("GET", "/api/courses/5", None)).status == 503
    for _ in range(60):
        assert (await api.ask("GET", "/api/courses", None)).status == 503

    routes = Counter(line["route"] for line in logged())
    assert set(routes) == {"/api/courses/{id}", "/api/courses"}
    assert all(20 <= count <= 30 for count in routes.values())
