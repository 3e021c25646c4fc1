"""Courses that must be completed before, or taken with, another."""

from __future__ import annotations

from collections.abc import Sequence

from allocator.model.outcomes import Reason, ReasonCode
from allocator.rules.case import Case


def missing_prerequisites(case: Case) -> Sequence[Reason]:
    """Each required course must be completed, with the grade asked for."""
    reasons = []
    for required in case.facts.prerequisites:
        grade = case.record.completed.get(required.course_id)
        if grade is None:
            detail = "A required course is not completed."
        elif required.min_grade is not None and grade < required.min_grade:
            detail = f"A required course was passed with {grade / 10:.1f}, but {required.min_grade / 10:.1f} is needed."
        else:
            continue
        reasons.append(Reason(ReasonCode.PREREQUISITE_MISSING, detail, required.course_id))
    return reasons


def missing_corequisites(case: Case) -> Sequence[Reason]:
    """Each accompanying course must be completed or taken in the same semester."""
    if not case.facts.corequisites:
        return ()
    taken = {other.course_id for other in case.held}
    return [
        Reason(ReasonCode.COREQUISITE_MISSING, "A course that must be taken alongside is not.", course_id)
        for course_id in case.facts.corequisites
        if course_id not in taken and course_id not in case.record.completed
    ]
