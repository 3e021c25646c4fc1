"""Builds the message (RFC 5322) of a mail."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import parseaddr

from cluster.notifications.render import Mail

POLICY = SMTP.clone(cte_type="7bit", max_line_length=78)
DEFAULT_SENDER = "Seatline <seatline@localhost.example>"


ADDRESS_MAX = 254
_is_address = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@([A-Za-z0-9-]+\.)+[A-Za-z0-9-]+").fullmatch
"""An address as browsers accept it (HTML), with a dot in its domain. RFC 5322 allows quotes and comments besides."""


class BadAddressError(Exception):
    """The address cannot be used. The text of this error does not contain it."""


def write_message(mail: Mail, *, event_id: str, sender: str, name: str, address: str, at: datetime) -> bytes:
    """The message. Its Message-ID is the same in every delivery of the event.

    Raises:
        BadAddressError: if ``address`` is not an e-mail address.
    """
    message = EmailMessage(policy=POLICY)
    message["From"] = sender
    message["To"] = _recipient(name, address)
    message["Subject"] = mail.subject
    message["Date"] = at
    digest = hashlib.blake2b(f"{event_id} {address}".encode(), digest_size=12).hexdigest()
    message["Message-ID"] = f"<{digest}@{parseaddr(sender)[1].rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"  # asks for no automatic answers (RFC 3834)
    message.set_content(mail.text)
    message.add_alternative(mail.html, subtype="html")
    return message.as_bytes()


def _recipient(name: str, address: str) -> Address:
    if len(address) > ADDRESS_MAX or not _is_address(address):
        raise BadAddressError("not an address")
    try:
        return Address(name if name.isprintable() else "", addr_spec=address)
    except (ValueError, MessageError) as error:
        raise BadAddressError(type(error).__name__) from None
