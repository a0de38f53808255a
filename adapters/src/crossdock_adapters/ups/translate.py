"""Between the contract and UPS's words for labels: pure functions, no clock, no network.

Scans have their own module, `translate_scans`.
"""

from __future__ import annotations

import hashlib
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_UP, Decimal, InvalidOperation
from typing import Any

from crossdock.client import request_id
from crossdock.label.v1 import label_pb2, label_service_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock.types.v1 import types_pb2
from google.protobuf.message import Message

from crossdock_adapters.sdk.outcomes import Untranslatable
from crossdock_adapters.ups.client import LabelImage

DOMESTIC = frozenset({"US", "PR"})
MAX_TEXT = 35
MAX_LINES = 3
MAX_CITY = 30
MAX_STATE = 5
MAX_POSTAL_CODE = 9
MAX_PHONE = 15
MAX_LABEL_BYTES = 262_144
WEIGHT_STEP = Decimal("0.1")
LENGTH_STEP = Decimal("0.01")
# UN/ECE Recommendation 20 code: (kilograms or centimetres in one, exactly).
KILOGRAMS = {
    "KGM": Decimal(1),
    "GRM": Decimal("0.001"),
    "LBR": Decimal("0.45359237"),
    "ONZ": Decimal("0.028349523125"),
}
CENTIMETRES = {
    "CMT": Decimal(1),
    "MMT": Decimal("0.1"),
    "MTR": Decimal(100),
    "INH": Decimal("2.54"),
    "FOT": Decimal("30.48"),
}
SERVICE_CODE = re.compile(r"[0-9A-Z][0-9]")
FORMATS = {
    "GIF": label_pb2.LABEL_FORMAT_GIF,
    "ZPL": label_pb2.LABEL_FORMAT_ZPL,
    "EPL": label_pb2.LABEL_FORMAT_EPL,
}


@dataclass(frozen=True, slots=True)
class ShipRules:
    """What a deployment decides about its shipments; made from the endpoint's settings."""

    account_number: str
    accounts_by_location: Mapping[str, str] = field(default_factory=dict)
    services: Mapping[str, str] = field(default_factory=dict)
    packaging_code: str = "02"
    label_format: str = "ZPL"

    def account_for(self, location_number: str) -> str:
        """The shipper number that ships from a location."""
        return self.accounts_by_location.get(location_number, self.account_number)


@dataclass(frozen=True, slots=True)
class Purchase:
    """One label that UPS sold, found in a ship reply or by a look-up afterwards.

    `amount` None: UPS did not say (a look-up never does). `bought_at` is the reader's clock.
    """

    label: LabelImage
    shipment_number: str
    amount: Decimal | None
    currency: str
    bought_at: types_pb2.SourceTime | None


def find_package(shipment: shipment_pb2.Shipment, package_id: str) -> shipment_pb2.Package:
    """The package a delivery is about; Untranslatable when the shipment lacks it."""
    for package in shipment.packages:
        if package.id == package_id:
            return package
    raise Untranslatable(f"the shipment has no package {package_id}")


def ship_request(
    shipment: shipment_pb2.Shipment, package_id: str, reference: str, rules: ShipRules
) -> dict[str, Any]:
    """UPS's request for the label of one package; Untranslatable says what does not fit."""
    package = find_package(shipment, package_id)
    origin = shipment.ship_from.address.country_code
    destination = shipment.ship_to.address.country_code
    domestic = origin in DOMESTIC and destination in DOMESTIC
    account = rules.account_for(shipment.ship_from_location_number)
    if not account:
        raise Untranslatable("no UPS account number is set for this location")
    references = _references(reference, shipment.order_number)
    parcel: dict[str, Any] = {
        "Packaging": {"Code": rules.packaging_code},
        "PackageWeight": _weight(package.weight, origin),
    }
    dimensions = _dimensions(package, origin)
    if dimensions:
        parcel["Dimensions"] = dimensions
    bill = {"Type": "01", "BillShipper": {"AccountNumber": account}}
    body: dict[str, Any] = {
        "Description": "Merchandise",
        "Shipper": {**_party(shipment.ship_from, "ship from"), "ShipperNumber": account},
        "ShipTo": _party(shipment.ship_to, "ship to"),
        "PaymentInformation": {"ShipmentCharge": [bill]},
        "Service": {"Code": service_code(shipment.service_code, origin, rules.services)},
        # Present means true: without entitlement UPS answers with published rates only.
        "ShipmentRatingOptions": {"NegotiatedRatesIndicator": ""},
        "Package": [parcel],
    }
    # UPS takes references on the package for US and PR, on the shipment everywhere else.
    (parcel if domestic else body)["ReferenceNumber"] = references
    return {
        "ShipmentRequest": {
            "Request": {
                "RequestOption": "nonvalidate",
                "SubVersion": "2409",
                "TransactionReference": {"CustomerContext": reference},
            },
            "Shipment": body,
            "LabelSpecification": _label_specification(rules.label_format),
        }
    }


def service_code(service: str, origin_country: str, services: Mapping[str, str]) -> str:
    """UPS's code for an ordered service; its meaning depends on the origin country.

    Looks for "CA:GROUND", then, from the US and PR only, for "GROUND"; a UPS code passes.
    """
    wanted = service.strip().upper()
    found = services.get(f"{origin_country}:{wanted}")
    if found is None and origin_country in DOMESTIC:
        found = services.get(wanted)
    if found is None and SERVICE_CODE.fullmatch(wanted):
        found = wanted
    if found is None:
        raise Untranslatable(
            f"service {service!r} from {origin_country} has no UPS code: say it with crossdock map "
            f"set ups SERVICE_LEVEL CODE --means {wanted} --preferred"
        )
    return found


def label_request(
    endpoint: str,
    carrier_code: str,
    shipment: shipment_pb2.Shipment,
    package_id: str,
    reference: str,
    purchase: Purchase,
) -> label_service_pb2.CreateLabelRequest:
    """The fact "UPS sold this label", with a request id that its content decides."""
    sold = purchase.label
    label = label_pb2.Label(
        shipment_id=shipment.id,
        package_id=package_id,
        carrier_code=carrier_code,
        service_code=shipment.service_code,
        tracking_number=sold.tracking_number,
        format=FORMATS.get(sold.format, label_pb2.LABEL_FORMAT_UNSPECIFIED),
        purchase_reference=reference,
    )
    if not why_no_image(sold):
        label.image = sold.image
    if purchase.shipment_number not in ("", sold.tracking_number):
        label.carrier_shipment_number = purchase.shipment_number
    if purchase.amount is not None and purchase.currency:
        label.price.CopyFrom(money(purchase.amount, purchase.currency))
    if purchase.bought_at is not None:
        label.purchase_time.CopyFrom(purchase.bought_at)
    fact = request_id(endpoint, f"label/{sold.tracking_number}", digest(label))
    return label_service_pb2.CreateLabelRequest(request_id=fact, label=label)


def why_no_image(sold: LabelImage) -> str:
    """Why a label goes to the hub without its image, in words for whoever waits at the printer."""
    if len(sold.image) <= MAX_LABEL_BYTES:
        return ""
    return (
        f"nothing to print: the image has {len(sold.image)} bytes, the hub takes "
        f"{MAX_LABEL_BYTES}; print it from UPS, and ask for a smaller label_format"
    )


def void_request(
    endpoint: str, carrier_code: str, tracking_number: str
) -> label_service_pb2.ReportLabelVoidedRequest:
    """The fact "this label is void"; UPS does not say since when."""
    return label_service_pb2.ReportLabelVoidedRequest(
        request_id=request_id(endpoint, f"void/{tracking_number}", "1"),
        tracking_number=tracking_number,
        carrier_code=carrier_code,
    )


def tracking_number_of(shipment: shipment_pb2.Shipment, package_id: str) -> str:
    """The number of a package's label as the hub derived it; empty when it has none."""
    for progress in shipment.progress:
        if progress.package_id == package_id:
            return progress.tracking_number
    return ""


def money(amount: Decimal, currency: str) -> types_pb2.Money:
    """Money with the digits UPS wrote, never through a float."""
    return types_pb2.Money(amount=f"{amount:f}", currency=currency)


def digest(message: Message) -> str:
    """A version for a fact that has none: what it says."""
    return hashlib.sha256(message.SerializeToString(deterministic=True)).hexdigest()


def _references(reference: str, order_number: str) -> list[dict[str, str]]:
    """Ours first: UPS prints two, and ours is what a look-up needs."""
    references = [{"Code": "TN", "Value": reference}]
    if order_number and len(order_number) <= MAX_TEXT:
        references.append({"Code": "PO", "Value": order_number})
    return references


def _label_specification(label_format: str) -> dict[str, Any]:
    specification: dict[str, Any] = {
        "LabelImageFormat": {"Code": label_format},
        "LabelStockSize": {"Height": "6", "Width": "4"},
    }
    if label_format == "GIF":
        specification["HTTPUserAgent"] = "Mozilla/4.5"
    return specification


def _party(party: types_pb2.Party, role: str) -> dict[str, Any]:
    address = party.address
    if len(address.city) > MAX_CITY or len(address.state) > MAX_STATE:
        raise Untranslatable(f"{role}: city or state is longer than UPS takes")
    found: dict[str, Any] = {
        # The company is the addressee where there is one; names print cut at 30 anyway.
        "Name": (party.company or party.name)[:MAX_TEXT],
        "Address": {
            "AddressLine": _address_lines(list(address.lines), role),
            "City": address.city,
            "StateProvinceCode": address.state,
            "PostalCode": _postal_code(address),
            "CountryCode": address.country_code,
        },
    }
    if party.company and party.name:
        found["AttentionName"] = party.name[:MAX_TEXT]
    phone = "".join(character for character in party.phone if character.isdigit())
    if phone:
        found["Phone"] = {"Number": phone[:MAX_PHONE]}
    if party.email and len(party.email) <= 50:
        found["EMailAddress"] = party.email
    if party.residential:
        found["Address"]["ResidentialAddressIndicator"] = ""
    return found


def _address_lines(lines: list[str], role: str) -> list[str]:
    """At most three lines of 35: long ones are wrapped, nothing is cut off."""
    given = [line.strip() for line in lines if line.strip()]
    wrapped = [part for line in given for part in textwrap.wrap(line, MAX_TEXT)]
    if len(wrapped) > MAX_LINES:
        wrapped = textwrap.wrap(" ".join(given), MAX_TEXT)
    if not wrapped or len(wrapped) > MAX_LINES:
        raise Untranslatable(f"{role}: the street needs 1 to 3 lines of 35 characters")
    return wrapped


def _postal_code(address: types_pb2.Address) -> str:
    code = address.postal_code.strip()
    if address.country_code in DOMESTIC:
        code = code.replace("-", "").replace(" ", "")
    if len(code) > MAX_POSTAL_CODE:
        raise Untranslatable(f"postal code {code!r} is longer than UPS takes")
    return code


def _imperial(origin_country: str) -> bool:
    """UPS refuses kilograms with inches, and kilograms from the US."""
    return origin_country in DOMESTIC


def _weight(quantity: types_pb2.Quantity, origin_country: str) -> dict[str, Any]:
    """Pounds or kilograms, rounded up to a tenth so that nothing is declared too light."""
    code, unit = ("LBS", "LBR") if _imperial(origin_country) else ("KGS", "KGM")
    value = _convert(quantity, unit, KILOGRAMS).quantize(WEIGHT_STEP, rounding=ROUND_UP)
    if value <= 0:
        raise Untranslatable("the package has no weight")
    return {"UnitOfMeasurement": {"Code": code}, "Weight": _plain(value)}


def _dimensions(package: shipment_pb2.Package, origin_country: str) -> dict[str, Any] | None:
    """Inches or centimetres, in the same system as the weight; None unless all are given."""
    if not all(package.HasField(side) for side in ("length", "width", "height")):
        return None
    code, unit = ("IN", "INH") if _imperial(origin_country) else ("CM", "CMT")

    def side(quantity: types_pb2.Quantity) -> str:
        value = _convert(quantity, unit, CENTIMETRES)
        return _plain(value.quantize(LENGTH_STEP, rounding=ROUND_UP))

    return {
        "UnitOfMeasurement": {"Code": code},
        "Length": side(package.length),
        "Width": side(package.width),
        "Height": side(package.height),
    }


def _convert(quantity: types_pb2.Quantity, unit: str, factors: Mapping[str, Decimal]) -> Decimal:
    try:
        value = Decimal(quantity.value)
    except InvalidOperation:
        raise Untranslatable(f"{quantity.value!r} is no number") from None
    if quantity.unit not in factors:
        raise Untranslatable(f"unit {quantity.unit!r} is not known to UPS")
    if quantity.unit == unit:
        return value
    return value * factors[quantity.unit] / factors[unit]


def _plain(value: Decimal) -> str:
    """A decimal without exponent and without trailing zeros: 4.20 is 4.2, 5.0 is 5."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
