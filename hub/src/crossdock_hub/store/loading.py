"""Reads what a batch asks for: one statement per kind of key, however many commands asked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from crossdock.contracts import Contract
from sqlalchemy import BindParameter, RowMapping, Select, bindparam, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.causes import DeadLetterGroupRecord
from crossdock_hub.records import (
    AttemptRecord,
    CursorRecord,
    DeliveryRecord,
    EndpointRecord,
    HeldFactRecord,
    ParcelRecord,
    ReferenceRecord,
    RequestRecord,
)
from crossdock_hub.replay_records import ReplayItemRecord, ReplayRecord
from crossdock_hub.store import rows
from crossdock_hub.store import tables as t
from crossdock_hub.store.dead_letters import find_groups
from crossdock_hub.unit import Key, View

# SQLite takes 32,766 variables in a statement; pairs and triples use several.
VALUES_PER_STATEMENT = 500

_reference = rows.plain_record(ReferenceRecord)
_request = rows.plain_record(RequestRecord)
_parcel = rows.plain_record(ParcelRecord)
_cursor = rows.plain_record(CursorRecord)
_attempt = rows.plain_record(AttemptRecord)
_held = rows.plain_record(HeldFactRecord)
_group = rows.plain_record(DeadLetterGroupRecord)
# A cause is looked for among so many of the newest dead letters.
DEAD_LETTERS_MAX = 5_000
_ANY_TIME = 2**62
_replay = rows.plain_record(ReplayRecord)
_replay_item = rows.plain_record(ReplayItemRecord)

IN: BindParameter[Any] = bindparam("wanted", expanding=True)
_OBJECTS = select(t.objects).where(t.objects.c.id.in_(IN))
_NUMBERS = select(t.objects).where(tuple_(t.objects.c.kind, t.objects.c.number).in_(IN))
_CHILDREN = (
    select(t.objects)
    .where(tuple_(t.objects.c.kind, t.objects.c.root_id).in_(IN))
    .order_by(t.objects.c.id)
)
_REFERENCES = select(t.external_references).where(
    tuple_(
        t.external_references.c.system,
        t.external_references.c.type,
        t.external_references.c.value,
    ).in_(IN)
)
_REQUESTS = select(t.requests).where(t.requests.c.request_id.in_(IN))
_FLOWS = select(t.deliveries).where(t.deliveries.c.root_id.in_(IN))
_DELIVERIES = select(t.deliveries).where(
    t.deliveries.c.root_id.in_(select(t.deliveries.c.root_id).where(t.deliveries.c.id.in_(IN)))
)
_ATTEMPTS = select(t.attempts).where(tuple_(t.attempts.c.delivery_id, t.attempts.c.token).in_(IN))
_PARCELS = select(t.parcels).where(
    tuple_(t.parcels.c.carrier_code, t.parcels.c.tracking_number).in_(IN)
)
_SCANS = select(t.scans.c.dedupe_key).where(t.scans.c.dedupe_key.in_(IN))
_ENDPOINTS = select(t.endpoints).where(t.endpoints.c.id.in_(IN))
_CURSORS = select(t.cursors).where(tuple_(t.cursors.c.endpoint, t.cursors.c.name).in_(IN))
_HELD = (
    select(t.held_facts)
    .where(t.held_facts.c.state == "HELD", t.held_facts.c.awaits.in_(IN))
    .order_by(t.held_facts.c.id)
)
_GROUPS = select(t.dead_letter_groups).where(t.dead_letter_groups.c.id.in_(IN))
_EVENTS = select(t.events).where(t.events.c.id.in_(IN))
_HELD_FACTS = select(t.held_facts).where(t.held_facts.c.id.in_(IN))
_REPLAYS = select(t.replays).where(t.replays.c.id.in_(IN))
_REPLAY_ITEMS = select(t.replay_items).where(
    tuple_(t.replay_items.c.replay_id, t.replay_items.c.number).in_(IN)
)


class Loader:
    """Fills a view with the records of keys, within one transaction."""

    def __init__(self, connection: AsyncConnection, contract: Contract, view: View) -> None:
        self._connection = connection
        self._contract = contract
        self._view = view
        self._ways: dict[str, Callable[[list[Any]], Awaitable[None]]] = {
            "object": self._objects,
            "number": self._numbers,
            "children": self._children,
            "reference": self._references,
            "request": self._requests,
            "flow": self._flows,
            "delivery": self._deliveries,
            "attempt": self._attempts,
            "parcel": self._parcels,
            "scan": self._scans,
            "endpoint": self._endpoints,
            "cursor": self._cursors,
            "held": self._held,
            "held_fact": self._held_facts,
            "replay": self._replays,
            "replay_item": self._replay_items,
            "event": self._events,
            "dead_letter_group": self._dead_letter_groups,
            "dead_letter_cause": self._dead_letter_causes,
        }

    async def load(self, keys: Iterable[Key]) -> None:
        """Read every key that the view does not know; what is not there is known as None."""
        by_kind: dict[str, list[Any]] = defaultdict(list)
        for key in keys:
            if not self._view.knows(key):
                by_kind[str(key[0])].append(key[1:] if len(key) > 2 else key[1])
        for kind, wanted in by_kind.items():
            for start in range(0, len(wanted), VALUES_PER_STATEMENT):
                await self._ways[kind](wanted[start : start + VALUES_PER_STATEMENT])

    async def _rows(self, statement: Select[Any], wanted: list[Any]) -> list[RowMapping]:
        result = await self._connection.execute(statement, {"wanted": wanted})
        return list(result.mappings())

    def _add_object(self, row: RowMapping) -> None:
        if self._view.read_or_none(("object", row["kind"], row["id"])) is None:
            record = rows.object_record(self._contract, row)
            self._view.add(("object", record.kind, record.id), record)

    async def _objects(self, wanted: list[tuple[str, str]]) -> None:
        found = await self._rows(_OBJECTS, [object_id for _, object_id in wanted])
        kinds = {row["id"]: row for row in found}
        for kind, object_id in wanted:
            row = kinds.get(object_id)
            if row is not None and row["kind"] == kind:
                self._add_object(row)
            else:
                self._view.add(("object", kind, object_id), None)

    async def _numbers(self, wanted: list[tuple[str, str]]) -> None:
        for kind, number in wanted:
            self._view.add(("number", kind, number), None)
        for row in await self._rows(_NUMBERS, wanted):
            self._view.add(("number", row["kind"], row["number"]), row["id"])
            self._add_object(row)

    async def _children(self, wanted: list[tuple[str, str]]) -> None:
        children: dict[tuple[str, str], list[str]] = {pair: [] for pair in wanted}
        for row in await self._rows(_CHILDREN, wanted):
            children[row["kind"], row["root_id"]].append(row["id"])
            self._add_object(row)
        for (kind, root_id), ids in children.items():
            self._view.add(("children", kind, root_id), tuple(ids))

    async def _references(self, wanted: list[tuple[str, str, str]]) -> None:
        for key in wanted:
            self._view.add(("reference", *key), None)
        for row in await self._rows(_REFERENCES, wanted):
            record = _reference(row)
            self._view.add(("reference", record.system, record.type, record.value), record)

    async def _requests(self, wanted: list[str]) -> None:
        for request_id in wanted:
            self._view.add(("request", request_id), None)
        for row in await self._rows(_REQUESTS, wanted):
            self._view.add(("request", row["request_id"]), _request(row))

    def _add_flows(self, found: list[RowMapping], flows: dict[str, list[str]]) -> None:
        for row in found:
            flows.setdefault(row["root_id"], []).append(row["id"])
            record: DeliveryRecord = rows.delivery_record(row)
            self._view.add(("delivery", record.id), record)
        for root_id, ids in flows.items():
            self._view.add(("flow", root_id), tuple(ids))

    async def _flows(self, wanted: list[str]) -> None:
        self._add_flows(await self._rows(_FLOWS, wanted), {root_id: [] for root_id in wanted})

    async def _deliveries(self, wanted: list[str]) -> None:
        for delivery_id in wanted:
            self._view.add(("delivery", delivery_id), None)
        self._add_flows(await self._rows(_DELIVERIES, wanted), {})

    async def _attempts(self, wanted: list[tuple[str, int]]) -> None:
        for key in wanted:
            self._view.add(("attempt", *key), None)
        for row in await self._rows(_ATTEMPTS, wanted):
            self._view.add(("attempt", row["delivery_id"], row["token"]), _attempt(row))

    async def _parcels(self, wanted: list[tuple[str, str]]) -> None:
        for key in wanted:
            self._view.add(("parcel", *key), None)
        for row in await self._rows(_PARCELS, wanted):
            record = _parcel(row)
            self._view.add(("parcel", record.carrier_code, record.tracking_number), record)

    async def _scans(self, wanted: list[bytes]) -> None:
        for key in wanted:
            self._view.add(("scan", key), None)
        for row in await self._rows(_SCANS, wanted):
            self._view.add(("scan", bytes(row["dedupe_key"])), True)

    async def _endpoints(self, wanted: list[str]) -> None:
        for endpoint in wanted:
            self._view.add(("endpoint", endpoint), None)
        for row in await self._rows(_ENDPOINTS, wanted):
            self._view.add(("endpoint", row["id"]), rows.endpoint_record(EndpointRecord, row))

    async def _cursors(self, wanted: list[tuple[str, str]]) -> None:
        for key in wanted:
            self._view.add(("cursor", *key), None)
        for row in await self._rows(_CURSORS, wanted):
            self._view.add(("cursor", row["endpoint"], row["name"]), _cursor(row))

    async def _held(self, wanted: list[str]) -> None:
        ids: dict[str, list[str]] = {awaits: [] for awaits in wanted}
        for row in await self._rows(_HELD, wanted):
            ids[row["awaits"]].append(row["id"])
            self._view.add(("held_fact", row["id"]), _held(row))
        for awaits, found in ids.items():
            self._view.add(("held", awaits), tuple(found))

    async def _held_facts(self, wanted: list[str]) -> None:
        for fact in wanted:
            self._view.add(("held_fact", fact), None)
        for row in await self._rows(_HELD_FACTS, wanted):
            self._view.add(("held_fact", row["id"]), _held(row))

    async def _replays(self, wanted: list[str]) -> None:
        for replay in wanted:
            self._view.add(("replay", replay), None)
        for row in await self._rows(_REPLAYS, wanted):
            self._view.add(("replay", row["id"]), _replay(row))

    async def _replay_items(self, wanted: list[tuple[str, int]]) -> None:
        for key in wanted:
            self._view.add(("replay_item", *key), None)
        for row in await self._rows(_REPLAY_ITEMS, wanted):
            self._view.add(("replay_item", row["replay_id"], row["number"]), _replay_item(row))

    async def _events(self, wanted: list[str]) -> None:
        for event_id in wanted:
            self._view.add(("event", event_id), None)
        for row in await self._rows(_EVENTS, wanted):
            self._view.add(("event", row["id"]), rows.event_record(row))

    async def _dead_letter_groups(self, wanted: list[str]) -> None:
        for group_id in wanted:
            self._view.add(("dead_letter_group", group_id), None)
        for row in await self._rows(_GROUPS, wanted):
            self._view.add(("dead_letter_group", row["id"]), _group(row))

    async def _dead_letter_causes(self, wanted: list[str]) -> None:
        # Doubt of any age counts here: whoever acknowledges has seen the group.
        found = await find_groups(self._connection, DEAD_LETTERS_MAX, _ANY_TIME)
        causes = {group.cause.id: group.cause for group in found.groups}
        for group_id in wanted:
            self._view.add(("dead_letter_cause", group_id), causes.get(group_id))
