"""Every route of the API but its documentation, in the order in which the documentation shows them."""

from __future__ import annotations

from api import admin, auth, courses, enrollments, exports, operations, sections, semesters, students
from api.routing import Route

API_ROUTES: tuple[Route, ...] = (
    *auth.ROUTES,
    *semesters.ROUTES,
    *courses.ROUTES,
    *sections.ROUTES,
    *enrollments.ROUTES,
    *students.ROUTES,
    *exports.ROUTES,
    *admin.ROUTES,
    *operations.ROUTES,
)
