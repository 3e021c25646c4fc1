"""Rooms and teachers of a seeded campus, and the times at which they are taken. None is booked twice at one time."""

from __future__ import annotations

import random
from collections.abc import Iterable

from persistence.imports.rows import MINUTES_PER_DAY, RoomRow
from persistence.imports.seed.figures import PATTERNS, START_HOURS, Pattern, pick
from persistence.imports.seed.words import BUILDINGS

SLOT_MINUTES = 10
SLOTS_PER_DAY = MINUTES_PER_DAY // SLOT_MINUTES
ROOM_SIZES = (20, 30, 40, 60, 80, 120, 200, 300, 500)
TEACHER_GROUPS_MAX = 3


class Times:
    """Weekly times as a set of slots of ten minutes, in one integer."""

    __slots__ = ("mask", "meetings")

    def __init__(self, pattern: Pattern, start_minute: int) -> None:
        self.meetings = [(day, start_minute, start_minute + pattern.minutes) for day in pattern.days]
        self.mask = sum(_slots(*meeting) for meeting in self.meetings)


def _slots(day: int, start_minute: int, end_minute: int) -> int:
    first = day * SLOTS_PER_DAY + start_minute // SLOT_MINUTES
    length = -(-end_minute // SLOT_MINUTES) - start_minute // SLOT_MINUTES
    return ((1 << length) - 1) << first


def draw_times(rng: random.Random, kind: str, avoid: int = 0) -> Times:
    """Times for a meeting of ``kind`` that miss the slots of ``avoid`` (if a few tries are enough to find some)."""
    times = _draw_once(rng, kind)
    for _ in range(20):
        if not times.mask & avoid:
            break
        times = _draw_once(rng, kind)
    return times


def _draw_once(rng: random.Random, kind: str) -> Times:
    pattern, hour = pick(rng, PATTERNS[kind]), pick(rng, START_HOURS[kind])
    # Meetings of 80 minutes start every 90 minutes from 8:00, as they do at UCSD; the others on the hour.
    start = 480 + round((hour * 60 - 480) / 90) * 90 if pattern.minutes == 80 else hour * 60
    return Times(pattern, start)


class Rooms:
    """Rooms, added as they are needed."""

    def __init__(self) -> None:
        self.rooms: list[RoomRow] = []
        self._taken: dict[int, list[int]] = {size: [] for size in ROOM_SIZES}
        self._codes: dict[tuple[int, int], str] = {}

    def book(self, seats: int, times: Times) -> str:
        """Book a room of the right size that is free at ``times``; its code."""
        size = next((one for one in ROOM_SIZES if one >= seats), ROOM_SIZES[-1])
        taken = self._taken[size]
        for index, mask in enumerate(taken):
            if not mask & times.mask:
                taken[index] = mask | times.mask
                return self._codes[size, index]
        taken.append(times.mask)
        return self._build(size, len(taken) - 1)

    def _build(self, size: int, index: int) -> str:
        """Add a room. Its name follows from its size and number alone: campuses of all seeds share the buildings."""
        floor = ROOM_SIZES.index(size) + 1
        code = f"{BUILDINGS[index % len(BUILDINGS)]} {floor}{index // len(BUILDINGS) + 1:02d}"
        self.rooms.append(RoomRow(code, size))
        self._codes[size, index] = code
        return code


class Teachers:
    """Teachers by department, added as they are needed. Each gets up to three groups."""

    def __init__(self, first: str | None = None) -> None:
        self.emails: list[str] = []
        self._first = first
        self._by_department: dict[str, list[tuple[str, list[int]]]] = {}

    def assign(self, department: str, groups: Iterable[Times]) -> str:
        """The address of a teacher of the department who is free at all these times."""
        mask = 0
        for times in groups:
            mask |= times.mask
        present = self._by_department.setdefault(department, [])
        for email, masks in present:
            if len(masks) < TEACHER_GROUPS_MAX and not any(mask & other for other in masks):
                masks.append(mask)
                return email
        email = self._hire()
        present.append((email, [mask]))
        return email

    def _hire(self) -> str:
        if self._first is not None:
            email, self._first = self._first, None
            return email
        email = f"teacher-{len(self.emails) + 1:04d}@campus.seatline.example"
        self.emails.append(email)
        return email
