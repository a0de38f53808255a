"""What the conformance kit needs to know of UPS: cases, payloads, and how the sandbox is set up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crossdock.label.v1 import label_events_pb2, label_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock.types.v1 import types_pb2
from google.protobuf.message import Message

from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.conformance import packed_parcel, returned_parcel
from crossdock_adapters.sdk.conformance.subject import (
    OTHER,
    Case,
    Malformed,
    Subject,
    UnknownCode,
    WayIn,
)
from crossdock_adapters.sdk.settings import Secrets
from crossdock_adapters.ups.adapter import ADAPTER
from crossdock_adapters.ups.sandbox import UpsSandbox

ACCOUNT = "A1B2C3"
CLIENT_ID, CLIENT_SECRET = "conformance-client", "conformance-client-secret"
CALLBACK_CREDENTIAL = "conformance-callback-credential"
NUMBER = "1ZA1B2C30300123452"
UNKNOWN = "Q9"
TRACKING_INTERVAL_SECONDS = 0.05
LARGE = 600_000
SECRETS = {
    "client_id": CLIENT_ID,
    "client_secret": CLIENT_SECRET,
    "callback_credential": CALLBACK_CREDENTIAL,
}


def settings(sandbox: UpsSandbox, folder: Path) -> Mapping[str, Any]:
    """Of the endpoint; the secrets lie in files."""
    return {
        "base_url": sandbox.vendor_url,
        **packed_parcel.secret_files(folder, SECRETS),
        "account_number": ACCOUNT,
        "calls_per_second": 2000,
        "timeout_seconds": 10,
        "tracking_interval_seconds": TRACKING_INTERVAL_SECONDS,
    }


def _party(name: str, line: str, city: str, state: str, postal_code: str) -> types_pb2.Party:
    phone = "+1 775 555 0100"
    return packed_parcel.party(name, line, city, state, postal_code, "US", phone)


WAREHOUSE = _party("Northwind Outfitters", "12 Dock Road", "Reno", "NV", "89502")
CUSTOMER = _party("R. Okonkwo", "7 Alder Street", "Portland", "OR", "97205-1234")


def shipment() -> shipment_pb2.Shipment:
    """One package from Reno to Portland, as the hub tells it after packing."""
    found = packed_parcel.shipment(
        "UPS",
        "GROUND",
        "1001",
        WAREHOUSE,
        CUSTOMER,
    )
    packed_parcel.pack(found, "OLPN-1", ("4.20", "LBR"), ("12", "9", "4"), "INH")
    return found


def sold(books: Mapping[str, Any]) -> list[str]:
    """Tracking numbers of every label sold."""
    return [one["tracking_number"] for each in books["shipments"] for one in each["parcels"]]


def sold_label(books: Mapping[str, Any]) -> label_pb2.Label:
    """The first label sold, as the hub stores it."""
    return packed_parcel.label("UPS", sold(books)[0], packed_parcel.SHIPMENT_ID)


def alert(code: str, kind: str, description: str, gmt_time: str) -> dict[str, Any]:
    """A Track Alert callback: local and GMT time, a place, type and both codes."""
    return {
        "trackingNumber": NUMBER,
        "localActivityDate": "20260305",
        "localActivityTime": f"{int(gmt_time[:2]) - 8:02d}{gmt_time[2:]}",
        "activityLocation": {"city": "PORTLAND", "stateProvince": "OR", "country": "US"},
        "activityStatus": {
            "type": kind,
            "code": code,
            "description": description,
            "descriptionCode": "",
        },
        "gmtActivityDate": "20260305",
        "gmtActivityTime": gmt_time,
        "gmtOffset": "-08.00",
        "receivedBy": "RIVERA" if kind == "D" else "",
    }


def package(*activities: dict[str, Any]) -> bytes:
    """A package as Track shows it, newest activity first."""
    return vendor_json.dumps({"trackingNumber": NUMBER, "activity": list(activities)})


def activity(code: str, kind: str, description: str, gmt_time: str) -> dict[str, Any]:
    """One line of a package's history."""
    address = {"city": "PORTLAND", "stateProvince": "OR", "countryCode": "US"}
    return {
        "location": {"address": address},
        "status": {"type": kind, "code": code, "description": description},
        "date": "20260305",
        "time": f"{int(gmt_time[:2]) - 8:02d}{gmt_time[2:]}",
        "gmtDate": "20260305",
        "gmtTime": f"{gmt_time[:2]}:{gmt_time[2:4]}:{gmt_time[4:]}",
        "gmtOffset": "-08:00",
    }


def knows(sandbox: UpsSandbox) -> Sequence[Message]:
    """A parcel under way, for the tracking poll to ask about."""
    return [packed_parcel.label("UPS", NUMBER), *returned_parcel.known(WAREHOUSE)]


def credential(secrets: Secrets) -> Mapping[str, str]:
    """What UPS sends back with each callback."""
    return {"Authorization": f"Bearer {secrets.text('callback_credential')}"}


_PICKED_UP = ("PU", "I", "Pickup Scan", "170000")
_ARRIVED = ("AR", "I", "Arrived at Facility", "190500")
_DELIVERED = ("FS", "D", "DELIVERED", "221203")
_NOBODY_KNOWS = (UNKNOWN, "I", "Something new", "190500")
# The same letters in the tables of deliveries and exceptions.
_NOR_THESE = [(UNKNOWN, kind, "Something new", "190500") for kind in ("D", "X")]

CONFORMANCE = Subject(
    adapter=ADAPTER,
    sandbox=UpsSandbox,
    settings=settings,
    sandbox_settings={
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "accounts": [ACCOUNT],
        "calls_per_second": 2000,
        "retry_after_header": True,
        "callback_credential": CALLBACK_CREDENTIAL,
    },
    cases=[
        *packed_parcel.cases(
            shipment,
            bought=lambda books: len(books["shipments"]),
            voided=lambda books: books["labels_sold"] - books["labels_valid"],
        ),
        *returned_parcel.cases(
            lambda: returned_parcel.customer_return("UPS", CUSTOMER),
            bought=lambda books: sum(each["comes_back"] for each in books["shipments"]),
            voided=lambda books: books["labels_sold"] - books["labels_valid"],
        ),
        Case(
            "subscribe_tracking",
            event=lambda books: label_events_pb2.LabelCreated(label=sold_label(books)),
            after=["buy_label"],
            made=lambda books: len(books["subscriptions"]["packages"]),
        ),
    ],
    ways_in=[
        WayIn(
            "/ups/track-alert",
            payloads=[
                vendor_json.dumps(alert(*each)) for each in (_PICKED_UP, _ARRIVED, _DELIVERED)
            ],
            headers=credential,
            needed=["/trackingNumber", "/activityStatus"],
            unknown_code=UnknownCode(
                vendor_json.dumps(alert(*_NOBODY_KNOWS)), UNKNOWN, field="milestone"
            ),
            unknown_codes=[
                UnknownCode(vendor_json.dumps(alert(*each)), UNKNOWN, "milestone")
                for each in _NOR_THESE
            ],
        ),
        WayIn(
            "poll:tracking",
            payloads=[
                package(activity(*_PICKED_UP)),
                package(activity(*_ARRIVED), activity(*_PICKED_UP)),
            ],
            deliver=packed_parcel.shown(NUMBER),
            media=OTHER,
            malformed=[
                Malformed(package({"date": "20260305"}), "/activity/0/status"),
                Malformed(package(activity(*_PICKED_UP) | {"date": "5 March"}), "/activity/0/date"),
            ],
            grown=package(activity(*_PICKED_UP) | {"nobodyDocumentedThis": {"nested": [1]}}),
            oversize=package(activity(*_PICKED_UP[:2], "x" * LARGE, _PICKED_UP[3]), {"x": "y"}),
            bombs=[
                package(activity("9" * LARGE, *_PICKED_UP[1:])),
                # Held raw because of its broken activity, with a number that fills the memory when
                # it is written out.
                package({"date": ""}).replace(b"{", b'{"weight":1E+999999999,', 1),
            ],
            unknown_code=UnknownCode(package(activity(*_NOBODY_KNOWS)), UNKNOWN, "milestone"),
            unknown_codes=[
                UnknownCode(package(activity(*each)), UNKNOWN, "milestone") for each in _NOR_THESE
            ],
        ),
    ],
    knows=knows,
    expire=packed_parcel.expire_tokens,
)
