"""Reading a file from outside: plain or gzip, with a bound on its unpacked size."""

from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from persistence.imports.report import ImportFileError, ImportProgress

GZIP_MAGIC = b"\x1f\x8b"
FILE_BYTES_MAX = 128 * 1024 * 1024
"""How much a file may hold, unpacked. The largest real file that we know has 3 MB."""

CHUNK_BYTES = 64 * 1024


def read_chunks(path: Path, progress: ImportProgress, bytes_max: int = FILE_BYTES_MAX) -> Iterator[bytes]:
    """The content of ``path``, unpacked if it is gzip, in chunks.

    Raises:
        ImportFileError: if it is larger than ``bytes_max`` unpacked, or broken gzip.
        OSError: if it cannot be opened or read.
    """
    total = path.stat().st_size
    taken = 0
    with path.open("rb") as raw, _unpacked(raw) as stream:
        while chunk := _read(stream, path):
            taken += len(chunk)
            if taken > bytes_max:
                raise ImportFileError(f"{path}: holds more than {bytes_max:,} bytes unpacked")
            progress("reading", min(raw.tell(), total), total)
            yield chunk


@contextlib.contextmanager
def _unpacked(raw: BinaryIO) -> Iterator[BinaryIO]:
    magic = raw.read(2)
    raw.seek(0)
    if magic != GZIP_MAGIC:
        yield raw
        return
    with gzip.open(raw, "rb") as stream:
        yield cast("BinaryIO", stream)


def _read(stream: BinaryIO, path: Path) -> bytes:
    try:
        return stream.read(CHUNK_BYTES)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ImportFileError(f"{path}: broken gzip: {error}") from error


def read_lines(path: Path, progress: ImportProgress, line_bytes_max: int = CHUNK_BYTES) -> Iterator[tuple[int, bytes]]:
    """Lines of ``path`` with their numbers, from 1, without their ends.

    Raises:
        ImportFileError: if a line is longer than ``line_bytes_max``: then it is no such text file.
    """
    number, rest = 0, b""
    for chunk in read_chunks(path, progress):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            number += 1
            yield number, line.removesuffix(b"\r")
        if len(rest) > line_bytes_max:
            raise ImportFileError(f"{path}: line {number + 1} is longer than {line_bytes_max:,} bytes")
    if rest:
        yield number + 1, rest.removesuffix(b"\r")
