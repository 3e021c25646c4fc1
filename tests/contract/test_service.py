"""The drain loop on both stores: the answers to students, and the contents of the store afterwards."""

from __future__ import annotations

import asyncio

from allocator.model.commands import CloseSection, OpenSection
from allocator.model.delivery import Undecided
from allocator.model.outcomes import Code, ReasonCode
from tests.drain_loop import ask, ask_for_reply, capacity, drop, enroll, make_service, running, sealed
from tests.sample_campus import World, monday


async def test_seats_then_places_then_promotion_in_order(world: World) -> None:
    section_id = await world.add_section(2)
    students = [await world.add_student() for _ in range(5)]
    async with running(make_service(world.store())) as service:
        outcomes = [await ask(service, enroll(student, section_id)) for student in students]
        assert [one.code for one in outcomes] == [Code.ENROLLED] * 2 + [Code.WAITLISTED] * 3
        assert [one.place for one in outcomes[2:]] == [1, 2, 3]
        assert [one.position for one in outcomes[2:]] == [1, 2, 3]
        dropped = await ask(service, drop(students[0], section_id, outcomes[0].enrollment_id))
        assert dropped.code is Code.DROPPED
        await settled(world, section_id, students[2], "enrolled")
        assert (await ask(service, capacity(section_id, 3))).code is Code.CHANGED
        await settled(world, section_id, students[3], "enrolled")
    seats = await world.seats(section_id)
    assert (seats.capacity, seats.enrolled, seats.waitlisted) == (3, 3, 1)
    assert await world.record(students[2]) == (3, [section_id], [])
    assert await world.record(students[0]) == (0, [], [])


async def test_a_thousand_at_once_on_thirty_seats(world: World) -> None:
    section_id = await world.add_section(30)
    students = [await world.add_student() for _ in range(200)]
    async with running(make_service(world.store(), batch_max=64)) as service:
        outcomes = await asyncio.gather(*(ask(service, enroll(student, section_id)) for student in students))
    assert [one.code for one in outcomes].count(Code.ENROLLED) == 30
    assert sorted(one.place for one in outcomes if one.place is not None) == list(range(1, 171))


async def test_all_reasons_at_once(world: World) -> None:
    held = await world.add_section(5, meetings=monday(9, 2))
    wanted = await world.add_section(0, meetings=monday(10), credit_count=16)
    student_id = await world.add_student(credit_limit=18)
    async with running(make_service(world.store())) as service:
        await ask(service, enroll(student_id, held))
        await ask(service, CloseSection(wanted, 1))
        refused = await ask(service, enroll(student_id, wanted, join_waitlist=False))
        assert {reason.code for reason in refused.reasons} == {
            ReasonCode.SCHEDULE_CONFLICT,
            ReasonCode.CREDIT_LIMIT,
            ReasonCode.SECTION_CLOSED,
            ReasonCode.SECTION_FULL,
        }
        assert await world.statuses(wanted) == {}


async def test_a_closed_section_takes_nobody_and_promotes_nobody_until_it_opens(world: World) -> None:
    section_id = await world.add_section(1)
    first, second, third = [await world.add_student() for _ in range(3)]
    async with running(make_service(world.store())) as service:
        seat = await ask(service, enroll(first, section_id))
        await ask(service, enroll(second, section_id))
        await ask(service, CloseSection(section_id, 1))
        await ask(service, drop(first, section_id, seat.enrollment_id))
        assert (await ask(service, enroll(third, section_id))).reasons[0].code is ReasonCode.SECTION_CLOSED
        await asyncio.sleep(0.1)
        assert (await world.statuses(section_id))[second] == "waitlisted"
        await ask(service, OpenSection(section_id, 1))
        await settled(world, section_id, second, "enrolled")


async def test_the_same_key_has_one_effect_and_one_answer(world: World) -> None:
    section_id, other = await world.add_section(30), await world.add_section(30)
    student_id = await world.add_student()
    async with running(make_service(world.store())) as service:
        command = enroll(student_id, section_id, key="mine")
        answers = await asyncio.gather(*(ask_for_reply(service, command) for _ in range(5)))
        outcomes = [one.outcome for one in answers if one.outcome is not None]
        assert {(one.code, one.enrollment_id) for one in outcomes} == {(Code.ENROLLED, outcomes[0].enrollment_id)}
        assert sorted(one.replayed for one in answers) == [False, True, True, True, True]
        reused = await ask(service, enroll(student_id, other, key="mine"))
        assert reused.code is Code.KEY_REUSED
        somebody_else = await ask_for_reply(service, enroll(await world.add_student(), section_id, key="mine"))
        assert (somebody_else.code, somebody_else.replayed) == (Code.ENROLLED, False)
    assert (await world.seats(section_id)).enrolled == 2
    assert (await world.seats(other)).enrolled == 0


async def test_a_refusal_is_repeated_too(world: World) -> None:
    section_id = await world.add_section(0)
    student_id = await world.add_student()
    async with running(make_service(world.store())) as service:
        command = enroll(student_id, section_id, key="again", join_waitlist=False)
        first = await ask_for_reply(service, command)
        await ask(service, capacity(section_id, 5))
        second = await ask_for_reply(service, command)
    assert (first.code, first.replayed) == (Code.REFUSED, False)
    assert second == first._replace(replayed=True)


async def test_only_the_owner_of_an_enrolment_can_drop_it_and_twice_is_once(world: World) -> None:
    section_id = await world.add_section(5)
    mine, theirs = await world.add_student(), await world.add_student()
    async with running(make_service(world.store())) as service:
        seat = await ask(service, enroll(mine, section_id))
        assert (await ask(service, drop(theirs, section_id, seat.enrollment_id))).code is Code.NOT_FOUND
        assert (await ask(service, drop(mine, section_id, 987_654_321))).code is Code.NOT_FOUND
        first = await ask(service, drop(mine, section_id, seat.enrollment_id))
        second = await ask(service, drop(mine, section_id, seat.enrollment_id))
        assert (first.code, second.code) == (Code.DROPPED, Code.DROPPED)
    seats = await world.seats(section_id)
    assert (seats.enrolled, seats.seq) == (0, 3)


async def test_a_blocked_head_keeps_its_place_and_is_promoted_when_its_record_changes(world: World) -> None:
    crowded = await world.add_section(1, meetings=monday(9))
    clashing = await world.add_section(5, meetings=monday(9))
    first, head, behind = [await world.add_student() for _ in range(3)]
    async with running(make_service(world.store())) as service:
        seat = await ask(service, enroll(first, crowded))
        await ask(service, enroll(head, crowded))
        await ask(service, enroll(behind, crowded))
        clash = await ask(service, enroll(head, clashing))
        assert clash.code is Code.ENROLLED  # a place on a waitlist is not a seat: it blocks nothing
        await ask(service, drop(first, crowded, seat.enrollment_id))
        await settled(world, crowded, behind, "enrolled")  # the head is blocked, so the next in line gets the seat
        assert (await world.statuses(crowded))[head] == "waitlisted"
        gone = await ask_for_reply(service, drop(head, clashing, clash.enrollment_id))
        assert gone.recheck == ()  # the section is here: the service looks by itself
        await ask(service, capacity(crowded, 2))
        await settled(world, crowded, head, "enrolled")


async def test_a_blocked_head_is_found_again_without_being_told(world: World) -> None:
    crowded = await world.add_section(0, meetings=monday(9))
    clashing = await world.add_section(5, meetings=monday(9))
    head, newcomer = await world.add_student(), await world.add_student()
    async with running(make_service(world.store())) as service, running(make_service(world.store(), "b")) as other:
        await ask(service, enroll(head, crowded))
        clash = await ask(other, enroll(head, clashing))
        await ask(service, capacity(crowded, 2))
        # Nobody who could be promoted waits, so a newcomer may have one of the seats.
        assert (await ask(service, enroll(newcomer, crowded))).code is Code.ENROLLED
        await ask(other, drop(head, clashing, clash.enrollment_id))
        await settled(world, crowded, head, "enrolled")


async def test_one_student_many_sections_many_actors_stays_legal(world: World) -> None:
    sections = [await world.add_section(5, credit_count=4, meetings=monday(8 + n // 2)) for n in range(12)]
    student_id = await world.add_student(credit_limit=14)
    services = [make_service(world.store(), f"actor-{n}") for n in range(4)]
    async with running(services[0]), running(services[1]), running(services[2]), running(services[3]):
        outcomes = await asyncio.gather(
            *(ask(services[n % 4], enroll(student_id, section)) for n, section in enumerate(sections))
        )
    assert all(one.code in {Code.ENROLLED, Code.REFUSED} for one in outcomes)
    held = [one.section_id for one in outcomes if one.code is Code.ENROLLED]
    hours = [sections.index(one) // 2 for one in held]
    assert len(hours) == len(set(hours)) == 3
    assert await world.record(student_id) == (12, sorted(held, key=(await world.record(student_id))[1].index), [])


async def test_batches_over_the_same_students_in_other_orders_do_not_deadlock(world: World) -> None:
    sections = [await world.add_section(500, credit_count=0) for _ in range(2)]
    students = [await world.add_student() for _ in range(20)]
    one, two = make_service(world.store(), "one"), make_service(world.store(), "two")
    async with running(one), running(two):
        for _ in range(5):
            calls = [one.submit([(enroll(student, sections[0]), 5.0) for student in students])]
            calls.append(two.submit([(enroll(student, sections[1]), 5.0) for student in reversed(students)]))
            await asyncio.gather(*calls)
    assert one.stats.busy_turns == two.stats.busy_turns == 0
    assert (await world.seats(sections[0])).enrolled == (await world.seats(sections[1])).enrolled == 20


async def test_two_owners_by_mistake_still_give_every_seat_once(world: World) -> None:
    section_id = await world.add_section(25)
    students = [await world.add_student() for _ in range(60)]
    one, two = make_service(world.store(), "one"), make_service(world.store(), "two")
    async with running(one), running(two):
        outcomes = await asyncio.gather(
            *(ask((one, two)[n % 2], enroll(student, section_id)) for n, student in enumerate(students))
        )
        assert [outcome.code for outcome in outcomes].count(Code.ENROLLED) == 25
        assert sorted(o.place for o in outcomes if o.place is not None) == list(range(1, 36))
    assert (await world.seats(section_id)).enrolled == 25


async def test_unknown_sections_students_and_late_commands(world: World) -> None:
    section_id, student_id = await world.add_section(5), await world.add_student()
    async with running(make_service(world.store())) as service:
        assert (await ask(service, enroll(student_id, 987_654_321))).code is Code.NOT_FOUND
        stranger = await ask(service, enroll(987_654_321, section_id))
        assert stranger.reasons[0].code is ReasonCode.NOT_REGISTERED
        late = await ask_for_reply(service, enroll(student_id, section_id), budget_s=-1.0)
        assert late.code is Undecided.UNAVAILABLE
    assert await world.statuses(section_id) == {}


async def test_a_full_inbox_sheds_at_once(world: World) -> None:
    section_id = await world.add_section(500)
    students = [await world.add_student() for _ in range(20)]
    service = make_service(world.store(), inbox_max=5)
    calls = asyncio.gather(*(ask_for_reply(service, enroll(student, section_id)) for student in students))
    async with running(service):
        outcomes = await calls
    codes = [outcome.code for outcome in outcomes]
    assert (codes.count(Code.ENROLLED), codes.count(Undecided.OVERLOADED)) == (5, 15)
    assert (await world.seats(section_id)).enrolled == 5


async def test_released_sections_are_served_by_the_next_owner(world: World) -> None:
    section_id = await world.add_section(2)
    students = [await world.add_student() for _ in range(3)]
    one, two = make_service(world.store(), "one"), make_service(world.store(), "two")
    async with running(one), running(two):
        await ask(one, enroll(students[0], section_id))
        await one.release([section_id])
        assert one.snapshot() == []
        assert (await ask(two, enroll(students[1], section_id))).code is Code.ENROLLED
        assert (await ask(two, enroll(students[2], section_id))).place == 1
        (state,) = two.snapshot()
    seats = await world.seats(section_id)
    assert (state.enrolled, len(state.waiting), state.seq, state.epoch) == (
        seats.enrolled,
        seats.waitlisted,
        seats.seq,
        seats.epoch,
    )


async def test_a_change_of_the_catalogue_is_noticed(world: World) -> None:
    section_id = await world.add_section(5, credit_count=3)
    first, second = await world.add_student(), await world.add_student()
    async with running(make_service(world.store())) as service:
        await ask(service, enroll(first, section_id))
        await world.change_catalogue(section_id, 7)
        await ask(service, enroll(second, section_id))
    assert (await world.record(first))[0] == 3
    assert (await world.record(second))[0] == 7


async def settled(world: World, section_id: int, student_id: int, status: str) -> None:
    """Wait until a student has this status; promotions come a turn after what makes them possible."""
    async with asyncio.timeout(5):
        while (await world.statuses(section_id)).get(student_id) != status:
            await asyncio.sleep(0.005)


async def test_a_cut_in_the_same_batch_as_enrolments_is_not_refused_by_the_database(world: World) -> None:
    section_id = await world.add_section(5)
    students = [await world.add_student() for _ in range(8)]
    service = make_service(world.store())
    batch = [(enroll(one, section_id), 5.0) for one in students[:4]]
    batch += [(sealed(capacity(section_id, 2)), 5.0), *((enroll(one, section_id), 5.0) for one in students[4:])]
    async with running(service):
        outcomes = await service.submit(batch)
    assert [one.code for one in outcomes] == [Code.ENROLLED] * 4 + [Code.CHANGED] + [Code.WAITLISTED] * 4
    assert service.stats.rejected_turns == 0
    seats = await world.seats(section_id)
    assert (seats.capacity, seats.enrolled, seats.waitlisted) == (2, 4, 4)
