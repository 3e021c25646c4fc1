"""Users with passwords who log in over HTTP."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from api.signin.passwords import HASHER
from tests.acceptance.seatline import Answer, Client
from tests.sample_campus import PostgresWorld

PASSWORD = "correct horse battery staple"
PASSWORD_HASH = HASHER.hash(PASSWORD)
_addresses = itertools.count(1)


@dataclass(frozen=True)
class Person:
    """A user who is logged in."""

    user_id: int
    role_id: int
    """Of the table of the role: what a section's ``teacher_id`` or an enrolment's ``student_id`` refers to."""
    email: str
    token: str
    refresh_token: str


async def add_person(campus: PostgresWorld, client: Client, role: str = "student") -> Person:
    """A new user of this role, logged in; a student is registered for the semester of the campus."""
    if role == "student":
        role_id = await campus.add_student()
        user_id = await campus.connection.fetchval("SELECT user_id FROM students WHERE id = $1", role_id)
    else:
        user_id = await campus.connection.fetchval(
            "INSERT INTO users (email, role) VALUES (gen_random_uuid()::text, $1) RETURNING id", role
        )
        role_id = await campus.connection.fetchval(f"INSERT INTO {role}s (user_id) VALUES ($1) RETURNING id", user_id)
    email = f"{role}{user_id}@campus.example"
    await campus.connection.execute(
        "UPDATE users SET email = $2, password_hash = $3 WHERE id = $1", user_id, email, PASSWORD_HASH
    )
    answer = await login(client, email)
    assert answer.status == 200, answer.body
    return Person(user_id, role_id, email, answer.body["access_token"], answer.body["refresh_token"])


def new_address() -> str:
    """An address from which nothing was sent yet, for X-Forwarded-For."""
    number = next(_addresses)
    return f"203.0.{number // 250}.{number % 250 + 1}"


async def login(client: Client, email: str, password: str = PASSWORD, address: str | None = None) -> Answer:
    """``POST /api/auth/login`` from an address, a new one by default."""
    body = {"email": email, "password": password}
    headers = {"X-Forwarded-For": address or new_address()}
    return await client.request("POST", "/api/auth/login", None, body, **headers)


async def enroll(client: Client, person: Person, section_id: int, **headers: str) -> Answer:
    """``POST /api/enrollments`` by this person."""
    return await client.request("POST", "/api/enrollments", person.token, {"section_id": section_id}, **headers)
