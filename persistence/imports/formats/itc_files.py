"""Readers of the two files of the International Timetabling Competition 2019: instance and solution.

Format: T. Muller, H. Rudova, Z. Mullerova, "Real-world university course timetabling at the International Timetabling
Competition 2019", Journal of Scheduling (2024). An instance has classes with candidate times, a solution one time each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from persistence.imports.formats.safe_xml import Elements, read_xml
from persistence.imports.report import ImportFileError, ImportProgress, Refusal


class Slot(NamedTuple):
    """When a class meets: masks as they are written, leftmost Monday or week 1; ``start`` in slots of 5 minutes."""

    days: str
    start: int
    weeks: str


@dataclass(slots=True)
class InstanceClass:
    """A class of the instance; ``limit`` None is unlimited. ``lengths`` are in slots, by candidate time."""

    line: int
    course: str
    subpart: str
    limit: int | None
    lengths: dict[Slot, int] = field(default_factory=dict)


@dataclass(slots=True)
class SolvedClass:
    """A class of the solution. ``length`` in slots is not in every solution."""

    line: int
    slot: Slot
    length: int | None
    room: str | None
    students: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Instance:
    """An instance. ``students`` maps ids of students to the courses that they request."""

    name: str = ""
    week_count: int = 15
    slot_minutes: int = 5
    rooms: dict[str, int | None] = field(default_factory=dict)
    classes: dict[str, InstanceClass] = field(default_factory=dict)
    students: dict[str, list[str]] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)


@dataclass(slots=True)
class Solution:
    """A solution: a time, a room and the students of each class."""

    name: str = ""
    classes: dict[str, SolvedClass] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)

    def students(self) -> list[str]:
        """Ids of all students in a class, in numeric order where they are numbers."""
        found = {student for one in self.classes.values() for student in one.students}
        return sorted(found, key=natural)


def natural(text: str) -> tuple[int, str]:
    """A sort key that puts 10 after 9."""
    return (int(text) if text.isascii() and text.isdigit() else 0, text)


class _BadValueError(Exception):
    pass


def _number(attributes: Mapping[str, str], name: str, most: int = 1_000_000) -> int:
    text = attributes.get(name, "")
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) > most:
        raise _BadValueError(f"{name}={text!r} is not a whole number from 0 to {most:,}")
    return int(text)


def _word(attributes: Mapping[str, str], name: str) -> str:
    text = attributes.get(name, "").strip()
    if not text or len(text) > 64:
        raise _BadValueError(f"{name}={text[:80]!r} is not an id")
    return text


def _slot(attributes: Mapping[str, str]) -> Slot:
    days, weeks = attributes.get("days", ""), attributes.get("weeks", "")
    if len(days) != 7 or set(days) - {"0", "1"}:
        raise _BadValueError(f"days={days[:80]!r} is not a mask of 7 days")
    if not 1 <= len(weeks) <= 63 or set(weeks) - {"0", "1"}:
        raise _BadValueError(f"weeks={weeks[:80]!r} is not a mask of weeks")
    return Slot(days, _number(attributes, "start", 1440), weeks)


class _InstanceReader(Elements):
    """Fills an ``Instance``. The ``class`` elements below ``distributions`` are rules, not classes."""

    def __init__(self) -> None:
        self.instance = Instance()
        self._root = ""
        self._area = ""
        self._course = self._subpart = self._student = ""
        self._class: InstanceClass | None = None

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if not self._root:
            self._begin(name, attributes)
        elif name in {"rooms", "courses", "distributions", "students"}:
            self._area = name
        else:
            try:
                self._start_in_area(name, attributes)
            except _BadValueError as error:
                self.instance.refusals.append(Refusal(self.line, f"{name}: {error}"))

    def _begin(self, name: str, attributes: Mapping[str, str]) -> None:
        if name != "problem":
            raise ImportFileError(f"not an ITC 2019 instance: its root is <{name}>, not <problem>")
        self._root = name
        try:
            days, slots = _number(attributes, "nrDays"), _number(attributes, "slotsPerDay", 1440)
            self.instance.name, self.instance.week_count = _word(attributes, "name"), _number(attributes, "nrWeeks", 63)
        except _BadValueError as error:
            raise ImportFileError(f"line {self.line}: {error}") from error
        if days != 7 or slots == 0 or 1440 % slots or self.instance.week_count == 0:
            raise ImportFileError(f"line {self.line}: {days} days of {slots} slots are not a week that we can map")
        self.instance.slot_minutes = 1440 // slots

    def _start_in_area(self, name: str, attributes: Mapping[str, str]) -> None:
        match self._area, name:
            case "rooms", "room":
                self.instance.rooms[_word(attributes, "id")] = _number(attributes, "capacity")
            case "courses", "course":
                self._course = _word(attributes, "id")
            case "courses", "subpart":
                self._subpart = _word(attributes, "id")
            case "courses", "class":
                self._start_class(attributes)
            case "courses", "time" if self._class is not None:
                self._class.lengths[_slot(attributes)] = _number(attributes, "length", 1440)
            case "students", "student":
                self._student = ""
                self._student = _word(attributes, "id")
                self.instance.students[self._student] = []
            case "students", "course" if self._student:
                self.instance.students[self._student].append(_word(attributes, "id"))

    def _start_class(self, attributes: Mapping[str, str]) -> None:
        self._class = None
        key = _word(attributes, "id")
        limit = _number(attributes, "limit") if "limit" in attributes else None
        if key in self.instance.classes:
            raise _BadValueError(f"id {key} is another class on line {self.instance.classes[key].line}")
        self._class = InstanceClass(self.line, self._course, self._subpart, limit)
        self.instance.classes[key] = self._class


class _SolutionReader(Elements):
    """Fills a ``Solution``."""

    def __init__(self) -> None:
        self.solution = Solution()
        self._root = ""
        self._class: SolvedClass | None = None

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if not self._root:
            if name != "solution":
                raise ImportFileError(f"not an ITC 2019 solution: its root is <{name}>, not <solution>")
            self._root, self.solution.name = name, attributes.get("name", "").strip()
            return
        try:
            if name == "class":
                self._start_class(attributes)
            elif name == "student" and self._class is not None:
                self._class.students.append(_word(attributes, "id"))
        except _BadValueError as error:
            self.solution.refusals.append(Refusal(self.line, f"solution: {name}: {error}"))

    def _start_class(self, attributes: Mapping[str, str]) -> None:
        self._class = None
        key = _word(attributes, "id")
        length = _number(attributes, "length", 1440) if "length" in attributes else None
        if key in self.solution.classes:
            raise _BadValueError(f"id {key} is another class on line {self.solution.classes[key].line}")
        self._class = SolvedClass(self.line, _slot(attributes), length, attributes.get("room"))
        self.solution.classes[key] = self._class


def read_instance(path: Path, progress: ImportProgress) -> Instance:
    """Read an instance, xml or xml.gz.

    Raises:
        ImportFileError: if it is not one, or not safe to read.
    """
    reader = _InstanceReader()
    read_xml(path, reader, progress)
    return reader.instance


def read_solution(path: Path, progress: ImportProgress) -> Solution:
    """Read a solution, xml or xml.gz.

    Raises:
        ImportFileError: if it is not one, or not safe to read.
    """
    reader = _SolutionReader()
    read_xml(path, reader, progress)
    if not reader.solution.name:
        raise ImportFileError(f"{path}: the solution has no name")
    return reader.solution
