"""Outcomes as they are stored with their requests: JSON objects with named fields and a version.

Rows of before are JSON arrays of the fields in their order: code, section, enrolment, place, position, reasons. They
are read for ever, since a stored answer is never rewritten.
"""

from __future__ import annotations

import msgspec

from allocator.model.outcomes import Code, Outcome, Reason, ReasonCode

VERSION = 1


class _StoredReason(msgspec.Struct, omit_defaults=True, gc=False):
    code: ReasonCode
    detail: str
    subject: int | None = None


class _StoredOutcome(msgspec.Struct, omit_defaults=True, gc=False):
    code: Code
    section_id: int
    enrollment_id: int | None = None
    place: int | None = None
    position: int | None = None
    reasons: tuple[_StoredReason, ...] = ()
    v: int = 0
    """Of the form. Written always, for it is never 0."""


class _Version(msgspec.Struct):
    v: int


class _ArrayReason(msgspec.Struct, array_like=True):
    code: ReasonCode
    detail: str
    subject: int | None = None


class _ArrayOutcome(msgspec.Struct, array_like=True):
    """The form of before. What stood after the reasons was about the delivery and is passed over."""

    code: Code
    section_id: int
    enrollment_id: int | None = None
    place: int | None = None
    position: int | None = None
    reasons: tuple[_ArrayReason, ...] = ()


class UnreadableOutcomeError(ValueError):
    """A stored outcome that this version of the code cannot read."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_StoredOutcome).decode
_decode_version = msgspec.json.Decoder(_Version).decode
_decode_array = msgspec.json.Decoder(_ArrayOutcome).decode


def encode_outcome(outcome: Outcome) -> str:
    """An outcome as it is stored."""
    code, section_id, enrollment_id, place, position, reasons = outcome
    stored_reasons = tuple([_StoredReason(*reason) for reason in reasons]) if reasons else ()
    return _encode(_StoredOutcome(code, section_id, enrollment_id, place, position, stored_reasons, VERSION)).decode()


def decode_outcome(text: str) -> Outcome:
    """The outcome of a stored answer.

    Raises:
        UnreadableOutcomeError: if the text is no outcome, or one of a later version.
    """
    try:
        if text.startswith("["):
            return _outcome(_decode_array(text))
        version = _decode_version(text).v  # by itself: a later one may have anything in the other fields
        if version == VERSION:
            return _outcome(_decode(text))
    except msgspec.DecodeError as error:
        raise UnreadableOutcomeError(f"no stored outcome: {error}") from error
    raise UnreadableOutcomeError(f"a stored outcome of version {version}: this code reads up to {VERSION}")


def _outcome(stored: _StoredOutcome | _ArrayOutcome) -> Outcome:
    reasons = tuple(Reason(one.code, one.detail, one.subject) for one in stored.reasons)
    return Outcome(stored.code, stored.section_id, stored.enrollment_id, stored.place, stored.position, reasons)
