"""What the conformance kit needs to know of FedEx: cases, payloads, how the sandbox is set up."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crossdock.shipment.v1 import shipment_pb2
from crossdock.types.v1 import types_pb2
from google.protobuf.message import Message

from crossdock_adapters.fedex.adapter import ADAPTER
from crossdock_adapters.fedex.sandbox import FedexSandbox
from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.conformance import packed_parcel, returned_parcel
from crossdock_adapters.sdk.conformance.subject import (
    OTHER,
    Malformed,
    Subject,
    UnknownCode,
    WayIn,
)
from crossdock_adapters.sdk.settings import Secrets

ACCOUNT = "740561073"
CLIENT_ID, CLIENT_SECRET = "conformance-ship", "conformance-ship-secret"
TRACK_CLIENT_ID, TRACK_CLIENT_SECRET = "conformance-track", "conformance-track-secret"
WEBHOOK_TOKEN = "conformance-webhook-token"
PACKAGE_ID = packed_parcel.PACKAGE_ID
NUMBER = "790000123452"
UNKNOWN = "Q9"
TRACKING_INTERVAL_SECONDS = 0.05
LARGE = 600_000
SECRETS = {
    "client_id": CLIENT_ID,
    "client_secret": CLIENT_SECRET,
    "track_client_id": TRACK_CLIENT_ID,
    "track_client_secret": TRACK_CLIENT_SECRET,
    "webhook_token": WEBHOOK_TOKEN,
}
# The payloads are of March 2026, whenever they are used.
REPLAY_WINDOW_DAYS = 36_500


def settings(sandbox: FedexSandbox, folder: Path) -> Mapping[str, Any]:
    """Of the endpoint; the secrets lie in files."""
    return {
        "base_url": sandbox.vendor_url,
        **packed_parcel.secret_files(folder, SECRETS),
        "account_number": ACCOUNT,
        "calls_per_second": 2000,
        "timeout_seconds": 10,
        "replay_window_days": REPLAY_WINDOW_DAYS,
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
        "FEDEX",
        "GROUND",
        "1001",
        WAREHOUSE,
        CUSTOMER,
    )
    packed_parcel.pack(found, "OLPN-1", ("4.20", "LBR"), ("12", "9", "4"), "INH")
    return found


def scan(event: str, derived: str, date: str, **more: Any) -> dict[str, Any]:
    """One scan as Track and the callback have it."""
    return {
        "date": date,
        "eventType": event,
        "eventDescription": f"Event {event}",
        "derivedStatusCode": derived,
        "locationId": "PDXA",
        "scanLocation": {"city": "PORTLAND", "stateOrProvinceCode": "OR", "countryCode": "US"},
        **more,
    }


def result(*scans: dict[str, Any], **more: Any) -> bytes:
    """A track result, newest scan first."""
    shown = {"trackingNumberInfo": {"trackingNumber": NUMBER}, "scanEvents": list(scans)}
    return vendor_json.dumps(shown | more)


def signed(secrets: Secrets, payload: bytes) -> Mapping[str, str]:
    """FedEx's signature over the very bytes."""
    token = secrets.text("webhook_token").encode()
    digest = hmac.new(token, payload, hashlib.sha256).digest()
    return {"fdx-signature": base64.b64encode(digest).decode()}


def knows(sandbox: FedexSandbox) -> Sequence[Message]:
    """A parcel under way, for the tracking poll to ask about."""
    return [packed_parcel.label("FEDEX", NUMBER), *returned_parcel.known(WAREHOUSE)]


def _count(books: Mapping[str, Any], done: str, *, comes_back: bool) -> int:
    """Shipments that were confirmed or cancelled, on the way out or back."""
    return sum(bool(each[done]) for each in books["shipments"] if each["comes_back"] is comes_back)


_PICKED_UP = scan("PU", "PU", "2026-03-05T09:00:00-08:00")
_ARRIVED = scan("AR", "IT", "2026-03-05T11:05:00-08:00")
_DELIVERED = scan("DL", "DL", "2026-03-05T14:12:03-08:00")
_NOBODY_KNOWS = scan(UNKNOWN, UNKNOWN, "2026-03-05T11:05:00-08:00")
# FedEx's own summary of a scan whose event nobody has documented: a code with a row of its own.
_SUMMED_UP = scan(UNKNOWN, "IT", "2026-03-05T11:05:00-08:00")
_NOR_THESE = [
    UnknownCode(result(_SUMMED_UP), UNKNOWN, "milestone", told="MILESTONE_IN_TRANSIT"),
    UnknownCode(
        result(scan(UNKNOWN, UNKNOWN, "2026-03-05T11:05:00-08:00", exceptionCode="Z99")),
        "Z99",
        "milestone",
    ),
]
_RECEIVER = {"deliveryDetails": {"receivedByName": "RIVERA"}}
_BROKEN = [
    Malformed(result({"date": "2026-03-05T09:00:00-08:00"}), "/scanEvents/0/eventType"),
    Malformed(result(_PICKED_UP | {"date": "5 March"}), "/scanEvents/0/date"),
    # A status that no scan and no time goes with tells nothing that could be dated.
    Malformed(result(latestStatusDetail={"code": "RS", "derivedCode": "RS"}), "/dateAndTimes"),
    Malformed(result(latestStatusDetail={"description": "On its way"}), "/latestStatusDetail/code"),
]
# Tracking is not asked about the parcels that these are about; a callback may say them.
_SAYS_NOTHING = [
    Malformed(result(), "/latestStatusDetail"),
    Malformed(result(error={"code": "SYSTEM.UNEXPECTED.ERROR"}), "/error"),
    Malformed(vendor_json.dumps({"trackResults": ["nothing"]}), "/trackResults/0"),
]

CONFORMANCE = Subject(
    adapter=ADAPTER,
    sandbox=FedexSandbox,
    settings=settings,
    sandbox_settings={
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "track_client_id": TRACK_CLIENT_ID,
        "track_client_secret": TRACK_CLIENT_SECRET,
        "accounts": [ACCOUNT],
        "calls_per_ten_seconds": 20_000,
        "retry_after_header": True,
        "webhook_token": WEBHOOK_TOKEN,
    },
    cases=[
        *packed_parcel.cases(
            shipment,
            bought=lambda books: _count(books, "confirmed_at", comes_back=False),
            voided=lambda books: _count(books, "cancelled", comes_back=False),
        ),
        *returned_parcel.cases(
            lambda: returned_parcel.customer_return("FEDEX", CUSTOMER),
            bought=lambda books: _count(books, "confirmed_at", comes_back=True),
            voided=lambda books: _count(books, "cancelled", comes_back=True),
        ),
    ],
    ways_in=[
        WayIn(
            "/fedex/tracking",
            payloads=[result(_PICKED_UP), result(_ARRIVED), result(_DELIVERED, **_RECEIVER)],
            signed=signed,
            needed=["/trackingNumberInfo", "/trackingNumberInfo/trackingNumber"],
            malformed=[*_BROKEN, *_SAYS_NOTHING],
            unknown_code=UnknownCode(result(_NOBODY_KNOWS), UNKNOWN, field="milestone"),
            unknown_codes=_NOR_THESE,
        ),
        WayIn(
            "poll:tracking",
            payloads=[result(_PICKED_UP), result(_ARRIVED, _PICKED_UP)],
            deliver=packed_parcel.shown(NUMBER),
            media=OTHER,
            malformed=_BROKEN,
            grown=result(_PICKED_UP | {"nobodyDocumentedThis": {"nested": [1]}}),
            oversize=result(_PICKED_UP | {"eventDescription": "x" * LARGE}, {"x": "y"}),
            bombs=[
                result(_PICKED_UP | {"eventType": "9" * LARGE}),
                # Held raw because of its broken scan, with a number that fills the memory when it
                # is written out.
                result({"date": ""}).replace(b"{", b'{"weight":1E+999999999,', 1),
            ],
            unknown_code=UnknownCode(result(_NOBODY_KNOWS), UNKNOWN, "milestone"),
            unknown_codes=_NOR_THESE,
        ),
    ],
    knows=knows,
    expire=packed_parcel.expire_tokens,
)
