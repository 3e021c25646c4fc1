"""From an enrolment to a mail: a real outbox in Postgres, and SQS and SES of moto."""

from __future__ import annotations

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator, Callable
from email.message import EmailMessage
from typing import Any

import pytest
from moto.backends import get_backend
from moto.core.models import DEFAULT_ACCOUNT_ID

from allocator.model.outcomes import Code
from cluster.aws.clients import AwsClients
from cluster.aws.errors import AwsAwayError, AwsRefusedError
from cluster.aws.mail import SesMailer
from cluster.aws.queue import SqsQueue, SqsSink
from cluster.notifications.delivery import Delivery
from cluster.notifications.mailers import MailerAwayError
from cluster.notifications.notification import decode_notification, encode_message
from cluster.notifications.render import Renderer
from cluster.notifications.worker import Worker
from persistence.outbox.relay import NotAllSentError, OutboxMessage, OutboxRelay
from tests.aws.conftest import REGION, SENDER, Aws
from tests.drain_loop import ask, drop, enroll, make_service, running
from tests.sample_campus import PostgresWorld, monday

pytestmark = pytest.mark.services


@pytest.fixture(autouse=True)
def _empty_queues_answer_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.aws.queue.POLL_S", 0)


class Sent:
    """The mails that SES took since the test began."""

    def __init__(self) -> None:
        self._messages = get_backend("ses")[DEFAULT_ACCOUNT_ID][REGION].sent_messages
        self._before = len(self._messages)

    def __call__(self) -> list[EmailMessage]:
        raw = [one.raw_data for one in self._messages[self._before :]]
        parsed = [email.message_from_string(one, policy=email.policy.default) for one in raw]
        assert all(isinstance(one, EmailMessage) for one in parsed)
        return parsed

    def subjects(self) -> list[str]:
        return [str(one["Subject"]).partition(":")[0] for one in self()]


@pytest.fixture
def sent(aws: Aws) -> Sent:
    """With a sender whose domain SES has verified."""
    identities = get_backend("ses")[DEFAULT_ACCOUNT_ID][REGION].email_identities
    if "campus.example" not in identities:
        aws.client("sesv2").create_email_identity(EmailIdentity="campus.example")
        identities["campus.example"].verified_for_sending_status = True  # moto never verifies anything by itself
    return Sent()


@pytest.fixture
def queue_url(aws: Aws) -> str:
    return aws.make_queue(VisibilityTimeout="0")


@pytest.fixture
async def relay(database_url: str, clients: AwsClients, queue_url: str) -> AsyncIterator[OutboxRelay]:
    made = OutboxRelay(database_url, SqsSink(clients, queue_url))
    yield made
    await made.close()


MakeWorker = Callable[..., Worker]


@pytest.fixture
async def make_worker(database_url: str, clients: AwsClients, queue_url: str) -> AsyncIterator[MakeWorker]:
    """Makes workers, each as if it were another process."""
    made: list[Delivery] = []

    def make(mailer: Any = None) -> Worker:
        carrier = mailer or SesMailer(clients, SENDER)
        made.append(Delivery(database_url, Renderer("en", "UTC"), carrier, SENDER))
        return Worker(SqsQueue(clients, queue_url), made[-1], carrier)

    yield make
    for one in made:
        one.close()


async def named(campus: PostgresWorld, name: str, **columns: str) -> int:
    """A student who can be written to."""
    student_id = await campus.add_student()
    user_id = await campus.connection.fetchval("SELECT user_id FROM students WHERE id = $1", student_id)
    changes = {"name": name, "email": f"{name.lower()}{student_id}@campus.example", **columns}
    for column, value in changes.items():
        await campus.connection.execute(f"UPDATE users SET {column} = $2 WHERE id = $1", user_id, value)
    return student_id


async def put(
    campus: PostgresWorld, student_id: int, section_id: int, *event_ids: str, topic: str = "enrolled"
) -> None:
    """Messages as a turn writes them, without the turn."""
    for event_id in event_ids:
        await campus.connection.execute(
            "INSERT INTO outbox (event_id, topic, payload) VALUES ($1, $2, $3)",
            event_id,
            topic,
            f'{{"student_id":{student_id},"section_id":{section_id},"enrollment_id":1}}',
        )


async def test_what_happens_to_enrolments_is_mailed_in_order_and_in_the_students_language(
    campus: PostgresWorld, relay: OutboxRelay, make_worker: MakeWorker, sent: Sent, aws: Aws, queue_url: str
) -> None:
    section_id = await campus.add_section(1, meetings=monday(9))
    ada = await named(campus, "Ada")
    bob = await named(campus, "Bob", language="de", time_zone="Europe/Berlin")
    async with running(make_service(campus.store())) as service:
        first = await ask(service, enroll(ada, section_id))
        assert (await ask(service, enroll(bob, section_id))).code is Code.WAITLISTED
        await ask(service, drop(ada, section_id, first.enrollment_id))
        async with asyncio.timeout(10):
            while len(await campus.outbox()) < 4:
                await asyncio.sleep(0.01)

    assert await relay.relay_once() == 4
    assert await campus.outbox() == []
    worker = make_worker()
    async with asyncio.timeout(20):
        while aws.waiting(queue_url):
            await worker.work_once()

    mails = sent()
    to_ada = [one["Subject"] for one in mails if "ada" in one["To"]]
    to_bob = [one for one in mails if "bob" in one["To"]]
    assert [one.partition(":")[0] for one in to_ada] == ["Enrolled", "Dropped"]
    assert [str(one["Subject"]).partition(":")[0] for one in to_bob] == ["Auf der Warteliste", "Sie sind nachgerückt"]
    assert all(one["From"] == SENDER for one in mails)
    text = to_bob[1].get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert "Montag 09:00-10:00" in text
    assert "(CE" in text, "CET or CEST: the student's own time"
    assert '<html lang="de">' in to_bob[1].get_body(("html",)).get_content()  # type: ignore[union-attr]


async def test_a_message_that_is_sent_twice_is_queued_once(
    campus: PostgresWorld, clients: AwsClients, queue_url: str, aws: Aws
) -> None:
    message = OutboxMessage(1, "7:1", "enrolled", '{"student_id":1,"section_id":7}')
    sink = SqsSink(clients, queue_url)
    await sink.send([message])
    await sink.send([message])
    assert aws.waiting(queue_url) == 1


async def test_a_message_that_is_delivered_twice_is_mailed_once_whichever_worker_gets_it(
    campus: PostgresWorld, clients: AwsClients, queue_url: str, make_worker: MakeWorker, sent: Sent, aws: Aws
) -> None:
    section_id, student_id = await campus.add_section(5), await named(campus, "Ada")
    payload = f'{{"student_id":{student_id},"section_id":{section_id}}}'
    body = encode_message(OutboxMessage(1, f"{section_id}:2", "enrolled", payload))
    for copy in range(3):
        aws.client("sqs").send_message(
            QueueUrl=queue_url, MessageBody=body, MessageGroupId=str(copy), MessageDeduplicationId=str(copy)
        )
    workers = [make_worker(), make_worker()]
    async with asyncio.timeout(20):
        while aws.waiting(queue_url):
            await asyncio.gather(*(worker.work_once() for worker in workers))
    assert sent.subjects() == ["Enrolled"]


async def test_only_what_the_queue_took_leaves_the_outbox(
    campus: PostgresWorld,
    database_url: str,
    clients: AwsClients,
    queue_url: str,
    aws: Aws,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    section_id, ada, bob = await campus.add_section(5), await named(campus, "Ada"), await named(campus, "Bob")
    await put(campus, ada, section_id, "1:1", "1:2", "1:3")
    await put(campus, bob, section_id, "1:4")
    sink = SqsSink(clients, queue_url)
    refused = {"1:1"}
    send_batch = sink._send_batch

    async def refuses(entries: Any) -> dict[int, str]:
        taken = [one for one in entries if one[0].event_id not in refused]
        failed = await send_batch(taken) if taken else {}
        return failed | {one.id: "InternalError" for one, _ in entries if one.event_id in refused}

    monkeypatch.setattr(sink, "_send_batch", refuses)
    monkeypatch.setattr("cluster.aws.queue.BATCH_MAX", 1)
    relay = OutboxRelay(database_url, sink)

    with pytest.raises(NotAllSentError, match="InternalError"):
        await relay.relay_once()
    assert await campus.outbox() == [("1:1", "enrolled"), ("1:2", "enrolled"), ("1:3", "enrolled")]
    assert await campus.connection.fetch("SELECT DISTINCT attempts FROM outbox") == [(1,)]
    assert aws.waiting(queue_url) == 1, "Bob's went through; Ada's wait, so that they stay in order"

    refused.clear()
    assert await relay.relay_once() == 3
    assert await campus.outbox() == []
    assert aws.waiting(queue_url) == 4
    await relay.close()


async def test_a_large_outbox_goes_through_in_batches(
    campus: PostgresWorld, relay: OutboxRelay, queue_url: str, aws: Aws
) -> None:
    section_id, student_id = await campus.add_section(5), await named(campus, "Ada")
    await put(campus, student_id, section_id, *(f"5:{number}" for number in range(1, 36)))
    assert await relay.relay_once() == 35
    assert aws.waiting(queue_url) == 35


async def test_what_cannot_be_read_stays_for_the_dead_letters_and_holds_up_nobody(
    campus: PostgresWorld, make_worker: MakeWorker, queue_url: str, sent: Sent, aws: Aws, clients: AwsClients
) -> None:
    section_id, student_id = await campus.add_section(5), await named(campus, "Ada")
    bad = ["", "[", "{}", '{"event_id":"x","topic":"enrolled","payload":{}}', "[" * 5000]
    for number, body in enumerate(bad[1:]):
        aws.client("sqs").send_message(
            QueueUrl=queue_url, MessageBody=body, MessageGroupId=f"bad-{number}", MessageDeduplicationId=str(number)
        )
    good = OutboxMessage(1, f"{section_id}:2", "enrolled", f'{{"student_id":{student_id},"section_id":{section_id}}}')
    await SqsSink(clients, queue_url).send([good])
    assert await make_worker().work_once() == 1
    assert sent.subjects() == ["Enrolled"]
    assert aws.waiting(queue_url) == 4


async def test_dead_letters_are_put_aside_by_the_queue(
    campus: PostgresWorld, make_worker: MakeWorker, aws: Aws, clients: AwsClients, database_url: str
) -> None:
    dead_url = aws.make_queue()
    names = ["QueueArn"]
    dead_arn = aws.client("sqs").get_queue_attributes(QueueUrl=dead_url, AttributeNames=names)["Attributes"]["QueueArn"]
    policy = f'{{"deadLetterTargetArn":"{dead_arn}","maxReceiveCount":"2"}}'
    url = aws.make_queue(VisibilityTimeout="0", RedrivePolicy=policy)
    aws.client("sqs").send_message(QueueUrl=url, MessageBody="nonsense", MessageGroupId="1", MessageDeduplicationId="1")
    mailer = SesMailer(clients, SENDER)
    worker = Worker(SqsQueue(clients, url), Delivery(database_url, Renderer("en", "UTC"), mailer, SENDER), mailer)
    for _ in range(3):
        await worker.work_once()
    assert (aws.waiting(url), aws.waiting(dead_url)) == (0, 1)


async def test_nothing_is_lost_while_ses_is_away(
    campus: PostgresWorld, relay: OutboxRelay, make_worker: MakeWorker, queue_url: str, sent: Sent, aws: Aws
) -> None:
    class Away:
        async def send(self, message: bytes, address: str, event_id: str) -> None:
            raise MailerAwayError("away")

        async def check(self) -> None:
            raise MailerAwayError("away")

    section_id, student_id = await campus.add_section(5), await named(campus, "Ada")
    await put(campus, student_id, section_id, f"{section_id}:2", f"{section_id}:3")
    await relay.relay_once()
    with pytest.raises(MailerAwayError):
        await make_worker(Away()).work_once()
    assert aws.waiting(queue_url) == 2
    assert await campus.connection.fetchval("SELECT count(*) FROM notifications_sent") == 0
    worker = make_worker()
    async with asyncio.timeout(20):
        while aws.waiting(queue_url):
            await worker.work_once()
    assert sent.subjects() == ["Enrolled", "Enrolled"]


async def test_a_mail_that_cannot_be_written_takes_no_other_with_it(
    campus: PostgresWorld, relay: OutboxRelay, make_worker: MakeWorker, queue_url: str, sent: Sent, aws: Aws,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    section_id, ada, bob = await campus.add_section(5), await named(campus, "Ada"), await named(campus, "Bob")
    await put(campus, ada, section_id, f"{section_id}:2")
    await put(campus, bob, section_id, f"{section_id}:3")
    await relay.relay_once()
    render = Renderer.render

    def fails_for_ada(self: Renderer, notification: Any, facts: Any) -> Any:
        if facts.name == "Ada":
            raise KeyError("ada@campus.example")
        return render(self, notification, facts)

    monkeypatch.setattr(Renderer, "render", fails_for_ada)
    worker = make_worker()
    async with asyncio.timeout(20):
        while aws.waiting(queue_url) > 1:
            await worker.work_once()
    assert [str(one["To"]).partition(" ")[0] for one in sent()] == ["Bob"]
    assert "cannot be written: KeyError" in caplog.text
    assert "ada@campus" not in caplog.text


async def test_no_mail_is_begun_once_it_is_time_to_put_the_others_on_record(
    campus: PostgresWorld, relay: OutboxRelay, make_worker: MakeWorker, queue_url: str, sent: Sent, aws: Aws,
    monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    section_id, ada = await campus.add_section(5), await named(campus, "Ada")
    await put(campus, ada, section_id, f"{section_id}:2")
    await relay.relay_once()
    worker = make_worker()
    monkeypatch.setattr("cluster.notifications.delivery.MAILING_S", 0.0)
    assert await worker.work_once() == 0
    assert (sent.subjects(), aws.waiting(queue_url)) == ([], 1)
    assert await campus.connection.fetchval("SELECT count(*) FROM notifications_sent") == 0
    monkeypatch.setattr("cluster.notifications.delivery.MAILING_S", 25.0)
    assert await worker.work_once() == 1
    assert sent.subjects() == ["Enrolled"]


async def test_a_sender_that_ses_does_not_know_is_said_so(clients: AwsClients) -> None:
    with pytest.raises(MailerAwayError, match="not verified"):
        await SesMailer(clients, "Nobody <nobody@elsewhere.example>").check()


async def test_a_role_that_may_send_but_not_ask_is_no_hindrance(
    clients: AwsClients, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(service: str, work: Any) -> Any:
        raise AwsRefusedError(service, "AccessDeniedException")

    monkeypatch.setattr(clients, "call", refuse)
    await SesMailer(clients, SENDER).check()
    with pytest.raises(MailerAwayError):
        await SesMailer(clients, SENDER).send(b"", "ada@campus.example", "7:3")


async def test_a_sender_of_a_verified_domain_will_do(clients: AwsClients, sent: Sent) -> None:
    await SesMailer(clients, SENDER).check()


async def test_the_worker_stops_when_told_and_finishes_what_it_took(
    campus: PostgresWorld, relay: OutboxRelay, make_worker: MakeWorker, queue_url: str, sent: Sent, aws: Aws
) -> None:
    section_id, student_id = await campus.add_section(5), await named(campus, "Ada")
    await put(campus, student_id, section_id, f"{section_id}:2")
    await relay.relay_once()
    stopping = asyncio.Event()
    working = asyncio.create_task(make_worker().run(stopping))
    async with asyncio.timeout(20):
        while aws.waiting(queue_url):
            await asyncio.sleep(0.02)
        stopping.set()
        await working
    assert sent.subjects() == ["Enrolled"]


async def test_a_queue_that_is_slow_is_told_from_one_that_takes_nothing(
    campus: PostgresWorld, database_url: str, clients: AwsClients, queue_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    section_id, ada = await campus.add_section(5), await named(campus, "Ada")
    await put(campus, ada, section_id, "1:1", "1:2", "1:3")
    sink = SqsSink(clients, queue_url)
    send_batch = sink._send_batch

    async def gets_stuck(entries: Any) -> dict[int, str]:
        if entries[0][0].event_id == "1:3":
            await asyncio.Event().wait()
        return await send_batch(entries)

    monkeypatch.setattr(sink, "_send_batch", gets_stuck)
    monkeypatch.setattr("cluster.aws.queue.BATCH_MAX", 1)
    monkeypatch.setattr("cluster.aws.queue.BUDGET_S", 1.0)
    relay = OutboxRelay(database_url, sink)
    with pytest.raises(NotAllSentError, match="take more than"):
        await relay.relay_once()
    assert await campus.outbox() == [("1:3", "enrolled")]
    with pytest.raises(AwsAwayError):
        await relay.relay_once()
    await relay.close()


async def test_the_messages_of_many_students_go_out_side_by_side_each_students_in_order(
    campus: PostgresWorld, clients: AwsClients, aws: Aws
) -> None:
    queue_url = aws.make_queue()
    messages = [
        OutboxMessage(number, f"9:{number}", "enrolled", f'{{"student_id":{1 + number % 7},"section_id":9}}')
        for number in range(1, 71)
    ]
    await SqsSink(clients, queue_url).send(messages)
    received: dict[int, list[int]] = {}
    queue = SqsQueue(clients, queue_url)
    while some := await queue.receive():
        for one in some:
            notification = decode_notification(one.body)
            received.setdefault(notification.student_id, []).append(int(notification.event_id.partition(":")[2]))
        assert await queue.delete(some) == len(some)
    assert sum(map(len, received.values())) == 70
    assert all(numbers == sorted(numbers) for numbers in received.values())
