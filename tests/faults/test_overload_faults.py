"""Many times the load that fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cluster.embedded import EmbeddedServices
from tests.acceptance.seatline import Seatline
from tests.conftest import database
from tests.faults import checks
from tests.faults.conftest import NewReport
from tests.faults.stand import execute

pytestmark = pytest.mark.faults

FACTOR = 10
GOODPUT_MIN = 0.8
SHED_P99_MAX_MS = 50.0
HEEDING, AT_ONCE = "heeding", "at_once"
"""Crowds: clients who wait as they are told, and clients who ask again as soon as they are refused.

The latter wait longer for their refusals than 50 ms: goodput comes first (ADR 0010).
"""


@pytest.fixture
async def seatline(services: EmbeddedServices, short_tmp: Path) -> AsyncIterator[Seatline]:
    """A Seatline without proxies, which would be what is measured."""
    await execute(services.database_url, "CREATE DATABASE overload")
    home = short_tmp / "overload"
    home.mkdir()
    running = await Seatline.start(home, database(services.database_url, "overload"), services.redis_url)
    yield running
    await running.stop()


async def test_ten_times_the_load_that_fits(seatline: Seatline, new_report: NewReport) -> None:
    report = new_report(22, f"{FACTOR} times the load that fits")
    command = ("bench", "overload", "--crowds", f"{HEEDING},{AT_ONCE}", "--factor", str(FACTOR), "--json")
    report.injected.append("seatline " + " ".join(command))
    report.history = "not recorded in this row"
    code, found, err = await seatline.run(*command)
    assert code == 0, f"{found}\n{err}"
    crowds = {name: found["crowds"][name] for name in (HEEDING, AT_ONCE)}
    answers = sum((Counter(crowd["overload"]["answers"]) for crowd in crowds.values()), Counter[str]())
    report.requests, report.acknowledged = answers.total(), answers.pop("decided")
    report.answers = dict(+answers)
    shed_p99_ms = {name: crowd["overload"]["shed_since_sent_ms"].get("p99", 0.0) for name, crowd in crowds.items()}
    for name, crowd in crowds.items():
        report.notes.append(
            f"{name}: {crowd['goodput_share']:.0%} of the peak of {found['peak']['goodput_per_s']:,.0f} /s, "
            f"refusals after {shed_p99_ms[name]:.0f} ms at the 99th percentile"
        )
        print(f"  {report.notes[-1]}")
        assert crowd["goodput_share"] >= GOODPUT_MIN
        assert crowd["recovery_s"] is not None, "requests were still refused when the overload was over"
        report.recovery_s = max(crowd["recovery_s"], report.recovery_s or 0.0)
    assert shed_p99_ms[HEEDING] <= SHED_P99_MAX_MS
    report.verify = await checks.verify(seatline)
    report.passed = True
