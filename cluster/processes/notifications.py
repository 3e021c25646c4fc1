"""Chooses where notifications go, by the settings."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from cluster.config.settings import Environment, Settings
from persistence.outbox.relay import LogSink, Sink


def outbox_sink(settings: Settings, database_url: str, closing: ExitStack) -> Sink:
    """The sink of the outbox relay: the queue if there is one, else the log and, outside production, files.

    Args:
        database_url: as asyncpg wants it.
        closing: receives what must be closed.
    """
    # boto3 and jinja2 take a moment to import, and not everybody has boto3.
    if settings.aws_notifications_queue_url is not None:
        from cluster.aws.clients import AwsClients  # noqa: PLC0415
        from cluster.aws.queue import SqsSink  # noqa: PLC0415

        clients = AwsClients.of(settings)
        closing.callback(clients.close)
        return SqsSink(clients, settings.aws_notifications_queue_url)
    if settings.env is Environment.PRODUCTION:
        return LogSink()  # mails on the disk of a server would be personal data that nobody asked for
    from cluster.notifications.delivery import Delivery  # noqa: PLC0415
    from cluster.notifications.envelope import DEFAULT_SENDER  # noqa: PLC0415
    from cluster.notifications.local import LocalSink  # noqa: PLC0415
    from cluster.notifications.mailers import FileMailer  # noqa: PLC0415
    from cluster.notifications.render import Renderer  # noqa: PLC0415

    renderer = Renderer(settings.mail_language, settings.mail_time_zone)
    mailer = FileMailer(mail_directory(settings))
    delivery = Delivery(database_url, renderer, mailer, DEFAULT_SENDER)
    closing.callback(delivery.close)
    return LocalSink(delivery)


def mail_directory(settings: Settings) -> Path:
    """The directory for mails that are written to files."""
    return settings.home.resolve() / "mail"
