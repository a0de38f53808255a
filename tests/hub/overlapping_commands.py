"""Commands that get in each other's way, drawn from a seed, and what must have come of them.

Run as a program it is a hub's committer in a process of its own: it submits every command of a seed
until all are answered, and may be killed and paused meanwhile.
"""

from __future__ import annotations

import asyncio
import random
import sys
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from crossdock.bus import partition_of
from crossdock.endpoint.v1 import held_fact_pb2
from crossdock.errors import Refusal
from crossdock.tracking.v1 import tracking_service_pb2
from crossdock_hub.commands import Command
from crossdock_hub.committer import Committer
from crossdock_hub.config import Limits
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.identity import Caller
from crossdock_hub.objects import held as holding
from crossdock_hub.objects import references
from crossdock_hub.records import CursorRecord, EventRecord, ObjectRecord, ScanRecord
from crossdock_hub.store import Store
from crossdock_hub.unit import Key, Refused, Unit
from databases import Database
from decisions import CONTRACT

LIMITS = Limits().with_changes({"batch_commands_max": 16})
CALLER = Caller("oms", "OMS")
# The version of hubs that share a database.
SHARED_BY = "hubs of a test"
ORDERS = tuple(f"order-{n}" for n in range(5))
ITEMS = tuple(f"item-{n}" for n in range(3))
COUNTERS = tuple(f"counter-{n}" for n in range(5))
ACCOUNTS = tuple(f"account-{n}" for n in range(4))
NO = Refusal("STATE_TRANSITION", "no")
Answer = tracking_service_pb2.StreamTrackingEventsResponse
Decide = Callable[[Unit], Any]


def command(decide: Decide, request_id: str = "", *keys: Key) -> Command:
    return Command(
        "/a/Method",
        CALLER,
        decide,
        asyncio.get_running_loop().create_future(),
        request_id=request_id,
        digest=b"1",
        response_type=Answer,
        keys=frozenset(keys),
    )


def value_of(unit: Unit, name: str) -> int:
    known: CursorRecord | None = unit.get(("cursor", "oms", name))
    return 0 if known is None else int(known.value)


def set_value(unit: Unit, name: str, value: int) -> None:
    unit.put(("cursor", "oms", name), CursorRecord("oms", name, str(value).encode(), 1))


def count(name: str, then: str) -> Decide:
    """Add one to two counters, the second read when the first is known."""

    def decide(unit: Unit) -> Any:
        for each in (name, then):
            set_value(unit, each, value_of(unit, each) + 1)
        return Answer()

    return decide


def withdraw(own: str, other: str) -> Decide:
    """Take one from an account as long as two together have it."""

    def decide(unit: Unit) -> Any:
        if value_of(unit, own) + value_of(unit, other) < 1:
            raise Refused(NO)
        set_value(unit, own, value_of(unit, own) - 1)
        return Answer()

    return decide


def new_object(unit: Unit, kind: str, object_id: str, number: str | None = None) -> ObjectRecord:
    message = CONTRACT.generated_class(CONTRACT.resources[kind].message_name)()
    partition = partition_of(object_id)
    return ObjectRecord(
        kind, object_id, message, 1, "", number, object_id, partition, unit.now, unit.now
    )


def tell(unit: Unit, record: ObjectRecord) -> None:
    """An event about an object as it is now."""
    unit.changes.events.append(
        EventRecord(
            id=unit.new_id(),
            type="a.changed",
            stem="changed",
            kind=record.kind,
            object_id=record.id,
            revision=record.revision,
            position=0,
            root_id=record.root_id,
            partition=record.partition,
            body=b"1",
            producer="oms",
            traceparent="",
            event_time=None,
            record_time=unit.now,
            causation_id="",
        )
    )


def change(kind: str, object_id: str, kind_then: str, then: str) -> Decide:
    """Change an object, then another one that nobody knew would be needed."""

    def decide(unit: Unit) -> Any:
        for of_kind, each in ((kind, object_id), (kind_then, then)):
            known = unit.object(of_kind, each)
            assert known is not None, each
            changed = replace(known, revision=known.revision + 1)
            unit.put_object(changed)
            tell(unit, changed)
        return Answer()

    return decide


def add_child(order_id: str) -> Decide:
    """Add a shipment whose number is how many the order has."""

    def decide(unit: Unit) -> Any:
        siblings = unit.children("shipment", order_id)
        record = new_object(unit, "shipment", unit.new_id(), f"{order_id}/{len(siblings)}")
        unit.put_object(replace(record, root_id=order_id))
        return Answer()

    return decide


def take_number(number: str) -> Decide:
    """Create an order with a number that nobody has."""

    def decide(unit: Unit) -> Any:
        if unit.by_number("order", number) is not None:
            raise Refused(NO)
        record = new_object(unit, "order", unit.new_id(), number)
        unit.put_object(record)
        tell(unit, record)
        return Answer()

    return decide


def refer(value: str, object_id: str) -> Decide:
    """Name an object by a reference that names one object only."""

    def decide(unit: Unit) -> Any:
        references.add_references(unit, "order", object_id, [("erp", "document", value)])
        return Answer()

    return decide


def scan(name: str) -> Decide:
    """Store a scan once."""

    def decide(unit: Unit) -> Any:
        key = name.encode().ljust(16, b"\0")
        if unit.get(("scan", key)):
            raise Refused(NO)
        unit.put(("scan", key), True)
        unit.changes.scans.append(
            ScanRecord(unit.new_id(), key, "UPSN", name, "", "", None, unit.now, b"1")
        )
        return Answer()

    return decide


def hold(key: str) -> Decide:
    """Hold a raw payload, unless it is held."""
    request = held_fact_pb2.HoldPayloadRequest(
        payload=b"<x/>", source="/hook", reason="not JSON", key=key
    )
    return lambda unit: holding.hold_payload(unit, request)


def drawn(chance: random.Random) -> tuple[tuple[str, ...], Decide]:
    """What a command is, and its decision."""
    kind = chance.choice(
        ("count", "withdraw", "change", "change", "change item", "child", "number", "refer", "scan")
    )
    if kind == "count":
        names = chance.sample(COUNTERS, 2)
        return (kind, *names), count(*names)
    if kind == "withdraw":
        first = chance.choice((0, 2))
        own, other = chance.sample(ACCOUNTS[first : first + 2], 2)
        return (kind, own), withdraw(own, other)
    if kind == "change":
        first_id, second = chance.sample(ORDERS, 2)
        return (kind, first_id, second), change("order", first_id, "order", second)
    if kind == "change item":
        item, order_id = chance.choice(ITEMS), chance.choice(ORDERS)
        return ("change", item, order_id), change("item", item, "order", order_id)
    if kind == "child":
        order_id = chance.choice(ORDERS)
        return (kind, order_id), add_child(order_id)
    name = f"{kind}-{chance.randrange(30)}"
    if kind == "refer":
        object_id = chance.choice(ORDERS)
        return (kind, name, object_id), refer(name, object_id)
    return (kind, name), take_number(name) if kind == "number" else scan(name)


async def told(answer: Awaitable[Any]) -> Any:
    """An answer, or the refusal."""
    try:
        return await answer
    except Refused as refused:
        return refused


async def begin(committer: Committer) -> None:
    """Give every object and account there is."""

    def decide(unit: Unit) -> Any:
        for kind, ids in (("order", ORDERS), ("item", ITEMS)):
            for object_id in ids:
                unit.put_object(new_object(unit, kind, object_id))
        for name in ACCOUNTS:
            value_of(unit, name)
            set_value(unit, name, 5)
        return Answer()

    await committer.submit(command(decide))


def check(database: Database, done: Sequence[tuple[str, ...]]) -> None:
    """What is stored is what the commands that were done come to, and nothing else."""
    changed = Counter(name for kind, *names in done if kind == "change" for name in names)
    counted = Counter(name for kind, *names in done if kind == "count" for name in names)
    taken_out = Counter(what[1] for what in done if what[0] == "withdraw")
    _check_values(database, counted, taken_out)
    _check_events(database, changed)
    children = Counter(what[1] for what in done if what[0] == "child")
    rows = database.query("SELECT number FROM objects WHERE kind = 'shipment'")
    wanted = {f"{order}/{n}" for order, many in children.items() for n in range(many)}
    assert {row[0] for row in rows} == wanted
    for kind in ("number", "scan"):
        assert max(Counter(what[1] for what in done if what[0] == kind).values()) == 1
    owners = {(what[1], what[2]) for what in done if what[0] == "refer"}
    stored = database.query("SELECT value, object_id FROM external_references")
    assert {tuple(row) for row in stored} == owners
    assert len(owners) == len({value for value, _ in owners})


def _check_values(database: Database, counted: Counter[str], taken_out: Counter[str]) -> None:
    values = {name: int(value) for name, value in database.query("SELECT name, value FROM cursors")}
    assert {name: values[name] for name in COUNTERS} == {name: counted[name] for name in COUNTERS}
    accounts = {name: 5 - taken_out[name] for name in ACCOUNTS}
    assert {name: values[name] for name in ACCOUNTS} == accounts
    assert all(values[one] + values[two] >= 0 for one, two in (ACCOUNTS[:2], ACCOUNTS[2:]))


def _check_events(database: Database, changed: Counter[str]) -> None:
    for name in (*ORDERS, *ITEMS):
        events = database.query(
            "SELECT revision FROM events WHERE object_id = ? ORDER BY sequence", name
        )
        assert [row[0] for row in events] == list(range(2, changed[name] + 2)), name


def request_id(seed: int, number: int) -> str:
    """What the command of a seed with a number is repeated under."""
    return str(uuid.UUID(int=(seed << 64) + number))


def work_of(seed: int, count: int) -> list[tuple[tuple[str, ...], Decide]]:
    """The commands of a seed, for every process the same."""
    chance = random.Random(seed)
    return [drawn(chance) for _ in range(count)]


async def commit_all(url: str, seed: int, count: int, own: int) -> None:
    """Submit each command of a seed until it is answered, in an order of this process's own."""
    store = await Store.open(url, CONTRACT, shared_by=SHARED_BY)
    committer = Committer(store, CONTRACT, LIMITS, Picker(LIMITS))
    committer.start([])
    work = list(enumerate(work_of(seed, count)))
    random.Random(own).shuffle(work)
    for first in range(0, count, 30):
        waiting = work[first : first + 30]
        while waiting:
            sent = [
                committer.submit(command(decide, request_id(seed, number)))
                for number, (_, decide) in waiting
            ]
            answers = await asyncio.gather(*map(told, sent))
            waiting = [
                each
                for each, answer in zip(waiting, answers, strict=True)
                if isinstance(answer, Refused) and answer.refusal.reason == "HUB_UNAVAILABLE"
            ]
        print("more", flush=True)
    await committer.stop()
    await store.close()


if __name__ == "__main__":
    asyncio.run(commit_all(sys.argv[1], *map(int, sys.argv[2:])))
