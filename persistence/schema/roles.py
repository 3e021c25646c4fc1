"""Rights of the database role that serves requests: it may add to the history, but neither rewrite it nor alter tables.

There are two roles: the *owner* creates and alters tables, seeds and imports; API and section actors log in as the *app
role*. Whoever takes over a serving process has the rights listed here and no more.
"""

from __future__ import annotations

import sqlalchemy as sa

CATALOGUE = (
    "departments",
    "majors",
    "students",
    "teachers",
    "admins",
    "semesters",
    "courses",
    "classrooms",
    "course_sections",
    "course_schedules",
    "prerequisites",
    "catalogue_version",
    "alembic_version",
)

APP_RIGHTS = {
    **dict.fromkeys(CATALOGUE, "SELECT"),
    "users": "SELECT, UPDATE (password_hash)",
    "section_seats": (
        "SELECT, UPDATE (capacity, enrolled, waitlisted, over_capacity, last_place, is_open, epoch, seq, owner)"
    ),
    "registration_records": "SELECT, UPDATE (version, credits, enrolled, waitlisted)",
    "enrollments": "SELECT, INSERT, UPDATE (status, credits, blocked_at, blocked_by, updated_at)",
    "enrollment_history": "SELECT, INSERT",
    "enrollment_requests": "SELECT, INSERT",
    "audit_log": "SELECT, INSERT",
    "outbox": "SELECT, INSERT, UPDATE (attempts), DELETE",
    "notifications_sent": "SELECT, INSERT, DELETE",
    "refresh_tokens": "SELECT, INSERT, UPDATE (used_at, revoked_at), DELETE",
}
"""Rights of the app role by table. It has none on a table that is not listed."""

APP_SEQUENCES = ("enrollment_id_seq",)

KEEPS_HISTORY = """
SELECT NOT bool_or(has_table_privilege(oid, 'UPDATE, DELETE, TRUNCATE, TRIGGER')
                   OR has_any_column_privilege(oid, 'UPDATE') OR pg_has_role(relowner, 'MEMBER'))
  FROM pg_class WHERE oid IN (to_regclass('enrollment_history'), to_regclass('audit_log'))"""
"""Whether the role of this connection can only insert into history and audit log; null if there are no tables yet."""


class MissingRoleError(Exception):
    """The app role does not exist; the message says how to create it."""


def grant_rights(connection: sa.Connection, role: str) -> None:
    """Grant ``role`` the rights of this module and revoke all others that it has in this schema.

    Tables that do not exist yet (an older revision) are skipped.

    Raises:
        MissingRoleError: if there is no such role.
    """
    if not connection.scalar(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}):
        raise MissingRoleError(
            f"the database has no role {role}: make it first, with a password of its own:"
            f" CREATE ROLE {_quoted(connection, role)} LOGIN PASSWORD '...'"
        )
    for statement in _statements(connection, role):
        connection.exec_driver_sql(statement)


def _statements(connection: sa.Connection, role: str) -> list[str]:
    grantee = _quoted(connection, role)
    schema = _quoted(connection, str(connection.scalar(sa.select(sa.func.current_schema()))))
    found = sa.inspect(connection)
    tables, sequences = set(found.get_table_names()), set(found.get_sequence_names())
    return [
        # Before Postgres 15 everybody could make tables here, and so shadow ours.
        f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC, {grantee}",
        f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {grantee}",
        f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA {schema} FROM {grantee}",
        f"GRANT USAGE ON SCHEMA {schema} TO {grantee}",
        *(f"GRANT {rights} ON {table} TO {grantee}" for table, rights in APP_RIGHTS.items() if table in tables),
        *(f"GRANT USAGE ON SEQUENCE {name} TO {grantee}" for name in APP_SEQUENCES if name in sequences),
    ]


def _quoted(connection: sa.Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote_identifier(name)
