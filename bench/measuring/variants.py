"""Seatline against variants of itself that differ in one thing: in turn, on the same services, in one run."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from bench.contestants.contestant import Contestant, start_seatline
from bench.contestants.sandbox import Sandbox
from bench.demand.bench_term import TokenBook, fill_term, read_term
from bench.demand.workloads import WARM_UP, DemandPlan, Requests, Workload
from bench.load.sources import RetriedRequests
from bench.measuring.options import Options
from bench.measuring.rounds import ReportRound, RoundRow, measure, verify_contestant
from bench.peers.registry import RAY_SECTIONS
from persistence.imports.report import ImportProgress

TEMPLATE = "bench_variants"
BASE = "as it is"
WARM_UP_MAX_S = 240.0
PATIENT = {"SEATLINE_QUEUE_TARGET_MS": "5000"}
"""No load shedding by waiting time: a slow variant shall be measured, not relieved."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A Seatline that differs from the default.

    Args:
        name: as in results.
        settings: environment variables that differ.
        few: whether only a few sections take part, for it and for the Seatline that it is compared with.
    """

    name: str
    settings: Mapping[str, str] = field(default_factory=dict)
    few: bool = False


async def compare_variants(
    sandbox: Sandbox,
    variants: Sequence[Variant],
    workloads: Sequence[Workload],
    options: Options,
    progress: ImportProgress,
    report: ReportRound,
) -> dict[str, Any]:
    """Run rounds of each workload on the base and on each variant, in pairs.

    Args:
        report: called after each round.

    Returns:
        ``rows`` of all rounds; ``variants``: by name and workload the medians of both and of their ratio; ``verify``.
    """
    turns = options.rounds * len(variants)
    plan = DemandPlan(workloads, turns, options.per_round, options.sections, RAY_SECTIONS, options.seed)
    await sandbox.make_template(TEMPLATE, lambda url: fill_term(url, plan.capacities(), plan.students, progress))
    term = await read_term(sandbox.database_url(TEMPLATE))
    pairs = _Pairs(
        sandbox, options, Requests(plan, term, TokenBook(sandbox.jwt_secret, term.students)), workloads, report
    )
    base_url = await sandbox.clone("of_base", TEMPLATE)
    async with start_seatline(sandbox, base_url, BASE, PATIENT) as base:
        await pairs.warm_up(base, few=False)
        for number, variant in enumerate(variants):
            progress("variants", number, len(variants))
            await pairs.run(base, variant, number * options.rounds)
        pairs.verified[BASE] = await verify_contestant(base)
    progress("variants", 1, 1)
    await sandbox.drop("of_base")
    await sandbox.drop(TEMPLATE)
    return {"rows": pairs.rows, "variants": _summary(pairs.rows, variants, workloads), "verify": pairs.verified}


class _Pairs:
    def __init__(
        self, sandbox: Sandbox, options: Options, requests: Requests, workloads: Sequence[Workload], report: ReportRound
    ) -> None:
        self.rows: list[RoundRow] = []
        self.verified: dict[str, Any] = {}
        self._sandbox = sandbox
        self._options = options
        self._requests = requests
        self._workloads = workloads
        self._report = report

    async def warm_up(self, contestant: Contestant, *, few: bool) -> None:
        """Activate its sections. That takes long if each is a process, so requests that are shed are sent again."""
        requests = self._requests.prepared(WARM_UP, 0, few=few)[: self._options.per_round // 4]
        patient = replace(self._options, warmup_s=0.0, seconds=WARM_UP_MAX_S)
        await measure(self._sandbox, contestant, RetriedRequests(deque(enumerate(requests))), patient)

    async def run(self, base: Contestant, variant: Variant, first_turn: int) -> None:
        """Start the variant, run its rounds, verify it."""
        database = f"of_{variant.name.replace(' ', '_')}"
        url = await self._sandbox.clone(database, TEMPLATE)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._sandbox.drop, database)
            settings = {**PATIENT, **variant.settings}
            other = await stack.enter_async_context(start_seatline(self._sandbox, url, variant.name, settings))
            await self.warm_up(other, few=variant.few)
            for workload in self._workloads:
                for turn in range(self._options.rounds):
                    pair = [base, other] if turn % 2 == 0 else [other, base]
                    for contestant in pair:
                        requests = self._requests.prepared(workload, first_turn + turn, few=variant.few)
                        row = await measure(self._sandbox, contestant, requests, self._options)
                        self.rows.append({"variant": variant.name, "workload": workload.name, "round": turn, **row})
                        self._report(self.rows[-1])
            self.verified[variant.name] = await verify_contestant(other)


def _summary(
    rows: Sequence[RoundRow], variants: Sequence[Variant], workloads: Sequence[Workload]
) -> list[dict[str, Any]]:
    found = []
    for variant in variants:
        for workload in workloads:
            own = [row for row in rows if (row["variant"], row["workload"]) == (variant.name, workload.name)]
            rates = {
                is_base: {row["round"]: row["enrolled_per_s"] for row in own if (row["contestant"] == BASE) is is_base}
                for is_base in (True, False)
            }
            costs = [row["cpu_us_per_enrolment"] for row in own if row["contestant"] != BASE]
            ratios = [rates[False][turn] / rate for turn, rate in rates[True].items() if rate and turn in rates[False]]
            found.append(
                {
                    "variant": variant.name,
                    "workload": workload.name,
                    "base_per_s": round(median(rates[True].values()), 1),
                    "variant_per_s": round(median(rates[False].values()), 1),
                    "ratio": round(median(ratios), 3) if ratios else 0.0,
                    "cpu_us_per_enrolment": round(median(costs), 1) if costs else 0.0,
                }
            )
    return found
