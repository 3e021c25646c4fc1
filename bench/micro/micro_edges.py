"""Microbenchmarks of serialization, gateway and tokens."""

from __future__ import annotations

import asyncio

from pytest_benchmark.fixture import BenchmarkFixture

from allocator.model.delivery import Reply
from allocator.model.outcomes import Code, Outcome
from allocator.model.read_models import Account, Role
from api.signin.tokens import AccessTokens
from bench.micro import sample_data
from cluster.config.settings import Placement
from cluster.gateway.directory import Directory, DirectoryView
from cluster.gateway.gateway import Gateway, GatewayLimits
from cluster.gateway.wire import WireCodec

CODEC = WireCodec()
SECRET = "a secret of at least thirty-two bytes"  # noqa: S105
PACKED = CODEC.encode_commands([(envelope, 5.0) for envelope in sample_data.envelopes()])
REPLIES = [Reply(Outcome(Code.ENROLLED, 1, number)) for number in range(sample_data.BATCH)]
PACKED_REPLIES = CODEC.encode_replies(REPLIES)


def time_pack_200_commands(benchmark: BenchmarkFixture) -> None:
    """In the gateway, before a call."""
    wanted = [(envelope, 5.0) for envelope in sample_data.envelopes()]

    assert benchmark(CODEC.encode_commands, wanted)


def time_unpack_200_commands(benchmark: BenchmarkFixture) -> None:
    """In the section actor."""
    assert len(benchmark(CODEC.decode_commands, PACKED)) == sample_data.BATCH


def time_pack_200_replies(benchmark: BenchmarkFixture) -> None:
    """In the section actor."""
    assert benchmark(CODEC.encode_replies, REPLIES)


def time_unpack_200_replies(benchmark: BenchmarkFixture) -> None:
    """In the gateway, after a call."""
    assert len(benchmark(CODEC.decode_replies, PACKED_REPLIES)) == sample_data.BATCH


def time_200_requests_through_the_gateway(benchmark: BenchmarkFixture, runner: asyncio.Runner) -> None:
    """From submit to reply, with an actor that answers at once: all but Ray itself."""

    async def answer(_name: str, packed: bytes) -> bytes:
        wanted = CODEC.decode_commands(packed)
        return CODEC.encode_replies(
            [Reply(Outcome(Code.ENROLLED, envelope.command.section_id, 1)) for envelope, _ in wanted]
        )

    async def submit_all(gateway: Gateway) -> int:
        return len(await asyncio.gather(*(gateway.submit(envelope) for envelope in sample_data.envelopes())))

    async def open_gateway() -> Gateway:
        return Gateway(Directory(DirectoryView(0, Placement.POOLED, ("a",))), answer, GatewayLimits())

    gateway = runner.run(open_gateway())
    assert benchmark(lambda: runner.run(submit_all(gateway))) == sample_data.BATCH
    runner.run(gateway.close())


def time_a_token_seen_before(benchmark: BenchmarkFixture) -> None:
    """The check of a token from the cache, as for nearly every request."""
    tokens = AccessTokens(SECRET, 3600)
    header = _header(tokens)

    assert benchmark(tokens.principal, header).student_id == 1


def time_a_token_never_seen(benchmark: BenchmarkFixture) -> None:
    """The check of a token that is not in the cache, as for the first request of a student."""
    tokens = AccessTokens(SECRET, 3600, cached_max=0)
    header = _header(tokens)

    assert benchmark(tokens.principal, header).student_id == 1


def _header(tokens: AccessTokens) -> str:
    account = Account(1, "", "", Role.STUDENT, None, False, 1, "1")
    return f"Bearer {tokens.issue(account)}"
