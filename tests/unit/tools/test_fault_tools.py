"""The tools of the fault tests: a proxy that injects faults, and checks that detect errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from allocator.model.commands import Command, Drop, Enroll
from allocator.model.outcomes import Code, Outcome
from tests.faults.checks import Enrollment, compare
from tests.faults.tcp_proxy import Link, TcpProxy, Trap, Way
from tests.linearizability.history import Operation, Recorder

SECTION = 7
SILENCE_S = 0.1


@pytest.fixture
async def proxy(short_tmp: Path) -> AsyncIterator[TcpProxy]:
    """Before a server that says everything back."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    path = short_tmp / "echo.sock"
    server = await asyncio.start_unix_server(echo, str(path))
    async with TcpProxy(path) as opened:
        yield opened
    server.close()


class Line:
    """A client of the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, proxy: TcpProxy) -> Line:
        return cls(*await asyncio.open_connection("127.0.0.1", proxy.port))

    async def ask(self, text: bytes) -> bytes | None:
        """What comes back; None if nothing does, empty if the connection ends."""
        self._writer.write(text)
        return await self.hear()

    async def hear(self) -> bytes | None:
        try:
            async with asyncio.timeout(SILENCE_S):
                return await self._reader.read(100)
        except TimeoutError:
            return None
        except ConnectionResetError:
            return b""


async def test_a_healthy_proxy_passes_everything(proxy: TcpProxy) -> None:
    assert await (await Line.open(proxy)).ask(b"hello") == b"hello"


async def test_what_went_into_a_black_hole_arrives_when_it_is_healed(proxy: TcpProxy) -> None:
    line = await Line.open(proxy)
    assert await line.ask(b"1") == b"1"
    proxy.black_hole()
    assert await line.ask(b"2") is None
    proxy.heal()
    assert await line.hear() == b"2"


async def test_mute_reset_refuse_and_cut(proxy: TcpProxy) -> None:
    line = await Line.open(proxy)
    assert await line.ask(b"1") == b"1"
    proxy.mute()
    assert await line.ask(b"2") is None
    proxy.reset_all()
    assert await line.hear() == b""
    proxy.refuse()
    assert await (await Line.open(proxy)).ask(b"3") == b""
    proxy.heal()
    proxy.cut_after = 10
    line = await Line.open(proxy)
    assert await line.ask(b"1234") == b"1234"
    assert await line.ask(b"1234") == b""


async def test_a_trap_springs_once_before_the_bytes_go_on(proxy: TcpProxy) -> None:
    caught: list[int] = []

    async def lose(link: Link) -> None:
        caught.append(link.passed)
        link.is_cut = True

    proxy.trap = Trap(Way.TO_SERVER, b"COMMIT", lose)
    line = await Line.open(proxy)
    assert await line.ask(b"SELECT") == b"SELECT"
    assert await line.ask(b"COMMIT") == b""
    assert caught == [12]
    assert await (await Line.open(proxy)).ask(b"COMMIT") == b"COMMIT"


def enrolled(student: int, enrollment: int | None) -> tuple[Command, Outcome | None]:
    command = Enroll(SECTION, student, True)
    return command, None if enrollment is None else Outcome(Code.ENROLLED, SECTION, enrollment)


def dropped(student: int, enrollment: int, *, answered: bool = True) -> tuple[Command, Outcome | None]:
    outcome = Outcome(Code.DROPPED, SECTION) if answered else None
    return Drop(SECTION, student, enrollment), outcome


def history(*steps: tuple[Command, Outcome | None]) -> dict[int, list[Operation]]:
    recorder = Recorder()
    for command, outcome in steps:
        call = recorder.invoke("client", command)
        if outcome is None:
            recorder.unknown(call)
        else:
            recorder.ok(call, outcome)
    return recorder.by_section()


def row(student: int, enrollment: int, status: str = "enrolled") -> Enrollment:
    return Enrollment(enrollment, student, SECTION, status)


@pytest.mark.parametrize(
    ("steps", "rows"),
    [
        ([enrolled(1, 10)], [row(1, 10)]),
        ([enrolled(1, 10), dropped(1, 10)], [row(1, 10, "dropped")]),
        ([enrolled(1, 10), dropped(1, 10, answered=False)], [row(1, 10, "dropped")]),
        ([enrolled(1, 10), dropped(1, 10, answered=False)], [row(1, 10)]),
        ([enrolled(1, None)], [row(1, 10)]),
        ([enrolled(1, None)], []),
    ],
)
def test_what_may_be_is_not_complained_of(steps: list[tuple[Command, Outcome | None]], rows: list[Enrollment]) -> None:
    assert compare(history(*steps), rows) == ([], [])


@pytest.mark.parametrize(
    ("steps", "rows"),
    [
        ([enrolled(1, 10)], []),
        ([enrolled(1, 10)], [row(2, 10)]),
        ([enrolled(1, 10)], [row(1, 10, "dropped")]),
        ([enrolled(1, 10), dropped(1, 10)], [row(1, 10)]),
    ],
)
def test_what_was_acknowledged_and_is_not_so_is_lost(
    steps: list[tuple[Command, Outcome | None]], rows: list[Enrollment]
) -> None:
    lost, _ = compare(history(*steps), rows)
    assert len(lost) == 1


@pytest.mark.parametrize(
    ("steps", "rows"),
    [
        ([enrolled(1, 10)], [row(1, 10), row(1, 11)]),
        ([], [row(1, 10)]),
        ([enrolled(1, 10), enrolled(1, 10)], [row(1, 10)]),
    ],
)
def test_what_nobody_asked_for_is_doubled(steps: list[tuple[Command, Outcome | None]], rows: list[Enrollment]) -> None:
    _, doubled = compare(history(*steps), rows)
    assert len(doubled) == 1
