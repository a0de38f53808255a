"""Work that came before its endpoint: routed when the endpoint registers, in its old place."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from crossdock.delivery.v1 import delivery_operations_service_pb2 as operations_pb2
from crossdock.errors import Refusal
from crossdock.order.v1 import order_pb2
from crossdock_hub.commands import Command
from crossdock_hub.committer import Committer
from crossdock_hub.config import Limits
from crossdock_hub.delivery import flows
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.delivery.ordering import blocker_of
from crossdock_hub.delivery.rerouting import Rerouter
from crossdock_hub.identity import HUB
from crossdock_hub.store import rows
from crossdock_hub.store.crossing import write_rows
from crossdock_hub.store.unrouted_reading import OLDEST, unrouted_page
from crossdock_hub.unit import Refused, Unit
from decisions import CONTRACT, ERP, OPERATOR, request_id
from decisions import OPERATIONS as OFFERED
from first_flow import Flow, order
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from played_endpoint import PlayedEndpoint
from stored_flow import Books, books
from story import Story, approve_order

__all__ = ["books"]

OPERATIONS = {"create_sales_order": "SEARCHABLE"}


async def test_work_from_before_a_registration_is_done(own_hub: RunningHub) -> None:
    """Proves that orders approved before the ERP ever registered reach it once, in their order, and
    that what stood for them while nobody served them says where it went."""
    lane = Lane(1)
    async with Story(own_hub, lane) as story:
        ids = []
        for _ in range(3):
            made = await story.create()
            await story.oms.orders.ApproveOrder(approve_order(made.id))
            ids.append(made.id)
        assert own_hub.count("deliveries", "state = 'UNROUTED'") == 3
        async with PlayedEndpoint(own_hub, lane.erp, OPERATIONS) as erp:
            for _ in ids:
                await erp.work("CONFIRMED")
    confirmed = "state = 'CONFIRMED' AND operation = 'create_sales_order'"
    assert own_hub.count("deliveries", confirmed) == 3
    assert own_hub.count("deliveries", "state = 'UNROUTED'") == 0
    replaced = own_hub.query(
        "SELECT waiting_on FROM deliveries WHERE endpoint = '' AND state = 'SUPERSEDED'"
    )
    assert [text for (text,) in replaced] == [f"routed to {lane.erp} once it was there"] * 3


def company_without_erp() -> Flow:
    """The ERP is in the deployment, and has not registered yet."""
    flow = Flow()
    expected = replace(flow.records["endpoint", ERP.endpoint], manifest=b"", state="EXPECTED")
    flow.records["endpoint", ERP.endpoint] = expected
    return flow


def at_erp(flow: Flow) -> list[tuple[str, str]]:
    """What the ERP's role has to do, with states, in order."""
    return [(r.operation, r.state) for r in flow.deliveries() if r.role == "ERP"]


def test_new_work_does_not_overtake_work_that_nobody_served() -> None:
    """Proves that a cancel which commits before the ERP's older work is routed again finds that
    work, so that no sales order is made for a cancelled order."""
    flow = company_without_erp()
    order_id = flow.create().id
    flow.approve(order_id)
    assert at_erp(flow) == [("create_sales_order", "UNROUTED")]
    flow.register(ERP, OFFERED["netsuite"])
    flow.cancel(order_id)
    states = {(r.operation, r.endpoint): r.state for r in flow.deliveries() if r.role == "ERP"}
    assert states == {
        ("create_sales_order", ""): "SUPERSEDED",
        ("create_sales_order", "netsuite"): "SUPERSEDED",
        ("cancel_order", "netsuite"): "SUPERSEDED",
    }


def test_work_that_nobody_serves_still_is_taken_back() -> None:
    """Proves that a cancel takes back an older order that still cannot be routed, and goes with it,
    since nothing had reached the vendor."""
    flow = company_without_erp()
    order_id = flow.create().id
    flow.approve(order_id)
    flow.register(ERP, {"cancel_order": "NATURAL"})
    flow.cancel(order_id)
    assert at_erp(flow) == [("create_sales_order", "SUPERSEDED"), ("cancel_order", "SUPERSEDED")]


def test_all_of_a_flow_is_routed_in_its_order() -> None:
    """Proves that an order and its cancel that nobody served are routed together, oldest first,
    so that neither reaches the vendor."""
    flow = company_without_erp()
    order_id = flow.create().id
    flow.approve(order_id)
    flow.cancel(order_id)
    assert {state for _, state in at_erp(flow)} == {"UNROUTED"}
    flow.register(ERP, OFFERED["netsuite"])
    flow.decide(HUB, "reroute", lambda unit: flows.reroute(unit, order_id))
    assert {state for _, state in at_erp(flow)} == {"SUPERSEDED"}
    assert {r.operation for r in flow.deliveries("netsuite")} == {
        "create_sales_order",
        "cancel_order",
    }


def test_later_work_waits_for_work_that_nobody_serves() -> None:
    """Proves that work of a key waits behind older work of its role that nobody serves, unless that
    work may be refused without consequence, and goes once an operator ended it."""
    flow = company_without_erp()
    order_id = flow.create().id
    flow.approve(order_id)
    (unserved,) = flow.deliveries()
    later = replace(
        unserved,
        id="later",
        event_id="later",
        sequence=f"{unserved.sequence}z",
        endpoint="netsuite",
        operation="other",
        state="READY",
    )
    blocking = replace(unserved, on_reject="BLOCK")
    passing = replace(unserved, on_reject="CONTINUE")
    assert blocker_of(later, [blocking, later]) == blocking
    assert blocker_of(later, [passing, later]) is None
    assert blocker_of(replace(later, role="WMS"), [blocking, later]) is None

    def end(unit: Unit) -> str:
        unit.put_delivery(blocking)
        held = replace(later, state="HELD", hold_reason="ORDER")
        unit.put_delivery(held)
        flows.settle(unit, blocking, replace(blocking, state="SKIPPED"))
        found = unit.delivery("later")
        assert found is not None
        return found.state

    assert flow.decide(HUB, "end", end) == "READY"


@pytest.mark.parametrize("served", [False, True])
def test_work_that_was_never_offered_is_served_or_skipped(served: bool) -> None:
    """Proves that a change that the ERP never offered to take holds the release behind it, that
    both say what helps, and that the release goes once the change is served and done, or ended by
    an operator; and not before."""
    flow = Flow()
    offered = {"create_sales_order": "SEARCHABLE", "record_release": "NATURAL"}
    flow.register(ERP, offered)
    order_id = flow.create().id
    flow.approve(order_id)
    flow.settle(flow.delivery("netsuite", "create_sales_order"))
    flow.update_order(order_pb2.Order(id=order_id, channel="app"), "channel")
    (change,) = [r for r in flow.deliveries() if r.operation == "change_order"]
    assert (change.state, change.role) == ("UNROUTED", "ERP")
    helps = "no ERP endpoint in scope offers change_order; register one, correct the scopes"
    assert helps in change.waiting_on and "skip it" in change.waiting_on
    flow.release(order_id)
    release = flow.delivery("netsuite", "record_release")
    assert (release.state, release.hold_reason) == ("HELD", "ORDER")
    assert change.id in release.waiting_on and helps in release.waiting_on
    if served:
        flow.register(ERP, {**offered, "change_order": "NATURAL"})
        flow.decide(HUB, "reroute", lambda unit: flows.reroute(unit, order_id))
        assert flow.fresh(release).state == "HELD"
        flow.settle(flow.delivery("netsuite", "change_order"))
    else:
        request = operations_pb2.SkipDeliveryRequest(
            request_id=request_id(), delivery_id=change.id, reason="told by phone"
        )
        service = "delivery.v1.DeliveryOperationsService"
        flow.call(f"{service}/SkipDelivery", request, OPERATOR)
    assert flow.fresh(release).state == "READY"


async def test_flows_are_routed_oldest_first(books: Books) -> None:
    """Proves at the store that pages of unrouted work name the flows oldest first, whatever the ids
    of its deliveries are and whoever they were for, and that they go through all of it."""
    flow = company_without_erp()
    roots = []
    for number in range(5):
        made = flow.create(order(f"SO-{number}"))
        flow.approve(made.id)
        flow.cancel(made.id)
        roots.append(made.id)
    unserved = [record for record in flow.deliveries() if record.state == "UNROUTED"]
    for record in unserved[::3]:
        record.endpoint = "gone"
    async with books.store.write() as connection:
        await write_rows(connection, [(rows.DELIVERIES, unserved)])
    for most in (2, 3, len(unserved), len(unserved) + 1):
        found: list[str] = []
        place = OLDEST
        async with books.store.read() as connection:
            while True:
                page, place = await unrouted_page(connection, place, most)
                found += page
                if place == OLDEST:
                    break
        assert list(dict.fromkeys(found)) == roots


class Full:
    """A committer whose store has no room until somebody makes some."""

    def __init__(self, at_once: bool) -> None:
        self.at_once = at_once
        self.full = True
        self.refused = 0
        self.routed = 0

    def submit(self, command: Command) -> asyncio.Future[Any]:
        no_room = Refused(Refusal("STORE_FULL", "the volume is full", {}))
        if not self.full:
            self.routed += 1
            command.answer.set_result(None)
            return command.answer
        self.refused += 1
        if self.at_once:
            raise no_room
        command.answer.set_exception(no_room)
        return command.answer


@pytest.mark.parametrize("at_once", [True, False])
async def test_what_was_refused_for_want_of_room_is_routed_later(
    books: Books, at_once: bool
) -> None:
    """Proves that unrouted work which a full queue or volume kept from being routed is tried again
    by itself, until there is room."""
    flow = company_without_erp()
    flow.approve(flow.create().id)
    unserved = [record for record in flow.deliveries() if record.state == "UNROUTED"]
    async with books.store.write() as connection:
        await write_rows(connection, [(rows.DELIVERIES, unserved)])
    committer = Full(at_once)
    limits = replace(Limits(), held_sweep_seconds=0.02)
    rerouter = Rerouter(books.store, cast(Committer, committer), limits)
    rerouter.start()
    try:
        await eventually(lambda: committer.refused > 1, "another try")
        committer.full = False
        await eventually(lambda: committer.routed > 0, "the routing")
    finally:
        await rerouter.stop()


async def test_of_other_hubs_work_only_what_may_have_changed_is_decided(books: Books) -> None:
    """Proves that flows which another hub has left unrouted, and which an endpoint serves by now,
    are routed when they are told of, once for all that were told; that nothing else is decided; and
    that what was not told of is routed page by page."""
    limits = replace(Limits(), held_sweep_seconds=0.2, unrouted_page=2)
    committer = Committer(books.store, CONTRACT, limits, Picker(limits))
    routed: list[str] = []
    looks: list[str] = []

    class Listening(Rerouter):
        async def _route(self, roots: Sequence[str]) -> str:
            routed.extend(roots)
            return await super()._route(roots)

        async def _route_what_changed(self) -> str:
            looks.append(await super()._route_what_changed())
            return looks[-1]

    rerouter = Listening(books.store, committer, limits)
    flow = company_without_erp()
    roots = [flow.create(order(f"SO-{number}")).id for number in range(7)]
    for root in roots:
        flow.approve(root)
    flow.register(ERP, OFFERED["netsuite"])
    committer.start([record for key, record in flow.records.items() if key[0] == "endpoint"])

    async def unserved() -> list[str]:
        async with books.store.read() as connection:
            return (await unrouted_page(connection, OLDEST, len(roots) + 1))[0]

    rerouter.start()
    try:
        await eventually(lambda: len(looks) == 1, "the look at the start")
        await books.keep(flow)
        told = [roots[3], roots[5]]
        for root in (*told, *told):
            rerouter.look_later([root])
        await eventually(lambda: len(routed) == len(told), "the look at what was told")
        rest = [root for root in roots if root not in told]
        await eventually(async_equals(unserved, rest), "the routing")
        for pages in range(1, 4):
            rerouter.look_later(page=True)
            await eventually(async_equals(unserved, rest[2 * pages :]), "the routing of a page")
        assert sorted(routed) == sorted([*told, *rest])
        assert looks == [""] * 5
    finally:
        await rerouter.stop()
        await committer.stop()


def async_equals(
    ask: Callable[[], Awaitable[list[str]]], wanted: list[str]
) -> Callable[[], Awaitable[bool]]:
    """Whether what is asked for is what is wanted, to be polled."""

    async def equal() -> bool:
        return await ask() == wanted

    return equal
