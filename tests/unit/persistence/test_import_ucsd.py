"""Reading UCSD catalogues."""

from __future__ import annotations

import gzip
import tempfile
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from persistence.imports.formats.ucsd import HEADER, read_ucsd, semester_code
from persistence.imports.report import ImportFileError
from persistence.imports.rows import Bundle, MeetingRow

TEN_WEEKS = (1 << 10) - 1


def read(tmp_path: Path, *rows: str, header: str = "\t".join(HEADER)) -> Bundle:
    path = tmp_path / "sp22_sections.tsv"
    path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return read_ucsd(path)


def row(
    meetings: str = "", *, course: str = "CSE 100", code: str = "A01", key: str = "000001", seats: str = "30"
) -> str:
    return "\t".join((course, code, key, seats, meetings))


@pytest.mark.parametrize(
    ("name", "code"), [("sp22_sections.tsv.gz", "SP22"), ("s122_sections.tsv", "S122"), ("WI23.tsv", "WI23")]
)
def test_the_semester_is_in_the_name_of_the_file(name: str, code: str) -> None:
    assert semester_code(Path(name)) == code


def test_a_row_is_a_section_with_its_weekly_meetings(tmp_path: Path) -> None:
    bundle = read(
        tmp_path, row("LE,TuTh,17:00 - 18:20,MANDE B-150|DI,M,15:00 - 15:50,TBA TBA|FI,2022-06-09,19:00 - 21:59,X")
    )
    (section,) = bundle.sections
    assert section.meetings == (
        MeetingRow(1, 1020, 1100, TEN_WEEKS, "MANDE B-150"),
        MeetingRow(3, 1020, 1100, TEN_WEEKS, "MANDE B-150"),
        MeetingRow(0, 900, 950, TEN_WEEKS, None),
    )
    assert (section.component, section.capacity, section.credits) == ("lecture", 30, 4)
    assert bundle.notes["dated_meetings_skipped"] == 1
    assert [department.code for department in bundle.departments] == ["CSE"]


@pytest.mark.parametrize(
    ("meetings", "component"),
    [
        ("DI,M,8:00 - 8:50,X|LE,W,8:00 - 8:50,X", "lecture"),
        ("LA,M,8:00 - 8:50,X|SE,W,8:00 - 8:50,X", "seminar"),
        ("DI,M,8:00 - 8:50,X|LA,W,8:00 - 8:50,X", "lab"),
        ("CL,M,8:00 - 8:50,X", "section"),
        ("IN,N/A,0:00 - 0:00,TBA TBA", "section"),
        ("LE,,0:00 - 0:00,", "section"),
        ("", "section"),
    ],
)
def test_the_main_weekly_meeting_names_the_component(tmp_path: Path, meetings: str, component: str) -> None:
    assert read(tmp_path, row(meetings)).sections[0].component == component


def test_unlimited_and_closed_sections(tmp_path: Path) -> None:
    bundle = read(tmp_path, row(key="1", seats="9999"), row(key="2", seats="0"))
    assert [section.capacity for section in bundle.sections] == [9999, 0]
    assert [section.is_open for section in bundle.sections] == [True, False]
    assert bundle.notes["unlimited_sections"] == 1


def test_rows_of_one_section_are_joined(tmp_path: Path) -> None:
    bundle = read(tmp_path, row("DI,M,8:00 - 8:50,X"), row("LE,W,8:00 - 8:50,X|DI,M,8:00 - 8:50,X"))
    (section,) = bundle.sections
    assert section.component == "lecture"
    assert len(section.meetings) == 2
    assert bundle.notes["duplicate_rows_joined"] == 1


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (row(seats="many"), "not a number of seats"),
        (row(seats="-1"), "not a number of seats"),
        (row(seats="9999999"), "not between 0 and 1,000,000"),
        (row(course="CSE"), "is not a subject"),
        (row("LE,MWF"), "is not code,days,time,room"),
        (row("LE,Xx,8:00 - 8:50,X"), "unknown days"),
        (row("LE,M,8 - 9,X"), "is not H:MM - H:MM"),
        (row("LE,M,9:00 - 8:00,X"), "not within one day"),
        (row("LE,M,9:00 - 25:00,X"), "not within one day"),
        (row("LE,M,9:75 - 10:00,X"), "minutes beyond 59"),
        ("too\tfew", "2 columns instead of 5"),
        ("", "1 columns instead of 5"),
        (row(course="CSE 10\0"), "not text"),
        (row("LE,M,9:00 - 9:50,MANDE\0"), "room is not text"),
        (row(key="000002", seats="31"), "another section on line 2"),
        (row("XX,M,8:00 - 8:50,X"), "unknown code 'XX'"),
        (row("le,M,8:00 - 8:50,X"), "unknown code 'le'"),
        (row("XX,2022-06-09,8:00 - 8:50,X"), "unknown code 'XX'"),
        (row("XX,N/A,0:00 - 0:00,TBA TBA"), "unknown code 'XX'"),
        (row("LE,2022-02-30,8:00 - 8:50,X"), "unknown days '2022-02-30'"),
        (row('"LE,M,8:00 - 8:50,X'), "opened and not closed"),
        (row('LE,M,8:00 - 8:50,HALL 1"'), "stray quote"),
        (row(seats="30.0"), "not a number of seats"),
        (row(seats="1e2"), "not a number of seats"),
        (row(seats="\u0663\u0660"), "not a number of seats"),
        (row(seats=""), "not a number of seats"),
        (row(code=""), "it is empty"),
        (row(key=" \u00a0"), "it is empty"),
        (row(course="CSE"), "is not a subject, a space"),
        (row(course="C" * 161 + " 1"), "longer than 160"),
        (row("LE,M,8:00 - 8:50," + "X" * 161), "longer than 160"),
        (row(code="A\u200b01"), "invisible character U+200B"),
        (row(course="\u0421SE 100"), "mixes Latin letters with U+0421"),
    ],
)
def test_a_broken_row_is_refused_with_its_line(tmp_path: Path, broken: str, why: str) -> None:
    bundle = read(tmp_path, row(key="000002"), broken, row(key="000003"))
    assert [section.source_key for section in bundle.sections] == ["000002", "000003"]
    (refusal,) = bundle.refusals
    assert refusal.line == 3
    assert why in refusal.reason


def test_a_row_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_bytes("\t".join(HEADER).encode() + b"\nCSE 1\xff\tA\t1\t1\t\n")
    assert read_ucsd(path).refusals[0].line == 2


@pytest.mark.parametrize("content", [b"", b"something else\n", b"\x1f\x8bnot gzip", gzip.compress(b"x" * 1000)[:-20]])
def test_another_file_is_refused_whole(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.tsv.gz"
    path.write_bytes(content)
    with pytest.raises(ImportFileError, match=r"x\.tsv\.gz"):
        read_ucsd(path)


def test_an_endless_line_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv.gz"
    path.write_bytes(gzip.compress("\t".join(HEADER).encode() + b"\n" + b"x" * 10_000_000))
    with pytest.raises(ImportFileError, match="line 2 is longer"):
        read_ucsd(path)


def reasons(bundle: Bundle) -> list[tuple[int, str]]:
    return [(refusal.line, refusal.reason) for refusal in sorted(bundle.refusals)]


def test_a_quoted_cell_is_read_like_one_without_quotes(tmp_path: Path) -> None:
    """Field case 1: it became a component of its own, in a room with a quote, and a rule no longer held."""
    meetings = "LE,M,20:00 - 20:50,HALL 1|DI,W,20:00 - 20:50,HALL 2"
    quoted = read(tmp_path, row(f'"{meetings}"'))
    assert quoted == read(tmp_path, row(meetings))
    assert quoted.sections[0].component == "lecture"
    assert quoted.sections[0].meetings[0].room == "HALL 1"


def test_spaces_and_composition_make_no_other_code(tmp_path: Path) -> None:
    """Field case 2, first half."""
    course = "ÉCO 1"
    bundle = read(
        tmp_path,
        row(course=course, code="A00", key="9101"),
        row(course=f"{course} ", code="B00 ", key=" 9102"),
        row(course="\u00a0ÉCO  1", code="C00\u00a0", key="9103"),
        row(course="ÉCO\u00a01", code="D00", key="9104"),
        row(course=unicodedata.normalize("NFD", course), code="E00", key="9105"),
    )
    assert not bundle.refusals
    assert [one.code for one in bundle.courses] == [course]
    assert [one.code for one in bundle.departments] == ["ÉCO"]
    assert [one.code for one in bundle.sections] == ["A00", "B00", "C00", "D00", "E00"]
    assert [one.source_key for one in bundle.sections] == ["9101", "9102", "9103", "9104", "9105"]


@pytest.mark.parametrize(
    ("rows", "refused"),
    [
        (
            [row(course="TRIM 1", key="1"), row(course="TRIM 1", key="2"), row(course="trim 2", key="3")],
            (4, "subject 'trim' differs by case only from 'TRIM' on line 2"),
        ),
        (
            [row(course="TRIM 1a", key="1"), row(course="TRIM 1A", key="2"), row(course="TRIM 1A", key="3")],
            (2, "course 'TRIM 1a' differs by case only from 'TRIM 1A' on line 3"),
        ),
        (
            [row(code="A00", key="1"), row(code="\u041000", key="2")],
            (3, "section code '\u041000' differs by characters that look alike only"
                " (U+0410 CYRILLIC CAPITAL LETTER A) from 'A00' on line 2"),
        ),
        (
            [row(code="001", key="1"), row(code="1", key="2")],
            (3, "section code '1' differs by leading zeros only from '001' on line 2"),
        ),
        (
            [row(key="000001"), row(key="1", code="A02")],
            (3, "section id '1' differs by leading zeros only from '000001' on line 2"),
        ),
        (
            [row(key="ab1"), row(key="AB1", code="A02")],
            (3, "section id 'AB1' differs by case only from 'ab1' on line 2"),
        ),
    ],
)  # fmt: skip
def test_codes_that_look_the_same_are_refused_with_both_lines(
    tmp_path: Path, rows: list[str], refused: tuple[int, str]
) -> None:
    """Field case 2, second half. The rarer spelling is refused; of two equally common ones the later."""
    bundle = read(tmp_path, *rows)
    assert reasons(bundle) == [refused]
    assert len(bundle.sections) == len(rows) - 1
    assert not bundle.refused_keys & {section.source_key for section in bundle.sections}


def test_the_same_code_in_two_courses_is_no_clash(tmp_path: Path) -> None:
    bundle = read(tmp_path, row(course="CSE 1", code="A00", key="1"), row(course="CSE 2", code="a00", key="2"))
    assert not bundle.refusals


def test_rooms_that_look_the_same_are_one(tmp_path: Path) -> None:
    bundle = read(
        tmp_path,
        row("LE,M,8:00 - 8:50,ONLINE", key="1"),
        row("LE,M,8:00 - 8:50,Online", key="2", code="A02"),
        row("LE,M,8:00 - 8:50,Online", key="3", code="A03"),
    )
    assert [one.code for one in bundle.rooms] == ["Online"]
    assert any("'ONLINE' as 'Online'" in remark for remark in bundle.remarks)


def test_a_room_that_begins_like_an_unknown_one_is_kept(tmp_path: Path) -> None:
    assert read(tmp_path, row("LE,M,8:00 - 8:50,TBARN 1")).sections[0].meetings[0].room == "TBARN 1"


def test_half_of_a_section_is_none(tmp_path: Path) -> None:
    """The row of the lecture is refused: with the other row alone the section would be a discussion."""
    bundle = read(tmp_path, row("DI,M,8:00 - 8:50,X"), row("LEC,W,8:00 - 8:50,X"), row(key="2", code="B00"))
    assert [one.source_key for one in bundle.sections] == ["2"]
    assert bundle.refused_keys == {"000001"}
    assert [line for line, _ in reasons(bundle)] == [2, 3]
    assert "another row of this section is refused, on line 3" in reasons(bundle)[0][1]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\n\n", "\r\n\r\n", "\n\t\t\t\t\n", ""])
def test_a_blank_last_line_is_nothing(tmp_path: Path, ends: str) -> None:
    path = tmp_path / "sp22.tsv"
    path.write_bytes(("\t".join(HEADER) + "\r\n" + row() + ends).encode())
    bundle = read_ucsd(path)
    assert not bundle.refusals
    assert bundle.notes["rows_read"] == len(bundle.sections) == 1


def test_missing_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImportFileError, match="no column sec_id and no column total_seats"):
        read(tmp_path, header="subj_course_id\tsec_code\tmeetings")


@pytest.mark.parametrize("code", ["", " ", "A\u200b", "\u0421P22", "x" * 200])
def test_a_semester_needs_a_readable_code(tmp_path: Path, code: str) -> None:
    path = tmp_path / "sp22.tsv"
    path.write_text("\t".join(HEADER) + "\n")
    with pytest.raises(ImportFileError, match="cannot be the code of a semester"):
        read_ucsd(path, semester=code)


def test_meetings_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("persistence.imports.formats.ucsd.MEETINGS_MAX", 2)
    with pytest.raises(ImportFileError, match="more than 2 weekly meetings"):
        read(tmp_path, row("LE,MTuW,8:00 - 8:50,X"))


MEETINGS = st.lists(
    st.sampled_from(
        ["LE,MWF,8:00 - 8:50,HALL 1", "DI,Tu,9:00 - 9:50,", "LA,Th,9:00 - 9:50,TBA TBA", "FI,2022-06-09,8:00 - 9:00,X",
         "IN,N/A,0:00 - 0:00,TBA TBA", "XX,M,8:00 - 8:50,X", "LE,M,9:00 - 8:00,Café, 2"]
    ), max_size=3,
).map("|".join)  # fmt: skip
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["CSE 1", "CSE 2", "cse 1", "MAT 20A", "ÉCO 1", "CSE"]),
        st.sampled_from(["A00", "A01", "a00", "001", "1", ""]),
        st.sampled_from(["000001", "1", "000002", "x1", "X1", ""]),
        st.sampled_from(["30", "0", "9999", "many", "-1"]),
        MEETINGS,
    ),
    max_size=6,
)
Table = list[tuple[str, ...]]


def read_cells(table: Table, ends: str = "\n") -> Bundle:
    """What is made of a table, header included; its cells are written as they are."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "sp22.tsv"
        path.write_bytes("".join("\t".join(cells) + ends for cells in table).encode())
        return read_ucsd(path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ROWS, st.permutations(range(len(HEADER))), st.lists(st.sampled_from(["note", "instructor", "", "capacity"])))
def test_neither_order_nor_other_columns_matter(rows: Table, order: list[int], others: list[str]) -> None:
    whole: Table = [HEADER, *rows]
    other = [[*others], *([f'say "{n}"', "x"] * len(others) for n in range(len(rows)))]
    moved = [
        (*extra[:1], *(cells[place] for place in order), *extra[1 : len(others)])
        for cells, extra in zip(whole, other, strict=True)
    ]
    assert read_cells(moved) == read_cells(whole)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ROWS)
def test_quotes_around_every_cell_do_not_matter(rows: Table) -> None:
    whole: Table = [HEADER, *rows]
    assert read_cells([tuple(f'"{cell}"' for cell in cells) for cells in whole]) == read_cells(whole)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ROWS, st.sampled_from([" ", "  ", "\u00a0", "\u2009 "]), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_spaces_around_every_cell_do_not_matter(rows: Table, space: str, ends: str, quoted: bool) -> None:
    whole: Table = [HEADER, *rows]
    mark = '"' if quoted else ""
    spaced = [tuple(f"{space}{mark}{space}{cell}{space}{mark}{space}" for cell in cells) for cells in whole]
    assert read_cells(spaced, ends) == read_cells(whole)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ROWS)
def test_composition_does_not_matter(rows: Table) -> None:
    whole: Table = [HEADER, *rows]
    apart = [tuple(unicodedata.normalize("NFD", cell) for cell in cells) for cells in whole]
    assert read_cells(apart) == read_cells(whole)


@pytest.mark.data
def test_the_catalogue_as_it_is_published_has_a_column_more(shared_data: Path) -> None:
    bundle = read_ucsd(shared_data / "registrar" / "ucsd_fa23_as_published.tsv.gz", semester="FA23")
    assert bundle.notes["rows_read"] == 8372
    assert not bundle.refusals
    assert not bundle.remarks


@pytest.mark.data
def test_the_real_catalogue_has_the_figures_of_its_readme(shared_data: Path) -> None:
    bundle = read_ucsd(shared_data / "ucsd" / "sp22_sections.tsv.gz")
    assert len(bundle.sections) == 8507
    assert not bundle.refusals
    assert bundle.notes["rows_read"] == 8533
    assert bundle.notes["duplicate_rows_joined"] == 26
    assert bundle.notes["unlimited_sections"] == 3573
    assert Counter(section.component for section in bundle.sections).most_common(2) == [
        ("section", 4551),
        ("lecture", 3089),
    ]
    small = read_ucsd(shared_data / "ucsd" / "s122_sections.tsv")
    assert (len(small.sections), small.semester.code) == (635, "S122")
