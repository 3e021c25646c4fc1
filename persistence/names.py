"""Names and sizes that are shared by modules with no other reason to import each other."""

APPLICATION_NAME = "seatline"
"""How our connections show in pg_stat_activity."""

ENROLLMENT_ID_BLOCK = 1000
"""Actors take enrolment ids from the sequence in blocks of this size, so that a batch needs no round trip for them."""
