"""A cluster that grows and shrinks by Ray's own autoscaler while a real term registers."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from bench.demand.registration_days import DAYS, Ids
from bench.load.generator import LoadGenerator
from bench.load.measured import Measured, is_failure
from bench.load.sources import RetriedRequests
from cluster.clients.http import Target
from cluster.config.secrets import jwt_secret
from cluster.config.settings import Settings
from cluster.embedded import EmbeddedServices
from persistence.imports.load.loader import importing, load
from persistence.imports.report import no_progress
from tests.acceptance.seatline import Client
from tests.acceptance.test_controller import figures
from tests.faults import checks
from tests.faults.autoscaled import autoscaled_cluster
from tests.faults.conftest import NewReport
from tests.faults.nodes import free_port
from tests.faults.report import DIRECTORY
from tests.faults.stand import open_stand

pytestmark = [pytest.mark.faults, pytest.mark.data, pytest.mark.timeout(600)]

TERM = "pu-d5-spr17"
NODES_MAX = 3
QUIET_S, RUSH_S, AFTER_S = 10.0, 70.0, 110.0
QUIET_SHARE = 0.005
"""Of the load of the rush, before and after it. With more, one turn for each request is busy enough for a node more."""
RETRY_S, RETRIES_PER_S = 120.0, 50
ASKS_AGAIN = frozenset({"outcome_unknown"})
"""Failures that are a 503 with Retry-After: the same request again, with its key, gives the true answer."""
BUSY_HIGH = os.environ.get("SEATLINE_TEST_BUSY_HIGH", "0.15")
"""So little that one machine can drive it: nobody has a core of their own here."""


async def test_it_grows_and_shrinks_while_a_term_registers(
    services: EmbeddedServices, short_tmp: Path, new_report: NewReport, shared_data: Path
) -> None:
    report = new_report(32, "a cluster that grows and shrinks", nearest="nodes are processes of one machine")
    day = next(one for one in DAYS if one.name == TERM)
    settings = {
        "SEATLINE_ACTORS_PER_NODE": "1",
        "SEATLINE_NODES_MIN": "1",
        "SEATLINE_NODES_MAX": str(NODES_MAX),
        "SEATLINE_SCALE_OUT_BUSY": BUSY_HIGH,
        "SEATLINE_SCALE_IN_AFTER_S": "5",
        "SEATLINE_DRAIN_S": "2",
        "PORT": str(free_port()),
    }
    async with (
        autoscaled_cluster(short_tmp / "autoscaled", nodes_max=NODES_MAX) as cluster,
        open_stand(services, short_tmp, "autoscaling", cluster=cluster, detach=False, **settings) as stand,
    ):
        async with importing(stand.database_url) as connection:
            await load(connection, day.bundle(), no_progress)
        ids = await Ids.read(stand.database_url, TERM, jwt_secret(Settings(home=stand.seatline.home)))
        source = day.source(ids, 1)
        total = len(source.waiting)
        arrivals = [*shape(total), *retries()]
        days = f"{QUIET_S:.0f} s quiet, {RUSH_S:.0f} s rush, {AFTER_S:.0f} s quiet"
        report.injected.append(f"{total:,} requests of {TERM}: {days}")
        rush = LoadGenerator(
            Target.of(stand.seatline.url), source, connections=256, warmup_s=0.0, seconds=600.0, arrivals=arrivals
        )
        async with stand.seatline.client() as client:
            timeline = Timeline(client, source, rush.measured)
            watching = asyncio.create_task(timeline.run())
            measured = await rush.run()
            watching.cancel()
        keep(timeline.rows, measured.as_json())
        most = max(row["nodes"] for row in timeline.rows)
        steps = changes(timeline.rows)
        back_at = shrunk_at(timeline.rows, total)
        report.requests = total + source.retries
        report.acknowledged = sum(source.outcomes.values())
        report.notes.append("nodes: " + ", ".join(f"{nodes} from {begin:.0f} s" for begin, nodes in steps))
        report.notes.append(f"back to 1 while it registers: {back_at} s")
        report.notes.append(f"{source.retries} retries; {dict(source.outcomes.most_common())}")
        report.answers = {"shed": measured.shed, "failed": measured.failed}
        assert report.acknowledged == total, "every request must be decided"
        lost = {code: count for code, count in measured.outcomes.items() if is_failure(code) and code not in ASKS_AGAIN}
        assert not lost, "nobody may be left without an answer; a 503 says when to come again"
        assert most == NODES_MAX, steps
        assert back_at is not None, f"the nodes must be gone again while the term still registers: {steps}"
        report.verify = await checks.verify(stand.seatline)
        report.history = "every request decided"
        report.passed = True


def shape(total: int) -> Iterator[float]:
    """When so many requests are due: quiet, a rush, quiet again."""
    weights = [(QUIET_S, QUIET_SHARE), (RUSH_S, 1.0), (AFTER_S, QUIET_SHARE)]
    whole = sum(seconds * weight for seconds, weight in weights)
    begin, sent = 0.0, 0
    for number, (seconds, weight) in enumerate(weights):
        count = total - sent if number == len(weights) - 1 else round(total * seconds * weight / whole)
        yield from (begin + seconds * one / count for one in range(count))
        begin, sent = begin + seconds, sent + count


def retries() -> Iterator[float]:
    """When those may come again that were told to: after all others. The load ends once everybody has an answer."""
    begin = QUIET_S + RUSH_S + AFTER_S
    yield from (begin + one / RETRIES_PER_S for one in range(int(RETRY_S * RETRIES_PER_S)))


def shrunk_at(rows: list[dict[str, float]], total: int) -> float | None:
    """When all nodes but one were gone, after there had been the most, and before all requests were decided."""
    grown = next((index for index, row in enumerate(rows) if row["nodes"] == NODES_MAX), len(rows))
    return next((row["s"] for row in rows[grown:] if row["nodes"] == 1 and row["decided"] < total), None)


class Timeline:
    """What there was, every second."""

    def __init__(self, client: Client, source: RetriedRequests, measured: Measured) -> None:
        self._client = client
        self._source = source
        self._latencies_s = measured.latencies_s
        self._seen = 0
        self._started = time.monotonic()
        self.rows: list[dict[str, float]] = []

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            said = await figures(self._client)
            if said:
                self.rows.append(
                    {
                        "s": round(time.monotonic() - self._started, 1),
                        "nodes": said["nodes"] - 1,  # the head does not serve
                        "wanted": said["nodes_wanted"],
                        "draining": said["nodes_draining"],
                        "members": said["members"],
                        "decided": sum(self._source.outcomes.values()),
                        "retries": self._source.retries,
                        "longest_ms": self._longest_ms(),
                    }
                )
            await asyncio.sleep(1.0)

    def _longest_ms(self) -> float:
        """Of the answers that came since the last time."""
        fresh = self._latencies_s[self._seen :]
        self._seen += len(fresh)
        return round(max(fresh, default=0.0) * 1000, 1)


def changes(rows: list[dict[str, float]]) -> list[tuple[float, int]]:
    """When there was another number of nodes than before."""
    found: list[tuple[float, int]] = []
    for row in rows:
        if not found or found[-1][1] != row["nodes"]:
            found.append((row["s"], int(row["nodes"])))
    return found


def keep(rows: list[dict[str, float]], measured: dict[str, object]) -> None:
    """For a plot."""
    DIRECTORY.mkdir(exist_ok=True)
    kept = orjson.dumps({"timeline": rows, "measured": measured}, option=orjson.OPT_INDENT_2)
    (DIRECTORY / "autoscaling.json").write_bytes(kept)
