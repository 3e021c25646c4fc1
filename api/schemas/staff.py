"""Requests and replies for staff."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from allocator.model.read_models import ExportLink, Roster, RosterEntry


class SectionChange(Struct, frozen=True, forbid_unknown_fields=True):
    """What to change of a section: at least one field. A field that is left out stays as it is."""

    capacity: Annotated[int, Meta(ge=0, le=100_000)] | UnsetType = UNSET
    is_open: bool | UnsetType = UNSET


class RosterItem(Struct, frozen=True):
    """One student of a section. ``place`` is null for those who hold a seat."""

    enrollment_id: int
    student_id: int
    student_number: str
    name: str
    place: int | None

    @classmethod
    def of(cls, entry: RosterEntry) -> RosterItem:
        """An entry, as staff see it."""
        return cls(entry.enrollment_id, entry.student_id, entry.student_number, entry.name, entry.place)


class RosterReply(Struct, frozen=True):
    """Who is in a section, sorted by name, and who waits for it, in the order of promotion."""

    section_id: int
    enrolled: list[RosterItem]
    waitlisted: list[RosterItem]

    @classmethod
    def of(cls, roster: Roster) -> RosterReply:
        """A roster, as staff see it."""
        return cls(
            roster.section_id,
            [RosterItem.of(one) for one in roster.enrolled],
            [RosterItem.of(one) for one in roster.waitlisted],
        )


class ExportQuery(Struct, frozen=True):
    """``bom``: whether the file begins with a byte order mark, by which Excel recognises UTF-8."""

    bom: bool = False


class ExportReply(Struct, frozen=True):
    """Where the file is, and until when. A ``url`` without a host is a path of this API, and needs the same token."""

    url: str
    expires_at: datetime

    @classmethod
    def of(cls, link: ExportLink) -> ExportReply:
        """A link, as its user sees it."""
        return cls(link.url, link.expires_at)
