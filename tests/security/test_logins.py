"""Attacks on logins: guessed passwords, reused and forged tokens, against a running Seatline."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any

import jwt
import pytest

from cluster.config.secrets import jwt_secret
from cluster.config.settings import Settings
from tests.acceptance.seatline import Answer, Client, Seatline
from tests.sample_campus import PostgresWorld
from tests.security.people import PASSWORD, add_person, login, new_address

pytestmark = pytest.mark.cluster

ME = "/api/auth/me"


async def refresh(client: Client, token: str) -> Answer:
    return await client.request("POST", "/api/auth/refresh", None, {"refresh_token": token})


async def test_guessing_is_stopped_and_its_victim_gets_in_all_the_same(campus: PostgresWorld, attacker: Client) -> None:
    victim = await add_person(campus, attacker)
    from_here = new_address()

    guesses = [await login(attacker, victim.email, f"guess {number}", from_here) for number in range(20)]

    statuses = [one.status for one in guesses]
    assert statuses == [401] * 10 + [429] * 10, "ten at once, and then ten a minute"
    assert all(1 <= int(one.headers["Retry-After"]) <= 60 for one in guesses[10:])
    right = await login(attacker, victim.email, PASSWORD, from_here)
    assert right.status == 429, "the right password does not help whoever has guessed before"
    assert (await login(attacker, victim.email)).status == 200, "from elsewhere its owner gets in"


async def test_an_unknown_user_is_answered_as_a_known_one(campus: PostgresWorld, attacker: Client) -> None:
    known = await add_person(campus, attacker)

    wrong = await login(attacker, known.email, "wrong")
    unknown = await login(attacker, f"nobody-{known.user_id}@campus.example", "wrong")

    assert wrong.status == unknown.status == 401
    assert {**wrong.body, "request_id": ""} == {**unknown.body, "request_id": ""}
    assert set(wrong.headers) == set(unknown.headers)


async def test_a_refresh_token_used_again_later_ends_the_session(campus: PostgresWorld, attacker: Client) -> None:
    person = await add_person(campus, attacker)
    second = (await refresh(attacker, person.refresh_token)).body["refresh_token"]
    await campus.connection.execute(
        "UPDATE refresh_tokens SET used_at = used_at - interval '11 seconds' WHERE user_id = $1", person.user_id
    )

    again = await refresh(attacker, person.refresh_token)
    successor = await refresh(attacker, second)

    assert (again.status, again.body["code"]) == (401, "bad_refresh_token")
    assert successor.status == 401, "who used it first cannot be told, so both are out"


async def test_two_tabs_that_refresh_at_once_both_go_on(campus: PostgresWorld, attacker: Client) -> None:
    person = await add_person(campus, attacker)

    both = await asyncio.gather(*(refresh(attacker, person.refresh_token) for _ in range(2)))

    assert [one.status for one in both] == [200, 200]
    for one in both:
        assert (await refresh(attacker, one.body["refresh_token"])).status == 200


def forged(secret: str, **changes: Any) -> str:
    """A token as ours are, but for ``changes``, signed with ``secret``."""
    now = int(time.time())
    claims = {"iss": "seatline", "aud": "seatline-api", "sub": "1", "role": "admin", "typ": "access", "jti": "x"}
    times = {"iat": now, "nbf": now, "exp": now + 60}
    return jwt.encode({**claims, **times, **changes}, secret, algorithm="HS256")


def unsigned() -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    claims = jwt.decode(forged("x" * 32), options={"verify_signature": False})
    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}."


async def test_tokens_that_were_not_given_out_are_401(
    victim: Seatline, campus: PostgresWorld, attacker: Client
) -> None:
    admin = await add_person(campus, attacker, "admin")
    secret, subject = jwt_secret(Settings(home=victim.home)), str(admin.user_id)
    head, payload, signature = admin.token.split(".")
    tokens = {
        "alg none": unsigned(),
        "another key": forged("not the key, but as long as it is", sub=subject),
        "kid": jwt.encode({"sub": subject}, "\0" * 32, algorithm="HS256", headers={"kid": "../../../dev/null"}),
        "jku": jwt.encode({"sub": subject}, "e" * 32, algorithm="HS256", headers={"jku": "https://evil.example/k"}),
        "expired": forged(secret, sub=subject, exp=int(time.time()) - 1),
        "not yet valid": forged(secret, sub=subject, nbf=int(time.time()) + 3600),
        "another audience": forged(secret, sub=subject, aud="another-api"),
        "typ refresh": forged(secret, sub=subject, typ="refresh"),
        "the refresh token": admin.refresh_token,
        "no signature": f"{head}.{payload}.",
        "signature of another": f"{head}.{payload}.{signature[::-1]}",
    }

    answers = {name: await attacker.request("GET", ME, token) for name, token in tokens.items()}

    assert {name: answer.status for name, answer in answers.items()} == dict.fromkeys(tokens, 401)
    assert (await attacker.request("GET", ME, forged(secret, sub=subject))).status == 200, "nothing else was wrong"


async def test_logging_out_ends_the_session(campus: PostgresWorld, attacker: Client) -> None:
    person = await add_person(campus, attacker)

    out = await attacker.request("POST", "/api/auth/logout", None, {"refresh_token": person.refresh_token})

    assert out.status == 204
    assert (await refresh(attacker, person.refresh_token)).status == 401
