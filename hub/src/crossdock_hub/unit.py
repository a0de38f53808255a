"""What a decision may see and do: a view over what was read, and a unit of work on top of it.

Decisions are plain functions of messages and time. They ask a `Unit` for records and put changed
ones back; nothing is written before the whole batch is. A record that has not been read yet makes
the view raise `NotLoaded`; the batch reads it together with everybody else's and decides again,
from the start, which is safe because a decision has no effects.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from crossdock.contracts import Contract
from crossdock.errors import Refusal

from crossdock_hub.archive.records import LettingGo, Pruning
from crossdock_hub.config import Limits
from crossdock_hub.delivery.registry import RegisteredEndpoint
from crossdock_hub.identity import Caller
from crossdock_hub.records import (
    UNIT_CONVERSION,
    AttemptRecord,
    DeliveryRecord,
    EventRecord,
    ObjectRecord,
    ScanOutboxRecord,
    ScanRecord,
    item_in,
)

# A key names one record or one small set of records: its first element is the kind of read.
#   ("object", kind, id)                 ObjectRecord or None
#   ("number", kind, number)             object id or None
#   ("children", kind, root id)          tuple of object ids
#   ("conversions", kind, item or "*")   tuple of the ids of its unit conversions, maybe others too
#   ("reference", system, type, value)   ReferenceRecord or None
#   ("request", request id)              RequestRecord or None
#   ("delivery", id)                     DeliveryRecord or None
#   ("subject", delivery id)             brings the object that a delivery is about
#   ("flow", root id)                    tuple of the ids of all deliveries of a root object
#   ("attempt", delivery id, token)      AttemptRecord or None
#   ("attempts", delivery id)            tuple of the tokens of its stored attempts, oldest first
#   ("package_number", shipment id, number)     PackageNumberRecord; only written
#   ("parcel", carrier code, tracking number)    ParcelRecord or None
#   ("scan", dedupe key)                 True when known
#   ("scans_of", carrier code, tracking number)  tuple of ScanRecord, the newest stored
#   ("endpoint", id)                     EndpointRecord or None
#   ("endpoints",)                       tuple of RegisteredEndpoint: the registry
#   ("cursor", endpoint, name)           CursorRecord or None
#   ("held", awaits)                     tuple of HeldFactRecord ids still held, in order
#   ("held_fact", id)                    HeldFactRecord or None
#   ("held_payload", identity)           id of what was held last under it, or None
#   ("mapping", row id)                  MappingRecord or None; only read
#   ("mapping_row", row id)              MappingRecord or None; to change it
#   ("mapping_kind", endpoint kind)      MappingKindRecord or None
#   ("mapping_ids", endpoint kind)       tuple of the ids of its rows
#   ("mapping_version", endpoint kind)   grows with each change of its rows
#   ("mapping_words", endpoint kind, topic, canonical)   tuple of its MappingRecords; only read
#   ("replay", id)                       ReplayRecord or None
#   ("replays_in", state)                tuple of the ids of replays in a state, as it is stored
#   ("replay_item", replay id, number)   ReplayItemRecord or None
#   ("event", id)                        EventRecord or None
#   ("difference", kind)                 Difference or None
#   ("dead_letter_group", id)            DeadLetterGroupRecord or None
#   ("archive_part", number)             ArchivePart; only written
#   ("archived", digest)                 number of the part that an id is in, or None
#   ("dead_letter", cause, id)           DeadLetterRecord; only written
#   ("dead_letters_of", delivery id)     tuple of DeadLetterRecord that are settled with a delivery
Key = tuple[Hashable, ...]

UNSET: Any = object()


class NotLoaded(Exception):
    """A decision needs records that have not been read; the batch reads them and decides again."""

    def __init__(self, keys: Iterable[Key]) -> None:
        super().__init__("records are not read yet")
        self.keys = frozenset(keys)


class Refused(Exception):
    """A decision says no; nothing of its unit is kept."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


class NotYet(Exception):
    """A fact does not fit yet: it is held until what it awaits ("kind:value") arrives."""

    def __init__(self, refusal: Refusal, awaits: str, identity: str = "") -> None:
        """identity: by which the same fact is found while it is held; "": it has none."""
        super().__init__(refusal.reason)
        self.refusal = refusal
        self.awaits = awaits
        self.identity = identity


# Of 64 bits each.
_RANDOM_LOT = struct.Struct("<256Q")


def time_of_id(identifier: str) -> int:
    """When a UUIDv7 was made: microseconds UTC, to the millisecond; 0 for none."""
    return (int(identifier.replace("-", ""), 16) >> 80) * 1000 if identifier else 0


def first_id_at(microseconds: int) -> str:
    """What every UUIDv7 made at a time or later sorts behind, and no earlier one: they begin with
    milliseconds."""
    stamp = f"{max(0, microseconds) // 1000:012x}"
    return f"{stamp[:8]}-{stamp[8:]}"


class RandomBits:
    """The system's random bits, taken in lots: asking for those of one id takes longer than it."""

    def __init__(self) -> None:
        self._lot: list[int] = []

    def __call__(self, count: int) -> int:
        """So many bits, 64 at most."""
        if not self._lot:
            self._lot.extend(_RANDOM_LOT.unpack(os.urandom(_RANDOM_LOT.size)))
        return self._lot.pop() >> (64 - count)


class Identifiers:
    """UUIDv7 in the order they are asked for, also within a millisecond and across clock steps."""

    def __init__(self, newest: str = "", random_bits: Callable[[int], int] | None = None) -> None:
        """newest: the newest id there is; later ones sort after it, also if the clock went back.

        random_bits: of a simulation that has to be repeated; else the system's.
        """
        self._random_bits = RandomBits() if random_bits is None else random_bits
        bits = int(newest.replace("-", ""), 16) if newest else 0
        self._last = (bits >> 80) << 12 | (bits >> 64) & 0xFFF

    def next(self, now_microseconds: int) -> str:
        """A new id; ids sort as text in the order of creation."""
        # 48 bits of milliseconds, then 12 bits that we use as a counter within the millisecond.
        stamp = max((now_microseconds // 1000) << 12, self._last + 1)
        self._last = stamp
        high = (stamp >> 12) << 16 | 0x7000 | (stamp & 0xFFF)
        low = 0x8000000000000000 | self._random_bits(62)
        text = (high << 64 | low).to_bytes(16, "big").hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def conversions_key(item: str) -> Key:
    """The key of the unit conversions of an item, or of `EVERY_ITEM`."""
    return ("conversions", UNIT_CONVERSION, item)


@dataclass(slots=True)
class Changes:
    """What a unit adds to what was read: changed records by key, and new rows."""

    records: dict[Key, Any] = field(default_factory=dict)
    events: list[EventRecord] = field(default_factory=list)
    scans: list[ScanRecord] = field(default_factory=list)
    scan_outbox: list[ScanOutboxRecord] = field(default_factory=list)
    attempts: list[AttemptRecord] = field(default_factory=list)
    satisfied: list[str] = field(default_factory=list)
    # What facts that were decided anew wait for as before: of them nothing is written.
    still_awaited: list[str] = field(default_factory=list)
    # Replays whose items are past their time, and how many of them are deleted now.
    items_past: list[tuple[str, int]] = field(default_factory=list)
    events_past: list[int] = field(default_factory=list)
    # Finished flows that leave for a part of the archive, and rows that go by their age.
    archived: list[LettingGo] = field(default_factory=list)
    pruned: list[Pruning] = field(default_factory=list)
    counters: dict[tuple[str, ...], int] = field(default_factory=dict)
    # Roots of flows that facts were told of, also where no object changed; a set that keeps order.
    told_of: dict[str, None] = field(default_factory=dict)
    # How many settled dead letters stay; 0: none was settled now.
    letters_kept: int = 0
    # Nobody is to act on it before something outside of the database knows that it happened.
    tied: bool = False

    def merge(self, other: Changes) -> None:
        """Take over everything of a unit that was accepted."""
        self.records.update(other.records)
        self.events += other.events
        self.scans += other.scans
        self.scan_outbox += other.scan_outbox
        self.attempts += other.attempts
        self.satisfied += other.satisfied
        self.still_awaited += other.still_awaited
        self.items_past += other.items_past
        self.events_past += other.events_past
        self.archived += other.archived
        self.pruned += other.pruned
        self.letters_kept = self.letters_kept or other.letters_kept
        self.tied = self.tied or other.tied
        self.told_of |= other.told_of
        for name, count in other.counters.items():
            self.count(*name, by=count)

    def flow(self) -> str:
        """The root of the one flow that objects were changed of; "" for none, and for several."""
        roots = self._changed_flows()
        return next(iter(roots)) if len(roots) == 1 else ""

    def flows(self) -> list[str]:
        """The roots of all flows that objects were changed of, then of those facts told of."""
        return list(self._changed_flows() | self.told_of)

    def _changed_flows(self) -> dict[str, None]:
        """Master data, which has no states, is of no flow."""
        return {
            record.root_id: None
            for key, record in self.records.items()
            if key[0] == "object" and record is not None and record.state
        }

    def count(self, *name: str, by: int = 1) -> None:
        """Count something for the metrics."""
        self.counters[name] = self.counters.get(name, 0) + by


class View:
    """What was read for a batch, and on top of it what the batch has decided so far."""

    def __init__(self) -> None:
        self._read: dict[Key, Any] = {}
        self.changes = Changes()

    def add(self, key: Key, value: Any) -> None:
        """Remember what was read. None means: looked for, not there."""
        self._read[key] = value

    def learn(self, stored: Mapping[Key, Any]) -> None:
        """Know without asking what the store has of these keys."""
        self._read.update(stored)

    def knows(self, key: Key) -> bool:
        """True when the key was read or decided."""
        return key in self.changes.records or key in self._read

    def get(self, key: Key) -> Any:
        """The newest value. Raises NotLoaded."""
        value = self.changes.records.get(key, UNSET)
        if value is UNSET:
            value = self._read.get(key, UNSET)
            if value is UNSET:
                raise NotLoaded((key,))
        return value

    @property
    def read(self) -> Mapping[Key, Any]:
        """All that was read."""
        return self._read

    def read_or_none(self, key: Key) -> Any:
        """What the store held before this batch; None when it was not read or is not there."""
        return self._read.get(key)


class Unit:
    """The work of one command: reads through, writes kept apart until it is accepted.

    now: microseconds UTC. traceparent: of the caller's request. causation_id: request or event.
    """

    def __init__(
        self,
        parent: View | Unit,
        *,
        contract: Contract,
        caller: Caller,
        now: int,
        identifiers: Identifiers,
        limits: Limits,
        traceparent: str = "",
        causation_id: str = "",
    ) -> None:
        self._parent = parent
        self.contract = contract
        self.caller = caller
        self.now = now
        self.identifiers = identifiers
        self.limits = limits
        self.traceparent = traceparent
        self.causation_id = causation_id
        # The id of the held fact that is decided again, which says when it came; "" for others.
        self.arrived_as = ""
        self.changes = Changes()

    def nested(self, *, causation_id: str = "") -> Unit:
        """A unit within this one: kept by `absorb`, or dropped without a trace."""
        return Unit(
            self,
            contract=self.contract,
            caller=self.caller,
            now=self.now,
            identifiers=self.identifiers,
            limits=self.limits,
            traceparent=self.traceparent,
            causation_id=causation_id or self.causation_id,
        )

    def absorb(self, unit: Unit) -> None:
        """Take over a nested unit."""
        self.changes.merge(unit.changes)

    def new_id(self) -> str:
        """A new UUIDv7."""
        return self.identifiers.next(self.now)

    def get(self, key: Key) -> Any:
        """The newest value of a key. Raises NotLoaded."""
        value = self.changes.records.get(key, UNSET)
        return self._parent.get(key) if value is UNSET else value

    def require(self, keys: Iterable[Key]) -> None:
        """Ask for several keys at once, so that they are read in one round."""
        missing = [key for key in keys if not self.knows(key)]
        if missing:
            raise NotLoaded(missing)

    def learn(self, stored: Mapping[Key, Any]) -> None:
        """Know without asking what the store has of these keys, whatever becomes of this work."""
        self._parent.learn(stored)

    def knows(self, key: Key) -> bool:
        """True when `get` would answer."""
        return key in self.changes.records or self._parent.knows(key)

    def put(self, key: Key, value: Any) -> None:
        """Keep a new value."""
        self.changes.records[key] = value

    def object(self, kind: str, object_id: str) -> ObjectRecord | None:
        """An object by id. The record is shared: replace it, never change it."""
        record: ObjectRecord | None = self.get(("object", kind, object_id))
        return record

    def by_number(self, kind: str, number: str) -> ObjectRecord | None:
        """An object by its number."""
        object_id = self.get(("number", kind, number))
        return None if object_id is None else self.object(kind, object_id)

    def children(self, kind: str, root_id: str) -> list[ObjectRecord]:
        """The objects of a kind that belong to a root, oldest first."""
        ids: tuple[str, ...] = self.get(("children", kind, root_id))
        self.require(("object", kind, child) for child in ids)
        return [child for child in (self.object(kind, i) for i in ids) if child is not None]

    def conversions(self, items: Iterable[str]) -> list[ObjectRecord]:
        """The unit conversions of items, of `EVERY_ITEM` too; maybe of others whose number begins
        alike."""
        keys = [conversions_key(item) for item in items]
        self.require(keys)
        ids = dict.fromkeys(each for key in keys for each in self.get(key))
        self.require(("object", UNIT_CONVERSION, each) for each in ids)
        found = (self.object(UNIT_CONVERSION, each) for each in ids)
        return [record for record in found if record is not None]

    def put_object(self, record: ObjectRecord) -> None:
        """Store a new or changed object and whatever finds it."""
        known = self.changes.records.get(("object", record.kind, record.id))
        new = known is None and record.revision == 1
        self.put(("object", record.kind, record.id), record)
        if new:
            self._index_new(record)

    def _index_new(self, record: ObjectRecord) -> None:
        if record.number is not None:
            self.put(("number", record.kind, record.number), record.id)
            self.changes.satisfied.append(f"{record.kind}:{record.number}")
            if record.kind == UNIT_CONVERSION:
                self._index_member(conversions_key(item_in(record.number)), record.id)
        self.changes.satisfied.append(f"{record.kind}:{record.id}")
        if record.root_id == record.id:
            return
        # A child of a root that is new in this batch has no older siblings in the store.
        self._index_member(("children", record.kind, record.root_id), record.id)

    def _index_member(self, key: Key, member: str) -> None:
        """Add to a set of ids, once those that are stored are known."""
        if not self.knows(key):
            raise NotLoaded((key,))
        self.put(key, (*self.get(key), member))

    def events_about(self, object_id: str, revision: int) -> int:
        """How many events this work has recorded about an object at a revision."""
        own = self.changes.events
        count = sum(1 for e in own if e.object_id == object_id and e.revision == revision)
        parent = self._parent
        return count + (parent.events_about(object_id, revision) if isinstance(parent, Unit) else 0)

    def delivery(self, delivery_id: str) -> DeliveryRecord | None:
        """A delivery by id. The record is shared: replace it, never change it."""
        record: DeliveryRecord | None = self.get(("delivery", delivery_id))
        return record

    def flow(self, root_id: str) -> list[DeliveryRecord]:
        """Every delivery of a root object, in order."""
        ids: tuple[str, ...] = self.get(("flow", root_id))
        self.require(("delivery", i) for i in ids)
        found = [record for record in (self.delivery(i) for i in ids) if record is not None]
        return sorted(found, key=lambda record: record.sequence)

    def attempts(self, record: DeliveryRecord) -> list[AttemptRecord]:
        """All attempts at a delivery, oldest first. Tokens have gaps: words and restores raise
        them. One that this batch begins has the delivery's token."""
        self.require([("attempts", record.id)])
        tokens = sorted({*self.get(("attempts", record.id)), record.token})
        keys: list[Key] = [("attempt", record.id, token) for token in tokens]
        self.require(keys)
        return [attempt for attempt in map(self.get, keys) if attempt is not None]

    def put_delivery(self, record: DeliveryRecord) -> None:
        """Keep a new or changed delivery."""
        flow, itself = ("flow", record.root_id), ("delivery", record.id)
        ids: tuple[str, ...] = self.get(flow)
        # What is known is among its flow: looking for it there takes as long as the flow is.
        known = self.knows(itself) and self.get(itself) is not None
        if not known and record.id not in ids:
            self.put(flow, (*ids, record.id))
        self.put(itself, record)

    @property
    def endpoints(self) -> tuple[RegisteredEndpoint, ...]:
        """The registry, as it was when this batch began."""
        return self.get(("endpoints",))  # type: ignore[no-any-return]

    def endpoint(self, endpoint_id: str) -> RegisteredEndpoint | None:
        """An endpoint as registered."""
        return next((e for e in self.endpoints if e.id == endpoint_id), None)

    @property
    def endpoint_kind(self) -> str:
        """Whose codes the caller speaks: its adapter's name; its own id where it has none."""
        endpoint = self.endpoint(self.caller.endpoint)
        return self.caller.endpoint if endpoint is None else endpoint.kind or endpoint.id

    def tie(self) -> None:
        """What is decided lets a vendor be called: a copy of the database from before it, put back,
        must be known to be older, so the bus is told before the answer leaves."""
        self.changes.tied = True

    def satisfy(self, awaits: str) -> None:
        """Say that something held facts may wait for has arrived."""
        self.changes.satisfied.append(awaits)

    def count(self, *name: str, by: int = 1) -> None:
        """Count something for the metrics, once the batch is committed."""
        self.changes.count(*name, by=by)
