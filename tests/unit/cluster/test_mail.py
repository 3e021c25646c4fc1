"""Mails: complete in every language, escaped once, with safe headers."""

from __future__ import annotations

import contextlib
import email
import email.policy
import re
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.model.outcomes import ReasonCode
from cluster.notifications.envelope import BadAddressError, write_message
from cluster.notifications.mailers import FileMailer
from cluster.notifications.notification import (
    TOPICS,
    NotANotificationError,
    Notification,
    Payload,
    Topic,
    decode_notification,
    encode_message,
    notification_of,
)
from cluster.notifications.render import LANGUAGES, TEXTS, Renderer
from persistence.outbox.mail_facts import MailFacts, MeetingFacts
from persistence.outbox.relay import OutboxMessage
from persistence.store import changes

FACTS = MailFacts(
    name="Ada",
    email="ada@campus.example",
    language=None,
    time_zone=None,
    course_code="CS 101",
    course_title="Programming",
    section_id=7,
    section_code="A01",
    component="LE",
    semester="Fall 2026",
    starts_on=None,
    at=datetime(2026, 7, 1, 23, 30, tzinfo=UTC),
    position=3,
    meetings=(MeetingFacts(0, 540, 615, "Hall 1"), MeetingFacts(4, 540, 600, None)),
)
RENDERER = Renderer("en", "UTC")


def tell(topic: Topic = "enrolled", *reasons: str) -> Notification:
    return Notification("7:3", topic, Payload(1, 7, reasons))


def texts(language: str) -> dict[str, Any]:
    return tomllib.loads((TEXTS / f"{language}.toml").read_text(encoding="utf-8"))


# Languages


def test_without_a_database_of_time_zones_there_is_still_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.notifications.render.ZoneInfo", None)
    assert "(UTC)" in Renderer("en", "UTC").render(tell(), FACTS).text


def test_english_and_another_are_there() -> None:
    assert {"en", "de"} <= LANGUAGES


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_a_language_says_everything(language: str) -> None:
    said = texts(language)
    assert set(said["topics"]) == set(TOPICS) >= set(changes.TOPICS.values())
    assert set(said["reasons"]) == {code.value for code in ReasonCode}
    assert (len(said["weekdays"]), len(said["months"])) == (7, 12)
    assert set(said["labels"]) == set(texts("en")["labels"])


@pytest.mark.parametrize("language", sorted(LANGUAGES))
@pytest.mark.parametrize("topic", TOPICS)
def test_every_mail_can_be_made(language: str, topic: Topic) -> None:
    mail = RENDERER.render(tell(topic, "schedule_conflict"), FACTS._replace(language=language))
    said = texts(language)
    for text in (mail.subject, mail.text, mail.html):
        assert "CS 101" in text
        assert not re.search(r"\{[{%]|[}%]\}", text)
    assert said["weekdays"][0] + " 09:00-10:15, Hall 1" in mail.text
    assert said["reasons"]["schedule_conflict"] in mail.text
    assert (said["labels"]["position"] in mail.text) is (topic == "waitlisted")
    assert f'<html lang="{language}">' in mail.html


def test_a_language_that_is_not_there_is_the_campuss_and_a_campuss_english() -> None:
    french = FACTS._replace(language="fr")
    assert Renderer("de", "UTC").render(tell(), french).subject.startswith("Angemeldet")
    assert Renderer("fr", "UTC").render(tell(), french).subject.startswith("Enrolled")


@pytest.mark.parametrize(
    ("time_zone", "moment"),
    [
        (None, "Wednesday, 1 July 2026, 23:30 (UTC)"),
        ("Europe/Berlin", "Thursday, 2 July 2026, 01:30 (CEST)"),
        ("America/Los_Angeles", "Wednesday, 1 July 2026, 16:30 (PDT)"),
        ("Nowhere/Else", "Wednesday, 1 July 2026, 23:30 (UTC)"),
        ("../../etc/passwd", "Wednesday, 1 July 2026, 23:30 (UTC)"),
        ("", "Wednesday, 1 July 2026, 23:30 (UTC)"),
    ],
)
def test_the_moment_is_told_in_the_students_time(time_zone: str | None, moment: str) -> None:
    assert moment in RENDERER.render(tell(), FACTS._replace(time_zone=time_zone)).text


def test_a_reason_that_is_new_is_told_by_its_code() -> None:
    assert "- brand_new" in RENDERER.render(tell("promotion_blocked", "brand_new"), FACTS).text


# What others wrote


class Tags(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(html: str) -> Tags:
    tags = Tags()
    tags.feed(html)
    return tags


HOSTILE = ["<script>alert(1)</script>", "{{ 7 * 7 }}", "{% for x in y %}", '"><img src=x onerror=alert(1)>', "&amp;"]
PLAIN = parsed(RENDERER.render(tell(), FACTS).html)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_names_and_titles_are_text_and_nothing_else(hostile: str) -> None:
    facts = FACTS._replace(name=hostile, course_title=hostile, course_code=hostile, section_code=hostile)
    mail = RENDERER.render(tell(), facts)
    seen = parsed(mail.html)
    assert seen.tags == PLAIN.tags
    assert hostile in seen.text
    assert hostile in mail.text
    assert hostile in mail.subject


def message(name: str = "Ada", address: str = "ada@campus.example", facts: MailFacts = FACTS) -> EmailMessage:
    raw = write_message(
        RENDERER.render(tell(), facts),
        event_id="7:3",
        sender="Registrar <registrar@campus.example>",
        name=name,
        address=address,
        at=facts.at,
    )
    assert raw.isascii()
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
    return email.message_from_bytes(raw, policy=email.policy.default)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=60))
def test_nothing_that_a_name_or_title_holds_makes_a_header(text: str) -> None:
    made = message(name=text, facts=FACTS._replace(name=text, course_code=text, course_title=text))
    assert sorted(made.keys()) == sorted(message().keys())
    assert [one.addr_spec for one in made["To"].addresses] == ["ada@campus.example"]
    assert made["From"] == "Registrar <registrar@campus.example>"
    assert len(made["Subject"].splitlines()) == 1


@pytest.mark.parametrize(
    "address",
    ["", "ada", "ada@", "@campus.example", "ada@localhost", "a@b.example, c@d.example",
     "a@b.example\r\nBcc: x@y.example", "a..b@c.example", "a@b.example" * 30,
     "a b@c.example", "äda@campus.example", "<a@b.example>", "a@b.example\x00"],
)  # fmt: skip
def test_what_is_no_address_is_not_written_to(address: str) -> None:
    with pytest.raises(BadAddressError) as refused:
        message(address=address)
    assert not address or address not in str(refused.value)


def test_every_delivery_of_an_event_has_the_same_id() -> None:
    assert message()["Message-ID"] == message()["Message-ID"]
    assert message()["Message-ID"] != message(address="bob@campus.example")["Message-ID"]
    assert message()["Message-ID"].endswith("@campus.example>")
    assert message()["Auto-Submitted"] == "auto-generated"


# What travels


@dataclass
class Case:
    payload: str
    is_one: bool


@pytest.mark.parametrize(
    "case",
    [
        Case('{"student_id":1,"section_id":7,"enrollment_id":3}', True),
        Case('{"student_id":1,"section_id":7,"enrollment_id":3,"reasons":["hold"]}', True),
        Case('{"student_id":1,"section_id":7,"from_a_newer_version":true}', True),
        Case('{"section_id":7}', False),
        Case('{"student_id":0,"section_id":7}', False),
        Case('{"student_id":"1","section_id":7}', False),
        Case("[]", False),
        Case("not json", False),
        Case("", False),
    ],
)
def test_a_message_is_read_as_it_was_written_or_not_at_all(case: Case) -> None:
    message = OutboxMessage(1, "7:3", "enrolled", case.payload)
    if case.is_one:
        assert notification_of(message) == decode_notification(encode_message(message))
        assert notification_of(message).student_id == 1
    else:
        with pytest.raises(NotANotificationError):
            notification_of(message)


@given(st.text(max_size=200) | st.recursive(st.integers() | st.text(), st.lists).map(str))
def test_whatever_comes_from_a_queue_is_read_or_refused(body: str) -> None:
    with contextlib.suppress(NotANotificationError):
        decode_notification(body)


@pytest.mark.parametrize("event_id", ["7", "7:", "a:b", "../7:3", "7:3:4", "9" * 19 + ":1"])
def test_an_id_that_is_none_is_refused(event_id: str) -> None:
    with pytest.raises(NotANotificationError):
        notification_of(OutboxMessage(1, event_id, "enrolled", '{"student_id":1,"section_id":7}'))


async def test_a_file_is_named_by_its_event(tmp_path: Path) -> None:
    await FileMailer(tmp_path).send(b"mail", "ada@campus.example", "7:3")
    (path,) = tmp_path.glob("*.eml")  # noqa: ASYNC240
    assert path.name.endswith("Z-7-3.eml")
    assert "ada" not in path.name
