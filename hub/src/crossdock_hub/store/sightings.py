"""Looks for one dead letter group among many letters, a few at a time."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.delivery.causes import Cause, DeadLetterGroupRecord, held_cause
from crossdock_hub.delivery.dead_letters import NO_PATIENCE, is_dead
from crossdock_hub.delivery.sightings import LETTERS_SEEN_MAX, Sighting
from crossdock_hub.store import rows
from crossdock_hub.store import tables as t
from crossdock_hub.store.dead_letters import (
    causes_of,
    held_facts,
    in_parts,
    stopped,
    stopped_record,
)

_group = rows.plain_record(DeadLetterGroupRecord)


async def find_group(
    connection: AsyncConnection, group_id: str, most: int, now: int
) -> Sighting | None:
    """The group with an id, or None when nothing belongs to it.

    most: so many of the newest that wait, and that are held, are looked at. now: microseconds UTC;
    doubt that began by then counts.
    """
    return await _of_letters(connection, group_id) or await _of_waiting(
        connection, group_id, most, now
    )


async def _of_letters(connection: AsyncConnection, group_id: str) -> Sighting | None:
    """By the record of a letter that went on; then its cause is kept."""
    g, letter = t.dead_letter_groups, t.dead_letters.c
    gone_on = select(letter.id).where(letter.cause == g.c.id).exists()
    found = await connection.execute(select(g).where(g.c.id == group_id, gone_on))
    row = found.mappings().first()
    return None if row is None else Sighting(_group(row).cause)


async def _of_waiting(
    connection: AsyncConnection, group_id: str, most: int, now: int
) -> Sighting | None:
    async for part in in_parts(await stopped(connection, most)):
        records = map(stopped_record, part)
        dead = [record for record in records if is_dead(record, NO_PATIENCE, now)]
        found = await causes_of(connection, dead)
        seen = [(record.id, cause) for record, cause in found if cause.id == group_id]
        if seen:
            return Sighting(seen[0][1], deliveries=_some(seen))
    async for facts in in_parts(await held_facts(connection, most)):
        causes = [(fact.id, held_cause(fact)) for fact in facts]
        seen = [(each, cause) for each, cause in causes if cause.id == group_id]
        if seen:
            return Sighting(seen[0][1], held=_some(seen))
    return None


def _some(seen: Sequence[tuple[str, Cause]]) -> tuple[str, ...]:
    return tuple(each for each, _ in seen[:LETTERS_SEEN_MAX])
