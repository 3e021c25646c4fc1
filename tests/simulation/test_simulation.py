"""Seatline keeps its guarantees under every fault of the simulation, and the simulation detects every mutation."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from cluster.gateway.conclusion import ACTOR_MARGIN_S
from tests.simulation.cluster import DEADLINE_S
from tests.simulation.loop import DeadlockError, run_simulated
from tests.simulation.mutations import Mutation
from tests.simulation.plan import Fault, Plan
from tests.simulation.run import shrink, simulate

SEEDS = 200
CHUNK = 20
HUNT = 1000
MOVES = 100
MOVING = (
    Fault.MEMBERS_CHANGE,
    Fault.PINNED,
    Fault.VIEW_LATE,
    Fault.SECTIONS_RELEASED,
    Fault.SECTIONS_IDLE,
)
"""All that moves sections while nothing is broken."""


@pytest.mark.parametrize("start", range(0, SEEDS, CHUNK))
def test_everything_holds(start: int) -> None:
    for seed in range(start, start + CHUNK):
        run = simulate(Plan.of(seed))
        assert run.broken is None, f"python -m tests.simulation --seed {seed} --shrink\n{run.broken}"
        assert run.operations > 0


@pytest.mark.parametrize("faults", [MOVING, (*MOVING, Fault.CONTROLLER_KILLED)], ids=["", "the controller dies"])
def test_moving_sections_alone_turns_nobody_away(faults: tuple[Fault, ...]) -> None:
    for seed in range(MOVES):
        run = simulate(replace(Plan.of(seed), faults=faults))
        assert run.broken is None, f"seed {seed}: {run.broken}"
        assert run.turned_away == 0, f"seed {seed}"
        assert run.waited_s < DEADLINE_S - ACTOR_MARGIN_S, f"seed {seed}"


def test_forwarding_that_does_not_end_would_turn_somebody_away() -> None:
    faults = (Fault.MEMBERS_CHANGE, Fault.PINNED, Fault.CONTROLLER_KILLED)
    plans = (replace(Plan.of(seed), faults=faults) for seed in range(HUNT))
    assert any(simulate(plan, Mutation.FORWARDING_ENDS).turned_away for plan in plans)


@pytest.mark.parametrize("mutation", [one for one in Mutation if one is not Mutation.FORWARDING_ENDS])
def test_a_missing_safeguard_is_found(mutation: Mutation) -> None:
    assert any(simulate(Plan.of(seed), mutation).broken for seed in range(HUNT))


def test_the_seeds_meet_every_fault() -> None:
    struck = dict.fromkeys(Fault, 0)
    for seed in range(60):
        for fault, count in simulate(Plan.of(seed)).struck.items():
            struck[fault] += count
    assert [fault for fault, count in struck.items() if count == 0] == []


def test_the_same_seed_is_the_same_run_to_the_last_step_whatever_python_hashes() -> None:
    digests = set()
    for hash_seed in ("1", "2"):
        code = "from tests.simulation.run import *; print([simulate(Plan.of(s)).digest for s in range(12)])"
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        digests.add(done.stdout)
    assert len(digests) == 1


def test_a_failing_run_shrinks_to_one_that_still_fails() -> None:
    plan = next(Plan.of(seed) for seed in range(HUNT) if simulate(Plan.of(seed), Mutation.STUDENT_LOCK).broken)
    small = shrink(plan, Mutation.STUDENT_LOCK)
    assert small.broken
    assert small.plan.students * small.plan.steps <= plan.students * plan.steps
    assert simulate(small.plan).broken is None


def test_simulated_time_passes_at_once_and_a_deadlock_is_named() -> None:
    async def sleep_long() -> float:
        await asyncio.sleep(86_400.0)
        return asyncio.get_running_loop().time()

    async def wait_for_nothing() -> None:
        await asyncio.get_running_loop().create_future()

    assert run_simulated(sleep_long()) == 86_400.0
    with pytest.raises(DeadlockError):
        run_simulated(wait_for_nothing())
