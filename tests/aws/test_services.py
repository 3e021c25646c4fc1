"""S3, CloudWatch, ELBv2 and the doctor, against moto."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from allocator.model.read_models import Roster, RosterEntry
from allocator.ports import StoreUnavailableError
from cluster.aws.clients import AwsClients
from cluster.aws.errors import AwsAwayError, AwsRefusedError
from cluster.aws.exports import LINK_TTL_S, S3Exports
from cluster.aws.load_balancer import TargetGroup
from cluster.aws.metrics import Distribution, Figures, MetricsPublisher
from cluster.config.settings import Settings
from cluster.doctor.aws import check_aws
from cluster.doctor.report import CheckKind, CheckResult, CheckState
from tests.aws.conftest import REGION, Aws

ROSTER = Roster(7, (RosterEntry(100, 1, "S001", '=HYPERLINK("http://evil.example")', None),), ())


@pytest.fixture
def bucket(aws: Aws) -> str:
    name = f"exports-{uuid.uuid4().hex[:8]}"
    aws.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return name


async def test_a_roster_goes_to_s3_and_comes_back_by_its_link_alone(clients: AwsClients, bucket: str, aws: Aws) -> None:
    link = await S3Exports(clients, bucket).put(ROSTER, user_id=1, with_bom=True)

    async with aiohttp.ClientSession() as anybody, anybody.get(link.url) as answer:
        body = await answer.read()
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
        assert answer.headers["Content-Disposition"] == 'attachment; filename="roster-7.csv"'
    assert body.startswith(b"\xef\xbb\xbf")
    assert b"\"'=HYPERLINK(" in body
    query = parse_qs(urlsplit(link.url).query)
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Expires"] == [str(LINK_TTL_S)]
    assert timedelta() < link.expires_at - datetime.now(UTC) <= timedelta(seconds=LINK_TTL_S)
    (stored,) = aws.client("s3").list_objects_v2(Bucket=bucket)["Contents"]
    assert stored["Key"].startswith("rosters/7/")
    assert aws.client("s3").head_object(Bucket=bucket, Key=stored["Key"])["ServerSideEncryption"] == "AES256"


async def test_a_bucket_that_is_not_there_is_a_service_that_is_away(
    clients: AwsClients, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StoreUnavailableError):
        await S3Exports(clients, "no-such-bucket").put(ROSTER, user_id=1, with_bom=False)
    assert "NoSuchBucket" in caplog.text


# CloudWatch


def figures(enrolled: int, counts: tuple[int, ...], batches: tuple[int, ...], depth: int = 3) -> Figures:
    latency = Distribution((0.01, 0.1, 1.0), counts, 0.0)
    return Figures(enrolled, 5, depth, latency, {"sections-0": Distribution((1, 10), batches, float(sum(batches) * 4))})


async def test_figures_are_sent_as_what_happened_since_the_last_time(clients: AwsClients, aws: Aws) -> None:
    readings = [
        figures(10, (5, 5, 0, 0), (1, 1, 0)),
        figures(30, (5, 105, 0, 0), (3, 1, 0), depth=42),
        figures(31, (5, 105, 2, 0), (3, 1, 0)),
    ]

    async def read() -> Figures:
        return readings.pop(0)

    namespace = f"Test-{uuid.uuid4().hex[:8]}"
    publisher = MetricsPublisher(clients, namespace, "seatline", read)
    assert [await publisher.publish_once() for _ in range(3)] == [0, 5, 4]

    def total(name: str, statistic: str) -> float:
        (point,) = aws.client("cloudwatch").get_metric_statistics(
            Namespace=namespace,
            MetricName=name,
            Dimensions=[{"Name": "Cluster", "Value": "seatline"}],
            StartTime=datetime.now(UTC) - timedelta(hours=1),
            EndTime=datetime.now(UTC) + timedelta(hours=1),
            Period=86_400,
            Statistics=[statistic],
        )["Datapoints"]
        return float(point[statistic])

    assert total("Enrollments", "Sum") == 21
    assert total("Waitlisted", "Sum") == 0
    assert total("QueueDepth", "Maximum") == 42
    assert total("EnrollmentP99", "Maximum") == 1000
    assert total("EnrollmentP99", "Minimum") == 100
    assert total("BatchSize", "Average") == 4


async def test_what_could_not_be_sent_is_part_of_the_next(aws: Aws, endpoint: str) -> None:
    readings = [figures(0, (0, 0, 0, 0), (0, 0, 0)), *[figures(7, (0, 0, 0, 0), (0, 0, 0))] * 2]

    async def read() -> Figures:
        return readings.pop(0)

    class Broken(AwsClients):
        sent: list[Any] = []  # noqa: RUF012
        refuses = True

        async def call(self, service: str, work: Any) -> Any:
            if self.refuses:
                raise AwsRefusedError(service, "AccessDenied")
            return await super().call(service, work)

    broken = Broken(REGION, endpoint)
    publisher = MetricsPublisher(broken, f"Test-{uuid.uuid4().hex[:8]}", "seatline", read)
    await publisher.publish_once()
    with pytest.raises(AwsRefusedError):
        await publisher.publish_once()
    broken.refuses = False
    assert await publisher.publish_once() == 3
    assert publisher._before is not None
    assert publisher._before.enrolled == 7
    broken.close()


# ELBv2


@pytest.fixture(scope="module")
def group_arn(endpoint: str) -> Iterator[str]:
    """A target group of addresses, in a network of its own."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AWS_ACCESS_KEY_ID", "testing")
        patched.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        aws = Aws(endpoint)
        vpc = aws.client("ec2").create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        group = aws.client("elbv2").create_target_group(
            Name=f"seatline-{uuid.uuid4().hex[:8]}", Protocol="HTTP", Port=8080, VpcId=vpc, TargetType="ip"
        )
    yield group["TargetGroups"][0]["TargetGroupArn"]


def targets(aws: Aws, arn: str) -> set[tuple[str, int]]:
    health = aws.client("elbv2").describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
    return {(one["Target"]["Id"], one["Target"]["Port"]) for one in health}


async def test_nodes_come_and_go(clients: AwsClients, aws: Aws, group_arn: str) -> None:
    group = TargetGroup(clients, group_arn)
    await group.register("10.0.1.5", 8080)
    await group.register("10.0.1.5", 8080)
    await group.register("10.0.1.6", 8081)
    assert targets(aws, group_arn) == {("10.0.1.5", 8080), ("10.0.1.6", 8081)}
    async with asyncio.timeout(10):
        await group.deregister("10.0.1.5", 8080)
        await group.deregister("10.0.1.5", 8080)
    assert targets(aws, group_arn) == {("10.0.1.6", 8081)}


class Balancer:
    """Clients that answer with these states, one after the other; the last one for ever."""

    def __init__(self, *states: str) -> None:
        self.states = list(states)
        self.asked = 0

    async def call(self, service: str, work: Any) -> Any:
        return work(self)

    def deregister_targets(self, **_: Any) -> None:
        pass

    def describe_target_health(self, **_: Any) -> Any:
        self.asked += 1
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return {"TargetHealthDescriptions": [{"Target": {}, "TargetHealth": {"State": state}}]}


async def test_a_node_goes_once_its_requests_have_ended() -> None:
    balancer = Balancer("draining", "draining", "unused")
    await TargetGroup(balancer, "arn", poll_s=0.001).deregister("10.0.1.5", 8080)  # type: ignore[arg-type]
    assert balancer.asked == 3


async def test_while_nobody_can_tell_a_node_drains() -> None:
    class Flaky(Balancer):
        def describe_target_health(self, **options: Any) -> Any:
            if self.asked < 2:
                self.asked += 1
                raise AwsAwayError("elbv2: Throttling")
            return super().describe_target_health(**options)

    balancer = Flaky("unused")
    await TargetGroup(balancer, "arn", poll_s=0.001).deregister("10.0.1.5", 8080)  # type: ignore[arg-type]
    assert balancer.asked == 3


async def test_a_node_that_never_drains_goes_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    group = TargetGroup(Balancer("draining"), "arn", poll_s=0.001, drain_s_max=0.05)  # type: ignore[arg-type]
    async with asyncio.timeout(10):
        await group.deregister("10.0.1.5", 8080)
    assert "still drains" in caplog.text


async def test_a_target_group_that_is_not_there_is_refused(clients: AwsClients, group_arn: str) -> None:
    with pytest.raises(ConnectionError, match="TargetGroupNotFound"):
        await TargetGroup(clients, group_arn + "0").register("10.0.1.5", 8080)


# The doctor


def settings_of(endpoint: str, **more: Any) -> Settings:
    return Settings(aws_region=REGION, aws_endpoint_url=endpoint, **more)


def by_name(rows: list[CheckResult]) -> dict[str, CheckResult]:
    return {row.name: row for row in rows}


async def test_the_doctor_finds_all_well(endpoint: str, aws: Aws, bucket: str, group_arn: str) -> None:
    dead = aws.client("sqs").get_queue_attributes(QueueUrl=aws.make_queue(), AttributeNames=["QueueArn"])
    policy = f'{{"deadLetterTargetArn":"{dead["Attributes"]["QueueArn"]}","maxReceiveCount":"5"}}'
    rows = await check_aws(
        settings_of(
            endpoint,
            aws_notifications_queue_url=aws.make_queue(RedrivePolicy=policy, VisibilityTimeout="60"),
            aws_exports_bucket=bucket,
            aws_metrics_namespace="Seatline",
            aws_target_group_arn=group_arn,
        )
    )
    assert {row.name: row.state for row in rows} == dict.fromkeys(
        ("AWS", "SQS queue", "S3 bucket", "CloudWatch", "target group"), CheckState.OK
    )
    assert REGION in by_name(rows)["AWS"].value


async def test_the_doctor_names_what_is_missing(endpoint: str, aws: Aws, group_arn: str) -> None:
    queue_url = aws.make_queue().replace("seatline-", "other-")
    rows = await check_aws(
        settings_of(
            endpoint,
            aws_notifications_queue_url=queue_url,
            aws_mail_sender="Nobody <nobody@elsewhere.example>",
            aws_exports_bucket="no-such-bucket",
            aws_target_group_arn=group_arn + "0",
        )
    )
    bad = {row.name: row for row in rows if row.state is CheckState.BAD}
    assert set(bad) == {"SQS queue", "SES sender", "S3 bucket", "target group"}
    assert "SEATLINE_AWS_NOTIFICATIONS_QUEUE_URL" in bad["SQS queue"].mend
    assert "SEATLINE_AWS_MAIL_SENDER" in bad["SES sender"].mend
    assert "SEATLINE_AWS_EXPORTS_BUCKET" in bad["S3 bucket"].mend
    assert "SEATLINE_AWS_TARGET_GROUP_ARN" in bad["target group"].mend


async def test_the_doctor_warns_of_a_queue_that_would_lose_or_double(endpoint: str, aws: Aws) -> None:
    for attributes in ({}, {"VisibilityTimeout": "5", "RedrivePolicy": None}):
        made = dict(attributes)
        if "RedrivePolicy" in made:
            dead = aws.client("sqs").get_queue_attributes(QueueUrl=aws.make_queue(), AttributeNames=["QueueArn"])
            made["RedrivePolicy"] = (
                f'{{"deadLetterTargetArn":"{dead["Attributes"]["QueueArn"]}","maxReceiveCount":"5"}}'
            )
        rows = await check_aws(settings_of(endpoint, aws_notifications_queue_url=aws.make_queue(**made)))  # type: ignore[arg-type]
        assert by_name(rows)["SQS queue"].state is CheckState.WARN


async def test_the_doctor_names_missing_credentials_and_regions(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (no_region,) = await check_aws(Settings(aws_endpoint_url=endpoint, aws_exports_bucket="abc"))
    assert (no_region.kind, no_region.state) == (CheckKind.CONFIGURATION, CheckState.BAD)
    assert "AWS_REGION" in no_region.mend
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    (no_credentials,) = await check_aws(settings_of(endpoint, aws_exports_bucket="abc"))
    assert (no_credentials.kind, no_credentials.state) == (CheckKind.CONFIGURATION, CheckState.BAD)
    assert "AWS_ACCESS_KEY_ID" in no_credentials.mend


async def test_the_doctor_names_an_address_where_nobody_answers() -> None:
    (row,) = await check_aws(settings_of("http://127.0.0.1:1", aws_exports_bucket="abc"))
    assert (row.kind, row.state) == (CheckKind.SERVICE, CheckState.BAD)
    assert "AWS_ENDPOINT_URL" in row.mend


async def test_the_doctor_asks_nobody_where_nothing_is_configured() -> None:
    (row,) = await check_aws(Settings(aws_endpoint_url="http://127.0.0.1:1"))
    assert row.state is CheckState.OK
    assert "not configured" in row.value


@contextlib.asynccontextmanager
async def credentials_matter(endpoint: str) -> AsyncIterator[None]:
    """From now on moto asks who is there, as AWS always does."""
    async with aiohttp.ClientSession() as http:
        await http.post(f"{endpoint}/moto-api/reset-auth", data=b"0")
        try:
            yield
        finally:
            await http.post(f"{endpoint}/moto-api/reset-auth", data=b"inf")


async def test_the_doctor_names_wrong_credentials(endpoint: str) -> None:
    async with credentials_matter(endpoint):
        (row,) = await check_aws(settings_of(endpoint, aws_exports_bucket="abc"))
    assert row.state is CheckState.BAD
    assert "InvalidClientTokenId" in row.value
    assert "credentials are wrong" in row.mend
