"""What the database knows of the bus: what waits, what is stored, how far each stream came."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    Table,
    and_,
    bindparam,
    case,
    delete,
    func,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.delivery.ledger import DONE_STATES, UNSETTLED
from crossdock_hub.records import (
    BusConsumer,
    BusPosition,
    Difference,
    EventRecord,
    Mark,
    ScanOutboxRecord,
    Tie,
)
from crossdock_hub.replay.records import Act, ReplayRecord, with_act
from crossdock_hub.store import bus_tables, rows
from crossdock_hub.store import tables as t
from crossdock_hub.store.crossing import Change, Changing, Question, Row, inserting, write_rows
from crossdock_hub.unit import first_id_at

_PUBLISHED = Change(
    "UPDATE events SET published_at = ? WHERE sequence IN (SELECT value FROM json_each(?))",
    "UPDATE events SET published_at = $1 WHERE sequence = ANY ($2::bigint[])",
)
# As far as the ledger is, and as far as the bus was told; 0 leaves it as it was.
_TIED = Change(
    "UPDATE bus_tie SET generation = coalesce(nullif(?, 0), generation),"
    " told = coalesce(nullif(?, 0), told)",
    "UPDATE bus_tie SET generation = coalesce(nullif($1::bigint, 0), generation),"
    " told = coalesce(nullif($2::bigint, 0), told)",
)
# The same of a further part, whose row may not be there yet.
_PART_TIED = Change(
    "INSERT INTO bus_tie_parts (part, generation, told) VALUES (?, ?, ?)"
    " ON CONFLICT (part) DO UPDATE SET"
    " generation = coalesce(nullif(excluded.generation, 0), bus_tie_parts.generation),"
    " told = coalesce(nullif(excluded.told, 0), bus_tie_parts.told)",
    "INSERT INTO bus_tie_parts (part, generation, told) VALUES ($1, $2, $3)"
    " ON CONFLICT (part) DO UPDATE SET"
    " generation = coalesce(nullif(excluded.generation, 0), bus_tie_parts.generation),"
    " told = coalesce(nullif(excluded.told, 0), bus_tie_parts.told)",
)
# A table whose rows are numbered and dated: of events, or of scan messages.
Numbered = Table
# So many scan messages go at once when the stream has let them go.
_SCANS_LET_GO_MAX = 1_000
# Scan messages up to a number, recorded before a time; their scans stay in their table. Their ids
# begin with the time, and are found without reading what they carry.
_LET_GO = (
    "DELETE FROM scan_outbox WHERE id IN (SELECT id FROM scan_outbox"
    f" WHERE id < {{}} AND sequence <= {{}} ORDER BY id LIMIT {_SCANS_LET_GO_MAX:d})"
)
_SCANS_LET_GO = Change(_LET_GO.format("?", "?"), _LET_GO.format("$1", "$2"))
# What waits for the bus: the oldest rows after a number, up to another one, so many at most.
NEXT_EVENTS = Question(
    t.events,
    "sequence > {} AND sequence <= {} AND length(body) > 0 ORDER BY sequence LIMIT {}",
)
NEXT_SCANS = Question(t.scan_outbox, "sequence > {} AND sequence <= {} ORDER BY sequence LIMIT {}")
_UNMARKED = select(t.events.c.sequence).where(
    t.events.c.published_at.is_(None), t.events.c.sequence <= bindparam("upto")
)
# A part is one of the database's, which the row of the whole names.
_TIE_PARTS = select(bus_tables.bus_tie.c.database, bus_tables.bus_tie_parts).join_from(
    bus_tables.bus_tie_parts, bus_tables.bus_tie, true()
)
_scan_batch = rows.plain_record(ScanOutboxRecord)
_position = rows.plain_record(BusPosition)
_consumer = rows.plain_record(BusConsumer)
_difference = rows.plain_record(Difference)
_tie = rows.plain_record(Tie)
_replay = rows.plain_record(ReplayRecord)


async def remember(connection: AsyncConnection, marks: Sequence[Mark], now: int) -> None:
    """Write what is known of the bus within a batch's transaction, most of it as one."""
    events = [sequence for mark in marks for sequence in mark.events]
    positions = {each.stream: each for mark in marks for each in mark.positions}
    consumers = {(each.stream, each.name): each for mark in marks for each in mark.consumers}
    changes: list[Changing] = [(_PUBLISHED, (now, events))] if events else []
    changes += _ties([mark for mark in marks if mark.generation or mark.told])
    scans = [mark for mark in marks if mark.scans_before]
    if scans:
        newest = scans[-1]
        changes.append((_SCANS_LET_GO, (first_id_at(newest.scans_before), newest.scans_upto)))
    await write_rows(
        connection,
        [
            (rows.BUS_POSITIONS, list(positions.values())),
            (rows.BUS_CONSUMERS, list(consumers.values())),
        ],
        changes,
    )
    c = bus_tables.bus_consumers.c
    for stream, name in {key for mark in marks for key in mark.forgotten}:
        gone = delete(bus_tables.bus_consumers).where(c.stream == stream, c.name == name)
        await connection.execute(gone)
    await note_differences(connection, [each for mark in marks for each in mark.differences])


def _ties(marks: Sequence[Mark]) -> Iterator[Changing]:
    for part in sorted({mark.part for mark in marks}):
        of_it = [mark for mark in marks if mark.part == part]
        generation = max(mark.generation for mark in of_it)
        told = max(mark.told for mark in of_it)
        yield (_PART_TIED, (part, generation, told)) if part else (_TIED, (generation, told))


async def note_differences(connection: AsyncConnection, found: Sequence[Difference]) -> None:
    """Add to what is known to differ."""
    table = bus_tables.bus_differences
    for each in found:
        statement = inserting(connection.dialect.name, table).values(rows.DIFFERENCES.row(each))
        fresh = statement.excluded
        changed = {
            "sentence": fresh.sentence,
            "count": table.c.count + fresh["count"],
            "last_at": fresh.last_at,
        }
        merged = statement.on_conflict_do_update(index_elements=["kind"], set_=changed)
        await connection.execute(merged)


async def differences(connection: AsyncConnection) -> list[Difference]:
    """Everything that was found to differ, newest first."""
    table = bus_tables.bus_differences
    wanted = select(table).order_by(table.c.last_at.desc())
    return [_difference(row) for row in (await connection.execute(wanted)).mappings()]


def say_put_back(connection: Connection) -> None:
    """Have a database say that it was put back from a back-up; nothing of its tie is lost by it.

    One without a tie gets one that says so: a hub of before there were ties may have called.
    The tables are those of any version since then (migration 0006). That of its further parts says
    nothing of this: whoever compares takes all parts to be older.
    """
    said = text("UPDATE bus_tie SET generation = -1 - generation WHERE generation >= 0")
    connection.execute(said)
    if connection.execute(text("SELECT 1 FROM bus_tie")).first() is None:
        said = text("INSERT INTO bus_tie (database, generation) VALUES (:database, -1)")
        connection.execute(said, {"database": str(uuid.uuid4())})


async def tie(connection: AsyncConnection) -> Tie | None:
    """The tie as it is stored; None in a database that never had one."""
    row = (await connection.execute(select(bus_tables.bus_tie))).mappings().one_or_none()
    return None if row is None else _tie(row)


async def tie_part(connection: AsyncConnection, part: int) -> Tie | None:
    """The tie of a part of the ledger as it is stored (0: that of `tie`); None: it has none yet."""
    if not part:
        return await tie(connection)
    one = _TIE_PARTS.where(bus_tables.bus_tie_parts.c.part == part)
    return (await _tie_parts(connection, one)).get(part)


async def tie_parts(connection: AsyncConnection) -> dict[int, Tie]:
    """The ties of all further parts of the ledger, by their numbers, which begin at 1."""
    return await _tie_parts(connection, _TIE_PARTS)


async def _tie_parts(connection: AsyncConnection, wanted: Select[Any]) -> dict[int, Tie]:
    rows_found = (await connection.execute(wanted)).mappings()
    return {row["part"]: _tie(row) for row in rows_found}


async def keep_tie_parts(connection: AsyncConnection, ties: Mapping[int, Tie]) -> None:
    """Store the ties of further parts of the ledger, over those that are stored."""
    table = bus_tables.bus_tie_parts
    for part, each in ties.items():
        statement = inserting(connection.dialect.name, table)
        said = statement.values(part=part, generation=each.generation, told=each.told)
        over = {"generation": said.excluded.generation, "told": said.excluded.told}
        await connection.execute(said.on_conflict_do_update(index_elements=["part"], set_=over))


async def begin_tie_part(connection: AsyncConnection, part: int, tie: Tie) -> Tie:
    """Store the tie of a part that has none yet. Returns the one that it has then."""
    said = inserting(connection.dialect.name, bus_tables.bus_tie_parts).values(
        part=part, generation=tie.generation, told=tie.told
    )
    await connection.execute(said.on_conflict_do_nothing(index_elements=["part"]))
    return await tie_part(connection, part) or tie


async def keep_tie(connection: AsyncConnection, tie: Tie) -> None:
    """Store the tie of this database."""
    await write_rows(connection, [(rows.TIE, [tie])])


async def doubt_open_deliveries(
    connection: AsyncConnection, since: int, now: int, token_floor: int
) -> int:
    """Say of everything open that a call may have been made since a time, and nobody knows.

    Also of what was parked, refused or not routed: since then a word, a replay or a registration
    may have sent it.
    The ledger then asks the vendor before it calls, or parks: by each operation's class. Two steps
    without a draft count as class NONE: since then one may have been noted, and confirmed. Tokens
    go on from a floor above all that were given out since then, and whoever holds an attempt of
    before has lost it; its proof still counts. The latest call may have been sent just before that,
    so the first look-up that finds nothing does not count.

    What may have been bought stays as the copy knows it: of what is open the spending guard counts
    each once anyway, and nothing says that what was refused or stopped was sent since. Without a
    draft the copy knows of nothing that was confirmed, however many calls of class NONE it looks
    like now. What a person had let go from the guard may have been called since: it is asked again.
    """
    d, a = t.deliveries.c, t.attempts.c
    lost_draft = and_(d.operation_class == "TWO_STEP", d.draft == "")
    open_ids = select(d.id).where(d.state.not_in(DONE_STATES))
    await connection.execute(
        update(t.attempts)
        .where(a.outcome == "", a.delivery_id.in_(open_ids))
        .values(outcome="LEASE_EXPIRED", ended_at=now)
    )
    doubted = await connection.execute(
        update(t.deliveries)
        .where(d.state.not_in(DONE_STATES))
        .values(
            first_unknown_at=func.coalesce(d.first_unknown_at, since),
            calls_reached=case((d.calls_reached < 1, 1), else_=d.calls_reached),
            not_found=UNSETTLED,
            operation_class=case((lost_draft, "NONE"), else_=d.operation_class),
            calls_maybe_done=case((lost_draft, 0), else_=d.calls_maybe_done),
            released=False,
            token=case((d.token < token_floor, token_floor), else_=d.token),
            updated_at=now,
        )
    )
    return int(doubted.rowcount)


async def pause_replays(connection: AsyncConnection, why: str, now: int) -> int:
    """Pause every replay that runs, in the hub's own name; how many ran."""
    wanted = select(t.replays).where(t.replays.c.state == "RUNNING")
    found = [_replay(row) for row in (await connection.execute(wanted)).mappings()]
    act = Act("fault", "hub", why, now)
    paused = [with_act(replace(record, state="PAUSED"), act) for record in found]
    await write_rows(connection, [(rows.REPLAYS, paused)])
    return len(paused)


async def bus_position(connection: AsyncConnection, stream: str) -> BusPosition | None:
    """How far a stream had come; None: nothing was ever noted about it."""
    wanted = select(bus_tables.bus_positions).where(bus_tables.bus_positions.c.stream == stream)
    row = (await connection.execute(wanted)).mappings().one_or_none()
    return None if row is None else _position(row)


async def bus_consumers(connection: AsyncConnection, stream: str) -> list[BusConsumer]:
    """The outside consumers of a stream as they were last seen."""
    wanted = select(bus_tables.bus_consumers).where(bus_tables.bus_consumers.c.stream == stream)
    return [_consumer(row) for row in (await connection.execute(wanted)).mappings()]


async def next_events(
    connection: AsyncConnection, after: int, most: int, upto: int
) -> list[EventRecord]:
    """The oldest events after a number and up to another one, those of an object in its order."""
    return event_records(await NEXT_EVENTS.ask(connection, after, upto, most))


def event_records(found: Iterable[Row]) -> list[EventRecord]:
    """The events that `NEXT_EVENTS` has found, in its order."""
    return [rows.event_record(row) for row in found]


async def row_behind(connection: AsyncConnection, table: Numbered, upto: int, count: int) -> int:
    """The number of the row that the newest `count` rows up to a number come behind; 0: none"""
    e = table.c
    wanted = select(e.sequence).where(e.sequence <= upto).order_by(e.sequence.desc())
    found = await connection.execute(wanted.offset(count).limit(1))
    return int(found.scalar_one_or_none() or 0)


async def hot_events(connection: AsyncConnection, since: int, upto: int) -> int:
    """How many events up to a number come behind the newest that was published before a time, or
    that says nothing any more."""
    e = t.events.c
    # They were published in the order of their numbers: from the newest back, none is read that
    # is not counted, but the one at which it ends.
    cold = or_(e.published_at < since, func.length(e.body) == 0)
    behind = select(e.sequence).where(e.sequence <= upto, cold).order_by(e.sequence.desc()).limit(1)
    after = func.coalesce(behind.scalar_subquery(), 0)
    counted = select(func.count()).where(e.sequence > after, e.sequence <= upto)
    return int((await connection.execute(counted)).scalar_one())


async def scans_kept(connection: AsyncConnection, first: int, upto: int) -> int:
    """How many scan messages there are between two numbers, both included."""
    s = t.scan_outbox.c
    counted = select(func.count()).where(s.sequence >= first, s.sequence <= upto)
    return int((await connection.execute(counted)).scalar_one())


async def recorded_before(connection: AsyncConnection, table: Numbered, number: int) -> int | None:
    """When the row before a number was recorded; None: there is none."""
    e = table.c
    wanted = select(e.record_time).where(e.sequence < number).order_by(e.sequence.desc()).limit(1)
    return (await connection.execute(wanted)).scalar_one_or_none()


async def outstanding(connection: AsyncConnection, endpoints: Sequence[str]) -> list[str]:
    """Deliveries that lie in the queues of endpoints and that nobody has begun, oldest first."""
    d = t.deliveries.c
    wanted = select(d.id).where(
        d.endpoint.in_(list(endpoints)),
        d.state.in_(("DISPATCHED", "RESOLVING")),
        d.lease_until.is_(None),
        d.pending.is_(False),
    )
    return [row.id for row in await connection.execute(wanted.order_by(d.sequence))]


def scan_records(found: Iterable[Row]) -> list[ScanOutboxRecord]:
    """The scan messages that `NEXT_SCANS` has found, in its order."""
    return [_scan_batch(row) for row in found]


async def unmarked_events(connection: AsyncConnection, upto: int) -> list[int]:
    """Numbers of events up to one that are not noted as published."""
    result = await connection.execute(_UNMARKED, {"upto": upto})
    return [row.sequence for row in result]


async def row_numbers(
    connection: AsyncConnection, table: Numbered, ids: Sequence[str]
) -> dict[str, int]:
    """The numbers of rows by the ids of their messages; what is unknown is left out."""
    e = table.c
    result = await connection.execute(select(e.id, e.sequence).where(e.id.in_(list(ids))))
    return {row.id: row.sequence for row in result}


async def last_published(connection: AsyncConnection) -> int:
    """The number of the newest event that is noted as published; 0: none is."""
    e = t.events.c
    newest = select(e.sequence).where(e.published_at.is_not(None)).order_by(e.sequence.desc())
    return int((await connection.execute(newest.limit(1))).scalar_one_or_none() or 0)
