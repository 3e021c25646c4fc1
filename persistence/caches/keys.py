"""What the two ends of the caches in Redis share: keys, the tombstone, the channel on which seats are published."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec
from redis.asyncio import Redis

from allocator.ports import SeatWrite

COURSES = "courses:semester:"
ENROLLMENTS = "student:enrollments:"

TOMBSTONE = b"\x00"  # no JSON begins with it
"""What a commit writes over a cached value. A reader that finds it reads Postgres, and caches nothing."""
TOMBSTONE_MS = 3000
"""How long a tombstone lasts. It must be longer than any load whose result is cached."""
LOAD_MAX_S = 2.5
"""A load that takes longer is neither cached nor shared: a tombstone may have been written and expired meanwhile."""

CHANNEL = "seatline:seats:"
"""Followed by the number of the Redis database: unlike keys, channels are shared by all databases of a server."""


class PublishedSeats(NamedTuple):
    """The counts of a section after a commit, as they are published.

    The fields and their order are those that processes of the version before read, too, hence the ones without use.
    """

    section_id: int
    epoch: int
    seq_before: int
    seq: int
    capacity: int
    enrolled: int
    waitlisted: int
    last_place: int
    is_open: bool


_encode = msgspec.msgpack.Encoder().encode

unpack_seats = msgspec.msgpack.Decoder(list[PublishedSeats]).decode
"""The seats in a message. Raises ``msgspec.DecodeError`` if it is not such a message."""


def channel_of(redis: Redis) -> str:
    """The channel on which changes of seats are published by those who use this database of Redis."""
    return f"{CHANNEL}{redis.connection_pool.connection_kwargs.get('db') or 0}"


def pack_seats(seats: Iterable[SeatWrite]) -> bytes:
    """The message that publishes these seats. A message without seats means that anything may have changed."""
    return _encode([_published(written) for written in seats])


def _published(written: SeatWrite) -> PublishedSeats:
    return PublishedSeats(
        written.section_id,
        written.epoch,
        written.seq_before,
        written.seq,
        written.capacity,
        written.enrolled,
        written.waitlisted,
        written.last_place,
        written.is_open,
    )
