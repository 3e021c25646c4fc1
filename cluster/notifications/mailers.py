"""Who carries a mail away: SES, or the local disk."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

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

    async def check(self) -> None:
        """A disk that is full says so when it is written to."""

    def _write(self, message: bytes, event_id: str) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{event_id.replace(':', '-')}{SUFFIX}"
        temporary = self._directory / f".{name}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(message)
            temporary.replace(self._directory / name)
        finally:
            temporary.unlink(missing_ok=True)
        for old in sorted(self._directory.glob(f"*{SUFFIX}"))[: -self._files_max]:
            old.unlink(missing_ok=True)  # another process may have been quicker
