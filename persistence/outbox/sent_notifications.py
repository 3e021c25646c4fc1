"""Which notifications were sent, so that one that is delivered twice is mailed once.

A worker claims ids before it sends, in a transaction that stays open until the mails are out. Another worker with the
same id waits for that transaction; if the first worker dies, its claim is rolled back and the next delivery is mailed.
"""

from __future__ import annotations

from collections.abc import Iterable

import asyncpg

KEEP_DAYS = 15
"""A day longer than SQS keeps a message."""

# In order, so that two workers with the same ids cannot deadlock.
CLAIM = """
INSERT INTO notifications_sent (event_id)
SELECT DISTINCT event_id FROM unnest($1::text[]) AS wanted(event_id) ORDER BY event_id
ON CONFLICT DO NOTHING RETURNING event_id"""

RELEASE = "DELETE FROM notifications_sent WHERE event_id = ANY($1::text[])"

DELETE_OLD = "DELETE FROM notifications_sent WHERE sent_at < now() - make_interval(days => $1)"


async def claim(connection: asyncpg.Connection, event_ids: Iterable[str]) -> set[str]:
    """Mark notifications as sent. Call it in a transaction.

    Returns:
        the ids that were not marked before.
    """
    return {row[0] for row in await connection.fetch(CLAIM, list(event_ids))}


async def release(connection: asyncpg.Connection, event_ids: Iterable[str]) -> None:
    """Take back a claim: these were not sent after all."""
    await connection.execute(RELEASE, list(event_ids))


async def delete_old(connection: asyncpg.Connection) -> None:
    """Delete ids that are too old to be delivered again."""
    await connection.execute(DELETE_OLD, KEEP_DAYS)
