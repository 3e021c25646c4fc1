"""Reading untrusted XML: nothing is fetched, no entity is expanded; size, depth, number and length of tags are bounded.

The length counts because the parser looks at what it has of a tag, comment or attribute again with each chunk, until it
is whole: the time for one tag grows with the square of its length.
"""

from __future__ import annotations

import xml.sax  # nosec: only its handler and error types; the parser is defusedxml's
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from defusedxml.common import DefusedXmlException, DTDForbidden
from defusedxml.expatreader import DefusedExpatParser

from persistence.imports.files import FILE_BYTES_MAX, read_chunks
from persistence.imports.report import ImportFileError, ImportProgress

DEPTH_MAX = 32
"""The formats that we read nest six deep."""

ELEMENTS_MAX = 3_000_000
"""The largest real file that we know has 100,000."""

TAG_BYTES_MAX = 256 * 1024
"""How much may be read from one event of the parser (a tag, text) to the next, give or take a chunk."""


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
        self.events = 0

    def characters(self, content: str) -> None:
        self.events += 1

    def startElement(self, name: str, attrs: Any) -> None:  # noqa: N802  (SAX calls it so)
        self._depth += 1
        self._count += 1
        self.events += 1
        line = self._elements.line = self._parser.getLineNumber()
        if self._depth > DEPTH_MAX:
            raise ImportFileError(f"line {line}: elements nest deeper than {DEPTH_MAX}")
        if self._count > ELEMENTS_MAX:
            raise ImportFileError(f"line {line}: more than {ELEMENTS_MAX:,} elements")
        self._elements.start(name, attrs)

    def endElement(self, name: str) -> None:  # noqa: N802
        self._depth -= 1
        self.events += 1
        self._elements.end(name)


class _Parser(DefusedExpatParser):  # type: ignore[misc]  # defusedxml has no types
    """Refuses declarations inside a DOCTYPE: entities expand without end, attributes are added to every element."""

    def __init__(self) -> None:
        # The DOCTYPE of these files names a DTD on the web. Not fetching it is enough: with this feature off
        # (its default, but the default changed once) the parser skips external entities without looking.
        super().__init__(forbid_dtd=True, forbid_external=False)
        self.setFeature(xml.sax.handler.feature_external_ges, False)

    def defused_start_doctype_decl(self, name: str, sysid: str, pubid: str, has_internal_subset: int) -> None:
        if has_internal_subset:
            raise DTDForbidden(name, sysid, pubid)


def read_xml(path: Path, elements: Elements, progress: ImportProgress, bytes_max: int = FILE_BYTES_MAX) -> None:
    """Parse an XML file, plain or gzip, and call ``elements`` for each element.

    A DOCTYPE that names a DTD elsewhere is allowed and ignored; one that declares something itself is refused.

    Raises:
        ImportFileError: if it is not well-formed, declares something, or exceeds a bound.
    """
    parser = _Parser()
    handler = _Handler(parser, elements)
    parser.setContentHandler(handler)
    empty = True
    events = pending = 0
    try:
        for chunk in read_chunks(path, progress, bytes_max):
            empty = False
            parser.feed(chunk)
            pending = 0 if handler.events > events else pending + len(chunk)
            events = handler.events
            if pending > TAG_BYTES_MAX:
                raise ImportFileError(
                    f"line {parser.getLineNumber()}: a tag or comment of more than {TAG_BYTES_MAX:,} bytes"
                )
        if empty:
            raise ImportFileError(f"{path}: not well-formed: the file is empty")
        parser.close()
    except DefusedXmlException as error:
        raise ImportFileError(f"{path}: its DOCTYPE declares entities or attributes, which is refused") from error
    except xml.sax.SAXParseException as error:
        raise ImportFileError(f"{path}: line {error.getLineNumber()}: not well-formed: {error.getMessage()}") from error
    except (LookupError, ValueError) as error:  # expat asks Python for encodings that it does not know itself
        raise ImportFileError(f"{path}: in an encoding that cannot be read: {error}") from error
    except ImportFileError as error:
        raise error if str(error).startswith(str(path)) else ImportFileError(f"{path}: {error}") from error
