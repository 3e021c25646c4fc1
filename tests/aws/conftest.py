"""A moto server for the whole run: AWS in memory, reached over HTTP as the real one."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from cluster.aws.clients import AwsClients, CallLimits
from tests.sample_campus import PostgresWorld

REGION = "eu-central-1"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_SESSION_TOKEN": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
SENDER = "Registrar <registrar@campus.example>"
HURRIED = CallLimits(connect_timeout_s=0.5, read_timeout_s=0.5, tries_max=1, deadline_s=2.0)
"""For services that do not answer. Too short for a receive, which waits for messages."""


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """Where AWS answers."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def clients(endpoint: str) -> Iterator[AwsClients]:
    """Clients of it."""
    made = AwsClients(REGION, endpoint)
    yield made
    made.close()


class Aws:
    """What an operator does in AWS, and what can be seen there."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def client(self, service: str) -> Any:
        return boto3.client(service, region_name=REGION, endpoint_url=self.endpoint)

    def make_queue(self, **attributes: str) -> str:
        """A FIFO queue; its URL."""
        name = f"seatline-{uuid.uuid4().hex[:8]}.fifo"
        answer = self.client("sqs").create_queue(QueueName=name, Attributes={"FifoQueue": "true", **attributes})
        return str(answer["QueueUrl"])

    def waiting(self, queue_url: str) -> int:
        """Messages in the queue, those that somebody has at work included."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.client("sqs").get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)


@pytest.fixture
def aws(endpoint: str, _credentials: None) -> Aws:
    return Aws(endpoint)


@pytest.fixture
async def campus(database_url: str) -> AsyncIterator[PostgresWorld]:
    """A semester in Postgres, and nothing in the outbox."""
    world = await PostgresWorld.create(database_url)
    await world.connection.execute("TRUNCATE outbox, notifications_sent")
    yield world
    await world.close()
