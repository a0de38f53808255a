"""Requests that a hub takes, one for each kind of writing: what the door tests start from."""

from __future__ import annotations

import uuid
from typing import Any

from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock.endpoint.v1 import endpoint_service_pb2, held_fact_pb2
from crossdock.fulfillment.v1 import fulfillment_service_pb2
from crossdock.item.v1 import item_service_pb2
from crossdock.order.v1 import order_pb2, order_service_pb2
from crossdock.shipment.v1 import shipment_service_pb2
from fixtures_hub import Lane, RunningHub
from story import (
    Story,
    at,
    create_order,
    item_entry,
    label,
    package,
    pick,
    request_id,
    scan,
    scans,
    unique,
    update_order,
)

CREATE_ORDER = "/crossdock.order.v1.OrderService/CreateOrder"


async def sensible(hub: RunningHub, lane: Lane) -> list[tuple[str, str, Any]]:
    """(endpoint, method, request) that the hub would take, one for each kind of writing."""
    async with Story(hub, lane) as story:
        order_id, requests = await story.released()
        shipment = await story.packed()
        carton = shipment.packages[0].id
    return [
        *_of_the_oms(order_id),
        *_of_the_warehouse(requests[0], shipment.id),
        *_of_the_carrier(shipment.id, carton),
        *_of_attempts(),
        (
            "netsuite",
            "/crossdock.item.v1.ItemService/UpsertItems",
            item_service_pb2.UpsertItemsRequest(entries=[item_entry(unique("SKU"))]),
        ),
    ]


def _of_attempts() -> list[tuple[str, str, Any]]:
    unknown = str(uuid.uuid4())
    service = "/crossdock.delivery.v1.DeliveryService"
    begin = delivery_service_pb2.BeginAttemptsRequest(endpoint="ups", instance="one")
    begin.begins.add(delivery_id=unknown, dispatch_number=1, attempt_id=unknown).lease.seconds = 5
    renew = delivery_service_pb2.RenewLeasesRequest(endpoint="ups")
    renew.renewals.add(delivery_id=unknown, token=1).lease.seconds = 5
    complete = delivery_service_pb2.CompleteAttemptsRequest(endpoint="ups")
    done = complete.completions.add(
        delivery_id=unknown, token=1, outcome=delivery_pb2.ATTEMPT_OUTCOME_CONFIRMED
    )
    done.retry_after.seconds = 1
    done.vendor_references.add(type="label", value="1")
    done.facts.add(method="/crossdock.label.v1.LabelService/CreateLabel", request=b"")
    return [
        ("ups", f"{service}/BeginAttempts", begin),
        ("ups", f"{service}/RenewLeases", renew),
        ("ups", f"{service}/CompleteAttempts", complete),
    ]


def _of_the_oms(order_id: str) -> list[tuple[str, str, Any]]:
    changed = order_pb2.Order(id=order_id, customer_reference="PO-1")
    return [
        ("oms", CREATE_ORDER, create_order()),
        (
            "oms",
            "/crossdock.order.v1.OrderService/UpdateOrder",
            update_order(changed, "customer_reference", revision=1),
        ),
        (
            "oms",
            "/crossdock.order.v1.OrderService/ListOrders",
            order_service_pb2.ListOrdersRequest(page_size=2),
        ),
    ]


def _of_the_warehouse(part: str, shipment_id: str) -> list[tuple[str, str, Any]]:
    return [
        ("manhattan", "/crossdock.fulfillment.v1.FulfillmentService/ReportPick", pick(part)),
        (
            "manhattan",
            "/crossdock.fulfillment.v1.FulfillmentService/ReportPacked",
            fulfillment_service_pb2.ReportPackedRequest(
                request_id=request_id(),
                fulfillment_request_id=part,
                shipment_number=unique("SHP"),
                packages=[package()],
                pack_time=at(),
            ),
        ),
        (
            "manhattan",
            "/crossdock.shipment.v1.ShipmentService/ManifestShipment",
            shipment_service_pb2.ManifestShipmentRequest(
                request_id=request_id(), shipment_id=shipment_id, manifest_time=at()
            ),
        ),
    ]


def _of_the_carrier(shipment_id: str, carton: str) -> list[tuple[str, str, Any]]:
    return [
        (
            "ups",
            "/crossdock.label.v1.LabelService/CreateLabel",
            label(shipment_id, carton, unique("1Z")),
        ),
        (
            "ups",
            "/crossdock.tracking.v1.TrackingService/ReportTrackingEvents",
            scans(scan(unique("1Z"), "IN_TRANSIT")),
        ),
        (
            "ups",
            "/crossdock.endpoint.v1.EndpointService/HoldPayload",
            held_fact_pb2.HoldPayloadRequest(
                request_id=request_id(), payload=b"{}", source="/hook", reason="no idea"
            ),
        ),
        (
            "ups",
            "/crossdock.endpoint.v1.EndpointService/PutCursor",
            endpoint_service_pb2.PutCursorRequest(
                request_id=request_id(), name=unique("cursor"), value=b"1"
            ),
        ),
    ]
