"""Up to which number every row of a table is committed, or never will be.

On PostgreSQL a number is drawn before its transaction commits, and one with a lower number may
commit later. So before a batch draws numbers it announces the last one drawn, which is below all
that it draws: by an advisory lock that everybody shares and that the server lets go of when the
transaction is over and can be seen. Nobody ever waits for it, and a writer that stops amid its
commit is ended by the server (`postgresql.SHARED_IDLE_SECONDS`). Whoever reads rows by number looks
first at the last number drawn, then at the announcements, then at the rows: up to the lowest
announcement nothing is missing. A hub that has its database for itself announces nothing: it
writes one transaction at a time, so numbers come in the order of its commits.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

from sqlalchemy import Table, text
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.store import tables as t
from crossdock_hub.store.straight import rows_of

# Tables whose rows are read by number as they come, and where the locks of each begin: a lock's
# upper 16 bits name the table, the lower 48 a number.
NUMBERED: Final = {t.events.name: 0x4344, t.scan_outbox.name: 0x4345}
_NUMBER_BITS: Final = 48
# Nothing is missing, however high the number.
ALL: Final = (1 << 63) - 1

_ANNOUNCED: Final = text("""
SELECT min(((classid::bigint & 65535) << 32) + objid::bigint) FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 1 AND classid::bigint >> 16 = :space
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
""")


async def announce(connection: AsyncConnection, tables: Collection[str]) -> None:
    """Say, before rows are added to some of NUMBERED, that their numbers are yet to come."""
    if not tables:
        return
    locks = [
        f"pg_advisory_xact_lock_shared({NUMBERED[name] << _NUMBER_BITS} + {_last(name)})"
        for name in sorted(tables)
    ]
    await rows_of(connection, f"SELECT {', '.join(locks)}", ())


class Settled(NamedTuple):
    """Up to which number nothing is missing in what is read later; held: numbers above it are
    drawn, and their transactions are not over."""

    upto: int
    held: bool


EVERYTHING: Final = Settled(ALL, held=False)


async def settled(connection: AsyncConnection, table: Table) -> Settled:
    """How far a table of PostgreSQL is settled, for reads of later transactions: one that sees a
    single moment sees that of its first statement."""
    # In this order: who draws a number after the first has announced it before the second.
    last = int(await connection.scalar(text(f"SELECT {_last(table.name)}")) or 0)
    announced = await connection.scalar(_ANNOUNCED, {"space": NUMBERED[table.name]})
    if announced is None or announced >= last:
        return Settled(last, held=False)
    return Settled(int(announced), held=True)


def _last(name: str) -> str:
    """The last number drawn for a table."""
    return f"coalesce(pg_sequence_last_value('{name}_sequence_seq'::regclass), 0)"
