"""One order's life as an ERP is told of it, for the conformance of ERPs whose documents are made by
`sdk.erp_documents`: the events, with the two lines and the carton that they are about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from crossdock.order.v1 import order_events_pb2, order_pb2
from crossdock.shipment.v1 import shipment_events_pb2, shipment_pb2
from google.protobuf.message import Message

from crossdock_adapters.sdk.conformance.subject import Case
from crossdock_adapters.sdk.erp_documents import DOCUMENTS

ORDER_ID: Final = "11111111-1111-4111-8111-111111111111"
SHIPMENT_ID: Final = "22222222-2222-4222-8222-222222222222"


BOOKED: Final = ["create_sales_order"]
LEFT: Final = ["create_sales_order", "post_goods_issue"]


def order(quantity: str = "2") -> order_pb2.Order:
    """Two lines from one warehouse."""
    made = order_pb2.Order(
        id=ORDER_ID, number="SO-1", business_unit="EAST", customer_number="CUST-1003",
        carrier_code="UPS", service_code="03",
    )  # fmt: skip
    made.ship_to.name = "Pat Doe"
    made.ship_to.address.lines.append("1 Main Street")
    made.ship_to.address.city, made.ship_to.address.country_code = "Albany", "US"
    for number, item, ordered in ((10, "SKU-1001", quantity), (20, "SKU-1002", "5")):
        line = made.lines.add(line_number=number, item_number=item)
        line.quantity.value, line.quantity.unit = ordered, "EA"
        line.ship_from_location_number = "WH-EAST"
    return made


def shipment() -> shipment_pb2.Shipment:
    """Everything of the order, in one carton."""
    found = shipment_pb2.Shipment(
        id=SHIPMENT_ID, number="SHP-1", order_id=ORDER_ID, order_number="SO-1",
        ship_from_location_number="WH-EAST", carrier_code="UPS", service_code="03",
    )  # fmt: skip
    package = found.packages.add(id="pkg-1", number="CARTON-1")
    package.weight.value, package.weight.unit = "2", "KGM"
    for number, item, packed in ((10, "SKU-1001", "2"), (20, "SKU-1002", "5")):
        content = package.contents.add(line_number=number, item_number=item)
        content.quantity.value, content.quantity.unit = packed, "EA"
    return found


def approved(_: Mapping[str, Any]) -> Message:
    return order_events_pb2.OrderApproved(order=order())


def changed(_: Mapping[str, Any]) -> Message:
    return order_events_pb2.OrderChanged(order=order("3"), changed_fields=["lines"])


def cancelled(_: Mapping[str, Any]) -> Message:
    return order_events_pb2.OrderCancelled(order=order())


def manifested(_: Mapping[str, Any]) -> Message:
    return shipment_events_pb2.ShipmentManifested(shipment=shipment())


def voided(_: Mapping[str, Any]) -> Message:
    return shipment_events_pb2.ShipmentVoided(shipment=shipment())


def asked_in(books: str, kind: str, action: str) -> Callable[[str, str], Callable[[Any], int]]:
    """For `cases`: how often an ERP was asked is counted in this list of its books, whose rows have
    the layout and the action under these names. Its guards by business key hide nothing there."""

    def asked(layout: str, wanted: str) -> Callable[[Any], int]:
        return lambda told: sum((row[kind], row[action]) == (layout, wanted) for row in told[books])

    return asked


def cases(asked: Callable[[str, str], Callable[[Mapping[str, Any]], int]]) -> list[Case]:
    """Every operation. asked: of a layout and an action, how often the ERP was asked for it, by its
    books; what they are kept by would hide a second time."""
    events = {
        "create_sales_order": (approved, []),
        "change_order": (changed, BOOKED),
        "cancel_order": (cancelled, BOOKED),
        "post_goods_issue": (manifested, BOOKED),
        "reverse_goods_issue": (voided, LEFT),
    }
    return [
        Case(name, event, asked(DOCUMENTS[name].layout, DOCUMENTS[name].action), after=after)
        for name, (event, after) in events.items()
    ]
