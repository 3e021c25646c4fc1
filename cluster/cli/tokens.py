"""Access tokens without a login, for development and load tests."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg

from allocator.model.read_models import Account, Role
from cluster.config.secrets import jwt_secret
from cluster.config.settings import ConfigurationError, Environment, Settings
from persistence.private_files import write_private_file


class KnownStudent(NamedTuple):
    """A student in the database."""

    student_id: int
    number: str
    user_id: int


class Mint:
    """Makes access tokens with the secret of this home, as a login does.

    Raises:
        ConfigurationError: in production, where tokens come from logins only.
    """

    def __init__(self, settings: Settings, ttl_s: int) -> None:
        if settings.env is Environment.PRODUCTION:
            raise ConfigurationError("SEATLINE_ENV=production gives tokens by login only")
        from api.signin.tokens import AccessTokens  # noqa: PLC0415  (the only use of the API here)

        self._tokens = AccessTokens(jwt_secret(settings), ttl_s)

    def token(self, student: KnownStudent) -> str:
        """An access token of the student."""
        return self._tokens.issue(
            Account(student.user_id, "", "", Role.STUDENT, None, False, student.student_id, student.number)
        )


async def find_students(
    connection: Any, *, number: str | None = None, semester: str | None = None
) -> list[KnownStudent]:
    """The student of this number, or all students; only those with a record in ``semester``, if that is given."""
    rows = await connection.fetch(
        """
        SELECT s.id, s.student_number, s.user_id FROM students s JOIN users u ON u.id = s.user_id
        WHERE u.disabled_at IS NULL AND ($1::text IS NULL OR s.student_number = $1)
            AND ($2::text IS NULL OR EXISTS (
                SELECT FROM registration_records r JOIN semesters t ON t.id = r.semester_id
                WHERE r.student_id = s.id AND t.code = $2))
        ORDER BY s.id
        """,
        number, semester,
    )  # fmt: skip
    return [KnownStudent(*row) for row in rows]


async def read_students(database_url: str, *, number: str | None, semester: str | None) -> list[KnownStudent]:
    """Call ``find_students`` on a new connection."""
    connection = await asyncpg.connect(database_url, timeout=5.0)
    try:
        return await find_students(connection, number=number, semester=semester)
    finally:
        await connection.close()


def write_private(path: Path, lines: Iterable[str]) -> None:
    """Write lines to a file that only its owner may read."""
    write_private_file(path, "".join(f"{line}\n" for line in lines).encode())


def token_line(student: KnownStudent, token: str) -> str:
    """One student's token as JSON."""
    return json.dumps({"student_id": student.student_id, "student_number": student.number, "token": token})
