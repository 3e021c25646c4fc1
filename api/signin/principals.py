"""Who makes a request, as its access token says."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from allocator.model.read_models import Role


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request. ``student_id`` is set for students only."""

    user_id: int
    role: Role
    student_id: int | None


PRINCIPAL = web.RequestKey("PRINCIPAL", Principal)
"""Set by the guard of every route that is not public (`api/http/routing.py`)."""


def student_id_of(request: web.Request) -> int:
    """The student who makes a request to a route for students. It comes from the token and from nothing else."""
    student_id = request[PRINCIPAL].student_id
    assert student_id is not None, "a token of a student always names the student"  # noqa: S101
    return student_id
