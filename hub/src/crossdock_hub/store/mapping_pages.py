"""Reads about codes: rows by page, how many there are, what waits for those that have none."""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, case, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.objects import unsent_words
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


async def rows_of_word(
    connection: AsyncConnection, endpoint_kind: str, topic: str, canonical: str
) -> list[MappingRecord]:
    """The rows that mean a word."""
    m = t.mappings.c
    of_word = (m.endpoint_kind == endpoint_kind, m.topic == topic, m.canonical == canonical)
    found = await connection.execute(select(t.mappings).where(*of_word))
    return [_record(row) for row in found.mappings()]


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


async def unsent_counts(
    connection: AsyncConnection, endpoint_kind: str, most: int
) -> list[UnmappedCount]:
    """What is parked for words without a code, by endpoint and word, the oldest at the top."""
    d = t.deliveries.c
    first = func.min(d.updated_at)
    wanted = (
        select(d.endpoint, d.awaits_word, func.count(), first, func.max(d.updated_at))
        .where(*_parked(unsent_words.prefix(endpoint_kind)))
        .group_by(d.endpoint, d.awaits_word)
        .order_by(first, d.endpoint, d.awaits_word)
        .limit(most)
    )
    return [UnmappedCount(*row) for row in await connection.execute(wanted)]


async def parked(
    connection: AsyncConnection, prefix: str, after: tuple[str, str], most: int
) -> list[tuple[str, str]]:
    """(sequence, id) of deliveries that are parked for words, by what their texts begin with, in
    the order in which they came; those after one."""
    d = t.deliveries.c
    later = or_(d.sequence > after[0], and_(d.sequence == after[0], d.id > after[1]))
    wanted = (
        select(d.sequence, d.id)
        .where(*_parked(prefix), later)
        .order_by(d.sequence, d.id)
        .limit(most)
    )
    return [(row.sequence, row.id) for row in await connection.execute(wanted)]


async def words_waited_for(connection: AsyncConnection) -> set[str]:
    """The places of the words that deliveries are parked for."""
    found = await connection.execute(
        select(t.deliveries.c.awaits_word).where(*_parked(unsent_words.prefix())).distinct()
    )
    words = (unsent_words.unsent_of(row.awaits_word) for row in found)
    return {word.place for word in words if word is not None}


def _parked(prefix: str) -> list[ColumnElement[bool]]:
    d = t.deliveries.c
    # The first condition is the index's own, by which it is found. Of a word whose vendor has no
    # tables the whole text is what it begins with.
    begins = [d.awaits_word != "", d.awaits_word >= prefix]
    return [*begins, d.awaits_word < prefix[:-1] + _AFTER[prefix[-1]], d.state == "PARKED"]


def _waiting(endpoint_kind: str, topic: str) -> list[ColumnElement[bool]]:
    prefix = awaits_prefix(endpoint_kind, topic) if endpoint_kind else f"{AWAITS}:"
    h = t.held_facts.c
    return [h.awaits > prefix, h.awaits < prefix[:-1] + _AFTER[prefix[-1]]]
