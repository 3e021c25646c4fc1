"""The first schema: people, catalogue, registration, and a history that nobody can rewrite.

Revision: 0001
Follows: nothing
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, ENUM, JSONB
from sqlalchemy.schema import CreateSequence, DropSequence

revision = "0001"
down_revision = None

ENROLLMENT_STATUS = ENUM("enrolled", "waitlisted", "dropped", name="enrollment_status", create_type=False)
USER_ROLE = ENUM("student", "teacher", "admin", name="user_role", create_type=False)
REQUISITE_KIND = ENUM("prerequisite", "corequisite", name="requisite_kind", create_type=False)
ENROLLMENT_ID_SEQ = sa.Sequence("enrollment_id_seq", increment=1000)

TABLES = (
    "users",
    "departments",
    "majors",
    "students",
    "teachers",
    "admins",
    "refresh_tokens",
    "audit_log",
    "semesters",
    "courses",
    "classrooms",
    "course_sections",
    "course_schedules",
    "prerequisites",
    "catalogue_version",
    "section_seats",
    "registration_records",
    "enrollments",
    "enrollment_history",
    "enrollment_requests",
    "outbox",
)

REFUSE_CHANGE = """
CREATE FUNCTION enrollment_history_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'enrollment_history is append-only: % is refused', TG_OP
        USING ERRCODE = 'insufficient_privilege',
              HINT = 'What happened stays. Record a new event instead; to start over, drop the database.';
END $$
"""

APPEND_ONLY = """
CREATE TRIGGER enrollment_history_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON enrollment_history
    FOR EACH STATEMENT EXECUTE FUNCTION enrollment_history_refuse_change()
"""


def upgrade() -> None:
    """Make all tables."""
    for enum in (ENROLLMENT_STATUS, USER_ROLE, REQUISITE_KIND):
        enum.create(op.get_bind(), checkfirst=False)
    op.execute(CreateSequence(ENROLLMENT_ID_SEQ))
    _people()
    _access()
    _catalogue()
    _sections()
    _registration()
    _history()
    op.execute("INSERT INTO catalogue_version (version) VALUES (1)")


def downgrade() -> None:
    """Drop everything."""
    for table in reversed(TABLES):
        op.drop_table(table)
    op.execute("DROP FUNCTION enrollment_history_refuse_change()")
    op.execute(DropSequence(ENROLLMENT_ID_SEQ))
    for enum in (ENROLLMENT_STATUS, USER_ROLE, REQUISITE_KIND):
        enum.drop(op.get_bind(), checkfirst=False)


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger, sa.Identity(), nullable=False)


def _now(name: str = "created_at") -> sa.Column[object]:
    return sa.Column(name, sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()"))


def _key(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*columns, name=f"{table}_pkey")


def _unique(table: str, *columns: str) -> sa.UniqueConstraint:
    return sa.UniqueConstraint(*columns, name=f"{table}_{'_'.join(columns)}_key")


def _refers(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [target], name=f"{table}_{column}_fkey")


def _check(name: str, condition: str) -> sa.CheckConstraint:
    # op.f: the name is whole already, the naming convention must not be applied to it again.
    return sa.CheckConstraint(condition, name=op.f(name))


def _people() -> None:
    op.create_table(
        "users",
        _id(),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("password_hash", sa.Text),
        sa.Column("role", USER_ROLE, nullable=False),
        sa.Column("name", sa.Text, nullable=False, server_default=""),
        sa.Column("disabled_at", sa.TIMESTAMP(timezone=True)),
        _now(),
        _key("users", "id"),
    )
    op.create_index("users_email_key", "users", [sa.text("lower(email)")], unique=True)
    op.create_table(
        "departments",
        _id(),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        _key("departments", "id"),
        _unique("departments", "code"),
    )
    op.create_table(
        "majors",
        _id(),
        sa.Column("department_id", sa.BigInteger, nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        _key("majors", "id"),
        _unique("majors", "code"),
        _refers("majors", "department_id", "departments.id"),
    )
    op.create_index("majors_department_id_idx", "majors", ["department_id"])
    op.create_table(
        "students",
        _id(),
        sa.Column("user_id", sa.BigInteger, nullable=False),
        sa.Column("student_number", sa.Text, nullable=False),
        sa.Column("major_id", sa.BigInteger),
        sa.Column("class_year", sa.SmallInteger),
        _now(),
        _key("students", "id"),
        _unique("students", "user_id"),
        _unique("students", "student_number"),
        _refers("students", "user_id", "users.id"),
        _refers("students", "major_id", "majors.id"),
    )
    op.create_table(
        "teachers",
        _id(),
        sa.Column("user_id", sa.BigInteger, nullable=False),
        sa.Column("department_id", sa.BigInteger),
        _now(),
        _key("teachers", "id"),
        _unique("teachers", "user_id"),
        _refers("teachers", "user_id", "users.id"),
        _refers("teachers", "department_id", "departments.id"),
    )
    op.create_table(
        "admins",
        _id(),
        sa.Column("user_id", sa.BigInteger, nullable=False),
        _now(),
        _key("admins", "id"),
        _unique("admins", "user_id"),
        _refers("admins", "user_id", "users.id"),
    )


def _access() -> None:
    op.create_table(
        "refresh_tokens",
        _id(),
        sa.Column("family", sa.Uuid, nullable=False),
        sa.Column("user_id", sa.BigInteger, nullable=False),
        sa.Column("token_hash", BYTEA, nullable=False),
        _now(),
        sa.Column("expires_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("used_at", sa.TIMESTAMP(timezone=True)),
        sa.Column("revoked_at", sa.TIMESTAMP(timezone=True)),
        _key("refresh_tokens", "id"),
        _unique("refresh_tokens", "token_hash"),
        _refers("refresh_tokens", "user_id", "users.id"),
    )
    op.create_index("refresh_tokens_family_idx", "refresh_tokens", ["family"])
    op.create_index("refresh_tokens_user_id_idx", "refresh_tokens", ["user_id"])
    op.create_table(
        "audit_log",
        _id(),
        _now("at"),
        sa.Column("user_id", sa.BigInteger),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text),
        _key("audit_log", "id"),
        _refers("audit_log", "user_id", "users.id"),
    )


def _catalogue() -> None:
    op.create_table(
        "semesters",
        _id(),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("starts_on", sa.Date),
        sa.Column("weeks", sa.SmallInteger, nullable=False, server_default="15"),
        sa.Column("registration_opens_at", sa.TIMESTAMP(timezone=True)),
        sa.Column("registration_closes_at", sa.TIMESTAMP(timezone=True)),
        _key("semesters", "id"),
        _unique("semesters", "code"),
        _check("semesters_weeks_check", "weeks BETWEEN 1 AND 63"),
        _check("semesters_window_check", "registration_opens_at < registration_closes_at"),
    )
    op.create_table(
        "courses",
        _id(),
        sa.Column("department_id", sa.BigInteger, nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False, server_default=""),
        _key("courses", "id"),
        _unique("courses", "code"),
        _refers("courses", "department_id", "departments.id"),
    )
    op.create_index("courses_department_id_idx", "courses", ["department_id"])
    op.create_table(
        "classrooms",
        _id(),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("capacity", sa.Integer),
        _key("classrooms", "id"),
        _unique("classrooms", "code"),
    )
    op.create_table(
        "prerequisites",
        _id(),
        sa.Column("course_id", sa.BigInteger, nullable=False),
        sa.Column("required_course_id", sa.BigInteger, nullable=False),
        sa.Column("kind", REQUISITE_KIND, nullable=False, server_default="prerequisite"),
        sa.Column("min_grade", sa.SmallInteger),
        _key("prerequisites", "id"),
        _unique("prerequisites", "course_id", "required_course_id", "kind"),
        _refers("prerequisites", "course_id", "courses.id"),
        _refers("prerequisites", "required_course_id", "courses.id"),
        _check("prerequisites_not_itself_check", "course_id <> required_course_id"),
        _check("prerequisites_min_grade_check", "min_grade BETWEEN 0 AND 43"),
    )
    op.create_table(
        "catalogue_version",
        sa.Column("only_row", sa.Boolean, nullable=False, server_default=sa.text("true")),
        sa.Column("version", sa.BigInteger, nullable=False),
        _key("catalogue_version", "only_row"),
        _check("catalogue_version_only_row_check", "only_row"),
    )


def _sections() -> None:
    op.create_table(
        "course_sections",
        _id(),
        sa.Column("course_id", sa.BigInteger, nullable=False),
        sa.Column("semester_id", sa.BigInteger, nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("component", sa.Text, nullable=False),
        sa.Column("credits", sa.SmallInteger, nullable=False),
        sa.Column("waitlist_limit", sa.Integer),
        sa.Column("teacher_id", sa.BigInteger),
        sa.Column("source_key", sa.Text),
        _key("course_sections", "id"),
        _unique("course_sections", "semester_id", "source_key"),
        _refers("course_sections", "course_id", "courses.id"),
        _refers("course_sections", "semester_id", "semesters.id"),
        _refers("course_sections", "teacher_id", "teachers.id"),
        _check("course_sections_credits_check", "credits >= 0"),
        _check("course_sections_waitlist_limit_check", "waitlist_limit >= 0"),
    )
    op.create_index("course_sections_course_id_idx", "course_sections", ["course_id"])
    op.create_index("course_sections_teacher_id_idx", "course_sections", ["teacher_id"])
    op.create_table(
        "course_schedules",
        _id(),
        sa.Column("section_id", sa.BigInteger, nullable=False),
        sa.Column("weekday", sa.SmallInteger, nullable=False),
        sa.Column("start_minute", sa.SmallInteger, nullable=False),
        sa.Column("end_minute", sa.SmallInteger, nullable=False),
        sa.Column("weeks", sa.BigInteger, nullable=False),
        sa.Column("classroom_id", sa.BigInteger),
        _key("course_schedules", "id"),
        _refers("course_schedules", "section_id", "course_sections.id"),
        _refers("course_schedules", "classroom_id", "classrooms.id"),
        _check("course_schedules_weekday_check", "weekday BETWEEN 0 AND 6"),
        _check(
            "course_schedules_minutes_check",
            "0 <= start_minute AND start_minute < end_minute AND end_minute <= 1440",
        ),
        _check("course_schedules_weeks_check", "weeks > 0"),
    )
    op.create_index("course_schedules_section_id_idx", "course_schedules", ["section_id"])


def _registration() -> None:
    # Rows of the first two change with every seat: room in each page keeps those changes off the indexes.
    op.create_table(
        "section_seats",
        sa.Column("section_id", sa.BigInteger, nullable=False),
        sa.Column("capacity", sa.Integer, nullable=False),
        sa.Column("enrolled", sa.Integer, nullable=False, server_default="0"),
        sa.Column("waitlisted", sa.Integer, nullable=False, server_default="0"),
        sa.Column("over_capacity", sa.Integer, nullable=False, server_default="0"),
        sa.Column("last_place", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("is_open", sa.Boolean, nullable=False, server_default=sa.text("true")),
        sa.Column("epoch", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.Text),
        _key("section_seats", "section_id"),
        _refers("section_seats", "section_id", "course_sections.id"),
        _check("section_seats_not_negative_check", "capacity >= 0 AND waitlisted >= 0 AND over_capacity >= 0"),
        _check("section_seats_seats_check", "enrolled >= 0 AND enrolled <= capacity + over_capacity"),
        postgresql_with={"fillfactor": "70"},
    )
    op.create_table(
        "registration_records",
        sa.Column("student_id", sa.BigInteger, nullable=False),
        sa.Column("semester_id", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("credits", sa.Integer, nullable=False, server_default="0"),
        sa.Column("credit_limit", sa.Integer, nullable=False),
        sa.Column("enrolled", ARRAY(sa.BigInteger), nullable=False, server_default="{}"),
        sa.Column("waitlisted", ARRAY(sa.BigInteger), nullable=False, server_default="{}"),
        sa.Column("completed", JSONB, nullable=False, server_default="{}"),
        sa.Column("holds", ARRAY(sa.Text), nullable=False, server_default="{}"),
        sa.Column("opens_at", sa.TIMESTAMP(timezone=True)),
        sa.Column("closes_at", sa.TIMESTAMP(timezone=True)),
        _key("registration_records", "student_id", "semester_id"),
        _refers("registration_records", "student_id", "students.id"),
        _refers("registration_records", "semester_id", "semesters.id"),
        _check("registration_records_credits_check", "credits >= 0 AND credits <= credit_limit"),
        postgresql_with={"fillfactor": "70"},
    )
    _enrollments()


def _enrollments() -> None:
    active = sa.text("status <> 'dropped'")
    op.create_table(
        "enrollments",
        sa.Column("id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("student_id", sa.BigInteger, nullable=False),
        sa.Column("section_id", sa.BigInteger, nullable=False),
        sa.Column("status", ENROLLMENT_STATUS, nullable=False),
        sa.Column("credits", sa.SmallInteger, nullable=False),
        sa.Column("place", sa.BigInteger),
        sa.Column("blocked_at", sa.BigInteger),
        sa.Column("blocked_by", ARRAY(sa.Text)),
        _now(),
        _now("updated_at"),
        _key("enrollments", "id"),
        _refers("enrollments", "student_id", "students.id"),
        _refers("enrollments", "section_id", "course_sections.id"),
        _check("enrollments_place_check", "status <> 'waitlisted' OR place IS NOT NULL"),
        postgresql_with={"fillfactor": "90"},
    )
    columns = ["student_id", "section_id"]
    op.create_index("enrollments_active_key", "enrollments", columns, unique=True, postgresql_where=active)
    op.create_index("enrollments_section_idx", "enrollments", ["section_id"], postgresql_where=active)


def _history() -> None:
    op.create_table(
        "enrollment_history",
        sa.Column("section_id", sa.BigInteger, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("student_id", sa.BigInteger),
        sa.Column("enrollment_id", sa.BigInteger),
        sa.Column("place", sa.BigInteger),
        sa.Column("number", sa.BigInteger),
        sa.Column("detail", sa.Text),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        _now("at"),
        _key("enrollment_history", "section_id", "seq"),
    )
    op.execute(REFUSE_CHANGE)
    op.execute(APPEND_ONLY)
    op.create_table(
        "enrollment_requests",
        sa.Column("student_id", sa.BigInteger, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        _now(),
        _key("enrollment_requests", "student_id", "key"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger, sa.Identity(cache=1000), nullable=False),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        _now(),
        sa.Column("attempts", sa.SmallInteger, nullable=False, server_default="0"),
        _key("outbox", "id"),
    )
