"""Documents in staging tables: written once, found wherever the ERP moved them, rows claimed.

    await staging.write(database, layout, rows, reference)     Taken: the reference is there
    found = await staging.find(database, layout, reference)    None: nothing knows it
    rows = await staging.claim(database, layout, token, seconds, most)
    await staging.settle(database, layout, row, token, word)
    again, row = await staging.claim_again(database, layout, id, token, until)

What another process or the ERP does at the same time is decided by the database: each change of a
status is one UPDATE with a condition on what it changes, and the rows that it changed are counted.
Isolation READ COMMITTED is enough, and no lock is held between two statements but in `write`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    TableClause,
    and_,
    column,
    exists,
    insert,
    or_,
    select,
    table,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_adapters.sdk.database import Database, type_of
from crossdock_adapters.sdk.erp_answers import Said
from crossdock_adapters.sdk.layout_values import FieldProblem
from crossdock_adapters.sdk.outcomes import NeedsPerson
from crossdock_adapters.sdk.table_layout import (
    Column,
    Found,
    Place,
    Record,
    Stored,
    TableLayout,
    plain,
    same,
)

MAX_ERRORS: Final = 50
FLOAT_KINDS: Final = ("FLOAT", "REAL", "DOUBLE")
NUMERIC_KINDS: Final = ("NUMERIC", "DECIMAL", "NUMBER", *FLOAT_KINDS)
WHOLE_KINDS: Final = ("INT", "BIGINT", "SMALLINT", "TINYINT", "MEDIUMINT")
FLOATS_OF_SQLITE: Final = (
    "would hold binary floats: declare it TEXT in SQLite, or let the layout write whole numbers "
    "(implied = true)"
)
# A type that says how many digits it keeps, and how many of them behind the point.
_SCALE: Final = re.compile(r"(?:NUMERIC|DECIMAL|NUMBER)\(\s*\d+\s*(?:,\s*(?P<scale>-?\d+)\s*)?\)")
Rows = Sequence[tuple[Record, Mapping[str, Stored]]]


@dataclass(frozen=True, slots=True)
class ClaimedRow:
    """A row that is ours for a while. values: as the driver gave them, by column."""

    id: int
    values: Mapping[str, Any]


class Again(Enum):
    """What a claim of a row that nobody could read came to.

    OVERTAKEN: a newer row of its key was done meanwhile, so this one is done, too, and given to
    nobody. BUSY: another row of its key has to end first. ELSEWHERE: it does not have its `failed`
    word any more, so `claim` gives it away, or has. GONE: the table does not have it.
    """

    OURS = auto()
    OVERTAKEN = auto()
    BUSY = auto()
    ELSEWHERE = auto()
    GONE = auto()


async def write(database: Database, layout: TableLayout, rows: Rows, reference: str) -> None:
    """All rows of a document in one transaction; the status that shows them is its last statement.

    Taken: the database has the reference already. NeedsPerson, Retry and OutcomeUnknown as
    `Database.commit` raises them.
    """
    status, ledger = layout.status, layout.ledger
    head = layout.head

    async def fill(connection: AsyncConnection) -> None:
        if ledger.table:
            sent = {ledger.reference: reference}
            if ledger.time:
                sent[ledger.time] = datetime.now(UTC).isoformat(timespec="seconds")
            into = _plain_table(ledger.table, sent)
            await database.run(connection, insert(into), [sent])
        for record in layout.records.values():
            own = [dict(values) for of, values in rows if of.name == record.name]
            if record is head:
                own = [{**values, status.column: status.hidden or status.ready} for values in own]
            if own:
                await database.run(connection, insert(_table(layout, record)), own)
        if status.hidden:
            shown = (
                update(_table(layout, head))
                .where(_is(layout.reference, reference), _status_is(layout, status.hidden))
                .values({status.column: status.ready})
            )
            _, changed = await database.run(connection, shown)
            if changed != 1:
                raise NeedsPerson(f"{head.table}: {changed} rows became ready, and not one")

    await database.commit(f"rows of {layout.name}", fill)


async def find(database: Database, layout: TableLayout, reference: str) -> Found | None:
    """What has become of a reference. Places are asked in the order in which a row moves."""
    ledger = layout.ledger
    async with database.reading() as connection:
        sent = await _sent(database, connection, layout, reference) if ledger.table else None
        when = _moment(sent or "")
        for place, name in ((Place.STAGING, layout.head.table), (Place.ARCHIVE, layout.archive)):
            row = await _row(database, connection, layout, name, reference) if name else None
            if row is not None:
                return await _told(database, connection, layout, place, row, reference, when)
        number = await _number(database, connection, layout, reference)
        if number is not None:
            return Found(Place.BOOKS, number=number, sent=when)
        if ledger.table and sent is None:
            # Last of all: what was written, posted and cleared away meanwhile is known here.
            sent = await _sent(database, connection, layout, reference)
            when = _moment(sent or "")
        return None if sent is None else Found(Place.LEDGER, sent=when)


async def claim(
    database: Database, layout: TableLayout, token: str, now: int, until: int, most: int
) -> list[ClaimedRow]:
    """Rows that are free, or whose claim is over, made ours; the oldest first.

    A row whose key has an older one that is not done waits for it. One that is free again after a
    newer one was done is overtaken: it is done too, and given to nobody. token: of this claim,
    never used before. now, until: seconds of 1970.
    """
    how, head = layout.claim, layout.head
    rows = _table(layout, head)
    free = or_(
        _status_is(layout, how.ready),
        and_(_status_is(layout, how.claimed), rows.c[how.until] < now),
    )
    older = _table(layout, head).alias("older")
    first = ~exists().where(
        older.c[how.key] == rows.c[how.key],
        older.c[how.id] < rows.c[how.id],
        older.c[layout.status.column].in_(_words(layout, how.ready, how.claimed)),
    )

    async def take(connection: AsyncConnection) -> list[ClaimedRow]:
        old = update(rows).where(free, _has_newer_done(layout, rows))
        await database.run(connection, old.values({layout.status.column: how.done}))
        wanted = select(rows.c[how.id]).where(free, first).order_by(rows.c[how.id]).limit(most)
        ids, _ = await database.run(connection, wanted)
        ours = {how.token: token, how.until: until, layout.status.column: how.claimed}
        for (number,) in ids:
            # Looked at again once the row is locked: who comes second changes none.
            taken = update(rows).where(rows.c[how.id] == number, free, first).values(ours)
            await database.run(connection, taken)
        return await _mine(database, connection, layout, token)

    return await database.commit(f"claims of {layout.name}", take)


async def claim_again(
    database: Database, layout: TableLayout, number: int, token: str, until: int
) -> tuple[Again, ClaimedRow | None]:
    """One row that was given its `failed` word, made ours where nothing newer of its key was done:
    what is older never comes last. The row: of OURS. number: its id; token, until: as of `claim`.
    """
    how, rows = layout.claim, _table(layout, layout.head)
    ours = {how.token: token, how.until: until, layout.status.column: how.claimed}
    failed = and_(rows.c[how.id] == number, _status_is(layout, how.failed))
    other = _table(layout, layout.head).alias("other")
    status = other.c[layout.status.column]
    older = and_(other.c[how.id] < number, status.in_(_words(layout, how.ready, how.claimed)))
    newer = and_(other.c[how.id] > number, status.in_(_words(layout, how.claimed)))
    busy = exists().where(other.c[how.key] == rows.c[how.key], or_(older, newer))

    async def take(connection: AsyncConnection) -> tuple[Again, ClaimedRow | None]:
        done = update(rows).where(failed, _has_newer_done(layout, rows))
        _, changed = await database.run(connection, done.values({layout.status.column: how.done}))
        if changed:
            return Again.OVERTAKEN, None
        _, changed = await database.run(connection, update(rows).where(failed, ~busy).values(ours))
        if changed:
            (row,) = await _mine(database, connection, layout, token)
            return Again.OURS, row
        there = select(rows.c[layout.status.column]).where(rows.c[how.id] == number)
        found, _ = await database.run(connection, there)
        if not found:
            return Again.GONE, None
        held = found[0][0] in _words(layout, how.failed)
        return Again.BUSY if held else Again.ELSEWHERE, None

    return await database.commit(f"a claim of {layout.name}", take)


async def _mine(
    database: Database, connection: AsyncConnection, layout: TableLayout, token: str
) -> list[ClaimedRow]:
    """The rows that have this token, the oldest first."""
    how, rows = layout.claim, _table(layout, layout.head)
    names = [each.column for each in layout.head.columns]
    asked = (
        select(rows.c[how.id], *(rows.c[name] for name in names))
        .where(rows.c[how.token] == token, _status_is(layout, how.claimed))
        .order_by(rows.c[how.id])
    )
    found, _ = await database.run(connection, asked)
    return [
        ClaimedRow(int(number), dict(zip(names, values, strict=True))) for number, *values in found
    ]


def _has_newer_done(layout: TableLayout, rows: TableClause) -> ColumnElement[bool]:
    """Whether a newer row of the same key was given away and done."""
    how = layout.claim
    newer = _table(layout, layout.head).alias("newer")
    return exists().where(
        newer.c[how.key] == rows.c[how.key],
        newer.c[how.id] > rows.c[how.id],
        newer.c[layout.status.column].in_(_words(layout, how.done)),
    )


async def settle(
    database: Database, layout: TableLayout, row: ClaimedRow, token: str, word: str
) -> bool:
    """Give a claimed row its last word; False: it is somebody else's by now."""
    how = layout.claim
    rows = _table(layout, layout.head)

    async def end(connection: AsyncConnection) -> bool:
        mine = rows.c[how.token] == token
        ended = update(rows).where(rows.c[how.id] == row.id, mine, _status_is(layout, how.claimed))
        _, changed = await database.run(connection, ended.values({layout.status.column: word}))
        return changed == 1

    return await database.commit(f"a row of {layout.name}", end)


async def problems(database: Database, layout: TableLayout) -> list[str]:
    """What of a layout does not fit the tables that are there; empty: all of it does."""
    found: list[str] = []
    for name, needed in _needed(layout).items():
        there = await database.columns(name)
        if not there:
            found.append(f"there is no table {name}")
            continue
        missing = sorted(each for each in needed if each.upper() not in there)
        found += [f"{name} has no column {each}" for each in missing]
    if found:
        return found
    for record in layout.records.values():
        there = await database.columns(record.table)
        for each in filter(_is_fraction, record.columns):
            kind = there[each.column.upper()].upper()
            if layout.claim.id:
                # What is only read is rounded by nobody, and a float that is read speaks for
                # itself; a column of SQLite alone makes floats of what was a decimal number.
                why = (
                    FLOATS_OF_SQLITE if _makes_floats(kind, database.dialect, NUMERIC_KINDS) else ""
                )
            else:
                why = rounds(kind, each.field.decimals, database.dialect)
            if why:
                found.append(f"{record.table}.{each.column} {why}")
    if not layout.claim.id and layout.unique == "enforced":
        where = (layout.ledger.table, layout.ledger.reference)
        if not layout.ledger.table:
            where = (layout.head.table, layout.reference.column)
        if not await database.is_unique(*where):
            found.append(f"{where[0]}.{where[1]} needs a unique index: a document could come twice")
    return found


def _needed(layout: TableLayout) -> dict[str, set[str]]:
    """The columns that are spoken of, by table."""
    status, how = layout.status, layout.claim
    found: dict[str, set[str]] = {}
    for record in layout.records.values():
        found.setdefault(record.table, set()).update(each.column for each in record.columns)
    named = {status.column, status.document, status.code, status.text}
    named |= {how.id, how.key, how.token, how.until}
    found[layout.head.table] |= named
    if layout.archive:
        found[layout.archive] = set(found[layout.head.table])
    for part, names in (
        (layout.errors, ("reference", "code", "text", "line", "order")),
        (layout.ledger, ("reference", "time")),
        (layout.books, ("reference", "number")),
    ):
        if part.table:
            found.setdefault(part.table, set()).update(getattr(part, name) for name in names)
    return {name: columns - {""} for name, columns in found.items()}


def _makes_floats(kind: str, dialect: str, kinds: tuple[str, ...]) -> bool:
    return dialect == "sqlite" and kind.startswith(kinds)


def rounds(kind: str, decimals: int, dialect: str) -> str:
    """Why a column of this type, in capitals, would not keep so many decimals, which no database
    says when it is written to; "": it does. dialect: as `Database.dialect`."""
    if _makes_floats(kind, dialect, (*NUMERIC_KINDS, *WHOLE_KINDS)):
        return FLOATS_OF_SQLITE
    # Oracle's FLOAT is a decimal number of 38 digits.
    if kind.startswith(FLOAT_KINDS) and dialect != "oracle":
        return (
            "would hold binary floats: declare it NUMERIC, or let the layout write whole numbers "
            "(implied = true)"
        )
    limit = _SCALE.match(kind)
    scale = int(limit["scale"] or 0) if limit else 0
    # A type that names no limit has none, but for whole numbers.
    if scale >= decimals or (limit is None and not kind.startswith(WHOLE_KINDS)):
        return ""
    return (
        f"is {kind} and would round: give the layout decimals = {scale}, so that what has more is "
        "refused, or let it write whole numbers (implied = true)"
    )


def _is_fraction(each: Column) -> bool:
    field = each.field
    return each.stored == "number" and bool(field.decimals) and not field.implied


async def _sent(
    database: Database, connection: AsyncConnection, layout: TableLayout, reference: str
) -> str | None:
    """When our ledger says that the reference was written; None: it was not."""
    ledger = layout.ledger
    names = [ledger.reference, *filter(None, [ledger.time])]
    known = _plain_table(ledger.table, names)
    asked = select(*(known.c[name] for name in names)).where(
        known.c[ledger.reference].in_(same(layout.reference, reference, ledger.length))
    )
    rows, _ = await database.run(connection, asked)
    return plain(rows[0][-1]) if rows else None


async def _row(
    database: Database, connection: AsyncConnection, layout: TableLayout, name: str, reference: str
) -> Mapping[str, Any] | None:
    status = layout.status
    names = list(filter(None, [status.column, status.document, status.code, status.text]))
    rows = _table(layout, layout.head, name)
    asked = select(*(rows.c[each] for each in names)).where(_is(layout.reference, reference))
    found, _ = await database.run(connection, asked)
    if len(found) > 1:
        raise NeedsPerson(f"{name} has {len(found)} rows of the reference {reference}, and not one")
    return dict(zip(names, found[0], strict=True)) if found else None


async def _told(
    database: Database,
    connection: AsyncConnection,
    layout: TableLayout,
    place: Place,
    row: Mapping[str, Any],
    reference: str,
    sent: datetime | None,
) -> Found:
    status = layout.status

    def text_of(name: str) -> str:
        try:
            return plain(row[name]) if name else ""
        except FieldProblem as problem:
            raise NeedsPerson(f"{layout.head.table}.{name} {problem}") from None

    own = Said(text_of(status.code), text_of(status.text))
    errors = [own] if own.code or own.text else []
    errors += await _errors(database, connection, layout, reference)
    number = text_of(status.document)
    if not number.strip("0"):
        number = await _number(database, connection, layout, reference) or ""
    return Found(place, text_of(status.column), number, errors, sent)


async def _errors(
    database: Database, connection: AsyncConnection, layout: TableLayout, reference: str
) -> list[Said]:
    errors = layout.errors
    if not errors.table:
        return []
    names = list(filter(None, [errors.code, errors.text, errors.line, errors.order]))
    rows = _plain_table(errors.table, {errors.reference, *names})
    asked = select(*(rows.c[name] for name in names)).where(
        rows.c[errors.reference].in_(same(layout.reference, reference, errors.length))
    )
    if errors.order:
        asked = asked.order_by(rows.c[errors.order].desc())
    found, _ = await database.run(connection, asked.limit(MAX_ERRORS))
    told = [dict(zip(names, row, strict=True)) for row in found]
    said = (errors.code, errors.text, errors.line)
    return [Said(*(plain(row[name]) if name else "" for name in said)) for row in told]


async def _number(
    database: Database, connection: AsyncConnection, layout: TableLayout, reference: str
) -> str | None:
    """The document's number in the ERP's own books; None: they do not know the reference."""
    books = layout.books
    if not books.table:
        return None
    names = [books.reference, *filter(None, [books.number])]
    rows = _plain_table(books.table, names)
    asked = select(*(rows.c[name] for name in names)).where(
        rows.c[books.reference].in_(same(layout.reference, reference, books.length))
    )
    found, _ = await database.run(connection, asked)
    if not found:
        return None
    return plain(found[0][-1]) if books.number else ""


def _table(layout: TableLayout, record: Record, name: str = "") -> TableClause:
    """The table of a record with the types of its columns, or one with the same columns."""
    status, how = layout.status, layout.claim
    known = {
        each.column: column(each.column, type_of(each.stored, each.field.length))
        for each in record.columns
    }
    if record is layout.head:
        kind = type_of("char" if status.length else "text", status.length)
        known[status.column] = column(status.column, kind)
        for plain_name in (status.document, status.code, status.text, how.token):
            if plain_name:
                known.setdefault(plain_name, column(plain_name, type_of("text")))
        for number in filter(None, (how.id, how.until)):
            known[number] = column(number, BigInteger())
    return _named(name or record.table, known.values())


def _plain_table(name: str, columns: Iterable[str]) -> TableClause:
    return _named(name, [column(each, type_of("text")) for each in columns if each])


def _named(name: str, columns: Iterable[Any]) -> TableClause:
    schema, _, own = name.rpartition(".")
    return table(own, *columns, schema=schema or None)


def _is(of: Column, value: str) -> ColumnElement[bool]:
    """A text as it is, or padded: an index of the column is used either way."""
    held = column(of.column, type_of(of.stored, of.field.length))
    return held.in_(same(of, value))


def _status_is(layout: TableLayout, *words: str) -> ColumnElement[bool]:
    status = layout.status
    kind = type_of("char" if status.length else "text", status.length)
    return column(status.column, kind).in_(_words(layout, *words))


def _words(layout: TableLayout, *words: str) -> list[str]:
    length = layout.status.length
    return list(dict.fromkeys(way for word in words for way in (word, word.ljust(length))))


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
