"""Files from outside: any input is either imported correctly or refused with an error that says why."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from persistence.imports.formats.itc2019 import read_itc2019, read_solution_alone
from persistence.imports.formats.ucsd import HEADER, read_ucsd
from persistence.imports.report import ImportFileError
from persistence.imports.rows import Bundle, reason_against
from tests.unit.persistence.test_import_itc2019 import INSTANCE, SOLUTION

CATALOGUE = "\n".join(
    (
        "\t".join(HEADER),
        "CSE 100\tA01\t000001\t30\tLE,TuTh,17:00 - 18:20,MANDE B-150|DI,M,15:00 - 15:50,TBA TBA",
        "CSE 101\tA01\t000002\t9999\tLE,MWF,8:00 - 8:50,X|FI,2022-06-09,19:00 - 21:59,X",
        "MATH 20A\t001\t000003\t0\t",
        "MATH 20A\t001\t000003\t0\tLA,Sa,0:00 - 23:59,X",
        "",
    )
).encode()

QUICKLY = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])

WORDS = (
    b"\t", b"\n", b"|", b",", b"\"", b"<", b">", b"&", b"-1", b"0", b"99999999999999999999", b"1e9", b"NaN", b"\0",
    b"\xff",
    b"\xed\xa0\x80", b"../../etc/passwd", b"=HYPERLINK(1)", b"'; DROP TABLE users", b"<!ENTITY x 'y'>", b"&lt;", b"]]>",
    b"24:00", b"TuTh", b"id=\"\"", b"limit=\"-5\"", b"nrWeeks=\"64\"", b"slotsPerDay=\"0\"", "\u202e".encode(),
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """``whole`` with pieces taken out, put in, moved or doubled; perhaps packed, perhaps cut."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(("word", "bytes", "cut", "set", "move"))):
            case "word":
                data[at:at] = draw(st.sampled_from(WORDS))
            case "bytes":
                data[at:at] = draw(st.binary(max_size=12))
            case "cut":
                del data[at : at + draw(st.integers(1, 80))]
            case "set" if at < len(data):
                data[at] = draw(st.integers(0, 255))
            case _:
                piece = data[at : at + draw(st.integers(1, 200))]
                to = draw(st.integers(0, len(data)))
                data[to:to] = piece
    out = bytes(data)
    if draw(st.booleans()):
        out = gzip.compress(out, mtime=0)
        if draw(st.booleans()):
            out = out[: draw(st.integers(0, len(out)))]
    return out


def read(reader: Callable[[list[Path]], Bundle], *files: bytes) -> Bundle | None:
    """What ``reader`` makes of files with these contents; None if it refuses them, naming the file."""
    with tempfile.TemporaryDirectory() as directory:
        paths = [Path(directory) / f"f{number}" for number in range(len(files))]
        for path, content in zip(paths, files, strict=True):
            path.write_bytes(content)
        try:
            return reader(paths)
        except ImportFileError as error:
            assert str(error)
            return None


def check(bundle: Bundle | None) -> None:
    """What is taken over must fit the tables, and what is refused must say why."""
    if bundle is None:
        return
    assert 1 <= bundle.semester.weeks <= 63
    assert bundle.semester.code
    assert "\0" not in bundle.semester.code + bundle.semester.name
    for section in bundle.sections:
        assert reason_against(section, bundle.semester.weeks) is None
        section.code.encode()  # no lone surrogates
    keys = [section.source_key for section in bundle.sections]
    assert len(keys) == len(set(keys))
    numbers = [student.number for student in bundle.students]
    assert len(numbers) == len(set(numbers))
    texts = [*numbers, *(room.code for room in bundle.rooms), *(course.title for course in bundle.courses)]
    assert not any("\0" in text for text in texts)
    assert all(refusal.reason for refusal in bundle.refusals)


@QUICKLY
@given(damaged(CATALOGUE) | st.binary(max_size=200))
@example(CATALOGUE)
@example(CATALOGUE.replace(b"\n", b"\r"))
@example(CATALOGUE + b"CSE 1\tA\t5\t" + b"9" * 5000 + b"\t\n")
@example(CATALOGUE + b"CSE 1\tA\t5\t1\tLE,M," + b"9" * 5000 + b":00 - 9:50,X\n")
@example(CATALOGUE + "CSE 1\tA\t5\t\u0661\u0662\t\n".encode())  # digits, but not ours
def test_a_catalogue_is_read_or_refused(content: bytes) -> None:
    check(read(lambda paths: read_ucsd(paths[0], semester="SP22"), content))


def from_both(paths: list[Path]) -> Bundle:
    return read_itc2019(paths[0], paths[1])


@QUICKLY
@given(damaged(INSTANCE.encode()))
@example(INSTANCE.encode())
@example(INSTANCE.encode().replace(b'nrWeeks="3"', b'nrWeeks="' + b"9" * 5000 + b'"'))
def test_an_instance_is_read_or_refused(content: bytes) -> None:
    check(read(from_both, content, SOLUTION.encode()))


@QUICKLY
@given(damaged(SOLUTION.encode()))
@example(SOLUTION.encode())
@example(SOLUTION.replace("UTF-8", "TF-8").encode())
@example(SOLUTION.replace("UTF-8", "cp949").encode())
@example(SOLUTION.replace("UTF-8", "rot13").encode())
def test_a_solution_is_read_or_refused_with_its_instance(content: bytes) -> None:
    check(read(from_both, INSTANCE.encode(), content))


@QUICKLY
@given(damaged(SOLUTION.encode()))
def test_a_solution_is_read_or_refused_alone(content: bytes) -> None:
    check(read(lambda paths: read_solution_alone(paths[0]), content))


def test_what_is_whole_is_read() -> None:
    """The files that the tests above damage are good ones: else they would show little."""
    bundles = [
        read(lambda paths: read_ucsd(paths[0], semester="SP22"), CATALOGUE),
        read(from_both, INSTANCE.encode(), SOLUTION.encode()),
        read(lambda paths: read_solution_alone(paths[0]), SOLUTION.encode()),
    ]
    assert [len(bundle.sections) > 1 for bundle in bundles if bundle is not None] == [True] * 3
