"""Reads what a batch asks for: one statement per kind of key, however many commands asked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from crossdock.contracts import Contract
from sqlalchemy import func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.config import Limits
from crossdock_hub.delivery.causes import DeadLetterGroupRecord, DeadLetterRecord
from crossdock_hub.objects.mapping_kinds import MappingKindRecord
from crossdock_hub.records import (
    AttemptRecord,
    CursorRecord,
    DeliveryRecord,
    Difference,
    EndpointRecord,
    HeldFactRecord,
    MappingRecord,
    ParcelRecord,
    ReferenceRecord,
    RequestRecord,
    ScanRecord,
    item_in,
)
from crossdock_hub.replay.records import ReplayItemRecord, ReplayRecord
from crossdock_hub.store import rows
from crossdock_hub.store import tables as t
from crossdock_hub.store.archive_tables import archived_ids
from crossdock_hub.store.bus_tables import bus_differences
from crossdock_hub.store.contention import Contenders, Met, Nobody
from crossdock_hub.store.crossing import IN, VALUES_PER_STATEMENT, Query, Row
from crossdock_hub.store.row_locks import RowLocks
from crossdock_hub.store.unit_conversions import CONVERSIONS
from crossdock_hub.unit import Key, View

_reference = rows.plain_record(ReferenceRecord)
_request = rows.plain_record(RequestRecord)
_cursor = rows.plain_record(CursorRecord)
_parcel = rows.plain_record(ParcelRecord)
_scan = rows.plain_record(ScanRecord)
_attempt = rows.plain_record(AttemptRecord)
_held = rows.plain_record(HeldFactRecord)
_mapping = rows.plain_record(MappingRecord)
_mapping_kind = rows.plain_record(MappingKindRecord)
_group = rows.plain_record(DeadLetterGroupRecord)
_letter = rows.plain_record(DeadLetterRecord)
_difference = rows.plain_record(Difference)
_replay = rows.plain_record(ReplayRecord)
_replay_item = rows.plain_record(ReplayItemRecord)

_OBJECTS = Query(select(t.objects).where(t.objects.c.id.in_(IN)))
_NUMBERS = Query(select(t.objects), by=(t.objects.c.kind, t.objects.c.number))
_CHILDREN = Query(
    select(t.objects).order_by(t.objects.c.id), by=(t.objects.c.kind, t.objects.c.root_id)
)
_REFERENCES = Query(
    select(t.external_references),
    by=(
        t.external_references.c.system,
        t.external_references.c.type,
        t.external_references.c.value,
    ),
)
_REQUESTS = Query(select(t.requests).where(t.requests.c.request_id.in_(IN)))
_FLOWS = Query(select(t.deliveries).where(t.deliveries.c.root_id.in_(IN)))
_DELIVERIES = Query(
    select(t.deliveries).where(
        t.deliveries.c.root_id.in_(select(t.deliveries.c.root_id).where(t.deliveries.c.id.in_(IN)))
    )
)
_SUBJECTS = Query(
    select(t.objects).where(
        t.objects.c.id.in_(select(t.deliveries.c.object_id).where(t.deliveries.c.id.in_(IN)))
    )
)
_ATTEMPTS = Query(select(t.attempts), by=(t.attempts.c.delivery_id, t.attempts.c.token))
_ATTEMPT_LOGS = Query(
    select(t.attempts).where(t.attempts.c.delivery_id.in_(IN)).order_by(t.attempts.c.token)
)
_PARCELS = Query(select(t.parcels), by=(t.parcels.c.carrier_code, t.parcels.c.tracking_number))
_SCANS = Query(select(t.scans.c.dedupe_key).where(t.scans.c.dedupe_key.in_(IN)))


@cache
def _newest_scans(most: int) -> Query:
    """Of each parcel as many scans as are looked at, and one that says that there are more."""
    by = (t.scans.c.carrier_code, t.scans.c.tracking_number)
    return Query(select(t.scans), by=by, most=most + 1)


PARCEL_SCANS_MAX = Limits().parcel_scans_max
_ENDPOINTS = Query(select(t.endpoints).where(t.endpoints.c.id.in_(IN)))
_CURSORS = Query(select(t.cursors), by=(t.cursors.c.endpoint, t.cursors.c.name))
_HELD = Query(
    select(t.held_facts.c.id, t.held_facts.c.awaits)
    .where(t.held_facts.c.state == literal_column("'HELD'"), t.held_facts.c.awaits.in_(IN))
    .order_by(t.held_facts.c.id)
)
_ARCHIVED = Query(select(archived_ids).where(archived_ids.c.key.in_(IN)))
_DIFFERENCES = Query(select(bus_differences).where(bus_differences.c.kind.in_(IN)))
_GROUPS = Query(select(t.dead_letter_groups).where(t.dead_letter_groups.c.id.in_(IN)))
_LETTERS = Query(
    select(t.dead_letters).where(
        t.dead_letters.c.settled_at.is_(None), t.dead_letters.c.carrier.in_(IN)
    )
)
_EVENTS = Query(select(t.events).where(t.events.c.id.in_(IN)))
_PAYLOADS = Query(
    select(t.held_facts)
    .where(t.held_facts.c.state == literal_column("'HELD'"))
    .where(t.held_facts.c.identity != literal_column("''"), t.held_facts.c.identity.in_(IN))
    .order_by(t.held_facts.c.id)
)
_HELD_FACTS = Query(select(t.held_facts).where(t.held_facts.c.id.in_(IN)))
_MAPPINGS = Query(select(t.mappings).where(t.mappings.c.id.in_(IN)))
_MAPPING_KINDS = Query(select(t.mapping_kinds).where(t.mapping_kinds.c.endpoint_kind.in_(IN)))
_MAPPING_IDS = Query(
    select(t.mappings.c.endpoint_kind, t.mappings.c.id).where(t.mappings.c.endpoint_kind.in_(IN))
)
_MAPPING_VERSIONS = Query(
    select(t.mappings.c.endpoint_kind, func.sum(t.mappings.c.revision).label("version"))
    .where(t.mappings.c.endpoint_kind.in_(IN))
    .group_by(t.mappings.c.endpoint_kind)
)
_MAPPING_WORDS = Query(
    select(t.mappings),
    by=(t.mappings.c.endpoint_kind, t.mappings.c.topic, t.mappings.c.canonical),
)
_REPLAYS = Query(select(t.replays).where(t.replays.c.id.in_(IN)))
_REPLAYS_IN = Query(
    select(t.replays.c.id, t.replays.c.state)
    .where(t.replays.c.state.in_(IN))
    .order_by(t.replays.c.id)
)
_REPLAY_ITEMS = Query(
    select(t.replay_items), by=(t.replay_items.c.replay_id, t.replay_items.c.number)
)


class Loader:
    """Fills a view with the records of keys, within one transaction."""

    def __init__(
        self,
        connection: AsyncConnection,
        contract: Contract,
        view: View,
        met: Met | None = None,
        *,
        parcel_scans_max: int = PARCEL_SCANS_MAX,
    ) -> None:
        """met: what earlier tries of the batch have learned; this one adds to it.

        parcel_scans_max: of a parcel's stored scans the newest are read, one more than this.
        """
        self._connection = connection
        self.contenders: Contenders = (
            Nobody(connection)
            if connection.dialect.name == "sqlite"
            else RowLocks(connection, view, Met() if met is None else met)
        )
        self._contract = contract
        self._view = view
        self._ways = _ways_to_read(parcel_scans_max)

    async def load(self, keys: Iterable[Key]) -> None:
        """Read every key that the view does not know; what is not there is known as None.

        Raises Contention when others are in the way.
        """
        by_kind: dict[str, list[Any]] = defaultdict(list)
        for key in keys:
            if not self._view.knows(key):
                by_kind[str(key[0])].append(key[1:] if len(key) > 2 else key[1])
        for wanted in by_kind.values():
            if len(wanted) > VALUES_PER_STATEMENT:
                # Rows are locked in one order, however many statements it takes.
                wanted.sort()
        parts = [
            (kind, wanted[start : start + VALUES_PER_STATEMENT])
            for kind, wanted in by_kind.items()
            for start in range(0, len(wanted), VALUES_PER_STATEMENT)
        ]
        found = await self.contenders.fetch(
            [(kind, self._ways[kind][0], wanted, _asked(kind, wanted)) for kind, wanted in parts]
        )
        for (kind, wanted), rows_of_part in zip(parts, found, strict=True):
            self._ways[kind][1](self, wanted, rows_of_part)

    def _add_object(self, row: Row) -> None:
        if self._view.read_or_none(("object", row["kind"], row["id"])) is None:
            record = rows.object_record(self._contract, row)
            self._view.add(("object", record.kind, record.id), record)

    def _objects(self, wanted: list[tuple[str, str]], found: list[Row]) -> None:
        kinds = {row["id"]: row for row in found}
        for kind, object_id in wanted:
            row = kinds.get(object_id)
            if row is not None and row["kind"] == kind:
                self._add_object(row)
            else:
                self._view.add(("object", kind, object_id), None)

    def _numbers(self, wanted: list[tuple[str, str]], found: list[Row]) -> None:
        for kind, number in wanted:
            self._view.add(("number", kind, number), None)
        for row in found:
            self._view.add(("number", row["kind"], row["number"]), row["id"])
            self._add_object(row)

    def _children(self, wanted: list[tuple[str, str]], found: list[Row]) -> None:
        children: dict[tuple[str, str], list[str]] = {pair: [] for pair in wanted}
        for row in found:
            children[row["kind"], row["root_id"]].append(row["id"])
            self._add_object(row)
        for (kind, root_id), ids in children.items():
            self._view.add(("children", kind, root_id), tuple(ids))

    def _conversions(self, wanted: list[tuple[str, str]], found: list[Row]) -> None:
        # A row may be found for its own item, and for one whose number its item's begins with.
        ids: dict[str, dict[str, None]] = {item: {} for _, item in wanted}
        for row in found:
            if (item := item_in(row["number"])) in ids:
                ids[item][row["id"]] = None
                self._add_object(row)
        for kind, item in wanted:
            self._view.add(("conversions", kind, item), tuple(ids[item]))

    def _references(self, wanted: list[tuple[str, str, str]], found: list[Row]) -> None:
        for key in wanted:
            self._view.add(("reference", *key), None)
        for row in found:
            record = _reference(row)
            self._view.add(("reference", record.system, record.type, record.value), record)

    def _requests(self, wanted: list[str], found: list[Row]) -> None:
        for request_id in wanted:
            self._view.add(("request", request_id), None)
        for row in found:
            self._view.add(("request", row["request_id"]), _request(row))

    def _add_flows(self, found: list[Row], flows: dict[str, list[str]]) -> None:
        for row in found:
            flows.setdefault(row["root_id"], []).append(row["id"])
            record: DeliveryRecord = rows.delivery_record(row)
            self._view.add(("delivery", record.id), record)
        for root_id, ids in flows.items():
            self._view.add(("flow", root_id), tuple(ids))

    def _flows(self, wanted: list[str], found: list[Row]) -> None:
        self._add_flows(found, {root_id: [] for root_id in wanted})

    def _deliveries(self, wanted: list[str], found: list[Row]) -> None:
        for delivery_id in wanted:
            self._view.add(("delivery", delivery_id), None)
        self._add_flows(found, {})

    def _subjects(self, wanted: list[str], found: list[Row]) -> None:
        for row in found:
            self._add_object(row)
        for delivery_id in wanted:
            self._view.add(("subject", delivery_id), True)

    def _attempts(self, wanted: list[tuple[str, int]], found: list[Row]) -> None:
        for key in wanted:
            self._view.add(("attempt", *key), None)
        for row in found:
            self._view.add(("attempt", row["delivery_id"], row["token"]), _attempt(row))

    def _attempt_logs(self, wanted: list[str], found: list[Row]) -> None:
        logs: dict[str, list[int]] = {delivery_id: [] for delivery_id in wanted}
        for row in found:
            logs[row["delivery_id"]].append(row["token"])
            self._view.add(("attempt", row["delivery_id"], row["token"]), _attempt(row))
        for delivery_id, tokens in logs.items():
            self._view.add(("attempts", delivery_id), tuple(tokens))

    def _parcels(self, wanted: list[tuple[str, str]], found: list[Row]) -> None:
        for key in wanted:
            self._view.add(("parcel", *key), None)
        for row in found:
            record = _parcel(row)
            self._view.add(("parcel", record.carrier_code, record.tracking_number), record)

    def _scans(self, wanted: list[bytes], found: list[Row]) -> None:
        for key in wanted:
            self._view.add(("scan", key), None)
        for row in found:
            self._view.add(("scan", bytes(row["dedupe_key"])), True)

    def _scans_of(self, wanted: list[tuple[str, str]], found: list[Row]) -> None:
        scans: dict[tuple[str, str], list[ScanRecord]] = {key: [] for key in wanted}
        for row in found:
            scans[row["carrier_code"], row["tracking_number"]].append(_scan(row))
        # Read are the newest, and one more than are looked at where there are older ones.
        # Those of commands before it in the batch are not written yet; `note` adds later ones.
        for scan in self._view.changes.scans:
            if (scan.carrier_code, scan.tracking_number) in scans:
                scans[scan.carrier_code, scan.tracking_number].append(scan)
        for key, of_parcel in scans.items():
            self._view.add(("scans_of", *key), tuple(of_parcel))

    def _endpoints(self, wanted: list[str], found: list[Row]) -> None:
        for endpoint in wanted:
            self._view.add(("endpoint", endpoint), None)
        for row in found:
            self._view.add(("endpoint", row["id"]), rows.endpoint_record(EndpointRecord, row))

    def _cursors(self, wanted: list[tuple[str, str]], found: list[Row]) -> None:
        for key in wanted:
            self._view.add(("cursor", *key), None)
        for row in found:
            self._view.add(("cursor", row["endpoint"], row["name"]), _cursor(row))

    def _held(self, wanted: list[str], found: list[Row]) -> None:
        ids: dict[str, list[str]] = {awaits: [] for awaits in wanted}
        for row in found:
            ids[row["awaits"]].append(row["id"])
        for awaits, of_it in ids.items():
            self._view.add(("held", awaits), tuple(of_it))

    def _payloads(self, wanted: list[str], found: list[Row]) -> None:
        for identity in wanted:
            self._view.add(("held_payload", identity), None)
        for row in found:
            self._view.add(("held_payload", row["identity"]), row["id"])
            self._view.add(("held_fact", row["id"]), _held(row))

    def _held_facts(self, wanted: list[str], found: list[Row]) -> None:
        for fact in wanted:
            self._view.add(("held_fact", fact), None)
        for row in found:
            self._view.add(("held_fact", row["id"]), _held(row))

    def _mappings(self, wanted: list[str], found: list[Row]) -> None:
        self._add_mappings("mapping", wanted, found)

    def _mapping_rows(self, wanted: list[str], found: list[Row]) -> None:
        self._add_mappings("mapping_row", wanted, found)

    def _add_mappings(self, kind: str, wanted: list[str], found: list[Row]) -> None:
        for row_id in wanted:
            self._view.add((kind, row_id), None)
        for row in found:
            self._view.add((kind, row["id"]), _mapping(row))

    def _mapping_kinds(self, wanted: list[str], found: list[Row]) -> None:
        for kind in wanted:
            self._view.add(("mapping_kind", kind), None)
        for row in found:
            self._view.add(("mapping_kind", row["endpoint_kind"]), _mapping_kind(row))

    def _mapping_ids(self, wanted: list[str], found: list[Row]) -> None:
        ids: dict[str, list[str]] = {kind: [] for kind in wanted}
        for row in found:
            ids[row["endpoint_kind"]].append(row["id"])
        for kind, of_kind in ids.items():
            self._view.add(("mapping_ids", kind), tuple(sorted(of_kind)))

    def _mapping_versions(self, wanted: list[str], found: list[Row]) -> None:
        versions = {row["endpoint_kind"]: int(row["version"]) for row in found}
        for kind in wanted:
            self._view.add(("mapping_version", kind), versions.get(kind, 0))

    def _mapping_words(self, wanted: list[tuple[str, str, str]], found: list[Row]) -> None:
        rows_of: dict[tuple[str, str, str], list[MappingRecord]] = {key: [] for key in wanted}
        for row in found:
            rows_of[row["endpoint_kind"], row["topic"], row["canonical"]].append(_mapping(row))
        for key, of_word in rows_of.items():
            self._view.add(("mapping_words", *key), tuple(of_word))

    def _replays(self, wanted: list[str], found: list[Row]) -> None:
        for replay in wanted:
            self._view.add(("replay", replay), None)
        for row in found:
            self._view.add(("replay", row["id"]), _replay(row))

    def _replays_in(self, wanted: list[str], found: list[Row]) -> None:
        ids: dict[str, list[str]] = {state: [] for state in wanted}
        for row in found:
            ids[row["state"]].append(row["id"])
        for state, of_it in ids.items():
            self._view.add(("replays_in", state), tuple(of_it))

    def _replay_items(self, wanted: list[tuple[str, int]], found: list[Row]) -> None:
        for key in wanted:
            self._view.add(("replay_item", *key), None)
        for row in found:
            self._view.add(("replay_item", row["replay_id"], row["number"]), _replay_item(row))

    def _events(self, wanted: list[str], found: list[Row]) -> None:
        for event_id in wanted:
            self._view.add(("event", event_id), None)
        for row in found:
            self._view.add(("event", row["id"]), rows.event_record(row))

    def _differences(self, wanted: list[str], found: list[Row]) -> None:
        for kind in wanted:
            self._view.add(("difference", kind), None)
        for row in found:
            self._view.add(("difference", row["kind"]), _difference(row))

    def _archived(self, wanted: list[bytes], found: list[Row]) -> None:
        for key in wanted:
            self._view.add(("archived", key), None)
        for row in found:
            self._view.add(("archived", bytes(row["key"])), row["part"])

    def _dead_letter_groups(self, wanted: list[str], found: list[Row]) -> None:
        for group_id in wanted:
            self._view.add(("dead_letter_group", group_id), None)
        for row in found:
            self._view.add(("dead_letter_group", row["id"]), _group(row))

    def _dead_letters(self, wanted: list[str], found: list[Row]) -> None:
        letters: dict[str, list[DeadLetterRecord]] = {carrier: [] for carrier in wanted}
        for row in found:
            letters[row["carrier"]].append(_letter(row))
        for carrier, carried in letters.items():
            self._view.add(("dead_letters_of", carrier), tuple(carried))


def _asked(kind: str, wanted: list[Any]) -> list[Any]:
    """What the query of a kind asks by: an object's id says its kind."""
    return [object_id for _, object_id in wanted] if kind == "object" else wanted


# A query, and what takes the keys that it was asked for and the rows that it found.
Way = tuple[Query, Callable[[Loader, list[Any], list[Row]], None]]


@cache
def _ways_to_read(parcel_scans_max: int) -> dict[str, Way]:
    """Kind of key -> its query, and what the rows of some keys mean.

    For all loaders: one that kept methods bound to itself would be a circle, so that whatever a
    batch has read and written waited for the collector.
    """
    return {
        "object": (_OBJECTS, Loader._objects),
        "number": (_NUMBERS, Loader._numbers),
        "children": (_CHILDREN, Loader._children),
        "conversions": (CONVERSIONS, Loader._conversions),
        "reference": (_REFERENCES, Loader._references),
        "request": (_REQUESTS, Loader._requests),
        "flow": (_FLOWS, Loader._flows),
        "delivery": (_DELIVERIES, Loader._deliveries),
        "subject": (_SUBJECTS, Loader._subjects),
        "attempt": (_ATTEMPTS, Loader._attempts),
        "attempts": (_ATTEMPT_LOGS, Loader._attempt_logs),
        "parcel": (_PARCELS, Loader._parcels),
        "scan": (_SCANS, Loader._scans),
        "scans_of": (_newest_scans(parcel_scans_max), Loader._scans_of),
        "endpoint": (_ENDPOINTS, Loader._endpoints),
        "cursor": (_CURSORS, Loader._cursors),
        "held": (_HELD, Loader._held),
        "held_fact": (_HELD_FACTS, Loader._held_facts),
        "held_payload": (_PAYLOADS, Loader._payloads),
        "mapping": (_MAPPINGS, Loader._mappings),
        "mapping_row": (_MAPPINGS, Loader._mapping_rows),
        "mapping_kind": (_MAPPING_KINDS, Loader._mapping_kinds),
        "mapping_ids": (_MAPPING_IDS, Loader._mapping_ids),
        "mapping_version": (_MAPPING_VERSIONS, Loader._mapping_versions),
        "mapping_words": (_MAPPING_WORDS, Loader._mapping_words),
        "replay": (_REPLAYS, Loader._replays),
        "replays_in": (_REPLAYS_IN, Loader._replays_in),
        "replay_item": (_REPLAY_ITEMS, Loader._replay_items),
        "event": (_EVENTS, Loader._events),
        "difference": (_DIFFERENCES, Loader._differences),
        "archived": (_ARCHIVED, Loader._archived),
        "dead_letter_group": (_GROUPS, Loader._dead_letter_groups),
        "dead_letters_of": (_LETTERS, Loader._dead_letters),
    }
