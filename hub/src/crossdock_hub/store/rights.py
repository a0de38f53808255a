"""What the user of a PostgreSQL database lacks to move it: asked before anything is written.

A move writes its marks last. One whose user may read the tables and not write those, or may fill
tables and not set where numbers go on, would fail when all was copied.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Final

from sqlalchemy import Connection, Table, text

from crossdock_hub.store.bus_tables import bus_tie
from crossdock_hub.store.migrating import is_current
from crossdock_hub.store.moves import moves
from crossdock_hub.store.schema import COUNTED, METADATA, TABLES
from crossdock_hub.store.tables import claims

_READ: Final = ("SELECT",)
_FILLED: Final = ("SELECT", "INSERT", "TRUNCATE")
# A claim counts further in its row, and makes it where nobody has claimed before.
_CLAIMED: Final = ("SELECT", "INSERT", "UPDATE")
# A mark takes the place of the one before.
_MARKED: Final = ("SELECT", "INSERT", "DELETE")
_SHOWN_MAX: Final = 5
# The tables that there are, with what is missing of each. A right on a sequence is UPDATE: a
# number is set, which USAGE does not allow.
_MISSING: Final = """
SELECT c.relname AS name, c.relkind = 'S' AS counts, wanted.right_name AS right_name,
       NOT pg_has_role(c.relowner, 'USAGE') AS foreign_owner,
       CASE WHEN wanted.right_name = '' THEN false
            WHEN c.relkind = 'S' THEN NOT has_sequence_privilege(c.oid, wanted.right_name)
            ELSE NOT has_table_privilege(c.oid, wanted.right_name) END AS missing
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = current_schema()
JOIN unnest(CAST(:names AS text[]), CAST(:rights AS text[])) AS wanted(name, right_name)
  ON wanted.name = c.relname
WHERE c.relkind IN ('r', 'p', 'S')
ORDER BY c.relname, wanted.right_name
"""
# Without the right to use a schema it is none of the current ones, and no table is found in it.
_PLACE: Final = """
SELECT current_schema() AS schema, current_user AS who,
       current_schema() IS NOT NULL AND has_schema_privilege(current_schema(), 'CREATE') AS makes,
       current_setting('transaction_read_only') = 'on' AS only_reads
"""
_SEQUENCE: Final = "SELECT relname FROM pg_class WHERE oid = CAST(:name AS regclass)"


class Part(Enum):
    """What a move does with a database."""

    LEAVES = "is read, and told where it went"
    FILLS = "gets its tables and all rows"
    MARKED = "is told only that the move is undone"
    PUT_BACK = "is told that it was put back from a back-up"


def missing_rights(connection: Connection, part: Part) -> str:
    """What its user may not do there, in words, with what to do; "": nothing is missing."""
    if connection.dialect.name != "postgresql":
        return ""
    place = connection.execute(text(_PLACE)).one()
    if place.only_reads:
        return f"{place.who} only reads there (default_transaction_read_only); let it write"
    if place.schema is None:
        return f"{place.who} may use no schema there: GRANT ALL ON SCHEMA public to it"
    wanted = list(_wanted(connection, part))
    values = {
        "names": [name for name, _ in wanted],
        "rights": [right for _, right in wanted],
    }
    rows = connection.execute(text(_MISSING), values).all()
    lacks = [f"{row.right_name} on {row.name}" for row in rows if row.missing]
    found = {row.name for row in rows}
    if part is Part.FILLS and not place.makes and not found.issuperset(METADATA.tables):
        lacks.insert(0, f"CREATE in schema {place.schema}")
    if part is Part.FILLS and found and not _stays_as_it_is(connection):
        lacks += sorted({f"being the owner of {r.name}" for r in rows if r.foreign_owner})
    if not lacks:
        return ""
    more = len(lacks) - _SHOWN_MAX
    told = ", ".join(lacks[:_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")
    return (
        f"{place.who} lacks {told}; make {place.who} the owner of the database and its tables, or "
        "grant it these"
    )


def _stays_as_it_is(connection: Connection) -> bool:
    """Whether nothing of the tables would be altered; one that may not be read is named before."""
    readable = "SELECT has_table_privilege('alembic_version', 'SELECT')"
    there = "SELECT to_regclass('alembic_version') IS NOT NULL"
    if not connection.execute(text(there)).scalar():
        return True
    return not connection.execute(text(readable)).scalar() or is_current(connection)


def _wanted(connection: Connection, part: Part) -> Iterator[tuple[str, str]]:
    """Names of tables and sequences, each with a right that it takes; "": it has to be there."""
    told: dict[str, tuple[str, ...]] = {claims.name: _CLAIMED, moves.name: _MARKED}
    if part is Part.PUT_BACK:
        told[bus_tie.name] = _CLAIMED
    if part in (Part.LEAVES, Part.FILLS):
        yield "alembic_version", "SELECT"
        rights = _FILLED if part is Part.FILLS else _READ
        told = {table.name: rights for table in TABLES} | told
        for name in _sequences(connection, COUNTED):
            yield name, "UPDATE" if part is Part.FILLS else "SELECT"
    if part is Part.FILLS:
        told = dict.fromkeys(METADATA.tables, ("",)) | told
    yield from ((name, right) for name, rights in told.items() for right in rights)


def _sequences(connection: Connection, tables: Iterable[Table]) -> Iterator[str]:
    """Those of the counting tables that there are."""
    for table in tables:
        column = table.autoincrement_column
        if column is None:
            continue
        values = {"table": table.name, "column": column.name}
        # Without the table: none.
        asked = "SELECT pg_get_serial_sequence(CAST(to_regclass(:table) AS text), :column)"
        if name := connection.execute(text(asked), values).scalar():
            yield str(connection.execute(text(_SEQUENCE), {"name": name}).scalar_one())
