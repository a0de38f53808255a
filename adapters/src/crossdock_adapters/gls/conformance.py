"""What the conformance kit needs to know of GLS: cases, answers of tracking, how it is set up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crossdock.shipment.v1 import shipment_pb2
from crossdock.types.v1 import types_pb2
from google.protobuf.message import Message

from crossdock_adapters.gls.adapter import ADAPTER
from crossdock_adapters.gls.sandbox import GlsSandbox
from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.conformance import packed_parcel
from crossdock_adapters.sdk.conformance.subject import (
    Subject,
    UnknownCode,
    WayIn,
)

CONTACT = "2760194275"
# The simulated GLS is at home an hour before UTC, and knows a parcel as soon as its settings say.
TIME_ZONE, NOT_FOUND_CODES = "Europe/Berlin", ["E_404_01"]
CLIENT_ID, CLIENT_SECRET = "conformance-client", "conformance-client-secret"
PACKAGE_ID = packed_parcel.PACKAGE_ID
SECOND_PACKAGE_ID = "0190f7a2-3c4d-7e5f-8a6b-000000000102"
NUMBER = "00A1B2C3"
UNKNOWN = "INDRONE"
TRACKING_INTERVAL_SECONDS = 0.05
SECRETS = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}


def settings(sandbox: GlsSandbox, folder: Path) -> Mapping[str, Any]:
    """Of the endpoint; the secrets lie in files."""
    return {
        "base_url": sandbox.vendor_url,
        **packed_parcel.secret_files(folder, SECRETS),
        "contact_id": CONTACT,
        "time_zone": TIME_ZONE,
        "not_found_codes": NOT_FOUND_CODES,
        "calls_per_second": 2000,
        "timeout_seconds": 10,
        "tracking_interval_seconds": TRACKING_INTERVAL_SECONDS,
        "tracking_calls_per_day": 1_000_000,
    }


def shipment(packages: int = 1) -> shipment_pb2.Shipment:
    """Packages from Neuenstein to Lyon, as the hub tells it after packing."""
    found = packed_parcel.shipment(
        "GLS",
        "INTL_GROUND",
        "3001",
        _party("Northwind Outfitters", "Dockstraße 12", "Neuenstein", "36286", "DE"),
        _party("Aurélie Fontaine", "7 rue des Aulnes", "Lyon", "69003", "FR"),
    )
    others = [f"{SECOND_PACKAGE_ID[:-3]}{100 + number}" for number in range(2, packages + 1)]
    for position, package_id in enumerate([PACKAGE_ID, *others], start=1):
        weight = (f"{position}.25", "KGM")
        packed_parcel.pack(found, f"CARTON-{position}", weight, package_id=package_id)
    return found


def tracked(status: str, *events: Mapping[str, str], number: str = NUMBER) -> bytes:
    """An answer of tracking about one parcel, newest event first."""
    parcel = {
        "requested": number,
        "unitno": "42249028960",
        "status": status,
        "statusDateTime": events[0]["eventDateTime"],
        "events": list(events),
    }
    return vendor_json.dumps({"parcels": [parcel]})


def event(code: str, clock: str, description: str) -> Mapping[str, str]:
    """One event in Lyon, its offset without a colon."""
    return {
        "code": code,
        "city": "Lyon",
        "postalCode": "69003",
        "country": "FR",
        "description": description,
        "eventDateTime": f"2026-03-05T{clock}+0100",
    }


def knows(sandbox: GlsSandbox) -> Sequence[Message]:
    """A parcel under way, for the tracking poll to ask about."""
    return [packed_parcel.label("GLS", NUMBER)]


def _party(name: str, line: str, city: str, postal_code: str, country: str) -> types_pb2.Party:
    return packed_parcel.party(name, line, city, "", postal_code, country, "+49 6677 646 907")


HANDED_OVER = event("INTIAL.NORMAL", "09:00:00", "The parcel was handed over to GLS.")
OUT = event("OUTDEL.NORMAL", "11:05:00", "The parcel is expected to be delivered during the day.")
DELIVERED = event("DELIVD.NORMAL", "14:12:03", "The parcel has been delivered.")
STRANGE = event("DRONE.NORMAL", "10:00:00", "The parcel was handed to a drone.")

CONFORMANCE = Subject(
    adapter=ADAPTER,
    sandbox=GlsSandbox,
    settings=settings,
    sandbox_settings={
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "contacts": [CONTACT],
        "quota_per_day": 1_000_000,
        "retry_after_header": True,
    },
    cases=packed_parcel.cases(
        shipment,
        bought=lambda books: len(books["shipments"]),
        voided=lambda books: int(books["labels_sold"] - books["labels_valid"]),
    ),
    ways_in=[
        WayIn(
            "poll:tracking",
            payloads=[
                tracked("INTRANSIT", HANDED_OVER),
                tracked("INDELIVERY", OUT, HANDED_OVER),
                tracked("DELIVERED", DELIVERED, OUT, HANDED_OVER),
            ],
            deliver=packed_parcel.shown(NUMBER),
            needed=[
                "/parcels/0/requested",
                "/parcels/0/status",
                "/parcels/0/events/0/code",
                "/parcels/0/events/0/eventDateTime",
            ],
            unknown_code=UnknownCode(tracked(UNKNOWN, STRANGE), UNKNOWN, "milestone"),
        ),
    ],
    knows=knows,
    expire=packed_parcel.expire_tokens,
)
