"""Codes of one file that a reader takes for the same one but that are spelled in two ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from persistence.imports.report import Refusal
from persistence.imports.rows import Bundle, SectionRow
from persistence.imports.spelling import Spellings, difference, fold, fold_number

EXAMPLES = 3


def refuse_clashes(
    bundle: Bundle, sections: Sequence[SectionRow], subject_of: Callable[[SectionRow], str]
) -> list[SectionRow]:
    """Refuse sections whose subject, course, code or id is spelled in another way more often, and name that line.

    Returns:
        the sections that are left.
    """
    left = _refuse(bundle, sections, "subject", subject_of, fold)
    left = _refuse(bundle, left, "course", lambda one: one.course, fold)
    left = _refuse(bundle, left, "section code", lambda one: one.code, fold_number, within=lambda one: one.course)
    return _refuse(bundle, left, "section id", lambda one: one.source_key, fold_number)


def _refuse(
    bundle: Bundle,
    sections: Sequence[SectionRow],
    what: str,
    code_of: Callable[[SectionRow], str],
    key: Callable[[str], str],
    within: Callable[[SectionRow], str] = lambda _: "",
) -> list[SectionRow]:
    """Refuse sections by one of their codes, which has to be unique ``within`` something."""

    def apart(text: str) -> str:
        place, code = text.split("\0")
        return f"{place}\0{key(code)}"

    whole = [f"{within(one)}\0{code_of(one)}" for one in sections]
    spellings = Spellings.of(zip(whole, (one.line for one in sections), strict=True), apart)
    odd = set(spellings.twice())
    left: list[SectionRow] = []
    for text, section in zip(whole, sections, strict=True):
        if text not in odd:
            left.append(section)
            continue
        usual, line = spellings.usual(text)
        code, other = text.split("\0")[1], usual.split("\0")[1]
        how = difference(code, other)
        bundle.refused_keys.add(section.source_key)
        bundle.refusals.append(Refusal(section.line, f"{what} {code!r} differs {how} from {other!r} on line {line}"))
    return left


def join_rooms(bundle: Bundle, sections: Sequence[SectionRow]) -> list[SectionRow]:
    """Give rooms that are spelled in several ways the commonest spelling, and remark on it.

    They are not refused: no rule depends on rooms.
    """
    rooms = ((m.room, section.line) for section in sections for m in section.meetings if m.room is not None)
    spellings = Spellings.of(rooms)
    renamed = {odd: spellings.usual(odd)[0] for odd in spellings.twice()}
    if not renamed:
        return list(sections)
    examples = ", ".join(f"{odd!r} as {usual!r}" for odd, usual in list(renamed.items())[:EXAMPLES])
    bundle.remarks.append(f"{len(renamed):,} rooms are spelled in two ways and read as the commoner one: {examples}.")
    return [
        section._replace(
            meetings=tuple(
                dict.fromkeys(
                    m._replace(room=renamed.get(m.room, m.room) if m.room else None) for m in section.meetings
                )
            )
        )
        for section in sections
    ]
