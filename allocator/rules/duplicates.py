"""Nobody takes a part of a course twice."""

from __future__ import annotations

from collections.abc import Sequence

from allocator.model.outcomes import Reason, ReasonCode
from allocator.rules.case import Case


def same_waitlist(case: Case) -> Sequence[Reason]:
    """Nobody is on one section's waitlist twice."""
    section_id = case.facts.section_id
    if section_id in case.record.waitlisted:
        return [Reason(ReasonCode.ALREADY_WAITLISTED, "You are on this section's waitlist.", section_id)]
    return ()


def same_component(case: Case) -> Sequence[Reason]:
    """At most one section of each component of a course: a lecture and its lab are different components."""
    facts = case.facts
    for other in case.held:
        if other.section_id == facts.section_id:
            return [Reason(ReasonCode.ALREADY_ENROLLED, "You are enrolled in this section.", other.section_id)]
        if other.course_id == facts.course_id and other.component == facts.component:
            detail = "You are enrolled in another section of the same component of this course."
            return [Reason(ReasonCode.ALREADY_ENROLLED, detail, other.section_id)]
    return ()
