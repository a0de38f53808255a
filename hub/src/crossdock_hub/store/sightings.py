"""Looks for one dead letter group among many letters, a few at a time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.delivery.causes import Cause, DeadLetterGroupRecord, StoppedRecord, held_cause
from crossdock_hub.delivery.dead_letters import DEAD_STATES, Patience, is_dead
from crossdock_hub.delivery.sightings import LETTERS_SEEN_MAX, Sighting
from crossdock_hub.records import DeliveryRecord
from crossdock_hub.store import rows
from crossdock_hub.store import tables as t
from crossdock_hub.store.dead_letters import (
    causes_of,
    held_facts,
    in_parts,
    informed,
    known_endpoints,
    stopped,
    stopped_record,
)

_group = rows.plain_record(DeadLetterGroupRecord)
_LETTER = select(
    t.deliveries.c.event_id, *(t.deliveries.c[name] for name in StoppedRecord.__dataclass_fields__)
)


async def find_group(
    connection: AsyncConnection,
    group_id: str,
    most: int,
    now: int,
    patience: Patience,
    endpoint: str | None = None,
) -> Sighting | None:
    """The group with an id, or None when nothing belongs to it.

    most: so many of the newest that wait, and that are held, are looked at; where there are more,
    as many of each endpoint and of nobody's: many of others may be newer than a whole group. now:
    microseconds UTC. patience: for how long doubt is left to the hub; when the endpoints answered
    is read here. endpoint: only what waits and is held there, "" for nobody's; None for all.
    """
    found = await _of_letters(connection, group_id)
    if found is not None:
        return found
    informed_now = await informed(connection, patience)
    found, all_seen = await _of_waiting(connection, group_id, most, now, informed_now, endpoint)
    if found is not None or all_seen or endpoint is not None:
        return found
    for place in ("", *await known_endpoints(connection)):
        found, _ = await _of_waiting(connection, group_id, most, now, informed_now, place)
        if found is not None:
            return found
    return None


async def events_of_group(
    connection: AsyncConnection, group_id: str, endpoint: str, states: Collection[str]
) -> set[str]:
    """Ids of the events of every open letter of a group at an endpoint, however many are dead
    there. states: of the deliveries that wait."""
    d = t.deliveries.c
    dead = select(d.id).where(d.endpoint == endpoint, d.state.in_(sorted(states)))
    ids = list((await connection.execute(dead)).scalars())
    found: set[str] = set()
    async for part in in_parts(ids):
        rows_of = (await connection.execute(_LETTER.where(d.id.in_(part)))).mappings().all()
        events = {row["id"]: row["event_id"] for row in rows_of}
        causes = await causes_of(connection, [stopped_record(row) for row in rows_of])
        found |= {events[letter.id] for letter, cause in causes if cause.id == group_id}
    going = select(d.event_id).where(d.id.in_(_going(group_id)), d.endpoint == endpoint)
    return found.union((await connection.execute(going)).scalars())


async def of_group(
    connection: AsyncConnection, group_id: str, deliveries: Sequence[DeliveryRecord]
) -> set[str]:
    """Ids of those of some deliveries that are open in a group: they wait in it, or go in the place
    of one that did."""
    dead = [record for record in deliveries if record.state in DEAD_STATES]
    causes = await causes_of(connection, dead)
    waiting = {record.id for record, cause in causes if cause.id == group_id}
    going = set((await connection.execute(_going(group_id))).scalars())
    return waiting | going.intersection(record.id for record in deliveries)


def _going(group_id: str) -> Select[Any]:
    """The ids of what goes in the place of the letters of a group that are not settled."""
    letter = t.dead_letters.c
    return select(letter.carrier).where(letter.cause == group_id, letter.settled_at.is_(None))


async def _of_letters(connection: AsyncConnection, group_id: str) -> Sighting | None:
    """By the record of a letter that went on; then its cause is kept."""
    g, letter = t.dead_letter_groups, t.dead_letters.c
    gone_on = select(letter.id).where(letter.cause == g.c.id).exists()
    found = await connection.execute(select(g).where(g.c.id == group_id, gone_on))
    row = found.mappings().first()
    return None if row is None else Sighting(_group(row).cause)


async def _of_waiting(
    connection: AsyncConnection,
    group_id: str,
    most: int,
    now: int,
    patience: Patience,
    endpoint: str | None,
) -> tuple[Sighting | None, bool]:
    """A group among what waits and is held, and whether all of that was looked at."""
    waiting = await stopped(connection, most, now, patience, endpoint)
    async for part in in_parts(waiting):
        records = map(stopped_record, part)
        dead = [record for record in records if is_dead(record, patience, now)]
        found = await causes_of(connection, dead)
        seen = [(record.id, cause) for record, cause in found if cause.id == group_id]
        if seen:
            return Sighting(seen[0][1], deliveries=_some(seen)), False
    held = await held_facts(connection, most, endpoint)
    async for facts in in_parts(held):
        causes = [(fact.id, held_cause(fact)) for fact in facts]
        seen = [(each, cause) for each, cause in causes if cause.id == group_id]
        if seen:
            return Sighting(seen[0][1], held=_some(seen)), False
    return None, most not in (len(waiting), len(held))


def _some(seen: Sequence[tuple[str, Cause]]) -> tuple[str, ...]:
    return tuple(each for each, _ in seen[:LETTERS_SEEN_MAX])
