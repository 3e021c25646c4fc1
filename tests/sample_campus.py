"""Small campuses for tests, in memory and in Postgres, with the same methods."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import asyncpg

from allocator.model.catalogue import Meeting, SectionFacts, Term
from allocator.model.record import RecordKey, RegistrationRecord
from allocator.ports import Store
from persistence.store.memory import MemoryDatabase, MemoryStore
from persistence.store.postgres import PostgresStore

ALL_WEEKS = (1 << 15) - 1


def monday(start_hour: int, hours: int = 1, weeks: int = ALL_WEEKS) -> tuple[Meeting, ...]:
    """A meeting on Monday."""
    return (Meeting(0, start_hour * 60, (start_hour + hours) * 60, weeks),)


class SeatCounts(NamedTuple):
    """What the store says of a section's seats."""

    capacity: int
    enrolled: int
    waitlisted: int
    seq: int
    epoch: int


class World(Protocol):
    """A campus with one semester, whose sections and students a test adds."""

    semester_id: int

    async def add_section(
        self,
        capacity: int,
        *,
        credit_count: int = 3,
        meetings: tuple[Meeting, ...] = (),
        course_id: int | None = None,
        component: str = "LE",
        waitlist_limit: int | None = None,
    ) -> int: ...

    async def add_student(self, credit_limit: int = 18, holds: tuple[str, ...] = ()) -> int: ...

    async def change_catalogue(self, section_id: int, credit_count: int) -> None: ...

    async def seats(self, section_id: int) -> SeatCounts: ...

    async def statuses(self, section_id: int) -> dict[int, str]: ...

    async def record(self, student_id: int) -> tuple[int, list[int], list[int]]: ...

    async def outbox(self) -> list[tuple[str, str]]: ...

    def store(self) -> Store: ...


class MemoryWorld:
    """A campus in memory."""

    def __init__(self) -> None:
        self.database = MemoryDatabase(lock_timeout_s=0.2)
        self.semester_id = 1
        self._sections = 0
        self._students = 0

    async def add_section(
        self,
        capacity: int,
        *,
        credit_count: int = 3,
        meetings: tuple[Meeting, ...] = (),
        course_id: int | None = None,
        component: str = "LE",
        waitlist_limit: int | None = None,
    ) -> int:
        self._sections += 1
        section_id = self._sections
        facts = SectionFacts(
            section_id,
            course_id or 10_000 + section_id,
            component,
            credit_count,
            waitlist_limit,
            Term(self.semester_id, None, None),
            meetings,
            (),
            (),
        )
        self.database.add_section(facts, capacity)
        return section_id

    async def add_student(self, credit_limit: int = 18, holds: tuple[str, ...] = ()) -> int:
        self._students += 1
        key = RecordKey(self._students, self.semester_id)
        self.database.add_record(RegistrationRecord(key, 0, 0, credit_limit, [], [], {}, holds))
        return self._students

    async def change_catalogue(self, section_id: int, credit_count: int) -> None:
        facts = self.database.facts[section_id]
        self.database.facts[section_id] = facts._replace(credits=credit_count)
        self.database.catalogue_version += 1

    async def seats(self, section_id: int) -> SeatCounts:
        row = self.database.seats[section_id]
        return SeatCounts(row.capacity, row.enrolled, row.waitlisted, row.seq, row.epoch)

    async def statuses(self, section_id: int) -> dict[int, str]:
        rows = self.database.enrollments.values()
        return {row.student_id: row.status for row in rows if row.section_id == section_id}

    async def record(self, student_id: int) -> tuple[int, list[int], list[int]]:
        record = replace(self.database.records[RecordKey(student_id, self.semester_id)])
        return record.credits, record.enrolled, record.waitlisted

    async def outbox(self) -> list[tuple[str, str]]:
        return [(message.event_id, message.topic) for message in self.database.outbox]

    def store(self) -> MemoryStore:
        return MemoryStore(self.database)


class PostgresWorld:
    """A campus in Postgres."""

    def __init__(self, database_url: str, connection: Any, department_id: int, semester_id: int) -> None:
        self.database_url = database_url
        self.connection = connection
        self._department_id = department_id
        self.semester_id = semester_id
        self._stores: list[PostgresStore] = []

    @classmethod
    async def create(cls, database_url: str) -> PostgresWorld:
        """A new semester in this database."""
        connection = await asyncpg.connect(database_url)
        department_id = await connection.fetchval(
            "INSERT INTO departments (code, name) VALUES ('D' || gen_random_uuid(), 'Testing') RETURNING id"
        )
        semester_id = await connection.fetchval(
            "INSERT INTO semesters (code, name) VALUES ('S' || gen_random_uuid(), 'A semester') RETURNING id"
        )
        return cls(database_url, connection, department_id, semester_id)

    async def close(self) -> None:
        for store in self._stores:
            await store.close()
        await self.connection.close()

    async def add_course(self) -> int:
        course_id: int = await self.connection.fetchval(
            "INSERT INTO courses (department_id, code, title) VALUES ($1, 'C' || gen_random_uuid(), 'A course') "
            "RETURNING id",
            self._department_id,
        )
        return course_id

    async def add_section(
        self,
        capacity: int,
        *,
        credit_count: int = 3,
        meetings: tuple[Meeting, ...] = (),
        course_id: int | None = None,
        component: str = "LE",
        waitlist_limit: int | None = None,
    ) -> int:
        if course_id is None:
            course_id = await self.add_course()
        section_id: int = await self.connection.fetchval(
            "INSERT INTO course_sections (course_id, semester_id, code, component, credits, waitlist_limit) "
            "VALUES ($1, $2, 'A01', $3, $4, $5) RETURNING id",
            course_id,
            self.semester_id,
            component,
            credit_count,
            waitlist_limit,
        )
        await self.connection.executemany(
            "INSERT INTO course_schedules (section_id, weekday, start_minute, end_minute, weeks) "
            "VALUES ($1, $2, $3, $4, $5)",
            [(section_id, *meeting) for meeting in meetings],
        )
        await self.connection.execute(
            "INSERT INTO section_seats (section_id, capacity, seq) VALUES ($1, $2, 1)", section_id, capacity
        )
        await self.connection.execute(
            "INSERT INTO enrollment_history (section_id, seq, kind, number, epoch) "
            "VALUES ($1, 1, 'SectionCreated', $2, 0)",
            section_id,
            capacity,
        )
        return section_id

    async def add_student(self, credit_limit: int = 18, holds: tuple[str, ...] = ()) -> int:
        student_id: int = await self.connection.fetchval(
            "WITH u AS (INSERT INTO users (email, role) VALUES (gen_random_uuid()::text, 'student') RETURNING id) "
            "INSERT INTO students (user_id, student_number) SELECT id, gen_random_uuid()::text FROM u RETURNING id"
        )
        await self.connection.execute(
            "INSERT INTO registration_records (student_id, semester_id, credit_limit, holds) VALUES ($1, $2, $3, $4)",
            student_id,
            self.semester_id,
            credit_limit,
            list(holds),
        )
        return student_id

    async def change_catalogue(self, section_id: int, credit_count: int) -> None:
        await self.connection.execute("UPDATE course_sections SET credits = $2 WHERE id = $1", section_id, credit_count)
        await self.connection.execute("UPDATE catalogue_version SET version = version + 1")

    async def seats(self, section_id: int) -> SeatCounts:
        row = await self.connection.fetchrow(
            "SELECT capacity, enrolled, waitlisted, seq, epoch FROM section_seats WHERE section_id = $1", section_id
        )
        return SeatCounts(*row)

    async def statuses(self, section_id: int) -> dict[int, str]:
        rows = await self.connection.fetch(
            "SELECT student_id, status::text FROM enrollments WHERE section_id = $1 ORDER BY id", section_id
        )
        return {row[0]: row[1] for row in rows}

    async def record(self, student_id: int) -> tuple[int, list[int], list[int]]:
        row = await self.connection.fetchrow(
            "SELECT credits, enrolled, waitlisted FROM registration_records WHERE student_id = $1 AND semester_id = $2",
            student_id,
            self.semester_id,
        )
        return row[0], row[1], row[2]

    async def outbox(self) -> list[tuple[str, str]]:
        rows = await self.connection.fetch("SELECT event_id, topic FROM outbox ORDER BY id")
        return [(row[0], row[1]) for row in rows]

    def store(self) -> PostgresStore:
        store = PostgresStore(self.database_url)
        self._stores.append(store)
        return store
