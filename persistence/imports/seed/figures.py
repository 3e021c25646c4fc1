"""Distributions from which a seeded campus is drawn, measured at real universities.

Sources (neither is part of Seatline; only these figures were taken from them):

- UCSD: spring quarter 2022 of "UCSD-Historical-Enrollment-Data" on GitHub (repositories UCSDHistEnrollData and
  2022Spring), MIT licence: the schedule SP22 (8,507 sections, of which those with a weekly meeting and 1 to 9,998 seats
  were counted) and the seat series (642 sections).
- ITC: instance pu-d5-spr17 (Purdue University) of the International Timetabling Competition 2019: T. Muller, H. Rudova,
  Z. Mullerova, "Real-world university course timetabling at the International Timetabling Competition 2019", Journal of
  Scheduling (2024).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

T = TypeVar("T")

QUANTILES = (0.0, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99, 1.0)

LECTURE_SIZES = (2, 14, 15, 25, 40, 80, 120, 200, 360, 475)
"""UCSD: seats of lectures without parts, at QUANTILES."""

DISCUSSION_SIZES = (5, 15, 15, 27, 32, 36, 50, 75, 196, 395)
"""UCSD: seats of one discussion; its lecture has the sum of them."""

LAB_SIZES = (5, 7, 15, 22, 25, 45, 60, 63, 76, 196)
"""UCSD: seats of one lab; its lecture has the sum of them."""

SEMINAR_SIZES = (2, 10, 10, 12, 15, 21, 30, 60, 100, 120)
"""UCSD."""

COURSE_KINDS: Mapping[str, int] = {"lecture": 824, "discussion": 399, "seminar": 343, "lab": 100}
"""UCSD: teaching groups of a lecture alone, with discussions, of a seminar, of a lecture with labs."""

LECTURES_PER_COURSE: Mapping[int, int] = {1: 1310, 2: 122, 3: 35, 4: 23, 5: 14, 6: 7, 7: 4}
"""UCSD: courses by the number of their lectures."""

DISCUSSIONS_PER_LECTURE: Mapping[int, int] = {
    1: 131,
    2: 76,
    3: 25,
    4: 31,
    5: 15,
    6: 49,
    7: 14,
    8: 17,
    9: 6,
    10: 8,
    12: 6,
}
"""UCSD."""

LABS_PER_LECTURE: Mapping[int, int] = {1: 43, 2: 17, 3: 14, 4: 11, 5: 5, 6: 4, 7: 2, 8: 2}
"""UCSD."""

DEMAND_EXPONENT = 1.3
"""ITC: requests for the course of rank r fall as r ** -1.3 (fitted; the top tenth of the courses has 57 % of them)."""

DEMAND_PER_SEAT = (0.0, 0.0, 0.23, 0.94, 1.06, 1.18, 1.37, 1.50, 1.67, 2.5)
"""UCSD: peak of students in and waiting over seats, at QUANTILES: 442 of 642 sections had more than they could take."""

SECTIONS_PER_COURSE_MEAN = 2.4
"""UCSD."""


class Pattern(NamedTuple):
    """Days of the week (0 is Monday) and length in minutes."""

    days: tuple[int, ...]
    minutes: int


PATTERNS: Mapping[str, Mapping[Pattern, int]] = {
    "lecture": {
        Pattern((1, 3), 80): 408, Pattern((0, 2, 4), 50): 347, Pattern((0, 2), 80): 41, Pattern((0, 2), 50): 28,
        Pattern((3,), 170): 19, Pattern((0,), 170): 18, Pattern((2,), 170): 16, Pattern((1,), 170): 15,
    },
    "discussion": {
        Pattern((2,), 50): 220, Pattern((0,), 50): 192, Pattern((4,), 50): 176, Pattern((1,), 50): 126,
        Pattern((3,), 50): 112, Pattern((1, 3), 50): 84, Pattern((2, 4), 50): 40, Pattern((0, 2), 50): 26,
    },
    "lab": {
        Pattern((4,), 50): 100, Pattern((2,), 50): 92, Pattern((3,), 110): 81, Pattern((1,), 110): 65,
        Pattern((0,), 50): 59, Pattern((4,), 110): 54, Pattern((2,), 110): 51, Pattern((1, 3), 80): 49,
        Pattern((2,), 170): 43, Pattern((4,), 170): 40, Pattern((1, 3), 110): 35, Pattern((3,), 170): 35,
    },
    "seminar": {
        Pattern((1, 3), 80): 208, Pattern((0, 2), 80): 114, Pattern((0,), 170): 89, Pattern((2,), 170): 69,
        Pattern((1,), 170): 67, Pattern((0,), 50): 49, Pattern((3,), 170): 45, Pattern((4,), 170): 33,
    },
}  # fmt: skip
"""UCSD: per mille of the weekly meetings of a kind; rarer patterns are left out."""

START_HOURS: Mapping[str, Mapping[int, int]] = {
    "lecture": {8: 131, 9: 457, 10: 204, 11: 445, 12: 354, 13: 182, 14: 407, 15: 266, 16: 69, 17: 267, 18: 86, 19: 47},
    "discussion": {
        8: 92, 9: 127, 10: 129, 11: 141, 12: 138, 13: 136, 14: 134, 15: 168, 16: 151, 17: 182, 18: 139, 19: 106,
    },
    "lab": {8: 21, 9: 39, 10: 31, 11: 33, 12: 50, 13: 27, 14: 53, 15: 34, 16: 33, 17: 17, 18: 16, 19: 16},
    "seminar": {8: 12, 9: 72, 10: 17, 11: 54, 12: 80, 13: 34, 14: 68, 15: 50, 16: 17, 17: 35, 18: 9},
}  # fmt: skip
"""UCSD: weekly meetings by the hour in which they start."""


def pick(rng: random.Random, weights: Mapping[T, int]) -> T:
    """One key, by weight."""
    return rng.choices(list(weights), list(weights.values()))[0]


def draw(rng: random.Random, quantiles: Sequence[float]) -> int:
    """One number of the distribution that has ``quantiles`` at QUANTILES."""
    at = rng.random()
    above = next(i for i, limit in enumerate(QUANTILES) if limit >= at)
    if above == 0:
        return round(quantiles[0])
    low, high = QUANTILES[above - 1], QUANTILES[above]
    share = (at - low) / (high - low)
    return round(quantiles[above - 1] + share * (quantiles[above] - quantiles[above - 1]))
