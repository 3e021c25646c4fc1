"""Who is asking, once a route's guard has let them in."""

from __future__ import annotations

from aiohttp import web

from api.state import PRINCIPAL


def student_id_of(request: web.Request) -> int:
    """The student who asks, on a route that is for students. It is never taken from anything but the token."""
    student_id = request[PRINCIPAL].student_id
    assert student_id is not None, "a token of a student always names the student"  # noqa: S101
    return student_id
