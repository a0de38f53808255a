"""Rows that are written over: with every column that changed, and no index of one that did not."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from crossdock.item.v1 import item_pb2
from crossdock_hub.commands import Command
from crossdock_hub.committer import Committer
from crossdock_hub.config import Limits
from crossdock_hub.delivery import ledger
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.records import (
    DeliveryRecord,
    ObjectRecord,
    ParcelRecord,
    QuarantineRecord,
    VendorReferenceRecord,
)
from crossdock_hub.replacing import replace
from crossdock_hub.store import Store, crossing, rows, writing
from crossdock_hub.unit import Key, Unit
from databases import KINDS, open_store
from decisions import CONTRACT, OMS
from sqlalchemy import select

DEADLINE_SECONDS: Final = 60.0
BATCHES: Final = 40
ROOTS: Final = tuple(f"root-{number}" for number in range(3))
# By what a record is found, or what says how it is read.
NAMES: Final = frozenset({"id", "carrier_code", "tracking_number", "message"})
OVER: Final = {
    "object": rows.OBJECTS_OVER,
    "delivery": rows.DELIVERIES_OVER,
    "parcel": rows.PARCELS_OVER,
}
Records = dict[Key, Any]


@pytest.fixture(params=KINDS)
async def store(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """An empty database, of each kind."""
    opened = await open_store(tmp_path, request.param)
    yield opened
    await opened.close()


@pytest.fixture
async def committer(store: Store) -> AsyncIterator[Committer]:
    """A hub's own way to its database."""
    limits = Limits()
    running = Committer(store, CONTRACT, limits, Picker(limits))
    running.start([])
    yield running
    await running.stop()


def delivery(name: str) -> DeliveryRecord:
    return DeliveryRecord(
        id=name, event_id="e", event_type="t", endpoint="erp", operation="o", item="",
        ordering_key="k", state="CONFIRMED", created_at=1, updated_at=1, kind="item",
        object_id="root-0", root_id="root-0", vendor_reference=f"v-{name}", sequence=name,
    )  # fmt: skip


def thing(name: str) -> ObjectRecord:
    message = item_pb2.Item(id=name)
    return ObjectRecord("item", name, message, 1, "", f"n-{name}", name, 7, 1, 1)


def parcel(name: str) -> ParcelRecord:
    return ParcelRecord(
        "UPSN", name, f"l-{name}", "s", f"p-{name}", "o", 7, "IN_TRANSIT", None, False, 20_000
    )


MADE: Final[dict[str, Callable[[str], Any]]] = {
    "objects": thing,
    "deliveries": delivery,
    "parcels": parcel,
}


def first_records() -> Records:
    """Three of each kind."""
    things: Records = {("object", "item", name): thing(name) for name in ROOTS}
    parcels: Records = {("parcel", "UPSN", f"1Z{n}"): parcel(f"1Z{n}") for n in range(3)}
    return things | parcels | {("delivery", f"d{n}"): delivery(f"d{n}") for n in range(3)}


class Changing:
    """Draws what becomes of records: other values of any of their columns, by their types."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._number = 0

    def batch(self, known: Records) -> Records:
        """Some of them, each with some of its columns changed, and now and then a new one."""
        some = self._chance.sample(sorted(known), self._chance.randint(1, len(known)))
        changed = {key: self._changed(known[key]) for key in some}
        if self._chance.random() < 0.3:
            self._number += 1
            name = f"d-new-{self._number}"
            changed["delivery", name] = delivery(name)
        return changed

    def _changed(self, record: Any) -> Any:
        # The kind of an object is in its key, and says what its message is.
        fixed = NAMES | {"kind"} if isinstance(record, ObjectRecord) else NAMES
        names = [f.name for f in dataclasses.fields(record) if f.name not in fixed]
        count = self._chance.choice((1, 1, 2, 5))
        new = {
            name: self._other(name, getattr(record, name))
            for name in self._chance.sample(names, count)
        }
        return replace(record, **new)

    def _other(self, name: str, value: Any) -> Any:
        self._number += 1
        if name == "root_id":
            return self._chance.choice(ROOTS)
        if isinstance(value, bool):
            # Nothing that waits for a slot: nobody is there to take it.
            return value if name == "pending" else not value
        if isinstance(value, tuple):
            return (*value, f"x{self._number}")[-2:]
        if name == "quarantined":
            return [] if value else [QuarantineRecord("m", b"\x00", bytes([self._number % 256]))]
        if isinstance(value, list):
            return [] if value else [VendorReferenceRecord("a", f"{self._number}")]
        if value is None or isinstance(value, int):
            return self._number % 30_000
        return f"x{self._number}"


def in_columns(shape: crossing.Shape, records: Sequence[Any]) -> list[dict[str, Any]]:
    """Records as their rows should be, in the order of their keys."""
    keys = [column.name for column in shape.table.primary_key]
    found = [shape.row(record) for record in records]
    return sorted(found, key=lambda row: [row[key] for key in keys])


async def stored_rows(store: Store, shape: crossing.Shape) -> list[dict[str, Any]]:
    keys = list(shape.table.primary_key)
    async with store.read() as connection:
        found = await connection.execute(select(shape.table).order_by(*keys))
        return [dict(row) for row in found.mappings()]


async def commit(committer: Committer, changed: Mapping[Key, Any]) -> None:
    """Read what is changed and write it, in a batch of its own."""

    def decide(unit: Unit) -> None:
        unit.require(changed)
        for key, record in changed.items():
            unit.put(key, record)

    waits = asyncio.get_running_loop().create_future()
    await committer.submit(Command("/change", OMS, decide, waits))


@pytest.mark.parametrize("seed", range(3))
async def test_a_row_is_what_was_written_whatever_changed(
    store: Store, committer: Committer, seed: int
) -> None:
    """Proves for histories of changes to any columns, those that hardly ever change too, that
    after each batch every row is its record, in every column."""
    changing, known = Changing(seed), first_records()
    async with asyncio.timeout(DEADLINE_SECONDS):
        await commit(committer, known)
        for _ in range(BATCHES):
            changed = changing.batch(known)
            await commit(committer, changed)
            known |= changed
            for kind, over in OVER.items():
                records = [record for key, record in known.items() if key[0] == kind]
                assert await stored_rows(store, over.whole) == in_columns(over.whole, records)


async def test_only_what_changed_of_what_lasts_costs_every_index(
    committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a batch writes rows which keep what lasts without it, and only those: not new
    ones, nor one of which it changed."""
    written: list[tuple[str, bool, int]] = []

    async def noted(connection: Any, work: Any) -> None:
        written.extend((s.table.name, bool(s.keeps), len(r)) for s, r in work if r)
        await crossing.write_rows(connection, work)

    monkeypatch.setattr(writing, "write_rows", noted)
    known = first_records()
    await commit(committer, known)
    assert not [name for name, narrow, _ in written if narrow]
    written.clear()
    one, two, three = (key for key in known if key[0] == "delivery")
    await commit(
        committer,
        {
            one: replace(known[one], state="PARKED", token=9),
            two: replace(known[two], updated_at=9),
            three: replace(known[three], endpoint="wms"),
            ("parcel", "UPSN", "1Z0"): replace(parcel("1Z0"), milestone="DELIVERED"),
            ("object", "item", ROOTS[0]): replace(thing(ROOTS[0]), revision=2),
        },
    )
    assert sorted(written) == [
        ("deliveries", False, 1), ("deliveries", True, 2), ("objects", True, 1),
        ("parcels", True, 1),
    ]  # fmt: skip


async def test_a_dispatch_of_stored_work_is_whole(store: Store) -> None:
    """Proves that a stored delivery that is dispatched, which is written without what lasts and
    without a look at what it was, has the row of its record in every column."""
    limits = Limits()
    waiting = replace(delivery("d"), state="PENDING", pending=True)
    async with store.write() as connection:
        await crossing.write_rows(connection, [(rows.DELIVERIES, [waiting])])
    async with store.write() as connection:
        (found,) = await writing.pending(connection, "erp", 1)
        sent = ledger.dispatch(found, 10_000_000, limits)
        await writing.write_deliveries(connection, [sent])
    assert sent.state == "DISPATCHED"
    shape = OVER["delivery"].whole
    assert await stored_rows(store, shape) == in_columns(shape, [sent])


def test_what_seldom_changes_does_not_travel() -> None:
    """Proves that a delivery that is dispatched has all of its changes among the few columns that
    travel to PostgreSQL, and that one of which a draft became known has that among more."""
    over, before = OVER["delivery"], replace(delivery("d"), state="READY", pending=True)
    sent = ledger.dispatch(before, 10_000_000, Limits())
    travelling = over.shape(sent, before).sent
    whole = {name: value for name, value in over.whole.row(before).items() if name != "id"}
    after = over.whole.row(sent)
    assert {name for name, value in whole.items() if after[name] != value} < {*travelling}
    assert len(travelling) < len(over.whole.columns) / 3
    drafted = over.shape(replace(sent, draft="draft-1"), before)
    assert "draft" in drafted.sent and "draft" not in travelling
    assert len(drafted.sent) < len(over.whole.columns)
    assert over.shape(replace(sent, endpoint="wms"), before).sent == over.whole.columns


def unchanging(over: crossing.Rewriting) -> set[str]:
    """The indexes of a table that have nothing but what lasts."""
    lasting = {*over.narrow.keeps, *(column.name for column in over.whole.table.primary_key)}
    found: set[str] = set()
    for index in over.whole.table.indexes:
        conditions = index.dialect_options["sqlite"]["where"]
        texts = [str(each) for each in (*index.expressions, conditions) if each is not None]
        words = {word for text in texts for word in re.findall(r"\w+", text)}
        if not {column.name for column in over.whole.table.columns} & words - lasting:
            found.add(str(index.name))
    return found


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
@pytest.mark.parametrize("kind", OVER)
async def test_no_index_of_what_lasts_is_touched(store: Store, kind: str) -> None:
    """Proves by SQLite's own program that writing a row over deletes and inserts entries of those
    indexes only that have a column which changes; with all columns, of every one."""
    over = OVER[kind]
    every = {str(index.name) for index in over.whole.table.indexes}
    wanted = {"object": 4, "delivery": 4, "parcel": 3}
    assert len(unchanging(over)) == wanted[kind]
    assert await rewritten(store, over.narrow) == every - unchanging(over)
    # Of a column of the key: it is never written over.
    assert await rewritten(store, over.whole) == every - {"parcels_spelling"}


async def rewritten(store: Store, shape: crossing.Shape) -> set[str]:
    """The indexes from which the statement takes the entries of a row that it writes over."""
    record = MADE[shape.table.name]("x")
    ((text, values),) = shape.steps([record])
    async with store.read() as connection:
        program = (await connection.exec_driver_sql(f"EXPLAIN {text}", tuple(values))).all()
        names = await connection.exec_driver_sql(
            "SELECT rootpage, name FROM sqlite_master WHERE type = 'index'"
        )
        by_page = {row.rootpage: row.name for row in names}
    opened = {row.p1: by_page.get(row.p2, "") for row in program if row.opcode == "OpenWrite"}
    return {opened[row.p1] for row in program if row.opcode == "IdxDelete"} - {""}
