"""Commands and replies as bytes between gateway and section actor: msgpack, one object a batch.

What travels has a form of its own, apart from the domain's types: during a rolling upgrade processes of two versions
talk to each other. A form may get further fields at its end, over which an older process passes; a command that it must
not take for the old one gets a new tag. A tag is never used again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Annotated, assert_never

import msgspec

from allocator.model.commands import ChangeCapacity, CloseSection, Command, Drop, Enroll, OpenSection, RecheckHead
from allocator.model.delivery import Envelope, Reply, Undecided
from allocator.model.outcomes import Code, Outcome, Reason


class WireError(ValueError):
    """Bytes that are no batch."""


class _Form(msgspec.Struct, array_like=True, gc=False):
    """What travels, as an array of its fields."""


class _Enroll(_Form):
    section_id: int
    student_id: int
    join_waitlist: bool
    key: str
    keep_answer: bool
    maybe_tried: bool


class _Drop(_Form):
    section_id: int
    student_id: int
    enrollment_id: int
    key: str
    keep_answer: bool
    maybe_tried: bool


class _Reply(_Form):
    """``code`` is an outcome's, or says why there is none; ``section_id`` is 0 then."""

    code: str
    section_id: int
    enrollment_id: int | None = None
    place: int | None = None
    position: int | None = None
    reasons: tuple[Reason, ...] = ()
    owner: str | None = None
    recheck: tuple[int, ...] = ()
    replayed: bool = False


_Budget = Annotated[float, msgspec.Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
"""Seconds. Finite: a command whose deadline is no moment would wait for ever."""

_ENROLL, _DROP, _CHANGE_CAPACITY, _CLOSE_SECTION, _OPEN_SECTION, _RECHECK_HEAD = range(1, 7)
_CODES = {code.value: code for code in Code}
_UNDECIDED = {why.value: why for why in Undecided}
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_encode = msgspec.msgpack.Encoder().encode
_decode_frame = msgspec.msgpack.Decoder(list[tuple[int, _Budget, msgspec.Raw]]).decode
_decode_enroll = msgspec.msgpack.Decoder(_Enroll).decode
_decode_drop = msgspec.msgpack.Decoder(_Drop).decode
_decode_other: dict[int, Callable[[msgspec.Raw], Command]] = {
    _CHANGE_CAPACITY: msgspec.msgpack.Decoder(ChangeCapacity).decode,
    _CLOSE_SECTION: msgspec.msgpack.Decoder(CloseSection).decode,
    _OPEN_SECTION: msgspec.msgpack.Decoder(OpenSection).decode,
    _RECHECK_HEAD: msgspec.msgpack.Decoder(RecheckHead).decode,
}
"""Of the commands that travel as they are."""
_decode_replies = msgspec.msgpack.Decoder(list[_Reply]).decode

_new = tuple.__new__
"""Makes a ``NamedTuple`` of all its fields in half the time of a call. Every request goes through here."""


class WireCodec:
    """Implements ``allocator.actor.Codec`` and its other side."""

    def encode_commands(self, envelopes: Sequence[tuple[Envelope, float]]) -> bytes:
        """Commands in their envelopes with their budgets in seconds: relative, since clocks differ between nodes."""
        return _encode([_packed(envelope, budget_s) for envelope, budget_s in envelopes])

    def decode_commands(self, packed: bytes) -> list[tuple[Envelope, float]]:
        """See ``allocator.actor.Codec``.

        Raises:
            WireError: if the bytes are no batch of commands.
        """
        try:
            return [(_unpacked(tag, fields), budget_s) for tag, budget_s, fields in _decode_frame(packed)]
        except UNREADABLE as error:
            raise WireError(str(error)) from error

    def encode_replies(self, replies: Sequence[Reply]) -> bytes:
        """See ``allocator.actor.Codec``."""
        return _encode(
            [
                (outcome or (undecided, 0, None, None, None, ())) + (owner, recheck, replayed)
                for outcome, undecided, owner, replayed, recheck in replies
            ]
        )

    def decode_replies(self, packed: bytes) -> list[Reply]:
        """The replies, in the order of the commands.

        Raises:
            WireError: if the bytes are no batch of replies.
        """
        try:
            return [_unpacked_reply(form) for form in _decode_replies(packed)]
        except UNREADABLE as error:
            raise WireError(str(error)) from error


def _packed(envelope: Envelope, budget_s: float) -> tuple[int, float, tuple[object, ...]]:
    command = envelope.command
    match command:
        case Enroll():
            return _ENROLL, budget_s, command + envelope[1:]
        case Drop():
            return _DROP, budget_s, command + envelope[1:]
        case ChangeCapacity():
            return _CHANGE_CAPACITY, budget_s, command
        case CloseSection():
            return _CLOSE_SECTION, budget_s, command
        case OpenSection():
            return _OPEN_SECTION, budget_s, command
        case RecheckHead():
            return _RECHECK_HEAD, budget_s, command
        case _:
            assert_never(command)


def _unpacked(tag: int, fields: msgspec.Raw) -> Envelope:
    """A command as it came.

    Raises:
        WireError: if the tag is not known.
    """
    if tag == _ENROLL:
        enroll = _decode_enroll(fields)
        command = _new(Enroll, (enroll.section_id, enroll.student_id, enroll.join_waitlist))
        return _new(Envelope, (command, enroll.key, enroll.keep_answer, enroll.maybe_tried))
    if tag == _DROP:
        drop = _decode_drop(fields)
        return Envelope(
            Drop(drop.section_id, drop.student_id, drop.enrollment_id), drop.key, drop.keep_answer, drop.maybe_tried
        )
    decode = _decode_other.get(tag)
    if decode is None:
        raise WireError(f"unknown command {tag}")
    return Envelope(decode(fields))


def _unpacked_reply(form: _Reply) -> Reply:
    """A reply as it came.

    Raises:
        WireError: if the code is not known.
    """
    code = _CODES.get(form.code)
    if code is not None:
        fields = (code, form.section_id, form.enrollment_id, form.place, form.position, form.reasons)
        return _new(Reply, (_new(Outcome, fields), None, form.owner, form.replayed, form.recheck))
    undecided = _UNDECIDED.get(form.code)
    if undecided is None:
        raise WireError(f"unknown code {form.code!r}")
    return Reply(None, undecided, form.owner, form.replayed, form.recheck)
