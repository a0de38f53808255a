"""What the conformance kit needs to know of NetSuite: cases, rows, and the account's set-up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from crossdock.customer.v1 import customer_pb2
from crossdock.item.v1 import item_pb2
from crossdock.location.v1 import location_pb2
from crossdock.order.v1 import order_events_pb2, order_pb2
from crossdock.shipment.v1 import shipment_events_pb2, shipment_pb2
from google.protobuf.message import Message

from crossdock_adapters.netsuite.adapter import ADAPTER
from crossdock_adapters.netsuite.sandbox import (
    DEFAULT_CERTIFICATE_ID,
    DEFAULT_CLIENT_ID,
    DEFAULT_TIME_ZONE,
    NetSuiteSandbox,
)
from crossdock_adapters.netsuite.sandbox_records import CUSTOMER, ITEM, LOCATION
from crossdock_adapters.sdk import vendor_json
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

ORDER_ID = "11111111-1111-4111-8111-111111111111"
SHIPMENT_ID = "22222222-2222-4222-8222-222222222222"
LOTS, SERIALS = ("LOT-A", "LOT-B"), ("SN-1", "SN-2", "SN-3", "SN-4", "SN-5")
CHANGED_QUANTITY = "3"
POLL_SECONDS = 0.05
# So long that each poll reads every row: what a check changed is dated in the past.
OVERLAP_SECONDS = 10 * 365 * 86_400
CHANGED_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
TABLES = 4
LARGE = 600_000


def settings(sandbox: NetSuiteSandbox, folder: Path) -> Mapping[str, Any]:
    """Of the endpoint; the key lies where the sandbox wrote it."""
    return {
        "base_url": sandbox.vendor_url,
        "client_id": DEFAULT_CLIENT_ID,
        "certificate_id": DEFAULT_CERTIFICATE_ID,
        "private_key": f"file:{sandbox.settings['client_key_file']}",
        "account_time_zone": DEFAULT_TIME_ZONE,
        "master_data_interval_seconds": POLL_SECONDS,
        "master_data_overlap_seconds": OVERLAP_SECONDS,
    }


def knows(sandbox: NetSuiteSandbox) -> Sequence[Message]:
    """The account's master data, with its internal ids, as the hub has it after a poll, and the
    shipment that leaves."""
    kinds: Mapping[str, tuple[str, Any]] = {
        ITEM: ("item", item_pb2.Item),
        CUSTOMER: ("customer", customer_pb2.Customer),
        LOCATION: ("location", location_pb2.Location),
    }
    found: list[Message] = [shipment()]
    for record_type, records in sandbox.books()["master_data"].items():
        kind, message = kinds[record_type]
        for record in records:
            known = message(number=record["number"])
            known.references.add(system=ADAPTER.name, type=kind, value=str(record["internal_id"]))
            found.append(known)
    return found


def order(quantity: str = "2") -> order_pb2.Order:
    """Two lines from one warehouse."""
    made = order_pb2.Order(
        id=ORDER_ID, number="SO-1", customer_number="CUST-1003", carrier_code="UPS"
    )
    made.ship_to.name = "Pat Doe"
    made.ship_to.address.lines.append("1 Main Street")
    made.ship_to.address.city, made.ship_to.address.state = "Albany", "NY"
    made.ship_to.address.postal_code, made.ship_to.address.country_code = "12207", "US"
    made.order_time.FromJsonString("2026-03-05T02:00:00Z")
    for number, item, ordered in ((10, "SKU-1001", quantity), (20, "SKU-1002", "5")):
        line = made.lines.add(line_number=number, item_number=item)
        line.quantity.value, line.quantity.unit = ordered, "EA"
        line.ship_from_location_number = "WH-EAST"
        line.unit_price.amount, line.unit_price.currency = "19.95", "USD"
    return made


def shipment() -> shipment_pb2.Shipment:
    """Everything of the order, in one carton: the first line of two lots, the second serialized."""
    found = shipment_pb2.Shipment(
        id=SHIPMENT_ID,
        number="SHP-1",
        order_id=ORDER_ID,
        order_number="SO-1",
        ship_from_location_number="WH-EAST",
    )
    found.manifest_time.instant.FromJsonString("2026-03-06T03:00:00Z")
    package = found.packages.add(id="pkg-1", number="CARTON-1")
    package.weight.value, package.weight.unit = "2", "KGM"
    for lot in LOTS:
        content = package.contents.add(line_number=10, item_number="SKU-1001", lot=lot)
        content.quantity.value, content.quantity.unit = "1", "EA"
    content = package.contents.add(line_number=20, item_number="SKU-1002", serial_numbers=SERIALS)
    content.quantity.value, content.quantity.unit = "5", "EA"
    found.progress.add(package_id="pkg-1", tracking_number="1Z999AA10123456784")
    return found


def manifested() -> shipment_events_pb2.ShipmentManifested:
    """The shipment left."""
    event = shipment_events_pb2.ShipmentManifested(shipment=shipment())
    event.metadata.record_time.FromJsonString("2026-03-06T03:00:05Z")
    return event


def orders_of(books: Mapping[str, Any], status: str) -> int:
    """Sales orders in a status."""
    return sum(each["fields"]["orderStatus"] == status for each in books["sales_orders"])


def changed_lines(books: Mapping[str, Any]) -> int:
    """Lines that hold the changed quantity."""
    lines = [line for each in books["sales_orders"] for line in each["lines"]]
    return sum(Decimal(str(line["quantity"])) == Decimal(CHANGED_QUANTITY) for line in lines)


def row(number: str, **fields: Any) -> bytes:
    """What a person changes in an item's record."""
    return vendor_json.dumps({"number": number, "fields": fields})


async def polled(world: World) -> None:
    """The first poll has read everything that the account holds."""
    await _polls(world, 1)


async def change(world: World, payload: bytes) -> Delivered:
    """Change an item, until a poll that began after it has ended."""
    given = vendor_json.loads(payload)
    await world.sandbox.commands()["change_master_data"](
        {"type": "item", **given, "modified": CHANGED_AT}
    )
    await _polls(world, 2)
    return Delivered()


async def expire(sandbox: NetSuiteSandbox) -> None:
    """The account revokes every token."""
    await sandbox.commands()["revoke_tokens"]({})


async def _polls(world: World, count: int) -> None:
    """The cursor moves once for each table of a poll."""
    seen = world.hub.cursors.get("master_data", (b"", 0))[1]
    await until(
        lambda: world.hub.cursors.get("master_data", (b"", 0))[1] >= seen + count * TABLES,
        "the master data poll ends",
    )


CONFORMANCE = Subject(
    adapter=ADAPTER,
    sandbox=NetSuiteSandbox,
    settings=settings,
    sandbox_settings={
        "save_seconds_min": 0.0,
        "save_seconds_max": 0.002,
        "lots": {"SKU-1001": LOTS},
        "serials": {"SKU-1002": SERIALS},
    },
    cases=[
        Case(
            "create_sales_order",
            event=lambda _: order_events_pb2.OrderApproved(order=order()),
            made=lambda books: len(books["sales_orders"]),
        ),
        Case(
            "change_order",
            event=lambda _: order_events_pb2.OrderChanged(
                order=order(CHANGED_QUANTITY), changed_fields=["lines"]
            ),
            after=["create_sales_order"],
            made=changed_lines,
        ),
        Case(
            "cancel_order",
            event=lambda _: order_events_pb2.OrderCancelled(order=order()),
            after=["create_sales_order"],
            made=lambda books: orders_of(books, "H"),
        ),
        Case(
            "post_goods_issue",
            event=lambda _: manifested(),
            after=["create_sales_order"],
            made=lambda books: sum(not each["deleted"] for each in books["item_fulfillments"]),
        ),
        Case(
            "reverse_goods_issue",
            event=lambda _: shipment_events_pb2.ShipmentVoided(shipment=shipment()),
            after=["create_sales_order", "post_goods_issue"],
            made=lambda books: sum(bool(each["deleted"]) for each in books["item_fulfillments"]),
        ),
    ],
    ways_in=[
        WayIn(
            "poll:master_data",
            payloads=[row("SKU-1001", displayname="Bottle"), row("SKU-1002", weight="12.5")],
            deliver=change,
            ready=polled,
            media=OTHER,
            malformed=[
                Malformed(row("SKU-1003", weight="heavy"), "/weight"),
                Malformed(row("SKU-1007", itemid=None), "/number"),
                Malformed(row("SKU-1006", custitem_un_number="3480"), "/un_number"),
            ],
            unknown_code=UnknownCode(
                row("SKU-1004", stockunit="FATHOM"), "FATHOM", topic=Topic.UNIT
            ),
            oversize=row("SKU-1005", displayname="x" * LARGE, stockunit="FATHOM"),
            bombs=[
                row("SKU-1005", weight="1E+999999999"),
                row("SKU-1008", weight="9" * LARGE),
            ],
        ),
    ],
    knows=knows,
    expire=expire,
)
