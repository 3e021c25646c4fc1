"""The metrics of the section actors.

Each actor gives one mapping (see allocator/turns/stats.py). ``actor`` is its name. A number is a gauge, or a counter
if its name ends with ``_total``. A mapping with ``bounds``, ``counts`` (not cumulative, one more than bounds) and
``sum`` is a histogram; any other mapping is counts by code.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

PREFIX = "seatline_actor_"


class ActorCollector(Collector):
    """The metrics of one scrape, from the figures that the actors gave for it."""

    def __init__(self, stats: Sequence[Mapping[str, Any]]) -> None:
        self._stats = stats

    def collect(self) -> Iterable[Metric]:
        """One family for each figure, one sample for each actor."""
        families: dict[str, Metric] = {}
        for one in self._stats:
            actor = str(one["actor"])
            for name, value in one.items():
                if name != "actor":
                    _add(families, name, actor, value)
        return families.values()


def _add(families: dict[str, Metric], name: str, actor: str, value: Any) -> None:
    if isinstance(value, int | float):
        kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
        family = families.setdefault(name, kind(PREFIX + name, f"{_words(name)}, by actor.", labels=["actor"]))
        family.add_metric([actor], value)  # type: ignore[attr-defined]
    elif isinstance(value, Mapping) and "bounds" in value:
        _add_histogram(families, name, actor, value)
    elif isinstance(value, Mapping):
        family = families.setdefault(
            name, CounterMetricFamily(PREFIX + name, f"{_words(name)}, by actor.", labels=["actor", "code"])
        )
        for code, count in value.items():
            family.add_metric([actor, str(code)], count)  # type: ignore[attr-defined]


def _add_histogram(families: dict[str, Metric], name: str, actor: str, value: Mapping[str, Any]) -> None:
    unit_name = f"{name.removesuffix('_s')}_seconds" if name.endswith("_s") else name
    family = families.setdefault(
        name, HistogramMetricFamily(PREFIX + unit_name, f"{_words(unit_name)}, by actor.", labels=["actor"])
    )
    bounds = [*(str(float(bound)) for bound in value["bounds"]), "+Inf"]
    buckets = list(zip(bounds, itertools.accumulate(value["counts"]), strict=True))
    family.add_metric([actor], buckets, value["sum"])  # type: ignore[attr-defined]


def _words(name: str) -> str:
    return name.removesuffix("_total").replace("_", " ").capitalize()
