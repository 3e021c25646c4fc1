"""The use of AWS in an API process, by its settings, and the metrics that it sends."""

from __future__ import annotations

from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import pytest

from allocator.turns.stats import ServiceStats
from api.monitoring.metrics import METRICS
from cluster.aws.exports import S3Exports
from cluster.aws.metrics import Distribution, figures_between
from cluster.aws.queue import SqsSink
from cluster.config.settings import Settings
from cluster.processes.cloud import Cloud, figures_of
from cluster.processes.notifications import outbox_sink
from persistence.exports.local import LocalExports
from tests.unit.api.conftest import Api

PRODUCTION = {
    "env": "production",
    "database_url": "postgresql://db/x",
    "redis_url": "redis://cache",
    "jwt_secret": "s" * 32,
}
QUEUE = "https://sqs.eu-central-1.amazonaws.com/123456789012/seatline-notifications.fifo"


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "SEATLINE_HOME"):
        monkeypatch.delenv(name, raising=False)


async def test_exports_go_where_the_settings_say(tmp_path: Path) -> None:
    async with AsyncExitStack() as closing:
        assert isinstance(Cloud(Settings(home=tmp_path), closing).exports(), LocalExports)
        assert Cloud(Settings.model_validate(PRODUCTION), closing).exports() is None
        in_s3 = Settings.model_validate({**PRODUCTION, "aws_exports_bucket": "exports"})
        assert isinstance(Cloud(in_s3, closing).exports(), S3Exports)


async def test_notifications_go_to_the_queue_if_there_is_one() -> None:
    with ExitStack() as closing:
        settings = Settings(aws_notifications_queue_url=QUEUE)
        assert isinstance(outbox_sink(settings, "postgresql://db/x", closing), SqsSink)


async def test_figures_are_those_that_metrics_shows(api: Api) -> None:
    stats = ServiceStats()
    stats.batch_size.observe(8)
    stats.batch_size.observe(4)
    actors = [{"actor": "sections-0", "inbox": 3, **stats.as_dict()}, {"actor": "b", "inbox": 4, **stats.as_dict()}]
    before = figures_of(api.app, ())
    assert (await api.enroll()).status == 201
    now = figures_of(api.app, actors)

    assert (now.enrolled, now.waitlisted, now.queue_depth) == (1, 0, 7)
    assert now.latency_s.size == 1
    sent = {one["MetricName"]: one["Value"] for one in figures_between(before, now)}
    assert sent["Enrollments"] == 1
    assert sent["QueueDepth"] == 7
    assert sent["BatchSize"] == 6
    assert 0 < sent["EnrollmentP99"] <= 10_000
    shown = await api.metrics()
    assert 'seatline_enrollment_outcomes_total{code="enrolled"} 1.0' in shown
    assert api.app[METRICS].traffic.outcomes["enrolled"] == 1


def test_a_counter_that_began_anew_is_what_it_is() -> None:
    before = Distribution((1, 2), (5, 5, 5), 30.0)
    assert Distribution((1, 2), (1, 0, 0), 1.0).since(before) == Distribution((1, 2), (1, 0, 0), 1.0)
    assert Distribution((1, 2), (6, 5, 5), 31.0).since(before) == Distribution((1, 2), (1, 0, 0), 1.0)


@pytest.mark.parametrize(
    ("counts", "percentile"),
    [((99, 1, 0, 0), 1.0), ((98, 2, 0, 0), 2.0), ((1, 0, 0, 0), 1.0), ((0, 0, 0, 7), 3.0), ((0, 0, 7, 0), 3.0)],
)
def test_a_percentile_is_the_bound_of_its_bucket(counts: tuple[int, ...], percentile: float) -> None:
    assert Distribution((1.0, 2.0, 3.0), counts, 0.0).percentile(99) == percentile
