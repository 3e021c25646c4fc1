"""Mails in a student's language and time zone, as text and HTML.

The texts are in ``texts/``, a file for each language, and the layouts in ``mail.txt`` and ``mail.html``. Names and
titles are values, never templates, and the HTML layout escapes every value once.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, select_autoescape

from cluster.notifications.notification import Notification
from persistence.outbox.mail_facts import MailFacts, MeetingFacts

TEXTS = Path(__file__).parent / "texts"
LANGUAGES = frozenset(path.stem for path in TEXTS.glob("*.toml"))
FALLBACK_LANGUAGE = "en"
LINE_MAX = 200

_layouts = Environment(
    loader=FileSystemLoader(TEXTS),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
# Phrases become values of the layouts, which escape them where needed.
_phrases = Environment(autoescape=False, undefined=StrictUndefined)  # noqa: S701


class Mail(NamedTuple):
    """A mail, as text and as HTML."""

    subject: str
    text: str
    html: str


class Renderer:
    """Renders mails.

    Args:
        language, time_zone: those of the campus, for students without a usable choice of their own.
    """

    def __init__(self, language: str, time_zone: str) -> None:
        self._language = language if language in LANGUAGES else FALLBACK_LANGUAGE
        self._zone = _zone(time_zone)

    def render(self, notification: Notification, facts: MailFacts) -> Mail:
        """The mail for ``notification``."""
        language = facts.language if facts.language in LANGUAGES else self._language
        say = _texts(language)
        topic = say["topics"][notification.topic]
        values = {"course": _line(facts.course_code), "title": _line(facts.course_title), "name": _line(facts.name)}
        subject = _fill(topic["subject"], values)
        parts = {
            "language": language,
            "labels": say["labels"],
            "subject": subject,
            "greeting": _fill(say["greeting" if values["name"] else "greeting_without_name"], values),
            "lead": _fill(topic["lead"], values),
            "reasons": [say["reasons"].get(code, code) for code in map(_line, notification.payload.reasons)],
            "details": self._details(say, notification, facts),
            "closing": say["closing"],
        }
        return Mail(subject, _layout("mail.txt").render(parts), _layout("mail.html").render(parts))

    def _details(
        self, say: Mapping[str, Any], notification: Notification, facts: MailFacts
    ) -> list[tuple[str, Sequence[str]]]:
        labels = say["labels"]
        names = (facts.course_code, facts.section_code, facts.component)
        details: list[tuple[str, Sequence[str]]] = [
            (labels["section"], [_line(" ".join(names))]),
            (labels["semester"], [_line(facts.semester)]),
        ]
        if facts.meetings:
            details.append(
                (
                    f"{labels['meetings']} ({labels['campus_time']})",
                    [_meeting(say, meeting) for meeting in facts.meetings],
                )
            )
        if notification.topic == "waitlisted" and facts.position is not None:
            details.append((labels["position"], [str(facts.position)]))
        details.append((labels["when"], [_moment(say, facts.at.astimezone(self._zone_of(facts)))]))
        return details

    def _zone_of(self, facts: MailFacts) -> tzinfo:
        try:
            return _zone(facts.time_zone) if facts.time_zone else self._zone
        except (ZoneInfoNotFoundError, ValueError, OSError):  # a name that is no zone, even one that is a path
            return self._zone


def _zone(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)  # which a machine without a database of zones has, too


def _moment(say: Mapping[str, Any], at: datetime) -> str:
    values = {
        "weekday": say["weekdays"][at.weekday()],
        "day": str(at.day),
        "month": say["months"][at.month - 1],
        "year": str(at.year),
        "time": f"{at:%H:%M}",
        "zone": at.tzname() or "UTC",
    }
    return _fill(say["moment"], values)


def _meeting(say: Mapping[str, Any], meeting: MeetingFacts) -> str:
    start, end = (f"{minute // 60:02}:{minute % 60:02}" for minute in (meeting.start_minute, meeting.end_minute))
    room = f", {meeting.room}" if meeting.room else ""
    return _line(f"{say['weekdays'][meeting.weekday]} {start}-{end}{room}")


def _line(text: str) -> str:
    """``text`` on one line that is not endless: it may stand in a header."""
    printable = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(printable.split())[:LINE_MAX]


def _fill(phrase: str, values: Mapping[str, str]) -> str:
    return _phrase(phrase).render(values)


@cache
def _texts(language: str) -> Mapping[str, Any]:
    return tomllib.loads((TEXTS / f"{language}.toml").read_text(encoding="utf-8"))


@cache
def _phrase(phrase: str) -> Template:
    return _phrases.from_string(phrase)


@cache
def _layout(name: str) -> Template:
    return _layouts.get_template(name)
