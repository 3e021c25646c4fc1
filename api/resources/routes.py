"""All routes of the API except those of its documentation, in the order in which the documentation shows them."""

from __future__ import annotations

from api.http.routing import Route
from api.resources import admin, auth, courses, enrollments, exports, operations, sections, semesters, students

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
