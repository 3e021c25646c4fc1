"""Every table of Seatline, with its constraints and indexes.

The first group is the catalogue and the people, read and written through SQLAlchemy. The second is written by the
batch store with array statements (`persistence/store/batch_sql.py`), and designed for that.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, ENUM, JSONB

from persistence.names import ENROLLMENT_ID_BLOCK

metadata = sa.MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)

ENROLLMENT_STATUS = ENUM("enrolled", "waitlisted", "dropped", name="enrollment_status", metadata=metadata)
USER_ROLE = ENUM("student", "teacher", "admin", name="user_role", metadata=metadata)
REQUISITE_KIND = ENUM("prerequisite", "corequisite", name="requisite_kind", metadata=metadata)


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True)


def _ref(name: str, target: str, *, nullable: bool = False, index: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, sa.ForeignKey(target), nullable=nullable, index=index)


def _now(name: str = "created_at") -> sa.Column[object]:
    return sa.Column(name, sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now())


# People

users = sa.Table(
    "users",
    metadata,
    _id(),
    sa.Column("email", sa.Text, nullable=False),
    sa.Column("password_hash", sa.Text),  # null: cannot log in by password
    sa.Column("role", USER_ROLE, nullable=False),
    sa.Column("name", sa.Text, nullable=False, server_default=""),
    sa.Column("disabled_at", sa.TIMESTAMP(timezone=True)),
    _now(),
    # How to write to them: null means as the campus does (SEATLINE_MAIL_LANGUAGE, SEATLINE_MAIL_TIME_ZONE).
    sa.Column("language", sa.Text),  # two letters: de
    sa.Column("time_zone", sa.Text),  # Europe/Berlin
    sa.CheckConstraint("language ~ '^[a-z]{2}$'", name="language"),
    sa.CheckConstraint("length(time_zone) BETWEEN 1 AND 64", name="time_zone"),
    sa.Index("users_email_key", sa.text("lower(email)"), unique=True),
)

departments = sa.Table(
    "departments",
    metadata,
    _id(),
    sa.Column("code", sa.Text, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
)

majors = sa.Table(
    "majors",
    metadata,
    _id(),
    _ref("department_id", "departments.id", index=True),
    sa.Column("code", sa.Text, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
)

students = sa.Table(
    "students",
    metadata,
    _id(),
    sa.Column("user_id", sa.BigInteger, sa.ForeignKey("users.id"), nullable=False, unique=True),
    sa.Column("student_number", sa.Text, nullable=False, unique=True),
    _ref("major_id", "majors.id", nullable=True),
    sa.Column("class_year", sa.SmallInteger),
    _now(),
)

teachers = sa.Table(
    "teachers",
    metadata,
    _id(),
    sa.Column("user_id", sa.BigInteger, sa.ForeignKey("users.id"), nullable=False, unique=True),
    _ref("department_id", "departments.id", nullable=True),
    _now(),
)

admins = sa.Table(
    "admins",
    metadata,
    _id(),
    sa.Column("user_id", sa.BigInteger, sa.ForeignKey("users.id"), nullable=False, unique=True),
    _now(),
)

# Catalogue

semesters = sa.Table(
    "semesters",
    metadata,
    _id(),
    sa.Column("code", sa.Text, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("starts_on", sa.Date),
    sa.Column("weeks", sa.SmallInteger, nullable=False, server_default="15"),
    sa.Column("registration_opens_at", sa.TIMESTAMP(timezone=True)),
    sa.Column("registration_closes_at", sa.TIMESTAMP(timezone=True)),
    sa.CheckConstraint("weeks BETWEEN 1 AND 63", name="weeks"),
    sa.CheckConstraint("registration_opens_at < registration_closes_at", name="window"),
)

courses = sa.Table(
    "courses",
    metadata,
    _id(),
    _ref("department_id", "departments.id", index=True),
    sa.Column("code", sa.Text, nullable=False, unique=True),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False, server_default=""),
)

classrooms = sa.Table(
    "classrooms",
    metadata,
    _id(),
    sa.Column("code", sa.Text, nullable=False, unique=True),
    sa.Column("capacity", sa.Integer),
)

course_sections = sa.Table(
    "course_sections",
    metadata,
    _id(),
    _ref("course_id", "courses.id", index=True),
    _ref("semester_id", "semesters.id"),
    sa.Column("code", sa.Text, nullable=False),
    # What part of the course this is: a student holds at most one section of each component of a course.
    sa.Column("component", sa.Text, nullable=False),
    sa.Column("credits", sa.SmallInteger, nullable=False),
    sa.Column("waitlist_limit", sa.Integer),  # null: no limit
    _ref("teacher_id", "teachers.id", nullable=True, index=True),
    # The id in the system that it was imported from, so that an import can be repeated.
    sa.Column("source_key", sa.Text),
    sa.UniqueConstraint("semester_id", "source_key"),
    sa.CheckConstraint("credits >= 0", name="credits"),
    sa.CheckConstraint("waitlist_limit >= 0", name="waitlist_limit"),
)

course_schedules = sa.Table(
    "course_schedules",
    metadata,
    _id(),
    _ref("section_id", "course_sections.id", index=True),
    sa.Column("weekday", sa.SmallInteger, nullable=False),  # 0 is Monday
    sa.Column("start_minute", sa.SmallInteger, nullable=False),  # from midnight, local
    sa.Column("end_minute", sa.SmallInteger, nullable=False),  # exclusive
    sa.Column("weeks", sa.BigInteger, nullable=False),  # bit 0 is the first week of term
    _ref("classroom_id", "classrooms.id", nullable=True),
    sa.CheckConstraint("weekday BETWEEN 0 AND 6", name="weekday"),
    sa.CheckConstraint("0 <= start_minute AND start_minute < end_minute AND end_minute <= 1440", name="minutes"),
    sa.CheckConstraint("weeks > 0", name="weeks"),
)

prerequisites = sa.Table(
    "prerequisites",
    metadata,
    _id(),
    _ref("course_id", "courses.id"),
    _ref("required_course_id", "courses.id"),
    sa.Column("kind", REQUISITE_KIND, nullable=False, server_default="prerequisite"),
    sa.Column("min_grade", sa.SmallInteger),  # tenths of a grade point: 20 is a C; null: any pass
    sa.UniqueConstraint("course_id", "required_course_id", "kind"),
    sa.CheckConstraint("course_id <> required_course_id", name="not_itself"),
    sa.CheckConstraint("min_grade BETWEEN 0 AND 43", name="min_grade"),
)

catalogue_version = sa.Table(
    "catalogue_version",
    metadata,
    # One row. Raised by everything that changes the catalogue; actors reload their facts when they see it.
    sa.Column("only_row", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.CheckConstraint("only_row", name="only_row"),
)

# Hot tables

HOT = {"fillfactor": "70"}

section_seats = sa.Table(
    "section_seats",
    metadata,
    sa.Column("section_id", sa.BigInteger, sa.ForeignKey("course_sections.id"), primary_key=True),
    sa.Column("capacity", sa.Integer, nullable=False),
    sa.Column("enrolled", sa.Integer, nullable=False, server_default="0"),
    sa.Column("waitlisted", sa.Integer, nullable=False, server_default="0"),
    # How many students were in beyond a capacity that was cut under them. Only a change of capacity can raise it.
    sa.Column("over_capacity", sa.Integer, nullable=False, server_default="0"),
    sa.Column("last_place", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("is_open", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("epoch", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("owner", sa.Text),
    sa.CheckConstraint("capacity >= 0 AND waitlisted >= 0 AND over_capacity >= 0", name="not_negative"),
    sa.CheckConstraint("enrolled >= 0 AND enrolled <= capacity + over_capacity", name="seats"),
    postgresql_with=HOT,
)

registration_records = sa.Table(
    "registration_records",
    metadata,
    sa.Column("student_id", sa.BigInteger, sa.ForeignKey("students.id"), nullable=False),
    sa.Column("semester_id", sa.BigInteger, sa.ForeignKey("semesters.id"), nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("credits", sa.Integer, nullable=False, server_default="0"),
    sa.Column("credit_limit", sa.Integer, nullable=False),
    sa.Column("enrolled", ARRAY(sa.BigInteger), nullable=False, server_default="{}"),
    sa.Column("waitlisted", ARRAY(sa.BigInteger), nullable=False, server_default="{}"),
    sa.Column("completed", JSONB, nullable=False, server_default="{}"),  # {course id: grade in tenths of a point}
    sa.Column("holds", ARRAY(sa.Text), nullable=False, server_default="{}"),
    sa.Column("opens_at", sa.TIMESTAMP(timezone=True)),
    sa.Column("closes_at", sa.TIMESTAMP(timezone=True)),
    sa.PrimaryKeyConstraint("student_id", "semester_id"),
    sa.CheckConstraint("credits >= 0 AND credits <= credit_limit", name="credits"),
    postgresql_with=HOT,
)

enrollment_id_seq = sa.Sequence("enrollment_id_seq", increment=ENROLLMENT_ID_BLOCK, metadata=metadata)

ACTIVE = sa.text("status <> 'dropped'")

enrollments = sa.Table(
    "enrollments",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    # Both are there: a turn writes an enrolment together with its student's record and its section's seats.
    sa.Column("student_id", sa.BigInteger, nullable=False),
    sa.Column("section_id", sa.BigInteger, nullable=False),
    sa.Column("status", ENROLLMENT_STATUS, nullable=False),
    sa.Column("credits", sa.SmallInteger, nullable=False),  # as they were when the seat was taken; 0 while waiting
    sa.Column("place", sa.BigInteger),  # waitlist sequence number, kept after a promotion
    sa.Column("blocked_at", sa.BigInteger),  # version of the registration record that did not allow a promotion
    sa.Column("blocked_by", ARRAY(sa.Text)),  # and the codes of the reasons
    _now(),
    _now("updated_at"),
    sa.CheckConstraint("status <> 'waitlisted' OR place IS NOT NULL", name="place"),
    # A student is in a section once. Also serves a student's own list.
    sa.Index("enrollments_active_key", "student_id", "section_id", unique=True, postgresql_where=ACTIVE),
    # Rosters, and the waitlist at an activation.
    sa.Index("enrollments_section_idx", "section_id", postgresql_where=ACTIVE),
    postgresql_with={"fillfactor": "90"},
)

enrollment_history = sa.Table(
    "enrollment_history",
    metadata,
    sa.Column("section_id", sa.BigInteger, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),  # the name of the event's class in allocator/model/events.py
    sa.Column("student_id", sa.BigInteger),
    sa.Column("enrollment_id", sa.BigInteger),
    sa.Column("place", sa.BigInteger),
    # SectionCreated, CapacityChanged: the capacity. SeatTaken, StudentPromoted, SeatFreed: credits (None in a SeatFreed
    # of before version 0.2).
    # PromotionBlocked: the version of the registration record.
    sa.Column("number", sa.BigInteger),
    sa.Column("detail", sa.Text),  # PromotionBlocked: codes of the reasons. Staff events: user id.
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.PrimaryKeyConstraint("section_id", "seq"),
)

enrollment_requests = sa.Table(
    "enrollment_requests",
    metadata,
    sa.Column("student_id", sa.BigInteger, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),  # JSON: persistence/store/stored_outcomes.py
    _now(),
    sa.PrimaryKeyConstraint("student_id", "key"),
)

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(cache=1000), primary_key=True),
    sa.Column("event_id", sa.Text, nullable=False),  # section:seq, by which a receiver drops repeats
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("payload", sa.Text, nullable=False),  # JSON
    _now(),
    sa.Column("attempts", sa.SmallInteger, nullable=False, server_default="0"),
)

notifications_sent = sa.Table(
    "notifications_sent",
    metadata,
    sa.Column("event_id", sa.Text, primary_key=True),
    _now("sent_at"),
)

refresh_tokens = sa.Table(
    "refresh_tokens",
    metadata,
    _id(),
    sa.Column("family", sa.Uuid, nullable=False, index=True),
    _ref("user_id", "users.id", index=True),
    sa.Column("token_hash", BYTEA, nullable=False, unique=True),  # SHA-256; the token itself is never stored
    _now(),
    sa.Column("expires_at", sa.TIMESTAMP(timezone=True), nullable=False),
    sa.Column("used_at", sa.TIMESTAMP(timezone=True)),
    sa.Column("revoked_at", sa.TIMESTAMP(timezone=True)),
)

audit_log = sa.Table(
    "audit_log",
    metadata,
    _id(),
    _now("at"),
    _ref("user_id", "users.id", nullable=True),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text),
)
