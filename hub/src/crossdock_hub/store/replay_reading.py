"""Reads what replays need: events of a selection, flows, failures, and replays themselves."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import RowMapping, Select, and_, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.records import DATABASE_OLDER, DeliveryRecord, EventRecord
from crossdock_hub.replay.judging import FAILED_STATES
from crossdock_hub.replay.records import UNSTARTED_STATES, ReplayItemRecord, ReplayRecord
from crossdock_hub.store import rows
from crossdock_hub.store import tables as t
from crossdock_hub.store.bus_tables import bus_differences
from crossdock_hub.store.engine import Store
from crossdock_hub.store.sightings import events_of_group, of_group

# SQLite takes 32,766 variables in a statement.
VALUES_PER_STATEMENT = 500

_replay = rows.plain_record(ReplayRecord)
_item = rows.plain_record(ReplayItemRecord)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events. first_id, end_id: bounds of the ids, which grow with time; "": none.

    failed_states: only with a delivery in one of these at the endpoint. ids: only of these; None:
    of all; at most VALUES_PER_STATEMENT.
    """

    first_id: str = ""
    end_id: str = ""
    types: tuple[str, ...] = ()
    object_id: str = ""
    endpoint: str = ""
    failed_states: tuple[str, ...] = ()
    ids: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class ItemCount:
    """How many items share a plan's verdicts, a decision, and the state of their delivery."""

    verdict: str
    approved_verdict: str
    found_verdict: str
    decided: bool
    has_delivery: bool
    delivery_state: str
    count: int


class ReplayReader:
    """Reads, each on a snapshot of its own. Every method raises StoreFailure."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def _rows(self, statement: Select[Any]) -> list[RowMapping]:
        async with self._store.read() as connection:
            return list((await connection.execute(statement)).mappings())

    # Planning

    async def event_ids(
        self, wanted: EventFilter, most: int, after: str = ""
    ) -> list[tuple[str, str]]:
        """(event id, root id) of the selected events, oldest first. after: the last one read."""
        e, d = t.events.c, t.deliveries.c
        statement = select(e.id, e.root_id)
        if wanted.failed_states:
            failed = select(d.event_id).where(
                d.endpoint == wanted.endpoint, d.state.in_(wanted.failed_states)
            )
            statement = statement.where(e.id.in_(failed))
        if wanted.ids is not None:
            statement = statement.where(e.id.in_(wanted.ids))
        if wanted.first_id:
            statement = statement.where(e.id >= wanted.first_id)
        if wanted.end_id:
            statement = statement.where(e.id < wanted.end_id)
        if after:
            statement = statement.where(e.id > after)
        if wanted.types:
            statement = statement.where(e.type.in_(wanted.types))
        if wanted.object_id:
            about = or_(e.object_id == wanted.object_id, e.root_id == wanted.object_id)
            statement = statement.where(about)
        found = await self._rows(statement.order_by(e.id).limit(most))
        return [(row["id"], row["root_id"]) for row in found]

    async def flows(
        self, event_ids: Collection[str], root_ids: Collection[str]
    ) -> tuple[list[EventRecord], dict[str, list[DeliveryRecord]]]:
        """These events, and every delivery of these root objects, on one snapshot."""
        async with self._store.read() as connection:
            events = await _events(connection, list(event_ids))
            return events, await _flows(connection, list(root_ids))

    async def failure_codes(self, delivery_ids: Collection[str]) -> dict[str, str]:
        """The code of the newest attempt that had one, by delivery."""
        a = t.attempts.c
        codes: dict[str, str] = {}
        ids = list(delivery_ids)
        async with self._store.read() as connection:
            for start in range(0, len(ids), VALUES_PER_STATEMENT):
                wanted = ids[start : start + VALUES_PER_STATEMENT]
                statement = select(a.delivery_id, a.code).where(a.delivery_id.in_(wanted))
                statement = statement.where(a.code != "").order_by(a.token)
                for row in (await connection.execute(statement)).mappings():
                    codes[row["delivery_id"]] = row["code"]
        return codes

    async def events_of_group(self, group_id: str, endpoint: str) -> set[str]:
        """Ids of the events of the open letters of a group at an endpoint."""
        async with self._store.read() as connection:
            return await events_of_group(connection, group_id, endpoint, FAILED_STATES)

    async def of_group(self, group_id: str, deliveries: Sequence[DeliveryRecord]) -> set[str]:
        """Ids of those of some deliveries that are open in a dead letter group."""
        async with self._store.read() as connection:
            return await of_group(connection, group_id, deliveries)

    async def planning(self) -> list[ReplayRecord]:
        """Plans that are to be made, oldest first."""
        return await self._in_state("PLANNING")

    async def has_items(self, replay_id: str) -> bool:
        """Whether anything of a plan is stored."""
        i = t.replay_items.c
        return bool(await self._rows(select(i.number).where(i.replay_id == replay_id).limit(1)))

    async def lost_until(self) -> int:
        """When the database was put back from a back-up last, in microseconds; 0: it never was."""
        d = bus_differences.c
        found = await self._rows(select(d.last_at).where(d.kind == DATABASE_OLDER))
        return found[0]["last_at"] if found else 0

    # Running

    async def running(self) -> list[ReplayRecord]:
        """Replays that run, oldest first."""
        return await self._in_state("RUNNING")

    async def _in_state(self, state: str) -> list[ReplayRecord]:
        r = t.replays.c
        wanted = select(t.replays).where(r.state == state).order_by(r.id)
        return [_replay(row) for row in await self._rows(wanted)]

    async def first_past(
        self, unstarted_before: int, ended_before: int, under_way: Collection[str]
    ) -> ReplayRecord | None:
        """The oldest that leaves behind what is kept no longer: a plan that expired before a time,
        or items of a replay that ended before one, of which nothing is on its way."""
        r, i, d = t.replays.c, t.replay_items.c, t.deliveries.c
        unstarted = and_(r.state.in_(sorted(UNSTARTED_STATES)), r.expires_at <= unstarted_before)
        moving = exists().where(
            d.replay_id == r.id, d.replay_id != "", d.state.in_(sorted(under_way))
        )
        ended = and_(r.ended_at <= ended_before, exists().where(i.replay_id == r.id), ~moving)
        statement = select(t.replays).where(or_(unstarted, ended)).order_by(r.id).limit(1)
        found = await self._rows(statement)
        return _replay(found[0]) if found else None

    async def moving(self, replay_id: str, states: Collection[str]) -> int:
        """How many deliveries of a replay are in these states."""
        d = t.deliveries.c
        statement = select(func.count().label("count")).where(
            d.replay_id == replay_id, d.replay_id != "", d.state.in_(sorted(states))
        )
        return int((await self._rows(statement))[0]["count"])

    async def waiting_items(self, replay_id: str, most: int) -> list[ReplayItemRecord]:
        """The next undecided items, whole flows only: at least one flow, and `most` items or so."""
        i = t.replay_items.c
        undecided = and_(i.replay_id == replay_id, i.decided_at.is_(None))
        statement = select(t.replay_items).where(undecided).order_by(i.number).limit(most + 1)
        found = [_item(row) for row in await self._rows(statement)]
        if len(found) <= most:
            return found
        cut = found[-1].flow
        whole = [item for item in found if item.flow != cut]
        if whole:
            return whole
        first = select(t.replay_items).where(undecided, i.flow == cut).order_by(i.number)
        return [_item(row) for row in await self._rows(first)]

    async def decided_since(self, replay_id: str, since: int) -> list[tuple[int, int]]:
        """When each flow was decided, and how many items of it, from a time on."""
        i = t.replay_items.c
        at = func.max(i.decided_at)
        parts: list[Any] = [at.label("decided_at"), func.count().label("count")]
        statement = (
            select(*parts)
            .where(i.replay_id == replay_id, i.decided_at >= since)
            .group_by(i.flow)
            .order_by(at)
        )
        return [(row["decided_at"], row["count"]) for row in await self._rows(statement)]

    # Reading

    async def replay(self, replay_id: str) -> ReplayRecord | None:
        """One replay."""
        found = await self._rows(select(t.replays).where(t.replays.c.id == replay_id))
        return _replay(found[0]) if found else None

    async def replay_page(
        self, most: int, *, before: str = "", endpoint: str = ""
    ) -> list[ReplayRecord]:
        """Replays, newest first. before: the last id of the page before."""
        r = t.replays.c
        statement = select(t.replays)
        if before:
            statement = statement.where(r.id < before)
        if endpoint:
            statement = statement.where(r.endpoint == endpoint)
        found = await self._rows(statement.order_by(r.id.desc()).limit(most))
        return [_replay(row) for row in found]

    async def decided(self, replay_ids: Collection[str]) -> dict[str, int]:
        """How many items the runs have decided, by replay."""
        i = t.replay_items.c
        statement = (
            select(i.replay_id, func.count().label("count"))
            .where(i.replay_id.in_(list(replay_ids)), i.decided_at.is_not(None))
            .group_by(i.replay_id)
        )
        return {row["replay_id"]: row["count"] for row in await self._rows(statement)}

    async def item_page(
        self, replay: ReplayRecord, most: int, *, after: int, verdict: str, changed_only: bool
    ) -> list[tuple[ReplayItemRecord, str]]:
        """Items with the state of their delivery ("" without one), in the order of the run."""
        i, d = t.replay_items.c, t.deliveries.c
        planned = i.approved_verdict if replay.approved else i.verdict
        joined = t.replay_items.outerjoin(
            t.deliveries, and_(d.id == i.delivery_id, i.delivery_id != "")
        )
        statement = select(t.replay_items, func.coalesce(d.state, "").label("delivery_state"))
        statement = statement.select_from(joined).where(i.replay_id == replay.id, i.number > after)
        if verdict:
            statement = statement.where(planned == verdict)
        if changed_only:
            statement = statement.where(i.decided_at.is_not(None), i.found_verdict != planned)
        found = await self._rows(statement.order_by(i.number).limit(most))
        return [(_item(row), row["delivery_state"]) for row in found]

    async def counts(self, replay_id: str) -> list[ItemCount]:
        """The items of a replay, counted by everything that makes their outcome."""
        i, d = t.replay_items.c, t.deliveries.c
        joined = t.replay_items.outerjoin(
            t.deliveries, and_(d.id == i.delivery_id, i.delivery_id != "")
        )
        parts = [
            i.verdict,
            i.approved_verdict,
            i.found_verdict,
            i.decided_at.is_not(None).label("decided"),
            (i.delivery_id != "").label("has_delivery"),
            func.coalesce(d.state, "").label("delivery_state"),
        ]
        statement = select(*parts, func.count().label("count")).select_from(joined)
        statement = statement.where(i.replay_id == replay_id).group_by(*parts)
        return [
            ItemCount(**{name: row[name] for name in ItemCount.__slots__})
            for row in await self._rows(statement)
        ]


async def _events(connection: AsyncConnection, ids: Sequence[str]) -> list[EventRecord]:
    found: list[EventRecord] = []
    for start in range(0, len(ids), VALUES_PER_STATEMENT):
        wanted = ids[start : start + VALUES_PER_STATEMENT]
        statement = select(t.events).where(t.events.c.id.in_(wanted)).order_by(t.events.c.id)
        found += [rows.event_record(r) for r in (await connection.execute(statement)).mappings()]
    return found


async def _flows(
    connection: AsyncConnection, root_ids: Sequence[str]
) -> dict[str, list[DeliveryRecord]]:
    flows: dict[str, list[DeliveryRecord]] = {root_id: [] for root_id in root_ids}
    for start in range(0, len(root_ids), VALUES_PER_STATEMENT):
        wanted = root_ids[start : start + VALUES_PER_STATEMENT]
        statement = select(t.deliveries).where(t.deliveries.c.root_id.in_(wanted))
        statement = statement.order_by(t.deliveries.c.sequence)
        for row in (await connection.execute(statement)).mappings():
            flows[row["root_id"]].append(rows.delivery_record(row))
    return flows
