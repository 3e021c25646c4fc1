"""Who carries a mail away: SES, or the local disk."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from persistence.private_files import make_private_directory, write_private_file

FILES_MAX = 200
SUFFIX = ".eml"


class MailRefusedError(Exception):
    """This one mail cannot go out, now or later; others may. The text does not say whose it is."""


class MailerAwayError(Exception):
    """No mail can go out at the moment."""


class Mailer(Protocol):
    """Carries mails."""

    async def send(self, message: bytes, address: str, event_id: str) -> None:
        """Hand over one message.

        Raises:
            MailRefusedError, MailerAwayError: it was not taken.
        """

    async def check(self) -> None:
        """Raise ``MailerAwayError`` if nothing would be taken."""


class FileMailer:
    """Writes mails to a directory that only its owner reads, and keeps the newest.

    Args:
        directory: made when the first mail comes.
    """

    def __init__(self, directory: Path, files_max: int = FILES_MAX) -> None:
        self._directory = directory
        self._files_max = files_max

    async def send(self, message: bytes, address: str, event_id: str) -> None:
        """See ``Mailer``. A file is a few kilobytes: written at once, quicker than a thread is found for it."""
        try:
            self._write(message, event_id)
        except OSError as error:
            raise MailerAwayError(f"no mail can be written: {type(error).__name__}") from error
        await asyncio.sleep(0)  # whoever waits meanwhile comes first

    async def check(self) -> None:
        """A disk that is full says so when it is written to."""

    def _write(self, message: bytes, event_id: str) -> None:
        make_private_directory(self._directory)
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{event_id.replace(':', '-')}{SUFFIX}"
        write_private_file(self._directory / name, message)
        for old in sorted(self._directory.glob(f"[0-9]*{SUFFIX}"))[: -self._files_max]:
            old.unlink(missing_ok=True)  # another process may have been quicker
