"""Refresh tokens, by their hashes. Implements ``api.ports.TokenStore``.

All tokens that follow from one login are a family. Changes of a family are serialised: of two exchanges of one token
at the same time, the second sees that the token has been used.

A client whose answer was lost, or two tabs that refresh at once, send a token twice within seconds: the second time
gives a sibling of the first successor. Later it shows that the token was stolen, and ends the whole family.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from allocator.model.read_models import Account, RefusedRefresh
from persistence.queries.accounts import account_of, select_accounts
from persistence.queries.connection import reading, writing
from persistence.schema.tables import refresh_tokens, users

SENT_AGAIN_S = 10
"""For so long after its exchange a token may be sent again. A thief has no longer to use one unnoticed."""
LIVE_MAX = 4
"""Tokens of a family that can be exchanged at a time. Beyond it the oldest is retired: its answer was lost long ago."""


class RefreshTokens:
    """Refresh tokens in Postgres."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def open_family(self, user_id: int, token_hash: bytes, expires_at: datetime) -> None:
        """Store the first token of a login, and delete expired tokens of the user."""
        async with writing(self._engine) as connection:
            await connection.execute(
                sa.delete(refresh_tokens).where(
                    refresh_tokens.c.user_id == user_id, refresh_tokens.c.expires_at < sa.func.now()
                )
            )
            await _insert(connection, uuid.uuid4(), user_id, token_hash, expires_at)

    async def rotate(self, token_hash: bytes, new_hash: bytes, expires_at: datetime) -> Account | RefusedRefresh:
        """Exchange a token for its successor. One that was exchanged a while ago revokes its whole family."""
        async with writing(self._engine) as connection:
            family = await _lock_family(connection, token_hash)
            if family is None:
                return RefusedRefresh.UNKNOWN
            token = await _find(connection, token_hash)
            if token is None:  # it had expired and was deleted at this moment
                return RefusedRefresh.UNKNOWN
            refusal = _reason_against(token)
            if refusal is not None:
                if refusal in {RefusedRefresh.REUSED, RefusedRefresh.DISABLED}:
                    await _revoke(connection, family)
                return refusal
            await _insert(connection, family, token.user_id, new_hash, expires_at)
            if token.is_used:
                await _retire(connection, family)
            else:
                await connection.execute(
                    sa.update(refresh_tokens).where(refresh_tokens.c.id == token.id).values(used_at=sa.func.now())
                )
            account = await connection.execute(select_accounts().where(users.c.id == token.user_id))
            return account_of(account.mappings().one())

    async def revoke_family(self, token_hash: bytes) -> None:
        """Revoke every token of this token's family. An unknown token changes nothing."""
        async with writing(self._engine) as connection:
            family = await _lock_family(connection, token_hash)
            if family is not None:
                await _revoke(connection, family)

    async def owner_of(self, token_hash: bytes) -> int | None:
        """The user of a token, used or revoked ones too; None if the token is unknown."""
        statement = sa.select(refresh_tokens.c.user_id).where(refresh_tokens.c.token_hash == token_hash)
        async with reading(self._engine) as connection:
            user_id: int | None = await connection.scalar(statement)
            return user_id


async def _lock_family(connection: AsyncConnection, token_hash: bytes) -> uuid.UUID | None:
    """The family of a token, locked until the transaction ends; None if the token is unknown.

    A lock on the token's row would not do: a successor inserted at the same moment would escape a revocation.
    """
    statement = sa.select(refresh_tokens.c.family).where(refresh_tokens.c.token_hash == token_hash)
    family: uuid.UUID | None = await connection.scalar(statement)
    if family is not None:
        lock = sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(f"refresh family {family}", 0))
        await connection.execute(sa.select(lock))
    return family


async def _find(connection: AsyncConnection, token_hash: bytes) -> sa.Row[Any] | None:
    """The token as the last holder of the lock left it. Call it with the family locked."""
    result = await connection.execute(
        sa.select(
            refresh_tokens.c.id,
            refresh_tokens.c.user_id,
            refresh_tokens.c.used_at.is_not(None).label("is_used"),
            (refresh_tokens.c.used_at < sa.func.now() - timedelta(seconds=SENT_AGAIN_S)).label("was_used_long_ago"),
            refresh_tokens.c.revoked_at.is_not(None).label("is_revoked"),
            (refresh_tokens.c.expires_at <= sa.func.now()).label("is_expired"),
            users.c.disabled_at.is_not(None).label("is_disabled"),
        )
        .join(users, users.c.id == refresh_tokens.c.user_id)
        .where(refresh_tokens.c.token_hash == token_hash)
    )
    return result.one_or_none()


def _reason_against(token: sa.Row[Any]) -> RefusedRefresh | None:
    if token.is_revoked:
        return RefusedRefresh.REVOKED
    if token.was_used_long_ago:
        return RefusedRefresh.REUSED
    if token.is_expired:
        return RefusedRefresh.EXPIRED
    return RefusedRefresh.DISABLED if token.is_disabled else None


async def _revoke(connection: AsyncConnection, family: uuid.UUID) -> None:
    await connection.execute(
        sa.update(refresh_tokens)
        .where(refresh_tokens.c.family == family, refresh_tokens.c.revoked_at.is_(None))
        .values(revoked_at=sa.func.now())
    )


async def _retire(connection: AsyncConnection, family: uuid.UUID) -> None:
    """Revoke the oldest of the family's live tokens, if there are more than `LIVE_MAX`."""
    beyond = (
        sa.select(refresh_tokens.c.id)
        .where(
            refresh_tokens.c.family == family,
            refresh_tokens.c.used_at.is_(None),
            refresh_tokens.c.revoked_at.is_(None),
            refresh_tokens.c.expires_at > sa.func.now(),
        )
        .order_by(refresh_tokens.c.id.desc())
        .offset(LIVE_MAX)
    )
    await connection.execute(
        sa.update(refresh_tokens).where(refresh_tokens.c.id.in_(beyond)).values(revoked_at=sa.func.now())
    )


async def _insert(
    connection: AsyncConnection, family: uuid.UUID, user_id: int, token_hash: bytes, expires_at: datetime
) -> None:
    await connection.execute(
        sa.insert(refresh_tokens).values(family=family, user_id=user_id, token_hash=token_hash, expires_at=expires_at)
    )
