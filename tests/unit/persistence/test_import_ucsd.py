"""Reading UCSD catalogues."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import pytest

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
        ("XX,M,8:00 - 8:50,X", "section"),
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
