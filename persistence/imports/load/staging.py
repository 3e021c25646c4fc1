"""Temporary tables for the rows of an import, and statements that count what they insert and update."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from persistence.imports.report import Counts


async def stage(connection: Any, table: str, columns: str, rows: Iterable[Sequence[object]]) -> int:
    """Create temporary table ``table`` with ``columns`` (SQL) for this transaction and copy ``rows`` into it.

    Returns:
        the number of rows.
    """
    records = list(rows)
    await connection.execute(f"CREATE TEMPORARY TABLE {table} ({columns}) ON COMMIT DROP")
    if records:
        await connection.copy_records_to_table(table, records=records)
        await connection.execute(f"ANALYZE {table}")
    return len(records)


async def upsert(connection: Any, total: int, statement: str, *arguments: object) -> Counts:
    """Run an ``INSERT ... ON CONFLICT DO UPDATE ... WHERE it differs`` that ends in ``RETURNING xmax = 0``.

    A row that was just inserted has no xmax; one that was updated has one.
    """
    if total == 0:
        return Counts()
    made = [row[0] for row in await connection.fetch(statement, *arguments)]
    return Counts(sum(made), len(made) - sum(made), total - len(made))
