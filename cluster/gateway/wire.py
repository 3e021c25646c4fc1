"""Commands and replies as bytes between gateway and section actor: msgpack, one object a batch.

What travels has a form of its own, apart from the domain's types: during a rolling upgrade processes of two versions
talk to each other. A form may get further fields at its end; a tag is never used again.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any, NamedTuple, assert_never

import msgspec

from allocator.model.commands import ChangeCapacity, CloseSection, Drop, Enroll, OpenSection, RecheckHead
from allocator.model.delivery import Envelope, Reply, Undecided
from allocator.model.outcomes import Code, Outcome, Reason


class WireError(ValueError):
    """Bytes that are no batch."""


class _Enroll(NamedTuple):
    section_id: int
    student_id: int
    join_waitlist: bool
    key: str
    keep_answer: bool
    maybe_tried: bool


class _Drop(NamedTuple):
    section_id: int
    student_id: int
    enrollment_id: int
    key: str
    keep_answer: bool
    maybe_tried: bool


class _Reply(NamedTuple):
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


_ENROLL, _DROP, _CHANGE_CAPACITY, _CLOSE_SECTION, _OPEN_SECTION, _RECHECK_HEAD = range(1, 7)
_FORMS: dict[int, Any] = {
    _ENROLL: _Enroll,
    _DROP: _Drop,
    _CHANGE_CAPACITY: ChangeCapacity,
    _CLOSE_SECTION: CloseSection,
    _OPEN_SECTION: OpenSection,
    _RECHECK_HEAD: RecheckHead,
}
_CODES = {code.value: code for code in Code}
_UNDECIDED = {why.value: why for why in Undecided}
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_encoder = msgspec.msgpack.Encoder()
_decoders = {tag: msgspec.msgpack.Decoder(form) for tag, form in _FORMS.items()}
_frame_decoder = msgspec.msgpack.Decoder(list[tuple[int, float, msgspec.Raw]])
_replies_decoder = msgspec.msgpack.Decoder(list[_Reply])


class WireCodec:
    """Implements ``allocator.actor.Codec`` and its other side."""

    def encode_commands(self, envelopes: Sequence[tuple[Envelope, float]]) -> bytes:
        """Commands in their envelopes with their budgets in seconds: relative, since clocks differ between nodes."""
        return _encoder.encode([_packed(envelope, budget_s) for envelope, budget_s in envelopes])

    def decode_commands(self, packed: bytes) -> list[tuple[Envelope, float]]:
        """See ``allocator.actor.Codec``.

        Raises:
            WireError: if the bytes are no batch of commands.
        """
        try:
            return [
                (_unpacked(_decoders[tag].decode(raw)), _require_finite(budget_s))
                for tag, budget_s, raw in _frame_decoder.decode(packed)
            ]
        except KeyError as error:
            raise WireError(f"unknown command {error}") from error
        except UNREADABLE as error:
            raise WireError(str(error)) from error

    def encode_replies(self, replies: Sequence[Reply]) -> bytes:
        """See ``allocator.actor.Codec``."""
        return _encoder.encode([_packed_reply(reply) for reply in replies])

    def decode_replies(self, packed: bytes) -> list[Reply]:
        """The replies, in the order of the commands.

        Raises:
            WireError: if the bytes are no batch of replies.
        """
        try:
            return [_unpacked_reply(reply) for reply in _replies_decoder.decode(packed)]
        except UNREADABLE as error:
            raise WireError(str(error)) from error


def _packed(envelope: Envelope, budget_s: float) -> tuple[int, float, tuple[object, ...]]:
    command = envelope.command
    match command:
        case Enroll():
            return _ENROLL, budget_s, (*command, *envelope[1:])
        case Drop():
            return _DROP, budget_s, (*command, *envelope[1:])
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


def _unpacked(form: Any) -> Envelope:
    if isinstance(form, _Enroll):
        return Envelope(Enroll(*form[:3]), *form[3:])
    if isinstance(form, _Drop):
        return Envelope(Drop(*form[:3]), *form[3:])
    return Envelope(form)


def _packed_reply(reply: Reply) -> tuple[object, ...]:
    outcome, undecided, owner, replayed, recheck = reply
    if outcome is not None:
        return (*outcome, owner, recheck, replayed)
    return (undecided, 0, None, None, None, (), owner, recheck, replayed)


def _unpacked_reply(form: _Reply) -> Reply:
    """
    Raises:
        WireError: if the code is not known.
    """
    code = _CODES.get(form.code)
    if code is not None:
        return Reply(Outcome(code, *form[1:6]), None, form.owner, form.replayed, form.recheck)
    undecided = _UNDECIDED.get(form.code)
    if undecided is None:
        raise WireError(f"unknown code {form.code!r}")
    return Reply(None, undecided, form.owner, form.replayed, form.recheck)


def _require_finite(budget_s: float) -> float:
    """A command whose deadline is no moment would wait for ever."""
    if not isfinite(budget_s):
        raise WireError(f"a budget of {budget_s} s")
    return budget_s
