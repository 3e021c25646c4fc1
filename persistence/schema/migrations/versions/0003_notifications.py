"""Language and time zone of users, and the table of notifications that were sent.

Revision: 0003
Follows: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add both. Users without a language get mails in that of the campus."""
    op.add_column("users", sa.Column("language", sa.Text))
    op.add_column("users", sa.Column("time_zone", sa.Text))
    op.create_check_constraint(op.f("users_language_check"), "users", "language ~ '^[a-z]{2}$'")
    op.create_check_constraint(op.f("users_time_zone_check"), "users", "length(time_zone) BETWEEN 1 AND 64")
    op.create_table(
        "notifications_sent",
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("sent_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("event_id", name="notifications_sent_pkey"),
    )


def downgrade() -> None:
    """Drop both. Notifications that are delivered again will be mailed again."""
    op.drop_table("notifications_sent")
    op.drop_column("users", "time_zone")
    op.drop_column("users", "language")
