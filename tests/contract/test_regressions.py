"""Regression tests of the drain loop, on both stores, for errors that a review found."""

from __future__ import annotations

import asyncio

import pytest

from allocator.model.commands import RecheckHead
from allocator.model.events import CapacityChanged, SeatTaken
from allocator.model.outcomes import Code
from allocator.model.record import RecordKey
from allocator.ports import Changes, SeatWrite, StaleEpochError
from tests.contract.test_service import settled
from tests.drain_loop import ask, capacity, drop, enroll, make_service, running, sealed
from tests.sample_campus import World, monday


async def test_a_blocked_head_that_became_eligible_while_the_section_was_full_is_not_passed(world: World) -> None:
    crowded = await world.add_section(1, meetings=monday(9))
    clashing = await world.add_section(5, meetings=monday(9))
    first, head, second, third = [await world.add_student() for _ in range(4)]
    async with running(make_service(world.store(), recheck_interval_s=30.0)) as service:
        seats = [await ask(service, enroll(first, crowded))]
        for student in (head, second, third):
            await ask(service, enroll(student, crowded))
        clash = await ask(service, enroll(head, clashing))
        await ask(service, drop(first, crowded, seats[0].enrollment_id))
        await settled(world, crowded, second, "enrolled")  # rightly: the head is blocked
        await ask(service, drop(head, clashing, clash.enrollment_id))  # now it is not, but the section is full
        await ask(service, capacity(crowded, 2))
        await settled(world, crowded, head, "enrolled")
        assert (await world.statuses(crowded))[third] == "waitlisted"


async def test_a_newcomer_does_not_pass_a_head_that_became_eligible_a_moment_ago(world: World) -> None:
    crowded = await world.add_section(0, meetings=monday(9))
    clashing = await world.add_section(5, meetings=monday(9))
    head, newcomer = await world.add_student(), await world.add_student()
    service, other = make_service(world.store(), recheck_interval_s=30.0), make_service(world.store(), "b")
    async with running(service), running(other):
        await ask(service, enroll(head, crowded))
        clash = await ask(other, enroll(head, clashing))
        await ask(service, capacity(crowded, 1))
        await blocked(world, crowded)
        await ask(service, capacity(crowded, 1))  # the next look without cause is far off
        await ask(other, drop(head, clashing, clash.enrollment_id))
        assert (await ask(service, enroll(newcomer, crowded))).code is Code.WAITLISTED
        await settled(world, crowded, head, "enrolled")


async def test_nor_in_the_very_turn_in_which_it_became_eligible(world: World) -> None:
    crowded = await world.add_section(0, meetings=monday(9))
    clashing = await world.add_section(5, meetings=monday(9))
    head, newcomer = await world.add_student(), await world.add_student()
    async with running(make_service(world.store(), recheck_interval_s=30.0)) as service:
        await ask(service, enroll(head, crowded))
        clash = await ask(service, enroll(head, clashing))
        await ask(service, capacity(crowded, 1))
        await blocked(world, crowded)
        batch = [drop(head, clashing, clash.enrollment_id), enroll(newcomer, crowded)]
        outcomes = await service.submit([(command, 5.0) for command in batch])
        assert [one.code for one in outcomes] == [Code.DROPPED, Code.WAITLISTED]
        await settled(world, crowded, head, "enrolled")


async def test_blocked_heads_are_looked_at_again_after_a_change_of_the_catalogue(world: World) -> None:
    crowded = await world.add_section(0, meetings=monday(9))
    clashing = await world.add_section(5, meetings=monday(9))
    elsewhere = await world.add_section(5)
    head, somebody = await world.add_student(), await world.add_student()
    service, other = make_service(world.store()), make_service(world.store(), "b")
    async with running(service), running(other):
        await ask(service, enroll(head, crowded))
        clash = await ask(other, enroll(head, clashing))
        await ask(service, capacity(crowded, 1))
        await blocked(world, crowded)
        await world.change_catalogue(elsewhere, 1)
        await ask(service, enroll(somebody, elsewhere))  # the facts of the crowded section are forgotten here
        await ask(other, drop(head, clashing, clash.enrollment_id))
        await settled(world, crowded, head, "enrolled")
    assert service.stats.failed_turns == 0


async def test_facts_that_were_read_before_any_version_was_seen_are_read_again(world: World) -> None:
    section_id, student_id = await world.add_section(5, credit_count=3), await world.add_student()
    async with running(make_service(world.store())) as service:
        await ask(service, capacity(section_id, 6))  # staff lock no record, so no version is seen
        await world.change_catalogue(section_id, 7)
        await ask(service, enroll(student_id, section_id))
    assert (await world.record(student_id))[0] == 7


async def test_a_student_who_stays_locked_elsewhere_does_not_hold_up_the_others(world: World) -> None:
    section_id = await world.add_section(5)
    stuck, free = await world.add_student(), await world.add_student()
    service = make_service(world.store())
    async with running(service):
        await ask(service, enroll(await world.add_student(), section_id))
        async with world.store().turn() as holding:
            await holding.lock_records([RecordKey(stuck, world.semester_id)], [])
            waiting = asyncio.create_task(ask(service, enroll(stuck, section_id), budget_s=10.0))
            async with asyncio.timeout(5):
                while not service.stats.busy_turns:  # it has waited for the lock in vain
                    await asyncio.sleep(0.005)
                turns = service.stats.busy_turns
                assert (await ask(service, enroll(free, section_id))).code is Code.ENROLLED
                assert service.stats.busy_turns <= turns + 1
        assert (await waiting).code is Code.ENROLLED


async def test_an_old_epoch_is_stale_even_where_the_new_owner_has_written_since(world: World) -> None:
    store, other = world.store(), world.store()
    section_id, student_id = await world.add_section(30), await world.add_student()
    (old,) = await store.activate([section_id], "one")
    (new,) = await other.activate([section_id], "two")
    write = SeatWrite(section_id, new.epoch, 1, 2, 31, 0, 0, 0, True)
    async with other.turn() as turn:
        await turn.commit(
            Changes([(section_id, new.epoch)], [write], events=[CapacityChanged(section_id, 2, 31, None)])
        )
    enrollment_id = (await store.allocate_enrollment_ids()).start
    stale = Changes(
        [(section_id, old.epoch)],
        [SeatWrite(section_id, old.epoch, 1, 2, 30, 1, 0, 0, True)],
        events=[SeatTaken(section_id, 2, student_id, enrollment_id, 3)],
    )
    with pytest.raises(StaleEpochError):
        async with store.turn() as turn:
            await turn.commit(stale)
    assert await world.statuses(section_id) == {}


async def blocked(world: World, section_id: int) -> None:
    """Wait until a promotion was refused and committed as such: an event that changes no seat."""
    async with asyncio.timeout(5):
        while f"{section_id}:4" not in {event_id for event_id, _ in await world.outbox()}:
            await asyncio.sleep(0.005)


async def test_with_seats_for_all_nobody_is_told_that_the_section_is_full_while_the_waitlist_moves_up(
    world: World,
) -> None:
    section_id = await world.add_section(0)
    waiting, newcomer, other = [await world.add_student() for _ in range(3)]
    async with running(make_service(world.store())) as service:
        await ask(service, enroll(waiting, section_id))
        raised, seat_only, patient = await service.submit(
            [
                (sealed(capacity(section_id, 3)), 5.0),
                (enroll(newcomer, section_id, join_waitlist=False), 5.0),
                (enroll(other, section_id), 5.0),
            ]
        )
    assert [raised.code, seat_only.code, patient.code] == [Code.CHANGED, Code.ENROLLED, Code.ENROLLED]
    assert (await world.statuses(section_id))[waiting] == "enrolled"


async def test_a_free_seat_is_not_denied_to_a_newcomer_after_a_drop_in_the_same_turn(world: World) -> None:
    section_id = await world.add_section(1)
    leaving, waiting, newcomer = [await world.add_student() for _ in range(3)]
    async with running(make_service(world.store())) as service:
        held = await ask(service, enroll(leaving, section_id))
        await ask(service, enroll(waiting, section_id))
        dropped, refusal = await service.submit(
            [
                (drop(leaving, section_id, held.enrollment_id), 5.0),
                (enroll(newcomer, section_id, join_waitlist=False), 5.0),
            ]
        )
    assert (dropped.code, refusal.code) == (Code.DROPPED, Code.REFUSED)
    assert (await world.statuses(section_id))[waiting] == "enrolled"


async def test_who_is_asked_to_look_again_notices_that_the_section_is_no_longer_theirs(world: World) -> None:
    section_id = await world.add_section(1)
    first, head = await world.add_student(), await world.add_student()
    old = make_service(world.store(), "old")
    async with running(old):
        held = await ask(old, enroll(first, section_id))
        await ask(old, enroll(head, section_id))
        await free_without_promoting(world, section_id, held.enrollment_id, first)
        await ask(old, RecheckHead(section_id, head))
        await settled(world, section_id, head, "enrolled")


async def free_without_promoting(world: World, section_id: int, enrollment_id: int | None, student_id: int) -> None:
    """What an actor leaves behind that dies between freeing a seat and promoting."""
    dying = make_service(world.store(), "dying")
    async with running(dying):
        dying._promotions.note = lambda section_id: None  # type: ignore[method-assign]
        outcome = await ask(dying, drop(student_id, section_id, enrollment_id))
        assert outcome.code is Code.DROPPED
