"""Faults of Ray: its nodes, the GCS, its messages."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import psutil
import pytest

from cluster.embedded import EmbeddedServices
from tests.faults import checks
from tests.faults.conftest import NewReport, OpenRow
from tests.faults.nodes import LocalCluster, free_port, local_cluster
from tests.faults.row import Row
from tests.faults.stand import SECTION_ACTOR, Stand, frozen, open_stand, processes_below

pytestmark = pytest.mark.faults

NODE_BACK_S = 15.0
WITHOUT_GCS_S = 10.0
STOP_MAX_S = 10.0
CREATORS = 50
ROUNDS = int(os.environ.get("SEATLINE_FAULT_ROUNDS", "100"))
AFTERWARDS_S = 6.0
"""Longer than any request waits: whoever waited for what died has been answered."""


@pytest.fixture
async def cluster(short_tmp: Path, request: pytest.FixtureRequest) -> AsyncIterator[LocalCluster]:
    """A head and two nodes."""
    async with local_cluster(short_tmp / f"ray-{request.node.name}") as opened:
        await opened.add_node()
        await opened.add_node()
        yield opened


async def test_raylet_killed(
    services: EmbeddedServices, short_tmp: Path, cluster: LocalCluster, open_row: OpenRow
) -> None:
    async with (
        open_stand(services, short_tmp, "raylet_killed", cluster=cluster) as stand,
        open_row(1, "a raylet killed", stand) as row,
    ):
        doomed, _ = cluster.workers
        old = below(doomed.process.pid)
        assert len(old) == len(stand.actor_pids()) / 2
        row.injects("kill -9 of the raylet of one of two nodes")
        row.healed()
        os.kill(doomed.raylet_pid, signal.SIGKILL)
        await gone(old)
        await row.steady(NODE_BACK_S)
        back_s = max(row.waits_s(row.healed_at))
        row.report.recovery_s = back_s
        row.note(f"every section answered again, on the other node, after {back_s:.1f} s at most")
        assert back_s < NODE_BACK_S


async def test_raylet_frozen(
    services: EmbeddedServices, short_tmp: Path, cluster: LocalCluster, open_row: OpenRow
) -> None:
    async with (
        open_stand(services, short_tmp, "raylet_frozen", cluster=cluster) as stand,
        open_row(1, "a raylet frozen, its workers not", stand, is_timely=False) as row,
    ):
        silent, _ = cluster.workers
        old = below(silent.process.pid)
        row.injects("SIGSTOP of the raylet of one of two nodes, until its sections are on the other; SIGCONT")
        with frozen(silent.raylet_pid):
            row.healed()
            await owned_elsewhere(row, silent.label)
            await row.steady(AFTERWARDS_S)
            taken_s = max(row.waits_s(row.healed_at))
            alive = [pid for pid in old if psutil.pid_exists(pid)]
            row.report.recovery_s = taken_s
            row.note(f"no section was silent for more than {taken_s:.1f} s; the {len(alive)} old processes still lived")
        async with asyncio.timeout(60):
            while any(psutil.pid_exists(pid) for pid in old):
                await asyncio.sleep(0.05)
        row.note("once thawed, the raylet learnt that it had been given up, and its processes ended")


async def test_gcs_killed(services: EmbeddedServices, short_tmp: Path, open_row: OpenRow) -> None:
    async with (
        open_stand(services, short_tmp, "gcs_killed", PORT=str(free_port())) as stand,
        open_row(15, "the GCS killed", stand) as row,
    ):
        (gcs,) = stand.pids_of("gcs_server")
        row.injects(f"kill -9 of the GCS; Seatline is started again after {WITHOUT_GCS_S:.0f} s")
        os.kill(gcs, signal.SIGKILL)
        before = len(row.load.served)
        fresh = await row.add_sections(5)
        await row.steady(WITHOUT_GCS_S)
        asked = {one.section_id for one in row.load.served}
        assert set(fresh) <= asked, "sections that were never active must come to life on running actors"
        row.note(
            f"{len(row.load.served) - before:,} answers without a GCS, "
            f"also from {len(fresh)} sections that nobody had asked for before"
        )
        (doomed, *_) = stand.actor_pids()
        os.kill(doomed, signal.SIGKILL)
        row.note("an actor killed meanwhile does not come back: its sections say unavailable")
        await row.steady(5.0)
        assert len(stand.actor_pids()) == 1
        await end_for_good(stand)
        await stand.seatline.start_again()
        row.healed()
        await row.recovers()


@pytest.mark.timeout(600)
async def test_calls_to_actors_fail_at_random(services: EmbeddedServices, short_tmp: Path, open_row: OpenRow) -> None:
    failures = {"num_failures": -1, "req_failure_prob": 10, "resp_failure_prob": 10, "in_flight_failure_prob": 5}
    config = orjson.dumps({"CoreWorkerService.grpc_client.PushTask": failures}).decode()
    async with open_stand(services, short_tmp, "calls_fail", RAY_testing_rpc_failure=config) as stand:
        del stand.seatline.environment["RAY_testing_rpc_failure"]  # `verify` is to see clearly
        async with open_row(16, "calls to actors fail at random", stand) as row:
            row.injects(
                "RAY_testing_rpc_failure: 10 % of all calls are lost, the replies of 10 %, "
                "and 5 % fail but are carried out"
            )
            await row.steady(15.0)
            row.healed()
            await row.recovers()


@pytest.mark.timeout(1800)
async def test_one_name_created_by_many(services: EmbeddedServices, short_tmp: Path, new_report: NewReport) -> None:
    report = new_report(17, "many processes create the same named actor")
    report.injected.append(f"{CREATORS} processes create the same named section actor at once, {ROUNDS} times")
    # Elsewhere the controller would end what it did not ask for.
    async with open_stand(services, short_tmp, "same_name", SEATLINE_PLACEMENT="dedicated") as stand:
        creating = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.faults.same_name",
            str(CREATORS),
            str(ROUNDS),
            env=stand.seatline.environment,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await creating.communicate()
        assert creating.returncode == 0
        (line,) = (one for one in out.splitlines() if one.startswith(b"[{"))  # Ray says this and that between
        rounds = orjson.loads(line)
        assert len(rounds) == ROUNDS
        assert {one["owners"] for one in rounds} == {1}, rounds
        slowest_s = max(one["seconds"] for one in rounds)
        report.notes.append(f"one owner in each of {ROUNDS} rounds; the slowest took {slowest_s:.1f} s, no call hung")
        report.history = "no load in this row"
        report.verify = await checks.verify(stand.seatline)
        report.passed = True


async def end_for_good(stand: Stand) -> None:
    """Stop Seatline; kill it if it cannot stop any more, as systemd would."""
    stand.seatline.process.terminate()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STOP_MAX_S):
            await stand.seatline.process.wait()
    if stand.seatline.process.returncode is None:
        stand.seatline.process.kill()
        await stand.seatline.process.wait()


async def gone(pids: list[int]) -> None:
    """Wait until none of these processes lives."""
    async with asyncio.timeout(60):
        while any(psutil.pid_exists(pid) for pid in pids):
            await asyncio.sleep(0.05)


async def owned_elsewhere(row: Row, label: str) -> None:
    """Wait until no section of the load is owned by an actor of a node."""
    async with asyncio.timeout(90):
        while await row.campus.connection.fetchval(
            "SELECT count(*) FROM section_seats WHERE section_id = ANY($1::bigint[]) AND owner LIKE $2",
            row.sections,
            f"sections-{label}-%",
        ):
            await asyncio.sleep(0.2)


def below(pid: int) -> list[int]:
    """Section actors below a process."""
    return processes_below(pid, SECTION_ACTOR)
