"""Fulfillment orders to the hub: placed, approved and released, or cancelled, as they stand now.

Every call has a request id of the fulfillment order and the step, and the hub is asked first what
it has: an event that comes again, or late, or in another order, changes nothing.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from crossdock.client import HubClient, request_id
from crossdock.errors import NotFoundError
from crossdock.order.v1 import order_pb2, order_service_pb2

from crossdock_adapters.salesforce import translate
from crossdock_adapters.salesforce.client import RecordMissing, SalesforceClient
from crossdock_adapters.salesforce.stages import Stage, Stages
from crossdock_adapters.salesforce.translate import ORDER_REFERENCE, Found, Rules
from crossdock_adapters.sdk.places import Unreadable

log = logging.getLogger(__name__)

CREATED: Final = (order_pb2.ORDER_STATE_UNSPECIFIED, order_pb2.ORDER_STATE_CREATED)
BEFORE_RELEASE: Final = (*CREATED, order_pb2.ORDER_STATE_APPROVED)
MAX_REASON: Final = 200


@dataclass(frozen=True, slots=True)
class Orders:
    """Tells the hub of fulfillment orders of one org."""

    hub: HubClient
    vendor: SalesforceClient
    rules: Rules
    stages: Stages

    async def tell(self, order_id: str, *, is_due: bool) -> None:
        """Read one and tell what it asks for.

        is_due: it was released, or may have been without a word: one that is worked on by now, and
        that the hub does not have, was missed. Unreadable: it cannot be told as it is. What the hub
        or the vendor raises goes through.
        """
        found = await self._read(order_id)
        stage = self._stage(found)
        if stage is Stage.CANCELLED:
            await self._cancel(found)
        elif stage is Stage.RELEASED:
            await self._release(found)
        elif is_due and stage is Stage.WORKED_ON:
            await self._need_held(found)

    def _stage(self, found: Found) -> Stage:
        return self.stages.of(found, self.rules.names)

    async def _need_held(self, found: Found) -> None:
        """Unreadable: the hub does not have it, and would not hear of it any more."""
        if await self._held(found, translate.number_of(found, self.rules)) is None:
            raise Unreadable(
                f"is {translate.category_of(found, self.rules.names)} already, and was not placed "
                "while it was released: set it back to a released status and try this again, or "
                "discard it",
                self.rules.names.pointer("order.category"),
            )

    async def _read(self, order_id: str) -> Found:
        try:
            return await self.vendor.fulfillment_order(order_id)
        except RecordMissing as missing:
            raise Unreadable(str(missing)) from missing

    async def _release(self, found: Found) -> None:
        number = translate.number_of(found, self.rules)
        held = await self._held(found, number)
        if held is None:
            create = order_service_pb2.CreateOrderRequest(
                request_id=self._request_id(found, "create"),
                order=translate.order_of(found, self.rules),
                references=translate.references(found, self.rules),
            )
            held = (await self.hub.orders.CreateOrder(create)).order
            # Another process may have read a cancellation while the hub had nothing to cancel.
            found = await self._read(found.id)
            if self._stage(found) is Stage.CANCELLED:
                await self._cancel(found)
                return
        if held.state in CREATED:
            approve = order_service_pb2.ApproveOrderRequest(
                request_id=self._request_id(found, "approve"), order_id=held.id
            )
            await self.hub.orders.ApproveOrder(approve)
        if held.state in BEFORE_RELEASE:
            release = order_service_pb2.ReleaseOrderRequest(
                request_id=self._request_id(found, "release"), order_id=held.id
            )
            await self.hub.orders.ReleaseOrder(release)

    async def _cancel(self, found: Found) -> None:
        category = translate.category_of(found, self.rules.names)
        number = translate.number_of(found, self.rules)
        held = await self._held(found, number)
        if held is None:
            log.info("fulfillment order %s is %s and was never placed", found.id, category)
            return
        if held.state == order_pb2.ORDER_STATE_CANCELLED:
            return
        status = translate.status_of(found, self.rules.names) or category
        cancel = order_service_pb2.CancelOrderRequest(
            request_id=self._request_id(found, "cancel"),
            order_id=held.id,
            reason=f"{status} in Salesforce"[:MAX_REASON],
        )
        await self.hub.orders.CancelOrder(cancel)

    async def _held(self, found: Found, number: str) -> order_pb2.Order | None:
        """The hub's order of that number. Unreadable: it is somebody else's."""
        try:
            asked = order_service_pb2.GetOrderRequest(number=number)
            order = (await self.hub.orders.GetOrder(asked)).order
        except NotFoundError:
            return None
        if reference_of(order, self.rules.endpoint, ORDER_REFERENCE) != found.id:
            raise Unreadable(
                f"the hub has an order {number} that is not this fulfillment order; "
                "set order_number_prefix",
                self.rules.names.pointer("order.number"),
            )
        return order

    def _request_id(self, found: Found, step: str) -> str:
        return request_id(self.rules.endpoint, found.id, step)


def reference_of(order: order_pb2.Order, endpoint: str, kind: str) -> str:
    """An order's key of this kind at the endpoint's org; "": it came from somewhere else."""
    for reference in order.references:
        if reference.system == endpoint and reference.type == kind:
            return str(reference.value)
    return ""
