"""What the conformance kit needs to know of Salesforce: cases, events, how the org is set up."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crossdock.fulfillment.v1 import fulfillment_events_pb2, fulfillment_pb2
from crossdock.order.v1 import order_pb2
from crossdock.returns.v1 import return_events_pb2
from crossdock.shipment.v1 import shipment_events_pb2, shipment_pb2
from crossdock.tracking.v1 import tracking_events_pb2
from crossdock.types.v1 import types_pb2
from google.protobuf.message import Message

from crossdock_adapters.salesforce import avro, sandbox_schemas, translate_events
from crossdock_adapters.salesforce.adapter import ADAPTER
from crossdock_adapters.salesforce.sandbox import STATUS_TOPIC, SalesforceSandbox
from crossdock_adapters.salesforce.stubs import pubsub_api_pb2
from crossdock_adapters.sdk.conformance.stage import until
from crossdock_adapters.sdk.conformance.subject import (
    OTHER,
    Case,
    Delivered,
    Malformed,
    Subject,
    UnknownCode,
    WayIn,
    World,
)
from crossdock_adapters.sdk.mappings import Topic

ORGANIZATION = "00D5f000000ORGAAA1"
CLIENT_ID = "conformance-consumer-key"
WORK, FIRST, SECOND, CANCELLED, STRANGE, PARTLY = (f"0a35f90000000{n:02d}AAA" for n in range(1, 7))
SUMMARY = "1Os5f9000000001AAA"
ORDER_ID = "0190f7a2-3c4d-7e5f-8a6b-0000000000a1"
CANCELLED_ID = "0190f7a2-3c4d-7e5f-8a6b-0000000000a2"
PARTLY_ID = "0190f7a2-3c4d-7e5f-8a6b-0000000000a3"
REQUEST_ID = "0190f7a2-3c4d-7e5f-8a6b-0000000000f1"
SHIPMENT_ID = "0190f7a2-3c4d-7e5f-8a6b-0000000000b1"
RETURN_ID = "0190f7a2-3c4d-7e5f-8a6b-0000000000c1"
UNKNOWN_UNIT = "Furlong"
EMPTY_LIST_ID, NESTING_ID, DOUBLING_ID, NULLS_ID = (
    f"Bx5f0000000000000000A{number}" for number in range(1, 5)
)
# A million times nothing in five bytes, and a record that contains itself without end.
EMPTY_LIST = {"type": "array", "items": "null"}
NESTING = {
    "type": "record",
    "name": "Nest",
    "fields": [{"name": "inner", "type": ["null", "Nest"]}],
}
# A byte that becomes ten thousand values, as often as a list says.
NULLS = {
    "type": "record",
    "name": "Nulls",
    "fields": [
        {"name": "one", "type": "int"},
        *({"name": f"n{number}", "type": "null"} for number in range(9_000)),
    ],
}
SHORT = 1


def levels(count: int, references: int, leaf: str) -> dict[str, Any]:
    """A schema of so many types, each of which refers so often to the one before it."""
    types: list[dict[str, Any]] = [
        {"type": "record", "name": "L0", "fields": [{"name": "f0", "type": leaf}]}
    ]
    for level in range(1, count):
        inner = [{"name": f"f{each}", "type": f"L{level - 1}"} for each in range(references)]
        types.append({"type": "record", "name": f"L{level}", "fields": inner})
    fields = [{"name": each["name"], "type": each} for each in types]
    return {"type": "record", "name": "Levels", "fields": fields}


def settings(sandbox: SalesforceSandbox, folder: Path) -> Mapping[str, Any]:
    """Of the endpoint; the secrets lie in files."""
    return {
        "base_url": sandbox.vendor_url,
        "login_url": sandbox.vendor_url,
        "pubsub_url": sandbox.pubsub_url,
        "organization_id": ORGANIZATION,
        "client_id": _secret(folder, "client_id", CLIENT_ID),
        "private_key": _secret(folder, "private_key", sandbox.private_key()),
        "username": "hub@acme.example",
        "business_unit": "EAST",
        "delivery_methods": {"Standard": "UPS/03"},
        "return_reasons": {"DAMAGED": "Damaged"},
        "events_run_seconds": 0.2,
        "timeout_seconds": 10,
    }


def knows(sandbox: SalesforceSandbox) -> Sequence[Message]:
    """The order that is worked on, of which the dock keeps one piece back, with its shipment, the
    one that is cancelled, and one of which a part left."""
    worked_on = known(ORDER_ID, "FO-0001", WORK)
    line = worked_on.lines.add(line_number=1, item_number="SKU-1001")
    line.quantity.value, line.quantity.unit = "2", "EA"
    progress = worked_on.progress.add(line_number=1)
    progress.short.value, progress.short.unit = str(SHORT), "EA"
    return [
        worked_on,
        shipment(),
        known(CANCELLED_ID, "FO-0004", CANCELLED),
        known(PARTLY_ID, "FO-0006", PARTLY),
    ]


def known(hub_id: str, number: str, order_id: str) -> order_pb2.Order:
    """An order that the hub has of this org, of which everything has left."""
    order = order_pb2.Order(id=hub_id, number=number, state=order_pb2.ORDER_STATE_SHIPPED)
    for kind, value in (("fulfillment_order", order_id), ("order_summary", SUMMARY)):
        order.references.add(system=ADAPTER.name, type=kind, value=value)
    return order


def picked(_: Mapping[str, Any]) -> Message:
    """One piece of the first line was not there."""
    request = fulfillment_pb2.FulfillmentRequest(id=REQUEST_ID, order_id=ORDER_ID)
    short = request.short.add(line_number=1)
    short.quantity.CopyFrom(types_pb2.Quantity(value=str(SHORT), unit="EA"))
    return fulfillment_events_pb2.FulfillmentPickCompleted(fulfillment_request=request)


def shipment() -> shipment_pb2.Shipment:
    """One carton with a tracking number."""
    found = shipment_pb2.Shipment(
        id=SHIPMENT_ID, number="SHP-1", order_id=ORDER_ID, order_number="FO-0001",
        carrier_code="UPS", tracking_number="1ZINVENTED00000011",
    )  # fmt: skip
    found.ship_to.name = "R. Okonkwo"
    package = found.packages.add(id="pkg-1", number="CARTON-1")
    package.weight.value, package.weight.unit = "2", "KGM"
    content = package.contents.add(line_number=1, item_number="SKU-1001")
    content.quantity.value, content.quantity.unit = "1", "EA"
    return found


def packed(_: Mapping[str, Any]) -> Message:
    return fulfillment_events_pb2.FulfillmentPacked(shipment=shipment())


def manifested(_: Mapping[str, Any]) -> Message:
    return shipment_events_pb2.ShipmentManifested(shipment=shipment())


def voided(_: Mapping[str, Any]) -> Message:
    """The part that left came back."""
    taken = shipment()
    taken.order_id = PARTLY_ID
    return shipment_events_pb2.ShipmentVoided(shipment=taken)


def delivered(_: Mapping[str, Any]) -> Message:
    """It arrived."""
    arrived = shipment()
    progress = arrived.progress.add(
        package_id="pkg-1",
        tracking_number="1ZINVENTED00000011",
        milestone=shipment_pb2.MILESTONE_DELIVERED,
    )
    progress.milestone_time.FromJsonString("2026-03-04T15:02:00Z")
    return tracking_events_pb2.Delivered(shipment=arrived)


def received(_: Mapping[str, Any]) -> Message:
    """One piece of the first line came back."""
    event = return_events_pb2.ReturnReceived()
    returned = event.customer_return
    returned.id, returned.number, returned.order_id = RETURN_ID, "RMA-1", ORDER_ID
    returned.lines.add(line_number=1, item_number="SKU-1001", reason_code="DAMAGED")
    row = returned.receipts.add(number="RCV-1").lines.add(line_number=1)
    row.quantity.CopyFrom(types_pb2.Quantity(value="1", unit="EA"))
    return event


def picks(books: Mapping[str, Any]) -> int:
    """Picks that were told; more than was short that is cancelled counts as one more."""
    cancelled = sum(each["quantity"] for each in books["cancellations"])
    return int(statuses("Pick Complete")(books)) + int(cancelled > SHORT)


def statuses(status: str) -> Any:
    """How often this status was written."""
    return lambda books: sum(each["status"] == status for each in books["status_writes"])


def invoices(books: Mapping[str, Any]) -> int:
    """Invoices; a second shipment for the one carton counts as one more, and so do an item, and
    more that is cancelled than stayed behind."""
    shipments = [each for each in books["shipments"] if each["FulfillmentOrderId"] == WORK]
    items = sum(len(each.get("items", ())) for each in shipments)
    cancelled = sum(each["quantity"] for each in books["cancellations"])
    doubled = (len(shipments) > 1) + (items > 1) + (cancelled > SHORT)
    return len(books["invoices"]) + int(doubled)


def taken_back(books: Mapping[str, Any]) -> int:
    """Shipments that were deleted."""
    return sum(bool(each.get("IsDeleted")) for each in books["shipments"])


def arrivals(books: Mapping[str, Any]) -> int:
    return sum(bool(each.get("ActualDeliveryDate")) for each in books["shipments"])


def event(
    order_id: str | None,
    number: int,
    category: str = "Activated",
    *,
    grown: bool = False,
    old_status: str = "Draft",
) -> bytes:
    """One status event as it is published; number: of its EventUuid."""
    event_uuid = f"0190f7a2-3c4d-7e5f-8a6b-{number:012d}"
    record: dict[str, Any] = {
        "CreatedDate": 1_772_442_847_000,
        "CreatedById": sandbox_schemas.USER,
        "EventUuid": event_uuid,
        "FulfillmentOrderId": order_id,
        "OrderSummaryId": SUMMARY,
        "OldStatus": old_status,
        "NewStatus": "Allocated",
        "OldStatusCategory": "Draft",
        "NewStatusCategory": category,
    }
    schema_id = sandbox_schemas.STATUS_GROWN_ID if grown else sandbox_schemas.STATUS_ID
    if grown:
        record |= {"nobodyDocumentedThis": "value", "Kind": "NEWER"}
    schema = avro.schema_of(sandbox_schemas.SCHEMAS[schema_id])
    return published(schema_id, avro.encode(schema, record), event_uuid)


def published(schema_id: str, payload: bytes, event_id: str = "0190f7a2") -> bytes:
    """An event around a payload."""
    found = pubsub_api_pb2.ProducerEvent(id=event_id, schema_id=schema_id, payload=payload)
    return found.SerializeToString()


def avro_of(payload: bytes) -> bytes:
    """What is inside of an event."""
    return bytes(pubsub_api_pb2.ProducerEvent.FromString(payload).payload)


async def publish(world: World, payload: bytes) -> Delivered:
    """Put an event on the topic, until its place is kept."""
    given = {"event": base64.b64encode(payload).decode()}
    answer = await world.sandbox.commands()["publish"](given)
    name = translate_events.cursor_name(ORGANIZATION, STATUS_TOPIC)

    def kept() -> bool:
        value, _ = world.hub.cursors.get(name, (b"", 0))
        return bool(translate_events.place_of(value).replay_id.hex() == answer["replay_id"])

    await until(kept, "the place of the event is kept")
    return Delivered()


async def expire(sandbox: SalesforceSandbox) -> None:
    """The org ends every session."""
    await sandbox.commands()["expire_tokens"]({})


def _secret(folder: Path, name: str, value: str) -> str:
    file = folder / name
    file.write_text(value)
    return f"file:{file}"


_GOOD = event(FIRST, 1)
_SCHEMA = sandbox_schemas.STATUS_ID
# 2 ** 41 bytes of text are announced.
_HUGE_TEXT = b"\x80\x80\x80\x80\x80\x80\x01"

CONFORMANCE = Subject(
    adapter=ADAPTER,
    sandbox=SalesforceSandbox,
    settings=settings,
    sandbox_settings={
        "organization_id": ORGANIZATION,
        "client_id": CLIENT_ID,
        "fulfillment_orders": [
            {"id": WORK, "number": "FO-0001", "summary_id": SUMMARY, "status": "Printed"},
            {"id": FIRST, "number": "FO-0002"},
            {"id": SECOND, "number": "FO-0003", "lines": [["SKU-1002", "5", "Each"]]},
            {"id": CANCELLED, "number": "FO-0004", "status": "Canceled"},
            {"id": STRANGE, "number": "FO-0005", "lines": [["SKU-1001", "2", UNKNOWN_UNIT]]},
            {"id": PARTLY, "number": "FO-0006", "status": "Printed"},
        ],
        "shipments": {
            f"{SHIPMENT_ID}-CARTON-1": {"FulfillmentOrderId": PARTLY, "ShipToName": "R. Okonkwo"}
        },
        "schemas": {
            EMPTY_LIST_ID: json.dumps(
                {"type": "record", "name": "X", "fields": [{"name": "list", "type": EMPTY_LIST}]}
            ),
            NESTING_ID: json.dumps(NESTING),
            DOUBLING_ID: json.dumps(levels(40, 2, "null")),
            NULLS_ID: json.dumps(
                {
                    "type": "record",
                    "name": "X",
                    "fields": [{"name": "list", "type": {"type": "array", "items": NULLS}}],
                }
            ),
        },
    },
    cases=[
        Case("record_pick", event=picked, made=picks),
        Case("record_packed", event=packed, made=statuses("Pack Complete")),
        Case("confirm_shipment", event=manifested, made=invoices),
        Case("reverse_shipment", event=voided, made=taken_back),
        Case("record_delivery", event=delivered, made=arrivals, after=["confirm_shipment"]),
        Case(
            "refund",
            event=received,
            made=lambda books: len(books["change_orders"]),
            after=["confirm_shipment"],
        ),
    ],
    ways_in=[
        WayIn(
            "poll:events",
            payloads=[_GOOD, event(SECOND, 2), event(CANCELLED, 3, "Cancelled")],
            deliver=publish,
            media=OTHER,
            malformed=[
                Malformed(published(_SCHEMA, avro_of(_GOOD)[:70]), r"/FulfillmentOrderId"),
                Malformed(published(_SCHEMA, avro_of(_GOOD) + b"\x00"), r"/payload"),
                Malformed(published("Zx5f0000000000000000A1", b""), r"/schema_id"),
                Malformed(event(None, 4), r"/FulfillmentOrderId"),
                Malformed(event("no id", 5), r"/FulfillmentOrderId"),
            ],
            unknown_code=UnknownCode(event(STRANGE, 6), UNKNOWN_UNIT, topic=Topic.UNIT),
            grown=event(FIRST, 1, grown=True),
            oversize=event(FIRST, 7, old_status="x" * (1200 * 1024)),
            bombs=[
                published(_SCHEMA, avro_of(_GOOD)[:6] + _HUGE_TEXT),
                published(EMPTY_LIST_ID, _HUGE_TEXT + b"\x00"),
                published(NESTING_ID, b"\x02" * 100_000),
                published(DOUBLING_ID, b""),
                # 100,000 of them, and the end of the list.
                published(NULLS_ID, b"\xc0\x9a\x0c" + bytes(100_001)),
            ],
        ),
    ],
    knows=knows,
    expire=expire,
)
