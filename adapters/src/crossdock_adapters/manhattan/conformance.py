"""What the conformance kit needs to know of Manhattan: cases, messages, how the site is set up."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crossdock.fulfillment.v1 import fulfillment_events_pb2, fulfillment_pb2
from crossdock.item.v1 import item_pb2
from crossdock.label.v1 import label_events_pb2, label_pb2
from crossdock.types.v1 import types_pb2
from google.protobuf.message import Message

from crossdock_adapters.manhattan.adapter import ADAPTER
from crossdock_adapters.manhattan.sandbox import ManhattanSandbox
from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.conformance.stage import until
from crossdock_adapters.sdk.conformance.subject import (
    Case,
    Delivered,
    Subject,
    UnknownCode,
    WayIn,
    World,
)
from crossdock_adapters.sdk.mappings import Topic

ORGANIZATION, LOCATION, FACILITY = "ACME", "100", "DC-EAST"
REQUEST_ID = "0190f7a2-3c4d-7e5f-8a6b-0000000000f1"
NUMBER, ITEM = "SO-1001-1", "A-1"
CLIENT_SECRET, PASSWORD = "conformance-client-secret", "conformance-password"
UNKNOWN_UNIT = "FURLONG"
# The subscription matters to nobody: the message's type says what it is.
SUBSCRIPTION = "host-pick"
NEVER = 10_000


def settings(sandbox: ManhattanSandbox, folder: Path) -> Mapping[str, Any]:
    """Of the endpoint; the secrets lie in files."""
    key_file = folder / "service-account.json"
    key_file.write_bytes(vendor_json.dumps(sandbox.service_account()))
    return {
        "base_url": sandbox.vendor_url,
        "client_id": "omnicomponent",
        "client_secret": _secret(folder, "client_secret", CLIENT_SECRET),
        "username": "host@acme",
        "password": _secret(folder, "password", PASSWORD),
        "organization": ORGANIZATION,
        "facilities": {LOCATION: FACILITY},
        "pubsub_url": sandbox.vendor_url,
        "service_account": f"file:{key_file}",
        "project": "wm-sandbox",
        "timeout_seconds": 10,
        "messages_run_seconds": 0.2,
        "redeliver_seconds": 0,
    }


def knows(sandbox: ManhattanSandbox) -> Sequence[Message]:
    """The item that is ordered."""
    item = item_pb2.Item(number=ITEM, revision=1, description="Item A-1", base_unit="EA")
    item.weight.CopyFrom(types_pb2.Quantity(value="1.25", unit="LBR"))
    for side, value in (("length", "6"), ("width", "4"), ("height", "2")):
        getattr(item, side).CopyFrom(types_pb2.Quantity(value=value, unit="INH"))
    return [item]


def request() -> fulfillment_pb2.FulfillmentRequest:
    """One line for one warehouse."""
    found = fulfillment_pb2.FulfillmentRequest(
        id=REQUEST_ID,
        number=NUMBER,
        order_number="SO-1001",
        ship_from_location_number=LOCATION,
        carrier_code="UPS",
        service_code="GROUND",
    )
    address = types_pb2.Address(
        lines=["7 Alder Street"],
        city="Portland",
        state="OR",
        postal_code="97205",
        country_code="US",
    )
    found.ship_to.CopyFrom(types_pb2.Party(name="R. Okonkwo", address=address))
    line = found.lines.add(line_number=1, item_number=ITEM)
    line.quantity.CopyFrom(types_pb2.Quantity(value="2", unit="EA"))
    return found


def labelled(books: Mapping[str, Any]) -> label_events_pb2.LabelCreated:
    """A label for the oLPN that was packed."""
    label = label_pb2.Label(
        package_number=books["olpns"][0]["OlpnId"],
        tracking_number="1ZINVENTED00000011",
        ship_from_location_number=LOCATION,
        format=label_pb2.LABEL_FORMAT_ZPL,
        image=b"^XA^FDinvented^FS^XZ",
    )
    return label_events_pb2.LabelCreated(label=label)


def message(kind: str, sequence: int, **content: Any) -> dict[str, Any]:
    """One message of the floor."""
    return {
        "MessageType": kind,
        "OrgId": ORGANIZATION,
        "FacilityId": FACILITY,
        "TransactionSequence": sequence,
        "TransactionDateTime": "2026-03-02T09:14:07",
        **content,
    }


def pick(unit: str = "UNIT") -> dict[str, Any]:
    """Both pieces picked."""
    line = {**_LINE, "PickedQuantity": 2, "QuantityUomId": unit}
    order = {**_ORDER, "OrderLine": [line]}
    return message("PickConfirmed", 48211, Order=[order])


def pack() -> dict[str, Any]:
    """Both pieces in one oLPN."""
    detail = {**_LINE, "Quantity": 2, "QuantityUomId": "UNIT"}
    olpn = {
        "OlpnId": "00001000004711",
        "ContainerTypeId": "CTN-L",
        "Weight": 31,
        "WeightUomId": "LB",
        "OlpnDetail": [detail],
    }
    order = {**_ORDER, "ShipmentId": "SH-1", "Olpn": [olpn]}
    return message("PackConfirmed", 48299, Order=[order])


def ship() -> dict[str, Any]:
    """The oLPN left."""
    line = {
        **_LINE,
        "ShippedQuantity": 2,
        "QuantityUomId": "UNIT",
    }
    order = {**_ORDER, "Olpn": [{"OlpnId": "00001000004711"}], "OrderLine": [line]}
    shipment = {
        "ShipmentId": "SH-1",
        "BillOfLadingNumber": "BOL1",
        "ShipDateTime": "2026-03-02T17:44:58",
        "Order": [order],
    }
    return message("ShipConfirmed", 48377, Shipment=[shipment])


async def publish(world: World, payload: bytes) -> Delivered:
    """Put a message on the subscription, until it was acknowledged."""
    data = base64.b64encode(payload).decode()
    await world.sandbox.commands()["message"]({"subscription": SUBSCRIPTION, "data": data})

    def taken() -> bool:
        subscription = world.sandbox.books()["subscriptions"][SUBSCRIPTION]
        return not subscription["outstanding"] and not subscription["waiting"]

    await until(taken, "the message is acknowledged")
    return Delivered()


async def expire(sandbox: ManhattanSandbox) -> None:
    """The platform and Pub/Sub forget every token."""
    await sandbox.commands()["expire_tokens"]({})


def _secret(folder: Path, name: str, value: str) -> str:
    file = folder / name
    file.write_text(value)
    return f"file:{file}"


_LINE = {"OriginalOrderLineId": "1", "ItemId": ITEM}
_ORDER = {
    "OrderId": "SO-1001-1_1",
    "OriginalOrderId": NUMBER,
    "Extended": {"HostRequestId": REQUEST_ID},
}

CONFORMANCE = Subject(
    adapter=ADAPTER,
    sandbox=ManhattanSandbox,
    settings=settings,
    sandbox_settings={
        "organization": ORGANIZATION,
        "facilities": [{"id": FACILITY, "name": "East", "zone": "America/New_York"}],
        "client_secret": CLIENT_SECRET,
        "password": PASSWORD,
        "pick_seconds": 0.02,
        "pack_seconds": 0.02,
        "manifest_seconds": NEVER,
        # Orders can be cancelled however far the floor has come with them.
        "freeze_status": NEVER,
        "pull_wait_seconds": 0.1,
        "ack_deadline_seconds": 5,
    },
    cases=[
        Case(
            "release_order",
            event=lambda _: fulfillment_events_pb2.FulfillmentRequested(
                fulfillment_request=request()
            ),
            made=lambda books: len(books["original_orders"]),
        ),
        Case(
            "cancel_order",
            event=lambda _: fulfillment_events_pb2.FulfillmentCancelled(
                fulfillment_request=request()
            ),
            after=["release_order"],
            made=lambda books: sum(bool(o.get("IsCancelled")) for o in books["original_orders"]),
        ),
        Case(
            "print_label",
            event=labelled,
            after=["release_order"],
            ready=lambda books: bool(books["olpns"]),
            made=lambda books: sum(each["label_prints"] for each in books["olpns"]),
        ),
    ],
    ways_in=[
        WayIn(
            "poll:messages",
            payloads=[vendor_json.dumps(each) for each in (pick(), pack(), ship())],
            deliver=publish,
            needed=[
                "/MessageType",
                "/FacilityId",
                "/Order/0/OrderLine/0/QuantityUomId",
                "/Order/0/OrderLine/0/OriginalOrderLineId",
            ],
            unknown_code=UnknownCode(
                vendor_json.dumps(pick(UNKNOWN_UNIT)), UNKNOWN_UNIT, topic=Topic.UNIT
            ),
            bombs=[
                vendor_json.dumps(pick()).replace(b'"PickedQuantity":2', b'"PickedQuantity":%s' % n)
                for n in (b"1E+999999999", b"1E-999999999", b"9" * 4000)
            ],
        ),
    ],
    knows=knows,
    expire=expire,
)
