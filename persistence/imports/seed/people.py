"""Students of a seeded campus: their accounts, completed courses and holds.

A student is determined by the index alone, the completed courses and holds by the seed as well.
"""

from __future__ import annotations

import random
from bisect import bisect
from datetime import datetime, timedelta
from itertools import accumulate

from persistence.imports.rows import Bundle, PersonRow, RecordRow, StudentRow
from persistence.imports.seed.courses import CourseFacts, course_facts, course_requisites
from persistence.imports.seed.figures import DEMAND_EXPONENT
from persistence.imports.seed.words import HOLDS, SUBJECTS

CREDIT_LIMIT = 18
HOLD_SHARE = 0.015
GRADES = {17: 3, 20: 8, 23: 10, 27: 14, 30: 22, 33: 16, 37: 14, 40: 13}
"""Tenths of a grade point, with weights."""

MAJOR_COURSES_PER_YEAR = 6
ELECTIVES_PER_YEAR = 3


class Completed:
    """Draws the courses that a student has completed, with all their prerequisites and corequisites."""

    def __init__(self, course_count: int) -> None:
        self._courses = [course_facts(index) for index in range(course_count)]
        self._by_code = {course.code: course for course in self._courses}
        self._by_department: dict[str, list[CourseFacts]] = {subject.code: [] for subject in SUBJECTS}
        for course in self._courses:
            self._by_department[course.department].append(course)
        # Every course may be taken as an elective, with the skew of demand.
        self._weights = list(accumulate((rank + 1) ** -DEMAND_EXPONENT for rank in range(course_count)))

    def draw(self, rng: random.Random, department: str, year: int) -> dict[str, int]:
        """Grades in tenths of a point by course code; empty in the first year."""
        grades: dict[str, int] = {}
        in_reach = [course for course in self._by_department[department] if course.level < year]
        for course in rng.sample(in_reach, min(len(in_reach), MAJOR_COURSES_PER_YEAR * (year - 1))):
            self._complete(rng, course, grades)
        for _ in range(ELECTIVES_PER_YEAR * (year - 1)):
            course = self._courses[bisect(self._weights, rng.random() * self._weights[-1])]
            if course.level < year:
                self._complete(rng, course, grades)
        return grades

    def _complete(self, rng: random.Random, course: CourseFacts, grades: dict[str, int]) -> None:
        if course.code in grades:
            return
        grades[course.code] = rng.choices(list(GRADES), list(GRADES.values()))[0]
        for requisite in course_requisites(course.position):
            self._complete(rng, self._by_code[requisite.required], grades)
            grades[requisite.required] = max(grades[requisite.required], requisite.min_grade or 0)


def add_students(bundle: Bundle, student_count: int, seed: int) -> None:
    """Add students with their registration records. The windows of seniors open first; all are open by now."""
    completed = Completed(len(bundle.courses))
    opens_at = bundle.semester.opens_at
    for index in range(1, student_count + 1):
        identity = random.Random(f"student/{index}")  # noqa: S311
        department, year = identity.choice(SUBJECTS).code, identity.randint(1, 4)
        number = f"S{index:06d}"
        person = PersonRow(f"student-{index:05d}@campus.seatline.example", f"Student {index:05d}", "student")
        bundle.students.append(StudentRow(number, person, f"{department}-BS", year))
        rng = random.Random(f"{seed}/student/{index}")  # noqa: S311
        grades = completed.draw(rng, department, year)
        holds = (rng.choice(HOLDS),) if rng.random() < HOLD_SHARE else ()
        bundle.records.append(RecordRow(number, CREDIT_LIMIT, grades, holds, _appointment(opens_at, year)))


def add_demo_student(bundle: Bundle, person: PersonRow) -> str:
    """Add the demo student, who can log in: a junior of computer science, without holds.

    Returns:
        the student number.
    """
    number, year = "S-DEMO", 3
    grades = Completed(len(bundle.courses)).draw(random.Random("demo student"), "CSC", year)  # noqa: S311
    bundle.students.append(StudentRow(number, person, "CSC-BS", year))
    bundle.records.append(RecordRow(number, CREDIT_LIMIT, grades, (), _appointment(bundle.semester.opens_at, year)))
    return number


def _appointment(opens_at: datetime | None, year: int) -> datetime | None:
    """The day on which a year may begin to register: seniors on the first, then one year a day."""
    return opens_at + timedelta(days=4 - year) if opens_at is not None else None
