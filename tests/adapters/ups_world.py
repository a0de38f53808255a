"""What the UPS tests share: a sandbox's settings, a client for it, a ship request."""

from __future__ import annotations

import os
from importlib import resources
from typing import Any

from crossdock.shipment.v1 import shipment_pb2
from crossdock.types.v1 import types_pb2
from crossdock_adapters.sdk import manifest, settings
from crossdock_adapters.ups.client import UpsClient
from crossdock_adapters.ups.sandbox import UpsSandbox

ACCOUNT = "A1B2C3"
CALLBACK_CREDENTIAL = "invented-callback-credential"
SANDBOX_SETTINGS: dict[str, Any] = {
    "client_id": "client-7",
    "client_secret": "not-a-real-secret",
    "accounts": [ACCOUNT],
    "calls_per_second": 2000,
    "scan_interval_seconds": 0.01,
    "callback_credential": CALLBACK_CREDENTIAL,
}
os.environ.setdefault("UPS_TEST_CLIENT_ID", "client-7")
os.environ.setdefault("UPS_TEST_CLIENT_SECRET", "not-a-real-secret")
os.environ.setdefault("UPS_TEST_OTHER_SECRET", "somebody-elses-secret")
os.environ.setdefault("UPS_TEST_CALLBACK", CALLBACK_CREDENTIAL)


def checked_settings(base_url: str, **changes: Any) -> tuple[settings.Settings, settings.Secrets]:
    """Settings of the manifest for one sandbox; `changes` override; secrets by variable name."""
    text = resources.files("crossdock_adapters.ups").joinpath("adapter.toml").read_text("utf-8")
    given: dict[str, Any] = {
        "base_url": base_url,
        "client_id": "env:UPS_TEST_CLIENT_ID",
        "client_secret": f"env:{changes.pop('client_secret', 'UPS_TEST_CLIENT_SECRET')}",
        "callback_credential": "env:UPS_TEST_CALLBACK",
        "account_number": ACCOUNT,
        "calls_per_second": 2000,
        "timeout_seconds": 5,
        **changes,
    }
    return settings.check(manifest.parse(text).settings, given)


def client_for(sandbox: UpsSandbox, **changes: Any) -> UpsClient:
    """A client that talks to this sandbox."""
    return UpsClient(*checked_settings(sandbox.vendor_url, **changes))


def ship_request(reference: str, image_format: str = "ZPL") -> dict[str, Any]:
    """A valid request for one parcel from one US city to another."""
    specification = {"LabelImageFormat": {"Code": image_format}, "HTTPUserAgent": "Mozilla/4.5"}
    package = {
        "Packaging": {"Code": "02"},
        "PackageWeight": {"UnitOfMeasurement": {"Code": "LBS"}, "Weight": "4.2"},
        "ReferenceNumber": [{"Code": "TN", "Value": reference}],
    }
    shipment: dict[str, Any] = {
        "Shipper": {
            "Name": "Northwind Outfitters",
            "ShipperNumber": ACCOUNT,
            "Address": _address("12 Dock Road", "Reno", "NV", "89502"),
        },
        "ShipTo": {
            "Name": "R. Okonkwo",
            "Address": _address("7 Alder Street", "Portland", "OR", "97205"),
        },
        "PaymentInformation": {
            "ShipmentCharge": [{"Type": "01", "BillShipper": {"AccountNumber": ACCOUNT}}]
        },
        "Service": {"Code": "03"},
        "Package": [package],
    }
    request = {"RequestOption": "nonvalidate"}
    body = {"Request": request, "Shipment": shipment, "LabelSpecification": specification}
    return {"ShipmentRequest": body}


def _address(line: str, city: str, state: str, postal_code: str) -> dict[str, Any]:
    return {
        "AddressLine": [line],
        "City": city,
        "StateProvinceCode": state,
        "PostalCode": postal_code,
        "CountryCode": "US",
    }


SHIPMENT_ID = "0190f7a2-3c4d-7e5f-8a6b-000000000001"
PACKAGE_ID = "0190f7a2-3c4d-7e5f-8a6b-000000000002"


def packed_shipment() -> shipment_pb2.Shipment:
    """A shipment of one package from Reno to Portland, as the hub tells it after packing."""
    shipment = shipment_pb2.Shipment(
        id=SHIPMENT_ID,
        number="S-1001",
        order_number="SO-1001",
        ship_from_location_number="RENO",
        carrier_code="UPS",
        service_code="GROUND",
        ship_from=_party("Northwind Outfitters", "12 Dock Road", "Reno", "NV", "89502"),
        ship_to=_party("R. Okonkwo", "7 Alder Street", "Portland", "OR", "97205-1234"),
    )
    package = shipment.packages.add(id=PACKAGE_ID, number="OLPN-1")
    for side, value in (("length", "12"), ("width", "9"), ("height", "4")):
        getattr(package, side).CopyFrom(types_pb2.Quantity(value=value, unit="INH"))
    package.weight.CopyFrom(types_pb2.Quantity(value="4.20", unit="LBR"))
    return shipment


def _party(name: str, line: str, city: str, state: str, postal_code: str) -> types_pb2.Party:
    address = types_pb2.Address(
        lines=[line], city=city, state=state, postal_code=postal_code, country_code="US"
    )
    return types_pb2.Party(name=name, address=address, phone="+1 775 555 0100")
