"""Many statements with one crossing to the database: the reads of a round, the rows of a batch.

SQLAlchemy hands SQLite one statement at a time, each through a thread and back, and prepares every
row of every statement on the event loop. A batch has a few shapes that never change, so for SQLite
their text is made once, rows travel as tuples, and one crossing takes all of them.

PostgreSQL gets one statement after another, past SQLAlchemy (`straight`), and all rows of a batch
as one. What is looked for, and rows that are written, travel as arrays: a statement has one text,
prepared once and answered by its index, however many keys or rows there are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import compress
from operator import attrgetter
from typing import Any

from sqlalchemy import (
    BindParameter,
    Boolean,
    Column,
    ColumnElement,
    Dialect,
    Integer,
    LargeBinary,
    Select,
    Table,
    bindparam,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeEngine

from crossdock_hub.store.failures import StoreFailure
from crossdock_hub.store.one_hop import OneHopConnection, Step
from crossdock_hub.store.straight import named_rows_of, write_all

# Rows of one INSERT: within SQLite's 32,766 variables for the widest table.
ROWS_PER_INSERT = 512
# Of a look-up. SQLite takes 32,766 variables in a statement; tuples use several.
VALUES_PER_STATEMENT = 500
# The one parameter of a `Query`: a list of values or of tuples.
WANTED = "wanted"
IN: BindParameter[Any] = bindparam(WANTED, expanding=True)
_PLACE = f"(__[POSTCOMPILE_{WANTED}])"
_MARK = "the list that is wanted"

_POSTGRESQL = postgresql.dialect()  # type: ignore[no-untyped-call]

Row = Mapping[str, Any]
_INSERTS: dict[str, Callable[[Table], Any]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}


def inserting(dialect: str, table: Table) -> Any:
    """An insert of the dialect's own kind, which may say what happens on a conflict."""
    return _INSERTS[dialect](table)


class Query:
    """A statement whose only parameter is the list `WANTED`: of values, or of tuples.

    by: the columns that tuples are compared with; () where the statement says itself, in one place
    or several, what its values are compared with; whatever else it compares stands in its text.
    most: of what one tuple finds no more rows than this, those whose primary key sorts last; 0:
    all. `statement`, which is for SQLAlchemy, has them all. tail_max: of the last column each tuple
    finds what goes on after its value with a colon, and has at most so many signs more; 0: what
    equals it. `statement` knows only that. values_max: how many values `fetch_all` puts into one
    statement; as many as there may be, where what is found has one order or limit.
    """

    def __init__(
        self,
        statement: Select[Any],
        by: Sequence[Column[Any]] = (),
        most: int = 0,
        *,
        tail_max: int = 0,
        values_max: int = VALUES_PER_STATEMENT,
    ) -> None:
        self.values_max = values_max
        self.columns = tuple(column.name for column in statement.selected_columns)
        self._truths = _truths(statement.selected_columns)
        self._texts: dict[int, str] = {}
        self._by = tuple(by)
        self.statement = statement
        if by:
            self.statement = statement.where(tuple_(*by).in_(IN))
            self._head, self._tail = _looked_up(statement, by, most, tail_max)
            self.array_text = _joined(statement, by, most, tail_max)
            self.locking_text = _locking(self.array_text, by)
            return
        compiled = _written_out(statement, sqlite.dialect())
        self._parts = compiled.split(_PLACE)
        if len(self._parts) == 1 or "?" in compiled:
            raise ValueError(f"a query has one parameter, {WANTED}: {compiled}")
        self.array_text = _among(statement)
        table = statement.get_final_froms()[0]
        self.locking_text = _locking(self.array_text, list(table.primary_key))

    @property
    def width(self) -> int:
        """Columns of a tuple; 1: it is asked for by values."""
        return len(self._by) or 1

    def step(self, wanted: Sequence[Any]) -> Step:
        """The statement's text for SQLite and its values, flat."""
        count = len(wanted)
        text = self._texts.get(count)
        if text is None:
            text = self._texts[count] = self._text(count)
        if self._by:
            return text, [value for each in wanted for value in each]
        return text, [*wanted] * (len(self._parts) - 1)

    def _text(self, count: int) -> str:
        if self._by:
            one = f"({', '.join('?' * len(self._by))})"
            return f"{self._head}{', '.join([one] * count)}{self._tail}"
        return f"({', '.join('?' * count)})".join(self._parts)

    def arrays(self, wanted: Sequence[Any]) -> tuple[list[Any], ...]:
        """The values of `array_text`, the statement for PostgreSQL: a list for each column."""
        if not self._by:
            return (list(wanted),)
        return tuple(list(column) for column in zip(*wanted, strict=True))

    def row(self, values: Sequence[Any]) -> Row:
        """What SQLite gave for a row, by column."""
        return _row(self.columns, self._truths, values)


class Question:
    """Rows of a table by a condition, in which {} stands for each value that it is asked with.
    times: so many such questions as one, each with values of its own, and the rows of all."""

    def __init__(self, table: Table, condition: str, times: int = 1) -> None:
        self.columns = tuple(column.name for column in table.columns)
        self._truths = _truths(table.columns)
        text = f"SELECT {', '.join(self.columns)} FROM {table.name} WHERE {condition}"
        if times > 1:
            text = " UNION ALL ".join([f"SELECT * FROM ({text}) AS of_one"] * times)
        values = range(1, text.count("{}") + 1)
        self.sqlite = text.format(*("?" for _ in values))
        self.postgresql = text.format(*(f"${number}" for number in values))

    async def ask(
        self, connection: AsyncConnection, *values: int | str, alone: bool = False
    ) -> list[Row]:
        """What it finds. alone: in no transaction."""
        driver = beneath(connection)
        if driver is None:
            return await named_rows_of(connection, self.postgresql, values, alone=alone)
        (rows,) = await driver.run([(self.sqlite, values)])
        return [_row(self.columns, self._truths, row) for row in rows]


def _truths(columns: Iterable[ColumnElement[Any]]) -> list[str]:
    """SQLite has 0 and 1 for them; every other type that we use it gives as it took it."""
    return [column.key or "" for column in columns if isinstance(column.type, Boolean)]


def _row(columns: Sequence[str], truths: Sequence[str], values: Sequence[Any]) -> Row:
    row = dict(zip(columns, values, strict=True))
    for name in truths:
        row[name] = bool(row[name])
    return row


async def fetch(
    connection: AsyncConnection, asked: Sequence[tuple[Query, Sequence[Any]]]
) -> list[list[Row]]:
    """The rows of each query, in the order asked."""
    driver = beneath(connection)
    if driver is None:
        return [
            await named_rows_of(connection, query.array_text, query.arrays(wanted))
            for query, wanted in asked
        ]
    found = await driver.run([query.step(wanted) for query, wanted in asked])
    return [
        [query.row(values) for values in rows]
        for (query, _), rows in zip(asked, found, strict=True)
    ]


async def fetch_all(
    connection: AsyncConnection, asked: Sequence[tuple[Query, Sequence[Any]]]
) -> list[list[Row]]:
    """The same for lists of any length, none among them: a statement looks up so many values as its
    query says at most, and rows come in the order of these parts."""
    parts = [
        (place, query, wanted[start : start + query.values_max])
        for place, (query, wanted) in enumerate(asked)
        for start in range(0, len(wanted), query.values_max)
    ]
    answers: list[list[Row]] = [[] for _ in asked]
    if parts:
        found = await fetch(connection, [(query, wanted) for _, query, wanted in parts])
        for (place, _, _), rows in zip(parts, found, strict=True):
            answers[place] += rows
    return answers


def _looked_up(
    statement: Select[Any], by: Sequence[Column[Any]], most: int, tail_max: int
) -> tuple[str, str]:
    """A statement's text for SQLite before and after the tuples that it looks up.

    Of `(a, b) IN (VALUES …)` SQLite reads the whole table as soon as there are two tuples. A cross
    join keeps its order: each tuple is looked up by the index.
    """
    table = by[0].table.name
    compiled = str(statement.compile(dialect=sqlite.dialect()))
    columns, found, rest = compiled.partition(f"FROM {table}")
    if not found or "?" in compiled:
        raise ValueError(f"a query by tuples has no parameter but {WANTED}: {compiled}")
    names = [f"wanted_{column.name}" for column in by]
    equal = _found_by(by, tail_max)
    if most:
        # SQLite has no lateral join: the tuple finds the keys, and those find their rows.
        (key,) = by[0].table.primary_key
        equal = f"{table}.{key.name} IN (SELECT {_last(by, f'{table}.{key.name}', most, tail_max)})"
    joined = f"{columns}FROM wanted CROSS JOIN {table} ON {equal}{rest}"
    return f"WITH wanted ({', '.join(names)}) AS (VALUES ", f") {joined}"


def _found_by(by: Sequence[Column[Any]], tail_max: int) -> str:
    table = by[0].table.name
    equal = by[:-1] if tail_max else by
    found = [f"{table}.{column.name} = wanted_{column.name}" for column in equal]
    if tail_max:
        begun, wanted = f"{table}.{by[-1].name}", f"wanted_{by[-1].name}"
        # A range, not LIKE: the index answers it. ";" is the sign after ":".
        found += [f"{begun} > {wanted} || ':'", f"{begun} < {wanted} || ';'"]
        found.append(f"length({begun}) <= length({wanted}) + {tail_max:d}")
    return " AND ".join(found)


def _last(by: Sequence[Column[Any]], columns: str, most: int, tail_max: int) -> str:
    """The rest of a query for the rows of one tuple whose keys sort last."""
    table = by[0].table
    (key,) = table.primary_key
    # Of the bare column a planner may think to walk the whole table by its keys, last one first.
    order = f"{table.name}.{key.name} || '' DESC"
    rows = f"{columns} FROM {table.name} WHERE {_found_by(by, tail_max)}"
    return f"{rows} ORDER BY {order} LIMIT {most:d}"


def _among(statement: Select[Any]) -> str:
    """A statement's text for PostgreSQL that looks for the values of one array."""
    kind = _array_of(statement.compile(dialect=_POSTGRESQL).binds[WANTED].type)
    return _written_out(statement, _POSTGRESQL).replace(f" IN {_PLACE}", f" = ANY ($1::{kind})")


def _written_out(statement: Select[Any], dialect: Dialect) -> str:
    """A statement's text in which every value stands but those of `WANTED`."""
    compiled = statement.compile(dialect=dialect)
    if set(compiled.binds) == {WANTED}:
        return str(compiled)
    marked = statement.params({WANTED: [_MARK]}) if WANTED in compiled.binds else statement
    written = marked.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
    text = str(written).replace(f"('{_MARK}')", _PLACE)
    # What is written out is no format, in which a percent sign would stand for itself by two.
    return text.replace("%%", "%") if dialect.paramstyle == "pyformat" else text


def _joined(statement: Select[Any], by: Sequence[Column[Any]], most: int, tail_max: int) -> str:
    """The same for tuples, whose columns are arrays of equal length."""
    table = by[0].table.name
    columns, _, rest = str(statement.compile(dialect=_POSTGRESQL)).partition(f"FROM {table}")
    names = ", ".join(f"wanted_{column.name}" for column in by)
    arrays = ", ".join(f"${n}::{_array_of(c.type)}" for n, c in enumerate(by, 1))
    found = f"FROM unnest({arrays}) AS wanted ({names})"
    if most:
        last = _last(by, "*", most, tail_max)
        return f"{columns}{found} CROSS JOIN LATERAL (SELECT {last}) AS {table}{rest}"
    return f"{columns}{found} JOIN {table} ON {_found_by(by, tail_max)}{rest}"


def _locking(text: str, by: Sequence[ColumnElement[Any]]) -> str:
    """A statement for PostgreSQL that also locks its rows, in the order of what they are by."""
    columns: Sequence[Any] = by
    table = columns[0].table.name
    order = ", ".join(f"{table}.{column.name}" for column in columns)
    return f"{text} ORDER BY {order} FOR UPDATE OF {table}"


def _array_of(kind: TypeEngine[Any]) -> str:
    if isinstance(kind, LargeBinary):
        return "bytea[]"
    if isinstance(kind, Boolean):
        return "boolean[]"
    return "bigint[]" if isinstance(kind, Integer) else "text[]"


@dataclass(frozen=True, slots=True)
class Shape:
    """How records become rows of a table. replaces: a row with the same key is written over.

    values: a record's values, in the order of `columns`. keeps: what a row that is written over
    has as before, whatever the record says; of records with such columns every row is there.
    """

    table: Table
    columns: tuple[str, ...]
    values: Callable[[Any], tuple[Any, ...]]
    replaces: bool = False
    keeps: tuple[str, ...] = ()
    _texts: dict[int, str] = field(default_factory=dict)

    @property
    def adding_text(self) -> str:
        """For PostgreSQL: insert the rows of arrays, except those that are there already."""
        return f"{_inserting(self.table, self.columns)} ON CONFLICT DO NOTHING"

    @property
    def writing_text(self) -> str:
        """For PostgreSQL: insert the rows of arrays, where it replaces over those that are there
        already; where it keeps columns of them, those do not travel. What the database numbers is
        numbered in their order."""
        if self.keeps:
            return _updating(self.table, self.sent)
        return f"{_inserting(self.table, self.columns)}{self._on_conflict()}"

    def arrays(self, records: Sequence[Any]) -> tuple[list[Any], ...]:
        """The values of those texts: a list for each column."""
        columns = zip(*map(self.values, records), strict=True)
        if self.keeps:
            return tuple(map(list, compress(columns, map(self.sent.__contains__, self.columns))))
        return tuple(map(list, columns))

    @property
    def sent(self) -> tuple[str, ...]:
        """The columns whose values travel to PostgreSQL."""
        return _sent(self.columns, self.keeps)

    def row(self, record: Any) -> dict[str, Any]:
        """A record's values by column."""
        return dict(zip(self.columns, self.values(record), strict=True))

    def steps(self, records: Sequence[Any]) -> Iterator[Step]:
        """Inserts of 64 rows, then of 32, and so on: a few texts, each prepared once."""
        start, size = 0, ROWS_PER_INSERT
        while start < len(records):
            left = len(records) - start
            size = min(size, left) if left >= 128 else 1 << (left.bit_length() - 1)
            part = records[start : start + size]
            yield self._text(size), [value for record in part for value in self.values(record)]
            start += size

    def _text(self, count: int) -> str:
        text = self._texts.get(count)
        if text is None:
            row = f"({', '.join('?' * len(self.columns))})"
            rows = ", ".join([row] * count)
            head = f"INSERT INTO {self.table.name} ({', '.join(self.columns)}) VALUES {rows}"
            text = self._texts[count] = head + self._on_conflict()
        return text

    def _on_conflict(self) -> str:
        if not self.replaces:
            return ""
        changed = ", ".join(f"{name} = excluded.{name}" for name in self._changed())
        return f" ON CONFLICT ({', '.join(self._keys())}) DO UPDATE SET {changed}"

    def _keys(self) -> list[str]:
        return [column.name for column in self.table.primary_key]

    def _changed(self) -> list[str]:
        kept = {*self._keys(), *self.keeps}
        return [name for name in self.columns if name not in kept]


class Rewriting:
    """How rows are written over of which some columns hardly ever change: those of `lasting`.

    SQLite writes every index of a row anew of which a statement names a column, with the same value
    too. Where those columns are as they were read, the statement is one that names none of them.

    seldom: columns that most changes leave as they were too. To PostgreSQL each value of an array
    costs about as much as a value of a row, on both sides, so what need not travel does not.
    """

    def __init__(self, shape: Shape, *lasting: str, seldom: tuple[str, ...] = ()) -> None:
        self.whole = shape
        self.narrow = replace(shape, keeps=lasting, _texts={})
        self.least = replace(shape, keeps=(*lasting, *seldom), _texts={})
        self._lasting = attrgetter(*lasting)
        self._seldom = attrgetter(*seldom) if seldom else None

    def shape(self, record: Any, before: Any) -> Shape:
        """The one to write a record with. before: what was read of its row in this transaction;
        None: nothing was, or there is no such row."""
        if before is None or self._lasting(record) != self._lasting(before):
            return self.whole
        if self._seldom is None or self._seldom(record) != self._seldom(before):
            return self.narrow
        return self.least


@cache
def _inserting(table: Table, columns: tuple[str, ...]) -> str:
    kinds = [_array_of(table.c[name].type) for name in columns]
    arrays = ", ".join(f"${n}::{kind}" for n, kind in enumerate(kinds, 1))
    return f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT * FROM unnest({arrays})"


@cache
def _sent(columns: tuple[str, ...], keeps: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in columns if name not in keeps)


@cache
def _updating(table: Table, sent: tuple[str, ...]) -> str:
    """Write arrays over rows that are there, and leave their other columns as they are."""
    keys = [column.name for column in table.primary_key]
    arrays = ", ".join(f"${n}::{_array_of(table.c[name].type)}" for n, name in enumerate(sent, 1))
    changed = ", ".join(f"{name} = new.{name}" for name in sent if name not in keys)
    equal = " AND ".join(f"{table.name}.{name} = new.{name}" for name in keys)
    return (
        f"UPDATE {table.name} SET {changed} "
        f"FROM unnest({arrays}) AS new ({', '.join(sent)}) WHERE {equal}"
    )


@dataclass(frozen=True, slots=True)
class Change:
    """A statement that gives no rows, in the words of each database, with as many parameters.

    What SQLite looks for in a list it gets as one JSON array, PostgreSQL as an array of its own: a
    statement has one text, however long the list is.
    """

    sqlite: str
    postgresql: str


# A change and its values.
Changing = tuple[Change, Sequence[int | str | Sequence[int]]]


async def write_rows(
    connection: AsyncConnection,
    rows: Sequence[tuple[Shape, Sequence[Any]]],
    changes: Sequence[Changing] = (),
) -> None:
    """Write records of several shapes, no two with the same key, and run changes of other rows.
    What SQLite has against it, it says at the next statement or at the commit. Raises StoreFailure:
    PostgreSQL has not every row of which some columns were to stay as they are."""
    # In one order: what is written as one statement has few texts.
    rows = sorted(((s, r) for s, r in rows if r), key=lambda work: work[0].table.name)
    if not rows and not changes:
        return
    driver = beneath(connection)
    if driver is not None:
        # Nobody waits for them alone: they cross with what comes next, at the latest the commit.
        driver.add(step for shape, records in rows for step in shape.steps(records))
        driver.add((change.sqlite, _flat(values)) for change, values in changes)
        return
    written = [(shape.writing_text, shape.arrays(records)) for shape, records in rows]
    steps = [*written, *((c.postgresql, values) for c, values in changes)]
    over = [place for place, (shape, _) in enumerate(rows) if shape.keeps]
    counts = await write_all(connection, steps, over)
    for place, count in zip(over, counts, strict=True):
        shape, records = rows[place]
        # SQLite has got all columns, and writes a row that was not there whole.
        if count != len(records):
            raise StoreFailure(
                f"{len(records)} rows of {shape.table.name} were to be written over, {count} were "
                "there",
                full=False,
            )


def _flat(values: Sequence[int | str | Sequence[int]]) -> list[int | str]:
    return [each if isinstance(each, int | str) else json.dumps(each) for each in values]


def beneath(connection: AsyncConnection) -> OneHopConnection | None:
    """The connection to SQLite beneath SQLAlchemy's; None: another database."""
    if connection.dialect.name != "sqlite" or connection.sync_connection is None:
        return None
    # Not by `get_raw_connection`, which takes a turn of its own for what is there.
    driver = connection.sync_connection.connection.driver_connection
    return driver if isinstance(driver, OneHopConnection) else None
