"""The rows that say which hub leads, and how a hub that leads no more is kept from writing.

Whatever a leader writes goes over one connection, and the row names the server's end of it. Who
takes a row over ends that connection before doing anything as leader; a connection that writes for
a leader is used only after the row was told of it, in the leader's own term. So a former leader
has no connection left to write with, however long it was stopped and whatever it believes, and
no transaction pays for that.

Beside the row of what one hub does for all there are seats, where hubs divide systems: each hub
holds one, which says that it lives, where it answers and what it writes with, by the same rules.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, Column, Integer, Table, false, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from crossdock_hub.leading.terms import Seen
from crossdock_hub.store import postgresql
from crossdock_hub.store.column_types import text_of
from crossdock_hub.store.failures import failure_of
from crossdock_hub.store.postgresql import Access, Backend
from crossdock_hub.store.tables import METADATA

# What one hub does for all of them: everything, unless systems are divided among seats.
EVERYTHING: Final = "everything"
_SEAT: Final = "seat "
# A question about the row that takes longer is asked again, over another connection.
QUESTION_SECONDS: Final = 2
_MICROSECONDS: Final = 1_000_000
_MILLISECONDS: Final = 1_000
_FAILURES: Final = (DBAPIError, OSError)

# offered: its holder lacks a bus, and goes on until another hub takes it.
leadership = Table(
    "leadership",
    METADATA,
    Column("task", text_of(64), primary_key=True),
    Column("term", BigInteger, nullable=False),
    Column("holder", text_of(), nullable=False),
    Column("address", text_of(), nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("writer_pid", Integer, nullable=False),
    Column("writer_began", BigInteger, nullable=False),
    Column("offered", Boolean, nullable=False, server_default=false()),
)

_NOW: Final = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_LOOK: Final = f"""
SELECT term, holder, address, expires_at - {_NOW} AS left, offered
FROM leadership WHERE task = :task
"""
_TAKE: Final = f"""
INSERT INTO leadership AS l (task, term, holder, address, expires_at, writer_pid, writer_began)
VALUES (:task, :first, :holder, :address, {_NOW} + :lasts, 0, 0)
ON CONFLICT (task) DO UPDATE SET term = greatest(l.term + 1, excluded.term),
    holder = excluded.holder, address = excluded.address, expires_at = {_NOW} + :lasts,
    offered = false
WHERE l.expires_at <= {_NOW} OR l.holder = excluded.holder
    OR (l.offered AND CAST(:offered AS boolean))
RETURNING l.term, l.writer_pid, l.writer_began
"""
_RENEW: Final = f"""
UPDATE leadership SET expires_at = {_NOW} + :lasts, offered = offered AND CAST(:offers AS boolean)
WHERE task = :task AND term = :term RETURNING expires_at, offered
"""
# After the very renewal that it was decided with: one that comes late, when its hub has its bus
# again and renewed, and counts on its lead, offers nothing.
_OFFER: Final = """
UPDATE leadership SET offered = true WHERE task = :task AND term = :term AND expires_at = :until
"""
_RELEASE: Final = """
UPDATE leadership SET expires_at = 0, address = '' WHERE task = :task AND term = :term
"""
_NAME_WRITER: Final = """
UPDATE leadership SET writer_pid = :pid, writer_began = :began
WHERE task = :task AND term = :term RETURNING 1
"""
_HELD: Final = f"""
SELECT task, address, offered FROM leadership WHERE expires_at > {_NOW} ORDER BY task
"""
_END_SEATS: Final = f"""
UPDATE leadership SET term = (SELECT max(term) FROM leadership) + 1, expires_at = 0
WHERE task LIKE '{_SEAT}%'
"""
# The seat to take: one's own, of a take whose answer was lost or of a time that ran out, else the
# lowest that is free; where none is, the one that runs out first. One that has run out and led
# something is closed first by the office, which starts the leases of its systems anew.
_CHOOSE: Final = f"""
SELECT n AS number, s.term, s.holder, s.address, s.expires_at - {_NOW} AS left,
    (SELECT coalesce(max(term), 0) FROM leadership WHERE task LIKE '{_SEAT}%') AS newest
FROM generate_series(1, :most) AS n LEFT JOIN leadership AS s ON s.task = '{_SEAT}' || n
WHERE coalesce(s.holder = :holder, false) OR coalesce(s.expires_at > {_NOW}, false)
    OR NOT EXISTS (SELECT 1 FROM system_leads AS l WHERE l.seat = n)
ORDER BY coalesce(s.holder = :holder, false) DESC, greatest(s.expires_at - {_NOW}, 0), n LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """A term, and what the last leader wrote with; pid 0: it is known to write with nothing."""

    term: int
    writer: Backend


@dataclass(frozen=True, slots=True)
class Renewed:
    """A term that lasts on. until: by the database's clock, in microseconds. offered: whoever has a
    bus may take it still."""

    until: int
    offered: bool


@dataclass(frozen=True, slots=True)
class Held:
    """What a hub leads that is counted on. offered: it lacks a bus."""

    task: str
    address: str
    offered: bool


class LeadershipRow:
    """The row, over a connection of its own, so that no batch holds it up. Close it with `close`.

    Every method raises StoreFailure when the database does not answer.
    """

    def __init__(self, url: str, access: Access, task: str = EVERYTHING) -> None:
        self._engine = _engine(url, access)
        self.task = task

    async def close(self) -> None:
        """Ask no more."""
        await self._engine.dispose()

    async def look(self) -> Seen | None:
        """What it says; None: nobody ever led."""
        async with self._asking() as connection:
            row = (await connection.execute(text(_LOOK), {"task": self.task})).one_or_none()
        if row is None:
            return None
        left_seconds = row.left / _MICROSECONDS
        return Seen(row.term, row.holder, row.address, left_seconds, row.offered)

    async def take(
        self, holder: str, address: str, lasts_seconds: float, *, offered: bool = False
    ) -> Taken | None:
        """Take it if it has run out; None: somebody else was faster. offered: also if its holder
        offers it still."""
        return await self._take(self.task, 1, holder, address, lasts_seconds, offered=offered)

    async def _take(
        self,
        task: str,
        first: int,
        holder: str,
        address: str,
        lasts_seconds: float,
        *,
        offered: bool,
    ) -> Taken | None:
        """first: the term of a row that is new, or so far behind."""
        asked: dict[str, Any] = {"task": task, "first": first, "holder": holder}
        asked |= {"address": address, "offered": offered}
        async with self._asking() as connection:
            found = await connection.execute(text(_TAKE), asked | _lasting(lasts_seconds))
            row = found.one_or_none()
        if row is None:
            return None
        return Taken(row.term, Backend(row.writer_pid, row.writer_began))

    async def renew(
        self, term: int, lasts_seconds: float, *, offers: bool = False
    ) -> Renewed | None:
        """Let a term last from now on; None: somebody else has taken the row. offers: it stays
        offered if it was; otherwise it is not any more."""
        asked: dict[str, Any] = {"task": self.task, "term": term, "offers": offers}
        async with self._asking() as connection:
            found = await connection.execute(text(_RENEW), asked | _lasting(lasts_seconds))
            row = found.one_or_none()
        return Renewed(row.expires_at, row.offered) if row is not None else None

    async def offer(self, term: int, until: int) -> None:
        """Let whoever has a bus take a term that lasts until then, by its last renewal; nothing,
        where it was renewed since."""
        asked = {"task": self.task, "term": term, "until": until}
        async with self._asking() as connection:
            await connection.execute(text(_OFFER), asked)

    async def release(self, term: int) -> None:
        """Let another hub take the row at once."""
        async with self._asking() as connection:
            await connection.execute(text(_RELEASE), {"task": self.task, "term": term})

    async def end_writer(self, writer: Backend) -> bool:
        """End what a former leader writes with; False: the server has not ended it yet."""
        if not writer.pid:
            return True
        async with self._asking() as connection:
            return await postgresql.end(connection, writer, QUESTION_SECONDS / 2)

    async def name_writer(self, term: int, writer: Backend) -> bool:
        """Say what the leader writes with; False: it leads no more."""
        async with self._asking() as connection:
            return await name_writer(connection, self.task, term, writer)

    @contextlib.asynccontextmanager
    async def _asking(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._engine.connect() as connection:
                yield connection
        except _FAILURES as error:
            # Whatever is wrong with the connection, the next question gets another one.
            await self._engine.dispose()
            raise failure_of(error) from None


class SeatRow(LeadershipRow):
    """The row of the seat that a hub holds, of at most `seats_max` seats that there are.

    Which one that is it finds out when it takes one. A term of a seat is above every term that any
    seat had before, so that a hub which loses one and takes another never has one term twice.
    A seat that is let go keeps the name of what was written with, as the other row does: a batch
    may still be on its way.
    """

    def __init__(self, url: str, access: Access, seats_max: int) -> None:
        super().__init__(url, access, "")
        self._seats_max = seats_max

    @property
    def number(self) -> int:
        """The seat that was taken last, whether or not it is held still; 0: none was."""
        return number_of(self.task) if self.task else 0

    async def look(self) -> Seen | None:
        """The seat that runs out first, where each of them is held; None: one is free."""
        row = await self._chosen("")
        if row is None or row.left is None or row.left <= 0:
            return None
        return Seen(row.term, row.holder, row.address, row.left / _MICROSECONDS)

    async def take(
        self, holder: str, address: str, lasts_seconds: float, *, offered: bool = False
    ) -> Taken | None:
        """Take the lowest one that has run out or that nobody ever had, or its own again; None:
        others were faster, or hold them all. None that is offered: the office closes those."""
        for _ in range(self._seats_max):
            row = await self._chosen(holder)
            if row is None:
                return None
            if row.left is not None and row.left > 0 and row.holder != holder:
                return None
            task = task_of(row.number)
            taken = await self._take(
                task, row.newest + 1, holder, address, lasts_seconds, offered=False
            )
            if taken is not None:
                self.task = task
                return taken
        return None

    async def _chosen(self, holder: str) -> Any:
        asked = {"most": self._seats_max, "holder": holder}
        async with self._asking() as connection:
            return (await connection.execute(text(_CHOOSE), asked)).one_or_none()


def task_of(number: int) -> str:
    """The task of a seat."""
    return f"{_SEAT}{number}"


def number_of(task: str) -> int:
    """The number of a seat, of its task."""
    return int(task.removeprefix(_SEAT))


async def name_writer(connection: AsyncConnection, task: str, term: int, writer: Backend) -> bool:
    """The same over the connection that is going to write. Raises what the driver raises."""
    asked = {"task": task, "term": term, "pid": writer.pid, "began": writer.began}
    return (await connection.execute(text(_NAME_WRITER), asked)).first() is not None


async def held(connection: AsyncConnection) -> list[Held]:
    """What is led now, by its task. Raises what the driver raises."""
    return [Held(*row) for row in await connection.execute(text(_HELD))]


async def end_seats(connection: AsyncConnection) -> None:
    """End the term of every seat, for what its hub has read of the database is true no more. Who
    holds one takes it anew; what it writes with is ended when its systems are given to another."""
    await connection.execute(text(_END_SEATS))


def _lasting(seconds: float) -> dict[str, int]:
    return {"lasts": int(seconds * _MICROSECONDS)}


def _engine(url: str, access: Access) -> AsyncEngine:
    options: dict[str, Any] = postgresql.engine_options(access, writes=True)
    arguments = options["connect_args"]
    arguments |= {"timeout": QUESTION_SECONDS, "command_timeout": QUESTION_SECONDS}
    arguments["server_settings"]["statement_timeout"] = str(QUESTION_SECONDS * _MILLISECONDS)
    # Each statement is a transaction: nothing is left open by a hub that is stopped.
    options["isolation_level"] = "AUTOCOMMIT"
    return create_async_engine(url, pool_size=1, max_overflow=0, **options)
