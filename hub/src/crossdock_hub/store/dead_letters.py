"""Reads what stopped: dead deliveries, those operators sent on, and what came in and is held."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from crossdock.types.v1 import types_pb2
from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.delivery.causes import Cause, DeadLetterGroupRecord, alike, cause_of
from crossdock_hub.delivery.dead_letters import (
    DEAD_STATES,
    DOUBTFUL_STATES,
    HOPS_MAX,
    Group,
    Member,
    grouped,
    is_dead,
    is_settled,
)
from crossdock_hub.records import DeliveryRecord, HeldFactRecord
from crossdock_hub.store import rows
from crossdock_hub.store import tables as t
from crossdock_hub.store.writing import contents, event_bodies

VALUES_PER_STATEMENT = 500
_mark = rows.plain_record(DeadLetterGroupRecord)


@dataclass(frozen=True, slots=True)
class Found:
    """Groups as the ledger gives them. truncated: only the newest of more were looked at."""

    groups: list[Group]
    truncated: bool


async def find_groups(connection: AsyncConnection, most: int, unknown_since: int) -> Found:
    """Every group, open and closed, from at most `most` deliveries, words and held facts each."""
    dead = await _dead(connection, most)
    codes = await _last_codes(connection, [record.id for record in dead])
    members: list[tuple[Cause, Member]] = []
    for record in dead:
        if is_dead(record, unknown_since):
            cause = cause_of(record, codes.get(record.id, ""))
            members.append((cause, Member(record.id, record.object_id, _since(record), True)))
    marks = await _marks(connection)
    spoken = await _spoken(connection, most)
    members += await _sent_on(connection, spoken, marks)
    held = await _held(connection, most)
    members += [(held_cause(fact), _held_member(fact)) for fact in held]
    truncated = most in (len(dead), len(spoken), len(held))
    return Found(grouped(members, marks), truncated)


def held_cause(fact: HeldFactRecord) -> Cause:
    """Why something that came in was not written."""
    refusal = types_pb2.Refusal.FromString(fact.refusal)
    what = fact.method or fact.awaits.partition(":")[2]
    kind = "HELD_FACT" if fact.method else "HELD_PAYLOAD"
    return Cause(fact.endpoint, what, "", kind, refusal.reason, alike(refusal.message))


def _held_member(fact: HeldFactRecord) -> Member:
    return Member(fact.id, "", fact.created_at, True, inbound=True)


def _since(record: DeliveryRecord) -> int:
    doubtful = record.state in DOUBTFUL_STATES
    return record.first_unknown_at or record.updated_at if doubtful else record.updated_at


async def _rows(connection: AsyncConnection, statement: Select[Any]) -> list[Any]:
    return list((await connection.execute(statement)).mappings())


async def _dead(connection: AsyncConnection, most: int) -> list[DeliveryRecord]:
    d = t.deliveries.c
    endpoints = [row["id"] for row in await _rows(connection, select(t.endpoints.c.id))]
    # Both columns of the index by endpoint and state: without the first it would not serve.
    wanted = select(t.deliveries).where(
        d.endpoint.in_(["", *endpoints]), d.state.in_(sorted(DEAD_STATES | DOUBTFUL_STATES))
    )
    found = await _rows(connection, wanted.order_by(d.updated_at.desc()).limit(most))
    return [rows.delivery_record(row) for row in found]


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


async def _marks(connection: AsyncConnection) -> dict[str, DeadLetterGroupRecord]:
    found = await _rows(connection, select(t.dead_letter_groups))
    return {row["id"]: _mark(row) for row in found}


async def _spoken(connection: AsyncConnection, most: int) -> list[Any]:
    w = t.operator_words.c
    statement = select(w.subject_id, w.cause, w.said_at).where(w.cause != "")
    return await _rows(connection, statement.order_by(w.id.desc()).limit(most))


async def _sent_on(
    connection: AsyncConnection, spoken: Iterable[Any], marks: Mapping[str, DeadLetterGroupRecord]
) -> list[tuple[Cause, Member]]:
    """Deliveries that operators had their word on, in the groups that they were in then."""
    spoken = list(spoken)
    known = await _deliveries(connection, {row["subject_id"] for row in spoken})
    for _ in range(HOPS_MAX):
        named = {record.superseded_by for record in known.values()} - known.keys() - {""}
        if not named:
            break
        found = await _deliveries(connection, named)
        if not found:
            break
        known |= found
    members = []
    for row in spoken:
        record, mark = known.get(row["subject_id"]), marks.get(row["cause"])
        if record is not None and mark is not None:
            settled = is_settled(record, known)
            member = Member(record.id, record.object_id, row["said_at"], not settled)
            members.append((mark.cause, member))
    return members


async def _deliveries(
    connection: AsyncConnection, ids: Collection[str]
) -> dict[str, DeliveryRecord]:
    found: dict[str, DeliveryRecord] = {}
    for part in _parts(ids):
        statement = select(t.deliveries).where(t.deliveries.c.id.in_(part))
        for row in await _rows(connection, statement):
            record = rows.delivery_record(row)
            found[record.id] = record
    return found


async def _held(connection: AsyncConnection, most: int) -> list[HeldFactRecord]:
    h = t.held_facts.c
    statement = select(t.held_facts).where(h.state == "HELD").order_by(h.id.desc()).limit(most)
    return [rows.held_record(row) for row in await _rows(connection, statement)]


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
