"""Checks whether the configured AWS resources exist and may be used."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from cluster.config.settings import Settings
from cluster.doctor.report import CheckKind, CheckResult, CheckState

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


class AwsCheck(NamedTuple):
    """A check of one AWS resource. ``mend`` says what to do if AWS refuses to show it."""

    name: str
    ask: Callable[[AwsClients, Settings], Awaitable[CheckResult]]
    mend: str


async def check_aws(settings: Settings) -> list[CheckResult]:
    """A result for each service that is in use; a single one if nothing of AWS is configured."""
    if not settings.uses_aws:
        return [
            CheckResult(
                CheckKind.SERVICE, "AWS", CheckState.OK, "not configured; mails and exports are files of the home"
            )
        ]
    if importlib.util.find_spec("boto3") is None:
        return [
            CheckResult(
                CheckKind.MACHINE, "AWS", CheckState.BAD, "boto3 is not installed", "pip install 'seatline[aws]'"
            )
        ]
    from cluster.aws.clients import AwsClients, CallLimits  # noqa: PLC0415  (boto3 takes a moment to import)

    limits = CallLimits(connect_timeout_s=2.0, read_timeout_s=3.0, tries_max=1, deadline_s=8.0)
    clients = AwsClients(settings.aws_region, settings.aws_endpoint_url, limits)
    try:
        who = await _row(AwsCheck("AWS", _who_we_are, "see the credentials and AWS_REGION"), clients, settings)
        if who.state is CheckState.BAD:  # all others would say the same
            return [who]
        results = [_row(check, clients, settings) for check in _checks(settings)]
        return [who, *await asyncio.gather(*results)]
    finally:
        clients.close()


def _checks(settings: Settings) -> list[AwsCheck]:
    queue_mend = "make the queue, or correct SEATLINE_AWS_NOTIFICATIONS_QUEUE_URL and AWS_REGION"
    bucket_mend = "make the bucket, or correct SEATLINE_AWS_EXPORTS_BUCKET"
    group_mend = "make the target group, or correct SEATLINE_AWS_TARGET_GROUP_ARN and AWS_REGION"
    wanted = [
        (settings.aws_notifications_queue_url, AwsCheck("SQS queue", _queue, queue_mend)),
        (settings.aws_mail_sender, AwsCheck("SES sender", _sender, SENDER_MEND)),
        (settings.aws_exports_bucket, AwsCheck("S3 bucket", _bucket, bucket_mend)),
        (settings.aws_metrics_namespace, AwsCheck("CloudWatch", _metrics, "")),
        (settings.aws_target_group_arn, AwsCheck("target group", _target_group, group_mend)),
    ]
    return [check for value, check in wanted if value is not None]


async def _row(check: AwsCheck, clients: AwsClients, settings: Settings) -> CheckResult:
    from cluster.aws.errors import AwsAwayError, AwsRefusedError  # noqa: PLC0415  (as above)

    try:
        return await check.ask(clients, settings)
    except AwsAwayError as error:
        mend = "the network, AWS_REGION or AWS_ENDPOINT_URL: nobody answers there"
        return CheckResult(CheckKind.SERVICE, check.name, CheckState.BAD, str(error), mend)
    except AwsRefusedError as error:
        kind, mend = _mend(error.code, check.mend)
        return CheckResult(kind, check.name, CheckState.BAD, f"{error}: {error.detail}".removesuffix(": "), mend)
    except ValueError as error:  # botocore says so of addresses
        return CheckResult(
            CheckKind.CONFIGURATION, check.name, CheckState.BAD, str(error), "correct AWS_REGION or AWS_ENDPOINT_URL"
        )


def _mend(code: str, otherwise: str) -> tuple[CheckKind, str]:
    if code in {"NoRegionError", "InvalidRegionError"}:
        return CheckKind.CONFIGURATION, "set AWS_REGION to the region of the queue, the bucket and the rest"
    if code in {"NoCredentialsError", "PartialCredentialsError"}:
        return CheckKind.CONFIGURATION, "give the instance a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if code in CREDENTIAL_CODES:
        return CheckKind.SERVICE, "these credentials are wrong, or may not do this: see the role in docs/deploy-aws.md"
    return CheckKind.SERVICE, otherwise


async def _who_we_are(clients: AwsClients, settings: Settings) -> CheckResult:
    answer = await clients.call("sts", lambda client: (client.get_caller_identity(), client.meta.region_name))
    identity, region = answer
    return CheckResult(CheckKind.SERVICE, "AWS", CheckState.OK, f"{identity['Arn']} in {region}")


async def _queue(clients: AwsClients, settings: Settings) -> CheckResult:
    url = settings.aws_notifications_queue_url

    def ask(client: Any) -> Any:
        return client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])

    found = (await clients.call("sqs", ask))["Attributes"]
    value = f"{url}: {found.get('ApproximateNumberOfMessages', '?')} waiting"
    if "RedrivePolicy" not in found:
        mend = "give it a dead-letter queue: a message that cannot be mailed is offered again and again until then"
        return CheckResult(CheckKind.SERVICE, "SQS queue", CheckState.WARN, f"{value}, no dead-letter queue", mend)
    if int(found.get("VisibilityTimeout", 0)) < VISIBILITY_MIN_S:
        mend = f"set its visibility timeout to at least {VISIBILITY_MIN_S} s: mails could go out twice"
        return CheckResult(
            CheckKind.SERVICE, "SQS queue", CheckState.WARN, f"{value}, hidden {found['VisibilityTimeout']} s", mend
        )
    return CheckResult(CheckKind.SERVICE, "SQS queue", CheckState.OK, value)


async def _sender(clients: AwsClients, settings: Settings) -> CheckResult:
    from cluster.aws.mail import is_verified  # noqa: PLC0415  (as above)

    sender = settings.aws_mail_sender or ""
    if await is_verified(clients, sender):
        return CheckResult(CheckKind.SERVICE, "SES sender", CheckState.OK, sender)
    return CheckResult(CheckKind.SERVICE, "SES sender", CheckState.BAD, f"{sender} is not verified", SENDER_MEND)


async def _bucket(clients: AwsClients, settings: Settings) -> CheckResult:
    name = settings.aws_exports_bucket
    await clients.call("s3", lambda client: client.head_bucket(Bucket=name))
    return CheckResult(CheckKind.SERVICE, "S3 bucket", CheckState.OK, str(name))


async def _metrics(clients: AwsClients, settings: Settings) -> CheckResult:
    # Nothing has to be there beforehand, so there is nothing to check for; who may not send hears it when sending.
    return CheckResult(
        CheckKind.SERVICE, "CloudWatch", CheckState.OK, f"figures go to {settings.aws_metrics_namespace}"
    )


async def _target_group(clients: AwsClients, settings: Settings) -> CheckResult:
    arn = settings.aws_target_group_arn
    answer = await clients.call("elbv2", lambda client: client.describe_target_groups(TargetGroupArns=[arn]))
    group = answer["TargetGroups"][0]
    if group.get("TargetType") != "ip":
        mend = "nodes are registered by address: make a target group of type ip"
        return CheckResult(
            CheckKind.SERVICE, "target group", CheckState.BAD, f"{group['TargetGroupName']} takes no addresses", mend
        )
    return CheckResult(CheckKind.SERVICE, "target group", CheckState.OK, str(group["TargetGroupName"]))
