"""Accounts and refresh tokens in real Postgres: rotation, reuse, and concurrent changes."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from allocator.model.read_models import Account, RefusedRefresh, Role
from cluster.config.settings import sqlalchemy_url
from persistence.queries.accounts import AccountQueries
from persistence.queries.audit import PostgresAuditLog
from persistence.queries.engine import make_engine
from persistence.queries.refresh_tokens import LIVE_MAX, SENT_AGAIN_S, RefreshTokens
from persistence.schema.tables import audit_log, refresh_tokens, students, users

pytestmark = pytest.mark.services

LATER = datetime.now(UTC) + timedelta(days=1)
EARLIER = datetime.now(UTC) - timedelta(seconds=1)
_numbers = itertools.count()


def token() -> bytes:
    """A hash that no other test uses."""
    return next(_numbers).to_bytes(32, "big")


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = make_engine(sqlalchemy_url(database_url), pool_size=8)
    yield engine
    await engine.dispose()


@pytest.fixture
def store(engine: AsyncEngine) -> RefreshTokens:
    return RefreshTokens(engine)


@pytest.fixture
async def user_id(engine: AsyncEngine) -> int:
    return await add_user(engine)


async def add_user(engine: AsyncEngine, role: str = "student", stored: str | None = None) -> int:
    number = next(_numbers)
    async with engine.begin() as connection:
        user = sa.insert(users).values(
            email=f"User{number}@example.edu", role=role, name="Someone", password_hash=stored
        )
        user_id: int = (await connection.execute(user.returning(users.c.id))).scalar_one()
        if role == "student":
            await connection.execute(sa.insert(students).values(user_id=user_id, student_number=f"N{number}"))
    return user_id


async def disable(engine: AsyncEngine, user_id: int) -> None:
    async with engine.begin() as connection:
        await connection.execute(sa.update(users).where(users.c.id == user_id).values(disabled_at=sa.func.now()))


async def test_a_token_is_exchanged_for_its_successor(store: RefreshTokens, user_id: int) -> None:
    first, second, third = token(), token(), token()
    await store.open_family(user_id, first, LATER)

    rotated = await store.rotate(first, second, LATER)

    assert isinstance(rotated, Account)
    assert (rotated.user_id, rotated.role) == (user_id, Role.STUDENT)
    assert rotated.student_id is not None
    assert isinstance(await store.rotate(second, third, LATER), Account)


async def let_seconds_pass(engine: AsyncEngine, user_id: int, seconds: float) -> None:
    """Have the exchanges of a user's tokens be so much longer ago."""
    passed = timedelta(seconds=seconds)
    async with engine.begin() as connection:
        await connection.execute(
            sa.update(refresh_tokens)
            .where(refresh_tokens.c.user_id == user_id)
            .values(used_at=refresh_tokens.c.used_at - passed)
        )


async def count_live(engine: AsyncEngine, user_id: int) -> int:
    """Tokens of a user that can still be exchanged."""
    live = sa.select(sa.func.count()).where(
        refresh_tokens.c.user_id == user_id,
        refresh_tokens.c.used_at.is_(None),
        refresh_tokens.c.revoked_at.is_(None),
        refresh_tokens.c.expires_at > sa.func.now(),
    )
    async with engine.connect() as connection:
        return int((await connection.execute(live)).scalar_one())


async def test_reuse_revokes_the_whole_family_and_no_other(
    store: RefreshTokens, engine: AsyncEngine, user_id: int
) -> None:
    first, second, other_login = token(), token(), token()
    await store.open_family(user_id, first, LATER)
    await store.open_family(user_id, other_login, LATER)
    await store.rotate(first, second, LATER)
    await let_seconds_pass(engine, user_id, SENT_AGAIN_S + 1)

    assert await store.rotate(first, token(), LATER) is RefusedRefresh.REUSED

    assert await store.rotate(second, token(), LATER) is RefusedRefresh.REVOKED
    assert await store.rotate(first, token(), LATER) is RefusedRefresh.REVOKED
    assert isinstance(await store.rotate(other_login, token(), LATER), Account)


async def test_a_token_sent_twice_within_seconds_gives_a_sibling(
    store: RefreshTokens, engine: AsyncEngine, user_id: int
) -> None:
    first, second, sibling = token(), token(), token()
    await store.open_family(user_id, first, LATER)
    await store.rotate(first, second, LATER)
    await let_seconds_pass(engine, user_id, SENT_AGAIN_S - 2)

    again = await store.rotate(first, sibling, LATER)

    assert isinstance(again, Account)
    assert again.user_id == user_id
    for one in (second, sibling):
        assert isinstance(await store.rotate(one, token(), LATER), Account), "both go on"
    await let_seconds_pass(engine, user_id, 4)
    assert await store.rotate(first, token(), LATER) is RefusedRefresh.REUSED, "to send it again makes it no younger"
    assert await count_live(engine, user_id) == 0


async def test_a_token_sent_twice_gives_nothing_after_a_logout_or_to_the_disabled(
    store: RefreshTokens, engine: AsyncEngine, user_id: int
) -> None:
    first, of_disabled = token(), token()
    await store.open_family(user_id, first, LATER)
    await store.rotate(first, token(), LATER)
    await store.revoke_family(first)
    assert await store.rotate(first, token(), LATER) is RefusedRefresh.REVOKED

    await store.open_family(user_id, of_disabled, LATER)
    await store.rotate(of_disabled, token(), LATER)
    await disable(engine, user_id)
    assert await store.rotate(of_disabled, token(), LATER) is RefusedRefresh.DISABLED
    assert await count_live(engine, user_id) == 0


async def test_exchanges_at_once_all_succeed(store: RefreshTokens, engine: AsyncEngine, user_id: int) -> None:
    for _ in range(20):
        first, successors = token(), [token() for _ in range(LIVE_MAX)]
        await store.open_family(user_id, first, LATER)

        results = await asyncio.gather(*(store.rotate(first, one, LATER) for one in successors))

        assert all(isinstance(one, Account) for one in results)
        for one in successors:
            assert isinstance(await store.rotate(one, token(), LATER), Account)


async def test_a_family_never_has_more_than_a_few_live_tokens(
    store: RefreshTokens, engine: AsyncEngine, user_id: int
) -> None:
    random = Random(16)
    known = [token()]
    await store.open_family(user_id, known[0], LATER)
    for _ in range(60):
        new = [token() for _ in range(random.randint(1, 8))]
        await asyncio.gather(*(store.rotate(random.choice(known[-12:]), one, LATER) for one in new))
        known += new

        assert 0 < await count_live(engine, user_id) <= LIVE_MAX


async def test_a_successor_born_during_a_revocation_does_not_escape_it(
    store: RefreshTokens, engine: AsyncEngine, user_id: int
) -> None:
    for _ in range(20):
        first, second, third = token(), token(), token()
        await store.open_family(user_id, first, LATER)
        await store.rotate(first, second, LATER)
        await let_seconds_pass(engine, user_id, SENT_AGAIN_S + 1)

        await asyncio.gather(store.rotate(second, third, LATER), store.rotate(first, token(), LATER))

        assert isinstance(await store.rotate(third, token(), LATER), RefusedRefresh)


async def test_logout_revokes_the_family_by_any_of_its_tokens(store: RefreshTokens, user_id: int) -> None:
    first, second = token(), token()
    await store.open_family(user_id, first, LATER)
    await store.rotate(first, second, LATER)

    await store.revoke_family(first)

    assert await store.rotate(second, token(), LATER) is RefusedRefresh.REVOKED
    await store.revoke_family(token())  # unknown: nothing to do


async def test_expired_and_unknown_tokens_are_refused_without_harm(store: RefreshTokens, user_id: int) -> None:
    old = token()
    await store.open_family(user_id, old, EARLIER)

    assert await store.rotate(old, token(), LATER) is RefusedRefresh.EXPIRED
    assert await store.rotate(token(), token(), LATER) is RefusedRefresh.UNKNOWN


async def test_a_login_clears_away_the_users_expired_tokens(
    store: RefreshTokens, engine: AsyncEngine, user_id: int
) -> None:
    other_user = await add_user(engine)
    await store.open_family(user_id, token(), EARLIER)
    await store.open_family(other_user, token(), EARLIER)

    await store.open_family(user_id, token(), LATER)

    async with engine.connect() as connection:
        count = sa.select(refresh_tokens.c.user_id, sa.func.count()).group_by(refresh_tokens.c.user_id)
        counts = dict(map(tuple, (await connection.execute(count)).all()))
    assert (counts[user_id], counts[other_user]) == (1, 1)


async def test_a_disabled_user_cannot_refresh_even_when_enabled_again(
    store: RefreshTokens, engine: AsyncEngine, user_id: int
) -> None:
    first = token()
    await store.open_family(user_id, first, LATER)
    await disable(engine, user_id)

    assert await store.rotate(first, token(), LATER) is RefusedRefresh.DISABLED

    async with engine.begin() as connection:
        await connection.execute(sa.update(users).where(users.c.id == user_id).values(disabled_at=None))
    assert await store.rotate(first, token(), LATER) is RefusedRefresh.REVOKED


async def test_accounts_are_found_whatever_the_case(engine: AsyncEngine) -> None:
    accounts = AccountQueries(engine)
    user_id = await add_user(engine, role="admin")
    known = await accounts.by_id(user_id)
    assert known is not None

    assert await accounts.by_email(known.email.upper()) == known
    assert await accounts.by_email("nobody@example.edu") is None
    assert await accounts.by_id(10**12) is None
    assert (known.role, known.student_id, known.is_disabled) == (Role.ADMIN, None, False)
    await disable(engine, user_id)
    disabled = await accounts.by_id(user_id)
    assert disabled is not None
    assert disabled.is_disabled


async def test_the_slowest_bcrypt_hash_is_found(engine: AsyncEngine) -> None:
    accounts = AccountQueries(engine)
    assert await accounts.slowest_bcrypt_cost() is None

    for stored in ("$argon2id$v=19$m=19456,t=2,p=1$x$y", "$2b$10$xyz", "$2y$12$xyz", "$2a$08$xyz", None, ""):
        await add_user(engine, stored=stored)
    assert await accounts.slowest_bcrypt_cost() == 12

    for odd in ("$2b$31$xyz", "$2b$1", "$2b$xx$", "$2x$13$xyz", "$2b$00$"):
        await add_user(engine, stored=odd)
    assert await accounts.slowest_bcrypt_cost() == 12, "no hash can make all failures take minutes"


async def test_a_better_hash_does_not_undo_a_change_of_password(engine: AsyncEngine) -> None:
    accounts = AccountQueries(engine)
    user_id = await add_user(engine, stored="of the old password")

    await accounts.replace_password_hash(user_id, "of the old password", "better")
    await accounts.replace_password_hash(user_id, "of the old password", "too late")

    account = await accounts.by_id(user_id)
    assert account is not None
    assert account.password_hash == "better"


async def test_the_audit_log_keeps_who_and_what(engine: AsyncEngine, user_id: int) -> None:
    await PostgresAuditLog(engine).record(user_id, "roster.read", "section:7", "request-1")

    async with engine.connect() as connection:
        rows = (await connection.execute(sa.select(audit_log).where(audit_log.c.user_id == user_id))).all()
    (entry,) = rows
    assert (entry.action, entry.subject, entry.request_id) == ("roster.read", "section:7", "request-1")
    assert entry.at is not None
