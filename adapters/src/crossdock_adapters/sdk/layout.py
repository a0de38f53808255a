"""Layouts of flat files: records and fields as data, fixed width or CSV, with control totals.

    layout = layout.parse(text, "orders.toml")    LayoutProblem lists everything that is wrong
    data = layout_files.write(layout, rows)       the trailer and its totals are added
    rows = layout_files.read(layout, data)        LayoutError names line, columns, field and rule

`adapters/README.md` explains the keys of a layout file.
"""

from __future__ import annotations

import codecs
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from crossdock_adapters.sdk.layout_values import FORMATS, NUMBERS, SIGNS, TYPES, Field

KINDS: Final = frozenset({"fixed", "csv"})
LINE_ENDS: Final[Mapping[str, bytes]] = {"crlf": b"\r\n", "lf": b"\n", "none": b""}
# In fixed width a length is a number of bytes, so each letter has to be one.
ONE_BYTE_PAGES: Final = frozenset(
    {"ascii", "iso8859-1", "iso8859-15", "cp1252", "cp850", "cp437", "cp037", "cp500", "cp1140"}
)
MANY_BYTE_PAGES: Final = frozenset({"utf-8", "utf-8-sig"})
PLACES: Final = frozenset({"first", "body", "last"})
TOTALS: Final = frozenset({"count", "sum", "hash"})
MAX_RECORD_BYTES: Final = 32_768
_LAYOUT_KEYS: Final = frozenset({
    "name", "title", "source", "kind", "encoding", "line_end", "record_length", "trimmed",
    "delimiter", "decimal_mark", "heading", "formulas", "records", "extends", "append",
})  # fmt: skip
_RECORD_KEYS: Final = frozenset({"code", "place", "within", "fields"})
_FIELD_KEYS: Final = frozenset({
    "name", "type", "start", "length", "decimals", "implied", "sign", "format", "blank", "nothing",
    "cut", "literal", "total",
})  # fmt: skip


class LayoutProblem(ValueError):
    """A layout is wrong; `problems` lists everything, the text shows all of it."""

    def __init__(self, source: str, problems: list[str]) -> None:
        super().__init__(f"{source}: " + "; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Record:
    """A kind of record. code: its first columns, or its first cell.

    place: first and last stand once. within: the record that it belongs to and has to follow.
    """

    name: str
    code: str
    place: str
    within: str
    fields: tuple[Field, ...]

    def field(self, name: str) -> Field | None:
        return next((field for field in self.fields if field.name == name), None)


@dataclass(frozen=True, slots=True)
class Layout:
    """A checked layout. record_length: bytes without the line end; 0 in CSV.

    trimmed: readers take records whose blanks at the end are missing. heading: CSV with a first
    line of field names, which only a layout with one kind of record can have. formulas: CSV that no
    spreadsheet opens, so that a text may begin as it likes.
    """

    name: str
    kind: str
    encoding: str
    line_end: bytes
    record_length: int
    trimmed: bool
    delimiter: str
    decimal_mark: str
    heading: bool
    formulas: bool
    records: Mapping[str, Record]

    def at(self, place: str) -> Record | None:
        """The record that stands first or last, if there is one."""
        return next((record for record in self.records.values() if record.place == place), None)


def parse(text: str, source: str, parent: Callable[[str], str] | None = None) -> Layout:
    """A checked layout. `parent` gives the text of the layout that this one extends, by name."""
    try:
        data = tomllib.loads(text)
        if (extended := data.get("extends")) is not None and parent is not None:
            data = _extended(tomllib.loads(parent(str(extended))), data)
    except tomllib.TOMLDecodeError as error:
        raise LayoutProblem(source, [f"not TOML: {error}"]) from None
    reader = _Reader(data)
    layout = reader.layout()
    if reader.problems:
        raise LayoutProblem(source, reader.problems)
    return layout


def _extended(parent: dict[str, Any], child: dict[str, Any]) -> dict[str, Any]:
    """The parent with what the child says anew, and the child's fields behind its records'."""
    records = {name: dict(record) for name, record in parent.get("records", {}).items()}
    for name, more in child.get("append", {}).items():
        record = records.setdefault(name, {})
        record["fields"] = [*record.get("fields", []), *more.get("fields", [])]
    own = {key: value for key, value in child.items() if key not in ("extends", "append")}
    return {**parent, **own, "records": {**records, **child.get("records", {})}}


class _Reader:
    """Reads a layout, collecting problems instead of stopping at the first."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = data
        self.problems: list[str] = []

    def layout(self) -> Layout:
        data = self._data
        self._only("", data, _LAYOUT_KEYS)
        kind = self._one_of("kind", data, KINDS, "")
        line_end = self._one_of("line_end", data, frozenset(LINE_ENDS), "lf")
        length = self._whole("record_length", data, 0, MAX_RECORD_BYTES)
        if kind == "fixed" and not length:
            self.problems.append("record_length is missing: fixed width needs it")
        if kind == "csv" and (length or line_end == "none"):
            self.problems.append("CSV has no record_length, and needs a line_end")
        layout = Layout(
            name=str(data.get("name", "")),
            kind=kind,
            encoding=self._encoding(kind),
            line_end=LINE_ENDS.get(line_end, b"\n"),
            record_length=length,
            trimmed=bool(data.get("trimmed", False)),
            delimiter=self._letter("delimiter", ","),
            decimal_mark=self._letter("decimal_mark", "."),
            heading=bool(data.get("heading", False)),
            formulas=bool(data.get("formulas", False)),
            records=self._records(kind, length),
        )
        if not layout.name:
            self.problems.append("name is missing")
        if layout.delimiter == layout.decimal_mark and kind == "csv":
            self.problems.append("delimiter and decimal_mark must differ")
        self._check_records(layout)
        return layout

    def _check_records(self, layout: Layout) -> None:
        records = layout.records
        if not records:
            self.problems.append("records are missing")
        codes = [record.code for record in records.values()]
        if len(records) > 1 and not all(codes):
            self.problems.append("each record needs a code when there is more than one")
        for one in codes:
            if codes.count(one) > 1 or any(o != one and o.startswith(one) for o in codes if one):
                self.problems.append(f"code {one!r} is not the only one that begins so")
        if layout.heading and len(records) != 1:
            self.problems.append("heading needs exactly one record")
        for place in ("first", "last"):
            if sum(record.place == place for record in records.values()) > 1:
                self.problems.append(f"only one record can be {place}")
        for record in records.values():
            if record.within and records.get(record.within) is None:
                self.problems.append(f"records.{record.name}.within names no record")
            for field in record.fields:
                self._check_total(record, field, records)

    def _check_total(self, record: Record, field: Field, records: Mapping[str, Record]) -> None:
        if not field.total:
            return
        where = f"records.{record.name}.{field.name}.total"
        how, _, what = field.total.partition(":")
        name, _, column = what.partition(".")
        if how not in TOTALS or field.type not in NUMBERS or record.place != "last":
            self.problems.append(
                f"{where}: count, sum:record.field or hash:record.field, of a number, in the last "
                "record"
            )
            return
        of = records.get(name)
        counted = of.field(column) if of else None
        if how == "count":
            if name and of is None:
                self.problems.append(f"{where}: there is no record {name}")
        elif counted is None or (how == "sum" and counted.type not in NUMBERS):
            self.problems.append(f"{where}: {what} is no field that can be added up")

    def _records(self, kind: str, length: int) -> dict[str, Record]:
        found = {}
        tables = self._data.get("records", {})
        for name in tables if isinstance(tables, dict) else ():
            table = tables[name]
            where = f"records.{name}"
            self._only(f"{where}.", table, _RECORD_KEYS)
            code = str(table.get("code", ""))
            place = self._one_of(f"{where}.place", table, PLACES, "body")
            fields = self._fields(where, table.get("fields", []), kind, code, length)
            found[name] = Record(name, code, place, str(table.get("within", "")), fields)
        return found

    def _fields(
        self, where: str, given: Any, kind: str, code: str, length: int
    ) -> tuple[Field, ...]:
        fields: list[Field] = []
        free = len(code) + 1
        for table in given if isinstance(given, list) else []:
            field = self._field(f"{where}.{table.get('name', '?')}", table, kind)
            if kind == "fixed":
                field = replace(field, start=field.start or free)
                if field.start < free or field.end > length:
                    self.problems.append(
                        f"{where}.{field.name}: columns {field.start}-{field.end} overlap the "
                        f"field before, or pass the record's {length}"
                    )
                free = field.end + 1
            if any(field.name == other.name for other in fields):
                self.problems.append(f"{where}.{field.name} is declared twice")
            fields.append(field)
        if not fields:
            self.problems.append(f"{where}.fields are missing")
        return tuple(fields)

    def _field(self, where: str, table: Mapping[str, Any], kind: str) -> Field:
        self._only(f"{where}.", table, _FIELD_KEYS)
        type_ = self._one_of(f"{where}.type", table, TYPES, "text")
        field = Field(
            name=str(table.get("name", "")),
            type=type_,
            start=self._whole(f"{where}.start", table, 0, MAX_RECORD_BYTES),
            length=self._whole(f"{where}.length", table, 0, MAX_RECORD_BYTES),
            decimals=self._whole(f"{where}.decimals", table, 0, 15),
            implied=bool(table.get("implied", kind == "fixed")),
            sign=self._one_of(f"{where}.sign", table, SIGNS, "none"),
            format=str(table.get("format", "")),
            blank=bool(table.get("blank", False)),
            nothing=tuple(map(str, table.get("nothing", ()))),
            cut=bool(table.get("cut", False)),
            literal=str(table.get("literal", "")),
            total=str(table.get("total", "")),
        )
        if kind == "fixed" and not field.length:
            self.problems.append(f"{where}.length is missing: fixed width needs it")
        if type_ in FORMATS and field.format not in FORMATS[type_]:
            self.problems.append(f"{where}.format must be one of {', '.join(FORMATS[type_])}")
        if field.nothing and not field.blank:
            self.problems.append(f"{where}.nothing needs blank = true")
        if type_ == "packed" and (kind != "fixed" or field.blank):
            self.problems.append(f"{where}: packed is for fixed width, and never blank")
        return field

    def _encoding(self, kind: str) -> str:
        given = str(self._data.get("encoding", "ascii" if kind == "fixed" else "utf-8"))
        try:
            name = codecs.lookup(given).name
        except LookupError:
            name = ""
        if name not in ONE_BYTE_PAGES and (kind == "fixed" or name not in MANY_BYTE_PAGES):
            self.problems.append(
                f"encoding {given!r} is not known here; there are "
                f"{', '.join(sorted(ONE_BYTE_PAGES))}, and for CSV utf-8 and utf-8-sig"
            )
        return name or "ascii"

    def _only(self, where: str, table: Any, known: frozenset[str]) -> None:
        if not isinstance(table, dict):
            self.problems.append(f"{where or 'the layout'} must be a table")
            return
        self.problems += [f"{where}{key} is not known here" for key in table if key not in known]

    def _one_of(
        self, where: str, table: Mapping[str, Any], known: frozenset[str], default: str
    ) -> str:
        value = str(table.get(where.rpartition(".")[2], default))
        if value not in known:
            self.problems.append(f"{where} must be one of {', '.join(sorted(known))}")
        return value

    def _whole(self, where: str, table: Mapping[str, Any], default: int, most: int) -> int:
        value = table.get(where.rpartition(".")[2], default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            self.problems.append(f"{where} must be a whole number up to {most}")
            return default
        return value

    def _letter(self, name: str, default: str) -> str:
        value = str(self._data.get(name, default))
        if len(value) != 1:
            self.problems.append(f"{name} must be one character")
            return default
        return value
