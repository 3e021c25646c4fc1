"""Reading untrusted XML: nothing is fetched, no entity is expanded; size, depth and number of elements are bounded."""

from __future__ import annotations

import xml.sax  # nosec: only its handler and error types; the parser is defusedxml's
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import defusedxml.sax
from defusedxml.common import DefusedXmlException

from persistence.imports.files import FILE_BYTES_MAX, read_chunks
from persistence.imports.report import ImportFileError, ImportProgress

DEPTH_MAX = 32
"""The formats that we read nest six deep."""

ELEMENTS_MAX = 20_000_000


class Elements:
    """Callbacks for the elements of a file. ``line`` is the current line of the parser."""

    line: int = 0

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        """An element begins."""

    def end(self, name: str) -> None:
        """An element ends."""


class _Handler(xml.sax.ContentHandler):
    def __init__(self, parser: Any, elements: Elements) -> None:
        super().__init__()
        self._parser = parser
        self._elements = elements
        self._depth = 0
        self._count = 0

    def startElement(self, name: str, attrs: Any) -> None:  # noqa: N802  (SAX calls it so)
        self._depth += 1
        self._count += 1
        line = self._elements.line = self._parser.getLineNumber()
        if self._depth > DEPTH_MAX:
            raise ImportFileError(f"line {line}: elements nest deeper than {DEPTH_MAX}")
        if self._count > ELEMENTS_MAX:
            raise ImportFileError(f"line {line}: more than {ELEMENTS_MAX:,} elements")
        self._elements.start(name, attrs)

    def endElement(self, name: str) -> None:  # noqa: N802
        self._depth -= 1
        self._elements.end(name)


def read_xml(path: Path, elements: Elements, progress: ImportProgress, bytes_max: int = FILE_BYTES_MAX) -> None:
    """Parse an XML file, plain or gzip, and call ``elements`` for each element.

    A DOCTYPE that names a DTD elsewhere is allowed and ignored; one that declares entities is refused.

    Raises:
        ImportFileError: if it is not well-formed, declares entities, or exceeds a bound.
    """
    parser = defusedxml.sax.make_parser()
    # The DOCTYPE of these files names a DTD on the web. Not fetching it is enough: with this feature off
    # (its default, but the default changed once) the parser skips external entities without looking.
    parser.forbid_external = False
    parser.setFeature(xml.sax.handler.feature_external_ges, False)
    parser.setContentHandler(_Handler(parser, elements))
    empty = True
    try:
        for chunk in read_chunks(path, progress, bytes_max):
            empty = False
            parser.feed(chunk)
        if empty:
            raise ImportFileError(f"{path}: not well-formed: the file is empty")
        parser.close()
    except DefusedXmlException as error:
        raise ImportFileError(f"{path}: declares entities, which is refused ({type(error).__name__})") from error
    except xml.sax.SAXParseException as error:
        raise ImportFileError(f"{path}: line {error.getLineNumber()}: not well-formed: {error.getMessage()}") from error
    except (LookupError, ValueError) as error:  # expat asks Python for encodings that it does not know itself
        raise ImportFileError(f"{path}: in an encoding that cannot be read: {error}") from error
    except ImportFileError as error:
        raise error if str(error).startswith(str(path)) else ImportFileError(f"{path}: {error}") from error
