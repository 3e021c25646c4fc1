"""Reads and small writes outside of enrolment: one class for each port of the API, with SQLAlchemy Core."""
