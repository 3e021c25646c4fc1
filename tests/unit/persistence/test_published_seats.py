"""Messages about seats between processes of two versions, as they meet during a rolling upgrade."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from allocator.ports import SeatWrite
from persistence.caches.keys import pack_seats, unpack_seats


class OldSeatWrite(NamedTuple):
    """What commit ecf8900 publishes and reads. Its decoder refuses any other number of fields."""

    section_id: int
    epoch: int
    seq_before: int
    seq: int
    capacity: int
    enrolled: int
    waitlisted: int
    last_place: int
    is_open: bool


def test_the_version_before_reads_what_is_published() -> None:
    written = SeatWrite(7, 3, 10, 12, 30, 28, 4, 9, True, over_capacity=1)

    read = msgspec.msgpack.Decoder(list[OldSeatWrite]).decode(pack_seats([written]))

    assert read == [OldSeatWrite(7, 3, 10, 12, 30, 28, 4, 9, True)]


def test_what_the_version_before_publishes_is_read() -> None:
    (read,) = unpack_seats(msgspec.msgpack.encode([OldSeatWrite(7, 3, 10, 12, 30, 28, 4, 9, False)]))

    assert (read.section_id, read.seq, read.capacity, read.enrolled, read.waitlisted) == (7, 12, 30, 28, 4)
    assert read.is_open is False


def test_that_anything_may_have_changed_is_read_by_both() -> None:
    assert unpack_seats(pack_seats([])) == []
    assert msgspec.msgpack.Decoder(list[OldSeatWrite]).decode(pack_seats([])) == []
