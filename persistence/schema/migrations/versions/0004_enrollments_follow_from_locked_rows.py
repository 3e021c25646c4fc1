"""Foreign keys of enrolments are dropped: they follow from the rows that a turn locks.

An enrolment is written together with the student's registration record and the section's seat row, which must exist and
have foreign keys to student and section. Checking both again for every enrolment took a sixth of the statement that
writes a turn. `seatline verify` (I1, I5) finds enrolments without a section or a record.

Revision: 0004
Follows: 0003
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Drop both constraints."""
    op.drop_constraint("enrollments_student_id_fkey", "enrollments", type_="foreignkey")
    op.drop_constraint("enrollments_section_id_fkey", "enrollments", type_="foreignkey")


def downgrade() -> None:
    """Create them again."""
    op.create_foreign_key("enrollments_student_id_fkey", "enrollments", "students", ["student_id"], ["id"])
    op.create_foreign_key("enrollments_section_id_fkey", "enrollments", "course_sections", ["section_id"], ["id"])
