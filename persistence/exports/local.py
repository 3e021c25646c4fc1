"""Roster exports without S3: files in the home directory, served for a few minutes to the user who made them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from allocator.model.read_models import ExportLink, Roster
from allocator.ports import StoreUnavailableError
from persistence.exports.roster_csv import roster_csv
from persistence.private_files import make_private_directory, write_private_file

LINK_TTL_S = 300
FILES_MAX = 100
IDS = 2**62
"""Export ids are random numbers below this, so that nobody can guess one; besides, only its user gets an export."""


class _ExportFile(NamedTuple):
    """An export, as the name of its file says."""

    export_id: int
    user_id: int
    expires_at: int

    @property
    def file_name(self) -> str:
        return f"{self.expires_at}-{self.user_id}-{self.export_id}.csv"


class LocalExports:
    """Implements ``api.ports.RosterExports``.

    Args:
        directory: made with the first export, readable by its owner only.
    """

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._clock = clock

    async def put(self, roster: Roster, *, user_id: int, with_bom: bool) -> ExportLink:
        """Write a roster as CSV and give its link."""
        expires_at = int(self._clock()) + LINK_TTL_S
        kept = _ExportFile(secrets.randbelow(IDS) + 1, user_id, expires_at)
        try:
            make_private_directory(self._directory)
            self._delete_expired()
            write_private_file(self._directory / kept.file_name, roster_csv(roster, with_bom=with_bom))
        except OSError as error:
            raise StoreUnavailableError(f"no export can be written: {type(error).__name__}") from error
        return ExportLink(f"/api/roster-exports/{kept.export_id}", datetime.fromtimestamp(expires_at, UTC))

    async def get(self, export_id: int, user_id: int) -> bytes | None:
        """The CSV of an export that this user made; None if there is none, or it has expired."""
        now = self._clock()
        for one in self._files():
            if (one.export_id, one.user_id) == (export_id, user_id) and now < one.expires_at:
                try:
                    return (self._directory / one.file_name).read_bytes()
                except FileNotFoundError:
                    return None  # deleted a moment ago
        return None

    def _files(self) -> list[_ExportFile]:
        """All exports, in the order in which they expire."""
        names = [path.stem.split("-") for path in self._directory.glob("*-*-*.csv")]
        kept = [_ExportFile(int(export), int(user), int(expires)) for expires, user, export in names]
        return sorted(kept, key=lambda one: one.expires_at)

    def _delete_expired(self) -> None:
        files, now = self._files(), self._clock()
        for index, one in enumerate(files):
            if one.expires_at <= now or index <= len(files) - FILES_MAX:
                (self._directory / one.file_name).unlink(missing_ok=True)
