"""Readers of the two files of the International Timetabling Competition 2019: instance and solution.

Ids are read without spaces around them. An element or attribute that differs from a known one by case only, an id that
is there twice, and whatever lies in an element that was refused are refused too: left out, they would change what the
rest means. Other elements and attributes do not matter.

Format: T. Muller, H. Rudova, Z. Mullerova, "Real-world university course timetabling at the International Timetabling
Competition 2019", Journal of Scheduling (2024). An instance has classes with candidate times, a solution one time each.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from allocator.model.typed_text import tidy
from persistence.imports.formats.safe_xml import Elements, read_xml
from persistence.imports.report import ImportFileError, ImportProgress, Refusal
from persistence.imports.spelling import not_a_code

CLASSES_MAX = 100_000
STUDENTS_MAX = 500_000
REFUSALS_MAX = 100_000
"""Most classes, students and refusals of a file. The largest real ones that we know have 8,813 and 38,437."""

INSTANCE_WORDS = frozenset({
    "problem", "rooms", "room", "courses", "course", "config", "subpart", "class", "time", "distributions", "students",
    "student", "id", "name", "nrdays", "slotsperday", "nrweeks", "capacity", "limit", "days", "start", "length",
    "weeks",
})  # fmt: skip
SOLUTION_WORDS = frozenset({"solution", "class", "student", "id", "name", "days", "start", "length", "weeks", "room"})
"""Elements and attributes that are read, in lower case."""

_Key = TypeVar("_Key")

_SPELLED = {"nrdays": "nrDays", "slotsperday": "slotsPerDay", "nrweeks": "nrWeeks"}


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
    text = attributes.get(name, "").strip()
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) > most:
        raise _BadValueError(f"{name}={text[:80]!r} is not a whole number from 0 to {most:,}")
    return int(text)


def _word(attributes: Mapping[str, str], name: str) -> str:
    """A name. It may have single spaces inside."""
    text = tidy(attributes.get(name, ""))
    reason = "it is longer than 64 characters" if len(text) > 64 else not_a_code(text)
    if reason is not None:
        raise _BadValueError(f"{name}={text[:80]!r} is not an id: {reason}")
    return text


def _id(attributes: Mapping[str, str]) -> str:
    """The attribute ``id``. It has no spaces: addresses are made of it."""
    text = _word(attributes, "id")
    if " " in text:
        raise _BadValueError(f"id={text!r} is not an id: it has a space inside")
    return text


def _slot(attributes: Mapping[str, str]) -> Slot:
    days, weeks = attributes.get("days", "").strip(), attributes.get("weeks", "").strip()
    if len(days) != 7 or set(days) - {"0", "1"}:
        raise _BadValueError(f"days={days[:80]!r} is not a mask of 7 days")
    if not 1 <= len(weeks) <= 63 or set(weeks) - {"0", "1"}:
        raise _BadValueError(f"weeks={weeks[:80]!r} is not a mask of weeks")
    return Slot(sys.intern(days), _number(attributes, "start", 1440), sys.intern(weeks))


def _check_spelling(words: frozenset[str], name: str, attributes: Mapping[str, str]) -> None:
    """Refuse what differs from a word of the format by case only: it is meant, and would be overlooked."""
    for word in (name, *attributes.keys()):
        known = word.lower()
        if known in words and word != _SPELLED.get(known, known):
            raise _BadValueError(f"{word[:80]!r} is not {_SPELLED.get(known, known)!r}")


class _Reader(Elements, ABC):
    """Refusals, and the bounds on what a file may hold."""

    def __init__(self, words: frozenset[str], refusals: list[Refusal]) -> None:
        self._words = words
        self._refusals = refusals
        self._root = ""
        self._where = ""
        self._ids: dict[str, str] = {}

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if not self._root:
            self._root = name
            self.begin(name, attributes)
            return
        try:
            _check_spelling(self._words, name, attributes)
            self.element(name, attributes)
        except _BadValueError as error:
            self._refusals.append(Refusal(self.line, f"{self._where}{name}: {error}"[:400]))
            if len(self._refusals) > REFUSALS_MAX:
                raise ImportFileError(f"line {self.line}: more than {REFUSALS_MAX:,} elements are refused") from error
            self.refused(name)

    @abstractmethod
    def begin(self, name: str, attributes: Mapping[str, str]) -> None:
        """The root element."""

    @abstractmethod
    def element(self, name: str, attributes: Mapping[str, str]) -> None:
        """Any other element.

        Raises:
            _BadValueError: if it is refused.
        """

    @abstractmethod
    def refused(self, name: str) -> None:
        """An element ``name`` was refused: what lies in it belongs to nothing."""

    def _student_id(self, attributes: Mapping[str, str]) -> str:
        """The id of a student, one string for all places where it is."""
        text = _id(attributes)
        found = self._ids.setdefault(text, text)
        if len(self._ids) > STUDENTS_MAX:
            raise ImportFileError(f"line {self.line}: more than {STUDENTS_MAX:,} students")
        return found

    def _check_number_of(self, classes: Mapping[str, object]) -> None:
        if len(classes) > CLASSES_MAX:
            raise ImportFileError(f"line {self.line}: more than {CLASSES_MAX:,} classes")


class _InstanceReader(_Reader):
    """Fills an ``Instance``. The ``class`` elements below ``distributions`` are rules, not classes."""

    def __init__(self) -> None:
        self.instance = Instance()
        super().__init__(INSTANCE_WORDS, self.instance.refusals)
        self._area = ""
        self._course = self._subpart = self._student = ""
        self._courses: dict[str, int] = {}
        self._subparts: dict[tuple[str, str], int] = {}
        self._class: InstanceClass | None = None

    def begin(self, name: str, attributes: Mapping[str, str]) -> None:
        """The root element, with the size of the timetable."""
        if name != "problem":
            raise ImportFileError(f"not an ITC 2019 instance: its root is <{name}>, not <problem>")
        try:
            _check_spelling(self._words, name, attributes)
            days, slots = _number(attributes, "nrDays"), _number(attributes, "slotsPerDay", 1440)
            self.instance.name, self.instance.week_count = _word(attributes, "name"), _number(attributes, "nrWeeks", 63)
        except _BadValueError as error:
            raise ImportFileError(f"line {self.line}: {error}") from error
        if days != 7 or slots == 0 or 1440 % slots or self.instance.week_count == 0:
            raise ImportFileError(f"line {self.line}: {days} days of {slots} slots are not a week that we can map")
        self.instance.slot_minutes = 1440 // slots

    def element(self, name: str, attributes: Mapping[str, str]) -> None:
        """Any element below the root."""
        if name in {"rooms", "courses", "distributions", "students"}:
            self._area = name
            return
        match self._area, name:
            case "rooms", "room":
                self._start_room(attributes)
            case "courses", "course":
                self._course = self._subpart = ""
                self._class = None
                self._course = self._new(self._courses, _id(attributes), _id(attributes))
            case "courses", "config":
                self._subpart = ""
                self._class = None
            case "courses", "subpart":
                self._subpart = ""
                self._class = None
                key = _id(attributes)
                self._subpart = self._new(self._subparts, (self._course, key), key)
            case "courses", "class":
                self._class = None
                self._start_class(attributes)
            case "courses", "time" if self._class is not None:
                self._class.lengths[_slot(attributes)] = _number(attributes, "length", 1440)
            case "students", "student":
                self._student = ""
                self._start_student(attributes)
            case "students", "course" if self._student:
                self.instance.students[self._student].append(_word(attributes, "id"))

    def refused(self, name: str) -> None:
        """An element ``name`` was refused."""
        if name.lower() == "course" and self._area == "courses":
            self._course = self._subpart = ""
            self._class = None
        elif name.lower() == "subpart":
            self._subpart = ""
            self._class = None
        elif name.lower() == "class":
            self._class = None
        elif name.lower() == "student":
            self._student = ""

    def _new(self, lines: dict[_Key, int], key: _Key, text: str) -> str:
        """Note the line of an id that must be new."""
        if key in lines:
            raise _BadValueError(f"id {text} is another one on line {lines[key]}")
        lines[key] = self.line
        return text

    def _start_room(self, attributes: Mapping[str, str]) -> None:
        key, capacity = _id(attributes), _number(attributes, "capacity")
        if self.instance.rooms.setdefault(key, capacity) != capacity:
            raise _BadValueError(f"id {key} is another room, with {self.instance.rooms[key]} seats")

    def _start_student(self, attributes: Mapping[str, str]) -> None:
        key = self._student_id(attributes)
        if key in self.instance.students:
            raise _BadValueError(f"id {key} is another student")
        self._student = key
        self.instance.students[key] = []

    def _start_class(self, attributes: Mapping[str, str]) -> None:
        key = _id(attributes)
        if not self._course or not self._subpart:
            raise _BadValueError(f"id {key} is in no course or no subpart, or in one that is refused")
        limit = _number(attributes, "limit") if "limit" in attributes else None
        if key in self.instance.classes:
            raise _BadValueError(f"id {key} is another class on line {self.instance.classes[key].line}")
        self._class = InstanceClass(self.line, self._course, self._subpart, limit)
        self.instance.classes[key] = self._class
        self._check_number_of(self.instance.classes)


class _SolutionReader(_Reader):
    """Fills a ``Solution``."""

    def __init__(self) -> None:
        self.solution = Solution()
        super().__init__(SOLUTION_WORDS, self.solution.refusals)
        self._where = "solution: "
        self._class: SolvedClass | None = None
        self._in_class: set[str] = set()

    def begin(self, name: str, attributes: Mapping[str, str]) -> None:
        """The root element, with the name of the problem."""
        if name != "solution":
            raise ImportFileError(f"not an ITC 2019 solution: its root is <{name}>, not <solution>")
        try:
            _check_spelling(self._words, name, attributes)
            self.solution.name = _word(attributes, "name")
        except _BadValueError as error:
            raise ImportFileError(f"line {self.line}: {error}") from error

    def element(self, name: str, attributes: Mapping[str, str]) -> None:
        """Any element below the root."""
        if name == "class":
            self._class = None
            self._start_class(attributes)
        elif name == "student" and self._class is not None:
            student = self._student_id(attributes)
            if student in self._in_class:
                raise _BadValueError(f"id {student} is in this class already")
            self._in_class.add(student)
            self._class.students.append(student)

    def refused(self, name: str) -> None:
        """An element ``name`` was refused."""
        if name.lower() == "class":
            self._class = None

    def _start_class(self, attributes: Mapping[str, str]) -> None:
        key = _id(attributes)
        length = _number(attributes, "length", 1440) if "length" in attributes else None
        if key in self.solution.classes:
            raise _BadValueError(f"id {key} is another class on line {self.solution.classes[key].line}")
        room = _word(attributes, "room") if attributes.get("room", "").strip() else None
        self._class = SolvedClass(self.line, _slot(attributes), length, room)
        self._in_class = set()
        self.solution.classes[key] = self._class
        self._check_number_of(self.solution.classes)


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
    return reader.solution
