"""Reads about codes: rows by page, how many there are, what waits for those that have none."""

from __future__ import annotations

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.objects.mappings import AWAITS, awaits_prefix
from crossdock_hub.records import MappingRecord, UnmappedCount
from crossdock_hub.store import rows
from crossdock_hub.store import tables as t

_record = rows.plain_record(MappingRecord)
# The sign after the one that a prefix ends with: a range is answered by the index, LIKE is not.
_AFTER = {":": ";", "/": "0"}


async def mapping_page(
    connection: AsyncConnection,
    endpoint_kind: str,
    topic: str,
    deployment_only: bool,
    after: str,
    most: int,
) -> list[MappingRecord]:
    """Rows in the order of their ids, those after one."""
    m = t.mappings.c
    wanted = select(t.mappings).where(m.id > after)
    if endpoint_kind:
        wanted = wanted.where(m.endpoint_kind == endpoint_kind)
    if topic:
        wanted = wanted.where(m.topic == topic)
    if deployment_only:
        wanted = wanted.where(m.deployment != b"")
    found = await connection.execute(wanted.order_by(m.id).limit(most))
    return [_record(row) for row in found.mappings()]


async def mapping_rows(connection: AsyncConnection, ids: list[str]) -> dict[str, MappingRecord]:
    """Rows by id."""
    found = await connection.execute(select(t.mappings).where(t.mappings.c.id.in_(ids)))
    return {row["id"]: _record(row) for row in found.mappings()}


async def mapping_version(connection: AsyncConnection, endpoint_kind: str) -> int:
    """Grows with each change of any row of a kind."""
    m = t.mappings.c
    found = await connection.execute(
        select(func.sum(m.revision)).where(m.endpoint_kind == endpoint_kind)
    )
    return int(found.scalar_one_or_none() or 0)


async def topic_counts(
    connection: AsyncConnection, endpoint_kind: str
) -> list[tuple[str, str, int, int]]:
    """(kind, topic, codes with a meaning, those whose meaning the deployment said)."""
    m = t.mappings.c
    said = func.sum(case((m.deployment != b"", 1), else_=0))
    wanted = select(m.endpoint_kind, m.topic, func.count(), said).where(m.canonical != "")
    if endpoint_kind:
        wanted = wanted.where(m.endpoint_kind == endpoint_kind)
    grouped = wanted.group_by(m.endpoint_kind, m.topic).order_by(m.endpoint_kind, m.topic)
    return [(row[0], row[1], row[2], int(row[3])) for row in await connection.execute(grouped)]


async def unmapped_counts(
    connection: AsyncConnection, endpoint_kind: str, most: int
) -> list[UnmappedCount]:
    """What waits for codes, by endpoint and codes, those that came first at the top."""
    h = t.held_facts.c
    first = func.min(h.id)
    wanted = (
        select(h.endpoint, h.awaits, func.count(), func.min(h.created_at), func.max(h.created_at))
        .where(h.state == "HELD", *_waiting(endpoint_kind, ""))
        .group_by(h.endpoint, h.awaits)
        .order_by(first)
        .limit(most)
    )
    return [UnmappedCount(*row) for row in await connection.execute(wanted)]


async def quarantined(
    connection: AsyncConnection, endpoint_kind: str, topic: str, after: str, most: int
) -> list[tuple[str, str]]:
    """(id, what it waits for) of facts that wait for codes of a kind, in the order they came."""
    h = t.held_facts.c
    wanted = (
        select(h.id, h.awaits)
        .where(h.state == "HELD", *_waiting(endpoint_kind, topic), h.id > after)
        .order_by(h.id)
        .limit(most)
    )
    return [(row.id, row.awaits) for row in await connection.execute(wanted)]


def _waiting(endpoint_kind: str, topic: str) -> list[ColumnElement[bool]]:
    prefix = awaits_prefix(endpoint_kind, topic) if endpoint_kind else f"{AWAITS}:"
    h = t.held_facts.c
    return [h.awaits > prefix, h.awaits < prefix[:-1] + _AFTER[prefix[-1]]]
