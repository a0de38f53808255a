"""What the conformance kit needs to know of FedEx: cases, payloads, how the sandbox is set up."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crossdock.fulfillment.v1 import fulfillment_events_pb2
from crossdock.label.v1 import label_pb2
from crossdock.shipment.v1 import shipment_events_pb2, shipment_pb2
from crossdock.types.v1 import types_pb2
from google.protobuf.message import Message

from crossdock_adapters.fedex.adapter import ADAPTER
from crossdock_adapters.fedex.sandbox import FedexSandbox
from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.conformance.stage import Stage, until
from crossdock_adapters.sdk.conformance.subject import (
    OTHER,
    Case,
    Delivered,
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
SHIPMENT_ID = "0190f7a2-3c4d-7e5f-8a6b-000000000001"
PACKAGE_ID = "0190f7a2-3c4d-7e5f-8a6b-000000000002"
OTHER_SHIPMENT_ID = "0190f7a2-3c4d-7e5f-8a6b-000000000003"
NUMBER = "790000123452"
UNKNOWN = "Q9"
TRACKING_INTERVAL_SECONDS = 0.05
LARGE = 600_000
# The payloads are of March 2026, whenever they are used.
REPLAY_WINDOW_DAYS = 36_500


def settings(sandbox: FedexSandbox, folder: Path) -> Mapping[str, Any]:
    """Of the endpoint; the secrets lie in files."""
    return {
        "base_url": sandbox.vendor_url,
        "client_id": _secret(folder, "client_id", CLIENT_ID),
        "client_secret": _secret(folder, "client_secret", CLIENT_SECRET),
        "track_client_id": _secret(folder, "track_client_id", TRACK_CLIENT_ID),
        "track_client_secret": _secret(folder, "track_client_secret", TRACK_CLIENT_SECRET),
        "webhook_token": _secret(folder, "webhook_token", WEBHOOK_TOKEN),
        "account_number": ACCOUNT,
        "calls_per_second": 2000,
        "timeout_seconds": 10,
        "replay_window_days": REPLAY_WINDOW_DAYS,
        "tracking_interval_seconds": TRACKING_INTERVAL_SECONDS,
    }


def shipment() -> shipment_pb2.Shipment:
    """One package from Reno to Portland, as the hub tells it after packing."""
    found = shipment_pb2.Shipment(
        id=SHIPMENT_ID,
        number="S-1001",
        order_number="SO-1001",
        ship_from_location_number="RENO",
        carrier_code="FEDEX",
        service_code="GROUND",
        ship_from=_party("Northwind Outfitters", "12 Dock Road", "Reno", "NV", "89502"),
        ship_to=_party("R. Okonkwo", "7 Alder Street", "Portland", "OR", "97205-1234"),
    )
    package = found.packages.add(id=PACKAGE_ID, number="OLPN-1")
    for side, value in (("length", "12"), ("width", "9"), ("height", "4")):
        getattr(package, side).CopyFrom(types_pb2.Quantity(value=value, unit="INH"))
    package.weight.CopyFrom(types_pb2.Quantity(value="4.20", unit="LBR"))
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


async def show(stage: Stage, payload: bytes) -> Delivered:
    """Let Track show this result, until a poll that saw it has ended and another began."""

    def asked() -> int:
        return sum(call.operation == "track" for call in stage.sandbox.calls)

    stage.sandbox.show(NUMBER, payload)
    seen = asked()
    await until(lambda: asked() >= seen + 3, "the tracking poll asks again")
    return Delivered()


def knows(sandbox: FedexSandbox) -> Sequence[Message]:
    """A parcel under way, for the tracking poll to ask about."""
    return [
        label_pb2.Label(
            shipment_id=OTHER_SHIPMENT_ID,
            package_id=PACKAGE_ID,
            carrier_code="FEDEX",
            tracking_number=NUMBER,
        )
    ]


async def expire(sandbox: FedexSandbox) -> None:
    """FedEx forgets every token."""
    await sandbox.commands()["expire_tokens"]({})


def _secret(folder: Path, name: str, value: str) -> str:
    file = folder / name
    file.write_text(value)
    return f"file:{file}"


def _party(name: str, line: str, city: str, state: str, postal_code: str) -> types_pb2.Party:
    address = types_pb2.Address(
        lines=[line], city=city, state=state, postal_code=postal_code, country_code="US"
    )
    return types_pb2.Party(name=name, address=address, phone="+1 775 555 0100")


_PICKED_UP = scan("PU", "PU", "2026-03-05T09:00:00-08:00")
_ARRIVED = scan("AR", "IT", "2026-03-05T11:05:00-08:00")
_DELIVERED = scan("DL", "DL", "2026-03-05T14:12:03-08:00")
_NOBODY_KNOWS = scan(UNKNOWN, UNKNOWN, "2026-03-05T11:05:00-08:00")
_RECEIVER = {"deliveryDetails": {"receivedByName": "RIVERA"}}
_BROKEN = [
    Malformed(result({"date": "2026-03-05T09:00:00-08:00"}), "/scanEvents/0/eventType"),
    Malformed(result(_PICKED_UP | {"date": "5 March"}), "/scanEvents/0/date"),
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
        Case(
            "buy_label",
            event=lambda _: fulfillment_events_pb2.FulfillmentPacked(shipment=shipment()),
            item=PACKAGE_ID,
            made=lambda books: books["shipments_confirmed"],
        ),
        Case(
            "void_label",
            event=lambda _: shipment_events_pb2.ShipmentVoided(shipment=shipment()),
            item=PACKAGE_ID,
            after=["buy_label"],
            made=lambda books: books["shipments_cancelled"],
        ),
    ],
    ways_in=[
        WayIn(
            "/fedex/tracking",
            payloads=[result(_PICKED_UP), result(_ARRIVED), result(_DELIVERED, **_RECEIVER)],
            signed=signed,
            needed=["/trackingNumberInfo", "/trackingNumberInfo/trackingNumber"],
            malformed=_BROKEN,
            unknown_code=UnknownCode(result(_NOBODY_KNOWS), UNKNOWN, field="milestone"),
        ),
        WayIn(
            "poll:tracking",
            payloads=[result(_PICKED_UP), result(_ARRIVED, _PICKED_UP)],
            deliver=show,
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
        ),
    ],
    knows=knows,
    expire=expire,
)
