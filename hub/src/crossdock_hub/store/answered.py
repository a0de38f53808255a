"""What a database has to know still when its hub connects to it again: what was answered.

A server that failed over to a standby may lack its last commits. What the hub holds in memory, has
told the bus and has answered is then ahead of the database.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.records import Mark
from crossdock_hub.store import tables as t
from crossdock_hub.store.bus_tables import bus_tie
from crossdock_hub.unit import Changes

LACKS = (
    "the database lacks what was committed and answered: its server has come back as an older copy "
    "of itself, such as a standby that lagged"
)


class Answered:
    """The newest event and the newest generation of the ledger that a commit has stored."""

    def __init__(self) -> None:
        self._event_id = ""
        self._root_id = ""
        self._generation = 0

    async def look(self, connection: AsyncConnection) -> None:
        """Begin with what is stored."""
        e = t.events.c
        newest = select(e.id, e.root_id).order_by(e.sequence.desc()).limit(1)
        row = (await connection.execute(newest)).one_or_none()
        self._event_id, self._root_id = (row.id, row.root_id) if row is not None else ("", "")
        self._generation = await _generation(connection)

    def note(self, changes: Changes, marks: Sequence[Mark]) -> None:
        """A batch is durable. marks: what it has stored of how far the ledger is."""
        if changes.events:
            newest = changes.events[-1]
            self._event_id, self._root_id = newest.id, newest.root_id
        if any(self._root_id in flows.gone for flows in changes.archived):
            # The event has left for the archive, and says nothing any more.
            self._event_id = ""
        self._generation = max(self._generation, *(mark.generation for mark in marks), 0)

    async def missing(self, connection: AsyncConnection) -> str:
        """What the database lacks of it, in words; "": nothing that can be told."""
        if await _generation(connection) < self._generation:
            return LACKS
        event = select(t.events.c.id).where(t.events.c.id == self._event_id)
        if self._event_id and (await connection.execute(event)).first() is None:
            return LACKS
        return ""


async def _generation(connection: AsyncConnection) -> int:
    return int(await connection.scalar(select(bus_tie.c.generation)) or 0)
