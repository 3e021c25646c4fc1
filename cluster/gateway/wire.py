"""Commands and outcomes as bytes between gateway and section actor: msgpack, one object a batch."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import msgspec

from allocator.model.commands import ChangeCapacity, CloseSection, Command, Drop, Enroll, OpenSection, RecheckHead
from allocator.model.outcomes import Outcome


class WireError(ValueError):
    """Bytes that are no batch."""


# Numbers on the wire. Never reuse one: during a rolling upgrade old and new processes talk to each other.
_TAGS: dict[type[Command], int] = {
    Enroll: 1,
    Drop: 2,
    ChangeCapacity: 3,
    CloseSection: 4,
    OpenSection: 5,
    RecheckHead: 6,
}
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_encoder = msgspec.msgpack.Encoder()
_decoders = {tag: msgspec.msgpack.Decoder(kind) for kind, tag in _TAGS.items()}
_frame_decoder = msgspec.msgpack.Decoder(list[tuple[int, float, msgspec.Raw]])
_outcomes_decoder = msgspec.msgpack.Decoder(list[Outcome])


class WireCodec:
    """Implements ``allocator.actor.Codec`` and its other side."""

    def encode_commands(self, commands: Sequence[tuple[Command, float]]) -> bytes:
        """Commands with their budgets in seconds: relative, since clocks differ between nodes."""
        return _encoder.encode([(_TAGS[type(command)], budget_s, command) for command, budget_s in commands])

    def decode_commands(self, packed: bytes) -> list[tuple[Command, float]]:
        """See ``allocator.actor.Codec``.

        Raises:
            WireError: if the bytes are no batch of commands.
        """
        try:
            return [
                (_decoders[tag].decode(raw), _require_finite(budget_s))
                for tag, budget_s, raw in _frame_decoder.decode(packed)
            ]
        except KeyError as error:
            raise WireError(f"unknown command {error}") from error
        except UNREADABLE as error:
            raise WireError(str(error)) from error

    def encode_outcomes(self, outcomes: Sequence[Outcome]) -> bytes:
        """See ``allocator.actor.Codec``."""
        return _encoder.encode(outcomes)

    def decode_outcomes(self, packed: bytes) -> list[Outcome]:
        """The outcomes, in the order of the commands.

        Raises:
            WireError: if the bytes are no batch of outcomes.
        """
        try:
            return _outcomes_decoder.decode(packed)
        except UNREADABLE as error:
            raise WireError(str(error)) from error


def _require_finite(budget_s: float) -> float:
    """A command whose deadline is no moment would wait for ever."""
    if not isfinite(budget_s):
        raise WireError(f"a budget of {budget_s} s")
    return budget_s
