"""The shipments of an order as the hub has them now: an event has one of them, as it was."""

from __future__ import annotations

from typing import Final

from crossdock.errors import CallError
from crossdock.shipment.v1 import shipment_pb2, shipment_service_pb2

from crossdock_adapters.sdk.outcomes import NeedsPerson, Retry
from crossdock_adapters.sdk.work import Work

PAGE_SHIPMENTS: Final = 500
MAX_PAGES: Final = 20
HUB_RETRY_SECONDS: Final = 1.0


async def shipments_of(work: Work, order_id: str) -> list[shipment_pb2.Shipment]:
    """All of them, also those that were voided.

    Retry: the hub does not answer. NeedsPerson: there are more than MAX_PAGES pages of them, and
    what is decided by all is not decided by some.
    """
    found: list[shipment_pb2.Shipment] = []
    request = shipment_service_pb2.ListShipmentsRequest(page_size=PAGE_SHIPMENTS, order_id=order_id)
    for _ in range(MAX_PAGES):
        try:
            page = await work.hub.shipments.ListShipments(request)
        except CallError as error:
            words = f"shipments of order {order_id} not read from the hub"
            raise Retry(HUB_RETRY_SECONDS, words) from error
        found += page.shipments
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token
    raise NeedsPerson(
        f"order {order_id} has more than {PAGE_SHIPMENTS * MAX_PAGES} shipments, which are not "
        "read: do at the vendor what this was to do, then say so with crossdock resolve"
    )
