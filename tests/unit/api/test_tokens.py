"""Access tokens without HTTP: the clock and the cache."""

from __future__ import annotations

import pytest

from api.tokens import AccessTokens, InvalidTokenError
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
    monkeypatch.setattr("jwt.decode", lambda *_, **__: pytest.fail("checked twice"))

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


def test_a_small_difference_of_clocks_is_forgiven_in_the_beginning_only(issuer: AccessTokens, clock: Clock) -> None:
    header = bearer(issuer)
    clock.now -= 4
    assert AccessTokens(SECRET, 900, now=clock).principal(header).user_id == 11
    clock.now -= 2
    with pytest.raises(InvalidTokenError):
        AccessTokens(SECRET, 900, now=clock).principal(header)


def test_no_two_tokens_are_the_same(issuer: AccessTokens) -> None:
    assert issuer.issue(ADMIN) != issuer.issue(ADMIN)


def test_a_secret_must_be_long() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        AccessTokens("short", 900)
