"""What the conformance kit needs to know of SAP: one order's life, and how to count it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from crossdock.freight.v1 import freight_events_pb2, freight_pb2
from crossdock.order.v1 import order_events_pb2, order_pb2
from crossdock.returns.v1 import return_events_pb2, return_pb2
from crossdock.shipment.v1 import shipment_events_pb2, shipment_pb2
from google.protobuf.message import Message

from crossdock_adapters.sap.adapter import ADAPTER
from crossdock_adapters.sap.sandbox import DEFAULT_PASSWORD, DEFAULT_USER, SapSandbox
from crossdock_adapters.sap.sandbox_master_data import event
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
from crossdock_adapters.sdk.settings import Secrets

CHARGE_ID = "44444444-4444-4444-8444-444444444444"
ORDER_ID = "11111111-1111-4111-8111-111111111111"
SHIPMENT_ID = "22222222-2222-4222-8222-222222222222"
RETURN_ID = "33333333-3333-4333-8333-333333333333"
CHANGED_QUANTITY = "3"
EVENTS_PASSWORD = "conformance-password-of-events"
POLL_SECONDS = 0.05
# So long that each round reads every row: what a check changed is dated in the past.
OVERLAP_SECONDS = 10 * 365 * 86_400
CHANGED_AT = "2026-03-01T12:00:00+00:00"
LARGE = 600_000


def settings(sandbox: SapSandbox, folder: Path) -> Mapping[str, Any]:
    """Of the endpoint; the password lies in a file."""
    password = folder / "sap-password"
    password.write_text(DEFAULT_PASSWORD)
    events_password = folder / "sap-events-password"
    events_password.write_text(EVENTS_PASSWORD)
    return {
        "base_url": sandbox.vendor_url,
        "events_password": f"file:{events_password}",
        "changes_interval_seconds": POLL_SECONDS,
        "changes_overlap_seconds": OVERLAP_SECONDS,
        "user": DEFAULT_USER,
        "password": f"file:{password}",
        "sales_areas": {"*": "1010/10/00"},
        "plants": {"WH-EAST": "1010"},
        "return_reasons": {"DAMAGED": "001"},
        "time_zone": "America/New_York",
        "freight_companies": {"*": "1010"},
        "freight_suppliers": {"LTL": "CARRIER-LTL"},
        "freight_accounts": {"freight": "65100000", "*": "65200000"},
        "freight_cost_centres": {"EAST": "10101101"},
    }


def order(quantity: str = "2") -> order_pb2.Order:
    """Two lines from one warehouse."""
    made = order_pb2.Order(
        id=ORDER_ID, number="SO-1", business_unit="EAST", customer_number="CUST-1003",
        carrier_code="UPS", service_code="03",
    )  # fmt: skip
    made.ship_to.name = "Pat Doe"
    made.ship_to.address.lines.append("1 Main Street")
    made.ship_to.address.city, made.ship_to.address.country_code = "Albany", "US"
    made.order_time.FromJsonString("2026-03-05T02:00:00Z")
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
    found.manifest_time.instant.FromJsonString("2026-03-06T03:00:00Z")
    package = found.packages.add(id="pkg-1", number="CARTON-1")
    package.weight.value, package.weight.unit = "2", "KGM"
    for number, item, packed in ((10, "SKU-1001", "2"), (20, "SKU-1002", "5")):
        content = package.contents.add(line_number=number, item_number=item)
        content.quantity.value, content.quantity.unit = packed, "EA"
    found.progress.add(package_id="pkg-1", tracking_number="1Z999AA10123456784")
    return found


def charge() -> freight_pb2.FreightCharge:
    """What an LTL carrier billed for the shipment, with a discount, and the audit agreed to."""
    found = freight_pb2.FreightCharge(
        id=CHARGE_ID, state=freight_pb2.FREIGHT_CHARGE_STATE_FINALISED, carrier_code="LTL",
        tracking_number="500000001", shipment_id=SHIPMENT_ID, shipment_number="SHP-1",
        order_id=ORDER_ID, business_unit="EAST", ship_from_location_number="WH-EAST",
    )  # fmt: skip
    found.invoice.number, found.invoice.invoice_date = "inv-77-1", "2026-03-05"
    for code, amount in (("", "462.40"), ("FUE", "70.00"), ("DSC", "-20.00")):
        line = found.invoice.lines.add(code=code)
        line.amount.amount, line.amount.currency = amount, "USD"
    found.invoice.amount.amount, found.invoice.amount.currency = "512.40", "USD"
    found.audit.amount.CopyFrom(found.invoice.amount)
    found.audit.lines.extend(found.invoice.lines)
    return found


def finalised(_: Mapping[str, Any]) -> Message:
    event = freight_events_pb2.FreightChargeFinalised(freight_charge=charge())
    event.metadata.record_time.FromJsonString("2026-03-10T03:00:05Z")
    return event


def approved(_: Mapping[str, Any]) -> Message:
    return order_events_pb2.OrderApproved(order=order())


def changed(_: Mapping[str, Any]) -> Message:
    return order_events_pb2.OrderChanged(order=order(CHANGED_QUANTITY), changed_fields=["lines"])


def cancelled(_: Mapping[str, Any]) -> Message:
    return order_events_pb2.OrderCancelled(order=order())


def manifested(_: Mapping[str, Any]) -> Message:
    event = shipment_events_pb2.ShipmentManifested(shipment=shipment())
    event.metadata.record_time.FromJsonString("2026-03-06T03:00:05Z")
    return event


def voided(_: Mapping[str, Any]) -> Message:
    event = shipment_events_pb2.ShipmentVoided(shipment=shipment())
    event.metadata.record_time.FromJsonString("2026-03-06T04:00:05Z")
    return event


def customer_return() -> return_pb2.Return:
    """One piece of the first line."""
    found = return_pb2.Return(
        id=RETURN_ID, number="RMA-1", order_id=ORDER_ID, order_number="SO-1", business_unit="EAST",
        customer_number="CUST-1003", return_to_location_number="WH-EAST", authorised_by="desk",
    )  # fmt: skip
    line = found.lines.add(line_number=10, item_number="SKU-1001", reason_code="DAMAGED")
    line.quantity.value, line.quantity.unit = "1", "EA"
    return found


def initiated(_: Mapping[str, Any]) -> Message:
    return return_events_pb2.ReturnInitiated(customer_return=customer_return())


def given_up(_: Mapping[str, Any]) -> Message:
    return return_events_pb2.ReturnCancelled(customer_return=customer_return())


def received(_: Mapping[str, Any]) -> Message:
    event = return_events_pb2.ReturnReceived(customer_return=customer_return())
    receipt = event.customer_return.receipts.add(number="RCV-1")
    receipt.receive_time.instant.FromJsonString("2026-03-20T03:00:00Z")
    row = receipt.lines.add(line_number=10)
    row.quantity.value, row.quantity.unit = "1", "EA"
    event.metadata.record_time.FromJsonString("2026-03-20T03:00:05Z")
    return event


def rejected_returns(books: Mapping[str, Any]) -> int:
    """Customer returns of which nothing is expected."""
    return sum(
        all(line.get("SalesDocumentRjcnReason") for line in each["lines"])
        for each in books["customer_returns"]
    )


def changed_items(books: Mapping[str, Any]) -> int:
    """Items that have the changed quantity."""
    items = [item for each in books["sales_orders"] for item in each["items"]]
    return sum(item["RequestedQuantity"] == Decimal(CHANGED_QUANTITY) for item in items)


def rejected_orders(books: Mapping[str, Any]) -> int:
    """Sales orders of which something is rejected: an order has more than one item."""
    return sum(
        any(item["SalesDocumentRjcnReason"] for item in each["items"])
        for each in books["sales_orders"]
    )


def movements(books: Mapping[str, Any], movement: str) -> int:
    """Material documents of a movement type."""
    return len({
        (each["MaterialDocumentYear"], each["MaterialDocument"])
        for each in books["material_documents"]
        if each["GoodsMovementType"] == movement
    })  # fmt: skip


def happened(kind: str, key: str, action: str = "Changed") -> bytes:
    """A business event."""
    moment = datetime.fromisoformat(CHANGED_AT)
    return vendor_json.dumps(event(kind, key, action, f"{kind}-{key}-{action}", moment))


def row(key: str, kind: str = "Product", **fields: Any) -> bytes:
    """What a person changes in a product or partner."""
    return vendor_json.dumps({"kind": kind, "key": key, "fields": fields, "at": CHANGED_AT})


async def change(world: World, payload: bytes) -> Delivered:
    """Change a record, until a round of polling that began after it has ended."""
    await world.sandbox.commands()["change"](vendor_json.loads(payload))
    await _rounds(world, 2)
    return Delivered()


async def polled(world: World) -> None:
    """The first round has read everything that the tenant holds."""
    await _rounds(world, 1)


async def _rounds(world: World, count: int) -> None:
    """The cursor moves once for each kind of a round."""
    kinds = len(ADAPTER.manifest.settings["hears"].default)
    seen = world.hub.cursors.get("changes", (b"", 0))[1]
    await until(
        lambda: world.hub.cursors.get("changes", (b"", 0))[1] >= seen + count * kinds,
        "a round of polling ends",
    )


def credential(secrets: Secrets) -> Mapping[str, str]:
    """What the event broker sends with each event."""
    pair = f"sap-events:{secrets.text('events_password')}"
    return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}


async def expire(sandbox: SapSandbox) -> None:
    """An application server restarts: every session and token is gone."""
    await sandbox.commands()["forget_sessions"]({})


CONFORMANCE = Subject(
    adapter=ADAPTER,
    sandbox=SapSandbox,
    settings=settings,
    cases=[
        Case("post_freight_charge", finalised, lambda books: len(books["supplier_invoices"])),
        Case("create_sales_order", approved, lambda books: len(books["sales_orders"])),
        Case("change_order", changed, changed_items, after=["create_sales_order"]),
        Case("cancel_order", cancelled, rejected_orders, after=["create_sales_order"]),
        Case(
            "post_goods_issue",
            manifested,
            lambda books: movements(books, "601"),
            after=["create_sales_order"],
        ),
        Case(
            "reverse_goods_issue",
            voided,
            lambda books: movements(books, "602"),
            after=["create_sales_order", "post_goods_issue"],
            # Behind it the delivery is let go, which has an effect of its own.
            strikes="reverse_goods_issue",
        ),
        Case(
            "open_return",
            initiated,
            lambda books: len(books["customer_returns"]),
            after=["create_sales_order"],
        ),
        Case(
            "cancel_return", given_up, rejected_returns, after=["create_sales_order", "open_return"]
        ),
        Case(
            "post_return_receipt",
            received,
            lambda books: movements(books, "653"),
            after=["create_sales_order", "open_return"],
        ),
    ],
    ways_in=[
        WayIn(
            "/sap/events",
            payloads=[
                happened("Product", "SKU-1001"),
                happened("BusinessPartner", "CUST-1001"),
                happened("Product", "SKU-1002", "Created"),
            ],
            headers=credential,
            needed=["/type", "/data", "/data/Product"],
            unknown_code=UnknownCode(happened("Product", "SKU-1003", "Exploded"), "Exploded"),
        ),
        WayIn(
            "poll:changes",
            payloads=[
                row("SKU-1001", Description="A bottle"),
                row("SKU-1002", GrossWeight="12.500"),
                row("CUST-1002", "BusinessPartner", BusinessPartnerFullName="Another name"),
                row("SKU-1009", packs={"CV": ["12", "1"], "PAL": ["480", "1"]}),
            ],
            deliver=change,
            ready=polled,
            media=OTHER,
            malformed=[
                Malformed(row("SKU-1003", GrossWeight="heavy"), "/GrossWeight"),
                Malformed(row("SKU-1004", BaseUnit=None), "/BaseUnit"),
                Malformed(
                    row("CUST-1003", "BusinessPartner", BusinessPartnerFullName=["a", "list"]),
                    "/BusinessPartnerFullName",
                ),
            ],
            unknown_code=UnknownCode(row("SKU-1005", BaseUnit="FTM"), "FTM", topic=Topic.UNIT),
            unknown_codes=[
                UnknownCode(row("SKU-1009", packs={"FTM": ["6", "1"]}), "FTM", topic=Topic.UNIT)
            ],
            grown=row("SKU-1001", Description="A bottle", NobodyDocumentedThis="value"),
            oversize=row("SKU-1006", Description="x" * LARGE, BaseUnit="FTM"),
            bombs=[
                row("SKU-1007", GrossWeight="1E+999999999"),
                row("SKU-1008", GrossWeight="9" * LARGE),
                row("SKU-1009", packs={"CV": ["1E+999999999", "1"]}),
                row("SKU-1010", packs={"CV": ["12", "9" * LARGE]}),
            ],
        ),
    ],
    knows=lambda _: [shipment()],
    expire=expire,
)
