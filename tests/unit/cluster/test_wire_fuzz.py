"""Bytes between gateway and section actor: any input is a batch of valid values or a ``WireError``."""

from __future__ import annotations

import math
import string
from typing import get_args

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from allocator.actor import Host, SectionActor
from allocator.model.commands import ChangeCapacity, CloseSection, Command, Drop, Enroll, OpenSection, RecheckHead
from allocator.model.delivery import Envelope, Reply, Undecided
from allocator.model.outcomes import Code, Outcome, Reason, ReasonCode
from cluster.gateway.wire import WireCodec, WireError
from tests.drain_loop import enroll, make_service
from tests.sample_campus import MemoryWorld
from tests.unit.cluster.test_gateway import came_to

codec = WireCodec()

ids = st.integers(1, 2**63 - 1)
keys = st.text(string.ascii_letters + string.digits, min_size=1, max_size=64)
budgets_s = st.floats(0, 60)
student_commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(Enroll, ids, ids, st.booleans()), st.builds(Drop, ids, ids, ids)
)
other_commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(ChangeCapacity, ids, st.integers(0, 1_000_000), st.none() | ids),
    st.builds(CloseSection, ids, st.none() | ids),
    st.builds(OpenSection, ids, st.none() | ids),
    st.builds(RecheckHead, ids, ids),
)
envelopes = st.one_of(
    st.builds(Envelope, student_commands, keys, st.booleans(), st.booleans()), other_commands.map(Envelope)
)
batches = st.lists(st.tuples(envelopes, budgets_s), max_size=5)
reasons = st.builds(Reason, st.sampled_from(ReasonCode), st.text(max_size=20), st.none() | ids)
outcomes = st.builds(
    Outcome,
    st.sampled_from(Code),
    ids,
    st.none() | ids,
    st.none() | ids,
    st.none() | ids,
    st.lists(reasons, max_size=3).map(tuple),
)
routes = st.none() | keys
rechecks = st.lists(ids, max_size=3).map(tuple)
replies = st.one_of(
    st.builds(Reply, outcomes, st.none(), routes, st.booleans(), rechecks),
    st.builds(Reply, st.none(), st.sampled_from(Undecided), routes, st.booleans(), rechecks),
)


@st.composite
def mutated(draw: st.DrawFn, packed: st.SearchStrategy[bytes]) -> bytes:
    """A message with some bytes changed, put in, taken out or moved."""
    data = bytearray(draw(packed))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(("set", "insert", "cut", "truncate", "double"))):
            case "set" if data:
                data[at] = draw(st.integers(0, 255))
            case "insert":
                data[at:at] = draw(st.binary(max_size=9))
            case "cut":
                del data[at : at + draw(st.integers(1, 9))]
            case "truncate":
                del data[at:]
            case _:
                data[at:at] = data[at : at + 20]
    return bytes(data)


def bomb(depth: int) -> bytes:
    """A batch of one command that nests as deep as that."""
    return b"\x91\x93\x01\xcb" + b"\0" * 8 + b"\x91" * depth + b"\x01"


COMMANDS = {Enroll, Drop, ChangeCapacity, CloseSection, OpenSection, RecheckHead}
assert set(get_args(Command)) == COMMANDS, "a command without a form on the wire"


def check_commands(packed: bytes) -> None:
    """Decode, and see that what comes out is what can be asked, with a deadline."""
    try:
        decoded = codec.decode_commands(packed)
    except WireError:
        return
    assert all(type(envelope) is Envelope and math.isfinite(budget_s) for envelope, budget_s in decoded)
    assert all(type(envelope.command) in COMMANDS for envelope, _ in decoded)
    assert codec.decode_commands(codec.encode_commands(decoded)) == decoded


@given(batches)
def test_commands_arrive_as_they_were_sent(batch: list[tuple[Envelope, float]]) -> None:
    assert codec.decode_commands(codec.encode_commands(batch)) == batch


@given(st.lists(replies, max_size=4))
def test_replies_arrive_as_they_were_sent(batch: list[Reply]) -> None:
    decoded = codec.decode_replies(codec.encode_replies(batch))
    assert decoded == batch
    assert all(type(reply) is Reply and type(reply.outcome) in {Outcome, type(None)} for reply in decoded)


@settings(max_examples=500)
@given(st.binary(max_size=300) | mutated(batches.map(codec.encode_commands)))
@example(b"")
@example(bomb(100_000))
@example(b"\xdd\xff\xff\xff\xff")  # a list of four billion
@example(b"\xdb\xff\xff\xff\xffx")  # a text of four gigabytes
@example(msgspec.msgpack.encode([(-1, 1.0, [1, 1])]))
@example(msgspec.msgpack.encode([(4, math.nan, (1, 1))]))
@example(msgspec.msgpack.encode([(4, math.inf, (1, 1))]))
@example(msgspec.msgpack.encode([(4, 1.0, (2**64 - 1, 1))]))
@example(msgspec.msgpack.encode([(1, 1.0, (1, 1, True, "a\0b", True, True))]))
def test_any_bytes_are_a_batch_of_sane_commands_or_an_error_of_their_own(packed: bytes) -> None:
    check_commands(packed)


@settings(max_examples=300)
@given(st.binary(max_size=300) | mutated(st.lists(replies, max_size=4).map(codec.encode_replies)))
@example(b"\x91" * 100_000)
def test_any_bytes_are_replies_or_an_error_of_their_own(packed: bytes) -> None:
    try:
        decoded = codec.decode_replies(packed)
    except WireError:
        return
    assert codec.decode_replies(codec.encode_replies(decoded)) == decoded


async def actor_of(world: MemoryWorld) -> SectionActor:
    async def build(name: str, incarnation: str) -> Host:
        async def close() -> None:
            pass

        return Host(make_service(world.store(), name), codec, close)

    return SectionActor("sections-0", build)


async def test_an_actor_answers_after_bytes_that_are_no_batch() -> None:
    world = MemoryWorld()
    section_id, student_id = await world.add_section(1), await world.add_student()
    actor = await actor_of(world)
    try:
        for packed in (b"", b"\xff" * 10, bomb(100_000), b"\xdd\xff\xff\xff\xff"):
            with pytest.raises(WireError):
                await actor.submit(packed)

        good = codec.encode_commands([(enroll(student_id, section_id), 5.0)])
        (reply,) = codec.decode_replies(await actor.submit(good))
    finally:
        await actor.stop()
    assert came_to(reply) is Code.ENROLLED
