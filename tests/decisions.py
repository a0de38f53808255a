"""A company in memory: decisions run through real units, without a store, sockets or a clock.

`Company` answers a decision's reads the way the store would (missing things are None or empty),
keeps what it changed, and moves time only when told. Names, numbers and messages of the first flow
are built here too, so that a test reads as the story it tells.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from crossdock import contracts
from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock.endpoint.v1 import endpoint_pb2, endpoint_service_pb2
from crossdock.types.v1 import types_pb2
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery import attempts, checking, ledger
from crossdock_hub.delivery.registry import compile_endpoint
from crossdock_hub.delivery.removal import REMOVED
from crossdock_hub.driving import drive_one
from crossdock_hub.identity import HUB, Caller, Scope
from crossdock_hub.objects.held import hold, receipt_response
from crossdock_hub.objects.mappings import ARRIVED, waiting_for
from crossdock_hub.objects.received_units import waiting_for_units
from crossdock_hub.records import (
    SETTLED_STATES,
    AttemptRecord,
    DeliveryRecord,
    EndpointRecord,
    HeldFactRecord,
    OperatorWordRecord,
)
from crossdock_hub.store.rows import DELIVERIES_OVER, OBJECTS_OVER, PARCELS_OVER
from crossdock_hub.unit import Identifiers, Key, NotLoaded, NotYet, Refused, Unit, View
from crossdock_hub.verbs import DECISIONS
from crossdock_hub.verbs.master_data import UPSERTS, upsert_entry
from many_records import READ_OF_MANY, read_of_many

CONTRACT = contracts.load()
START = 1_750_000_000 * SECOND
ROUNDS_MAX = 8
WORD = "operator_word"
EMPTY_SETS = {"children", "flow"}
OVER = {"object": OBJECTS_OVER, "delivery": DELIVERIES_OVER, "parcel": PARCELS_OVER}

OMS = Caller("oms", "OMS")
ERP = Caller("netsuite", "ERP")
WMS = Caller("manhattan", "WMS", Scope(location_numbers=frozenset({"DC1"})))
CARRIER = Caller("ups", "CARRIER", Scope(carrier_codes=frozenset({"UPSN"})))
TMS = Caller("shipping-desk", "TMS")
OPERATOR = Caller("operator", "OPERATOR")

OPERATIONS: dict[str, dict[str, str]] = {
    "netsuite": {
        "create_sales_order": "SEARCHABLE",
        "change_order": "NATURAL",
        "cancel_order": "NATURAL",
        "post_goods_issue": "SEARCHABLE",
        "reverse_goods_issue": "SEARCHABLE",
    },
    "manhattan": {"release_order": "NATURAL", "cancel_order": "NATURAL", "print_label": "NATURAL"},
    "ups": {"buy_label": "SEARCHABLE", "void_label": "KEYED"},
}


def request_id() -> str:
    """A fresh id for a request."""
    return str(uuid.uuid4())


class Company:
    """What the hub knows, and every way to make it know more. Times: microseconds UTC in `now`."""

    def __init__(self, limits: Limits | None = None, rounds_max: int = ROUNDS_MAX) -> None:
        self.limits = limits or Limits()
        self.rounds_max = rounds_max
        self.now = START
        self.records: dict[Key, Any] = {}
        self.events: list[Any] = []
        self.scans: list[Any] = []
        self.scan_batches: list[Any] = []
        self.counters: dict[tuple[str, ...], int] = {}
        self.rounds: dict[str, int] = {}
        self.identifiers = Identifiers()
        self.satisfied: list[str] = []

    # Endpoints

    def employ(
        self, caller: Caller, operations: dict[str, str] | None = None, **manifest: Any
    ) -> None:
        """Put an endpoint into the deployment, and register it when it offers operations."""
        scope = caller.scope
        self.records["endpoint", caller.endpoint] = EndpointRecord(
            caller.endpoint,
            caller.role,
            tuple(scope.business_units),
            tuple(scope.location_numbers),
            tuple(scope.carrier_codes),
            "EXPECTED",
            b"",
        )
        if operations is None:
            operations = OPERATIONS.get(caller.endpoint, {})
        if operations:
            self.register(caller, operations, **manifest)

    def register(self, caller: Caller, operations: dict[str, str], **manifest: Any) -> Any:
        """RegisterEndpoint with these operations and classes."""
        described = endpoint_pb2.Manifest(adapter=caller.endpoint, **manifest)
        for name, kind in operations.items():
            value = delivery_pb2.OperationClass.Value(f"OPERATION_CLASS_{kind}")
            described.operations.add(name=name, operation_class=value)
        request = endpoint_service_pb2.RegisterEndpointRequest(
            request_id=request_id(), endpoint=caller.endpoint, manifest=described
        )
        return self.call("endpoint.v1.EndpointService/RegisterEndpoint", request, caller)

    @property
    def endpoints(self) -> tuple[Any, ...]:
        """The registry, as routing sees it."""
        return tuple(
            compile_endpoint(record, self.limits)
            for key, record in sorted(self.records.items(), key=lambda pair: str(pair[0]))
            if key[0] == "endpoint" and record.state != REMOVED
        )

    # Deciding

    def call(self, method: str, request: Any, caller: Caller, *, beside: Iterable[Any] = ()) -> Any:
        """One RPC: checked by the contract, decided, kept; a fact that does not fit is held.

        Raises Refused. `method`: "order.v1.OrderService/CreateOrder". beside: entries of an upsert
        that come with those of the request.
        """
        full = f"/crossdock.{method}"
        rule = CONTRACT.methods[full]
        assert caller.role in rule.callers, f"{caller.role} may not call {method}"
        broken = CONTRACT.validate(rule.request_type, request.SerializeToString())
        assert not broken, broken
        if full in UPSERTS:
            return self._upsert(full, request, caller, [*request.entries, *beside])
        return self.decide(caller, full, lambda unit: self._answer(unit, full, request))

    def _answer(self, unit: Unit, method: str, request: Any) -> Any:
        work = unit.nested(causation_id=getattr(request, "request_id", ""))
        try:
            response = DECISIONS[method](work, request)
        except NotYet as why:
            rule = CONTRACT.methods[method]
            if not rule.fact:
                raise Refused(why.refusal) from None
            response_type = CONTRACT.generated_class(rule.response_type)
            return receipt_response(response_type, hold(unit, method, request, why))
        unit.absorb(work)
        return response

    def _upsert(self, method: str, request: Any, caller: Caller, entries: list[Any]) -> list[Any]:
        response_type: Any = CONTRACT.generated_class(CONTRACT.methods[method].response_type)
        result_type = type(response_type().results.add())
        decide = upsert_entry(UPSERTS[method].kind, result_type, entries)

        def one(unit: Unit, entry: Any) -> Any:
            work = unit.nested(causation_id=entry.request_id)
            try:
                result = decide(work, entry)
            except NotYet as why:
                return receipt_response(result_type, hold(unit, method, entry, why))
            unit.absorb(work)
            return result

        return [self.decide(caller, method, partial(one, entry=entry)) for entry in request.entries]

    def decide(self, caller: Caller, name: str, work: Callable[[Unit], Any]) -> Any:
        """Run a decision until everything it asks for has been read, then keep what it changed."""
        self.now += 1000
        view = View()
        view.add(("endpoints",), self.endpoints)
        seen: dict[Key, bytes] = {}
        for rounds in range(self.rounds_max):
            unit = Unit(
                view,
                contract=CONTRACT,
                caller=caller,
                now=self.now,
                identifiers=self.identifiers,
                limits=self.limits,
            )
            try:
                result = work(unit)
            except NotLoaded as missing:
                self._load(view, missing.keys, seen)
                continue
            finally:
                self._check_untouched(seen)
            self.rounds[name] = max(self.rounds.get(name, 0), rounds)
            self._keep(unit)
            return result
        raise AssertionError(f"{name} read more than {self.rounds_max} rounds")

    def _load(self, view: View, keys: Iterable[Key], seen: dict[Key, bytes]) -> None:
        """Read as the store does: sets bring their members, a delivery brings its whole flow."""
        for key in sorted(keys, key=str):
            value = self._read(key)
            view.add(key, value)
            if key[0] == "attempts":
                for token in value:
                    view.add(("attempt", key[1], token), self.records["attempt", key[1], token])
            elif key[0] in ("children", "conversions"):
                for child in value:
                    self._load(view, [("object", key[1], child)], seen)
            elif key[0] == "number" and value is not None:
                self._load(view, [("object", key[1], value)], seen)
            elif key[0] == "flow":
                for delivery in value:
                    view.add(("delivery", delivery), self.records["delivery", delivery])
            elif key[0] == "delivery" and value is not None:
                self._load(view, [("flow", value.root_id)], seen)
            elif key[0] == "object" and value is not None:
                seen[key] = value.message.SerializeToString(deterministic=True)

    def _read(self, key: Key) -> Any:
        if key[0] in READ_OF_MANY:
            return read_of_many(key, self.records, self.scans)
        return self.records.get(key, () if key[0] in EMPTY_SETS else None)

    def _check_untouched(self, seen: dict[Key, bytes]) -> None:
        """Stored messages are shared between commands: a decision must copy before it changes."""
        for key, encoded in seen.items():
            now = self.records[key].message.SerializeToString(deterministic=True)
            assert now == encoded, f"a decision changed the stored {key}"

    def _keep(self, unit: Unit) -> None:
        changes = unit.changes
        for event in changes.events:
            same = [e for e in self.events if e.object_id == event.object_id]
            places = {(e.revision, e.position) for e in same}
            assert (event.revision, event.position) not in places, "an event's place is taken"
            self.events.append(event)
        for key, record in changes.records.items():
            if key[0] == "object":
                self._check_revision(key, record)
            if key[0] == "delivery":
                spoken = {r.subject_id for k, r in changes.records.items() if k[0] == WORD}
                self._check_delivery(self.records.get(key), record, by_word=record.id in spoken)
            self._check_lasting(key, record)
            self.records[key] = record
        self.scans += changes.scans
        self.scan_batches += changes.scan_outbox
        self.satisfied += changes.satisfied
        for name, count in changes.counters.items():
            self.counters[name] = self.counters.get(name, 0) + count

    def _check_revision(self, key: Key, record: Any) -> None:
        known = self.records.get(key)
        before = known.revision if known is not None else 0
        assert record.revision >= before
        assert record.message.revision == record.revision
        assert record.message.id == record.id == key[2]

    def _check_lasting(self, key: Key, record: Any) -> None:
        """What rows are said to keep they do keep, or they are written over with all indexes."""
        over, before = OVER.get(str(key[0])), self.records.get(key)
        if over is not None and record is not None and before is not None:
            shape = over.shape(record, before)
            assert shape is not over.whole, f"{key} changed what lasts: {record}"

    def _check_delivery(
        self, before: DeliveryRecord | None, after: DeliveryRecord, *, by_word: bool = False
    ) -> None:
        """The ledger's invariants, whatever was decided. by_word: an operator decided it."""
        assert not after.pending or after.state in ("READY", "RESOLVING"), (
            f"a delivery in {after.state} waits to be dispatched"
        )
        assert after.state not in ledger.COMPLETABLE_STATES or after.due_at or after.pending, (
            f"nothing will ever look at a delivery in {after.state} again"
        )
        if before is None:
            return
        assert after.token >= before.token, "a token shrank"
        assert after.dispatch_number >= before.dispatch_number
        settled = SETTLED_STATES - ({"REJECTED"} if by_word else set())
        assert before.state not in settled or after.state == before.state, (
            f"{before.state} became {after.state}"
        )
        if after.state == "SUPERSEDED" and before.state != "SUPERSEDED" and not by_word:
            assert after.calls_reached == 0, "what reached the vendor was superseded"

    # Held facts

    def drive(self) -> list[str]:
        """Decide held facts again whose awaited thing has arrived; the ids of those written."""
        written = []
        arrived, self.satisfied = self.satisfied, []
        rows = frozenset(each for each in arrived if each.startswith(ARRIVED))
        awaited = {record.awaits for record in self.held()}
        by_code, by_unit = waiting_for(awaited, rows), waiting_for_units(awaited, arrived)
        for together in [*([awaits] for awaits in arrived), by_code, by_unit]:
            waiting = sorted({fact for each in together for fact in self._read(("held", each))})
            written += [fact for fact in waiting if self._drive(self.records["held_fact", fact])]
        if written:
            written += self.drive()
        return written

    def _drive(self, record: HeldFactRecord) -> bool:
        self.decide(HUB, "drive", lambda unit: drive_one(unit, record))
        return bool(self.records["held_fact", record.id].state == "APPLIED")

    def held(self) -> list[HeldFactRecord]:
        """Facts that wait."""
        found = [r for k, r in self.records.items() if k[0] == "held_fact" and r.state == "HELD"]
        return sorted(found, key=lambda record: record.id)

    # The ledger

    def deliveries(self, endpoint: str = "", operation: str = "") -> list[DeliveryRecord]:
        """Deliveries in their order, all or of an endpoint and operation."""
        found = [
            record
            for key, record in self.records.items()
            if key[0] == "delivery"
            and endpoint in ("", record.endpoint)
            and operation in ("", record.operation)
        ]
        return sorted(found, key=lambda record: record.sequence)

    def delivery(self, endpoint: str, operation: str) -> DeliveryRecord:
        """The only delivery of an operation at an endpoint."""
        (found,) = self.deliveries(endpoint, operation)
        return found

    def fresh(self, record: DeliveryRecord) -> DeliveryRecord:
        """A delivery as it is now."""
        found: DeliveryRecord = self.records["delivery", record.id]
        return found

    def dispatch(self, record: DeliveryRecord) -> DeliveryRecord:
        """What the dispatcher does with a pending delivery."""
        record = self.fresh(record)
        assert record.pending, f"{record.operation} is {record.state}: {record.waiting_on}"
        gone = ledger.dispatch(record, self.now, self.limits)
        self._check_delivery(record, gone)
        self.records["delivery", record.id] = gone
        return gone

    def begin(
        self, record: DeliveryRecord, *, attempt_id: str = "", dispatch_number: int = 0
    ) -> delivery_service_pb2.BeginResult:
        """BeginAttempts for one delivery by its own endpoint. Raises Refused."""
        record = self.fresh(record)
        request = delivery_service_pb2.Begin(
            delivery_id=record.id,
            dispatch_number=dispatch_number or record.dispatch_number,
            attempt_id=attempt_id or request_id(),
        )
        result: delivery_service_pb2.BeginResult = self.decide(
            self.caller_of(record), "begin", lambda unit: attempts.begin(unit, request, "test")
        )
        return result

    def take(self, record: DeliveryRecord) -> int:
        """Dispatch and begin; the token."""
        result = self.begin(self.dispatch(record))
        assert not result.HasField("refusal"), result.refusal.message
        return result.token

    def complete(
        self,
        record: DeliveryRecord,
        token: int,
        outcome: str,
        *,
        facts: Iterable[tuple[str, Any]] = (),
        references: Iterable[tuple[str, str]] = (),
        duplicates: Iterable[tuple[str, str]] = (),
        retry_after: float = 0.0,
        reason: str = "",
        code: str = "",
        response_excerpt: str = "",
    ) -> delivery_service_pb2.CompletionResult:
        """CompleteAttempts for one delivery by its own endpoint. Raises Refused."""
        request = delivery_service_pb2.Completion(
            delivery_id=record.id,
            token=token,
            outcome=delivery_pb2.AttemptOutcome.Value(f"ATTEMPT_OUTCOME_{outcome}"),
            reason=reason,
            code=code,
            response_excerpt=response_excerpt,
        )
        request.retry_after.FromMicroseconds(int(retry_after * SECOND))
        for type_, value in references:
            request.vendor_references.add(type=type_, value=value)
        for type_, value in duplicates:
            request.duplicates.add(type=type_, value=value)
        for method, message in facts:
            encoded = message.SerializeToString()
            request.facts.add(method=f"/crossdock.{method}", request=encoded)
        checked = checking.check_facts(CONTRACT, request.facts, self.limits)
        result: delivery_service_pb2.CompletionResult = self.decide(
            self.caller_of(record),
            "complete",
            lambda unit: attempts.complete(unit, request, checked),
        )
        return result

    def renew(self, record: DeliveryRecord, token: int, seconds: float) -> Any:
        """RenewLeases for one delivery. Raises Refused."""
        request = delivery_service_pb2.LeaseRenewal(delivery_id=record.id, token=token)
        request.lease.FromMicroseconds(int(seconds * SECOND))
        caller = self.caller_of(record)
        return self.decide(caller, "renew", lambda unit: attempts.renew(unit, request))

    def settle(self, record: DeliveryRecord, outcome: str = "CONFIRMED", **learned: Any) -> Any:
        """The whole way: dispatched, begun, ended."""
        return self.complete(record, self.take(record), outcome, **learned)

    def pass_time(self, seconds: float) -> None:
        """Let time go by, timer by timer, in the order they run out."""
        until = self.now + int(seconds * SECOND)
        while True:
            timed = [r for r in self.deliveries() if r.due_at is not None and r.due_at <= until]
            if not timed:
                break
            first = min(timed, key=lambda r: (r.due_at or 0, r.sequence))
            self.now = max(self.now, first.due_at or 0)
            self.tick(first)
        self.now = max(self.now, until)

    def tick(self, record: DeliveryRecord) -> None:
        """The timer of one delivery has run out."""
        self.decide(HUB, "tick", lambda unit: attempts.tick(unit, record.id))

    def words_about(self, record: DeliveryRecord) -> list[OperatorWordRecord]:
        """What operators said about a delivery, oldest first."""
        found = [r for k, r in self.records.items() if k[0] == WORD and r.subject_id == record.id]
        return sorted(found, key=lambda word: word.id)

    def caller_of(self, record: DeliveryRecord | HeldFactRecord) -> Caller:
        """The endpoint that a delivery is for, or a held fact of."""
        endpoint = compile_endpoint(self.records["endpoint", record.endpoint], self.limits)
        return Caller(endpoint.id, endpoint.role, endpoint.scope)

    def attempts_of(self, record: DeliveryRecord) -> list[AttemptRecord]:
        """The attempt log of a delivery."""
        found = [r for k, r in self.records.items() if k[:2] == ("attempt", record.id)]
        return sorted(found, key=lambda attempt: attempt.token)

    # Objects

    def object(self, kind: str, object_id: str) -> Any:
        """The message of an object."""
        return self.records["object", kind, object_id].message

    def state(self, kind: str, object_id: str) -> str:
        """The state of an object."""
        state: str = self.records["object", kind, object_id].state
        return state

    def all(self, kind: str) -> list[Any]:
        """The messages of all objects of a kind, oldest first."""
        found = [r for k, r in self.records.items() if k[:2] == ("object", kind)]
        return [record.message for record in sorted(found, key=lambda record: record.id)]

    def told(self) -> list[str]:
        """Stems of all events, in the order they were recorded."""
        return [event.stem for event in self.events]


def digest_of(company: Company) -> str:
    """One value for everything a company knows of its objects: equal when the states are."""
    parts = sorted(
        (str(key), record.message.SerializeToString(deterministic=True))
        for key, record in company.records.items()
        if key[0] == "object"
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def refusal_of(work: Callable[[], Any]) -> Any:
    """The refusal that a call ends with."""
    try:
        answer = work()
    except Refused as refused:
        return refused.refusal
    raise AssertionError(f"not refused: {answer}")


def outcome(receipt: types_pb2.FactReceipt) -> str:
    """APPLIED, HELD or ALREADY_KNOWN."""
    return types_pb2.FactOutcome.Name(receipt.outcome).removeprefix("FACT_OUTCOME_")
