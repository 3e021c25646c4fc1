"""``seatline bench overload``: many times the load that fits on a live Seatline, and its recovery after it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import psutil

from bench.live.live_term import extend_term
from bench.live.requests import build, students_needed
from bench.load.flood import DECIDED, LIMITED, NO_ANSWER, OTHER, SHED, UNKNOWN, Flood, Phase
from cluster.cli.databases import open_database
from cluster.cli.progress import progress_bars
from cluster.cli.replay import TOKEN_TTL_S, find_target, run_verify
from cluster.cli.tokens import Mint
from cluster.clients.latency import summary_ms
from cluster.config.runfile import read_run_file
from cluster.config.settings import Settings
from persistence.verify import Finding

AFTER_SHARE = 0.5
RECOVERED_S = 0.1
"""A Seatline has recovered once all answers were decisions for so long."""
PROCESSES = (("ray::ApiServer", "api"), ("ray::SectionAct", "section actors"), ("postgres", "postgres"))

CROWDS = {
    "heeding": "so many times the clients, who wait for Retry-After",
    "at_once": "so many times the clients, who try again at once",
    "open": "so many times the peak in tries a second, whatever is answered",
}


@dataclass(frozen=True, slots=True)
class OverloadPlan:
    """The phases of a run: warm-up, peak; then for each crowd an overload, and half the peak after it.

    Args:
        crowds: names out of ``CROWDS``.
        factor: of the overload, as a multiple of the peak.
        connections: for the peak; an overload has ``factor`` times as many.
        sections: that take part.
        warmup_s, peak_s, overload_s, after_s: lengths of the phases.
        rate_max: enrolments a second to prepare for.
        seed: of the random choices.
    """

    crowds: tuple[str, ...] = tuple(CROWDS)
    factor: float = 10.0
    connections: int = 256
    sections: int = 1_000
    warmup_s: float = 3.0
    peak_s: float = 8.0
    overload_s: float = 10.0
    after_s: float = 3.0
    rate_max: int = 12_000
    seed: int = 1

    @property
    def requests(self) -> int:
        """The number of enrolments to prepare."""
        return int(self.rate_max * (self.warmup_s + self.peak_s + len(self.crowds) * (self.overload_s + self.after_s)))


class Storm(NamedTuple):
    """An overload, and the phase after it."""

    overload: Phase
    after: Phase

    @property
    def recovery_s(self) -> float | None:
        """Seconds from the end of the overload to the last answer that was no decision; None if it never recovered."""
        last = max(self.after.trouble_at_s, default=0.0)
        return last if last < self.after.seconds - RECOVERED_S else None


@dataclass(slots=True)
class OverloadResult:
    """The measured phases, and the CPU of Seatline's processes in each, in cores."""

    plan: OverloadPlan
    peak: Phase
    storms: dict[str, Storm] = field(default_factory=dict)
    cpu: dict[str, dict[str, float]] = field(default_factory=dict)
    ran_out: bool = False

    def goodput_share(self, crowd: str) -> float:
        """Goodput under overload as a share of the peak."""
        peak = self.peak.goodput_per_s
        return self.storms[crowd].overload.goodput_per_s / peak if peak else 0.0

    def as_json(self) -> dict[str, object]:
        """For ``--json``."""
        return {
            "factor": self.plan.factor,
            "connections": self.plan.connections,
            "peak": {**_phase_json(self.peak), "server_cpu_cores": self.cpu.get("peak", {})},
            "crowds": {
                crowd: {
                    "overload": {**_phase_json(storm.overload), "server_cpu_cores": self.cpu.get(crowd, {})},
                    "after": _phase_json(storm.after),
                    "goodput_share": round(self.goodput_share(crowd), 3),
                    "recovery_s": None if storm.recovery_s is None else round(storm.recovery_s, 3),
                }
                for crowd, storm in self.storms.items()
            },
            "ran_out_of_requests": self.ran_out,
        }


async def measure(settings: Settings, url: str | None, plan: OverloadPlan) -> tuple[OverloadResult, list[Finding]]:
    """Run all phases, then verify the database."""
    mint = Mint(settings, TOKEN_TTL_S)
    target = await find_target(settings, url)
    run = read_run_file(settings.home) if url is None else None
    async with open_database(settings) as urls:
        with progress_bars() as progress:
            students = students_needed(plan.requests, plan.sections)
            term = await extend_term(urls.database_url, plan.sections, students, progress)
            requests = build(target, term, mint.token, plan.requests, skew=0.0, seed=plan.seed)
        flood = Flood(target, requests)
        try:
            result = await asyncio.to_thread(_run, flood, plan, lambda: _cpu_s(run.pid if run else None))
        finally:
            flood.close()
        return result, await run_verify(settings, urls.database_url)


def _run(flood: Flood, plan: OverloadPlan, cpu_s: Callable[[], dict[str, float]]) -> OverloadResult:
    flood.connect(plan.connections)
    flood.run(plan.warmup_s)
    before = cpu_s()
    result = OverloadResult(plan, flood.run(plan.peak_s))
    result.cpu["peak"] = _cores(before, cpu_s(), plan.peak_s)
    flood.connect(int(plan.connections * plan.factor))
    peak = result.peak.goodput_per_s
    for crowd in plan.crowds:
        before = cpu_s()
        rate = plan.factor * peak if crowd == "open" else None
        overload = flood.run(plan.overload_s, rate, heeding=crowd == "heeding")
        result.cpu[crowd] = _cores(before, cpu_s(), plan.overload_s)
        result.storms[crowd] = Storm(overload, flood.run(plan.after_s, AFTER_SHARE * peak))
    result.ran_out = flood.ran_out
    return result


def _cpu_s(pid: int | None) -> dict[str, float]:
    """CPU seconds so far of the processes of the ``seatline up`` with this pid, by kind; empty without a pid."""
    used: dict[str, float] = {}
    for process in psutil.Process(pid).children(recursive=True) if pid is not None else ():
        with suppress(psutil.NoSuchProcess):
            name, times = process.name(), process.cpu_times()
            kind = next((one for start, one in PROCESSES if name.startswith(start)), "rest")
            used[kind] = used.get(kind, 0.0) + times.user + times.system
    return used


def _cores(before: dict[str, float], now: dict[str, float], seconds: float) -> dict[str, float]:
    return {kind: round((used - before.get(kind, 0.0)) / seconds, 2) for kind, used in now.items()}


def _phase_json(phase: Phase) -> dict[str, object]:
    return {
        "seconds": phase.seconds,
        "offered_per_s": round(phase.offered / phase.seconds, 1),
        "goodput_per_s": round(phase.goodput_per_s, 1),
        "answers": {kind: phase.answers[kind] for kind in (DECIDED, SHED, LIMITED, UNKNOWN, NO_ANSWER, OTHER)},
        "unsent": phase.unsent,
        "decided_ms": summary_ms(phase.decided_s),
        "decided_since_sent_ms": summary_ms(phase.decided_since_sent_s),
        "shed_ms": summary_ms(phase.shed_s),
        "shed_since_sent_ms": summary_ms(phase.shed_since_sent_s),
        "client_cpu_cores": round(phase.cpu_s / phase.seconds, 2),
    }
