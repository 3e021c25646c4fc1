"""AWS that does not answer: no enrolment waits for it, nothing is lost, and calls are retried."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError, NoCredentialsError

from allocator.model.outcomes import Code
from cluster.aws.clients import AwsClients, CallLimits
from cluster.aws.errors import AwsAwayError, AwsRefusedError
from cluster.aws.queue import SqsSink
from persistence.outbox.relay import OutboxRelay
from tests.aws.conftest import HURRIED, REGION, Aws
from tests.aws.network import Network
from tests.drain_loop import ask, enroll, make_service, running
from tests.sample_campus import PostgresWorld


@pytest.fixture
async def network(endpoint: str) -> AsyncIterator[Network]:
    parts = urlsplit(endpoint)
    async with Network(str(parts.hostname), int(parts.port or 0)) as made:
        yield made


@pytest.fixture
def behind(network: Network) -> Iterator[AwsClients]:
    """Clients that reach AWS through the network."""
    made = AwsClients(REGION, network.url, HURRIED)
    yield made
    made.close()


@pytest.mark.services
async def test_enrolments_go_on_while_the_queue_is_a_black_hole_and_are_told_of_once_it_is_back(
    campus: PostgresWorld,
    database_url: str,
    network: Network,
    behind: AwsClients,
    aws: Aws,
    caplog: pytest.LogCaptureFixture,
) -> None:
    queue_url = aws.make_queue()
    section_id = await campus.add_section(30)
    students = [await campus.add_student() for _ in range(20)]
    relay = OutboxRelay(database_url, SqsSink(behind, queue_url.replace(aws.endpoint, network.url)), poll_s=0.02)
    network.is_silent = True
    with caplog.at_level(logging.WARNING):
        async with running(make_service(campus.store())) as service:
            assert (await ask(service, enroll(students[0], section_id))).code is Code.ENROLLED
            relaying = asyncio.create_task(relay.run())
            async with asyncio.timeout(10):
                await network.swallowed.wait()
            # The relay waits for an answer that does not come, with rows of the outbox locked.
            outcomes = [await ask(service, enroll(one, section_id), budget_s=2.0) for one in students[1:]]
            assert {one.code for one in outcomes} == {Code.ENROLLED}
            async with asyncio.timeout(10):
                while not behind.is_away("sqs"):
                    await asyncio.sleep(0.01)
        assert len(await campus.outbox()) == 20
        network.is_silent = False
        async with asyncio.timeout(20):
            while await campus.outbox():
                await asyncio.sleep(0.02)
    relaying.cancel()
    await asyncio.gather(relaying, return_exceptions=True)
    assert aws.waiting(queue_url) == 20
    assert not behind.is_away("sqs")
    assert "AWS sqs is away" in caplog.text
    assert "outbox: not delivered, next try in" in caplog.text


async def test_an_open_breaker_answers_at_once_and_lets_one_try(network: Network, behind: AwsClients, aws: Aws) -> None:
    queues = lambda client: client.list_queues()  # noqa: E731
    network.is_silent = True
    with pytest.raises(AwsAwayError, match="ReadTimeout"):
        await behind.call("sqs", queues)
    for _ in range(100):  # at half a second each this would take the test's whole time
        with pytest.raises(AwsAwayError, match="left alone"):
            await behind.call("sqs", queues)
    network.is_silent = False
    async with asyncio.timeout(10):
        while behind.is_away("sqs"):
            try:
                await behind.call("sqs", queues)
            except AwsAwayError:
                await asyncio.sleep(0.02)


async def test_one_service_that_hangs_holds_up_no_other(network: Network, behind: AwsClients, aws: Aws) -> None:
    aws.client("cloudwatch").list_metrics()  # moto takes its time for the first one
    network.is_silent = True
    hanging = [asyncio.create_task(behind.call("sqs", lambda client: client.list_queues())) for _ in range(8)]
    await network.swallowed.wait()
    network.is_silent = False
    answer = await behind.call("cloudwatch", lambda client: client.list_metrics())
    assert answer["Metrics"] == []
    outcomes = await asyncio.gather(*hanging, return_exceptions=True)
    assert any(isinstance(one, AwsAwayError) for one in outcomes)


async def test_no_more_calls_are_queued_than_there_may_be(endpoint: str) -> None:
    clients = AwsClients(REGION, endpoint, CallLimits(threads_max=1, pending_max=2))
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait(client: Any) -> None:
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result()

    waiting = [asyncio.create_task(clients.call("sqs", wait)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(AwsAwayError, match="2 calls are waiting already"):
        await clients.call("sqs", wait)
    release.set()
    await asyncio.gather(*waiting)
    await clients.call("sqs", lambda client: client.list_queues())
    clients.close()


async def test_a_call_ends_at_its_deadline_whatever_its_thread_does(endpoint: str) -> None:
    clients = AwsClients(REGION, endpoint, CallLimits(deadline_s=0.05))
    release = asyncio.Event()
    loop = asyncio.get_running_loop()
    with pytest.raises(AwsAwayError, match="no answer within"):
        await clients.call("sqs", lambda _: asyncio.run_coroutine_threadsafe(release.wait(), loop).result())
    assert clients.is_away("sqs")
    release.set()
    clients.close()


def client_error(code: str, status: int) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": "of ada@campus.example"}, "ResponseMetadata": {"HTTPStatusCode": status}},
        "Operation",
    )


@pytest.mark.parametrize(
    ("error", "means", "is_away"),
    [
        (client_error("InternalFailure", 500), AwsAwayError, True),
        (client_error("ServiceUnavailable", 503), AwsAwayError, True),
        (client_error("ThrottlingException", 400), AwsAwayError, True),
        (client_error("Whatever", 429), AwsAwayError, True),
        (client_error("AccessDenied", 403), AwsRefusedError, False),
        (client_error("InvalidClientTokenId", 403), AwsRefusedError, False),
        (client_error("AWS.SimpleQueueService.NonExistentQueue", 400), AwsRefusedError, False),
        (NoCredentialsError(), AwsRefusedError, False),
    ],
)
async def test_what_an_error_means(endpoint: str, error: Exception, means: type[Exception], is_away: bool) -> None:
    clients = AwsClients(REGION, endpoint)

    def fail(_: Any) -> None:
        raise error

    with pytest.raises(means) as raised:
        await clients.call("sqs", fail)
    assert type(raised.value) is means
    assert clients.is_away("sqs") is is_away
    assert "ada@" not in str(raised.value)
    clients.close()


async def test_without_a_region_the_region_is_what_is_missed(endpoint: str) -> None:
    clients = AwsClients(None, endpoint)
    with pytest.raises(AwsRefusedError) as raised:
        await clients.call("sqs", lambda client: client.list_queues())
    assert raised.value.code == "NoRegionError"
    clients.close()


async def test_where_nobody_listens_the_service_is_away() -> None:
    clients = AwsClients(REGION, "http://127.0.0.1:1", HURRIED)
    with pytest.raises(AwsAwayError, match="EndpointConnectionError"):
        await clients.call("sqs", lambda client: client.list_queues())
    assert clients.is_away("sqs")
    clients.close()
