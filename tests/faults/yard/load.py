"""Callers and readers of a run: every call is repeated with its own id, and noted each time."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar

from crossdock.client import HubClient
from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock.errors import CallError, NoAnswerError, TryAgainError
from crossdock.order.v1 import order_pb2, order_service_pb2
from story import approve_order, create_order, order, party, update_order

from tests.faults.history.records import FAIL, OK, UNKNOWN, Look, Record, Rpc
from tests.faults.yard.adapter import POISON
from tests.faults.yard.noting import now, of_hub
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

    # Of a history of such callers: what each event has to ask for, what each write has to say.
    targets: ClassVar[Mapping[str, tuple[str, ...]]] = TARGETS
    speaks: ClassVar[Mapping[str, str]] = SPEAKS
    supersedes: ClassVar[Mapping[str, tuple[str, ...]]] = SUPERSEDES

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

    def enough(self) -> None:
        """Begin no more orders."""
        self.orders = self._next

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
                    await self.look(reader, chance.choice(self.known))

    def of_hub(self) -> list[Record]:
        """What the hub holds of it at the end."""
        return of_hub(self.site.hub)

    async def _write(self, oms: HubClient) -> None:
        while self._next < self.orders:
            place = self._next
            self._next += 1
            await self.place(oms, place)
            self.done += 1
            await asyncio.sleep(self.site.plan.pace_seconds)

    async def place(self, oms: HubClient, place: int) -> None:
        """Everything that is asked for one order."""
        seed = self.site.plan.seed
        chance = random.Random(f"{seed}:order:{place}")
        kind = self.site.plan.classes[place % len(self.site.plan.classes)]
        message = order(LANES[kind].business_unit)
        message.number = f"F{seed}-{place:05}"
        poisoned = is_poisoned(message.number, self.site.plan.poisoned, self.orders)
        if poisoned:
            message.ship_to.CopyFrom(party(POISON))
        made = await self.approved(oms, message, chance)
        self.known.append(made.id)
        if chance.random() < CHANGED_SHARE:
            name = POISON if poisoned else f"Ada {place}"
            changed = order_pb2.Order(id=made.id, ship_to=party(name))
            changed.ship_to.address.lines[0] = f"{place} Main St"
            update = update_order(changed, "ship_to")
            update.request_id = drawn_id(chance)
            await self.insist("UpdateOrder", update, oms.orders.UpdateOrder, message.number)
        if chance.random() < CANCELLED_SHARE:
            cancel = order_service_pb2.CancelOrderRequest(
                request_id=drawn_id(chance), order_id=made.id, reason="changed their mind"
            )
            await self.insist("CancelOrder", cancel, oms.orders.CancelOrder, message.number)

    async def approved(
        self, oms: HubClient, message: order_pb2.Order, chance: random.Random
    ) -> order_pb2.Order:
        """An order that was created and approved."""
        create = create_order(message)
        create.request_id = drawn_id(chance)
        made = await self.insist("CreateOrder", create, oms.orders.CreateOrder, message.number)
        approve = approve_order(made.order.id)
        approve.request_id = drawn_id(chance)
        await self.insist("ApproveOrder", approve, oms.orders.ApproveOrder, message.number)
        found: order_pb2.Order = made.order
        return found

    async def insist(
        self, method: str, request: Any, call: Callable[[Any], Awaitable[Any]], number: str,
        caller: str = "oms",
    ) -> Any:  # fmt: skip
        """Repeat a call with the same id until the hub says something; note each time.

        The answer, which holds what was made or changed: an order or a shipment.
        """
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while True:
            start = now()
            try:
                answer = await call(request)
            except (NoAnswerError, TryAgainError) as error:
                self._note(caller, method, request, start, UNKNOWN, number, error.refusal.reason)
                assert time.monotonic() < deadline, f"{method}: no answer; {error}"
                self.repeats += 1
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            except CallError as error:
                self._note(caller, method, request, start, FAIL, number, error.refusal.reason)
                raise
            self.last_answer = time.monotonic()
            self._note(caller, method, request, start, OK, number, made=_made(answer))
            return answer

    def _note(
        self, caller: str, method: str, request: Any, start: int, outcome: str, number: str,
        reason: str = "", made: Any = None,
    ) -> None:  # fmt: skip
        told = order_pb2.Order() if made is None else made
        states: Any = told.DESCRIPTOR.fields_by_name["state"].enum_type
        state = states.values_by_number[told.state].name
        self.site.notes.add(
            Rpc(caller, method, request.request_id, start, now(), outcome, number, told.id,
                told.revision, state, reason)
        )  # fmt: skip

    async def look(self, reader: HubClient, order_id: str) -> None:
        """Read one order and its deliveries, and note what is seen."""
        start = now()
        get = order_service_pb2.GetOrderRequest(id=order_id)
        try:
            seen = (await reader.orders.GetOrder(get)).order
            between = now()
            found = await self.look_at_deliveries(reader, order_id)
        except CallError:
            return
        self.site.notes.add(Look("operator", "order", order_id, start, between, "", seen.revision))
        for each in found:
            self.site.notes.add(each)

    async def look_at_deliveries(self, reader: HubClient, object_id: str) -> list[Look]:
        """What the ledger shows of an object's deliveries; raises CallError."""
        start = now()
        ask = delivery_service_pb2.ListDeliveriesRequest(object_id=object_id)
        found = (await reader.deliveries.ListDeliveries(ask)).deliveries
        end, name_of = now(), delivery_pb2.DeliveryState.Name
        return [
            Look("operator", "delivery", each.id, start, end,
                 name_of(each.state).removeprefix("DELIVERY_STATE_"), 0)
            for each in found
        ]  # fmt: skip


def _made(answer: Any) -> Any:
    """The order or shipment that an answer tells of."""
    return getattr(answer, "order", None) or getattr(answer, "shipment", None)


def is_poisoned(number: str, poisoned: int, orders: int) -> bool:
    """Whether an order is one of so many that are spread over all."""
    place = int(number.rpartition("-")[2])
    if not poisoned:
        return False
    apart = orders // poisoned
    return place % apart == 0 and place // apart < poisoned


def drawn_id(chance: random.Random) -> str:
    """An id of a request that the same seed gives again."""
    return str(uuid.UUID(int=chance.getrandbits(128), version=4))
