"""Reads what stopped: dead deliveries, those that went on, and what came in and is held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, case, func, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.delivery import breaking
from crossdock_hub.delivery.causes import (
    IN_DOUBT,
    Cause,
    DeadLetterGroupRecord,
    DeadLetterRecord,
    StoppedRecord,
    cause_of,
    doubted_words,
    held_cause,
    held_place,
)
from crossdock_hub.delivery.dead_letters import (
    DEAD_STATES,
    DOUBTFUL_STATES,
    Group,
    Member,
    Patience,
    grouped,
    is_dead,
    member_of,
    since,
)
from crossdock_hub.delivery.removal import REMOVED
from crossdock_hub.records import DeliveryRecord, HeldFactRecord
from crossdock_hub.store import rows
from crossdock_hub.store import tables as t
from crossdock_hub.store.held_fact_pages import TOLD, told_record
from crossdock_hub.store.writing import contents, event_bodies

VALUES_PER_STATEMENT = 500
# After so many letters everybody else has a turn: working out a cause takes some 20 microseconds.
LETTERS_AT_ONCE = 200
T = TypeVar("T")
Letter = TypeVar("Letter", StoppedRecord, DeliveryRecord)
_mark = rows.plain_record(DeadLetterGroupRecord)
_letter = rows.plain_record(DeadLetterRecord)
stopped_record = rows.plain_record(StoppedRecord)
_STOPPED = select(*(t.deliveries.c[name] for name in StoppedRecord.__dataclass_fields__))


@dataclass(frozen=True, slots=True)
class Found:
    """Groups as the ledger gives them. truncated: of more open letters the newest were read."""

    groups: list[Group]
    truncated: bool


async def find_groups(
    connection: AsyncConnection,
    most: int,
    now: int,
    patience: Patience,
    endpoint: str | None = None,
) -> Found:
    """Every group, open and closed, from at most `most` of what waits, went on, is settled, and is
    held each. now: microseconds UTC. patience: for how long doubt is left to the hub; when the
    endpoints answered is read here. endpoint: only of what waits and is held there, "" for
    nobody's; None for all."""
    members: list[tuple[Cause, Member]] = []
    patience = await informed(connection, patience)
    dead = await stopped(connection, most, now, patience, endpoint)
    async for part in in_parts(dead):
        records = [stopped_record(row) for row in part]
        waiting = [record for record in records if is_dead(record, patience, now)]
        for record, cause in await causes_of(connection, waiting):
            stopped_at = since(record, patience)
            members.append((cause, Member(record.id, record.object_id, stopped_at)))
    held = await held_facts(connection, most, endpoint)
    async for facts in in_parts(held):
        members += [
            (held_cause(f), Member(f.id, "", f.created_at, inbound=True, where=held_place(f)))
            for f in facts
        ]
    open_letters, settled = await _letters(connection, most)
    causes = {cause.id for cause in {cause for cause, _ in members}}
    causes |= {letter.cause for letter in (*open_letters, *settled)}
    marks = await _marks(connection, causes)
    carriers = await _carriers(connection, {letter.carrier for letter in open_letters})
    known = {cause_id: mark.cause for cause_id, mark in marks.items()}
    async for letters in in_parts([*open_letters, *settled]):
        members += [
            (known[letter.cause], member_of(letter, carriers.get(letter.carrier)))
            for letter in letters
            if letter.cause in known
        ]
    truncated = most in (len(dead), len(open_letters), len(held))
    return Found(grouped(members, marks), truncated)


async def informed(connection: AsyncConnection, patience: Patience) -> Patience:
    """The same patience with when each endpoint answered."""
    e = t.endpoints.c
    # One that is not configured does not come back by itself: its doubt is for a person to see.
    told = (e.id, e.breaker_state, e.breaker_since, e.answered_windows)
    found = await _rows(connection, select(*told).where(e.state != REMOVED))
    answered = {
        row["id"]: breaking.answered(
            row["breaker_state"], row["breaker_since"], rows.windows_of(row)
        )
        for row in found
    }
    return replace(patience, answered=answered)


async def in_parts(found: Sequence[T]) -> AsyncIterator[Sequence[T]]:
    """A few letters at a time; in between everybody else has a turn."""
    for start in range(0, len(found), LETTERS_AT_ONCE):
        yield found[start : start + LETTERS_AT_ONCE]
        await asyncio.sleep(0)


async def causes_of(
    connection: AsyncConnection, dead: Sequence[Letter]
) -> list[tuple[Letter, Cause]]:
    """Why each of a few deliveries does not go on."""
    codes = await _last_codes(connection, [record.id for record in dead])
    in_doubt = [record.id for record in dead if record.state in IN_DOUBT]
    doubted = await _doubted_calls(connection, in_doubt) if in_doubt else {}
    return [
        (record, cause_of(record, codes.get(record.id, ""), doubted.get(record.id)))
        for record in dead
    ]


async def _rows(connection: AsyncConnection, statement: Select[Any]) -> list[Any]:
    return list((await connection.execute(statement)).mappings())


async def stopped(
    connection: AsyncConnection,
    most: int,
    now: int,
    patience: Patience,
    endpoint: str | None = None,
) -> list[Any]:
    """Rows of at most `most` deliveries, the newest, that wait for a person, or are in doubt for so
    long that a person should look. patience: an informed one. endpoint: only those there, "" for
    nobody's; None for all."""
    d = t.deliveries.c
    endpoints = ["", *await known_endpoints(connection)] if endpoint is None else [endpoint]
    # Doubt that is left to the hub takes no place of what a person has to see: an outage may make
    # more of it than are read, and each look-up makes it newer.
    shown = d.first_unknown_at <= _latest_shown(endpoints, now, patience)
    # Both columns of the index by endpoint and state: without the first it would not serve.
    wanted = _STOPPED.where(
        d.endpoint.in_(endpoints),
        d.state.in_(sorted(DEAD_STATES | DOUBTFUL_STATES)),
        or_(d.state.in_(sorted(DEAD_STATES)), shown),
    )
    return await _rows(connection, wanted.order_by(d.updated_at.desc()).limit(most))


async def known_endpoints(connection: AsyncConnection) -> list[str]:
    """Ids of every endpoint that ever was configured."""
    return [row["id"] for row in await _rows(connection, select(t.endpoints.c.id))]


def _latest_shown(endpoints: Sequence[str], now: int, patience: Patience) -> ColumnElement[Any]:
    """By when the doubt of a row has to have begun to show now, by its endpoint."""
    d = t.deliveries.c
    usual = patience.latest_shown("", now)
    own: dict[str, Any] = {}
    for each in endpoints:
        latest = patience.latest_shown(each, now)
        if latest != usual:
            own[each] = literal(latest, d.first_unknown_at.type)
    otherwise = literal(usual, d.first_unknown_at.type)
    return case(own, value=d.endpoint, else_=otherwise) if own else otherwise


async def _last_codes(connection: AsyncConnection, ids: Collection[str]) -> dict[str, str]:
    a = t.attempts.c
    found: dict[str, str] = {}
    for part in _parts(ids):
        newest = (
            select(a.delivery_id, func.max(a.token).label("token"))
            .where(a.delivery_id.in_(part), a.ended_at.is_not(None))
            .group_by(a.delivery_id)
            .subquery()
        )
        statement = select(a.delivery_id, a.code).join(
            newest, (a.delivery_id == newest.c.delivery_id) & (a.token == newest.c.token)
        )
        found |= {row["delivery_id"]: row["code"] for row in await _rows(connection, statement)}
    return found


async def _doubted_calls(
    connection: AsyncConnection, ids: Collection[str]
) -> dict[str, tuple[str, str]]:
    """Code and reason of the call that each doubt began with; those that have one. As `cause_by`
    finds it."""
    a, d = t.attempts.c, t.deliveries.c
    found: dict[str, tuple[str, str]] = {}
    for part in _parts(ids):
        calls = (
            select(a.delivery_id, a.outcome, a.code, a.reason)
            .join(t.deliveries, a.delivery_id == d.id)
            .where(a.delivery_id.in_(part), a.kind == "CALL", a.number > 0)
            .where(a.ended_at.is_not(None), a.begun_at >= func.coalesce(d.first_unknown_at, 0))
            .order_by(a.token)
        )
        for row in await _rows(connection, calls):
            words = doubted_words(row["outcome"], row["code"], row["reason"])
            if words is not None:
                found.setdefault(row["delivery_id"], words)
    return found


async def _marks(
    connection: AsyncConnection, causes: Collection[str]
) -> dict[str, DeadLetterGroupRecord]:
    found: dict[str, DeadLetterGroupRecord] = {}
    for part in _parts(causes):
        wanted = select(t.dead_letter_groups).where(t.dead_letter_groups.c.id.in_(part))
        found |= {row["id"]: _mark(row) for row in await _rows(connection, wanted)}
    return found


async def _letters(
    connection: AsyncConnection, most: int
) -> tuple[list[DeadLetterRecord], list[DeadLetterRecord]]:
    """The newest that went on and are not settled, and the newest that are."""
    letter = t.dead_letters.c
    going = (
        select(t.dead_letters).where(letter.settled_at.is_(None)).order_by(letter.left_at.desc())
    )
    done = select(t.dead_letters).where(letter.settled_at.is_not(None))
    newest = done.order_by(letter.settled_at.desc())
    found = [await _rows(connection, each.limit(most)) for each in (going, newest)]
    return [_letter(row) for row in found[0]], [_letter(row) for row in found[1]]


async def _carriers(connection: AsyncConnection, ids: Collection[str]) -> dict[str, StoppedRecord]:
    found: dict[str, StoppedRecord] = {}
    for part in _parts(ids):
        statement = _STOPPED.where(t.deliveries.c.id.in_(part))
        found |= {row["id"]: stopped_record(row) for row in await _rows(connection, statement)}
    return found


async def held_facts(
    connection: AsyncConnection, most: int, endpoint: str | None = None
) -> list[HeldFactRecord]:
    """At most `most` of what is held, the newest, without what it carries: that may be half a
    megabyte each. endpoint: only what is held there; None for all."""
    h = t.held_facts.c
    statement = select(*TOLD).where(t.STILL_HELD).order_by(h.id.desc()).limit(most)
    if endpoint is not None:
        statement = statement.where(h.endpoint == endpoint)
    found = await _rows(connection, statement)
    return [told_record(row) for row in found]


async def held_fact(connection: AsyncConnection, fact_id: str) -> HeldFactRecord | None:
    """One held fact, whatever became of it."""
    found = await _rows(connection, select(t.held_facts).where(t.held_facts.c.id == fact_id))
    return rows.held_record(found[0]) if found else None


async def content_of(connection: AsyncConnection, record: DeliveryRecord) -> bytes:
    """What a delivery is sent with: its event, or the content of a resubmitted one."""
    own = await contents(connection, [record.id] if record.resubmits else [])
    return own.get(record.id) or (await event_bodies(connection, [record.event_id])).get(
        record.event_id, b""
    )


def _parts(ids: Collection[str]) -> list[list[str]]:
    ordered = sorted(ids)
    return [
        ordered[start : start + VALUES_PER_STATEMENT]
        for start in range(0, len(ordered), VALUES_PER_STATEMENT)
    ]
