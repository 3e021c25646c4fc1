"""The command ``seatline notify``."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from cluster.aws.clients import AwsClients
from cluster.aws.queue import SqsSink
from persistence.outbox.relay import OutboxMessage
from tests.aws.conftest import CREDENTIALS, REGION, Aws
from tests.sample_campus import PostgresWorld

SEATLINE = str(Path(sys.executable).with_name("seatline"))


@pytest.mark.services
async def test_it_mails_what_is_in_the_queue_and_stops_when_told(
    campus: PostgresWorld, database_url: str, clients: AwsClients, aws: Aws, tmp_path: Path
) -> None:
    queue_url = aws.make_queue()
    section_id, student_id = await campus.add_section(5), await campus.add_student()
    await campus.connection.execute(
        "UPDATE users SET email = 'ada@campus.example' WHERE id = (SELECT user_id FROM students WHERE id = $1)",
        student_id,
    )
    payload = f'{{"student_id":{student_id},"section_id":{section_id}}}'
    await SqsSink(clients, queue_url).send([OutboxMessage(1, f"{section_id}:2", "enrolled", payload)])

    process = await asyncio.create_subprocess_exec(
        SEATLINE,
        "notify",
        env={
            "PATH": os.environ["PATH"],
            **CREDENTIALS,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": aws.endpoint,
            "DATABASE_URL": database_url,
            "SEATLINE_HOME": str(tmp_path),
            "SEATLINE_AWS_NOTIFICATIONS_QUEUE_URL": queue_url,
        },
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(30):
            while aws.waiting(queue_url):
                await asyncio.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, errors.decode()
    assert len(list((tmp_path / "mail").glob("*.eml"))) == 1
    assert "ada@" not in errors.decode()
    assert "notifications: 1 done of (enrolled 1)" in errors.decode()


@pytest.mark.parametrize(
    ("settings", "missed"),
    [
        ({}, "SEATLINE_AWS_NOTIFICATIONS_QUEUE_URL"),
        ({"SEATLINE_AWS_MAIL_SENDER": "a@b.example"}, "SEATLINE_AWS_NOTIFICATIONS_QUEUE_URL"),
        ({"SEATLINE_AWS_NOTIFICATIONS_QUEUE_URL": "https://sqs.example/1/plain"}, "SEATLINE_AWS_NOTIFICATIONS_QUEUE"),
    ],
)
async def test_what_it_cannot_do_without_it_names(settings: dict[str, str], missed: str, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        SEATLINE,
        "notify",
        env={"PATH": os.environ["PATH"], "SEATLINE_HOME": str(tmp_path), "COLUMNS": "200", **settings},
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        _, errors = await process.communicate()
    assert process.returncode == 3
    assert missed in errors.decode()
