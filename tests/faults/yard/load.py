"""Callers and readers of a run: every call is repeated with its own id, and noted each time."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from crossdock.client import HubClient
from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock.errors import CallError, NoAnswerError, TryAgainError
from crossdock.order.v1 import order_pb2, order_service_pb2
from story import approve_order, create_order, order, party, update_order

from tests.faults.history.records import FAIL, OK, UNKNOWN, Look, Rpc
from tests.faults.yard.adapter import POISON
from tests.faults.yard.noting import now
from tests.faults.yard.site import LANES, Site, chance_of

DEADLINE_SECONDS = 5.0
# Fifty writers that ask more often take the machine from the hub they wait for.
PAUSE_SECONDS = 0.2
GIVE_UP_SECONDS = 120.0
READ_PAUSE_SECONDS = 0.1
CHANGED_SHARE, CANCELLED_SHARE = 0.25, 0.1
# The event that each write makes, and the work that each event makes for the ERP.
SPEAKS = {
    "ApproveOrder": "crossdock.order.v1.OrderApproved",
    "UpdateOrder": "crossdock.order.v1.OrderChanged",
    "CancelOrder": "crossdock.order.v1.OrderCancelled",
}
TARGETS = {
    "crossdock.order.v1.OrderApproved": ("create_sales_order",),
    "crossdock.order.v1.OrderChanged": ("change_order",),
    "crossdock.order.v1.OrderCancelled": ("cancel_order",),
}
# What a cancellation takes back as long as nobody has begun it (order_events.proto).
SUPERSEDES = {"cancel_order": ("create_sales_order", "change_order", "record_release")}


class Load:
    """Orders, each created, approved, and now and then changed or cancelled.

    What is asked for is drawn from the seed and the order's place alone.
    """

    def __init__(self, site: Site, orders: int, writers: int = 8) -> None:
        self.site = site
        self.orders = orders
        self.writers = writers
        self.done = 0
        self.known: list[str] = []
        self.last_answer = 0.0
        self.repeats = 0
        self._next = 0

    async def run(self) -> None:
        """Place every order; returns when the last has been answered."""
        async with self.site.hub.client("oms", deadline_seconds=DEADLINE_SECONDS) as oms:
            await asyncio.gather(*(self._write(oms) for _ in range(self.writers)))

    async def go_on_from(self, place: int) -> None:
        """Place the orders from this one on: those before it were placed by another load."""
        self._next = self.done = place
        await self.run()

    async def read(self) -> None:
        """Look at orders and their deliveries until cancelled."""
        chance = chance_of(self.site.plan.seed, "reads")
        async with self.site.hub.client("operator", deadline_seconds=DEADLINE_SECONDS) as reader:
            while True:
                await asyncio.sleep(READ_PAUSE_SECONDS)
                if self.known:
                    await self._look(reader, chance.choice(self.known))

    async def _write(self, oms: HubClient) -> None:
        while self._next < self.orders:
            place = self._next
            self._next += 1
            await self._place(oms, place)
            self.done += 1
            await asyncio.sleep(self.site.plan.pace_seconds)

    async def _place(self, oms: HubClient, place: int) -> None:
        seed = self.site.plan.seed
        chance = random.Random(f"{seed}:order:{place}")
        kind = self.site.plan.classes[place % len(self.site.plan.classes)]
        message = order(LANES[kind].business_unit)
        message.number = f"F{seed}-{place:05}"
        poisoned = is_poisoned(message.number, self.site.plan.poisoned, self.orders)
        if poisoned:
            message.ship_to.CopyFrom(party(POISON))
        create = create_order(message)
        create.request_id = _id(chance)
        made = await self._insist("CreateOrder", create, oms.orders.CreateOrder, message.number)
        approve = approve_order(made.id)
        approve.request_id = _id(chance)
        await self._insist("ApproveOrder", approve, oms.orders.ApproveOrder, message.number)
        self.known.append(made.id)
        if chance.random() < CHANGED_SHARE:
            name = POISON if poisoned else f"Ada {place}"
            changed = order_pb2.Order(id=made.id, ship_to=party(name))
            changed.ship_to.address.lines[0] = f"{place} Main St"
            update = update_order(changed, "ship_to")
            update.request_id = _id(chance)
            await self._insist("UpdateOrder", update, oms.orders.UpdateOrder, message.number)
        if chance.random() < CANCELLED_SHARE:
            cancel = order_service_pb2.CancelOrderRequest(
                request_id=_id(chance), order_id=made.id, reason="changed their mind"
            )
            await self._insist("CancelOrder", cancel, oms.orders.CancelOrder, message.number)

    async def _insist(
        self, method: str, request: Any, call: Callable[[Any], Awaitable[Any]], number: str
    ) -> order_pb2.Order:
        """Repeat a call with the same id until the hub says something; note each time."""
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while True:
            start = now()
            try:
                answer = await call(request)
            except (NoAnswerError, TryAgainError) as error:
                self._note(method, request, start, UNKNOWN, number, reason=error.refusal.reason)
                assert time.monotonic() < deadline, f"{method}: no answer; {error}"
                self.repeats += 1
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            except CallError as error:
                self._note(method, request, start, FAIL, number, reason=error.refusal.reason)
                raise
            self.last_answer = time.monotonic()
            made: order_pb2.Order = answer.order
            self._note(method, request, start, OK, number, made)
            return made

    def _note(
        self, method: str, request: Any, start: int, outcome: str, number: str,
        made: order_pb2.Order | None = None, reason: str = "",
    ) -> None:  # fmt: skip
        told = made or order_pb2.Order()
        state = order_pb2.OrderState.Name(told.state)
        self.site.notes.add(
            Rpc("oms", method, request.request_id, start, now(), outcome, number, told.id,
                told.revision, state, reason)
        )  # fmt: skip

    async def _look(self, reader: HubClient, order_id: str) -> None:
        start = now()
        get = order_service_pb2.GetOrderRequest(id=order_id)
        ask = delivery_service_pb2.ListDeliveriesRequest(object_id=order_id)
        try:
            seen = (await reader.orders.GetOrder(get)).order
            between = now()
            found = (await reader.deliveries.ListDeliveries(ask)).deliveries
        except CallError:
            return
        notes = self.site.notes
        notes.add(Look("operator", "order", order_id, start, between, "", seen.revision))
        for each in found:
            state = delivery_pb2.DeliveryState.Name(each.state).removeprefix("DELIVERY_STATE_")
            notes.add(Look("operator", "delivery", each.id, between, now(), state, 0))


def is_poisoned(number: str, poisoned: int, orders: int) -> bool:
    """Whether an order is one of so many that are spread over all."""
    place = int(number.rpartition("-")[2])
    if not poisoned:
        return False
    apart = orders // poisoned
    return place % apart == 0 and place // apart < poisoned


def _id(chance: random.Random) -> str:
    return str(uuid.UUID(int=chance.getrandbits(128), version=4))
