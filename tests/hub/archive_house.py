"""A store, a committer and an archiver whose clock is the test's: the first flow in real rows.

The flow's steps are decided by the committer, in a loop of its own, so that they read as elsewhere.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from crossdock import contracts
from crossdock.bus import SCAN_STREAM
from crossdock.delivery.v1 import delivery_service_pb2
from crossdock.delivery.v1.delivery_pb2 import ATTEMPT_OUTCOME_CONFIRMED as CONFIRMED
from crossdock_hub.archive.archiver import Archiver, Outcome
from crossdock_hub.archive.settling import DAY, Rules, rules_of
from crossdock_hub.commands import Command
from crossdock_hub.committer import Committer
from crossdock_hub.config import Limits
from crossdock_hub.delivery import attempts, checking
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.identity import Caller
from crossdock_hub.reading.catalogue import answer
from crossdock_hub.reading.queries import Queries
from crossdock_hub.records import BusPosition, EndpointRecord, Mark
from crossdock_hub.retention import ages, with_retention
from crossdock_hub.store import Access, Reader, Store
from crossdock_hub.store.writing import ensure_endpoints
from crossdock_hub.unit import Unit
from crossdock_hub.waiting import Waiters
from databases import KIND, Database, database_of
from decisions import CARRIER, CONTRACT, ERP, OMS, OPERATOR, START, TMS, WMS, Company, request_id
from first_flow import Flow, order, package, scan

HOT_HOURS = 72.0
RETENTION_DAYS = 20.0
# Short enough that a year has several turns of everything.
DAYS = {"order": 60.0, "request": 30.0, "held_fact": 30.0, "replay": 30.0, "archived_id": 120.0}
LIMITS = replace(Limits(), archive_pause_seconds=0.0, archive_page_flows=5)
PEOPLE = (OMS, ERP, WMS, CARRIER, TMS, OPERATOR)


def everybody() -> list[Caller]:
    """The usual endpoints, and one of each other role that an event has to reach."""
    known = {caller.role for caller in PEOPLE}
    roles = {target.role for event in CONTRACT.events.values() for target in event.targets}
    return [*PEOPLE, *(Caller(role.lower(), role) for role in sorted(roles - known))]


def operations(role: str) -> dict[str, str]:
    """Everything that events ask of a role."""
    found = {
        target.operation
        for event in CONTRACT.events.values()
        for target in event.targets
        if target.role == role
    }
    return dict.fromkeys(sorted(found), "NATURAL")


class House(Flow):  # type: ignore[misc]
    """A company whose books are a database. `close` it."""

    def __init__(
        self,
        directory: Path,
        *,
        kind: str = KIND,
        days: dict[str, float] | None = None,
        limits: Limits = LIMITS,
        now: int = START,
    ) -> None:
        Company.__init__(self, limits)
        self.now = now
        self.contract = with_retention(CONTRACT, dict.fromkeys(CONTRACT.events, RETENTION_DAYS))
        self.directory = directory / "archive"
        self.database: Database = database_of(directory, kind)
        self.rules: Rules = rules_of(
            DAYS if days is None else days, ages(self.contract, HOT_HOURS, limits)
        )
        directory.mkdir(exist_ok=True)
        self._asked: Any = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.run(self._open())
        for caller in everybody():
            wanted = operations(caller.role)
            if wanted:
                self.register(caller, wanted)
        self.learn_item()
        self.learn_customer()
        self.learn_location()

    async def _open(self) -> None:
        self.store = await Store.open(self.database.url, self.contract, Access())
        self.committer = Committer(
            self.store, self.contract, self.limits, Picker(self.limits), lambda: self.now
        )
        async with self.store.write() as connection:
            configured = [_record(each) for each in everybody()]
            known = await ensure_endpoints(connection, configured, 0, self.limits)
        self.committer.start(known)
        self.archiver = self.new_archiver()
        self.queries = Queries(Reader(self.store), self.contract, self.limits, Waiters())

    def new_archiver(self, told: Callable[[str, int], None] = lambda _a, _b: None) -> Archiver:
        """One that knows nothing of what another did."""
        return Archiver(
            self.store, self.committer, self.limits, self.rules, self.directory,
            lambda: self.now, told,
        )  # fmt: skip

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """The result of something asynchronous."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def __enter__(self) -> House:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything; once is enough."""
        if self._loop.is_closed():
            return
        self.run(self.committer.stop())
        self.run(self.store.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # Deciding

    def call(self, method: str, request: Any, caller: Caller) -> Any:
        """One RPC, answered once for its request id."""
        self._asked = method, request
        return super().call(method, request, caller)

    def decide(self, caller: Caller, name: str, work: Callable[[Unit], Any]) -> Any:
        """In a batch of the committer."""
        self.now += 1000
        (_, request), self._asked = self._asked or ("", None), None
        asked = getattr(request, "request_id", "")

        async def submit() -> Any:
            command = Command(name, caller, work, self._loop.create_future())
            if asked and request is not None:
                rule = CONTRACT.methods[name]
                command.request_id = asked
                command.digest = contracts.digest(request)
                command.response_type = CONTRACT.generated_class(rule.response_type)
            return await self.committer.submit(command)

        return self.run(submit())

    def ask(self, method: str, request: Any, caller: Caller = OPERATOR) -> Any:
        """A reading method's answer."""
        return self.run(answer(self.queries, f"/crossdock.{method}", caller, request, 5.0))

    # A life of an order

    def settle_all(self) -> None:
        """Confirm everything that is dispatched, until nothing is."""
        callers = {caller.endpoint: caller for caller in everybody()}
        while found := self.database.query(
            "SELECT id, endpoint, dispatch_number FROM deliveries WHERE state = 'DISPATCHED'"
        ):
            for delivery, endpoint, number in found:
                begin = delivery_service_pb2.Begin(
                    delivery_id=delivery, dispatch_number=number, attempt_id=request_id()
                )
                caller = callers[endpoint]
                begun = self.decide(caller, "begin", partial(_begin, begin))
                end = delivery_service_pb2.Completion(
                    delivery_id=delivery, token=begun.token, outcome=CONFIRMED
                )
                end.vendor_references.add(type=f"{endpoint}_document", value=f"D-{delivery}")
                checked = checking.check_facts(CONTRACT, end.facts, self.limits)
                self.decide(caller, "complete", partial(_complete, end, checked))

    def publish(self) -> None:
        """What the relay notes when the bus has stored every event."""
        rows = self.database.query("SELECT sequence FROM events WHERE published_at IS NULL")
        ((scans,),) = self.database.query("SELECT coalesce(max(sequence), 0) FROM scan_outbox")
        position = BusPosition(SCAN_STREAM, scans, scans)
        let_go = self.now - int(HOT_HOURS * DAY / 24)

        async def mark() -> None:
            events = [row[0] for row in rows]
            self.committer.mark(Mark(events, [position], let_go, scans))

        self.run(mark())
        self.decide(OPERATOR, "nothing", lambda _unit: None)

    def delivered(self, name: str) -> str:
        """An order of one parcel from its creation to its end; its id."""
        order_id, (part,) = self.released(order(f"SO-{name}"))
        self.settle_all()
        self.pick(part)
        shipment = self.pack(part, package(f"LPN-{name}"), number=f"SHP-{name}").shipment
        self.settle_all()
        self.label(shipment.id, shipment.packages[0].id, f"1Z{name}")
        self.manifest(f"SHP-{name}")
        self.settle_all()
        for milestone in ("CARRIER_ACCEPTED", "DELIVERED"):
            self.report(scan(milestone, self.now, number=f"1Z{name}"))
        self.settle_all()
        self.publish()
        return order_id

    def days_pass(self, days: float) -> None:
        """Time goes by, and nothing happens."""
        self.now += int(days * DAY)

    def archive(self) -> Outcome:
        """A pass of a new archiver."""
        outcome: Outcome = self.run(self.new_archiver().archive())
        return outcome

    def look(self) -> Outcome:
        """What a pass would do."""
        outcome: Outcome = self.run(self.new_archiver().look())
        return outcome

    def counts(self) -> dict[str, int]:
        """How many rows each table has."""
        names = [name for name in self.database.tables() if not name.startswith("sqlite_")]
        return {n: self.database.query(f"SELECT count(*) FROM {n}")[0][0] for n in names}

    def rows_about(self, *ids: str) -> dict[str, int]:
        """In which tables any column says one of these, and how often."""
        return {
            name: found
            for name in self.database.tables()
            if not name.startswith("sqlite_") and (found := self._mentions(name, ids))
        }

    def _mentions(self, table: str, ids: Sequence[str]) -> int:
        rows: Iterable[Any] = self.database.query(f"SELECT * FROM {table}")
        return sum(any(value in ids for value in tuple(row)) for row in rows)


def _begin(begin: Any, unit: Unit) -> Any:
    return attempts.begin(unit, begin, "test")


def _complete(end: Any, checked: Any, unit: Unit) -> Any:
    return attempts.complete(unit, end, checked)


def _record(caller: Caller) -> EndpointRecord:
    scope = caller.scope
    return EndpointRecord(
        caller.endpoint,
        caller.role,
        tuple(sorted(scope.business_units)),
        tuple(sorted(scope.location_numbers)),
        tuple(sorted(scope.carrier_codes)),
        "EXPECTED",
        b"",
    )
