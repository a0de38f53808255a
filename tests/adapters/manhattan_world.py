"""What the Manhattan tests share: a fast sandbox's settings, a client for it, contract messages."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import Any

from crossdock.fulfillment.v1 import fulfillment_pb2
from crossdock.types.v1 import types_pb2
from crossdock_adapters.manhattan.client import ManhattanClient
from crossdock_adapters.manhattan.sandbox import ManhattanSandbox
from crossdock_adapters.sdk import manifest, vendor_json
from crossdock_adapters.sdk.sandbox import SandboxConfig
from crossdock_adapters.sdk.settings import Secrets, Settings, check

PAYLOADS = Path(__file__).parent / "payloads" / "manhattan"
ORGANIZATION = "ACME"
FACILITY, LOCATION, ZONE = "DC-EAST", "100", "America/New_York"
OTHER_FACILITY, OTHER_LOCATION = "DC-WEST", "200"
FACILITIES = [
    {"id": FACILITY, "name": "East", "zone": ZONE},
    {"id": OTHER_FACILITY, "name": "West", "zone": "America/Los_Angeles", "metric": True},
]
REQUEST_ID = "0190f7a2-3c4d-7e5f-8a6b-0000000000f1"
FAST: dict[str, Any] = {
    "organization": ORGANIZATION,
    "facilities": FACILITIES,
    "pick_seconds": 0.02,
    "pack_seconds": 0.02,
    "manifest_seconds": 0.02,
    "pull_wait_seconds": 0.1,
    "ack_deadline_seconds": 1,
}
# A floor that never gets to work: orders stay where the host put them.
STILL = {**FAST, "pick_seconds": 10_000}
os.environ.setdefault("MANHATTAN_TEST_CLIENT", "sandbox-client-secret")
os.environ.setdefault("MANHATTAN_TEST_PASSWORD", "sandbox-user-password")
os.environ.setdefault("MANHATTAN_TEST_WRONG", "somebody-elses-password")


def sandbox_config(seed: int = 1, **settings: Any) -> SandboxConfig:
    """A quick sandbox on free ports; `settings` override FAST."""
    return SandboxConfig("manhattan", seed=seed, tick_seconds=0.005, settings={**FAST, **settings})


def checked_settings(
    sandbox: ManhattanSandbox, tmp_path: Path, **changes: Any
) -> tuple[Settings, Secrets]:
    """Settings of the manifest for one sandbox, its key file written to `tmp_path`."""
    key_file = tmp_path / "service-account.json"
    key_file.write_bytes(vendor_json.dumps(sandbox.service_account()))
    package = resources.files("crossdock_adapters.manhattan")
    text = package.joinpath("adapter.toml").read_text("utf-8")
    given: dict[str, Any] = {
        "base_url": sandbox.vendor_url,
        "client_id": "omnicomponent",
        "client_secret": "env:MANHATTAN_TEST_CLIENT",
        "username": "host@acme",
        "password": "env:MANHATTAN_TEST_PASSWORD",
        "organization": ORGANIZATION,
        "facilities": {LOCATION: FACILITY, OTHER_LOCATION: OTHER_FACILITY},
        "pubsub_url": sandbox.vendor_url,
        "service_account": f"file:{key_file}",
        "project": "wm-sandbox",
        "timeout_seconds": 5,
        "messages_run_seconds": 0.2,
        "redeliver_seconds": 0,
        **changes,
    }
    return check(manifest.parse(text).settings, given)


def client_for(sandbox: ManhattanSandbox, tmp_path: Path, **changes: Any) -> ManhattanClient:
    """A client that talks to this sandbox."""
    return ManhattanClient(*checked_settings(sandbox, tmp_path, **changes))


def payload(name: str) -> dict[str, Any]:
    """A recorded-style message; every name and number in it is invented."""
    content: dict[str, Any] = vendor_json.loads((PAYLOADS / f"{name}.json").read_bytes())
    return content


def order_content(order_id: str, quantity: int = 2, item: str = "A-1") -> dict[str, Any]:
    """An original order of one line, as a host sends it."""
    line = {
        "OriginalOrderLineId": "1",
        "ItemId": item,
        "OrderedQuantity": quantity,
        "QuantityUomId": "UNIT",
    }
    return {"OriginalOrderId": order_id, "OriginalOrderLine": [line]}


def fulfillment_request(
    number: str = "SO-1001-1",
    lines: tuple[tuple[int, str, str], ...] = ((1, "A-1", "2"), (2, "B-2", "1")),
    location: str = LOCATION,
    request_id: str = REQUEST_ID,
) -> fulfillment_pb2.FulfillmentRequest:
    """What the hub asks of one warehouse; lines are (number, item, quantity in EA)."""
    request = fulfillment_pb2.FulfillmentRequest(
        id=request_id,
        number=number,
        order_number=number.rpartition("-")[0],
        ship_from_location_number=location,
        carrier_code="UPS",
        service_code="GROUND",
        instructions="Fragile; leave no packing slip",
    )
    request.ship_to.CopyFrom(
        types_pb2.Party(
            name="R. Okonkwo",
            phone="+1 503 555 0100",
            address=types_pb2.Address(
                lines=["7 Alder Street", "Floor 3"],
                city="Portland",
                state="OR",
                postal_code="97205",
                country_code="US",
            ),
        )
    )
    for line_number, item, quantity in lines:
        line = request.lines.add(line_number=line_number, item_number=item)
        line.quantity.CopyFrom(types_pb2.Quantity(value=quantity, unit="EA"))
    return request
