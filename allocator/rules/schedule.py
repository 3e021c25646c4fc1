"""The student's week: nobody is in two places at once."""

from __future__ import annotations

from collections.abc import Sequence

from allocator.model.catalogue import meetings_overlap
from allocator.model.outcomes import Reason, ReasonCode
from allocator.rules.case import Case


def overlapping_meetings(case: Case) -> Sequence[Reason]:
    """No meeting may overlap a meeting of a section that the student holds."""
    facts = case.facts
    return [
        Reason(
            ReasonCode.SCHEDULE_CONFLICT,
            "It meets at the same time as a section that you hold.",
            other.section_id,
        )
        for other in case.held
        if other.section_id != facts.section_id and meetings_overlap(facts.meetings, other.meetings)
    ]
