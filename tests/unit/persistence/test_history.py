"""Events to rows of the history and back."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.model.events import Event, PromotionBlocked, SeatFreed
from allocator.model.outcomes import ReasonCode
from persistence.store import changes, history
from persistence.store.history import COLUMNS, HistoryRow, UnknownEventError, event_from_row, event_to_row

ids = st.integers(1, 2**62)
KINDS: tuple[type[Any], ...] = get_args(Event)


@st.composite
def events(draw: st.DrawFn) -> Event:
    kind = draw(st.sampled_from(KINDS))
    fields: dict[str, object] = {}
    for name in kind._fields:
        if name == "reasons":
            codes = [code.value for code in ReasonCode]
            fields[name] = tuple(draw(st.lists(st.sampled_from(codes), max_size=4)))
        elif name == "by_user_id":
            fields[name] = draw(st.one_of(st.none(), ids))
        else:
            fields[name] = draw(ids)
    event: Event = kind(**fields)
    return event


@given(events(), ids)
def test_every_event_survives(event: Event, epoch: int) -> None:
    row = event_to_row(event, epoch)
    assert row.epoch == epoch
    assert event_from_row(row._asdict()) == event


def test_the_columns_are_those_of_the_table() -> None:
    from persistence.schema.tables import enrollment_history

    assert tuple(column.name for column in enrollment_history.columns if column.name != "at") == COLUMNS


def test_reasons_are_joined() -> None:
    row = event_to_row(PromotionBlocked(1, 2, 3, 4, 5, 6, ("hold", "credit_limit")), 7)
    assert row == HistoryRow(1, 2, "PromotionBlocked", 3, 4, 5, 6, "hold,credit_limit", 7)


def test_who_gives_up_a_seat_gives_up_its_credits() -> None:
    freed = SeatFreed(1, 2, 3, 4, 5)
    row = event_to_row(freed, 7)
    assert row == HistoryRow(1, 2, "SeatFreed", 3, 4, None, 5, None, 7)
    assert event_from_row(row._asdict()) == freed


def test_a_freed_seat_of_the_version_before_does_not_say_how_many_credits() -> None:
    """Whoever reads such a row must know them from elsewhere: the history itself says what the seat was."""
    row = HistoryRow(7, 9, "SeatFreed", 1, 2, None, None, None, 1)
    with pytest.raises(UnknownEventError, match="7/9 is no SeatFreed"):
        event_from_row(row._asdict())
    assert event_from_row({**row._asdict(), "number": 4}) == SeatFreed(7, 9, 1, 2, 4)


@pytest.mark.parametrize(
    "change",
    [{"kind": "SeatStolen"}, {"number": None}, {"student_id": None}, {"kind": "CapacityChanged", "detail": "x"}],
)
def test_what_cannot_be_read_says_where(change: dict[str, Any]) -> None:
    row = {**HistoryRow(7, 9, "SeatTaken", 1, 2, None, 3, None, 1)._asdict(), **change}
    with pytest.raises(UnknownEventError, match="7/9"):
        event_from_row(row)


def test_of_every_event_somebody_is_told_or_it_is_said_that_nobody_is() -> None:
    assert set(changes.TOPICS) | changes.TOLD_NOBODY == set(get_args(Event))
    assert not set(changes.TOPICS) & changes.TOLD_NOBODY
    assert set(history._READERS) == {event.__name__ for event in get_args(Event)}
