"""``seatline notify``: the worker that mails notifications."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import typer

from cluster.cli.common import CommandError, Exit, err, open_services, run_async
from cluster.config.settings import ConfigurationError, Environment, Settings, plain_postgres_url, read_settings

if TYPE_CHECKING:
    from cluster.aws.clients import AwsClients
    from cluster.notifications.mailers import Mailer


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(notify)


def notify() -> None:
    """Mail notifications from the SQS queue until stopped. Several workers may run; each mail is sent once.

    Mails go through SES as SEATLINE_AWS_MAIL_SENDER, or, outside production and without it, to files under
    SEATLINE_HOME/mail. Without a queue none of this is needed: `seatline up` then writes those files itself.

    Example:

        SEATLINE_AWS_NOTIFICATIONS_QUEUE_URL=https://sqs... SEATLINE_AWS_MAIL_SENDER='Registrar <r@campus.example>' \\
          AWS_REGION=eu-central-1 DATABASE_URL=postgresql://... seatline notify
    """
    run_async(_notify())


async def _notify() -> None:
    settings = read_settings()
    if settings.aws_notifications_queue_url is None:
        raise CommandError("set SEATLINE_AWS_NOTIFICATIONS_QUEUE_URL to the queue of notifications", Exit.CONFIGURATION)
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    queue_url = settings.aws_notifications_queue_url
    if settings.database_url is not None:  # Redis is not needed, so none must be started
        await _work(settings, queue_url, plain_postgres_url(settings.database_url.get_secret_value()), stopping)
        return
    async with open_services(settings) as urls:
        await _work(settings, queue_url, plain_postgres_url(urls.database_url), stopping)


async def _work(settings: Settings, queue_url: str, database_url: str, stopping: asyncio.Event) -> None:
    # boto3 and jinja2 take a moment to import, and not everybody has boto3.
    from cluster.aws.clients import AwsClients  # noqa: PLC0415
    from cluster.aws.queue import SqsQueue  # noqa: PLC0415
    from cluster.config.logs import configure_logging  # noqa: PLC0415
    from cluster.notifications.delivery import Delivery  # noqa: PLC0415
    from cluster.notifications.envelope import DEFAULT_SENDER  # noqa: PLC0415
    from cluster.notifications.render import Renderer  # noqa: PLC0415
    from cluster.notifications.worker import Worker  # noqa: PLC0415

    configure_logging(settings.log_level)
    clients = AwsClients.of(settings)
    mailer = _mailer(settings, clients)
    renderer = Renderer(settings.mail_language, settings.mail_time_zone)
    delivery = Delivery(database_url, renderer, mailer, settings.aws_mail_sender or DEFAULT_SENDER)
    err.print(f"mailing notifications from {queue_url}; Ctrl-C stops", highlight=False, soft_wrap=True)
    try:
        await Worker(SqsQueue(clients, queue_url), delivery, mailer).run(stopping)
    finally:
        clients.close()


def _mailer(settings: Settings, clients: AwsClients) -> Mailer:
    from cluster.aws.mail import SesMailer  # noqa: PLC0415
    from cluster.notifications.mailers import FileMailer  # noqa: PLC0415
    from cluster.processes.notifications import mail_directory  # noqa: PLC0415

    if settings.aws_mail_sender is not None:
        return SesMailer(clients, settings.aws_mail_sender)
    if settings.env is Environment.PRODUCTION:
        raise ConfigurationError("set SEATLINE_AWS_MAIL_SENDER: in production no mails are written to files")
    return FileMailer(mail_directory(settings))
