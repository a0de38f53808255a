"""What a call will read is foreseen: its batch asks the database no oftener than it has to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock.order.v1 import order_pb2, order_service_pb2
from crossdock_hub.commands import hinted_keys
from crossdock_hub.delivery import attempts, checking
from crossdock_hub.records import Mark, Tie
from crossdock_hub.store import Store, rows
from crossdock_hub.store.bus_rows import keep_tie, remember, tie
from crossdock_hub.store.crossing import write_rows
from crossdock_hub.store.loading import Loader
from crossdock_hub.unit import Key, Unit, View
from crossdock_hub.verbs import DECISIONS
from databases import KINDS, open_store
from decisions import CONTRACT, ERP, OMS, Company, request_id
from first_flow import Flow, order


@pytest.fixture(params=KINDS)
async def store(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """An empty database, of each kind."""
    opened = await open_store(tmp_path, request.param)
    yield opened
    await opened.close()


def rounds_of(company: Company, caller: Any, keys: frozenset[Key], decide: Any) -> int:
    """Rounds of reading, the first of which is for what was foreseen."""

    def work(unit: Unit) -> Any:
        unit.require(keys)
        return decide(unit)

    company.decide(caller, "counted", work)
    return company.rounds["counted"]


def command_rounds(flow: Company, method: str, request: Any, caller: Any = OMS) -> int:
    """Rounds of a call, by the order system unless another is given."""
    decide = DECISIONS[f"/crossdock.{method}"]
    field = CONTRACT.methods[f"/crossdock.{method}"].resource_field
    keys = hinted_keys(CONTRACT, field, request, caller.role)
    return rounds_of(flow, caller, keys, lambda unit: decide(unit, request))


def test_a_release_reads_twice() -> None:
    """Proves that releasing an order of many lines reads the order with its flow, and then all that
    its lines need: two rounds, and an approval one."""
    flow = Flow()
    made = flow.create(order("SO-1", lines=3))
    approve = order_service_pb2.ApproveOrderRequest(request_id=request_id(), order_id=made.id)
    assert command_rounds(flow, "order.v1.OrderService/ApproveOrder", approve) == 1
    release = order_service_pb2.ReleaseOrderRequest(request_id=request_id(), order_id=made.id)
    assert command_rounds(flow, "order.v1.OrderService/ReleaseOrder", release) == 2


@pytest.mark.parametrize(("caller", "path"), [(OMS, "customer_reference"), (ERP, "sales_document")])
def test_an_update_reads_the_deliveries_that_it_adds_to(caller: Any, path: str) -> None:
    """Proves that what the ERP writes on an order, which is told to nobody, reads no deliveries of
    it, that a change of its content does, and that each takes one round."""
    flow = Flow()
    made = flow.create(order("SO-1"))
    flow.approve(made.id)
    change = order_pb2.Order(id=made.id)
    setattr(change, path, "SO-4711")
    update = order_service_pb2.UpdateOrderRequest(request_id=request_id(), order=change)
    update.update_mask.paths.append(path)
    reads_deliveries = ("flow", made.id) in hinted_keys(CONTRACT, "order", update, caller.role)
    assert command_rounds(flow, "order.v1.OrderService/UpdateOrder", update, caller) == 1
    assert reads_deliveries == ("order.changed" in flow.told()) == (caller is OMS)


class Foreseeing(Flow):  # type: ignore[misc]
    """Reads with a delivery what it is about, as the store does; see the test below."""

    def _load(self, view: View, keys: Iterable[Key], seen: dict[Key, bytes]) -> None:
        super()._load(view, keys, seen)
        for key in [key for key in keys if key[0] == "subject"]:
            record = self.records["delivery", key[1]]
            super()._load(view, [("object", record.kind, record.object_id)], seen)


def test_a_completion_with_a_document_reads_once() -> None:
    """Proves that ending a call with the vendor's document reads all that this needs, the object
    that gets the document included, in one round."""
    flow = Foreseeing()
    made = flow.create(order("SO-1"))
    flow.approve(made.id)
    (work,) = flow.deliveries("netsuite", "create_sales_order")
    word = delivery_service_pb2.Completion(
        delivery_id=work.id,
        token=flow.take(work),
        outcome=delivery_pb2.ATTEMPT_OUTCOME_CONFIRMED,
        vendor_references=[delivery_pb2.VendorReference(type="sales_order", value="4711")],
    )
    keys = checking.foreseen(CONTRACT, "netsuite", word, [])
    assert rounds_of(flow, ERP, keys, lambda unit: attempts.complete(unit, word, [])) == 1
    assert flow.fresh(work).state == "CONFIRMED"


async def test_a_delivery_brings_what_it_is_about(store: Store) -> None:
    """Proves on each kind of database that a delivery's object is read by the delivery's id, that a
    delivery without one brings nothing, and that what a batch has changed stays as it is there."""
    flow = Flow()
    made = flow.create(order("SO-1"))
    flow.approve(made.id)
    (work,) = flow.deliveries("netsuite", "create_sales_order")
    stored = flow.records["object", "order", made.id]
    lost = replace(work, id="lost", event_id="another", object_id="gone", root_id="gone")
    async with store.write() as connection:
        await write_rows(connection, [(rows.OBJECTS, [stored]), (rows.DELIVERIES, [work, lost])])
    async with store.write() as connection:
        view = View()
        keys: list[Key] = [("subject", work.id), ("subject", "lost"), ("subject", "unknown")]
        await Loader(connection, CONTRACT, view).load(keys)
        assert all(view.knows(key) for key in keys)
        assert view.get(("object", "order", made.id)).message == stored.message
        assert not view.knows(("object", work.kind, "gone"))
        changed = replace(stored, revision=stored.revision + 1)
        again = View()
        again.add(("object", "order", made.id), changed)
        await Loader(connection, CONTRACT, again).load(keys)
        assert again.get(("object", "order", made.id)) is changed


async def test_what_is_not_said_of_the_tie_stays(store: Store) -> None:
    """Proves that a mark which tells how far the ledger is leaves how far the bus was told, that
    one of the bus leaves the ledger's, and that both marks of one batch are kept."""

    async def after(*marks: Mark) -> Tie | None:
        async with store.write() as connection:
            await remember(connection, marks, 1)
        async with store.read() as connection:
            return await tie(connection)

    async with store.write() as connection:
        await keep_tie(connection, Tie("one", 5, 4))
    assert await after(Mark(generation=7)) == Tie("one", 7, 4)
    assert await after(Mark(told=6)) == Tie("one", 7, 6)
    assert await after(Mark(generation=9), Mark(told=8)) == Tie("one", 9, 8)
    assert await after(Mark(events=(1,))) == Tie("one", 9, 8)
