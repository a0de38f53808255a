"""Flat files by their layout: written with control totals, read with every rule. Pure."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, Inexact
from typing import Final

from crossdock_adapters.sdk.layout import Layout, Record
from crossdock_adapters.sdk.layout_values import (
    EXACT,
    NUMBERS,
    Field,
    FieldProblem,
    Value,
    fitted,
    from_packed,
    from_text,
    to_packed,
    to_text,
)

MAX_FILE_BYTES: Final = 8 * 1024 * 1024
MAX_RECORDS: Final = 100_000
FILLER: Final = " "
# What a spreadsheet takes for a formula. Behind a sign digits, as of a phone, can do no harm.
_FORMULA: Final = re.compile(r"[=@]|[+-](?![0-9 ().,/-]*(?:(?:x|ext\.?) ?[0-9]+)?$)", re.IGNORECASE)
# Of a hash total without a length, as in CSV.
HASH_DIGITS: Final = 15


class LayoutError(ValueError):
    """A file does not follow its layout: where, which field, which rule; never what stood there.

    line: from 1; 0 for the file as a whole. column: the first one of the field, or its cell in CSV.
    """

    def __init__(self, rule: str, line: int = 0, field: Field | None = None, cell: int = 0) -> None:
        self.line, self.rule = line, rule
        self.column = field.start if field and field.start else cell
        place = [f"line {line}"] if line else []
        if field is not None and field.start:
            place.append(f"columns {field.start}-{field.end}")
        elif cell:
            place.append(f"cell {cell}")
        if field is not None:
            place.append(field.name)
        super().__init__(f"{', '.join(place)}: {rule}" if place else rule)


@dataclass(frozen=True, slots=True)
class Row:
    """One record: its kind, its values by field, and the line where it was read.

    columns: of what was read, the text of the fields that a hash total is of.
    """

    record: str
    values: Mapping[str, Value] = field(default_factory=dict)
    line: int = 0
    columns: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def text(self, name: str) -> str:
        """A value as text; empty where there is none."""
        value = self.values.get(name)
        return "" if value is None else str(value)


def write(layout: Layout, rows: Sequence[Row]) -> bytes:
    """The file, whole. Totals are computed; a last record of totals only is added by itself.

    LayoutError names the record and the field that does not fit.
    """
    last = layout.at("last")
    if last is not None and not any(row.record == last.name for row in rows):
        rows = [*rows, Row(last.name)]
    if len(rows) > MAX_RECORDS:
        raise LayoutError(f"a file has {MAX_RECORDS} records at most")
    lines = []
    for number, row in enumerate(rows, start=1):
        record = layout.records.get(row.record)
        if record is None:
            raise LayoutError(f"there is no record {row.record!r} in {layout.name}", number)
        if unknown := set(row.values) - {each.name for each in record.fields}:
            raise LayoutError(f"{record.name} has no field {', '.join(sorted(unknown))}", number)
        values = row.values
        if record.place == "last":
            # Once a file, because it looks at every row.
            values = {**values, **totals(layout, record, rows)}
        lines.append(_written(layout, record, values, number))
    _check_order(layout, [Row(row.record, {}, n) for n, row in enumerate(rows, start=1)])
    data = b"".join(line + layout.line_end for line in [*_heading(layout), *lines])
    if len(data) > MAX_FILE_BYTES:
        raise LayoutError(f"a file has {MAX_FILE_BYTES} bytes at most")
    return data.decode("utf-8").encode("utf-8-sig") if layout.encoding == "utf-8-sig" else data


def cuts(layout: Layout, rows: Iterable[Row]) -> list[str]:
    """The fields, as record.field, of which a part is left out because the layout cuts them."""
    found = {
        f"{row.record}.{each.name}": None
        for row in rows
        for each in layout.records[row.record].fields
        if each.cut and 0 < each.length < len(fitted(row.text(each.name), _page(layout)))
    }
    return list(found)


def respelled(layout: Layout, rows: Iterable[Row]) -> list[str]:
    """The fields, as record.field, that are written in plainer letters than they have, because the
    code page has none for theirs. What has no plainer ones, either, is not written at all."""
    page = _page(layout)
    found = {
        f"{row.record}.{name}": None
        for row in rows
        for name, value in row.values.items()
        if isinstance(value, str) and _is_respelled(value, page)
    }
    return list(found)


def _is_respelled(value: str, page: str) -> bool:
    try:
        return fitted(value, page) != value
    except FieldProblem:
        return False


def read(layout: Layout, data: bytes) -> list[Row]:
    """The records of a file. LayoutError where it breaks a rule, or ends before its end."""
    if len(data) > MAX_FILE_BYTES:
        raise LayoutError(f"the file has more than {MAX_FILE_BYTES} bytes")
    lines = _fixed_lines(layout, data) if layout.kind == "fixed" else _csv_lines(layout, data)
    rows: list[Row] = []
    for line in lines:
        if len(rows) >= MAX_RECORDS:
            raise LayoutError(f"the file has more than {MAX_RECORDS} records")
        rows.append(line)
    _check_order(layout, rows)
    _check_totals(layout, rows)
    return rows


def totals(layout: Layout, record: Record, rows: Iterable[Row]) -> dict[str, Value]:
    """What the fields of a record that are totals must say about the other rows.

    LayoutError where the field cannot say it.
    """
    found: dict[str, Value] = {}
    body = [row for row in rows if layout.records[row.record].place == "body"]
    for each in record.fields:
        how, _, what = each.total.partition(":")
        name, _, column = what.partition(".")
        of = [row for row in body if not name or row.record == name]
        if how == "count":
            found[each.name] = len(of)
        elif how == "sum":
            found[each.name] = _sum(each, [row.values.get(column) or 0 for row in of])
        elif how == "hash":
            counted = layout.records[name].field(column)
            assert counted is not None
            found[each.name] = _hash([_column_text(layout, counted, row) for row in of], each)
    return found


def _sum(total: Field, values: Iterable[Value]) -> int | Decimal:
    added = Decimal(0)
    try:
        for value in values:
            added = EXACT.add(added, Decimal(str(value)))
    except Inexact:
        raise LayoutError("has more digits than can be added up", 0, total) from None
    if total.type != "integer":
        return added
    if added != int(added):
        raise LayoutError(f"is a whole number, and the records add up to {added}", 0, total)
    return int(added)


def _hash(columns: Iterable[str], total: Field) -> int:
    digits = (int("0" + "".join(filter(_is_digit, column))) for column in columns)
    return sum(digits) % int(10 ** (total.length or HASH_DIGITS))


def _column_text(layout: Layout, each: Field, row: Row) -> str:
    """A column as it stands in the file: as it was read, or as it is written."""
    if each.name in row.columns:
        return row.columns[each.name]
    value = row.values.get(each.name)
    try:
        if each.type == "packed":
            return _packed_digits(to_packed(each, value))
        if isinstance(value, str):
            value = fitted(value, _page(layout))
        return to_text(each, value, layout.decimal_mark)
    except FieldProblem as problem:
        raise LayoutError(str(problem), row.line, each) from None


def _packed_digits(raw: bytes) -> str:
    return raw.hex()[:-1]


def _hashed(layout: Layout) -> frozenset[tuple[str, str]]:
    """(record, field) of what a hash total is of."""
    last = layout.at("last")
    wholes = [each.total.partition(":") for each in last.fields] if last is not None else []
    found = (what.partition(".") for how, _, what in wholes if how == "hash")
    return frozenset((name, column) for name, _, column in found)


def _is_digit(letter: str) -> bool:
    return letter in "0123456789"


def _written(layout: Layout, record: Record, values: Mapping[str, Value], number: int) -> bytes:
    if layout.kind == "csv":
        return _written_csv(layout, record, values, number)
    line = bytearray(record.code.ljust(layout.record_length, FILLER).encode(layout.encoding))
    for each in record.fields:
        try:
            line[each.start - 1 : each.end] = _column(layout, each, values.get(each.name))
        except FieldProblem as problem:
            raise LayoutError(str(problem), number, each) from None
    return bytes(line)


def _column(layout: Layout, each: Field, value: Value) -> bytes:
    if each.type == "packed":
        return to_packed(each, value)
    if isinstance(value, str) and each.type == "text":
        value = _clean(value, layout)
    text = to_text(each, value, layout.decimal_mark)
    if len(text) > each.length:
        raise FieldProblem(f"may have {each.length} characters at most")
    return text.ljust(each.length, FILLER).encode(layout.encoding)


def _written_csv(layout: Layout, record: Record, values: Mapping[str, Value], number: int) -> bytes:
    cells = [record.code] if record.code else []
    for each in record.fields:
        value = values.get(each.name)
        try:
            if isinstance(value, str):
                value = _clean(value, layout)
                if _FORMULA.match(value) and not layout.formulas:
                    raise FieldProblem(
                        "begins like a formula, which a spreadsheet that opens the file would "
                        "reckon: where none does, say formulas = true in the layout"
                    )
            cells.append(to_text(each, value, layout.decimal_mark))
        except FieldProblem as problem:
            raise LayoutError(str(problem), number, each, len(cells) + 1) from None
    return _csv_line(layout, cells)


def _clean(value: str, layout: Layout) -> str:
    value = fitted(value, _page(layout))
    if any(not letter.isprintable() for letter in value):
        raise FieldProblem("must not have control characters")
    return value


def _csv_line(layout: Layout, cells: Sequence[str]) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=layout.delimiter, lineterminator="").writerow(cells)
    return out.getvalue().encode(_page(layout))


def _page(layout: Layout) -> str:
    """The mark of utf-8-sig stands at the begin of the file only."""
    return "utf-8" if layout.encoding == "utf-8-sig" else layout.encoding


def _heading(layout: Layout) -> list[bytes]:
    if not layout.heading:
        return []
    (record,) = layout.records.values()
    names = [each.name for each in record.fields]
    return [_csv_line(layout, [record.code, *names] if record.code else names)]


def _fixed_lines(layout: Layout, data: bytes) -> Iterator[Row]:
    size, end = layout.record_length, layout.line_end
    if end:
        raw = data.split(end)
        if raw.pop():
            raise LayoutError("the last record has no line end: the file is cut off", len(raw) + 1)
    else:
        if len(data) % size:
            raise LayoutError(f"the file is no multiple of {size} bytes: it is cut off")
        raw = [data[at : at + size] for at in range(0, len(data), size)]
    blank, hashed = FILLER.encode(layout.encoding), _hashed(layout)
    for number, line in enumerate(raw, start=1):
        if layout.trimmed and len(line) < size:
            line = line.ljust(size, blank)
        if len(line) != size:
            raise LayoutError(f"the record has {len(line)} bytes, not {size}", number)
        yield _fixed_row(layout, line, number, hashed)


def _fixed_row(layout: Layout, line: bytes, number: int, hashed: frozenset[tuple[str, str]]) -> Row:
    try:
        text = line.decode(layout.encoding)
    except UnicodeDecodeError as error:
        raise LayoutError(
            f"byte {error.start + 1} is no letter of {layout.encoding}", number
        ) from None
    record = _record_of(layout, lambda code: text.startswith(code), number)
    values: dict[str, Value] = {}
    columns: dict[str, str] = {}
    for each in record.fields:
        column = text[each.start - 1 : each.end]
        try:
            if each.type == "packed":
                raw = line[each.start - 1 : each.end]
                column = _packed_digits(raw)
                values[each.name] = from_packed(each, raw)
            else:
                values[each.name] = from_text(each, _bare(each, column), layout.decimal_mark)
        except FieldProblem as problem:
            raise LayoutError(str(problem), number, each) from None
        if (record.name, each.name) in hashed:
            columns[each.name] = column
    return Row(record.name, values, number, columns)


def _bare(each: Field, column: str) -> str:
    """A column without its padding; a blank where a sign belongs is no padding."""
    if each.type in NUMBERS and column.strip(FILLER):
        return column if each.sign in ("leading", "trailing") else column.strip(FILLER)
    return column.rstrip(FILLER)


def _csv_lines(layout: Layout, data: bytes) -> Iterator[Row]:
    try:
        text = data.decode(layout.encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise LayoutError(f"there is a byte that is no letter of {layout.encoding}", line) from None
    end = layout.line_end.decode()
    if text and not text.endswith(end):
        raise LayoutError("the last line has no line end: the file is cut off", text.count(end) + 1)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=layout.delimiter, strict=True)
    begun, hashed = 1, _hashed(layout)
    try:
        for cells in reader:
            if begun == 1 and layout.heading:
                _check_heading(layout, cells)
            else:
                yield _csv_row(layout, cells, begun, hashed)
            begun = reader.line_num + 1
    except csv.Error as error:
        raise LayoutError(f"is no CSV: {error}", begun) from None
    if layout.heading and begun == 1:
        raise LayoutError("the line of field names is missing", 1)


def _check_heading(layout: Layout, cells: list[str]) -> None:
    (record,) = layout.records.values()
    wanted = ([record.code] if record.code else []) + [each.name for each in record.fields]
    if cells != wanted:
        raise LayoutError(f"the first line must name the fields: {', '.join(wanted)}", 1)


def _csv_row(
    layout: Layout, cells: list[str], line: int, hashed: frozenset[tuple[str, str]]
) -> Row:
    record = _record_of(layout, lambda code: not code or cells[:1] == [code], line)
    given = cells[1:] if record.code else cells
    if len(given) != len(record.fields):
        wanted = len(record.fields)
        raise LayoutError(f"{record.name} has {len(given)} fields, not {wanted}", line)
    values: dict[str, Value] = {}
    for at, (each, cell) in enumerate(zip(record.fields, given, strict=True), start=1):
        try:
            values[each.name] = from_text(each, cell, layout.decimal_mark)
        except FieldProblem as problem:
            raise LayoutError(str(problem), line, each, at + bool(record.code)) from None
    names = [each.name for each in record.fields]
    columns = {
        name: cell for name, cell in zip(names, given, strict=True) if (record.name, name) in hashed
    }
    return Row(record.name, values, line, columns)


def _record_of(layout: Layout, fits: Callable[[str], bool], line: int) -> Record:
    for record in layout.records.values():
        if fits(record.code):
            return record
    codes = ", ".join(record.code for record in layout.records.values())
    raise LayoutError(f"begins with none of the codes {codes}", line)


def _check_order(layout: Layout, rows: Sequence[Row]) -> None:
    """First and last stand once, at their place; what lies within another follows one."""
    for place, at in (("first", 0), ("last", -1)):
        record = layout.at(place)
        if record is None:
            continue
        lines = [row.line for row in rows if row.record == record.name]
        if not rows or rows[at].record != record.name:
            raise LayoutError(f"the {place} record must be {record.name}")
        if len(lines) > 1:
            raise LayoutError(f"{record.name} may stand once", lines[1])
    seen: set[str] = set()
    for row in rows:
        within = layout.records[row.record].within
        if within and within not in seen:
            raise LayoutError(f"{row.record} must follow a record {within}", row.line)
        seen.add(row.record)


def _check_totals(layout: Layout, rows: Sequence[Row]) -> None:
    record = layout.at("last")
    if record is None:
        return
    said = rows[-1]
    for name, computed in totals(layout, record, rows).items():
        if said.values.get(name) != computed:
            raise LayoutError(
                f"says {said.text(name)}, and the records before add up to {computed}",
                said.line,
                record.field(name),
            )
