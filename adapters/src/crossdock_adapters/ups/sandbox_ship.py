"""What the simulated carrier checks before it books a shipment, and what it charges for one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from crossdock_adapters.sdk.sandbox import VendorError
from crossdock_adapters.sdk.sandbox_parcels import Place, place_of

MAX_PACKAGES = 200
MAX_POUNDS, MAX_KILOGRAMS = Decimal(150), Decimal(70)
MAX_WEIGHT_CHARACTERS = 5
MAX_REFERENCE_CHARACTERS = 35
MAX_NAME_CHARACTERS = 35
ONE_SYSTEM = {"LBS": "IN", "OZS": "IN", "KGS": "CM"}
DOMESTIC = ("US", "PR")
POSTAL_CODES = {
    "US": re.compile(r"\d{5}(\d{4})?"),
    "PR": re.compile(r"\d{5}(\d{4})?"),
    "CA": re.compile(r"([A-Z]\d){3}"),
}
NEXT_DAY_AIR_EARLY = "14"
MAX_SIDE_CHARACTERS = 3
CENT = Decimal("0.01")
# The carrier's code of a label format, and what is drawn for it.
FORMATS = {"GIF": "GIF", "ZPL": "ZPL", "EPL": "EPL", "SPL": "EPL"}
# Label Recovery draws PDF, too.
RECOVERY_FORMATS = {**FORMATS, "PDF": "PDF"}

# Service: (price of a parcel, price of a pound). Invented.
TARIFF = {
    "01": ("48.20", "2.10"), "02": ("29.75", "1.35"), "03": ("11.40", "0.42"),
    "07": ("95.10", "3.80"), "08": ("71.30", "2.60"), "11": ("21.90", "0.95"),
    "12": ("19.85", "0.88"), "13": ("44.60", "1.95"), "14": ("78.40", "2.20"),
    "54": ("131.00", "4.10"), "59": ("33.15", "1.40"), "65": ("88.25", "3.40"),
    "93": ("8.95", "0.31"),
}  # fmt: skip
MAX_DESCRIPTION_CHARACTERS = 50
RETURN_SERVICES = frozenset({"2", "3", "5", "8", "9", "10", *map(str, range(11, 21))})
NEGOTIATED_SHARE = Decimal("0.72")


class VendorRefusal(VendorError):
    """An error the simulated carrier answers: HTTP status, its stable code, its text."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status, error_body(code, message))
        self.code, self.message = code, message


def error_body(code: str, message: str) -> dict[str, Any]:
    """The one error shape of every product of the carrier."""
    return {"response": {"errors": [{"code": code, "message": message}]}}


@dataclass(frozen=True, slots=True)
class PackageOrder:
    """One parcel of a ship request that passed every check."""

    weight: Decimal
    unit: str
    references: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ShipOrder:
    """A ship request that passed every check."""

    account: str
    service: str
    origin: Place
    destination: Place
    ship_to_name: str
    references: tuple[tuple[str, str], ...]
    packages: tuple[PackageOrder, ...]
    label_format: str
    wants_negotiated: bool
    context: str
    comes_back: bool = False

    def price(self, package: PackageOrder) -> Decimal:
        """Published price of one parcel in USD."""
        base, per_pound = TARIFF[self.service]
        pounds = package.weight / 16 if package.unit == "OZS" else package.weight
        if package.unit == "KGS":
            pounds = package.weight * Decimal("2.2046226")
        billed = max(Decimal(1), pounds.to_integral_value(rounding="ROUND_CEILING"))
        return (Decimal(base) + Decimal(per_pound) * billed).quantize(CENT)

    def negotiated_total(self) -> Decimal:
        """What an account with negotiated rates pays for the whole shipment in USD."""
        return (sum(map(self.price, self.packages), Decimal(0)) * NEGOTIATED_SHARE).quantize(CENT)


def read_ship_request(body: Any, accounts: Sequence[str]) -> ShipOrder:
    """Reads and checks a ship request; raises VendorRefusal for the first thing that is wrong."""
    request = _object(body, "ShipmentRequest", "120001", "XML/JSON document is not well formed")
    shipment = _object(request, "Shipment", "120002", "Missing shipment")
    shipper = _object(shipment, "Shipper", "120100", "Missing or invalid shipper")
    account = _text(shipper, "ShipperNumber")
    if len(account) != 6:
        raise VendorRefusal(400, "120100", "Missing or invalid shipper number")
    if account not in accounts:
        raise VendorRefusal(400, "120120", f"The account {account} is not allowed for this user")
    _party(shipper, "shipper", "1201")
    ship_to = _object(shipment, "ShipTo", "120200", "Missing or invalid ship to")
    _party(ship_to, "ship to", "1202")
    origin_party = shipment.get("ShipFrom") if isinstance(shipment.get("ShipFrom"), dict) else None
    origin = _place(origin_party or shipper)
    destination = _place(ship_to)
    service = _text(_object(shipment, "Service", "120500", "Missing or invalid service"), "Code")
    if service not in TARIFF:
        raise VendorRefusal(400, "121210", "The requested service is unavailable between these")
    if origin.country != destination.country or service == NEXT_DAY_AIR_EARLY:
        for who, role, family in ((shipper, "shipper", "1201"), (ship_to, "ship to", "1202")):
            if not 1 <= len(_text(who, "AttentionName")) <= MAX_NAME_CHARACTERS:
                raise VendorRefusal(400, f"{family}04", f"Missing or invalid {role} attention name")
    _payment(shipment, account)
    domestic = origin.country == destination.country and origin.country in DOMESTIC
    references = _references(shipment)
    if references and domestic:
        raise VendorRefusal(400, "120541", "Shipment reference numbers are not allowed for US-US")
    packages = tuple(_package(entry, domestic) for entry in _list(shipment.get("Package")))
    if not 1 <= len(packages) <= MAX_PACKAGES:
        raise VendorRefusal(400, "120602", "Invalid number of packages")
    options = shipment.get("ShipmentRatingOptions")
    return ShipOrder(
        account=account,
        service=service,
        origin=origin,
        destination=destination,
        ship_to_name=_text(ship_to, "Name"),
        references=references,
        packages=packages,
        label_format=_label_format(request),
        wants_negotiated=isinstance(options, dict) and "NegotiatedRatesIndicator" in options,
        context=_context(request),
        comes_back=_comes_back(shipment),
    )


def _comes_back(shipment: Mapping[str, Any]) -> bool:
    """Whether a return is wanted: then ship-from and descriptions are needed."""
    if "ReturnService" not in shipment:
        return False
    service = shipment["ReturnService"]
    if not isinstance(service, dict) or _text(service, "Code") not in RETURN_SERVICES:
        raise VendorRefusal(400, "120550", "Missing or invalid return service")
    ship_from = _object(shipment, "ShipFrom", "120300", "Ship from is required for a return")
    _party(ship_from, "ship from", "1203")
    if not 1 <= len(_text(shipment, "Description")) <= MAX_DESCRIPTION_CHARACTERS:
        raise VendorRefusal(400, "120551", "A return needs a description of its goods")
    return True


def read_label_format(specification: Any, formats: Mapping[str, str] = FORMATS) -> str:
    """The label format asked for; the carrier makes no PDF and no PNG when it books."""
    if not isinstance(specification, dict):
        raise VendorRefusal(400, "120801", "Missing label specification")
    image = specification.get("LabelImageFormat")
    code = _text(image, "Code") if isinstance(image, dict) else ""
    if code not in formats:
        raise VendorRefusal(400, "120802", "Missing or invalid label image format")
    if code == "GIF" and not _text(specification, "HTTPUserAgent"):
        raise VendorRefusal(400, "120803", "A GIF label needs HTTPUserAgent")
    return code


def _label_format(request: Mapping[str, Any]) -> str:
    return read_label_format(request.get("LabelSpecification"))


def _context(request: Mapping[str, Any]) -> str:
    inner = request.get("Request")
    reference = inner.get("TransactionReference") if isinstance(inner, dict) else None
    return _text(reference, "CustomerContext") if isinstance(reference, dict) else ""


def _party(party: Mapping[str, Any], role: str, family: str) -> None:
    if not 1 <= len(_text(party, "Name")) <= MAX_NAME_CHARACTERS:
        raise VendorRefusal(400, f"{family}01", f"Missing or invalid {role} name")
    address = _object(party, "Address", f"{family}02", f"Missing {role} address")
    lines = _list(address.get("AddressLine"))
    if not 1 <= len(lines) <= 3 or not all(isinstance(x, str) and 0 < len(x) <= 35 for x in lines):
        raise VendorRefusal(400, f"{family}03", f"Missing or invalid {role} address line")
    if not 1 <= len(_text(address, "City")) <= 30:
        raise VendorRefusal(400, f"{family}05", f"Missing or invalid {role} city")
    country, postal_code = _text(address, "CountryCode"), _text(address, "PostalCode")
    if len(country) != 2:
        raise VendorRefusal(400, f"{family}08", f"Missing or invalid {role} country code")
    known_form = POSTAL_CODES.get(country)
    if known_form is not None and not known_form.fullmatch(postal_code):
        raise VendorRefusal(400, f"{family}06", f"Missing or invalid {role} postal code")
    codes = (("PostalCode", 9), ("StateProvinceCode", 5))
    if any(name in address and not 1 <= len(_text(address, name)) <= most for name, most in codes):
        raise VendorRefusal(400, f"{family}07", f"Invalid {role} state or postal code")


def _place(party: Mapping[str, Any]) -> Place:
    address = _object(party, "Address", "120302", "Missing ship from address")
    return place_of(
        _text(address, "City").upper(),
        _text(address, "StateProvinceCode"),
        _text(address, "PostalCode"),
        _text(address, "CountryCode"),
    )


def _payment(shipment: Mapping[str, Any], account: str) -> None:
    payment = _object(shipment, "PaymentInformation", "120400", "Missing payment information")
    charges = [entry for entry in _list(payment.get("ShipmentCharge")) if isinstance(entry, dict)]
    transport = [entry for entry in charges if entry.get("Type") == "01"]
    if len(transport) != 1:
        raise VendorRefusal(400, "120401", "Missing or invalid transportation charge")
    bill = transport[0].get("BillShipper")
    payers = sum(key in transport[0] for key in ("BillShipper", "BillReceiver", "BillThirdParty"))
    if payers != 1:
        raise VendorRefusal(400, "120402", "Exactly one payer is needed")
    if isinstance(bill, dict) and _text(bill, "AccountNumber") != account:
        raise VendorRefusal(400, "120412", "The billing account must match the shipper number")


def _package(entry: Any, domestic: bool) -> PackageOrder:
    if not isinstance(entry, dict):
        raise VendorRefusal(400, "120600", "Missing or invalid package")
    packaging = entry.get("Packaging")
    if not isinstance(packaging, dict) or len(_text(packaging, "Code")) != 2:
        raise VendorRefusal(400, "120605", "Missing or invalid packaging type")
    weight, unit = _weight(entry)
    dimensions = entry.get("Dimensions")
    if isinstance(dimensions, dict):
        _dimensions(dimensions, unit)
    references = _references(entry)
    if references and not domestic:
        raise VendorRefusal(400, "120542", "Package references are allowed for US-US only")
    return PackageOrder(weight, unit, references)


def _weight(package: Mapping[str, Any]) -> tuple[Decimal, str]:
    given = _object(package, "PackageWeight", "120610", "Missing package weight")
    unit = _text(_object(given, "UnitOfMeasurement", "120611", "Missing weight unit"), "Code")
    if unit not in ONE_SYSTEM:
        raise VendorRefusal(400, "120611", "Missing or invalid weight unit")
    text = _text(given, "Weight")
    weight = _decimal(text, "120612", "Missing or invalid package weight")
    if weight <= 0 or len(text) > MAX_WEIGHT_CHARACTERS:
        raise VendorRefusal(400, "120612", "Missing or invalid package weight")
    limit = MAX_KILOGRAMS if unit == "KGS" else MAX_POUNDS
    if weight > (limit * 16 if unit == "OZS" else limit):
        raise VendorRefusal(400, "120613", "Package exceeds the maximum weight")
    return weight, unit


def _dimensions(dimensions: Mapping[str, Any], weight_unit: str) -> None:
    unit = _text(
        _object(dimensions, "UnitOfMeasurement", "120620", "Missing dimension unit"), "Code"
    )
    if unit != ONE_SYSTEM[weight_unit]:
        raise VendorRefusal(400, "120621", "Weight and dimensions use different systems")
    for side in ("Length", "Width", "Height"):
        text = _text(dimensions, side)
        value = _decimal(text, "120622", f"Missing or invalid {side}")
        if value <= 0 or len(text) > MAX_SIDE_CHARACTERS:
            raise VendorRefusal(400, "120622", f"Missing or invalid {side}")


def _references(holder: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for entry in _list(holder.get("ReferenceNumber")):
        value = _text(entry, "Value") if isinstance(entry, dict) else ""
        code = _text(entry, "Code") if isinstance(entry, dict) else ""
        if not 1 <= len(value) <= MAX_REFERENCE_CHARACTERS or len(code) not in (0, 2):
            raise VendorRefusal(400, "120540", "Missing or invalid reference number")
        found.append((code, value))
    return tuple(found)


def _decimal(text: str, code: str, message: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise VendorRefusal(400, code, message) from None
    if not number.is_finite():
        raise VendorRefusal(400, code, message)
    return number


def _object(holder: Any, key: str, code: str, message: str) -> dict[str, Any]:
    found = holder.get(key) if isinstance(holder, dict) else None
    if not isinstance(found, dict):
        raise VendorRefusal(400, code, message)
    return found


def _text(holder: Mapping[str, Any], key: str) -> str:
    found = holder.get(key)
    return found if isinstance(found, str) else ""


def _list(found: Any) -> list[Any]:
    """What the vendor accepts where it documents a list: a list, one bare object, or nothing."""
    if found is None:
        return []
    return found if isinstance(found, list) else [found]
