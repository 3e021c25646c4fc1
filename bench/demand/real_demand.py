"""Demand of real universities, read from files of the ITC 2019 and of UC San Diego."""

from __future__ import annotations

import csv
import gzip
import os
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from persistence.imports.formats.safe_xml import Elements, read_xml
from persistence.imports.report import no_progress

SHARED = Path(os.environ.get("SEATLINE_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
BATCH_STEP = 20
"""From so many seats in one sample on, a change is not by students: the university released or promoted."""

LOCAL = timedelta(hours=-8)
NIGHTLY = (22 * 60 + 15, 22 * 60 + 45)
"""Minutes of the day, local time, between which the university promotes waiting students in one batch."""

PASSES = {
    "first": (datetime(2022, 2, 12, 16, tzinfo=UTC), datetime(2022, 2, 18, 8, tzinfo=UTC)),
    "second": (datetime(2022, 2, 21, 16, tzinfo=UTC), datetime(2022, 2, 26, 8, tzinfo=UTC)),
}


def data_file(name: str) -> Path | None:
    """A file of the real data sets, beside the checkout or in SEATLINE_DATA; None if it is not there."""
    path = SHARED / name
    return path if path.is_file() else None


# Course requests of an ITC instance


@dataclass(slots=True)
class Offer:
    """A course: the classes of each subpart, by configuration."""

    configs: dict[str, dict[str, list[str]]] = field(default_factory=dict)


class _InstanceDemand(Elements):
    """Reads the courses of an instance, the parents of classes, and the course requests of students."""

    def __init__(self) -> None:
        self.offers: dict[str, Offer] = defaultdict(Offer)
        self.parents: dict[str, str] = {}
        self.wanted: dict[str, list[str]] = defaultdict(list)
        self._area = self._course = self._config = self._subpart = self._student = ""

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if name in {"rooms", "courses", "distributions", "students"}:
            self._area = name
        elif self._area == "courses":
            self._start_in_courses(name, attributes)
        elif self._area == "students" and name == "student":
            self._student = attributes["id"]
        elif self._area == "students" and name == "course":
            self.wanted[self._student].append(attributes["id"])

    def _start_in_courses(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "course":
            self._course = attributes["id"]
        elif name == "config":
            self._config = attributes["id"]
        elif name == "subpart":
            self._subpart = attributes["id"]
        elif name == "class":
            config = self.offers[self._course].configs.setdefault(self._config, {})
            config.setdefault(self._subpart, []).append(attributes["id"])
            if "parent" in attributes:
                self.parents[attributes["id"]] = attributes["parent"]


class Request(NamedTuple):
    """A student and a class, by their ids in the file."""

    student: str
    class_id: str


def course_requests(instance: Path, seed: int) -> list[Request]:
    """The classes that each student asks for, with random choices where a course leaves a choice.

    For every course one configuration, and one class of each of its subparts; a class is taken together with its
    parent. Seats are not considered: the server refuses what is full.
    """
    read = _InstanceDemand()
    read_xml(instance, read, no_progress)
    rng = random.Random(seed)
    requests = []
    for student, courses in read.wanted.items():
        for course in courses:
            requests += [Request(student, one) for one in _one_way(read.offers[course], read.parents, rng)]
    return requests


def _one_way(offer: Offer, parents: Mapping[str, str], rng: random.Random) -> list[str]:
    if not offer.configs:
        return []
    config = rng.choice(list(offer.configs.values()))
    chosen: dict[str, str] = {}
    for subpart in sorted(
        config, key=lambda one: max(_depth(class_id, parents) for class_id in config[one]), reverse=True
    ):
        taken = {parents[one] for one in chosen.values() if one in parents}
        due = [one for one in config[subpart] if one in taken]
        chosen[subpart] = due[0] if due else rng.choice(config[subpart])
    return list(chosen.values())


def _depth(class_id: str, parents: Mapping[str, str]) -> int:
    depth = 0
    while class_id in parents:
        class_id = parents[class_id]
        depth += 1
    return depth


# The curve of UC San Diego


class Change(NamedTuple):
    """One student adds or drops a section, ``at_s`` seconds from the beginning. ``section`` is the source's id."""

    at_s: float
    section: str
    adds: bool


def registration_curve(changes_file: Path, which: str) -> list[Change]:
    """The adds and drops of a pass of registration, in order, with their original times.

    The changes between two samples are spread evenly over the time between them. Changes of twenty seats and more, and
    those of the nightly batch, are not by students and are left out.
    """
    begins, ends = (at.timestamp() for at in PASSES[which])
    found: list[Change] = []
    before: dict[str, tuple[float, int, int]] = {}
    for at, section, enrolled, waitlisted, _ in _samples(changes_file):
        last = before.get(section)
        before[section] = (at, enrolled, waitlisted)
        if last is None or not begins <= at < ends or _is_nightly(at):
            continue
        since = max(last[0], begins, at - 600)
        for step, adds in _steps(enrolled - last[1], waitlisted - last[2]):
            found += [Change(since + (at - since) * (n + 1) / step - begins, section, adds) for n in range(step)]
    return sorted(found)


def open_seats(changes_file: Path, which: str) -> dict[str, int]:
    """Free seats of each section at the beginning of a pass, by the id in the source."""
    begins = PASSES[which][0].timestamp()
    free: dict[str, int] = {}
    for at, section, enrolled, _, total in _samples(changes_file):
        if at <= begins or section not in free:
            free[section] = max(0, total - enrolled)
    return free


def _steps(enrolled: int, waitlisted: int) -> Iterator[tuple[int, bool]]:
    for change, counts_falls in ((enrolled, True), (waitlisted, False)):
        if 0 < change < BATCH_STEP:
            yield change, True
        elif counts_falls and -BATCH_STEP < change < 0:
            yield -change, False


def _samples(path: Path) -> Iterator[tuple[float, str, int, int, int]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["section_id"]:
                counts = int(row["enrolled"]), int(row["waitlisted"]), int(row["total"])
                yield int(row["time_ms"]) / 1000, row["section_id"], *counts


def _is_nightly(at: float) -> bool:
    local = datetime.fromtimestamp(at, UTC) + LOCAL
    return NIGHTLY[0] <= local.hour * 60 + local.minute <= NIGHTLY[1]
