"""Bytes between processes of two versions, as they meet during a rolling upgrade."""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

import msgspec
import pytest

from allocator.model.commands import ChangeCapacity, CloseSection, Drop, Enroll, OpenSection, RecheckHead
from allocator.model.delivery import MOVED, OVERLOADED, UNAVAILABLE, UNKNOWN, Envelope, Reply
from allocator.model.outcomes import Code, Outcome, Reason, ReasonCode, refused
from cluster.gateway.wire import WireCodec, WireError

codec = WireCodec()
pack = msgspec.msgpack.encode


# The types of commit ecf8900, of which its codec sent every field, in this order.


class OldEnroll(NamedTuple):
    section_id: int
    student_id: int
    join_waitlist: bool
    key: str
    keep_answer: bool
    maybe_tried: bool


class OldDrop(NamedTuple):
    section_id: int
    student_id: int
    enrollment_id: int
    key: str
    keep_answer: bool
    maybe_tried: bool


class OldChangeCapacity(NamedTuple):
    section_id: int
    capacity: int
    by_user_id: int


class OldCloseSection(NamedTuple):
    section_id: int
    by_user_id: int


class OldOpenSection(NamedTuple):
    section_id: int
    by_user_id: int


class OldRecheckHead(NamedTuple):
    section_id: int
    student_id: int


OldCode = enum.StrEnum(
    "OldCode",
    "ENROLLED WAITLISTED DROPPED CHANGED REFUSED NOT_FOUND KEY_REUSED MOVED OVERLOADED UNAVAILABLE UNKNOWN",
)


class OldReason(NamedTuple):
    code: ReasonCode
    detail: str
    subject: int | None = None


class OldOutcome(NamedTuple):
    code: OldCode
    section_id: int
    enrollment_id: int | None = None
    place: int | None = None
    position: int | None = None
    reasons: tuple[OldReason, ...] = ()
    owner: str | None = None
    recheck: tuple[int, ...] = ()
    replayed: bool = False


OLD_KINDS: dict[int, Any] = {
    1: OldEnroll,
    2: OldDrop,
    3: OldChangeCapacity,
    4: OldCloseSection,
    5: OldOpenSection,
    6: OldRecheckHead,
}
COMMANDS: list[tuple[Any, Envelope]] = [
    (OldEnroll(7, 1, True, "a-key", True, False), Envelope(Enroll(7, 1, True), "a-key", True)),
    (OldEnroll(7, 1, False, "ü", False, True), Envelope(Enroll(7, 1, False), "ü", False, True)),
    (OldDrop(7, 1, 2**62, "a-key", True, True), Envelope(Drop(7, 1, 2**62), "a-key", True, True)),
    (OldChangeCapacity(7, 30, 3), Envelope(ChangeCapacity(7, 30, 3))),
    (OldCloseSection(7, 3), Envelope(CloseSection(7, 3))),
    (OldOpenSection(7, 3), Envelope(OpenSection(7, 3))),
    (OldRecheckHead(7, 1), Envelope(RecheckHead(7, 1))),
]
FULL, CLASH = (
    Reason(ReasonCode.SECTION_FULL, "No seat is free."),
    Reason(ReasonCode.SCHEDULE_CONFLICT, "It overlaps.", 9),
)
OUTCOMES: list[tuple[OldOutcome, Reply]] = [
    (OldOutcome(OldCode.ENROLLED, 7, 100), Reply(Outcome(Code.ENROLLED, 7, 100))),
    (OldOutcome(OldCode.WAITLISTED, 7, 100, 12, 3), Reply(Outcome(Code.WAITLISTED, 7, 100, 12, 3))),
    (
        OldOutcome(OldCode.DROPPED, 7, 100, recheck=(8, 9), replayed=True),
        Reply(Outcome(Code.DROPPED, 7, 100), None, None, True, (8, 9)),
    ),
    (OldOutcome(OldCode.CHANGED, 7), Reply(Outcome(Code.CHANGED, 7))),
    (
        OldOutcome(OldCode.REFUSED, 7, reasons=(OldReason(*FULL), OldReason(*CLASH))),
        Reply(refused(7, FULL, CLASH)),
    ),
    (OldOutcome(OldCode.NOT_FOUND, 7, 100), Reply(Outcome(Code.NOT_FOUND, 7, 100))),
    (OldOutcome(OldCode.KEY_REUSED, 7), Reply(Outcome(Code.KEY_REUSED, 7))),
    (OldOutcome(OldCode.MOVED, 7, owner="sections-1"), MOVED._replace(owner="sections-1")),
    (OldOutcome(OldCode.MOVED, 7), MOVED),
    (OldOutcome(OldCode.OVERLOADED, 7), OVERLOADED),
    (OldOutcome(OldCode.UNAVAILABLE, 7), UNAVAILABLE),
    (OldOutcome(OldCode.UNKNOWN, 7), UNKNOWN),
]


def old_batch(commands: list[Any]) -> bytes:
    """As the codec of that version packed them, each with four seconds."""
    tags = {kind: tag for tag, kind in OLD_KINDS.items()}
    return pack([(tags[type(command)], 4.0, command) for command in commands])


def decoded_by_old(packed: bytes) -> list[Any]:
    """Commands as the codec of that version read them."""
    frame = msgspec.msgpack.decode(packed, type=list[tuple[int, float, msgspec.Raw]])
    return [msgspec.msgpack.decode(fields, type=OLD_KINDS[tag]) for tag, _, fields in frame]


def test_every_command_of_the_version_before_is_read() -> None:
    decoded = codec.decode_commands(old_batch([old for old, _ in COMMANDS]))
    assert decoded == [(new, 4.0) for _, new in COMMANDS]


def test_every_command_is_read_by_the_version_before() -> None:
    packed = codec.encode_commands([(new, 4.0) for _, new in COMMANDS])
    assert decoded_by_old(packed) == [old for old, _ in COMMANDS]
    assert packed == old_batch([old for old, _ in COMMANDS])


def test_every_outcome_of_the_version_before_is_read() -> None:
    assert codec.decode_replies(pack([old for old, _ in OUTCOMES])) == [new for _, new in OUTCOMES]


def test_every_reply_is_read_by_the_version_before() -> None:
    packed = codec.encode_replies([new for _, new in OUTCOMES])
    decoded = msgspec.msgpack.decode(packed, type=list[OldOutcome])
    # What is undecided names no section any more; that version never looked which.
    expected = [old._replace(section_id=0) if new.outcome is None else old for old, new in OUTCOMES]
    assert decoded == expected


def test_a_field_that_a_later_version_puts_at_the_end_is_passed_over() -> None:
    (enrolling, envelope), (outcome, reply) = COMMANDS[0], OUTCOMES[0]
    assert codec.decode_commands(pack([(1, 4.0, (*enrolling, "later"))])) == [(envelope, 4.0)]
    assert codec.decode_replies(pack([(*outcome, "later")])) == [reply]


def test_an_unknown_tag_is_named() -> None:
    with pytest.raises(WireError, match="unknown command 99"):
        codec.decode_commands(pack([(1, 4.0, COMMANDS[0][0]), (99, 4.0, (1, 2))]))


def test_an_unknown_code_is_named() -> None:
    with pytest.raises(WireError, match="unknown code 'levitated'"):
        codec.decode_replies(pack([OUTCOMES[0][0], ("levitated", 7)]))


def test_an_unknown_reason_is_named() -> None:
    with pytest.raises(WireError, match="astrology"):
        codec.decode_replies(pack([("refused", 7, None, None, None, [("astrology", "")])]))
