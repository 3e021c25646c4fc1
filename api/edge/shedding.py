"""Load shedding of one process: its parts, and its metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from aiohttp import web
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.edge.admission import Admission
from api.edge.pacing import EntryQueue, RefusalQueue
from api.edge.refusal_answers import RefusalAnswers
from api.edge.refusals import Refusals
from api.edge.shed_budget import ShedBudget
from api.limits import Flooders

DECIDED = frozenset({201, 409, 503})
"""Statuses of answers that waited for a decision: how long they took says how long the queue is."""


class LoadShedding:
    """What decides who comes in, who is refused, and when.

    Args:
        admission: how many requests may be under way.
        flooders: tokens that have used up their limit.
        headers: what every refusal has beside its own.
        cors_origins: origins whose pages must be able to read a refusal.
    """

    def __init__(
        self, admission: Admission, flooders: Flooders, headers: Mapping[str, str], cors_origins: Sequence[str]
    ) -> None:
        self.admission = admission
        self.refusals = Refusals(admission, flooders, RefusalAnswers(headers, cors_origins))
        self.entry_queue = EntryQueue()
        self._budget = ShedBudget()
        self.refusal_queue = RefusalQueue(self._budget)

    def leave(self, entered_at: float, *, was_decided: bool) -> None:
        """A request that was let in is answered.

        Args:
            entered_at: what ``Admission.enter`` returned.
            was_decided: whether the answer waited for a decision.
        """
        self.admission.leave(entered_at, was_decided=was_decided)
        self._budget.decided()


SHEDDING = web.AppKey("SHEDDING", LoadShedding)


class SheddingCollector(Collector):
    """The metrics of load shedding, read when Prometheus asks."""

    def __init__(self, shedding: LoadShedding) -> None:
        self._shedding = shedding

    def collect(self) -> Iterable[Metric]:
        """The figures as they are now."""
        refused = CounterMetricFamily(
            "seatline_shed",
            "Enrolments and connections turned away before anything was done for them.",
            labels=["reason"],
        )
        for reason, count in self._shedding.refusals.counts.items():
            refused.add_metric([reason], count)
        admission = self._shedding.admission
        limit = GaugeMetricFamily("seatline_admission_limit", "Enrolments that may be under way.")
        limit.add_metric([], admission.limit)
        in_flight = GaugeMetricFamily("seatline_admission_in_flight", "Enrolments under way.")
        in_flight.add_metric([], admission.in_flight)
        return [refused, limit, in_flight]
