"""What the conformance kit needs to know of Canada Post: cases, answers of tracking, sandbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crossdock.shipment.v1 import shipment_events_pb2, shipment_pb2
from crossdock.types.v1 import types_pb2
from google.protobuf.message import Message

from crossdock_adapters.canada_post.adapter import ADAPTER
from crossdock_adapters.canada_post.sandbox import CanadaPostSandbox
from crossdock_adapters.sdk import vendor_xml
from crossdock_adapters.sdk.conformance import packed_parcel
from crossdock_adapters.sdk.conformance.subject import (
    XML,
    Case,
    Subject,
    UnknownCode,
    WayIn,
)

CUSTOMER = "0008880001"
API_USER, API_PASSWORD = "conformance-api-user", "conformance-api-password"
PACKAGE_ID = packed_parcel.PACKAGE_ID
PIN = "7023210039414604"
UNKNOWN = "9321"
NAMESPACE = "http://www.canadapost.ca/ws/track-v2"
TRACKING_INTERVAL_SECONDS = 0.05
SECRETS = {"api_user": API_USER, "api_password": API_PASSWORD}


def settings(sandbox: CanadaPostSandbox, folder: Path) -> Mapping[str, Any]:
    """Of the endpoint; the secrets lie in files."""
    return {
        "base_url": sandbox.vendor_url,
        **packed_parcel.secret_files(folder, SECRETS),
        "customer_number": CUSTOMER,
        "calls_per_second": 2000,
        "timeout_seconds": 10,
        "refund_email": "refunds@northwind.example",
        "tracking_interval_seconds": TRACKING_INTERVAL_SECONDS,
    }


def shipment() -> shipment_pb2.Shipment:
    """One package from Ottawa to Halifax, as the hub tells it after packing."""
    found = packed_parcel.shipment(
        "CANADA_POST",
        "GROUND",
        "2001",
        _party("Northwind Outfitters", "12 Dock Road", "Ottawa", "ON", "K1A 0B1"),
        _party("Renée Thériault", "7 Alder Street", "Halifax", "NS", "b3h 4r2"),
    )
    packed_parcel.pack(found, "OLPN-1", ("1.9", "KGM"), ("30", "22.5", "10"))
    return found


def left() -> shipment_events_pb2.ShipmentManifested:
    """Its package has left the dock."""
    event = shipment_events_pb2.ShipmentManifested(shipment=shipment())
    event.shipment.departures.add(package_numbers=["OLPN-1"])
    return event


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


def knows(sandbox: CanadaPostSandbox) -> Sequence[Message]:
    """A parcel under way, for the tracking poll to ask about, and the shipment that leaves."""
    return [packed_parcel.label("CANADA_POST", PIN), shipment()]


def taken_back(books: Mapping[str, Any]) -> int:
    """Labels that are void, or whose price was asked for."""
    return int(books["labels_sold"] - books["labels_valid"])


def _party(name: str, line: str, city: str, province: str, postal_code: str) -> types_pb2.Party:
    phone = "+1 613 555 0100"
    return packed_parcel.party(name, line, city, province, postal_code, "CA", phone)


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
        *packed_parcel.cases(
            shipment, bought=lambda books: len(books["shipments"]), voided=taken_back
        ),
        Case(
            "close_manifest",
            event=lambda _: left(),
            after=["buy_label"],
            made=lambda books: len(books["manifests"]),
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
            deliver=packed_parcel.shown(PIN),
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
