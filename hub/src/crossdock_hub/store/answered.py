"""What a database has to know still when its hub connects to it again: what was answered.

A server that failed over to a standby may lack its last commits. What the hub holds in memory, has
told the bus and has answered is then ahead of the database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.records import Mark
from crossdock_hub.store import tables as t
from crossdock_hub.store.bus_tables import bus_tie, bus_tie_parts
from crossdock_hub.unit import Changes

LACKS = (
    "the database lacks what was committed and answered: its server has come back as an older copy "
    "of itself, such as a standby that lagged"
)


class Answered:
    """The newest event that a commit has stored, and the newest generation of each part of the
    ledger: those of other hubs as they were looked at, which never go back either."""

    def __init__(self) -> None:
        self._event_id = ""
        self._root_id = ""
        self._generations: dict[int, int] = {}

    async def look(self, connection: AsyncConnection) -> None:
        """Begin with what is stored."""
        e = t.events.c
        newest = select(e.id, e.root_id).order_by(e.sequence.desc()).limit(1)
        row = (await connection.execute(newest)).one_or_none()
        self._event_id, self._root_id = (row.id, row.root_id) if row is not None else ("", "")
        self._generations = await _generations(connection)

    def note(self, changes: Changes, marks: Sequence[Mark]) -> None:
        """A batch is durable. marks: what it has stored of how far the ledger is."""
        if changes.events:
            newest = changes.events[-1]
            self._event_id, self._root_id = newest.id, newest.root_id
        if any(self._root_id in flows.gone for flows in changes.archived):
            # The event has left for the archive, and says nothing any more.
            self._event_id = ""
        for mark in marks:
            newer = max(self._generations.get(mark.part, 0), mark.generation)
            self._generations[mark.part] = newer

    async def missing(self, connection: AsyncConnection) -> str:
        """What the database lacks of it, in words; "": nothing that can be told."""
        if _lacks(await _generations(connection), self._generations):
            return LACKS
        event = select(t.events.c.id).where(t.events.c.id == self._event_id)
        if self._event_id and (await connection.execute(event)).first() is None:
            return LACKS
        return ""


def _lacks(stored: Mapping[int, int], answered: Mapping[int, int]) -> bool:
    return any(stored.get(part, 0) < generation for part, generation in answered.items())


async def _generations(connection: AsyncConnection) -> dict[int, int]:
    """How far each part of the ledger is; 0 is the part that every database has."""
    p = bus_tie_parts.c
    every = select(literal(0), bus_tie.c.generation).union_all(select(p.part, p.generation))
    return {int(part): int(generation) for part, generation in await connection.execute(every)}
