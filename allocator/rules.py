"""Who may have a seat. Pure functions that return every reason against it, not only the first."""

from __future__ import annotations

from collections.abc import Callable

from allocator.model.catalogue import SectionFacts, meetings_overlap
from allocator.model.outcomes import Reason, ReasonCode
from allocator.model.record import RegistrationRecord

FactsOf = Callable[[int], SectionFacts]


def reasons_against_enrolling(
    facts: SectionFacts, record: RegistrationRecord, facts_of: FactsOf, now: float
) -> list[Reason]:
    """Every reason, beside seats, why the student may not enrol now; empty if they may.

    Args:
        facts: the section asked for.
        record: the student's record in the section's semester, locked.
        facts_of: facts of any section that the student is enrolled in.
        now: Unix seconds.
    """
    reasons = reasons_of_window(facts, record, now)
    if facts.section_id in record.waitlisted:
        reasons.append(Reason(ReasonCode.ALREADY_WAITLISTED, "You are on this section's waitlist.", facts.section_id))
    reasons += reasons_against_holding(facts, record, facts_of)
    return reasons


def reasons_against_holding(facts: SectionFacts, record: RegistrationRecord, facts_of: FactsOf) -> list[Reason]:
    """Every reason why the student may not hold this section beside what they hold, whenever they asked."""
    held = [facts_of(section_id) for section_id in record.enrolled]
    return [
        *reasons_of_duplicate(facts, held),
        *reasons_of_holds(record),
        *reasons_of_prerequisites(facts, record),
        *reasons_of_corequisites(facts, record, held),
        *reasons_of_schedule(facts, held),
        *reasons_of_credits(facts, record),
    ]


def reasons_of_window(facts: SectionFacts, record: RegistrationRecord, now: float) -> list[Reason]:
    """The semester's window and the student's own must both be open."""
    term = facts.term
    opens_at = max(term.opens_at or 0.0, record.opens_at or 0.0)
    ends = [end for end in (term.closes_at, record.closes_at) if end is not None]
    if now < opens_at:
        return [Reason(ReasonCode.REGISTRATION_CLOSED, "Your registration has not opened yet.")]
    if ends and now >= min(ends):
        return [Reason(ReasonCode.REGISTRATION_CLOSED, "Your registration has ended.")]
    return []


def reasons_of_duplicate(facts: SectionFacts, held: list[SectionFacts]) -> list[Reason]:
    """At most one section of each component of a course: a lecture and its lab are different components."""
    for other in held:
        if other.section_id == facts.section_id:
            return [Reason(ReasonCode.ALREADY_ENROLLED, "You are enrolled in this section.", other.section_id)]
        if other.course_id == facts.course_id and other.component == facts.component:
            detail = "You are enrolled in another section of the same component of this course."
            return [Reason(ReasonCode.ALREADY_ENROLLED, detail, other.section_id)]
    return []


def reasons_of_holds(record: RegistrationRecord) -> list[Reason]:
    """Each hold on the student's account is a reason."""
    return [Reason(ReasonCode.HOLD, f"There is a hold on your account: {hold}.") for hold in record.holds]


def reasons_of_prerequisites(facts: SectionFacts, record: RegistrationRecord) -> list[Reason]:
    """Each required course must be completed, with the grade asked for."""
    reasons = []
    for required in facts.prerequisites:
        grade = record.completed.get(required.course_id)
        if grade is None:
            detail = "A required course is not completed."
        elif required.min_grade is not None and grade < required.min_grade:
            detail = f"A required course was passed with {grade / 10:.1f}, but {required.min_grade / 10:.1f} is needed."
        else:
            continue
        reasons.append(Reason(ReasonCode.PREREQUISITE_MISSING, detail, required.course_id))
    return reasons


def reasons_of_corequisites(facts: SectionFacts, record: RegistrationRecord, held: list[SectionFacts]) -> list[Reason]:
    """Each accompanying course must be completed or taken in the same semester."""
    if not facts.corequisites:
        return []
    taken = {other.course_id for other in held}
    return [
        Reason(ReasonCode.COREQUISITE_MISSING, "A course that must be taken alongside is not.", course_id)
        for course_id in facts.corequisites
        if course_id not in taken and course_id not in record.completed
    ]


def reasons_of_schedule(facts: SectionFacts, held: list[SectionFacts]) -> list[Reason]:
    """No meeting may overlap a meeting of a section that the student holds."""
    return [
        Reason(
            ReasonCode.SCHEDULE_CONFLICT,
            "It meets at the same time as a section that you hold.",
            other.section_id,
        )
        for other in held
        if other.section_id != facts.section_id and meetings_overlap(facts.meetings, other.meetings)
    ]


def reasons_of_credits(facts: SectionFacts, record: RegistrationRecord) -> list[Reason]:
    """The credits held and those asked for must stay within the limit."""
    total = record.credits + facts.credits
    if total <= record.credit_limit:
        return []
    return [Reason(ReasonCode.CREDIT_LIMIT, f"It would make {total} credits; your limit is {record.credit_limit}.")]
