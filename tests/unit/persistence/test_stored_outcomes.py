"""Outcomes as they are stored with their requests, and back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.model.outcomes import FINAL, Code, Outcome, Reason, ReasonCode, refused
from persistence.store.stored_outcomes import VERSION, UnreadableOutcomeError, decode_outcome, encode_outcome

ids = st.integers(1, 2**62)
reasons = st.builds(Reason, st.sampled_from(ReasonCode), st.text(max_size=40), st.none() | ids)
outcomes = st.builds(
    Outcome,
    st.sampled_from(sorted(FINAL)),
    ids,
    st.none() | ids,
    st.none() | ids,
    st.none() | ids,
    st.lists(reasons, max_size=4).map(tuple),
)
FULL, CLASH = Reason(ReasonCode.SECTION_FULL, "No seat."), Reason(ReasonCode.SCHEDULE_CONFLICT, "It overlaps.", 9)
SEAT, PLACE, REFUSAL = (
    Outcome(Code.ENROLLED, 7, 100),
    Outcome(Code.WAITLISTED, 7, 100, 12, 3),
    refused(7, FULL, CLASH),
)


@given(outcomes)
def test_every_outcome_survives(outcome: Outcome) -> None:
    decoded = decode_outcome(encode_outcome(outcome))
    assert decoded == outcome
    assert isinstance(decoded.code, Code)
    assert all(isinstance(reason, Reason) for reason in decoded.reasons)


@given(outcomes)
def test_every_outcome_that_the_version_before_stored_is_read(outcome: Outcome) -> None:
    """An array: the six fields of today, then owner, recheck and replayed."""
    assert decode_outcome(json.dumps([*outcome, None, [8, 9], False])) == outcome


def test_what_is_stored_has_names_and_a_version_and_nothing_that_is_absent() -> None:
    assert json.loads(encode_outcome(SEAT)) == {"code": "enrolled", "section_id": 7, "enrollment_id": 100, "v": VERSION}
    assert json.loads(encode_outcome(PLACE)) == {
        "code": "waitlisted", "section_id": 7, "enrollment_id": 100, "place": 12, "position": 3, "v": VERSION,
    }  # fmt: skip
    assert json.loads(encode_outcome(REFUSAL)) == {
        "code": "refused",
        "section_id": 7,
        "reasons": [
            {"code": "section_full", "detail": "No seat."},
            {"code": "schedule_conflict", "detail": "It overlaps.", "subject": 9},
        ],
        "v": VERSION,
    }


@pytest.mark.parametrize(
    ("stored", "outcome"),
    [
        ('["enrolled",7,100,null,null,[],null,[],false]', SEAT),
        ('["waitlisted",7,100,12,3,[],null,[],false]', PLACE),
        (
            '["refused",7,null,null,null,'
            '[["section_full","No seat.",null],["schedule_conflict","It overlaps.",9]],null,[],false]',
            REFUSAL,
        ),
        ('["dropped", 7, 100]', Outcome(Code.DROPPED, 7, 100)),
    ],
)
def test_the_form_of_before_is_read(stored: str, outcome: Outcome) -> None:
    assert decode_outcome(stored) == outcome


def test_what_is_null_is_absent() -> None:
    stored = '{"v":1,"code":"enrolled","section_id":7,"enrollment_id":100,"place":null,"position":null,"reasons":[]}'
    assert decode_outcome(stored) == SEAT


@pytest.mark.parametrize(
    "stored",
    [
        '{"code":"enrolled","section_id":7,"enrollment_id":100,"v":2}',
        '{"code":"auctioned","section":{"id":7},"v":2}',
        '{"v":2}',
    ],
)
def test_a_later_version_is_refused_by_its_number(stored: str) -> None:
    with pytest.raises(UnreadableOutcomeError, match="version 2"):
        decode_outcome(stored)


@pytest.mark.parametrize(
    ("stored", "named"),
    [
        ('{"code":"levitated","section_id":7,"v":1}', "levitated"),
        ('{"code":"refused","section_id":7,"reasons":[{"code":"astrology","detail":""}],"v":1}', "astrology"),
        ('["levitated",7,null,null,null,[],null,[],false]', "levitated"),
        ('["refused",7,null,null,null,[["astrology","",null]],null,[],false]', "astrology"),
    ],
)
def test_an_unknown_code_is_named(stored: str, named: str) -> None:
    with pytest.raises(UnreadableOutcomeError, match=named):
        decode_outcome(stored)


@pytest.mark.parametrize(
    "stored",
    ["", "x", "null", "7", '"enrolled"', "{}", "[]", '["enrolled"]', '["enrolled","7"]', '["refused",7,1,1,1,[1]]',
     '{"code":"enrolled","section_id":7}', '{"code":"enrolled","v":1}', '{"code":"enrolled","section_id":"7","v":1}',
     '{"code":"enrolled","section_id":7,"v":"1"}', '{"code":"enrolled","section_id":7,"v":1'],
)  # fmt: skip
def test_what_is_no_outcome_is_an_error_of_its_own(stored: str) -> None:
    with pytest.raises(UnreadableOutcomeError):
        decode_outcome(stored)
