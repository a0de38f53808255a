"""Layouts of XML documents: elements and fields as data, written in their order, read exactly.

    layout = xml_layout.parse(text, "sales_orders.toml")   LayoutProblem lists all that is wrong
    body = xml_layout.written(layout, rows)                an element to send; FieldProblem
    values = xml_layout.read(layout, element)              of its first record; Unreadable

Pure. `adapters/README.md` explains the keys of a layout file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from xml.etree import ElementTree

from crossdock_adapters.sdk import layout_values, vendor_xml
from crossdock_adapters.sdk.layout import LayoutProblem
from crossdock_adapters.sdk.layout_files import Row
from crossdock_adapters.sdk.layout_values import FORMATS, NUMBERS, TYPES, Field, FieldProblem, Value
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.vendor_xml import Element

INSTANCE: Final = "http://www.w3.org/2001/XMLSchema-instance"
NIL: Final = f"{{{INSTANCE}}}nil"
ElementTree.register_namespace("xsi", INSTANCE)
_LAYOUT_KEYS: Final = frozenset({
    "name", "title", "source", "path", "action", "namespace", "element", "answer", "left_out",
    "records",
})  # fmt: skip
_RECORD_KEYS: Final = frozenset({"element", "fields"})
_FIELD_KEYS: Final = frozenset({
    "element", "name", "type", "length", "decimals", "sign", "format", "blank", "nothing", "cut",
    "literal", "nil",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Leaf:
    """One element with a value. nil: without a value it is there and says so, instead of not there;
    a schema tells the two apart."""

    element: str
    field: Field
    nil: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """A kind of record. element: where it stands in the document, as Lines/Line; "" is itself."""

    name: str
    element: str
    leaves: tuple[Leaf, ...]


@dataclass(frozen=True, slots=True)
class XmlLayout:
    """A checked layout. Elements stand in the order of the layout, as a schema's sequence wants it.

    path, action: where it is posted, and what for. element: of the document; answer: of what comes
    back. left_out: records that the document has no place for.
    """

    name: str
    path: str
    action: str
    namespace: str
    element: str
    answer: str
    left_out: frozenset[str]
    records: Mapping[str, Record]

    @property
    def head(self) -> Record:
        return next(iter(self.records.values()))


def written(layout: XmlLayout, rows: Sequence[Row]) -> ElementTree.Element:
    """The document of these rows. FieldProblem names the element, and never repeats a value.

    A record that the layout neither has nor leaves out is a FieldProblem: nothing is lost in
    silence.
    """
    strange = {row.record for row in rows} - {*layout.records} - layout.left_out
    if strange:
        names = ", ".join(sorted(strange))
        raise FieldProblem(f"record {names} has no element and is not left out")
    made = ElementTree.Element(layout.element)
    if layout.namespace:
        made.set("xmlns", layout.namespace)
    wrappers: dict[str, ElementTree.Element] = {}
    for record in layout.records.values():
        for row in rows:
            if row.record == record.name:
                _fill(_place(made, record.element, wrappers), record, row)
    return made


def read(layout: XmlLayout, element: Element, record: str = "") -> dict[str, Value]:
    """The values of one record, by default the first, from the element that it stands in.

    Unreadable: path, line, column and rule.
    """
    leaves = (layout.records[record] if record else layout.head).leaves
    return {leaf.field.name: _value(leaf, element) for leaf in leaves}


def value(layout: XmlLayout, element: Element, record: str, name: str) -> Value:
    """One value of a record, whatever stands beside it. Unreadable: it is none."""
    leaves = layout.records[record].leaves
    return _value(next(leaf for leaf in leaves if leaf.field.name == name), element)


def all_of(layout: XmlLayout, element: Element, record: str) -> Iterator[Element]:
    """The elements of a record that may come several times."""
    return element.all(layout.records[record].element)


def parse(text: str, source: str) -> XmlLayout:
    """A checked layout. LayoutProblem lists everything that is wrong."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LayoutProblem(source, [f"not TOML: {error}"]) from None
    problems = [f"{key} is not known here" for key in data if key not in _LAYOUT_KEYS]
    records = {
        name: _record(f"records.{name}", name, table, problems)
        for name, table in data.get("records", {}).items()
    }
    plain = ("name", "path", "action", "namespace", "element", "answer")
    layout = XmlLayout(
        **{key: str(data.get(key, "")) for key in plain},
        left_out=frozenset(map(str, data.get("left_out", ()))),
        records=records,
    )
    problems += [f"{key} is missing" for key in ("name", "element") if not data.get(key)]
    if not records:
        problems.append("records are missing")
    if problems:
        raise LayoutProblem(source, problems)
    return layout


def _place(
    root: ElementTree.Element, path: str, wrappers: dict[str, ElementTree.Element]
) -> ElementTree.Element:
    """The element of one more record: what is around it stands once."""
    *around, own = path.split("/")
    at, way = root, ""
    for name in around:
        way = f"{way}/{name}"
        at = wrappers[way] if way in wrappers else wrappers.setdefault(way, _below(at, name))
    return _below(at, own) if own else at


def _below(parent: ElementTree.Element, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(parent, name)


def _fill(element: ElementTree.Element, record: Record, row: Row) -> None:
    for leaf in record.leaves:
        try:
            text = layout_values.to_text(leaf.field, row.values.get(leaf.field.name))
            if not vendor_xml.writable(text):
                raise FieldProblem("has a character that XML cannot say")
        except FieldProblem as problem:
            where = f"{record.name}.{leaf.element} ({leaf.field.name})"
            raise FieldProblem(f"{where} {problem}") from None
        if text:
            _below(element, leaf.element).text = text
        elif leaf.nil:
            _below(element, leaf.element).set(NIL, "true")


def _value(leaf: Leaf, element: Element) -> Value:
    there = element.find(leaf.element)
    text = "" if there is None or _is_nil(there) else there.text.strip()
    place = element.place_of(leaf.element) if there is None else there.place
    if leaf.field.length and len(text) > leaf.field.length:
        raise Unreadable(f"may have {leaf.field.length} characters at most", place)
    try:
        return layout_values.from_text(leaf.field, text)
    except FieldProblem as problem:
        raise Unreadable(str(problem), place) from None


def _is_nil(element: Element) -> bool:
    return element.attributes.get(NIL) in ("true", "1")


def _record(where: str, name: str, table: Any, problems: list[str]) -> Record:
    if not isinstance(table, dict) or not table.get("fields"):
        problems.append(f"{where} needs fields")
        return Record(name, "", ())
    problems += [f"{where}.{key} is not known here" for key in table if key not in _RECORD_KEYS]
    leaves = tuple(_leaf(where, given, problems) for given in table["fields"])
    names = [leaf.element for leaf in leaves]
    problems += [f"{where}.{one} is declared twice" for one in {*names} if names.count(one) > 1]
    return Record(name, str(table.get("element", "")), leaves)


def _leaf(where: str, given: Mapping[str, Any], problems: list[str]) -> Leaf:
    where = f"{where}.{given.get('element', '?')}"
    problems += [f"{where}.{key} is not known here" for key in given if key not in _FIELD_KEYS]
    plain = _FIELD_KEYS - {"element", "nil", "nothing"}
    values: dict[str, Any] = {key: given[key] for key in given if key in plain}
    values.setdefault("name", "")
    made = Field(**{"sign": "leading", **values}, nothing=tuple(map(str, given.get("nothing", ()))))
    if not given.get("element") or not (made.name or made.literal):
        problems.append(f"{where} needs an element, and a name or a literal")
    if made.type not in TYPES - {"packed"}:
        problems.append(f"{where}.type must be one of {', '.join(sorted(TYPES - {'packed'}))}")
    if made.type in FORMATS and made.format not in FORMATS[made.type]:
        problems.append(f"{where}.format must be one of {', '.join(FORMATS[made.type])}")
    if made.type in NUMBERS and made.length:
        problems.append(f"{where}: a number is not filled up to a length")
    if (made.nothing or given.get("nil")) and not made.blank:
        problems.append(f"{where}: nothing and nil need blank = true")
    return Leaf(str(given.get("element", "")), made, bool(given.get("nil", False)))
