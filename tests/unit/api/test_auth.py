"""Login, refresh and logout, and every way in which they must be refused."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import replace
from typing import Any

import bcrypt
import jwt
import pytest

from allocator.model.read_models import RefusedRefresh
from api.signin.login_limits import LOGIN_LIMITS, KnownSenders
from api.signin.refresh_tokens import hash_of
from tests.unit.api.conftest import QUICK_HASHER, Api, MakeApi
from tests.unit.api.fakes import ADMIN, SECRET, STUDENT, TEACHER

EMAIL = "ada@example.edu"
RIGHT = "right"
ME = "/api/auth/me"


@pytest.fixture(autouse=True)
def _password(api: Api) -> None:
    api.world.accounts.change(11, password_hash=QUICK_HASHER.hash("right"))


async def login(api: Api, password: str = RIGHT, email: str = EMAIL) -> Any:
    return await api.post("/api/auth/login", {"email": email, "password": password})


async def test_a_login_gives_tokens_that_work(api: Api) -> None:
    answer = await login(api, email="Ada@Example.EDU")

    assert answer.status == 200
    assert (answer.body["token_type"], answer.body["expires_in"]) == ("Bearer", 900)
    me = await api.ask("GET", ME, answer.body["access_token"])
    assert me.body == {
        "user_id": 11,
        "email": EMAIL,
        "name": "Ada",
        "role": "student",
        "student_id": 1,
        "student_number": "S001",
    }


async def test_the_refresh_token_is_long_and_known_by_its_hash_only(api: Api) -> None:
    token = (await login(api)).body["refresh_token"]

    assert len(base64.urlsafe_b64decode(token + "==")) >= 32
    assert list(api.world.tokens.users) == [hash_of(token)]


async def test_unknown_wrong_and_disabled_are_answered_alike(api: Api) -> None:
    wrong = await login(api, "wrong")
    unknown = await login(api, email="nobody@example.edu")
    api.world.accounts.change(11, password_hash=QUICK_HASHER.hash("right"), is_disabled=True)
    disabled = await login(api)
    no_password = await login(api, email=TEACHER.email)

    answers = [wrong, unknown, disabled, no_password]
    assert {one.status for one in answers} == {401}
    assert {one.code for one in answers} == {"bad_credentials"}
    assert len({json.dumps({**one.body, "request_id": ""}) for one in answers}) == 1
    assert 'seatline_auth_failures_total{reason="bad_credentials"} 4.0' in await api.metrics()


@pytest.mark.parametrize(
    "typed", ["ada@example.edu ", " Ada@Example.edu", "\tada@example.edu\n", "ada@example.edu\u00a0", "ADA@EXAMPLE.EDU"]
)
async def test_an_email_is_read_as_phones_send_it(api: Api, typed: str) -> None:
    assert (await login(api, email=typed)).status == 200


async def test_letters_may_be_composed_or_not(api: Api) -> None:
    composed, decomposed = "p\u00e4ss", "pa\u0308ss"
    api.world.accounts.all[11] = replace(STUDENT, email="\u00e9@example.edu", password_hash=QUICK_HASHER.hash(composed))

    for email in ("\u00e9@example.edu", "e\u0301@example.edu"):
        for password in (composed, decomposed):
            assert (await login(api, password, email)).status == 200
    assert (await login(api, f"{composed} ", "\u00e9@example.edu")).status == 401, "spaces are part of a password"
    keys = {key for key, _, _ in api.world.limiter.hits if key.startswith("login:127.0.0.1:")}
    assert len(keys) == 1, "no spelling has a limit of its own"


async def test_spaces_around_a_refresh_token_are_none_of_it(api: Api) -> None:
    token = (await login(api)).body["refresh_token"]

    assert (await api.post("/api/auth/refresh", {"refresh_token": f" {token}\n"})).status == 200


async def test_a_bcrypt_hash_is_taken_once_and_replaced(api: Api) -> None:
    api.world.accounts.change(11, password_hash=bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode())

    assert (await login(api, "wrong")).status == 401
    assert (await login(api)).status == 200

    stored = api.world.accounts.all[11].password_hash
    assert stored is not None
    assert stored.startswith("$argon2id$")
    assert (await login(api)).status == 200


async def test_logins_are_limited_by_address_and_email_then_by_email(api: Api) -> None:
    await login(api)

    (near, near_rate, near_burst), (address, *_), (wide, wide_rate, wide_burst) = api.world.limiter.hits
    assert near.startswith("login:127.0.0.1:")
    assert "127.0.0.1" not in wide
    assert near_burst == 10
    assert near_rate == pytest.approx(1 / 6)
    assert wide_rate > near_rate
    assert wide_burst > near_burst
    assert address == "login-from:127.0.0.1"
    assert not any("ada" in key for key in (near, wide)), "no personal data in keys"


async def test_too_many_logins_are_429_before_the_password_is_looked_at(api: Api) -> None:
    api.world.limiter.refuse = "127.0.0.1"

    answer = await login(api)

    assert (answer.status, answer.code) == (429, "rate_limited")
    assert answer.headers["Retry-After"] == "7"


@pytest.mark.parametrize("refuse", ["login-failed:127.0.0.1", "login-from:127.0.0.1"])
async def test_who_was_here_before_gets_in_while_others_at_the_address_guess(api: Api, refuse: str) -> None:
    await login(api)
    api.world.limiter.refuse = refuse

    assert (await login(api)).status == 200
    other = await login(api, email="bob@example.edu")

    assert (other.status, other.headers["Retry-After"]) == (429, "7")


async def test_a_refresh_makes_its_sender_known_too(api: Api) -> None:
    token = (await login(api)).body["refresh_token"]
    api.app[LOGIN_LIMITS].known = KnownSenders()
    await api.post("/api/auth/refresh", {"refresh_token": token})
    api.world.limiter.refuse = "login-failed:"

    assert (await login(api)).status == 200


async def test_a_failure_counts_and_a_success_does_not(api: Api) -> None:
    for password in ("wrong", RIGHT):
        await login(api, password)

    assert [key for key, *_ in api.world.limiter.hits if key.startswith("login-failed")] == ["login-failed:127.0.0.1"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"email": EMAIL},
        {"email": EMAIL, "password": 5},
        {"email": EMAIL, "password": ""},
        {"email": EMAIL, "password": "x" * 2000},
        {"email": "no address", "password": "x"},
        {"email": "a\x00@b.c", "password": "x"},
        {"email": EMAIL, "password": "right", "role": "admin"},
        [],
        "right",
    ],
)
async def test_a_login_that_is_not_one_is_422(api: Api, body: Any) -> None:
    assert (await api.post("/api/auth/login", body)).code == "invalid"


async def test_a_refresh_gives_new_tokens_once(api: Api) -> None:
    first = (await login(api)).body["refresh_token"]

    second = await api.post("/api/auth/refresh", {"refresh_token": first})
    again = await api.post("/api/auth/refresh", {"refresh_token": first})

    assert second.status == 200
    assert second.body["refresh_token"] != first
    assert (await api.ask("GET", ME, second.body["access_token"])).status == 200
    assert (again.status, again.code) == (401, "bad_refresh_token")


async def test_why_a_refresh_failed_is_counted_but_not_told(api: Api) -> None:
    answers = []
    for reason in RefusedRefresh:
        api.world.tokens.refuse_with = reason
        answers.append(await api.post("/api/auth/refresh", {"refresh_token": "whatever"}))

    assert len({json.dumps({**one.body, "request_id": ""}) for one in answers}) == 1
    assert 'seatline_auth_failures_total{reason="refresh_reused"} 1.0' in await api.metrics()


async def test_logout_ends_the_session_and_never_says_whether_there_was_one(api: Api) -> None:
    token = (await login(api)).body["refresh_token"]

    known = await api.post("/api/auth/logout", {"refresh_token": token})
    unknown = await api.post("/api/auth/logout", {"refresh_token": "nonesuch"})

    assert (known.status, known.text, unknown.status) == (204, "", 204)
    assert (await api.post("/api/auth/refresh", {"refresh_token": token})).status == 401


async def test_me_of_a_disabled_user_is_401(api: Api) -> None:
    api.world.accounts.change(11, is_disabled=True)

    assert (await api.ask("GET", ME)).code == "unauthenticated"


async def test_staff_have_no_student(api: Api) -> None:
    me = (await api.ask("GET", ME, ADMIN)).body

    assert (me["role"], me["student_id"]) == ("admin", None)


def claims(**changes: Any) -> dict[str, Any]:
    """Good claims of the student, but for ``changes``; None leaves one out."""
    now = int(time.time())
    good = {
        "iss": "seatline",
        "aud": "seatline-api",
        "sub": "11",
        "role": "student",
        "sid": 1,
        "typ": "access",
        "iat": now,
        "nbf": now,
        "exp": now + 60,
        "jti": "x",
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def signed(headers: dict[str, Any] | None = None, key: str = SECRET, **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm="HS256", headers=headers)


def b64(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


NOW = int(time.time())

FORGERIES = {
    "alg none": f"{b64({'alg': 'none', 'typ': 'JWT'})}.{b64(claims())}.",
    "alg None": f"{b64({'alg': 'None', 'typ': 'JWT'})}.{b64(claims())}.",
    "another HMAC": jwt.encode(claims(), SECRET * 2, algorithm="HS512"),
    "HS384 with our key": jwt.encode(claims(), SECRET * 2, algorithm="HS384"),
    "wrong key": signed(key="another secret, long enough to sign with"),
    "kid of an empty file": signed({"kid": "../../../dev/null"}, key="\x00" * 32),
    "a header that is not ours, rightly signed": signed({"kid": "x", "jku": "https://evil.example"}),
    "jku of an attacker": signed({"jku": "https://evil.example/keys"}, key="e" * 32),
    "expired": signed(exp=NOW - 1),
    "not yet": signed(nbf=NOW + 3600),
    "issued in the future": signed(iat=NOW + 3600),
    "wrong audience": signed(aud="another-api"),
    "wrong issuer": signed(iss="elsewhere"),
    "a refresh token": signed(typ="refresh"),
    "no expiry": signed(exp=None),
    "no audience": signed(aud=None),
    "no type": signed(typ=None),
    "no id": signed(jti=None),
    "unknown role": signed(role="root"),
    "role of a list": signed(role=["admin"]),
    "student of nobody": signed(sid=None),
    "student as text": signed(sid="1"),
    "admin with a student": signed(role="admin"),
    "subject of words": signed(sub="ada"),
    "expiry as text": signed() and f"{b64({'alg': 'HS256'})}.{b64(claims(exp='never'))}.xx",
    "payload swapped": signed().split(".")[0]
    + "."
    + b64(claims(role="admin", sid=None))
    + "."
    + signed().split(".")[2],
    "nested for ever": f"{b64({'alg': 'HS256'})}.{base64.urlsafe_b64encode(b'[' * 3000).decode()}.xx",
    "not a token": "x",
    "two dots": "..",
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_token_that_we_did_not_give_is_401(api: Api, name: str) -> None:
    answer = await api.ask("GET", ME, FORGERIES[name])

    assert (answer.status, answer.code) == (401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


async def test_the_claims_that_the_forgeries_change_are_good(api: Api) -> None:
    assert (await api.ask("GET", ME, signed())).status == 200


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic YTpi", "Token x", "bearer x y"])
async def test_another_kind_of_authorization_is_401(api: Api, header: str) -> None:
    answer = await api.ask("GET", ME, None, headers={"Authorization": header})

    assert answer.code == "unauthenticated"


async def test_no_token_is_401_with_a_plain_challenge(api: Api) -> None:
    answer = await api.ask("GET", ME, None)

    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_token_is_not_taken_from_the_query_or_a_cookie(api: Api) -> None:
    token = api.token(STUDENT)

    assert (await api.ask("GET", f"{ME}?access_token={token}", None)).status == 401
    assert (await api.ask("GET", ME, None, headers={"Cookie": f"access_token={token}"})).status == 401


async def test_a_short_secret_is_refused_at_once(make_api: MakeApi) -> None:
    with pytest.raises(TypeError):
        await make_api(jwt_secret="short")
