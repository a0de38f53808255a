"""Reads whole flows, and lets go of those that are in a part, within the transaction of a batch."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Table,
    and_,
    delete,
    exists,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.archive.lines import TABLES
from crossdock_hub.archive.naming import Named
from crossdock_hub.archive.records import (
    PART_PREFIX,
    ArchivePart,
    FlowRows,
    LettingGo,
    Pruning,
    fingerprint_of,
    key_of,
    number_key,
    plain,
)
from crossdock_hub.records import HeldFactRecord
from crossdock_hub.store import rows
from crossdock_hub.store import tables as t
from crossdock_hub.store.archive_tables import archive_parts, archived_ids
from crossdock_hub.store.crossing import inserting
from crossdock_hub.store.free_flows import lock_free_flows
from crossdock_hub.store.held_fact_pages import FOUND, HeldFactFilter, held_fact_page
from crossdock_hub.store.package_numbers import package_numbers
from crossdock_hub.store.scan_pages import of_shipments
from crossdock_hub.unit import first_id_at

VALUES_PER_STATEMENT: Final = 500
# What a transaction looks at that came to be held since flows were judged.
NEWER_FACTS_MAX: Final = 100
NEWER_FACTS_BYTES_MAX: Final = 256 * 1024
# What a transaction deletes by age: half a thousand payloads would hold the writer for a second.
PRUNED_BYTES_MAX: Final = 4 * 1024 * 1024
_LARGE: Final[Mapping[str, str]] = {"held_facts": "payload", "requests": "response"}
Replays = tuple[tuple[str, str, int], ...]
_part = rows.plain_record(ArchivePart)
_held = rows.plain_record(HeldFactRecord)
_BY_NAME: Final[Mapping[str, Table]] = {name: t.METADATA.tables[name] for name in TABLES}
# What the rows of a flow are deleted by: an index each, which tuples would not be looked up in.
_FOUND_BY: Final[Mapping[str, Column[Any]]] = {
    "objects": t.objects.c.id,
    "external_references": t.external_references.c.object_id,
    "requests": t.requests.c.request_id,
    "events": t.events.c.sequence,
    "deliveries": t.deliveries.c.id,
    "delivery_contents": t.delivery_contents.c.delivery_id,
    "attempts": t.attempts.c.delivery_id,
    "operator_words": t.operator_words.c.id,
    "parcels": t.parcels.c.shipment_id,
    "scans": t.scans.c.id,
}

Flows = dict[str, dict[str, list[dict[str, Any]]]]


async def old_roots(
    connection: AsyncConnection, kind: str, before: int, after: str, most: int
) -> list[str]:
    """The next root objects of a kind behind an id that were made and changed before a time."""
    o = t.objects.c
    # Ids sort by when they were made: younger ones are not read.
    wanted = select(o.id).where(
        o.kind == kind, o.id > after, o.id < first_id_at(before), o.root_id == o.id,
        o.updated_at < before,
    )  # fmt: skip
    return list(await connection.scalars(wanted.order_by(o.id).limit(most)))


async def read_flows(connection: AsyncConnection, roots: Sequence[str]) -> Flows:
    """Every row of some flows, by root id and table; those that are not there are left out."""
    o, d = t.objects.c, t.deliveries.c
    flows: Flows = {root: {name: [] for name in TABLES} for root in roots}
    root_of: dict[str, str] = {}

    async def take(table: Table, column: Column[Any], values: Collection[str]) -> None:
        for row in await _among(connection, table, column, values):
            root = root_of.get(row[column.name], row[column.name])
            flows[root][table.name].append(row)

    await take(t.objects, o.root_id, roots)
    await take(t.deliveries, d.root_id, roots)
    await take(t.events, t.events.c.root_id, roots)
    await take(t.requests, t.requests.c.object_id, roots)
    for root, found in flows.items():
        for name in ("objects", "deliveries"):
            root_of |= {row["id"]: root for row in found[name]}
    objects = [row for found in flows.values() for row in found["objects"]]
    deliveries = [row["id"] for found in flows.values() for row in found["deliveries"]]
    await take(t.external_references, t.external_references.c.object_id, [r["id"] for r in objects])
    for table, column in (
        (t.attempts, t.attempts.c.delivery_id),
        (t.delivery_contents, t.delivery_contents.c.delivery_id),
        (t.operator_words, t.operator_words.c.subject_id),
    ):
        await take(table, column, deliveries)
    shipments = [row["id"] for row in objects if row["kind"] in ("shipment", "customer_return")]
    await take(t.parcels, t.parcels.c.shipment_id, shipments)
    for part in _parts(shipments):
        for row in await _ordered(connection, t.scans, of_shipments(list(part))):
            flows[root_of[row["shipment_id"]]]["scans"].append(row)
    return {root: found for root, found in flows.items() if found["objects"]}


def deliveries_of(flows: Flows) -> list[str]:
    """The ids of all deliveries of some flows."""
    return [row["id"] for found in flows.values() for row in found["deliveries"]]


def replays_of(flows: Flows) -> set[str]:
    """The ids of all replays that made deliveries of some flows."""
    made = {row["replay_id"] for found in flows.values() for row in found["deliveries"]}
    return made - {""}


async def _among(
    connection: AsyncConnection, table: Table, column: Column[Any], values: Collection[str]
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for part in _parts(values):
        found += await _ordered(connection, table, column.in_(list(part)))
    return found


async def _ordered(
    connection: AsyncConnection, table: Table, condition: ColumnElement[bool]
) -> list[dict[str, Any]]:
    wanted = select(table).where(condition).order_by(*table.primary_key.columns)
    result = (await connection.execute(wanted)).mappings()
    return [{name: plain(value) for name, value in row.items()} for row in result]


def _parts(values: Collection[Any]) -> Iterable[Sequence[Any]]:
    wanted = list(values)
    for start in range(0, len(wanted), VALUES_PER_STATEMENT):
        yield wanted[start : start + VALUES_PER_STATEMENT]


# What holds flows from outside of them


async def replays_under_way(connection: AsyncConnection) -> Replays:
    """Replays that are not over, and how far each plan is."""
    r = t.replays.c
    under_way = select(r.id, r.state, r["items"]).where(r.ended_at.is_(None)).order_by(r.id)
    found = await connection.execute(under_way)
    return tuple((replay, state, items) for replay, state, items in found)


async def held_facts(
    connection: AsyncConnection, after: str, most: int, payload_bytes_max: int
) -> tuple[list[HeldFactRecord], bool]:
    """The next held facts behind an id, and whether there are more of them."""
    wanted = held_fact_page(
        HeldFactFilter(state="HELD"),
        after=after,
        most=most,
        payload_bytes_max=payload_bytes_max,
    )
    found = (await connection.execute(wanted)).mappings().all()
    facts = [_held(row) for row in found]
    return facts, bool(found) and (len(facts) == most or found[0][FOUND] > len(facts))


async def replayed_roots(connection: AsyncConnection) -> set[str]:
    """The flows of replays and plans that are not over."""
    r, i = t.replays.c, t.replay_items.c
    open_ones = select(r.id).where(r.ended_at.is_(None))
    wanted = select(i.root_id).where(i.replay_id.in_(open_ones)).distinct()
    return set(await connection.scalars(wanted))


async def replays_with_items(connection: AsyncConnection, replays: Iterable[str]) -> set[str]:
    """Those of some replays whose items are there, and tell what became of their deliveries."""
    r = t.replays.c
    found: set[str] = set()
    for part in _parts(list(replays)):
        wanted = select(r.id).where(r.id.in_(part), _has_items())
        found |= set(await connection.scalars(wanted))
    return found


async def open_carriers(connection: AsyncConnection, deliveries: Iterable[str]) -> set[str]:
    """Those of some deliveries that open dead letters are settled with."""
    letter = t.dead_letters.c
    found: set[str] = set()
    for part in _parts(list(deliveries)):
        wanted = select(letter.carrier).where(letter.settled_at.is_(None), letter.carrier.in_(part))
        found |= set(await connection.scalars(wanted))
    return found


async def newest_event(connection: AsyncConnection) -> int:
    """The highest number of an event; 0: there is none."""
    return int(await connection.scalar(select(func.max(t.events.c.sequence))) or 0)


# Parts


async def parts(connection: AsyncConnection) -> list[ArchivePart]:
    """Every part that is known, oldest first."""
    wanted = select(archive_parts).order_by(archive_parts.c.number)
    return [_part(row) for row in (await connection.execute(wanted)).mappings()]


async def parts_of(connection: AsyncConnection, keys: Collection[bytes]) -> list[ArchivePart]:
    """The parts that hold what any of these keys stands for, newest first."""
    a, p = archived_ids.c, archive_parts.c
    named = select(a.part).where(a.key.in_(list(keys)))
    wanted = select(archive_parts).where(p.number.in_(named)).order_by(p.number.desc())
    return [_part(row) for row in (await connection.execute(wanted)).mappings()]


async def still_there(connection: AsyncConnection, roots: Collection[str]) -> set[str]:
    """Those of some root objects that are in the database."""
    found: set[str] = set()
    for part in _parts(roots):
        found |= set(
            await connection.scalars(select(t.objects.c.id).where(t.objects.c.id.in_(part)))
        )
    return found


async def let_flows_go(connection: AsyncConnection, wanted: LettingGo) -> None:
    """Delete flows that still are, row for row, what stands in their part.

    What they were known by is remembered in the same transaction, and so are the ids of their
    requests, with what was asked: neither is given away again.
    """
    begun = time.monotonic()
    newer, more = await held_facts(
        connection, wanted.moment.held, NEWER_FACTS_MAX, NEWER_FACTS_BYTES_MAX
    )
    wanted.gone = []
    wanted.outdated = more or await replays_under_way(connection) != wanted.moment.replays
    if not wanted.outdated:
        named = Named()
        named.add(newer, wanted.contract)
        roots = [flow.root_id for flow in wanted.flows]
        # What another hub is changing stays for now, and is judged anew by a later pass.
        free = await lock_free_flows(connection, roots)
        found = await read_flows(connection, [root for root in roots if root in free])
        carriers = await open_carriers(connection, deliveries_of(found))
        going = [
            flow
            for flow in wanted.flows
            if flow.root_id in found
            and fingerprint_of(found[flow.root_id]) == flow.fingerprint
            and carriers.isdisjoint(row["id"] for row in found[flow.root_id]["deliveries"])
            and not named.has_any(flow.ids)
        ]
        wanted.gone = [flow.root_id for flow in going]
        keys = {key_of(name) for flow in going for name in flow.ids}
        keys |= {number_key(*pair) for flow in going for pair in flow.numbers}
        await _delete(connection, [found[root] for root in wanted.gone], wanted.part)
        await _remember(connection, keys, wanted.part)
    wanted.seconds = time.monotonic() - begun


async def _delete(connection: AsyncConnection, flows: Sequence[FlowRows], part: int) -> None:
    for name, column in _FOUND_BY.items():
        values = sorted({row[column.name] for flow in flows for row in flow[name]})
        for some in _parts(values):
            if column.table is t.requests:
                kept = {"object_id": f"{PART_PREFIX}{part}", "response": b""}
                await connection.execute(update(t.requests).where(column.in_(some)).values(kept))
            else:
                await connection.execute(delete(_BY_NAME[name]).where(column.in_(some)))
            if column.table is t.objects:
                # They say nothing that the shipments in the part do not.
                numbers = package_numbers.c.shipment_id.in_(some)
                await connection.execute(delete(package_numbers).where(numbers))


async def _remember(connection: AsyncConnection, keys: Collection[bytes], part: int) -> None:
    table = archived_ids
    for some in _parts(sorted(keys)):
        statement = inserting(connection.dialect.name, table)
        found = [{"key": key, "part": part} for key in some]
        await connection.execute(statement.on_conflict_do_nothing(), found)


async def prune(connection: AsyncConnection, wanted: Pruning) -> None:
    """Delete rows that are too old, at most so many of them, and at most so many bytes."""
    table, chosen = _pruned(wanted)
    key = next(iter(table.primary_key.columns))
    size = func.length(table.c[_LARGE[table.name]]) if table.name in _LARGE else literal(0)
    rows_found = await connection.execute(select(key, size).where(chosen).limit(wanted.most + 1))
    found: list[Any] = []
    bytes_so_far, wanted.more = 0, False
    for row_key, row_bytes in rows_found:
        bytes_so_far += row_bytes
        wanted.more = bool(found) and (len(found) == wanted.most or bytes_so_far > PRUNED_BYTES_MAX)
        if wanted.more:
            break
        found.append(row_key)
    wanted.count = len(found)
    for some in _parts(found):
        await connection.execute(delete(table).where(chosen, key.in_(some)))
        if table is t.held_facts:
            said = t.operator_words.c.subject_id.in_(some)
            await connection.execute(delete(t.operator_words).where(said))


def _pruned(wanted: Pruning) -> tuple[Table, ColumnElement[bool]]:
    q, h, r = t.requests.c, t.held_facts.c, t.replays.c
    own = f"{PART_PREFIX}{wanted.part}"
    ways: dict[str, tuple[Table, ColumnElement[bool]]] = {
        "request": (t.requests, and_(q.object_id == "", q.created_at < wanted.before)),
        # Ids sort by when the fact came in.
        "held_fact": (t.held_facts, and_(h.id < first_id_at(wanted.before), h.state != "HELD")),
        "replay": (t.replays, and_(r.ended_at < wanted.before, ~_has_items())),
        "ids": (archived_ids, archived_ids.c.part == wanted.part),
        "answers": (t.requests, q.object_id == own),
        "part": (archive_parts, archive_parts.c.number == wanted.part),
    }
    return ways[wanted.kind]


def _has_items() -> Any:
    i, r = t.replay_items.c, t.replays.c
    return exists().where(i.replay_id == r.id)
