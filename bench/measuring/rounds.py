"""Rounds of load on several contestants in turn, so that noise of the machine affects all of them alike."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from bench.contestants.contestant import SEATLINE, Contestant, run_command, start_peer, start_seatline
from bench.contestants.sandbox import Sandbox
from bench.demand.bench_term import TokenBook, fill_term, read_term
from bench.demand.workloads import WARM_UP, DemandPlan, Requests, Workload
from bench.load.generator import LoadGenerator
from bench.load.measured import Measured, merged, percentiles_ms
from bench.load.sources import PreparedRequests, RepeatedRequests, Source
from bench.measuring.options import Options
from bench.measuring.saturation import Pace, RateProbe, find_pace
from bench.peers.registry import PEERS, RAY_SECTIONS
from cluster.cli.common import Exit
from persistence.imports.report import ImportProgress
from persistence.verify import verify

TEMPLATE = "bench_template"
WARM_UP_CONNECTIONS = 64
WARM_UP_S = 1.5
RoundRow = dict[str, Any]
ReportRound = Callable[[RoundRow], None]


@dataclass(slots=True)
class Contest:
    """All contestants, running, each with a clone of one database."""

    sandbox: Sandbox
    options: Options
    plan: DemandPlan
    requests: Requests
    contestants: dict[str, Contestant]
    rows: list[RoundRow] = field(default_factory=list)
    paces: dict[tuple[str, str], Pace] = field(default_factory=dict)

    async def warm_up(self) -> None:
        """Load every contestant once, so that it activates sections, opens connections and fills caches."""
        for contestant in self.contestants.values():
            requests = self.source(contestant, WARM_UP, 0)
            load = LoadGenerator(
                contestant.target, requests, connections=WARM_UP_CONNECTIONS, warmup_s=0, seconds=WARM_UP_S
            )
            await load.run()
            await contestant.settle()

    async def run(self, workload: Workload, progress: ImportProgress, report: ReportRound) -> None:
        """Run all rounds of a workload. Each round begins with the next contestant."""
        able = [one for one in self.contestants.values() if workload.needs <= abilities(one)]
        await self.find_paces(workload, able, progress)
        for turn in range(self.options.rounds):
            first = turn % max(1, len(able))
            for done, contestant in enumerate(able[first:] + able[:first]):
                progress(workload.name, turn * len(able) + done, self.options.rounds * len(able))
                source = self.source(contestant, workload, turn)
                at_pace = self.at_pace(contestant, workload, self.options)
                row = await measure(self.sandbox, contestant, source, at_pace)
                self.rows.append({"workload": workload.name, "round": turn, **row})
                report(self.rows[-1])
        progress(workload.name, 1, 1)

    async def find_paces(self, workload: Workload, contestants: Sequence[Contestant], progress: ImportProgress) -> None:
        """Find the saturation of each contestant under a workload, if ``at_its_best``."""
        if not self.options.at_its_best:
            return
        for done, contestant in enumerate(contestants):
            progress(f"{workload.name}: how many at once", done, len(contestants))
            self.paces[workload.name, contestant.name] = await find_pace(self._probe(contestant, workload))
        progress(f"{workload.name}: how many at once", 1, 1)

    def _probe(self, contestant: Contestant, workload: Workload) -> RateProbe:
        source = _as_source(self.source(contestant, workload, self.options.rounds))

        async def probe(connections: int, warmup_s: float, seconds: float) -> float:
            load = LoadGenerator(contestant.target, source, connections=connections, warmup_s=warmup_s, seconds=seconds)
            measured = await load.run()
            await contestant.settle()
            rate: float = getattr(measured, workload.counts)
            return rate

        return probe

    def probes(self) -> dict[str, dict[str, dict[str, float]]]:
        """Answers a second of the probes, by workload, contestant and requests under way."""
        found: dict[str, dict[str, dict[str, float]]] = {}
        for (workload, name), pace in self.paces.items():
            rates = {str(connections): round(rate, 1) for connections, rate in pace.tried.items()}
            found.setdefault(workload, {})[name] = rates
        return found

    def at_pace(self, contestant: Contestant, workload: Workload, options: Options) -> Options:
        """The options for a contestant and a workload: at its saturation, if that was probed."""
        pace = self.paces.get((workload.name, contestant.name))
        return options if pace is None else pace.of(options)

    def source(self, contestant: Contestant, workload: Workload, turn: int) -> Sequence[bytes] | Source:
        """The requests to a contestant in a round."""
        if workload.name == "churn":
            return self.requests.churn
        few = contestant.peer is not None and contestant.peer.sections_max is not None
        prepared = self.requests.prepared(workload, turn, few=few)
        changes_nothing = workload.needs == {"read"} or not contestant.decides
        return RepeatedRequests(prepared) if changes_nothing else prepared

    async def verify(self) -> dict[str, Any]:
        """Findings of ``verify`` in every database that it can check, and in Seatline's actors."""
        found: dict[str, Any] = {}
        for contestant in self.contestants.values():
            if contestant.keeps_counts:
                found[contestant.name] = await verify_contestant(contestant)
        return found


def _as_source(requests: Sequence[bytes] | Source) -> Source:
    return PreparedRequests(requests) if isinstance(requests, Sequence) else requests


def abilities(contestant: Contestant) -> frozenset[str]:
    """What a contestant supports, see ``Workload.needs``."""
    if contestant.peer is None:
        return frozenset({"enroll", "read", "drop"})
    return frozenset({"enroll", "read"}) if contestant.peer.reads else frozenset({"enroll"})


async def measure(
    sandbox: Sandbox, contestant: Contestant, source: Sequence[bytes] | Source, options: Options, **shape: Any
) -> RoundRow:
    """Run one round on one contestant: its figures, and the CPU time of all its processes.

    Args:
        shape: ``rate`` or ``arrivals`` of an open loop, see ``LoadGenerator``.
    """
    await sandbox.settle()
    before = contestant.cpu_s()
    load = LoadGenerator(
        contestant.target, source, connections=options.connections, warmup_s=options.warmup_s, seconds=options.seconds,
        **shape,
    )  # fmt: skip
    measured = await load.run()
    await contestant.settle()
    used = {name: seconds - before[name] for name, seconds in contestant.cpu_s().items()}
    figures = {**measured.as_json(), **_cost(measured, used)}
    return {"contestant": contestant.name, "connections": options.connections, **figures, "ran_out": load.ran_out}


def _cost(measured: Measured, used: Mapping[str, float]) -> RoundRow:
    """CPU time of the server for each enrolment; for each answer if there were others."""
    enrolled = measured.outcomes["enrolled"] + measured.outcomes_outside["enrolled"]
    only_enrolments = enrolled > 0 and not measured.outcomes["ok"] + measured.outcomes_outside["ok"]
    divisor = enrolled if only_enrolments else measured.everything
    if not divisor:
        return {"server_cpu_s": dict(used)}
    name = "cpu_us_per_enrolment" if only_enrolments else "cpu_us_per_answer"
    parts = {part: round(seconds / divisor * 1e6, 1) for part, seconds in used.items()}
    return {
        "server_cpu_s": {part: round(seconds, 3) for part, seconds in used.items()},
        name: round(sum(used.values()) / divisor * 1e6, 1),
        f"{name}_by": parts,
    }


async def verify_contestant(contestant: Contestant) -> dict[str, Any]:
    """Run ``verify`` on one database; for a Seatline by its command, which checks its actors, too."""
    if contestant.environment is not None:
        accepted = (int(Exit.OK), int(Exit.BROKEN_INVARIANT))
        code, findings = await run_command(contestant.environment, "verify", "--json", accepted=accepted)
        return {"ok": code == 0, "findings": [] if code == 0 else findings}
    findings = await verify(contestant.database_url)
    return {"ok": not findings, "findings": [f"{one.invariant}: {one.title} ({one.total})" for one in findings]}


@contextlib.asynccontextmanager
async def open_contest(
    sandbox: Sandbox, names: Sequence[str], workloads: Sequence[Workload], options: Options, progress: ImportProgress
) -> AsyncIterator[Contest]:
    """Draw the demand, create the databases, start all contestants."""
    turns = options.rounds + (1 if options.at_its_best else 0)  # the last one for probes
    plan = DemandPlan(workloads, turns, options.per_round, options.sections, RAY_SECTIONS, options.seed)
    async with contextlib.AsyncExitStack() as stack:
        await sandbox.make_template(
            TEMPLATE,
            lambda url: fill_term(url, plan.capacities(), plan.students + plan.churn_students, progress),
        )
        stack.push_async_callback(sandbox.drop, TEMPLATE)
        term = await read_term(sandbox.database_url(TEMPLATE))
        running: dict[str, Contestant] = {}
        for done, name in enumerate(names):
            progress("starting", done, len(names))
            url = await sandbox.clone(f"of_{name}", TEMPLATE)
            stack.push_async_callback(sandbox.drop, f"of_{name}")
            starting = (
                start_seatline(sandbox, url)
                if name == SEATLINE
                else start_peer(sandbox, PEERS[name], url, term.section_ids[:RAY_SECTIONS])
            )
            running[name] = await stack.enter_async_context(starting)
        progress("starting", 1, 1)
        requests = Requests(plan, term, TokenBook(sandbox.jwt_secret, term.students))
        yield Contest(sandbox, options, plan, requests, running)


def medians(rows: Sequence[RoundRow], workloads: Sequence[Workload]) -> dict[str, dict[str, RoundRow]]:
    """Medians of the rounds and percentiles of their merged latencies, by workload and contestant."""
    found: dict[str, dict[str, RoundRow]] = {}
    for workload in workloads:
        of_workload = [row for row in rows if row["workload"] == workload.name]
        for name in dict.fromkeys(row["contestant"] for row in of_workload):
            own = [row for row in of_workload if row["contestant"] == name]
            found.setdefault(workload.name, {})[name] = _median_of(own, workload)
    return found


def _median_of(rows: Sequence[RoundRow], workload: Workload) -> RoundRow:
    costs = {key for row in rows for key in row if key in {"cpu_us_per_enrolment", "cpu_us_per_answer"}}
    figures = [row[workload.counts] for row in rows]
    return {
        "per_s": round(median(figures), 1),
        "rounds": figures,
        "connections": rows[0]["connections"],
        **{key: round(median(row[key] for row in rows if key in row), 1) for key in sorted(costs)},
        "latency_ms": percentiles_ms(merged(row["latency_hdr"] for row in rows)),
        "failed": sum(row["failed"] for row in rows),
        "shed": sum(row["shed"] for row in rows),
        "client_cpu_share": max(row["client"]["cpu_share"] for row in rows),
    }


def ratios(rows: Sequence[RoundRow], workloads: Sequence[Workload]) -> dict[str, dict[str, float]]:
    """Seatline over each peer, by peer and workload: the median over rounds of the ratio within a round."""
    found: dict[str, dict[str, float]] = {}
    for workload in workloads:
        rounds: dict[int, dict[str, float]] = {}
        for row in rows:
            if row["workload"] == workload.name:
                rounds.setdefault(row["round"], {})[row["contestant"]] = row[workload.counts]
        for name in dict.fromkeys(name for one in rounds.values() for name in one if name != SEATLINE):
            paired = [one[SEATLINE] / one[name] for one in rounds.values() if one.get(name) and SEATLINE in one]
            if paired:
                found.setdefault(name, {})[workload.name] = round(median(paired), 3)
    return found
