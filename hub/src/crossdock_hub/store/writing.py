"""Writes what a batch decided: a few statements per table, however many commands there were."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    and_,
    case,
    delete,
    exists,
    func,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.config import Limits
from crossdock_hub.delivery.registry import compile_endpoint
from crossdock_hub.delivery.removal import REMOVED, removed, returned
from crossdock_hub.objects.mappings import AWAITS
from crossdock_hub.records import DeliveryRecord, EndpointRecord, OnItsWay
from crossdock_hub.replay.records import UNSTARTED_STATES
from crossdock_hub.store import rows
from crossdock_hub.store import tables as t
from crossdock_hub.store.archiving import let_flows_go, prune
from crossdock_hub.store.contention import Contenders
from crossdock_hub.store.crossing import (
    IN,
    Query,
    Question,
    Rewriting,
    Shape,
    fetch_all,
    write_rows,
)
from crossdock_hub.store.event_contents import let_go
from crossdock_hub.store.letter_history import forget_letters
from crossdock_hub.store.numbering import NUMBERED, announce
from crossdock_hub.store.removing import let_go as let_work_go
from crossdock_hub.store.removing import take_back
from crossdock_hub.store.row_locks import SCANS
from crossdock_hub.unit import Changes, Key

# Kind of key -> how its records become rows.
_SHAPES: dict[str, Shape] = {
    "object": rows.OBJECTS,
    "delivery": rows.DELIVERIES,
    "attempt": rows.ATTEMPTS,
    "package_number": rows.PACKAGE_NUMBERS,
    "parcel": rows.PARCELS,
    "endpoint": rows.ENDPOINTS,
    "cursor": rows.CURSORS,
    "held_fact": rows.HELD_FACTS,
    "mapping_row": rows.MAPPINGS,
    "mapping_kind": rows.MAPPING_KINDS,
    "dead_letter_group": rows.DEAD_LETTER_GROUPS,
    "dead_letter": rows.DEAD_LETTERS,
    "request": rows.REQUESTS,
    "reference": rows.REFERENCES,
    "replay": rows.REPLAYS,
    "replay_item": rows.REPLAY_ITEMS,
    "operator_word": rows.OPERATOR_WORDS,
    "delivery_content": rows.DELIVERY_CONTENTS,
    "difference": rows.DIFFERENCES,
    "archive_part": rows.ARCHIVE_PARTS,
}
# Of large tables with many indexes: how their rows are written over.
_REWRITINGS: dict[str, Rewriting] = {
    "object": rows.OBJECTS_OVER,
    "delivery": rows.DELIVERIES_OVER,
    "parcel": rows.PARCELS_OVER,
}


def nothing_read(_key: Key) -> Any:
    """For who writes without having read: each record is written with all of its columns."""
    return None


async def write(
    connection: AsyncConnection,
    changes: Changes,
    contenders: Contenders | None = None,
    stored: Callable[[Key], Any] = nothing_read,
    *,
    shared: bool = False,
) -> None:
    """Write all changes of a batch within its transaction. contenders: who else writes. stored:
    what was read of a key in it, None for nothing. shared: other hubs write, so what is read by
    number is announced.

    Raises Contention when others have written the same meanwhile.
    """
    added: Collection[Key] = ()
    if contenders is not None:
        await contenders.settle(changes)
        added = await contenders.add(changes, _SHAPES)
    work = [
        *_by_shape(changes, added, stored),
        (rows.EVENTS, changes.events),
        (rows.SCANS, () if SCANS in added else changes.scans),
        (rows.SCAN_OUTBOX, changes.scan_outbox),
    ]
    if shared:
        numbered = {shape.table.name for shape, new in work if new} & NUMBERED.keys()
        await announce(connection, numbered)
    await write_rows(connection, work)
    for replay_id, most in changes.items_past:
        await _let_items_go(connection, replay_id, most)
    if changes.events_past:
        await let_go(connection, changes.events_past)
    for flows in changes.archived:
        await let_flows_go(connection, flows)
    for pruning in changes.pruned:
        await prune(connection, pruning)
    if changes.letters_kept:
        await forget_letters(connection, changes.letters_kept)


def _by_shape(
    changes: Changes, added: Collection[Key], stored: Callable[[Key], Any]
) -> list[tuple[Shape, list[Any]]]:
    """The changed records that are not written yet, by how each becomes a row."""
    work: dict[int, tuple[Shape, list[Any]]] = {}
    for key, record in changes.records.items():
        shape = _SHAPES.get(str(key[0]))
        if record is None or shape is None or key in added:
            continue
        rewriting = _REWRITINGS.get(str(key[0]))
        if rewriting is not None:
            shape = rewriting.shape(record, stored(key))
        work.setdefault(id(shape), (shape, []))[1].append(record)
    return list(work.values())


async def _let_items_go(connection: AsyncConnection, replay_id: str, most: int) -> None:
    """Delete the next items of a replay, and with the last of them a plan that never started."""
    r, i = t.replays.c, t.replay_items.c
    mine = i.replay_id == replay_id
    next_ones = select(i.number).where(mine).order_by(i.number).limit(most)
    await connection.execute(delete(t.replay_items).where(mine, i.number.in_(next_ones)))
    empty = ~exists().where(mine)
    plan = (r.id == replay_id, r.state.in_(sorted(UNSTARTED_STATES)), empty)
    await connection.execute(delete(t.replays).where(*plan))


async def write_deliveries(connection: AsyncConnection, records: Sequence[DeliveryRecord]) -> None:
    """Write deliveries that were read in this transaction and differ in what a dispatch changes."""
    if records:
        await write_rows(connection, [(rows.DELIVERIES_OVER.least, records)])


# Word for word as in the index: "pending = 1" is not "pending" to SQLite, which then reads and
# sorts everything that an endpoint ever had.
_WAITS_FOR_A_SLOT = text("pending")
_PENDING = Question(t.deliveries, "endpoint = {} AND pending ORDER BY priority, sequence LIMIT {}")


async def pending(connection: AsyncConnection, endpoint: str, most: int) -> list[DeliveryRecord]:
    """The next deliveries of an endpoint that wait to be dispatched, in their order."""
    found = await _PENDING.ask(connection, endpoint, most)
    return [rows.delivery_record(row) for row in found]


@cache
def _of_lanes(count: int) -> Question:
    """The same of each of so many lanes, which is one question instead of one each."""
    condition = "endpoint = {} AND priority = {} AND pending ORDER BY sequence LIMIT {}"
    return Question(t.deliveries, condition, times=count)


async def pending_lanes(
    connection: AsyncConnection, endpoint: str, lanes: Sequence[int], most: int
) -> list[DeliveryRecord]:
    """The oldest `most` deliveries of each of some lanes of an endpoint that wait to be dispatched,
    those of a lane in their order."""
    if not lanes:
        return []
    wanted = [value for lane in lanes for value in (endpoint, lane, most)]
    found = await _of_lanes(len(lanes)).ask(connection, *wanted)
    return [rows.delivery_record(row) for row in found]


_ON_THE_WAY = select(t.deliveries.c.endpoint, t.deliveries.c.id, t.deliveries.c.lease_until).where(
    t.ON_THE_WAY
)
# Of each endpoint the one that goes next, as the index has it: an EXISTS may be made a join by
# PostgreSQL, which reads all that waits.
_NEXT = (
    select(t.deliveries.c.id)
    .where(t.deliveries.c.endpoint == t.endpoints.c.id, _WAITS_FOR_A_SLOT)
    .order_by(t.deliveries.c.priority, t.deliveries.c.sequence)
    .limit(1)
    .scalar_subquery()
)
_HAVE_WORK = select(t.endpoints.c.id).where(_NEXT.is_not(None))


async def dispatch_state(connection: AsyncConnection) -> tuple[list[OnItsWay], set[str]]:
    """Deliveries on their way, and the endpoints that have pending ones. What it costs grows with
    the endpoints and with what is on its way, not with what waits or is done."""
    found = [
        OnItsWay(row.endpoint, row.id, row.lease_until is not None)
        for row in await connection.execute(_ON_THE_WAY)
    ]
    return found, set((await connection.execute(_HAVE_WORK)).scalars())


_BODIES = Query(select(t.events.c.id, t.events.c.body).where(t.events.c.id.in_(IN)))


async def event_bodies(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, bytes]:
    """The encoded events of ids."""
    (found,) = await fetch_all(connection, [(_BODIES, ids)])
    return {row["id"]: bytes(row["body"]) for row in found}


_CONTENTS = Query(select(t.delivery_contents).where(t.delivery_contents.c.delivery_id.in_(IN)))


async def contents(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, bytes]:
    """What resubmitted deliveries are sent with, by delivery."""
    (found,) = await fetch_all(connection, [(_CONTENTS, ids)])
    return {row["delivery_id"]: bytes(row["body"]) for row in found}


async def restart_leases(
    connection: AsyncConnection,
    now: int,
    until: int,
    away: int = 0,
    longest: int = 0,
    endpoints: Sequence[str] | None = None,
) -> None:
    """At start: leases of living attempts get one grace period, lost dispatches go back at once.

    away: microseconds since the latest stored time. The machine's clock may have been set forward
    meanwhile, and nobody could renew: a lease keeps what was left of it then, `longest` at most,
    or a call that still runs would be in doubt.

    What was dispatched before may be gone with the bus's memory; a begin with its old number is
    refused, so sending it again is safe.

    All three are on their way, and have an index: without it a start would read everything that was
    ever done.

    endpoints: only what is theirs, whose systems another hub leads from now on; None: of all.
    """
    d = t.deliveries
    theirs = true() if endpoints is None else d.c.endpoint.in_(endpoints)
    left = d.c.lease_until + away
    later = case(
        (left > now + longest, max(until, now + longest)), (left > until, left), else_=until
    )
    await connection.execute(
        update(d)
        .where(t.ON_THE_WAY, theirs, d.c.lease_until.is_not(None))
        .values(lease_until=later, due_at=later)
    )
    await connection.execute(
        update(d)
        .where(t.ON_THE_WAY, theirs, d.c.state == "DISPATCHED")
        .values(state="READY", pending=True, due_at=None, updated_at=now)
    )
    await connection.execute(
        update(d)
        .where(t.ON_THE_WAY, theirs, d.c.state == "RESOLVING", d.c.lease_until.is_(None))
        .values(pending=True, due_at=None, updated_at=now)
    )


async def ensure_endpoints(
    connection: AsyncConnection, configured: Sequence[EndpointRecord], now: int, limits: Limits
) -> list[EndpointRecord]:
    """Make the endpoints table follow the configuration, and the work of endpoints that left it or
    came back; manifests and pauses stay. Returns all that are known. now: microseconds UTC."""
    found = {
        row["id"]: rows.endpoint_record(EndpointRecord, row)
        for row in (await connection.execute(select(t.endpoints))).mappings()
    }
    names = {record.id for record in configured}
    gone = [record for record in found.values() if record.id not in names]
    back = [r for r in found.values() if r.id in names and r.state == REMOVED]
    changed = [removed(record) for record in gone if record.state != REMOVED]
    for record in configured:
        known = found.get(record.id)
        today = _as_configured(known, record) if known is not None else record
        if today is not known:
            changed.append(today)
    if changed:
        await write_rows(connection, [(rows.ENDPOINTS, changed)])
    await let_work_go(connection, [record.id for record in gone], now, limits)
    await take_back(connection, [compile_endpoint(record, limits) for record in back], now)
    found |= {record.id: record for record in changed}
    return list(found.values())


def _as_configured(known: EndpointRecord, record: EndpointRecord) -> EndpointRecord:
    """What is known of an endpoint with the configuration of today; the same when it fits."""
    if known.state == REMOVED:
        known = returned(known)
    if (known.role, known.scope) == (record.role, record.scope):
        return known
    return replace(
        known,
        role=record.role,
        business_units=record.business_units,
        location_numbers=record.location_numbers,
        carrier_codes=record.carrier_codes,
    )


async def registered(connection: AsyncConnection, ids: Sequence[str]) -> list[EndpointRecord]:
    """Endpoints as they are stored."""
    found = await connection.execute(select(t.endpoints).where(t.endpoints.c.id.in_(ids)))
    return [rows.endpoint_record(EndpointRecord, row) for row in found.mappings()]


async def every_endpoint(connection: AsyncConnection) -> list[EndpointRecord]:
    """Endpoints as they are stored, without those that have left the configuration."""
    found = await connection.execute(select(t.endpoints).where(t.endpoints.c.state != REMOVED))
    return [rows.endpoint_record(EndpointRecord, row) for row in found.mappings()]


async def due_deliveries(
    connection: AsyncConnection, now: int, most: int
) -> tuple[list[str], int | None]:
    """Ids of deliveries whose timer has run out, and when the next one will."""
    d = t.deliveries.c
    due = select(d.id).where(d.due_at <= now).order_by(d.due_at).limit(most)
    ids = [row.id for row in await connection.execute(due)]
    upcoming = await connection.execute(select(func.min(d.due_at)).where(d.due_at > now))
    return ids, upcoming.scalar_one_or_none()


async def awaited(connection: AsyncConnection) -> set[str]:
    """Everything that held facts wait for. Of raw payloads, which have no method, those that wait
    for a code: nothing else drives one."""
    h = t.held_facts.c
    # A range, not LIKE: ";" is the sign after ":".
    by_code = and_(h.awaits > f"{AWAITS}:", h.awaits < f"{AWAITS};")
    driven = or_(h.method != "", by_code)
    waiting = select(h.awaits).where(h.state == "HELD", driven, h.awaits != "").distinct()
    return {row.awaits for row in await connection.execute(waiting)}


# From one to the next by their index, however many facts wait for the same.
_AWAITED_PAGE: Final = text(
    """
    WITH RECURSIVE page(awaits, place) AS (
        SELECT min(h.awaits), 1 FROM held_facts h WHERE h.state = 'HELD' AND h.awaits > :after
        UNION ALL
        SELECT
            (SELECT min(h.awaits) FROM held_facts h
             WHERE h.state = 'HELD' AND h.awaits > page.awaits),
            page.place + 1
        FROM page WHERE page.awaits IS NOT NULL AND page.place < :most
    )
    SELECT awaits FROM page WHERE awaits IS NOT NULL ORDER BY place
    """
)


async def awaited_page(connection: AsyncConnection, after: str, most: int) -> list[str]:
    """The next things that anything held waits for, behind one of them; "" is in front of all."""
    found = await connection.execute(_AWAITED_PAGE, {"after": after, "most": most})
    return [row.awaits for row in found]
