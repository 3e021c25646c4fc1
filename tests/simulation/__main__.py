"""Runs many seeds, or shows one in detail: ``python -m tests.simulation --help``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.progress import track

from tests.simulation.mutations import Mutation
from tests.simulation.plan import Fault, Plan
from tests.simulation.run import Run, shrink, simulate

EPILOG = """\
examples:
  python -m tests.simulation --seeds 10000           all seeds from 0 to 9999
  python -m tests.simulation --seed 42 --trace       one run, step by step
  python -m tests.simulation --seed 42 --shrink      the smallest run that fails like it
  python -m tests.simulation --mutation fence        how soon is a missing fence found?
exit: 0 all held, 1 an invariant was broken (with --mutation: it was not)"""
FAILURES_SHOWN = 5
CHUNK = 20

console = Console(stderr=True)


def main() -> int:
    """The command."""
    options = _parser().parse_args()
    mutation = None if options.mutation is None else Mutation(options.mutation)
    if options.seed is not None:
        return _one(options.seed, mutation, show_trace=options.trace, smaller=options.shrink)
    seeds = range(options.start, options.start + options.seeds)
    if mutation is not None:
        return _hunt(mutation, seeds)
    return _all(seeds, options.processes, as_json=options.json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation",
        description="A whole Seatline in simulated time, with faults; each run follows from its seed.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, default=1000, help="how many runs (1000)")
    parser.add_argument("--start", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="run side by side (all cores)")
    parser.add_argument("--json", action="store_true", help="the result as JSON on standard output")
    parser.add_argument("--seed", type=int, help="this run only")
    parser.add_argument("--trace", action="store_true", help="with --seed: print every step")
    parser.add_argument("--shrink", action="store_true", help="with --seed: look for a smaller run that fails too")
    parser.add_argument("--mutation", choices=[one.value for one in Mutation], help="take a safeguard out first")
    return parser


def _one(seed: int, mutation: Mutation | None, *, show_trace: bool, smaller: bool) -> int:
    run = shrink(Plan.of(seed), mutation) if smaller else simulate(Plan.of(seed), mutation)
    if show_trace:
        print("\n".join(run.trace))
    console.print(f"{run.plan}\n{run.operations} requests, {run.commits} commits, {run.simulated_s:.1f} s simulated")
    console.print(f"digest {run.digest}")
    console.print(run.broken or "everything held", markup=False, highlight=False)
    return 0 if run.broken is None else 1


def _hunt(mutation: Mutation, seeds: Iterable[int]) -> int:
    started = time.monotonic()
    for count, seed in enumerate(seeds, start=1):
        run = simulate(Plan.of(seed), mutation)
        if run.broken is not None:
            console.print(f"{mutation.value}: found by run {count} (seed {seed}) in {time.monotonic() - started:.1f} s")
            console.print(run.broken.partition("\n")[0], markup=False, highlight=False)
            return 0
    console.print(f"{mutation.value}: not found")
    return 1


def _all(seeds: range, processes: int, *, as_json: bool) -> int:
    started = time.monotonic()
    runs = operations = commits = 0
    struck: Counter[Fault] = Counter()
    failed: list[tuple[int, str]] = []
    for summary in track(_spread(seeds, processes), "simulating", total=len(seeds), console=console):
        runs += 1
        operations += summary.operations
        commits += summary.commits
        struck.update(summary.struck)
        if summary.broken is not None:
            failed.append((summary.plan.seed, summary.broken))
    seconds = time.monotonic() - started
    result = {
        "runs": runs,
        "failed": [seed for seed, _ in failed],
        "requests": operations,
        "commits": commits,
        "faults": {fault.value: struck[fault] for fault in Fault},
        "seconds": round(seconds, 1),
        "runs_per_s": round(runs / seconds, 1),
        "processes": processes,
    }
    _report(result, failed)
    if as_json:
        print(json.dumps(result, indent=2))
    return 1 if failed else 0


def _spread(seeds: range, processes: int) -> Iterator[Run]:
    """Runs in the order of their seeds, without their traces: those are long, and one seed away."""
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(_summary, seeds, chunksize=CHUNK)


def _summary(seed: int) -> Run:
    run = simulate(Plan.of(seed))
    run.trace.clear()
    return run


def _report(result: dict[str, object], failed: list[tuple[int, str]]) -> None:
    console.print(
        f"{result['runs']} runs, {result['requests']} requests, {result['commits']} commits in {result['seconds']} s: "
        f"{result['runs_per_s']} runs/s with {result['processes']} processes; {len(failed)} failed"
    )
    for seed, broken in failed[:FAILURES_SHOWN]:
        console.print(f"\nseed {seed}: {broken}", markup=False, highlight=False)
        console.print(f"again: {Path(sys.executable).name} -m tests.simulation --seed {seed} --shrink --trace")


if __name__ == "__main__":
    sys.exit(main())
