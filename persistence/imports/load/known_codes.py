"""The codes of a bundle against those in the database: one that a reader takes for another is refused, not made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from allocator.model.typed_text import tidy
from persistence.imports.report import Counts, ImportFileError, ImportReport, Refusal
from persistence.imports.rows import Bundle, SectionRow, SemesterRow
from persistence.imports.spelling import difference, fold, fold_number

SEMESTERS_NAMED = 20

DEPARTMENTS, COURSES, ROOMS = (f"SELECT code FROM {table}" for table in ("departments", "courses", "classrooms"))  # noqa: S608

SECTIONS = """
SELECT s.source_key, c.code AS course, s.code FROM course_sections s
JOIN courses c ON c.id = s.course_id
JOIN semesters t ON t.id = s.semester_id
WHERE t.code = $1 AND s.source_key IS NOT NULL
ORDER BY s.id
"""


async def check_semester(connection: Any, wanted: SemesterRow, *, may_be_new: bool) -> None:
    """Refuse a semester that is not there, unless it was asked for; and one that is spelled like another in any case.

    Raises:
        ImportFileError: naming the semesters that are there.
    """
    known = [row["code"] for row in await connection.fetch("SELECT code FROM semesters ORDER BY id DESC")]
    if wanted.code in known:
        return
    alike = next((code for code in known if fold(code) == fold(wanted.code)), None)
    if alike is not None:
        raise ImportFileError(f"the semester {wanted.code!r} differs {difference(wanted.code, alike)} from {alike!r}")
    if not may_be_new:
        named = ", ".join(map(repr, known[:SEMESTERS_NAMED])) or "none yet"
        raise ImportFileError(
            f"there is no semester {wanted.code!r}, and nothing was imported. There are: {named}. If a new one is "
            "meant, add --new-semester"
        )


async def refuse_other_spellings(connection: Any, bundle: Bundle, report: ImportReport) -> Bundle:
    """Refuse sections whose department, course, code or id is in the database in another spelling.

    Rooms get the spelling of the database: no rule depends on them.

    Returns:
        the bundle without those sections, and without departments and courses that are spelled in another way.
    """
    await _respell(connection, bundle, report)
    departments = await _spelled(connection, DEPARTMENTS, (one.code for one in bundle.departments))
    courses = await _spelled(connection, COURSES, (one.code for one in bundle.courses))
    department_of = {one.code: one.department for one in bundle.courses}
    bundle = _rooms_as_known(bundle, await _spelled(connection, ROOMS, (one.code for one in bundle.rooms)))
    present = await connection.fetch(SECTIONS, bundle.semester.code)
    in_file = {section.source_key for section in bundle.sections}
    keys = _others((row["source_key"] for row in present), in_file, fold_number)
    codes: dict[str, dict[str, str]] = {}
    for row in present:
        if row["source_key"] not in in_file:
            codes.setdefault(row["course"], {}).setdefault(fold_number(row["code"]), row["code"])

    def reason_against(section: SectionRow) -> str | None:
        code = codes.get(section.course, {}).get(fold_number(section.code), section.code)
        for what, mine, theirs in (
            ("department", department_of.get(section.course, ""), departments),
            ("course", section.course, courses),
            ("section id", section.source_key, keys),
            ("section code", section.code, {section.code: code}),
        ):
            other = theirs.get(mine, mine)
            if other != mine:
                return f"{what} {mine!r} differs {difference(mine, other)} from {other!r}, which is in the database"
        return None

    left: list[SectionRow] = []
    for section in bundle.sections:
        reason = reason_against(section)
        if reason is None:
            left.append(section)
        else:
            report.refusals.append(Refusal(section.line, reason))
    if len(left) == len(bundle.sections):
        return bundle
    return replace(
        bundle,
        departments=[one for one in bundle.departments if one.code not in departments],
        courses=[one for one in bundle.courses if one.code not in courses and one.department not in departments],
        sections=left,
        refused_keys=bundle.refused_keys | (in_file - {section.source_key for section in left}),
    )


async def _respell(connection: Any, bundle: Bundle, report: ImportReport) -> None:
    """Clean codes that an older version imported as they were written: with spaces, or composed in another way."""
    semester_id = await connection.fetchval("SELECT id FROM semesters WHERE code = $1", bundle.semester.code)
    total = 0
    for table, column, condition, codes in (
        ("departments", "code", "true", {one.code for one in bundle.departments}),
        ("courses", "code", "true", {one.code for one in bundle.courses}),
        ("course_sections", "source_key", f"semester_id = {semester_id or 0}", {s.source_key for s in bundle.sections}),
    ):
        rows = await connection.fetch(
            f"SELECT id, {column} AS code FROM {table} WHERE {column} IS NOT NULL AND {condition} ORDER BY id DESC"  # noqa: S608
        )
        wanted = codes - {row["code"] for row in rows}
        # Of several that are the same when cleaned the oldest gets the code; the others keep their spelling.
        ids = {cleaned: row["id"] for row in rows if (cleaned := tidy(row["code"])) in wanted}
        update = f"UPDATE {table} SET {column} = $2 WHERE id = $1"  # noqa: S608
        await connection.executemany(update, [(row_id, code) for code, row_id in ids.items()])
        total += len(ids)
    if total:
        report.counts["respelled"] = Counts(changed=total)


def _rooms_as_known(bundle: Bundle, known: Mapping[str, str]) -> Bundle:
    if not known:
        return bundle
    sections = [
        section._replace(meetings=tuple(m._replace(room=known.get(m.room or "", m.room)) for m in section.meetings))
        for section in bundle.sections
    ]
    return replace(bundle, sections=sections, rooms=[one for one in bundle.rooms if one.code not in known])


async def _spelled(connection: Any, query: str, codes: Iterable[str]) -> Mapping[str, str]:
    """Those of ``codes`` that are not in a table but for another spelling, and that spelling."""
    return _others((row["code"] for row in await connection.fetch(query)), set(codes), fold)


def _others(known: Iterable[str], codes: set[str], key: Callable[[str], str]) -> Mapping[str, str]:
    present = set(known)
    by_key = {key(code): code for code in present - codes}
    return {code: by_key[key(code)] for code in codes - present if key(code) in by_key}
