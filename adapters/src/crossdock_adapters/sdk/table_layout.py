"""Layouts of staging tables: records, columns and status words as data; values exact. Pure.

    layout = table_layout.parse(text, "sales_orders.toml")   LayoutProblem lists all that is wrong
    rows = table_layout.rows_of(layout, document)            (table, {column: value}) to insert
    value = table_layout.read(column, raw)                   FieldProblem says which rule

`adapters/README.md` explains the keys of a layout file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, TypeAlias

from crossdock_adapters.sdk import layout_values
from crossdock_adapters.sdk.erp_answers import Said
from crossdock_adapters.sdk.layout import LayoutProblem
from crossdock_adapters.sdk.layout_files import Row
from crossdock_adapters.sdk.layout_values import FORMATS, TYPES, Field, FieldProblem, Value

# What a driver is given, and gives back. Never a float.
Stored: TypeAlias = str | int | Decimal | date | None

# text: VARCHAR; char: CHAR, which comes back padded; number: NUMERIC or a whole number; date: DATE.
STORED: Final = frozenset({"text", "char", "number", "date"})
# What a status says about a document: nobody has taken it; the ERP is at it; posted; refused; moved
# on by hand, or any other word that somebody has to look at.
WORDS: Final = frozenset({"waiting", "working", "done", "refused", "person"})
# enforced: a unique index, or the ledger's key, refuses a second row of a reference; looked_up: the
# database refuses nothing, so that only the lease stands between two processes.
UNIQUE: Final = frozenset({"enforced", "looked_up"})
# A whole number that a binary float holds exactly.
MAX_EXACT_FLOAT: Final = 2**53
_VALUE_KEYS: Final = frozenset({
    "type", "length", "decimals", "implied", "sign", "format", "blank", "nothing", "cut", "literal",
})  # fmt: skip
# What of a layout's parts is a name of the database.
_NAMES: Final[Mapping[str, frozenset[str]]] = {
    "status": frozenset({"column", "document", "code", "text"}),
    "errors": frozenset({"table", "reference", "code", "text", "line", "order"}),
    "ledger": frozenset({"table", "reference", "time"}),
    "books": frozenset({"table", "reference", "number"}),
    "claim": frozenset({"id", "key", "token", "until"}),
}
_COLUMN_KEYS: Final = _VALUE_KEYS | {"column", "name", "stored", "right"}


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its value as `field` says it, held as `stored`. right: padded at the left."""

    column: str
    field: Field
    stored: str = "text"
    right: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """A kind of record, and the table that its rows go to."""

    name: str
    table: str
    columns: tuple[Column, ...]

    def of(self, name: str) -> Column | None:
        """The column that holds a value of this name."""
        return next((each for each in self.columns if each.field.name == name), None)


@dataclass(frozen=True, slots=True)
class Status:
    """The columns of the first record by which both sides speak, and what their words mean.

    hidden: what the rows are written with; ready: what the last statement of the transaction makes
    of it. document, code, text: where the ERP says its number, and why it refused; "": nowhere.
    """

    column: str = ""
    length: int = 0
    hidden: str = ""
    ready: str = ""
    document: str = ""
    code: str = ""
    text: str = ""
    words: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Errors:
    """A table of errors, by our reference. order: newest highest, where a column says it.

    length: of the reference, where its column is a CHAR; 0: as long as the first record's.
    """

    table: str = ""
    reference: str = ""
    length: int = 0
    code: str = ""
    text: str = ""
    line: str = ""
    order: str = ""


@dataclass(frozen=True, slots=True)
class Ledger:
    """A table of ours beside the ERP's: each reference once, in the transaction of its rows.

    time: when, as text in UTC; "": nobody says.
    """

    table: str = ""
    reference: str = ""
    length: int = 0
    time: str = ""


@dataclass(frozen=True, slots=True)
class Books:
    """The ERP's own documents, where they keep our reference."""

    table: str = ""
    reference: str = ""
    length: int = 0
    number: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """How rows that the ERP wrote are taken: by id, under a token, until a time (seconds of 1970).

    key: rows of the same key go in the order of their ids. failed: a row that nobody could read.
    """

    id: str = ""
    key: str = ""
    token: str = ""
    until: str = ""
    ready: str = ""
    claimed: str = ""
    done: str = ""
    failed: str = ""


@dataclass(frozen=True, slots=True)
class TableLayout:
    """A checked layout. records: the first is the one whose status shows a document to the ERP.

    left_out: records that the ERP has no table for. archive: where the ERP moves rows of the first
    record to, with the same columns. kept: the ERP never moves or deletes a row, so one that is not
    there was never written.
    """

    name: str
    records: Mapping[str, Record]
    left_out: frozenset[str]
    status: Status
    errors: Errors
    ledger: Ledger
    books: Books
    claim: Claim
    archive: str
    unique: str
    kept: bool

    @property
    def head(self) -> Record:
        return next(iter(self.records.values()))

    @property
    def reference(self) -> Column:
        """The column of the first record that holds our reference."""
        found = self.head.of("reference")
        assert found is not None
        return found


class Place(StrEnum):
    """Where a document was found, in the order in which an ERP moves it along."""

    STAGING = "staging"
    ARCHIVE = "archive"
    BOOKS = "books"
    LEDGER = "ledger"


@dataclass(frozen=True, slots=True)
class Found:
    """What the tables hold of one reference. status: the ERP's word, without padding.

    errors: of the row itself, then of the table of errors, newest first; they may be older than the
    status. sent: when, in UTC, as our ledger says it; None: nobody says. LEDGER: it was given to
    the ERP, and nothing else is left of it.
    """

    place: Place
    status: str = ""
    number: str = ""
    errors: Sequence[Said] = ()
    sent: datetime | None = None


def rows_of(layout: TableLayout, document: Sequence[Row]) -> list[tuple[Record, dict[str, Stored]]]:
    """What to insert for a document, the first record first. FieldProblem names record and column.

    A record that the layout neither has nor leaves out is a FieldProblem: nothing is lost in
    silence.
    """
    found = []
    for row in document:
        if row.record in layout.left_out:
            continue
        record = layout.records.get(row.record)
        if record is None:
            raise FieldProblem(f"record {row.record} has no table and is not left out")
        values: dict[str, Stored] = {}
        for column in record.columns:
            try:
                values[column.column] = written(column, row.values.get(column.field.name))
            except FieldProblem as problem:
                where = f"{record.table}.{column.column} ({column.field.name})"
                raise FieldProblem(f"{where} {problem}") from None
        found.append((record, values))
    return found


def written(column: Column, value: Value) -> Stored:
    """A value as its column holds it; None is NULL. FieldProblem says which rule it breaks."""
    text = layout_values.to_text(column.field, value)
    if text == "":
        return None
    if column.stored == "number":
        return int(text) if column.field.implied or "." not in text else Decimal(text)
    if column.stored == "date":
        return date.fromisoformat(text)
    return text.rjust(column.field.length) if column.right else text


def read(column: Column, raw: Any) -> Value:
    """The value behind what a driver gave, freed of padding. FieldProblem says which rule."""
    text = plain(raw)
    if column.field.length and len(text) > column.field.length:
        raise FieldProblem(f"may have {column.field.length} characters at most")
    if column.stored == "number" and text and text not in column.field.nothing:
        # Zeros at the left are no part of a number, and are of a day or behind an implied point.
        if column.field.type == "date":
            text = text.zfill(len(column.field.format))
        elif column.field.implied:
            text = text.zfill(column.field.decimals + 1)
    return layout_values.from_text(column.field, text)


def plain(raw: Any) -> str:
    """What a driver gave, as text without the blanks of a CHAR column; "": nothing, or blanks.

    FieldProblem: a fraction that the database holds as a binary float is nobody's number.
    """
    if raw is None:
        return ""
    if isinstance(raw, float):
        if not raw.is_integer() or abs(raw) >= MAX_EXACT_FLOAT:
            raise FieldProblem("is a binary float: declare the column NUMERIC, in SQLite TEXT")
        raw = int(raw)
    if isinstance(raw, Decimal):
        return f"{raw:f}"
    return str(raw).strip(" ")


def same(column: Column, value: str, length: int = 0) -> list[str]:
    """How a text may stand in its column: as it is, and padded to the length of a CHAR.

    length: of another column for the same value; 0: of this one.
    """
    most = length or column.field.length
    ways = [value, value.rjust(most) if column.right else value.ljust(most)]
    return list(dict.fromkeys(ways))


def parse(text: str, source: str) -> TableLayout:
    """A checked layout. LayoutProblem lists everything that is wrong."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LayoutProblem(source, [f"not TOML: {error}"]) from None
    reader = _Reader(data)
    layout = reader.layout()
    if reader.problems:
        raise LayoutProblem(source, reader.problems)
    return layout


class _Reader:
    """Reads a layout, collecting problems instead of stopping at the first."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = data
        self.problems: list[str] = []

    def layout(self) -> TableLayout:
        data = self._data
        known = {each.name for each in fields(TableLayout)} | {"title", "source"}
        self.problems += [f"{key} is not known here" for key in data if key not in known]
        records = {
            name: self._record(f"records.{name}", name, table)
            for name, table in data.get("records", {}).items()
        }
        layout = TableLayout(
            name=str(data.get("name", "")),
            records=records,
            left_out=frozenset(map(str, data.get("left_out", ()))),
            status=self._part("status", Status),
            errors=self._part("errors", Errors),
            ledger=self._part("ledger", Ledger),
            books=self._part("books", Books),
            claim=self._part("claim", Claim),
            archive=_name(data.get("archive", "")),
            unique=str(data.get("unique", "enforced")),
            kept=bool(data.get("kept", False)),
        )
        if not layout.name or not records:
            self.problems.append("name and records are needed")
            return layout
        self._check(layout)
        return layout

    def _part(self, name: str, kind: type[Any]) -> Any:
        given = self._data.get(name, {})
        known = {each.name for each in fields(kind)}
        self.problems += [f"{name}.{key} is not known here" for key in given if key not in known]
        values = {key: value for key, value in given.items() if key in known}
        named = _NAMES.get(name, frozenset())
        return kind(**{key: _name(v) if key in named else v for key, v in values.items()})

    def _check(self, layout: TableLayout) -> None:
        status = layout.status
        if layout.unique not in UNIQUE:
            self.problems.append(f"unique must be one of {', '.join(sorted(UNIQUE))}")
        for word in status.words.values():
            if word not in WORDS:
                self.problems.append(f"status.words: {word!r} is none of {', '.join(WORDS)}")
        if not status.column:
            self.problems.append("status.column is missing")
        if layout.claim.id:
            needed = [each.name for each in fields(Claim) if each.name != "failed"]
            missing = [name for name in needed if not getattr(layout.claim, name)]
            self.problems += [f"claim.{name} is missing" for name in missing]
            return
        reference = layout.head.of("reference")
        if reference is None:
            self.problems.append("the first record needs a column with the name reference")
        elif reference.field.cut:
            self.problems.append(
                f"{reference.column} must not be cut: a part of a reference finds no document again"
            )
        if status.words.get(status.ready) != "waiting":
            self.problems.append("status.words needs a row for status.ready: waiting")
        if status.hidden and status.hidden in status.words:
            self.problems.append("status.hidden must not be a word of the ERP's")
        for part in (layout.errors, layout.ledger, layout.books):
            if part.table and not part.reference:
                self.problems.append(f"{type(part).__name__.lower()}.reference is missing")

    def _record(self, where: str, name: str, table: Any) -> Record:
        if not isinstance(table, dict) or not table.get("table") or not table.get("columns"):
            self.problems.append(f"{where} needs a table and columns")
            return Record(name, "", ())
        columns = tuple(self._column(where, given) for given in table["columns"])
        names = [each.column for each in columns]
        self.problems += [f"{where}: {n} is declared twice" for n in {*names} if names.count(n) > 1]
        return Record(name, _name(table["table"]), columns)

    def _column(self, where: str, given: Mapping[str, Any]) -> Column:
        where = f"{where}.{given.get('column', '?')}"
        self.problems += [f"{where}.{k} is not known here" for k in given if k not in _COLUMN_KEYS]
        values: dict[str, Any] = {key: given[key] for key in given if key in _VALUE_KEYS}
        values["nothing"] = tuple(map(str, values.get("nothing", ())))
        values.setdefault("sign", "leading" if given.get("stored") == "number" else "none")
        made = Field(name=str(given.get("name", "")), **values)
        column = Column(
            _name(given.get("column", "")),
            made,
            str(given.get("stored", "text")),
            bool(given.get("right", False)),
        )
        if not column.column or not (made.name or made.literal):
            self.problems.append(f"{where} needs a column, and a name or a literal")
        if column.stored not in STORED or made.type not in TYPES:
            self.problems.append(f"{where}: stored is one of {', '.join(sorted(STORED))}")
        if column.stored == "char" and not made.length:
            self.problems.append(f"{where}.length is missing: a CHAR has one")
        if made.type in FORMATS and made.format not in FORMATS[made.type]:
            self.problems.append(f"{where}.format must be one of {', '.join(FORMATS[made.type])}")
        if made.nothing and not made.blank:
            self.problems.append(f"{where}.nothing needs blank = true")
        if column.stored == "number" and made.length:
            self.problems.append(f"{where}: a number is not filled up to a length")
        return column


def _name(given: Any) -> str:
    """A name of a table or column as SQLAlchemy has it: in small letters, whatever the database
    makes of it without quotes; one of mixed letters means exactly that."""
    name = str(given)
    return name.lower() if name.isupper() else name
