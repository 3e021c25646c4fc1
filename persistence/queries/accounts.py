"""Users and their passwords. Implements ``api.ports.Accounts``."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncEngine

from allocator.model.read_models import Account, Role
from persistence.queries.connection import reading, writing
from persistence.schema.tables import students, users

BCRYPT_COST_MAX = 14
"""About a second. The expression in `AccountQueries.slowest_bcrypt_cost` follows it."""


class AccountQueries:
    """Accounts in Postgres."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def by_email(self, email: str) -> Account | None:
        """The user with this address, in any case."""
        return await self._one(select_accounts().where(sa.func.lower(users.c.email) == email.lower()))

    async def by_id(self, user_id: int) -> Account | None:
        """The user with this id."""
        return await self._one(select_accounts().where(users.c.id == user_id))

    async def slowest_bcrypt_cost(self) -> int | None:
        """The highest cost of the bcrypt hashes that are stored; None if there are none.

        Costs beyond `BCRYPT_COST_MAX` are left out: all failed logins take as long as this one.
        """
        cost = sa.cast(sa.func.substr(users.c.password_hash, 5, 2), sa.Integer)
        statement = sa.select(sa.func.max(cost)).where(
            users.c.password_hash.regexp_match(r"^\$2[aby]\$(0[4-9]|1[0-4])\$")
        )
        async with reading(self._engine) as connection:
            slowest: int | None = await connection.scalar(statement)
            return slowest

    async def replace_password_hash(self, user_id: int, old_hash: str, new_hash: str) -> None:
        """Store a better hash of the same password, unless the password was changed meanwhile."""
        statement = (
            sa.update(users)
            .where(users.c.id == user_id, users.c.password_hash == old_hash)
            .values(password_hash=new_hash)
        )
        async with writing(self._engine) as connection:
            await connection.execute(statement)

    async def _one(self, statement: sa.Select[Any]) -> Account | None:
        async with reading(self._engine) as connection:
            row = (await connection.execute(statement)).mappings().one_or_none()
        return None if row is None else account_of(row)


def select_accounts() -> sa.Select[Any]:
    """A statement with all columns of ``Account``, to which a condition is added."""
    return (
        sa.select(
            users.c.id.label("user_id"),
            users.c.email,
            users.c.name,
            users.c.role,
            users.c.password_hash,
            users.c.disabled_at.is_not(None).label("is_disabled"),
            students.c.id.label("student_id"),
            students.c.student_number,
        )
        .select_from(users)
        .outerjoin(students, students.c.user_id == users.c.id)
    )


def account_of(row: RowMapping) -> Account:
    """The account in a row of ``select_accounts``."""
    return Account(**{**row, "role": Role(row["role"])})
