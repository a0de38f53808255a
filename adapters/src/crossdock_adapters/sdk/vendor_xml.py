"""XML as vendors speak it: bounded, without document types or entities, places told exactly.

    root = vendor_xml.loads(body)                     # Unreadable says the path, line and column
    pin = root.need_text("pin")                       # /tracking-detail/pin (line 1, column 40)
    for scan in root.all("significant-events/occurrence"): ...

Nothing here reads a file or the network: a document type, and with it every entity and external
reference, is refused at its first byte. Size, depth, the length of a tag, and the numbers of
elements, attributes and namespaces have limits, which are kept while the document is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree
from xml.sax import SAXException, SAXParseException
from xml.sax.handler import ContentHandler, feature_namespaces
from xml.sax.xmlreader import AttributesNSImpl, Locator

from defusedxml.common import DefusedXmlException
from defusedxml.expatreader import DefusedExpatParser

from crossdock_adapters.sdk.places import Unreadable

# As large as what VendorHttp reads of an answer.
MAX_BYTES = 8 * 1024 * 1024
MAX_DEPTH = 64
MAX_ELEMENTS = 20_000
# Declarations of namespaces count as attributes.
MAX_ATTRIBUTES = 64
MAX_ATTRIBUTES_IN_ALL = 40_000
MAX_NAME_CHARACTERS = 200
MAX_NAMESPACE_CHARACTERS = 500
# The parser keeps a tag until its end has come: one that fills such a piece is not waited for.
FEED_BYTES = 64 * 1024
# The way to an element: its parent's, its name, and which of those with that name it is.
_Trail = tuple["_Trail | None", str, int]
# What XML 1.0 can carry; everything else cannot be written, not even as a reference.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True, eq=False)
class Element:
    """One element as it was read.

    `name` is without its prefix, `namespace` is the name of its namespace ("" for none). `text` is
    what stands directly in it; attributes that have a namespace are called "{namespace}name".
    `line` and `column` count from 1.
    """

    name: str
    namespace: str
    line: int
    column: int
    trail: _Trail = field(repr=False)
    attributes: Mapping[str, str] = field(default_factory=dict, repr=False)
    children: Sequence[Element] = field(default=(), repr=False)
    text: str = field(default="", repr=False)

    @property
    def path(self) -> str:
        """From the root; the second of several has its position, as in /a/b[2]."""
        return _path(self.trail)

    @property
    def place(self) -> str:
        """Path, line and column, for people."""
        return self.place_of("")

    def place_of(self, path: str) -> str:
        """The place of what is, or ought to be, at this path under the element."""
        where = f"{self.path}/{path}" if path else self.path
        return f"{where} (line {self.line}, column {self.column})"

    def all(self, path: str) -> Iterator[Element]:
        """Every element at a path of names under this one, such as "options/option"."""
        name, _, rest = path.partition("/")
        for child in self.children:
            if child.name == name:
                if rest:
                    yield from child.all(rest)
                else:
                    yield child

    def find(self, path: str) -> Element | None:
        """The first element at a path of names; None: there is none."""
        return next(self.all(path), None)

    def need(self, path: str) -> Element:
        """The first element at a path. Unreadable: it is missing."""
        found = self.find(path)
        if found is None:
            raise Unreadable("is missing", self.place_of(path))
        return found

    def text_of(self, path: str, default: str = "") -> str:
        """The text of the first element at a path, without blanks around it."""
        found = self.find(path)
        return default if found is None else found.text.strip()

    def need_text(self, path: str) -> str:
        """The text of the first element at a path. Unreadable: it is missing or empty."""
        found = self.need(path)
        text = found.text.strip()
        if not text:
            raise Unreadable("is empty", found.place)
        return text


def loads(body: bytes) -> Element:
    """Read a document. Unreadable: it is no XML, is too large, or has a document type.

    Blanks before its declaration are passed over, which XML forbids and vendors write; places count
    from behind them.
    """
    if not body:
        raise Unreadable("is empty", "line 1, column 1")
    if len(body) > MAX_BYTES:
        raise Unreadable(f"the document has {len(body)} bytes, at most {MAX_BYTES} are read")
    if body.lstrip().startswith(b"<?xml"):
        body = body.lstrip()
    parser = DefusedExpatParser(
        namespaceHandling=1, forbid_dtd=True, forbid_entities=True, forbid_external=True
    )
    parser.setFeature(feature_namespaces, True)
    reader = _Reader(parser)
    parser.setContentHandler(reader)
    try:
        for start in range(0, len(body), FEED_BYTES):
            reader.feed(parser, body[start : start + FEED_BYTES])
        parser.close()
    except SAXParseException as error:
        raise Unreadable(f"no XML: {error.getMessage()}", _at(error)) from error
    except DefusedXmlException as error:
        problem = "a document type, an entity or an external reference is refused"
        raise Unreadable(problem, reader.here()) from error
    except (SAXException, ValueError, LookupError) as error:
        if isinstance(error, Unreadable):
            raise
        # An encoding that nobody knows, or that does not fit the bytes.
        raise Unreadable(f"no XML: {type(error).__name__}", reader.here()) from error
    assert reader.root is not None, "a document that was read to its end has a root"
    return reader.root


def dumps(root: ElementTree.Element) -> bytes:
    """Write a document with its declaration, in UTF-8. ValueError: a text has what XML cannot say.

    The element is made with `build`.
    """
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def build(name: str, content: Any, namespace: str = "") -> ElementTree.Element:
    """An element of plain values: a mapping has children, a sequence repeats its name in its place.

    Left out is what is None or an empty mapping. A bool is "true" or "false", everything else is
    written as text. ValueError: a text has a character that XML cannot say.
    """
    made = _build(name, content)
    if namespace:
        made.set("xmlns", namespace)
    return made


def copied(element: Element) -> ElementTree.Element:
    """What was read, to be written again: a part of a document that is kept for itself."""
    space = f"{{{element.namespace}}}" if element.namespace else ""
    made = ElementTree.Element(f"{space}{element.name}", dict(element.attributes))
    made.text = element.text
    made.extend(copied(child) for child in element.children)
    return made


def writable(text: str) -> bool:
    """Whether XML can say this text."""
    return _FORBIDDEN.search(text) is None


def _build(name: str, content: Any) -> ElementTree.Element:
    made = ElementTree.Element(name)
    if not isinstance(content, Mapping):
        made.text = _text(name, content)
        return made
    for key, value in content.items():
        values = value if isinstance(value, (list, tuple)) else [value]
        for each in values:
            if each is None or each == {}:
                continue
            made.append(_build(key, each))
    return made


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    if not writable(text):
        raise ValueError(f"{name} has a character that XML cannot say")
    return text


class _Reader(ContentHandler):
    """Builds the elements and keeps the limits, whatever follows."""

    def __init__(self, locator: Locator) -> None:
        super().__init__()
        self.root: Element | None = None
        self._locator = locator
        self._open: list[_Open] = []
        self._elements = 0
        self._attributes = 0
        self._declared = 0
        self._heard = 0
        # Every element has its own copy of its namespace's name from the parser.
        self._names: dict[str, str] = {}

    def here(self) -> str:
        """Where the reader is."""
        return _at(self._locator)

    def feed(self, parser: DefusedExpatParser, piece: bytes) -> None:
        """Read a piece. Unreadable: it is part of a tag or a comment that is too long."""
        before = self._heard
        parser.feed(piece)
        if self._heard == before and len(piece) == FEED_BYTES:
            raise Unreadable(f"a tag or a comment is longer than {FEED_BYTES} bytes", self.here())

    def startPrefixMapping(self, prefix: str | None, uri: str | None) -> None:
        self._heard += 1
        self._declared += 1
        self._count_attribute(self._declared)
        if uri and len(uri) > MAX_NAMESPACE_CHARACTERS:
            problem = f"the name of a namespace is longer than {MAX_NAMESPACE_CHARACTERS}"
            raise Unreadable(problem, self.here())

    def startElementNS(
        self, name: tuple[str | None, str], qname: str | None, attrs: AttributesNSImpl
    ) -> None:
        namespace, local = name
        self._heard += 1
        self._elements += 1
        if len(self._open) >= MAX_DEPTH:
            raise Unreadable(f"elements are nested deeper than {MAX_DEPTH}", self.here())
        if self._elements > MAX_ELEMENTS:
            raise Unreadable(f"there are more than {MAX_ELEMENTS} elements", self.here())
        for number in range(self._declared + 1, self._declared + len(attrs) + 1):
            self._count_attribute(number)
        self._declared = 0
        if len(local) > MAX_NAME_CHARACTERS:
            raise Unreadable(f"a name is longer than {MAX_NAME_CHARACTERS}", self.here())
        trail = self._open[-1].step(local) if self._open else (None, local, 1)
        line, column = _position(self._locator)
        attributes = {self._known(_name_of(key)): value for key, value in attrs.items()}
        self._open.append(_Open(trail, self._known(namespace or ""), line, column, attributes))

    def endElementNS(self, name: tuple[str | None, str], qname: str | None) -> None:
        self._heard += 1
        done = self._open.pop().element()
        if self._open:
            self._open[-1].children.append(done)
        else:
            self.root = done

    def characters(self, content: str) -> None:
        self._heard += 1
        if self._open:
            self._open[-1].pieces.append(content)

    def _count_attribute(self, in_this_tag: int) -> None:
        self._attributes += 1
        if in_this_tag > MAX_ATTRIBUTES:
            raise Unreadable(f"an element has more than {MAX_ATTRIBUTES} attributes", self.here())
        if self._attributes > MAX_ATTRIBUTES_IN_ALL:
            problem = f"there are more than {MAX_ATTRIBUTES_IN_ALL} attributes"
            raise Unreadable(problem, self.here())

    def _known(self, name: str) -> str:
        """The one copy of a name."""
        return self._names.setdefault(name, name)


@dataclass(slots=True)
class _Open:
    """An element whose end has not come."""

    trail: _Trail
    namespace: str
    line: int
    column: int
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    named: dict[str, int] = field(default_factory=dict)

    def step(self, child: str) -> _Trail:
        position = self.named[child] = self.named.get(child, 0) + 1
        return self.trail, child, position

    def element(self) -> Element:
        return Element(
            self.trail[1],
            self.namespace,
            self.line,
            self.column,
            self.trail,
            self.attributes,
            tuple(self.children),
            "".join(self.pieces),
        )


def _position(locator: Locator | SAXParseException) -> tuple[int, int]:
    """Line and column, both from 1; the parser counts columns from 0."""
    return locator.getLineNumber() or 1, (locator.getColumnNumber() or 0) + 1


def _at(locator: Locator | SAXParseException) -> str:
    line, column = _position(locator)
    return f"line {line}, column {column}"


def _path(trail: _Trail) -> str:
    """Made when it is asked for: the paths of a hostile document are larger than the document."""
    steps: list[str] = []
    step: _Trail | None = trail
    while step is not None:
        step, name, position = step
        steps.append(f"{name}[{position}]" if position > 1 else name)
    return "/" + "/".join(reversed(steps))


def _name_of(key: tuple[str | None, str]) -> str:
    namespace, local = key
    return f"{{{namespace}}}{local}" if namespace else local
