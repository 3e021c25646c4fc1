"""Enrolments point to students and sections by way of the rows that a turn locks.

An enrolment is written together with the student's registration record and the section's row of seats, which have to be
there and point to student and section themselves. Looking both up once more for every enrolment was a sixth of the
statement that writes a turn. `seatline verify` (I1, I5) finds enrolments without a section or a record.

Revision: 0004
Follows: 0003
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Take both constraints away."""
    op.drop_constraint("enrollments_student_id_fkey", "enrollments", type_="foreignkey")
    op.drop_constraint("enrollments_section_id_fkey", "enrollments", type_="foreignkey")


def downgrade() -> None:
    """Put them back."""
    op.create_foreign_key("enrollments_student_id_fkey", "enrollments", "students", ["student_id"], ["id"])
    op.create_foreign_key("enrollments_section_id_fkey", "enrollments", "course_sections", ["section_id"], ["id"])
