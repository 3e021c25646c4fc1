"""Access tokens without HTTP: expiry and the cache."""

from __future__ import annotations

import itertools
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.limits import Flooders
from api.signin.tokens import AccessTokens, InvalidTokenError
from tests.unit.api.fakes import ADMIN, SECRET, STUDENT


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def issuer(clock: Clock) -> AccessTokens:
    return AccessTokens(SECRET, 900, now=clock)


def bearer(issuer: AccessTokens) -> str:
    return f"Bearer {issuer.issue(STUDENT)}"


def test_a_token_seen_before_expires_all_the_same(issuer: AccessTokens, clock: Clock) -> None:
    header = bearer(issuer)
    assert issuer.principal(header).student_id == 1
    clock.now += 899
    assert issuer.principal(header).user_id == 11

    clock.now += 1

    with pytest.raises(InvalidTokenError):
        issuer.principal(header)


def test_a_token_seen_before_is_not_checked_again(issuer: AccessTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    header = bearer(issuer)
    first = issuer.principal(header)
    monkeypatch.setattr("api.signin.tokens.hmac.digest", lambda *_: pytest.fail("checked twice"))

    assert issuer.principal(header) is first


def test_a_cached_token_does_not_vouch_for_a_longer_one(issuer: AccessTokens) -> None:
    header = bearer(issuer)
    issuer.principal(header)

    with pytest.raises(InvalidTokenError):
        issuer.principal(header + "x")


def test_without_a_cache_every_token_is_checked_every_time(clock: Clock) -> None:
    issuer = AccessTokens(SECRET, 900, cached_max=0, now=clock)
    header = bearer(issuer)

    assert issuer.principal(header) == issuer.principal(header)
    assert issuer.principal(header) is not issuer.principal(header)


def test_the_cache_forgets_the_token_unused_for_longest(clock: Clock) -> None:
    issuer = AccessTokens(SECRET, 900, cached_max=2, now=clock)
    first, second, third = (bearer(issuer) for _ in range(3))
    for header in (first, second, first, third):
        issuer.principal(header)

    assert list(issuer._checked) == [first, third]


def spellings(header: str) -> list[str]:
    """The same token in other cases of the scheme, and after more spaces."""
    token = header.removeprefix("Bearer ")
    schemes = ["".join(letters) for letters in itertools.product(*zip("bearer", "BEARER", strict=True))]
    return [f"{scheme}{' ' * count}{token}" for scheme in schemes for count in (1, 2, 7, 7400)]


def test_one_token_is_one_entry_however_it_is_spelled(issuer: AccessTokens) -> None:
    header = bearer(issuer)

    principals = {issuer.principal(one) for one in spellings(header)}

    assert principals == {issuer.principal(header)}
    assert list(issuer._checked) == [header]


def test_another_spelling_is_not_checked_again(issuer: AccessTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = spellings(bearer(issuer))
    principal = issuer.principal(first)
    monkeypatch.setattr("api.signin.tokens.hmac.digest", lambda *_: pytest.fail("checked twice"))

    assert all(issuer.principal(one) is principal for one in others)


def test_another_spelling_expires_with_its_token(issuer: AccessTokens, clock: Clock) -> None:
    first, second, *_ = spellings(bearer(issuer))
    issuer.principal(first)
    clock.now += 900

    with pytest.raises(InvalidTokenError):
        issuer.principal(second)

    assert not issuer._checked


def test_a_flooder_is_refused_in_every_spelling_and_is_one_entry(issuer: AccessTokens) -> None:
    flooders = Flooders()
    header = bearer(issuer)
    for one in spellings(header):
        flooders.add(one, 60.0)

    assert len(flooders.due_at) == 1
    assert all(flooders.wait_s(one.encode()) for one in spellings(header))
    assert flooders.wait_s(bearer(issuer).encode()) is None


def test_a_small_difference_of_clocks_is_forgiven_in_the_beginning_only(issuer: AccessTokens, clock: Clock) -> None:
    header = bearer(issuer)
    clock.now -= 4
    assert AccessTokens(SECRET, 900, now=clock).principal(header).user_id == 11
    clock.now -= 2
    with pytest.raises(InvalidTokenError):
        AccessTokens(SECRET, 900, now=clock).principal(header)


def claims_of(clock: Clock, **changed: Any) -> dict[str, Any]:
    now = int(clock.now)
    claims = {"iss": "seatline", "aud": "seatline-api", "sub": "11", "role": "student", "typ": "access", "sid": 1}
    return {**claims, "iat": now, "nbf": now, "exp": now + 900, "jti": "x", **changed}


def signed(claims: Any, *, secret: str = SECRET, **options: Any) -> str:
    return "Bearer " + jwt.encode(claims, secret, **{"algorithm": "HS256", **options})


def test_what_we_accept_a_library_accepts_too(issuer: AccessTokens, clock: Clock) -> None:
    """Our own check and PyJWT's agree on our own tokens, and on those that PyJWT makes with our claims."""
    token = bearer(issuer).removeprefix("Bearer ")
    claims = jwt.decode(token, SECRET, algorithms=["HS256"], audience="seatline-api", options={"verify_exp": False})
    assert claims["sid"] == 1
    assert issuer.principal(signed(claims_of(clock))).student_id == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "other"},
        {"aud": "other"},
        {"aud": ["seatline-api"]},
        {"sub": 11},
        {"sub": "-11"},
        {"sub": "\u0661"},
        {"role": "root"},
        {"role": None},
        {"typ": "refresh"},
        {"sid": None},
        {"sid": "1"},
        {"sid": True},
        {"role": "admin"},
        {"exp": "9999999999"},
        {"exp": True},
        {"exp": None},
        {"exp": 1_000_000},
        {"nbf": 1_000_006},
        {"iat": 1_000_006},
        {"jti": None},
    ],
    ids=str,
)
def test_a_token_with_our_signature_but_odd_claims_is_refused(
    issuer: AccessTokens, clock: Clock, changed: dict[str, Any]
) -> None:
    with pytest.raises(InvalidTokenError):
        issuer.principal(signed(claims_of(clock, **changed)))


@pytest.mark.parametrize("name", ["iss", "aud", "sub", "role", "typ", "iat", "nbf", "exp", "jti"])
def test_no_claim_may_be_missing(issuer: AccessTokens, clock: Clock, name: str) -> None:
    claims = claims_of(clock)
    del claims[name]
    with pytest.raises(InvalidTokenError):
        issuer.principal(signed(claims))


@pytest.mark.parametrize(
    "options",
    [
        {"secret": "another secret that is long enough to be one"},
        {"algorithm": "HS512", "secret": SECRET * 2},
        {"algorithm": "none", "secret": ""},
        {"headers": {"kid": "../../etc/passwd"}},
        {"headers": {"jku": "https://evil.example/keys"}},
        {"headers": {"typ": "at+jwt"}},
    ],
    ids=str,
)
def test_a_token_signed_in_any_other_way_is_refused(
    issuer: AccessTokens, clock: Clock, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidTokenError):
        issuer.principal(signed(claims_of(clock), **options))


@given(st.text(max_size=300), st.integers(0, 400))
def test_no_mutilated_token_is_accepted_and_none_is_an_error(garbage: str, at: int) -> None:
    issuer = AccessTokens(SECRET, 900)
    token = issuer.issue(STUDENT)
    for forged in (
        garbage,
        f"Bearer {garbage}",
        f"Bearer {token[:at]}{garbage}",
        f"Bearer {token[:at]}{token[at + 1 :]}",
    ):
        if forged.split() != ["Bearer", token]:  # space around it is no part of a token
            with pytest.raises(InvalidTokenError):
                issuer.principal(forged)


def test_no_two_tokens_are_the_same(issuer: AccessTokens) -> None:
    assert issuer.issue(ADMIN) != issuer.issue(ADMIN)


def test_a_secret_must_be_long() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        AccessTokens("short", 900)
