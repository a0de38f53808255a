"""What the conformance kit needs to know of Canada Post: cases, answers of tracking, sandbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crossdock.fulfillment.v1 import fulfillment_events_pb2
from crossdock.label.v1 import label_pb2
from crossdock.shipment.v1 import shipment_events_pb2, shipment_pb2
from crossdock.types.v1 import types_pb2
from google.protobuf.message import Message

from crossdock_adapters.canada_post.adapter import ADAPTER
from crossdock_adapters.canada_post.sandbox import CanadaPostSandbox
from crossdock_adapters.sdk import vendor_xml
from crossdock_adapters.sdk.conformance.stage import Stage, until
from crossdock_adapters.sdk.conformance.subject import (
    XML,
    Case,
    Delivered,
    Subject,
    UnknownCode,
    WayIn,
)

CUSTOMER = "0008880001"
API_USER, API_PASSWORD = "conformance-api-user", "conformance-api-password"
SHIPMENT_ID = "0190f7a2-3c4d-7e5f-8a6b-000000000011"
PACKAGE_ID = "0190f7a2-3c4d-7e5f-8a6b-000000000012"
OTHER_SHIPMENT_ID = "0190f7a2-3c4d-7e5f-8a6b-000000000013"
PIN = "7023210039414604"
UNKNOWN = "9321"
NAMESPACE = "http://www.canadapost.ca/ws/track-v2"
TRACKING_INTERVAL_SECONDS = 0.05


def settings(sandbox: CanadaPostSandbox, folder: Path) -> Mapping[str, Any]:
    """Of the endpoint; the secrets lie in files."""
    return {
        "base_url": sandbox.vendor_url,
        "api_user": _secret(folder, "api_user", API_USER),
        "api_password": _secret(folder, "api_password", API_PASSWORD),
        "customer_number": CUSTOMER,
        "calls_per_second": 2000,
        "timeout_seconds": 10,
        "refund_email": "refunds@northwind.example",
        "tracking_interval_seconds": TRACKING_INTERVAL_SECONDS,
    }


def shipment() -> shipment_pb2.Shipment:
    """One package from Ottawa to Halifax, as the hub tells it after packing."""
    found = shipment_pb2.Shipment(
        id=SHIPMENT_ID,
        number="S-2001",
        order_number="SO-2001",
        ship_from_location_number="OTTAWA",
        carrier_code="CANADA_POST",
        service_code="GROUND",
        ship_from=_party("Northwind Outfitters", "12 Dock Road", "Ottawa", "ON", "K1A 0B1"),
        ship_to=_party("Renée Thériault", "7 Alder Street", "Halifax", "NS", "b3h 4r2"),
    )
    package = found.packages.add(id=PACKAGE_ID, number="OLPN-1")
    for side, value in (("length", "30"), ("width", "22.5"), ("height", "10")):
        getattr(package, side).CopyFrom(types_pb2.Quantity(value=value, unit="CMT"))
    package.weight.CopyFrom(types_pb2.Quantity(value="1.9", unit="KGM"))
    return found


def label(number: str, shipment_id: str = SHIPMENT_ID) -> label_pb2.Label:
    """A label as the hub stores it."""
    return label_pb2.Label(
        shipment_id=shipment_id,
        package_id=PACKAGE_ID,
        carrier_code="CANADA_POST",
        tracking_number=number,
    )


def detail(*occurrences: Mapping[str, str]) -> bytes:
    """An answer of Get Tracking Details, newest scan first."""
    content = {
        "pin": PIN,
        "active-exists": "1",
        "service-name": "Expedited Parcels",
        "significant-events": {"occurrence": list(occurrences)},
    }
    return vendor_xml.dumps(vendor_xml.build("tracking-detail", content, NAMESPACE))


def occurrence(identifier: str, clock: str, text: str, signatory: str = "") -> Mapping[str, str]:
    """One scan in Halifax."""
    return {
        "event-identifier": identifier,
        "event-date": "2026-03-05",
        "event-time": clock,
        "event-time-zone": "AST",
        "event-description": text,
        "signatory-name": signatory,
        "event-site": "HALIFAX",
        "event-province": "NS",
    }


async def show(stage: Stage, payload: bytes) -> Delivered:
    """Let tracking answer so, until a poll that saw it has ended and another began."""
    stage.sandbox.show(PIN, payload)
    seen = sum(call.operation == "track" for call in stage.sandbox.calls)
    await until(
        lambda: sum(call.operation == "track" for call in stage.sandbox.calls) >= seen + 3,
        "the tracking poll asks again",
    )
    return Delivered()


def knows(sandbox: CanadaPostSandbox) -> Sequence[Message]:
    """A parcel under way, for the tracking poll to ask about."""
    return [label(PIN, OTHER_SHIPMENT_ID)]


def taken_back(books: Mapping[str, Any]) -> int:
    """Labels that are void, or whose price was asked for."""
    return int(books["labels_sold"] - books["labels_valid"])


def _secret(folder: Path, name: str, value: str) -> str:
    file = folder / name
    file.write_text(value)
    return f"file:{file}"


def _party(name: str, line: str, city: str, province: str, postal_code: str) -> types_pb2.Party:
    address = types_pb2.Address(
        lines=[line], city=city, state=province, postal_code=postal_code, country_code="CA"
    )
    return types_pb2.Party(name=name, address=address, phone="+1 613 555 0100")


_ACCEPTED = occurrence("1402", "09:00:00", "Item accepted at the Post Office")
_OUT = occurrence("0174", "11:05:00", "Item out for delivery")
_DELIVERED = occurrence("1421", "14:12:03", "Item successfully delivered", "N. TREMBLAY")

CONFORMANCE = Subject(
    adapter=ADAPTER,
    sandbox=CanadaPostSandbox,
    settings=settings,
    sandbox_settings={
        "api_user": API_USER,
        "api_password": API_PASSWORD,
        "customers": [CUSTOMER],
        "calls_per_second": 2000,
        "retry_after_header": True,
    },
    cases=[
        Case(
            "buy_label",
            event=lambda _: fulfillment_events_pb2.FulfillmentPacked(shipment=shipment()),
            item=PACKAGE_ID,
            made=lambda books: len(books["shipments"]),
        ),
        Case(
            "void_label",
            event=lambda _: shipment_events_pb2.ShipmentVoided(shipment=shipment()),
            item=PACKAGE_ID,
            after=["buy_label"],
            made=taken_back,
        ),
    ],
    ways_in=[
        WayIn(
            "poll:tracking",
            payloads=[
                detail(_ACCEPTED),
                detail(_OUT, _ACCEPTED),
                detail(_DELIVERED, _OUT, _ACCEPTED),
            ],
            deliver=show,
            media=XML,
            content_type="application/xml",
            needed=[
                "/tracking-detail/pin",
                "/tracking-detail/significant-events/occurrence/event-date",
            ],
            unknown_code=UnknownCode(
                detail(occurrence(UNKNOWN, "10:00:00", "Item handed to a drone")),
                UNKNOWN,
                "milestone",
            ),
        ),
    ],
    knows=knows,
)
