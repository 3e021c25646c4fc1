"""Whether what is configured of AWS is there, and ours to use."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from cluster.config.settings import Settings
from cluster.doctor.report import Kind, Row, State

if TYPE_CHECKING:
    from cluster.aws.clients import AwsClients

VISIBILITY_MIN_S = 60

SENDER_MEND = "verify the address or its domain in SES, in this region, or correct SEATLINE_AWS_MAIL_SENDER"

CREDENTIAL_CODES = frozenset({
    "AccessDenied",
    "AccessDeniedException",
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
    "403",
})  # fmt: skip


class Look(NamedTuple):
    """One thing to look at. ``mend``: what to do if AWS refuses to show it."""

    name: str
    ask: Callable[[AwsClients, Settings], Awaitable[Row]]
    mend: str


async def look_at_aws(settings: Settings) -> list[Row]:
    """A row for what is in use, with what to mend; one row if nothing of it is configured."""
    if not settings.uses_aws:
        return [Row(Kind.SERVICE, "AWS", State.OK, "not configured; mails and exports are files of the home")]
    if importlib.util.find_spec("boto3") is None:
        return [Row(Kind.MACHINE, "AWS", State.BAD, "boto3 is not installed", "pip install 'seatline[aws]'")]
    from cluster.aws.clients import AwsClients, CallLimits  # noqa: PLC0415  (boto3 takes a moment to import)

    limits = CallLimits(connect_timeout_s=2.0, read_timeout_s=3.0, tries_max=1, deadline_s=8.0)
    clients = AwsClients(settings.aws_region, settings.aws_endpoint_url, limits)
    try:
        who = await _row(Look("AWS", _who_we_are, "see the credentials and AWS_REGION"), clients, settings)
        if who.state is State.BAD:  # all others would say the same
            return [who]
        looks = [_row(look, clients, settings) for look in _looks(settings)]
        return [who, *await asyncio.gather(*looks)]
    finally:
        clients.close()


def _looks(settings: Settings) -> list[Look]:
    queue_mend = "make the queue, or correct SEATLINE_AWS_NOTIFICATIONS_QUEUE_URL and AWS_REGION"
    bucket_mend = "make the bucket, or correct SEATLINE_AWS_EXPORTS_BUCKET"
    group_mend = "make the target group, or correct SEATLINE_AWS_TARGET_GROUP_ARN and AWS_REGION"
    wanted = [
        (settings.aws_notifications_queue_url, Look("SQS queue", _queue, queue_mend)),
        (settings.aws_mail_sender, Look("SES sender", _sender, SENDER_MEND)),
        (settings.aws_exports_bucket, Look("S3 bucket", _bucket, bucket_mend)),
        (settings.aws_metrics_namespace, Look("CloudWatch", _metrics, "")),
        (settings.aws_target_group_arn, Look("target group", _target_group, group_mend)),
    ]
    return [look for value, look in wanted if value is not None]


async def _row(look: Look, clients: AwsClients, settings: Settings) -> Row:
    from cluster.aws.errors import AwsAwayError, AwsRefusedError  # noqa: PLC0415  (as above)

    try:
        return await look.ask(clients, settings)
    except AwsAwayError as error:
        mend = "the network, AWS_REGION or AWS_ENDPOINT_URL: nobody answers there"
        return Row(Kind.SERVICE, look.name, State.BAD, str(error), mend)
    except AwsRefusedError as error:
        kind, mend = _mend(error.code, look.mend)
        return Row(kind, look.name, State.BAD, f"{error}: {error.detail}".removesuffix(": "), mend)
    except ValueError as error:  # botocore says so of addresses
        return Row(Kind.CONFIGURATION, look.name, State.BAD, str(error), "correct AWS_REGION or AWS_ENDPOINT_URL")


def _mend(code: str, otherwise: str) -> tuple[Kind, str]:
    if code in {"NoRegionError", "InvalidRegionError"}:
        return Kind.CONFIGURATION, "set AWS_REGION to the region of the queue, the bucket and the rest"
    if code in {"NoCredentialsError", "PartialCredentialsError"}:
        return Kind.CONFIGURATION, "give the instance a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if code in CREDENTIAL_CODES:
        return Kind.SERVICE, "these credentials are wrong, or may not do this: see the role in docs/deploy-aws.md"
    return Kind.SERVICE, otherwise


async def _who_we_are(clients: AwsClients, settings: Settings) -> Row:
    answer = await clients.call("sts", lambda client: (client.get_caller_identity(), client.meta.region_name))
    identity, region = answer
    return Row(Kind.SERVICE, "AWS", State.OK, f"{identity['Arn']} in {region}")


async def _queue(clients: AwsClients, settings: Settings) -> Row:
    url = settings.aws_notifications_queue_url

    def ask(client: Any) -> Any:
        return client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])

    found = (await clients.call("sqs", ask))["Attributes"]
    value = f"{url}: {found.get('ApproximateNumberOfMessages', '?')} waiting"
    if "RedrivePolicy" not in found:
        mend = "give it a dead-letter queue: a message that cannot be mailed is offered again and again until then"
        return Row(Kind.SERVICE, "SQS queue", State.WARN, f"{value}, no dead-letter queue", mend)
    if int(found.get("VisibilityTimeout", 0)) < VISIBILITY_MIN_S:
        mend = f"set its visibility timeout to at least {VISIBILITY_MIN_S} s: mails could go out twice"
        return Row(Kind.SERVICE, "SQS queue", State.WARN, f"{value}, hidden {found['VisibilityTimeout']} s", mend)
    return Row(Kind.SERVICE, "SQS queue", State.OK, value)


async def _sender(clients: AwsClients, settings: Settings) -> Row:
    from cluster.aws.mail import is_verified  # noqa: PLC0415  (as above)

    sender = settings.aws_mail_sender or ""
    if await is_verified(clients, sender):
        return Row(Kind.SERVICE, "SES sender", State.OK, sender)
    return Row(Kind.SERVICE, "SES sender", State.BAD, f"{sender} is not verified", SENDER_MEND)


async def _bucket(clients: AwsClients, settings: Settings) -> Row:
    name = settings.aws_exports_bucket
    await clients.call("s3", lambda client: client.head_bucket(Bucket=name))
    return Row(Kind.SERVICE, "S3 bucket", State.OK, str(name))


async def _metrics(clients: AwsClients, settings: Settings) -> Row:
    # Nothing has to be there beforehand, so there is nothing to look for; who may not send hears it when sending.
    return Row(Kind.SERVICE, "CloudWatch", State.OK, f"figures go to {settings.aws_metrics_namespace}")


async def _target_group(clients: AwsClients, settings: Settings) -> Row:
    arn = settings.aws_target_group_arn
    answer = await clients.call("elbv2", lambda client: client.describe_target_groups(TargetGroupArns=[arn]))
    group = answer["TargetGroups"][0]
    if group.get("TargetType") != "ip":
        mend = "nodes are registered by address: make a target group of type ip"
        return Row(Kind.SERVICE, "target group", State.BAD, f"{group['TargetGroupName']} takes no addresses", mend)
    return Row(Kind.SERVICE, "target group", State.OK, str(group["TargetGroupName"]))
