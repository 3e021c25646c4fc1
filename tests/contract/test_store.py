"""The contract of the store: fencing, locks, atomic commits. The same tests for memory and Postgres."""

from __future__ import annotations

import asyncio

import pytest

from allocator.model.events import (
    CapacityChanged,
    PromotionBlocked,
    SeatFreed,
    SeatTaken,
    StudentPromoted,
    StudentWaitlisted,
)
from allocator.model.outcomes import Code, Outcome, Reason, ReasonCode
from allocator.model.record import RecordKey
from allocator.ports import (
    Changes,
    SeatWrite,
    StaleEpochError,
    Store,
    StoreBusyError,
    StoredAnswer,
    StoreRejectedError,
)
from tests.sample_campus import World, monday


async def one_seat(store: Store, world: World, section_id: int, student_id: int, epoch: int) -> Changes:
    """The changes of one enrolment into an empty section."""
    enrollment_id = (await store.allocate_enrollment_ids()).start
    return Changes(
        fences=[(section_id, epoch)],
        seats=[SeatWrite(section_id, epoch, 1, 2, 30, 1, 0, 0, True)],
        events=[SeatTaken(section_id, 2, student_id, enrollment_id, 3)],
    )


async def test_a_commit_is_seen_by_the_next_activation(world: World) -> None:
    store, other = world.store(), world.store()
    section_id, student_id = await world.add_section(30), await world.add_student()
    (state,) = await store.activate([section_id], "one")
    async with store.turn() as turn:
        key = RecordKey(student_id, world.semester_id)
        locked = await turn.lock_records([], [key])
        record = locked.records[key]
        record.apply(SeatTaken(section_id, 2, student_id, 1, 3))
        changes = await one_seat(store, world, section_id, student_id, state.epoch)
        changes.records = [record]
        await turn.commit(changes)
    (seen,) = await other.activate([section_id], "two")
    assert (seen.enrolled, seen.seq, seen.epoch) == (1, 2, state.epoch + 1)
    assert await world.record(student_id) == (3, [section_id], [])
    assert await world.statuses(section_id) == {student_id: "enrolled"}
    assert (f"{section_id}:2", "enrolled") in await world.outbox()


async def test_an_old_epoch_commits_nothing(world: World) -> None:
    store, other = world.store(), world.store()
    section_id, student_id = await world.add_section(30), await world.add_student()
    (old,) = await store.activate([section_id], "one")
    await other.activate([section_id], "two")
    changes = await one_seat(store, world, section_id, student_id, old.epoch)
    with pytest.raises(StaleEpochError) as stale:
        async with store.turn() as turn:
            await turn.commit(changes)
    assert stale.value.section_ids == {section_id}
    assert await world.statuses(section_id) == {}
    assert (await world.seats(section_id)).enrolled == 0


async def test_a_refusal_under_an_old_epoch_does_not_go_out(world: World) -> None:
    store, other = world.store(), world.store()
    section_id = await world.add_section(0)
    (old,) = await store.activate([section_id], "one")
    await other.activate([section_id], "two")
    with pytest.raises(StaleEpochError):
        async with store.turn() as turn:
            await turn.commit(Changes(fences=[(section_id, old.epoch)]))


async def test_leaving_a_turn_without_a_commit_changes_nothing_and_unlocks(world: World) -> None:
    store, other = world.store(), world.store()
    student_id = await world.add_student()
    key = RecordKey(student_id, world.semester_id)
    with pytest.raises(RuntimeError, match="gives up"):
        async with store.turn() as turn:
            await turn.lock_records([key], [])
            raise RuntimeError("gives up")
    async with other.turn() as turn:
        assert key in (await turn.lock_records([], [key])).records


async def test_a_record_locked_elsewhere_is_skipped_or_waited_for(world: World) -> None:
    store, other = world.store(), world.store()
    key = RecordKey(await world.add_student(), world.semester_id)
    free = RecordKey(await world.add_student(), world.semester_id)
    async with store.turn() as holding:
        await holding.lock_records([], [key])
        async with other.turn() as turn:
            assert set((await turn.lock_records([], [key, free])).records) == {free}
        with pytest.raises(StoreBusyError):
            async with other.turn() as turn:
                await turn.lock_records([key], [])
    async with other.turn() as turn:
        assert set((await turn.lock_records([key], [])).records) == {key}


async def test_who_waits_for_a_record_reads_what_its_holder_wrote(world: World) -> None:
    store, other = world.store(), world.store()
    section_id, student_id = await world.add_section(30), await world.add_student()
    key = RecordKey(student_id, world.semester_id)
    (state,) = await store.activate([section_id], "one")
    reading = asyncio.Event()

    async def wait_and_read() -> list[int]:
        async with other.turn() as turn:
            reading.set()
            return (await turn.lock_records([key], [])).records[key].enrolled

    async with store.turn() as turn:
        record = (await turn.lock_records([key], [])).records[key]
        waiter = asyncio.create_task(wait_and_read())
        await reading.wait()
        await asyncio.sleep(0.05)
        record.apply(SeatTaken(section_id, 2, student_id, 1, 3))
        changes = await one_seat(store, world, section_id, student_id, state.epoch)
        changes.records = [record]
        await turn.commit(changes)
    assert await waiter == [section_id]


async def test_unknown_records_and_sections_are_left_out(world: World) -> None:
    store = world.store()
    async with store.turn() as turn:
        assert (await turn.lock_records([RecordKey(9_999_999, 1)], [RecordKey(9_999_998, 1)])).records == {}
        assert await turn.answers([(9_999_999, "none")]) == {}
        assert await turn.enrollments([9_999_999]) == {}
    assert await store.activate([9_999_999], "one") == []
    assert await store.facts([9_999_999]) == []


async def test_stored_answers_come_back_whole_and_a_second_one_is_refused(world: World) -> None:
    store = world.store()
    student_id = await world.add_student()
    reason = Reason(ReasonCode.HOLD, 'A "hold", with ünïcode.', None)
    answer = StoredAnswer(student_id, "k-1", "enroll 1 waitlist", Outcome(Code.REFUSED, 1, reasons=(reason,)))
    async with store.turn() as turn:
        await turn.commit(Changes(answers=[answer]))
    async with store.turn() as turn:
        assert await turn.answers([(student_id, "k-1"), (student_id, "k-2")]) == {(student_id, "k-1"): answer}
    with pytest.raises(StoreBusyError):
        async with store.turn() as turn:
            await turn.commit(Changes(answers=[answer]))


async def test_the_backstop_refuses_more_students_than_seats(world: World) -> None:
    store = world.store()
    section_id, student_id = await world.add_section(1), await world.add_student()
    (state,) = await store.activate([section_id], "one")
    changes = await one_seat(store, world, section_id, student_id, state.epoch)
    changes.seats = [SeatWrite(section_id, state.epoch, 1, 2, 1, 2, 0, 0, True)]
    with pytest.raises(StoreRejectedError):
        async with store.turn() as turn:
            await turn.commit(changes)
    assert await world.statuses(section_id) == {}


async def test_after_a_cut_the_students_in_may_stay_but_none_may_be_added(world: World) -> None:
    store = world.store()
    section_id = await world.add_section(3)
    students = [await world.add_student() for _ in range(4)]
    (state,) = await store.activate([section_id], "one")
    ids = iter(await store.allocate_enrollment_ids())
    taken = [SeatTaken(section_id, 2 + n, students[n], next(ids), 3) for n in range(3)]
    epoch = state.epoch

    async def write(seq_before: int, seats: int, enrolled: int, *events: object) -> None:
        claimed = max(0, enrolled - seats)  # also by an actor that is wrong
        seq = seq_before + len(events)
        change = SeatWrite(section_id, epoch, seq_before, seq, seats, enrolled, 0, 0, True, claimed)
        async with store.turn() as turn:
            await turn.commit(Changes(fences=[(section_id, epoch)], seats=[change], events=list(events)))  # type: ignore[arg-type]

    await write(1, 3, 3, *taken)
    await write(4, 1, 3, CapacityChanged(section_id, 5, 1, None))
    with pytest.raises(StoreRejectedError):
        await write(5, 1, 4, SeatTaken(section_id, 6, students[3], next(ids), 3))
    await write(5, 1, 2, SeatFreed(section_id, 6, students[0], taken[0].enrollment_id, 3))
    with pytest.raises(StoreRejectedError):
        await write(6, 1, 3, SeatTaken(section_id, 7, students[3], next(ids), 3))


async def test_a_student_cannot_be_in_a_section_twice(world: World) -> None:
    store = world.store()
    section_id, student_id = await world.add_section(30), await world.add_student()
    (state,) = await store.activate([section_id], "one")
    async with store.turn() as turn:
        await turn.commit(await one_seat(store, world, section_id, student_id, state.epoch))
    again = await one_seat(store, world, section_id, student_id, state.epoch)
    again.seats = [SeatWrite(section_id, state.epoch, 2, 3, 30, 2, 0, 0, True)]
    again.events = [again.events[0]._replace(seq=3)]
    with pytest.raises(StoreRejectedError):
        async with store.turn() as turn:
            await turn.commit(again)


async def test_the_life_of_a_waiting_student(world: World) -> None:
    store = world.store()
    section_id, student_id = await world.add_section(0), await world.add_student()
    (state,) = await store.activate([section_id], "one")
    enrollment_id = (await store.allocate_enrollment_ids()).start
    epoch = state.epoch

    async def write(seats: SeatWrite, event: object) -> None:
        async with store.turn() as turn:
            await turn.commit(Changes(fences=[(section_id, epoch)], seats=[seats], events=[event]))  # type: ignore[list-item]

    await write(
        SeatWrite(section_id, epoch, 1, 2, 0, 0, 1, 1, True),
        StudentWaitlisted(section_id, 2, student_id, enrollment_id, 1),
    )
    await write(
        SeatWrite(section_id, epoch, 2, 3, 0, 0, 1, 1, True),
        PromotionBlocked(section_id, 3, student_id, enrollment_id, 1, 7, ("credit_limit", "hold")),
    )
    (state,) = await store.activate([section_id], "two")
    assert [(one.place, one.student_id, one.blocked_at) for one in state.waiting] == [(1, student_id, 7)]
    epoch = state.epoch
    await write(SeatWrite(section_id, epoch, 3, 4, 1, 0, 1, 1, True), CapacityChanged(section_id, 4, 1, 5))
    await write(
        SeatWrite(section_id, epoch, 4, 5, 1, 1, 0, 1, True),
        StudentPromoted(section_id, 5, student_id, enrollment_id, 1, 4),
    )
    async with store.turn() as turn:
        held = (await turn.enrollments([enrollment_id]))[enrollment_id]
    assert (held.status, held.credits, held.student_id) == ("enrolled", 4, student_id)
    (state,) = await store.activate([section_id], "three")
    assert (state.waiting, state.last_place, state.enrolled) == ((), 1, 1)


async def test_facts_and_versions(world: World) -> None:
    store = world.store()
    section_id = await world.add_section(5, credit_count=4, meetings=monday(9), component="LA")
    (facts,) = await store.facts([section_id])
    assert (facts.credits, facts.component, facts.meetings) == (4, "LA", monday(9))
    key = RecordKey(await world.add_student(), world.semester_id)
    assert await store.record_versions([key]) == {key: 0}
    async with store.turn() as turn:
        before = (await turn.lock_records([], [key])).catalogue_version
    await world.change_catalogue(section_id, 2)
    async with store.turn() as turn:
        after = (await turn.lock_records([], [key])).catalogue_version
    assert before is not None
    assert after is not None
    assert after > before
    assert (await store.facts([section_id]))[0].credits == 2


async def test_blocks_of_enrolment_ids_never_overlap(world: World) -> None:
    stores = [world.store() for _ in range(3)]
    blocks = await asyncio.gather(*(store.allocate_enrollment_ids() for store in stores for _ in range(1)))
    ids = [one for block in blocks for one in block]
    assert len(ids) == len(set(ids))
    assert all(len(block) >= 512 for block in blocks)
