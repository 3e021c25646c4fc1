"""Reading instances and solutions of the International Timetabling Competition 2019."""

from __future__ import annotations

import gzip
import socket
import time
from pathlib import Path

import pytest

from persistence.imports.formats.itc2019 import read_itc2019, read_solution_alone, week_mask, weekdays
from persistence.imports.formats.itc_files import Slot
from persistence.imports.report import ImportFileError
from persistence.imports.rows import Bundle, MeetingRow

DOCTYPE = '<!DOCTYPE problem PUBLIC "-//ITC 2019//DTD Problem Format/EN" "http://www.itc2019.invalid/format.dtd">'

INSTANCE = f"""\ufeff<?xml version="1.0" encoding="UTF-8"?>
{DOCTYPE}
<problem name="tiny" nrDays="7" slotsPerDay="288" nrWeeks="3">
  <rooms><room id="1" capacity="61"/></rooms>
  <courses>
    <course id="7"><config id="1">
      <subpart id="3">
        <class id="1" limit="2"><room id="1" penalty="0"/>
          <time days="1010000" start="90" length="10" weeks="110" penalty="0"/>
          <time days="0100000" start="90" length="22" weeks="111" penalty="0"/>
        </class>
      </subpart>
      <subpart id="4"><class id="2" limit="5" room="false">
        <time days="0000001" start="0" length="288" weeks="001"/></class></subpart>
    </config></course>
  </courses>
  <distributions><distribution type="NotOverlap"><class id="1"/><class id="2"/></distribution></distributions>
  <students><student id="10"><course id="7"/></student><student id="9"/></students>
</problem>
"""

SOLUTION = """<?xml version="1.0" encoding="UTF-8"?>
<solution name="tiny" runtime="1">
  <class id="1" days="1010000" start="90" weeks="110" room="1"><student id="10"/><student id="11"/></class>
  <class id="2" days="0000001" start="0" weeks="001"><student id="10"/></class>
</solution>
"""


def write(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def read(tmp_path: Path, instance: str = INSTANCE, solution: str = SOLUTION) -> Bundle:
    return read_itc2019(write(tmp_path / "i.xml.gz", instance), write(tmp_path / "s.xml", solution), max_credits=12)


def test_masks_begin_on_the_left() -> None:
    assert weekdays(Slot("1000001", 0, "1")) == [0, 6]
    assert week_mask("100") == 0b001
    assert week_mask("011") == 0b110


def test_a_class_is_a_section_of_its_subpart(tmp_path: Path) -> None:
    bundle = read(tmp_path)
    first, second = bundle.sections
    assert (first.course, first.component, first.capacity, first.credits) == ("tiny-7", "3", 2, 1)
    assert first.meetings == (
        MeetingRow(0, 450, 500, 0b011, "tiny room 1"),
        MeetingRow(2, 450, 500, 0b011, "tiny room 1"),
    )
    assert second.component == "4"
    assert second.meetings == (MeetingRow(6, 0, 1440, 0b100, None),)
    assert (bundle.semester.code, bundle.semester.weeks) == ("tiny", 3)
    assert not bundle.refusals


def test_students_come_from_both_files(tmp_path: Path) -> None:
    bundle = read(tmp_path)
    assert [student.number for student in bundle.students] == ["tiny-9", "tiny-10", "tiny-11"]
    assert bundle.students[0].person.email == "student-9@tiny.itc.example"
    assert bundle.students[0].person.password_hash is None
    assert {record.credit_limit for record in bundle.records} == {12}


def test_a_length_in_the_solution_wins(tmp_path: Path) -> None:
    bundle = read(tmp_path, solution=SOLUTION.replace('start="90"', 'start="90" length="12"'))
    assert bundle.sections[0].meetings[0].end_minute == 510


@pytest.mark.parametrize(
    ("old", "new", "line", "why"),
    [
        ('class id="1" limit="2"', 'class id="1" limit="many"', 8, "limit='many'"),
        ('class id="2" limit="5"', 'class id="1" limit="5"', 13, "another class on line 8"),
        ('start="90" length="10"', 'start="91" length="10"', 8, "not one that the instance allows"),
        ('days="1010000"', 'days="10100"', 9, "not a mask of 7 days"),
        ('length="288"', 'length="289"', 13, "not within one day"),
        ('class id="1" limit="2"', 'class id="1" Limit="2"', 8, "'Limit' is not 'limit'"),
        ('class id="1" limit="2"', 'class id="1" limit="2.0"', 8, "limit='2.0' is not a whole number"),
        ('class id="1" limit="2"', 'class id="1" limit=""', 8, "limit='' is not a whole number"),
        ('class id="1" limit="2"', 'class id="1 a" limit="2"', 8, "has a space inside"),
        ('class id="1" limit="2"', 'class id="1\u200b" limit="2"', 8, "U+200B"),
        ('class id="2" limit="5"', 'class id="01" limit="5"', 13, "leading zeros only from '1' on line 8"),
        ('subpart id="3"', 'subpart id=""', 8, "is in no course or no subpart"),
        ('course id="7"', 'course id=""', 8, "is in no course or no subpart"),
        ('subpart id="4"', 'subpart id="3"', 13, "id 3 is another one on line 7"),
        ('room id="1" capacity="61"', 'room id="2" capacity="61"', 8, "room 1 of the solution's line 3 is not in"),
    ],
)
def test_a_broken_class_is_refused_with_its_line(tmp_path: Path, old: str, new: str, line: int, why: str) -> None:
    bundle = read(tmp_path, INSTANCE.replace(old, new))
    assert any(refusal.line == line and why in refusal.reason for refusal in bundle.refusals), bundle.refusals
    assert len(bundle.sections) < 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('class id="1" limit="2"', 'class id=" 1&#160;" limit=" 2 "'),
        ('days="1010000" start="90"', 'days=" 1010000 " start=" 90"'),
        ('weeks="110"', 'weeks=" 110 "'),
        ('room id="1" capacity="61"', 'room id=" 1 " capacity=" 61 "'),
        ('student id="10"', 'student id="10 "'),
        ('name="tiny"', 'name=" tiny\u00a0"'),
        ("<courses>", '<courses note="more"><extra/>'),
        ('class id="1" limit="2"', 'class id="1" limit="2" parent="7" colour="red"'),
    ],
)
def test_spaces_and_other_attributes_do_not_matter(tmp_path: Path, old: str, new: str) -> None:
    wanted = read(tmp_path)
    assert read(tmp_path, INSTANCE.replace(old, new, 1)) == wanted
    assert read(tmp_path, solution=SOLUTION.replace(old, new, 1)) == wanted


def test_the_room_of_a_solution_is_read_without_spaces(tmp_path: Path) -> None:
    assert read(tmp_path, solution=SOLUTION.replace('room="1"', 'room=" 1 "')) == read(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('<student id="9"/>', '<student id="10"/>', "id 10 is another student"),
        ('<student id="9"/>', '<student id="010"/>', "differs by leading zeros only from student"),
        ("</rooms>", '<room id="1" capacity="8"/></rooms>', "id 1 is another room, with 61 seats"),
        ("</courses>", '<course id="7"/></courses>', "id 7 is another one on line 6"),
        ("</courses>", '<COURSE id="8"/></courses>', "'COURSE' is not 'course'"),
    ],
)
def test_what_is_there_twice_is_refused(tmp_path: Path, old: str, new: str, why: str) -> None:
    bundle = read(tmp_path, INSTANCE.replace(old, new))
    assert any(why in refusal.reason for refusal in bundle.refusals), bundle.refusals
    assert len(bundle.sections) == 2


def test_what_lies_in_a_refused_element_belongs_to_nothing(tmp_path: Path) -> None:
    """It was taken for a part of the element before, so classes came into another course."""
    second = (
        '</course><course id=""><config id="2"><subpart id="5"><class id="3" limit="1"/></subpart></config></course>'
    )
    bundle = read(tmp_path, INSTANCE.replace("</course>\n", second + "\n", 1))
    assert [section.source_key for section in bundle.sections] == ["1", "2"]
    assert [course.code for course in bundle.courses] == ["tiny-7"]


def test_a_student_is_in_a_class_once(tmp_path: Path) -> None:
    twice = SOLUTION.replace('<student id="11"/>', '<student id="10"/>')
    bundle = read_solution_alone(write(tmp_path / "s.xml", twice))
    assert [section.capacity for section in bundle.sections] == [1, 1]
    assert [refusal.reason for refusal in bundle.refusals] == ["solution: student: id 10 is in this class already"]


@pytest.mark.parametrize("name", ["CLASSES_MAX", "STUDENTS_MAX", "REFUSALS_MAX"])
def test_what_a_file_may_hold_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(f"persistence.imports.formats.itc_files.{name}", 0)
    with pytest.raises(ImportFileError, match="more than 0"):
        read(tmp_path, INSTANCE.replace('limit="2"', 'limit="many"'))


def test_a_class_of_the_solution_alone_is_refused(tmp_path: Path) -> None:
    bundle = read(tmp_path, solution=SOLUTION.replace('class id="2"', 'class id="3"'))
    assert [one.reason for one in bundle.refusals] == ["solution: class 3 is not in the instance"]
    assert bundle.notes["classes_without_time"] == 1


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    with pytest.raises(ImportFileError, match="the instance is tiny"):
        read(tmp_path, solution=SOLUTION.replace('name="tiny"', 'name="other"'))


BOMB = '<!DOCTYPE problem [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'
FILE = '<!DOCTYPE problem [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
PARAMETER = '<!DOCTYPE problem [<!ENTITY % a SYSTEM "http://127.0.0.1:9/x.dtd"> %a;]>'


@pytest.mark.parametrize("doctype", [BOMB, FILE, PARAMETER])
def test_entities_are_refused(tmp_path: Path, doctype: str) -> None:
    with pytest.raises(ImportFileError, match="declares entities"):
        read(tmp_path, INSTANCE.replace(DOCTYPE, doctype))


def test_attributes_for_every_element_are_refused(tmp_path: Path) -> None:
    doctype = '<!DOCTYPE problem [<!ATTLIST class a CDATA "x" b CDATA "y">]>'
    with pytest.raises(ImportFileError, match="declares entities or attributes"):
        read(tmp_path, INSTANCE.replace(DOCTYPE, doctype))


@pytest.mark.parametrize("kind", ['<class note="{}"/>', "<!--{}-->", "<{}/>", "<?x {}?>"])
def test_a_tag_without_end_is_refused_soon(tmp_path: Path, kind: str) -> None:
    """The parser looks at all of it again with each chunk: 40 MB took 20 seconds, 300 MB minutes."""
    path = tmp_path / "i.xml.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(INSTANCE.partition("<rooms>")[0].encode() + kind.partition("{}")[0].encode())
        for _ in range(40):
            file.write(b"a" * 1_000_000)
    started = time.monotonic()
    with pytest.raises(ImportFileError, match="a tag or comment of more than"):
        read_itc2019(path, write(tmp_path / "s.xml", SOLUTION))
    assert time.monotonic() - started < 2


def test_the_dtd_is_not_fetched(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        port = server.getsockname()[1]
        bundle = read(tmp_path, INSTANCE.replace("www.itc2019.invalid", f"127.0.0.1:{port}"))
        assert len(bundle.sections) == 2
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("<problem>", "nrDays"),
        (INSTANCE[:-20], "not well-formed"),
        ("", "not well-formed"),
        ("<html/>", "its root is <html>"),
        (
            '<problem name="x" nrDays="7" slotsPerDay="288" nrWeeks="3">' + "<a>" * 40 + "</a>" * 40 + "</problem>",
            "nest deeper",
        ),
        ('<problem name="x" nrDays="5" slotsPerDay="288" nrWeeks="3"/>', "not a week that we can map"),
        (SOLUTION, "its root is <solution>"),
    ],
)
def test_another_file_is_refused_whole(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ImportFileError, match=why):
        read(tmp_path, text)


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from persistence.imports.formats import itc_files, safe_xml

    def bounded(path: Path, elements: safe_xml.Elements, progress: object) -> None:
        safe_xml.read_xml(path, elements, lambda *_: None, bytes_max=100_000)

    monkeypatch.setattr(itc_files, "read_xml", bounded)
    with pytest.raises(ImportFileError, match="holds more than 100,000 bytes"):
        read(tmp_path, INSTANCE.replace("<rooms>", "<rooms>" + " " * 200_000))


def test_a_solution_alone_derives_capacities(tmp_path: Path) -> None:
    path = write(tmp_path / "s.xml", SOLUTION)
    bundle = read_solution_alone(path, capacity_factor=1.5)
    assert [(s.course, s.capacity, s.meetings) for s in bundle.sections] == [("tiny-1", 3, ()), ("tiny-2", 2, ())]
    kept = read_solution_alone(path, keep_meetings=True)
    assert kept.sections[0].meetings[0] == MeetingRow(0, 450, 500, 0b011, "tiny room 1")
    assert any("derived" in remark for remark in bundle.remarks)


def test_a_class_without_seats_is_closed(tmp_path: Path) -> None:
    bundle = read(tmp_path, INSTANCE.replace('limit="2"', 'limit="0"').replace(' limit="5"', ""))
    assert [(one.capacity, one.is_open) for one in bundle.sections] == [(0, False), (9999, True)]


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "suffix", "sections", "students", "seats", "held"),
    [("pu-cs-fal07", ".xml", 174, 2002, 4217, 3141), ("pu-d5-spr17", ".xml.gz", 1061, 13_497, 39_501, 0)],
)
def test_the_real_instances_have_the_figures_of_their_readme(
    shared_data: Path, name: str, suffix: str, sections: int, students: int, seats: int, held: int
) -> None:
    folder = shared_data / "itc2019"
    bundle = read_itc2019(folder / f"{name}{suffix}", folder / f"{name}.solution{suffix}")
    assert (len(bundle.sections), len(bundle.students)) == (sections, students)
    assert (bundle.notes["seats"], bundle.notes["seats_in_solution"]) == (seats, held)
    assert not bundle.refusals


@pytest.mark.data
def test_the_real_solution_without_an_instance(shared_data: Path) -> None:
    bundle = read_solution_alone(shared_data / "itc2019" / "pu-llr-spr17.solution.xml.gz")
    assert (len(bundle.sections), len(bundle.students), bundle.notes["seats"]) == (1001, 27_018, 92_067)
