"""Mail through SES."""

from __future__ import annotations

from email.utils import parseaddr
from functools import partial
from typing import Any

from cluster.aws.clients import AwsClients
from cluster.aws.errors import AwsAwayError, AwsError, AwsRefusedError
from cluster.notifications.mailers import MailerAwayError, MailRefusedError

SERVICE = "sesv2"
OF_THIS_MAIL = frozenset({"MessageRejected", "BadRequestException"})
"""Codes for one bad mail. Every other refusal (of our sender, our account) concerns all mails."""

MAY_NOT_ASK = frozenset({"AccessDenied", "AccessDeniedException"})


class SesMailer:
    """Implements ``cluster.notifications.mailers.Mailer``.

    Args:
        sender: an address that SES has verified, or one of a domain that it has verified.
    """

    def __init__(self, clients: AwsClients, sender: str) -> None:
        self._clients = clients
        self._sender = sender

    async def send(self, message: bytes, address: str, event_id: str) -> None:
        """Send one message through SES."""

        def send(client: Any) -> Any:
            return client.send_email(
                FromEmailAddress=self._sender,
                Destination={"ToAddresses": [address]},
                Content={"Raw": {"Data": message}},
            )

        try:
            await self._clients.call(SERVICE, send)
        except AwsRefusedError as error:
            if error.code in OF_THIS_MAIL:
                raise MailRefusedError(error.code) from error
            raise MailerAwayError(str(error)) from error
        except AwsAwayError as error:
            raise MailerAwayError(str(error)) from error

    async def check(self) -> None:
        """Ask SES whether it accepts mail from our sender, so that nothing is received from the queue in vain."""
        try:
            if await is_verified(self._clients, self._sender):
                return
        except AwsError as error:
            if isinstance(error, AwsRefusedError) and error.code in MAY_NOT_ASK:
                return  # credentials that may only send show it by sending
            raise MailerAwayError(str(error)) from error
        raise MailerAwayError(f"{SERVICE}: the sender of mails is not verified")


async def is_verified(clients: AwsClients, sender: str) -> bool:
    """Whether SES accepts mail from ``sender``: the address or its domain must be verified.

    Raises:
        AwsError: if SES cannot be asked.
    """
    address = parseaddr(sender)[1]
    for identity in (address, address.rpartition("@")[2]):
        try:
            found = await clients.call(SERVICE, partial(_look_up, identity))
        except AwsRefusedError as error:
            if error.code != "NotFoundException":
                raise
        else:
            if found.get("VerifiedForSendingStatus"):
                return True
    return False


def _look_up(identity: str, client: Any) -> Any:
    return client.get_email_identity(EmailIdentity=identity)
