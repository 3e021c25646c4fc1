"""What applies to every request: ids, headers, logs, errors, origins, proxies."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from allocator.ports import StoreBusyError
from tests.unit.api.conftest import Api, Logged, MakeApi
from tests.unit.api.fakes import STUDENT


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


HOST = "Host: x\r\n"
ORIGIN = "Origin: https://campus.example\r\n"
CLOSE = "Connection: close\r\n"
STRANGE = {
    "no HTTP": ("GARBAGE<script>\r\n\r\n", 400),
    "no method": ("<script>alert(1)</script> / HTTP/1.1\r\n\r\n", 400),
    "a wrong version": (f"GET /<script> HTTP/3.0\r\n{HOST}\r\n", 400),
    "a bad header": (f"GET /health HTTP/1.1\r\n{HOST}<script>\r\n\r\n", 400),
    "two hosts": (f"GET /health HTTP/1.1\r\n{HOST}{HOST}\r\n", 400),
    "no host": ("GET /<script> HTTP/1.1\r\n\r\n", 400),
    "too long a line": (f"GET /<script>{'x' * 9000} HTTP/1.1\r\n{HOST}\r\n", 400),
    "a bad target": (f"GET <script>://[ HTTP/1.1\r\n{HOST}\r\n", 400),
    "a bad length": (f"POST /api/auth/login HTTP/1.1\r\n{HOST}Content-Length: <script>\r\n\r\n", 400),
    "a bad chunk": (
        f"POST /api/auth/login HTTP/1.1\r\n{HOST}Content-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\n\r\n<script>\r\n",
        400,
    ),
    "HTTP/0.9": ("GET /health\r\n\r\n", 400),
    "HTTP/0.9 with a header": (f"GET /health\r\n{HOST}\r\n", 400),
    "HTTP/2.0": (f"GET /health HTTP/2.0\r\n{HOST}\r\n", 400),
    "a letter encoded": (f"GET /%6detrics?<script> HTTP/1.1\r\n{HOST}{CLOSE}\r\n", 400),
    "a strange expectation": (f"GET /health HTTP/1.1\r\n{HOST}{CLOSE}Expect: <script>\r\n\r\n", 417),
    "a strange expectation of nothing": (f"GET /nonesuch HTTP/1.1\r\n{HOST}{CLOSE}Expect: <script>\r\n\r\n", 417),
    "no route": (f"GET /<script> HTTP/1.1\r\n{HOST}{CLOSE}\r\n", 404),
    "no method of the route": (f"PUT /health HTTP/1.1\r\n{HOST}{CLOSE}\r\n", 405),
    "CONNECT": (f"CONNECT x:1 HTTP/1.1\r\n{HOST}{CLOSE}\r\n", 404),
    "all of the server": (f"OPTIONS * HTTP/1.1\r\n{HOST}{CLOSE}\r\n", 404),
    "a preflight": (
        f"OPTIONS /api/enrollments HTTP/1.1\r\n{HOST}{CLOSE}{ORIGIN}Access-Control-Request-Method: POST\r\n\r\n",
        200,
    ),
    "a preflight that fails": (
        f"OPTIONS /api/enrollments HTTP/1.1\r\n{HOST}{CLOSE}{ORIGIN}Access-Control-Request-Method: <script>\r\n\r\n",
        400,
    ),
    "a preflight of somebody else": (
        f"OPTIONS /api/enrollments HTTP/1.1\r\n{HOST}{CLOSE}Origin: <script>\r\n"
        "Access-Control-Request-Method: POST\r\n\r\n",
        400,
    ),
}


@pytest.mark.parametrize("name", STRANGE)
async def test_the_answer_to_whatever_is_sent_names_no_version_and_repeats_nothing(
    make_api: MakeApi, name: str
) -> None:
    api = await make_api(cors_origins=("https://campus.example",), is_production=True)
    sent, status = STRANGE[name]

    answer = await api.raw(sent.encode())

    head, _, body = answer.partition(b"\r\n\r\n")
    version, _, rest = head.decode().partition(" ")
    lines = dict(line.lower().split(": ", 1) for line in rest.split("\r\n")[1:])
    assert (version in {"HTTP/1.0", "HTTP/1.1"}, rest[:3]) == (True, str(status))
    assert lines["server"] == "seatline"
    assert lines["x-content-type-options"] == "nosniff"
    assert lines["x-frame-options"] == "deny"
    assert lines["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in lines["content-security-policy"]
    assert "max-age=" in lines["strict-transport-security"]
    assert "x-request-id" in lines
    assert answer.count(b"HTTP/1.") == 1
    assert not any(word in answer.lower() for word in (b"<script>", b"aiohttp", b"python"))
    if status >= 400:
        problem = json.loads(body)
        assert lines["content-type"] == "application/problem+json"
        assert (problem["status"], problem["request_id"]) == (status, lines["x-request-id"])


@pytest.mark.parametrize(
    "line", ["GET /health", "GET /health HTTP/0.9", "POST /api/enrollments", "GET /health HTTP/2.0"]
)
async def test_what_is_below_http_1_0_or_above_1_1_is_refused_and_closed(api: Api, line: str) -> None:
    body = '{"section_id":7}'
    token = api.token(STUDENT)

    answer = await api.raw(
        f"{line}\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        f"Connection: keep-alive\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    )

    assert answer.startswith(b"HTTP/1.0 400 ")
    assert api.world.gateway.envelopes == []


async def test_http_1_0_is_served(api: Api) -> None:
    assert (await api.raw(b"GET /health HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.0 200 ")


@pytest.mark.parametrize(
    "path",
    ["/%6detrics", "/%6Detrics", "/%72eady", "/metric%73", "/api/section%73/7", "/api/sections/%37", "/%2e/metrics",
     "/%2E%2E/metrics", "/api/%7Ex", "http://x/%6detrics", "/%6detrics?a", "/nonesuch/%41", "/%5f"],
)  # fmt: skip
async def test_a_path_with_letters_encoded_is_refused(api: Api, path: str) -> None:
    await api.ask("GET", "/api/sections/7", None)  # now it is at hand for the express lane

    answer = await api.raw(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())

    assert answer.startswith(b"HTTP/1.1 400 "), answer[:100]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/courses?q=%41%6d", 200),  # a query string is for its reader
        ("/api/semesters?q=%41", 200),
        ("/api/sections/%20", 404),
        ("/%25%36%64etrics", 400),  # %36 is a digit
        ("/%256detrics", 404),  # decoded once only
        ("//metrics", 404),
        ("/./metrics", 404),
        ("/api/../metrics", 404),
        ("http://x/api/../metrics", 404),
        ("/metrics/", 404),
        ("/%2Fmetrics", 404),
        ("/METRICS", 404),
        ("/metrics%00", 404),
    ],
)
async def test_no_other_spelling_of_a_path_leads_to_the_route(api: Api, path: str, status: int) -> None:
    answer = await api.raw(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())

    assert answer[9:12] == str(status).encode(), answer[:100]


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


@pytest.mark.parametrize("name", STRANGE)
async def test_whatever_is_sent_does_not_reach_the_log(api: Api, logged: Logged, name: str) -> None:
    await api.raw(STRANGE[name][0].encode())

    assert logged() == []


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


@pytest.mark.parametrize(
    "headers",
    [
        [("X-Forwarded-For", "not an address")],
        [("X-Forwarded-For", "")],
        [("X-Forwarded-For", "unknown, 203.0.113.9")],
        [("X-Forwarded-For", "203.0.113.1"), ("X-Forwarded-For", "203.0.113.9")],
        [("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-Proto", "http"), ("X-Forwarded-Proto", "https")],
        [("X-Forwarded-Proto", "https, gopher")],
        [("X-Forwarded-For", "\udcff")],
    ],
)
async def test_no_forwarded_header_makes_a_request_fail(make_api: MakeApi, headers: list[tuple[str, str]]) -> None:
    api = await make_api(trusted_proxies=("127.0.0.1",))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers).encode("utf-8", "surrogateescape")

    answer = await api.raw(b"GET /api/semesters HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + lines + b"\r\n")

    assert answer.startswith(b"HTTP/1.1 200 "), answer[:200]


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
