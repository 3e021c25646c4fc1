"""Problem documents, as in RFC 9457."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType

from allocator.model.outcomes import Reason


class ReasonReply(Struct, frozen=True, omit_defaults=True):
    """One reason of a refusal. ``subject`` is the id of the section or course that it is about, if any."""

    code: str
    detail: str
    subject: int | None = None

    @classmethod
    def of(cls, reason: Reason) -> ReasonReply:
        """A reason of the domain, as clients see it."""
        return cls(reason.code.value, reason.detail, reason.subject)


class ProblemReply(Struct, frozen=True):
    """A problem document. Branch on ``code``; a refusal has all its ``reasons``."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str
    reasons: list[ReasonReply] | UnsetType = UNSET
