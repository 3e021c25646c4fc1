"""Mails without AWS: written to files."""

from __future__ import annotations

import email
import email.policy
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cluster.config.settings import Settings
from cluster.notifications.delivery import Delivery
from cluster.notifications.local import MAILS_BURST, LocalSink
from cluster.notifications.mailers import FileMailer
from cluster.notifications.render import Renderer
from cluster.processes.notifications import mail_directory, outbox_sink
from persistence.outbox.relay import LogSink, OutboxMessage, OutboxRelay
from tests.drain_loop import ask, enroll, make_service, running
from tests.sample_campus import PostgresWorld

pytestmark = pytest.mark.services


@pytest.fixture
async def campus(database_url: str) -> AsyncIterator[PostgresWorld]:
    world = await PostgresWorld.create(database_url)
    await world.connection.execute("TRUNCATE outbox, notifications_sent")
    yield world
    await world.close()


def local_sink(database_url: str, directory: Path, files_max: int = 200) -> tuple[LocalSink, Delivery]:
    renderer = Renderer("en", "UTC")
    delivery = Delivery(database_url, renderer, FileMailer(directory, files_max), "Seatline <seatline@a.example>")
    return LocalSink(delivery, monotonic=lambda: 0.0), delivery


def files(directory: Path) -> list[str]:
    """Names of the mails there, in order."""
    return sorted(path.name for path in directory.iterdir())


async def messages(campus: PostgresWorld, count: int) -> list[OutboxMessage]:
    section_id, student_id = await campus.add_section(5), await campus.add_student()
    await campus.connection.execute(
        "UPDATE users SET name = 'Ada', email = $2 WHERE id = (SELECT user_id FROM students WHERE id = $1)",
        student_id,
        f"ada{student_id}@campus.example",
    )
    payload = f'{{"student_id":{student_id},"section_id":{section_id}}}'
    return [OutboxMessage(number, f"{section_id}:{number}", "enrolled", payload) for number in range(1, count + 1)]


async def test_an_enrolment_becomes_a_mail_in_the_home_and_a_line_without_personal_data(
    campus: PostgresWorld, database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(home=tmp_path)
    section_id, student_id = await campus.add_section(5), await campus.add_student()
    await campus.connection.execute(
        "UPDATE users SET name = 'Ada Lovelace', email = 'ada@campus.example', language = 'de' "
        "WHERE id = (SELECT user_id FROM students WHERE id = $1)",
        student_id,
    )
    async with running(make_service(campus.store())) as service:
        await ask(service, enroll(student_id, section_id))
    with ExitStack() as closing, caplog.at_level("DEBUG"):
        relay = OutboxRelay(database_url, outbox_sink(settings, database_url, closing))
        assert await relay.relay_once() == 1
        await relay.close()

    (path,) = mail_directory(settings).glob("*.eml")
    mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    assert str(mail["Subject"]).startswith("Angemeldet: ")
    assert mail["To"] == "Ada Lovelace <ada@campus.example>"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert "mail: 1 written" in caplog.text
    assert "outbox: 1 messages (enrolled 1)" in caplog.text
    assert not any(word in caplog.text for word in ("Ada", "Lovelace", "ada@"))


async def test_under_load_only_some_are_written_and_none_is_kept_in_the_outbox(
    campus: PostgresWorld, database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sink, delivery = local_sink(database_url, tmp_path)
    with caplog.at_level("INFO"):
        await sink.send(await messages(campus, 100))
        await sink.send(await messages(campus, 100))
    delivery.close()
    assert len(files(tmp_path)) == MAILS_BURST
    assert f"mail: {MAILS_BURST} written, {100 - MAILS_BURST} more" in caplog.text


async def test_only_the_newest_files_are_kept(campus: PostgresWorld, database_url: str, tmp_path: Path) -> None:
    sink, delivery = local_sink(database_url, tmp_path, files_max=3)
    sent = await messages(campus, 7)
    await sink.send(sent)
    delivery.close()
    kept = [name.removesuffix(".eml").rpartition("Z-")[2] for name in files(tmp_path)]
    assert kept == [one.event_id.replace(":", "-") for one in sent[-3:]]


async def test_a_full_disk_or_a_database_that_is_away_holds_up_nothing(
    campus: PostgresWorld, database_url: str, tmp_path: Path
) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    sink, delivery = local_sink(database_url, in_the_way)
    await sink.send(await messages(campus, 1))
    delivery.close()
    assert await campus.connection.fetchval("SELECT count(*) FROM notifications_sent") == 0
    sink, delivery = local_sink("postgresql://nobody@127.0.0.1:1/none", tmp_path)
    await sink.send(await messages(campus, 1))


async def test_in_production_nothing_about_students_is_written_to_the_disk(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path,
        env="production",
        database_url="postgresql://db/x",
        redis_url="redis://cache",
        jwt_secret="s" * 32,
    )
    with ExitStack() as closing:
        assert isinstance(outbox_sink(settings, "postgresql://db/x", closing), LogSink)
