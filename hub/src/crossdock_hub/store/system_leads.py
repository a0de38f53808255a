"""Which hub leads the deliveries of which system, where several hubs on a database share them.

What is to be done `leading.division` decides. Every statement here that gives, takes or lets go of
a system names the term in which that is right, and changes nothing where it is not any more.
PostgreSQL only. Every function raises what the driver raises.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy import BigInteger, Column, Integer, Table, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.leading.division import NOBODY, Seat, SystemLead
from crossdock_hub.leading.terms import Seen
from crossdock_hub.store.column_types import text_of
from crossdock_hub.store.leadership import number_of, task_of
from crossdock_hub.store.postgresql import BEGAN, Backend
from crossdock_hub.store.tables import METADATA

# seat: who leads it, in a term of that seat; NULL: nobody. seat_term: of who led it last; 0: that
# one did not let it go in peace, so its leases and dispatches are started anew. wanted: the seat
# that is to lead it, the same while nothing moves. since: microseconds by the database's clock.
system_leads = Table(
    "system_leads",
    METADATA,
    Column("system", text_of(), primary_key=True),
    Column("seat", Integer),
    Column("seat_term", BigInteger, nullable=False),
    Column("wanted", Integer, nullable=False),
    Column("since", BigInteger, nullable=False),
)

_MICROSECONDS: Final = 1_000_000
_NOW: Final = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_LEADS: Final = select(system_leads).order_by(system_leads.c.system)
_SEATS: Final = f"""
SELECT task, term, holder, address, expires_at - {_NOW} AS left, writer_pid, writer_began, offered
FROM leadership WHERE task LIKE 'seat %'
"""
# Locked before it is judged: its holder may renew it in this moment, or name another connection.
_CLOSE: Final = f"""
WITH former AS (
    SELECT task, writer_pid, writer_began FROM leadership
    WHERE task = :task AND term = :term AND (expires_at <= {_NOW} OR offered) AND NOT EXISTS (
        SELECT 1 FROM pg_stat_activity
        WHERE pid = pg_backend_pid() AND pid = writer_pid AND {BEGAN} = writer_began
    ) FOR UPDATE
)
UPDATE leadership AS l
SET term = l.term + 1, holder = '', address = '', expires_at = 0, writer_pid = 0, writer_began = 0,
    offered = false
FROM former WHERE l.task = former.task RETURNING former.writer_pid, former.writer_began
"""
_CLOSE_OTHERS: Final = """
WITH former AS (
    SELECT task, writer_pid, writer_began FROM leadership
    WHERE task LIKE 'seat %' AND task <> :own ORDER BY task FOR UPDATE
)
UPDATE leadership AS l
SET term = l.term + 1, holder = '', address = '', expires_at = 0, writer_pid = 0, writer_began = 0,
    offered = false
FROM former WHERE l.task = former.task RETURNING former.writer_pid, former.writer_began
"""
_ROUTES: Final = f"""
SELECT s.system, l.term, l.holder, l.address, l.expires_at - {_NOW} AS left
FROM system_leads AS s JOIN leadership AS l ON l.task = 'seat ' || s.seat AND l.term = s.seat_term
WHERE l.expires_at > {_NOW}
"""
_INSERT: Final = f"""
INSERT INTO system_leads (system, seat, seat_term, wanted, since)
SELECT system, NULL, 0, {NOBODY}, {_NOW} FROM unnest(CAST(:systems AS text[])) AS system
ON CONFLICT (system) DO NOTHING
"""
# Nobody leads it, or a seat did that was closed since: nothing is written in its term any more.
_IS_FREE: Final = """
(s.seat IS NULL OR NOT EXISTS (
    SELECT 1 FROM leadership AS f WHERE f.task = 'seat ' || s.seat
    AND (f.term <= s.seat_term OR f.holder <> '')
))
"""
_DELETE: Final = f"""
DELETE FROM system_leads AS s WHERE s.system = ANY(CAST(:systems AS text[])) AND {_IS_FREE}
RETURNING s.system
"""
_ASSIGN: Final = f"""
UPDATE system_leads AS s SET seat = :seat, seat_term = :term, wanted = :seat, since = {_NOW}
WHERE s.system = :system AND {_IS_FREE} AND EXISTS (
    SELECT 1 FROM leadership AS l
    WHERE l.task = :task AND l.term = :term AND l.expires_at > {_NOW}
) RETURNING 1
"""
_WANT: Final = """
UPDATE system_leads SET wanted = :seat WHERE system = :system AND seat IS NOT NULL RETURNING 1
"""
_LET_GO: Final = f"""
UPDATE system_leads SET seat = NULL, since = {_NOW}
WHERE system = ANY(CAST(:systems AS text[])) AND seat = :seat AND seat_term = :term RETURNING system
"""
_LET_FORMER_GO: Final = f"""
UPDATE system_leads SET seat = NULL, seat_term = 0, since = {_NOW}
WHERE seat = :seat AND seat_term < :term RETURNING system
"""


async def all_leads(connection: AsyncConnection) -> list[SystemLead]:
    """Every system that is known, by name, and who leads it."""
    return [SystemLead(*row) for row in await connection.execute(_LEADS)]


async def routes(connection: AsyncConnection) -> dict[str, Seen]:
    """Who leads each system, of those that a hub leads which lives."""
    found = await connection.execute(text(_ROUTES))
    return {
        row.system: Seen(row.term, row.holder, row.address, row.left / _MICROSECONDS)
        for row in found
    }


async def seats(connection: AsyncConnection) -> list[Seat]:
    """Every seat that anybody ever had, by number."""
    found = [
        Seat(
            number_of(row.task),
            row.term,
            row.holder,
            row.address,
            row.left / _MICROSECONDS,
            Backend(row.writer_pid, row.writer_began),
            row.offered,
        )
        for row in await connection.execute(text(_SEATS))
    ]
    return sorted(found, key=lambda seat: seat.number)


async def close_seat(connection: AsyncConnection, number: int, term: int) -> Backend | None:
    """Close a seat that has run out in a term, or is offered; nothing can be named in that term
    any more.

    Returns what its holder wrote with, pid 0: nothing; None: it lives again, or another hub has
    closed or taken it, or it is the seat of this very connection, which nobody would end: its hub
    takes it again, or loses it to another one. The caller ends what is returned before its
    transaction commits, and rolls it back where that does not end: afterwards it is named nowhere.
    """
    found = await connection.execute(text(_CLOSE), {"task": task_of(number), "term": term})
    row = found.one_or_none()
    return Backend(row.writer_pid, row.writer_began) if row is not None else None


async def close_other_seats(connection: AsyncConnection, own: int) -> list[Backend]:
    """Close every seat but one's own, whoever holds it: what was done in their terms is of a time
    that this database does not know. Returns what their holders write with.

    The caller ends those connections before its transaction commits. own: 0: every seat.
    """
    found = await connection.execute(text(_CLOSE_OTHERS), {"own": task_of(own)})
    return [Backend(row.writer_pid, row.writer_began) for row in found if row.writer_pid]


async def insert(connection: AsyncConnection, systems: Collection[str]) -> None:
    """Let systems be known, led by nobody; those that are known stay as they are."""
    await connection.execute(text(_INSERT), {"systems": sorted(systems)})


async def remove(connection: AsyncConnection, systems: Collection[str]) -> list[str]:
    """Forget systems that nobody leads. Returns those that were."""
    found = await connection.execute(text(_DELETE), {"systems": sorted(systems)})
    return sorted(found.scalars())


async def assign(connection: AsyncConnection, system: str, seat: int, seat_term: int) -> bool:
    """Give a system to a seat that lives in a term. False: that does not, or the system is led by
    another one, which runs out at most: that is closed first."""
    asked = {"system": system, "seat": seat, "term": seat_term, "task": task_of(seat)}
    return (await connection.execute(text(_ASSIGN), asked)).first() is not None


async def want(connection: AsyncConnection, system: str, seat: int) -> bool:
    """Ask who leads a system to let it go to another seat, or, with its own, to keep it; NOBODY:
    to nobody. False: nobody leads it."""
    asked = {"system": system, "seat": seat}
    return (await connection.execute(text(_WANT), asked)).first() is not None


async def let_go(
    connection: AsyncConnection, systems: Collection[str], seat: int, seat_term: int
) -> list[str]:
    """Lead systems no more, as their seat and in its term. Returns those that it led."""
    asked = {"systems": sorted(systems), "seat": seat, "term": seat_term}
    return sorted((await connection.execute(text(_LET_GO), asked)).scalars())


async def let_former_go(connection: AsyncConnection, seat: int, seat_term: int) -> list[str]:
    """Say, as who took a seat and has ended what was written with before, that nothing is led in
    its former terms any more. Returns what was.

    For who took a seat before anybody closed it; to be called with each look, for a system may have
    been given to the seat in the moment in which it ran out.
    """
    asked = {"seat": seat, "term": seat_term}
    return sorted((await connection.execute(text(_LET_FORMER_GO), asked)).scalars())
