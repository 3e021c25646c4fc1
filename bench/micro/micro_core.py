"""Microbenchmarks of the domain: rules, decisions of a batch, rows for the database."""

from __future__ import annotations

import asyncio
import itertools
import time

from pytest_benchmark.fixture import BenchmarkFixture

from allocator.model.outcomes import Reason
from allocator.rules.case import Case, Moment
from allocator.rules.table import Judge
from allocator.turns.decision import Decision
from allocator.turns.inbox import Entry
from bench.micro import sample_data
from persistence.store.changes import messages, new_enrollments
from persistence.store.history import event_to_row
from persistence.store.stored_outcomes import encode_outcome


def time_rules_of_one_request(benchmark: BenchmarkFixture) -> None:
    """The rules for a student with three sections who asks for a fourth."""
    record = next(iter(sample_data.records(1).values()))
    against_adding, now = Judge().at(Moment.ADD), time.time()

    def ask() -> list[Reason]:
        held = [sample_data.EVERY_FACT[section_id] for section_id in record.enrolled]
        return against_adding(Case(sample_data.FACTS[1], record, held, now))

    assert benchmark(ask) == []


def time_decide_a_batch_of_200(benchmark: BenchmarkFixture, runner: asyncio.Runner) -> None:
    """Decide a batch, and collect its changes."""

    def decide(decision: Decision, waiting: list[Entry]) -> int:
        decision.decide(waiting, {}, {})
        return len(decision.changes().events)

    def prepare() -> tuple[tuple[Decision, list[Entry]], dict[str, object]]:
        return (runner.run(_decision()), {})

    assert benchmark.pedantic(decide, setup=prepare, rounds=200) == sample_data.BATCH  # type: ignore[no-untyped-call]


async def _decision() -> tuple[Decision, list[Entry]]:
    decision = Decision(
        sample_data.sections(),
        sample_data.EVERY_FACT.__getitem__,
        sample_data.records(),
        itertools.count(1),
        time.time(),
        Judge(),
    )
    return decision, sample_data.entries()


def time_rows_of_a_batch_of_200(benchmark: BenchmarkFixture, runner: asyncio.Runner) -> None:
    """Make the rows of a decided batch."""
    decision, waiting = runner.run(_decision())
    decision.decide(waiting, {}, {})
    changes = decision.changes()

    def rows() -> int:
        answers = [encode_outcome(answer.outcome) for answer in changes.answers]
        history = [event_to_row(event, 1) for event in changes.events]
        enrollments, outbox = list(new_enrollments(changes.events)), list(messages(changes.events))
        return len(answers) + len(history) + len(enrollments) + len(outbox)

    assert benchmark(rows) == 4 * sample_data.BATCH
