"""Mailers: what sends a mail. This one writes files; cluster/aws/mail.py uses SES."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from persistence.private_files import make_private_directory, write_private_file

FILES_MAX = 200
SUFFIX = ".eml"


class MailRefusedError(Exception):
    """This mail cannot be sent, now or later; others may. The text of this error does not name the recipient."""


class MailerAwayError(Exception):
    """No mail can be sent at the moment."""


class Mailer(Protocol):
    """Sends mails."""

    async def send(self, message: bytes, address: str, event_id: str) -> None:
        """Send a message.

        Raises:
            MailRefusedError, MailerAwayError: if it was not accepted.
        """

    async def check(self) -> None:
        """Raise ``MailerAwayError`` if no mail would be accepted."""


class FileMailer:
    """Writes mails to a directory that only its owner may read, and keeps the newest.

    Args:
        directory: made with the first mail.
        files_max: older files are deleted beyond so many.
    """

    def __init__(self, directory: Path, files_max: int = FILES_MAX) -> None:
        self._directory = directory
        self._files_max = files_max

    async def send(self, message: bytes, address: str, event_id: str) -> None:
        """See ``Mailer``. A file has a few kilobytes, so writing it takes less time than a thread would."""
        try:
            self._write(message, event_id)
        except OSError as error:
            raise MailerAwayError(f"no mail can be written: {type(error).__name__}") from error
        await asyncio.sleep(0)  # lets other tasks run in between

    async def check(self) -> None:
        """Nothing to check: a full disk only shows when a file is written."""

    def _write(self, message: bytes, event_id: str) -> None:
        make_private_directory(self._directory)
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{event_id.replace(':', '-')}{SUFFIX}"
        write_private_file(self._directory / name, message)
        for old in sorted(self._directory.glob(f"[0-9]*{SUFFIX}"))[: -self._files_max]:
            old.unlink(missing_ok=True)  # another process may have deleted it
