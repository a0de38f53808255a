"""What the simulated FedEx checks before it keeps an open shipment, and what it charges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from crossdock_adapters.sdk.sandbox import VendorError
from crossdock_adapters.sdk.sandbox_parcels import Place, place_of

MAX_PIECES = 40
MAX_TEXT = 35
PRICE_STEP = Decimal("0.01")
POUNDS_IN_A_KILOGRAM = Decimal("2.2046226")
# Service: (price of a shipment's first parcel and of each more, price of a pound). Invented.
TARIFF = {
    "FEDEX_GROUND": ("11.10", "0.41"),
    "GROUND_HOME_DELIVERY": ("12.90", "0.43"),
    "SMART_POST": ("8.70", "0.30"),
    "FEDEX_EXPRESS_SAVER": ("19.40", "0.86"),
    "FEDEX_2_DAY": ("29.10", "1.33"),
    "FEDEX_2_DAY_AM": ("32.80", "1.41"),
    "STANDARD_OVERNIGHT": ("43.90", "1.92"),
    "PRIORITY_OVERNIGHT": ("47.60", "2.08"),
    "FIRST_OVERNIGHT": ("77.80", "2.18"),
    "FEDEX_INTERNATIONAL_PRIORITY": ("94.20", "3.75"),
    "INTERNATIONAL_ECONOMY": ("70.60", "2.55"),
}
GROUND = frozenset({"FEDEX_GROUND", "GROUND_HOME_DELIVERY", "SMART_POST"})
# What Open Ship publishes of a shipment that is opened; the label is asked for by the confirmation.
REQUESTED = frozenset(
    {
        "blockInsightVisibility", "customsClearanceDetail", "emailNotificationDetail",
        "expressFreightDetail", "origin", "packagingType", "pickupType", "preferredCurrency",
        "rateRequestType", "recipients", "requestedPackageLineItems", "serviceType",
        "shipDatestamp", "shipmentSpecialServices", "shipper", "shippingChargesPayment",
        "smartPostInfoDetail", "soldTo", "totalWeight", "variableHandlingChargeDetail",
    }
)  # fmt: skip
PICKUPS = ("CONTACT_FEDEX_TO_SCHEDULE", "DROPOFF_AT_FEDEX_LOCATION", "USE_SCHEDULED_PICKUP")
# Packaging: the heaviest package in pounds. What is FedEx's own is for express services.
HEAVIEST_POUNDS = {
    "YOUR_PACKAGING": 150, "FEDEX_ENVELOPE": 1, "FEDEX_PAK": 20, "FEDEX_BOX": 20,
    "FEDEX_SMALL_BOX": 20, "FEDEX_MEDIUM_BOX": 20, "FEDEX_LARGE_BOX": 20,
    "FEDEX_EXTRA_LARGE_BOX": 20, "FEDEX_TUBE": 20, "FEDEX_10KG_BOX": 22, "FEDEX_25KG_BOX": 55,
}  # fmt: skip
# The carrier's code of a label format: (what is drawn for it, how its stock begins).
FORMATS = {
    "ZPLII": ("ZPL", "STOCK_"),
    "EPL2": ("EPL", "STOCK_"),
    "PDF": ("PDF", "PAPER_"),
    "PNG": ("PNG", "PAPER_"),
}


class VendorRefusal(VendorError):
    """An error the simulated carrier answers: HTTP status, its stable code, its text."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status, error_body(code, message))
        self.code, self.message = code, message


def error_body(code: str, message: str, transaction: str = "") -> dict[str, Any]:
    """The one error shape of every product of the carrier."""
    body: dict[str, Any] = {"transactionId": "5b5b2a4c", "errors": [{"code": code}]}
    body["errors"][0]["message"] = message
    return {**body, "customerTransactionId": transaction} if transaction else body


@dataclass(frozen=True, slots=True)
class PieceOrder:
    """One package of a request that passed every check. `weight` in pounds."""

    weight: Decimal
    references: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ShipOrder:
    """A requested shipment that passed every check."""

    account: str
    service: str
    packaging: str
    origin: Place
    destination: Place
    ship_to_name: str
    pieces: tuple[PieceOrder, ...]
    comes_back: bool = False

    def price(self, piece: PieceOrder) -> Decimal:
        """What the account pays for one package, in USD."""
        base, per_pound = TARIFF[self.service]
        billed = max(Decimal(1), piece.weight.to_integral_value(rounding="ROUND_CEILING"))
        return (Decimal(base) + Decimal(per_pound) * billed).quantize(PRICE_STEP)


def read_account(body: Any, accounts: Sequence[str]) -> str:
    """The account of a request; refused when the project may not use it."""
    holder = body.get("accountNumber") if isinstance(body, dict) else None
    value = text(holder, "value") if isinstance(holder, dict) else ""
    if not value:
        raise VendorRefusal(400, "ACCOUNT.NUMBER.EMPTY", "Account number is required.")
    if value not in accounts:
        raise VendorRefusal(
            403, "ACCOUNTNUMBER.REGISTRATION.REQUIRED", "Please register the account number."
        )
    return value


def read_requested(body: Mapping[str, Any], accounts: Sequence[str]) -> ShipOrder:
    """Reads and checks a create request; VendorRefusal for the first thing that is wrong."""
    account = read_account(body, accounts)
    wanted = _object(body, "requestedShipment", "REQUESTEDSHIPMENT.REQUIRED")
    if not wanted.keys() <= REQUESTED:
        strange = ", ".join(sorted(wanted.keys() - REQUESTED))
        raise VendorRefusal(400, "REQUESTEDSHIPMENT.INVALID", f"Open Ship has no {strange}.")
    shipper = _party(_object(wanted, "shipper", "SHIPPER.REQUIRED"), "SHIPPER")
    recipients = wanted.get("recipients")
    if not isinstance(recipients, list) or len(recipients) != 1:
        raise VendorRefusal(400, "RECIPIENTS.REQUIRED", "Exactly one recipient is required.")
    recipient = _party(recipients[0], "RECIPIENT")
    service, packaging = text(wanted, "serviceType"), text(wanted, "packagingType")
    if service not in TARIFF:
        raise VendorRefusal(400, "SERVICETYPE.NOT.ALLOWED", "This service is not available.")
    if packaging not in HEAVIEST_POUNDS:
        raise VendorRefusal(400, "PACKAGINGTYPE.INVALID", "Packaging type is missing or invalid.")
    if service in GROUND and packaging != "YOUR_PACKAGING":
        raise VendorRefusal(400, "PACKAGINGTYPE.NOT.ALLOWED", "Packaging is for express services.")
    residential = recipients[0]["address"].get("residential") is True
    if service == "FEDEX_GROUND" and residential:
        raise VendorRefusal(
            400, "SERVICETYPE.RESIDENTIAL.NOTALLOWED", "Use home delivery for a residence."
        )
    if service == "GROUND_HOME_DELIVERY" and not residential:
        raise VendorRefusal(
            400, "SERVICETYPE.NOT.ALLOWED", "Home delivery is for a residential address."
        )
    if shipper.country != recipient.country and "customsClearanceDetail" not in wanted:
        raise VendorRefusal(400, "CUSTOMSCLEARANCEDETAIL.REQUIRED", "Customs detail is required.")
    if text(wanted, "pickupType") not in PICKUPS:
        raise VendorRefusal(400, "PICKUPTYPE.INVALID", "Pickup type is missing or invalid.")
    _payment(wanted, account)
    pieces = _pieces(wanted, packaging)
    contact = recipients[0]["contact"]
    name = text(contact, "companyName") or text(contact, "personName")
    back = _comes_back(wanted)
    return ShipOrder(account, service, packaging, shipper, recipient, name, pieces, back)


def _comes_back(wanted: Mapping[str, Any]) -> bool:
    """Whether a return is wanted: then the kind of its label has to be said."""
    special = wanted.get("shipmentSpecialServices")
    types = special.get("specialServiceTypes") if isinstance(special, dict) else None
    if not isinstance(types, list) or "RETURN_SHIPMENT" not in types:
        return False
    detail = _object(special, "returnShipmentDetail", "RETURNSHIPMENTDETAIL.REQUIRED")
    if text(detail, "returnType") not in ("PRINT_RETURN_LABEL", "PENDING"):
        raise VendorRefusal(400, "RETURNTYPE.INVALID", "Return type is missing or invalid.")
    return True


def read_label(specification: Any) -> str:
    """The label format asked for; its stock has to go with it."""
    if not isinstance(specification, dict):
        raise VendorRefusal(400, "LABELSPECIFICATION.REQUIRED", "Label specification is required.")
    image, stock = text(specification, "imageType"), text(specification, "labelStockType")
    if image not in FORMATS:
        raise VendorRefusal(400, "LABELIMAGETYPE.INVALID", "Label image type is invalid.")
    if not stock.startswith(FORMATS[image][1]):
        raise VendorRefusal(
            400, "LABELSTOCKTYPE.INVALID", f"Stock {stock} does not go with {image}."
        )
    return image


def text(holder: Any, key: str) -> str:
    """A text of an object; empty when it is missing or none."""
    found = holder.get(key) if isinstance(holder, dict) else None
    return found if isinstance(found, str) else ""


def _pieces(wanted: Mapping[str, Any], packaging: str) -> tuple[PieceOrder, ...]:
    lines = wanted.get("requestedPackageLineItems")
    if not isinstance(lines, list) or not 1 <= len(lines) <= MAX_PIECES:
        raise VendorRefusal(400, "PACKAGECOUNT.INVALID", f"One to {MAX_PIECES} packages.")
    units = {text(line.get("weight"), "units") for line in lines if isinstance(line, dict)}
    if len(units) != 1 or units - {"LB", "KG"}:
        raise VendorRefusal(400, "WEIGHT.UNITS.MISMATCH", "One weight unit for all packages.")
    return tuple(_piece(line, units == {"KG"}, packaging) for line in lines)


def _piece(line: Mapping[str, Any], in_kilograms: bool, packaging: str) -> PieceOrder:
    value = line["weight"].get("value")
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)) or value <= 0:
        raise VendorRefusal(400, "PACKAGE.WEIGHT.INVALID", "Weight is missing or invalid.")
    pounds = Decimal(value) * (POUNDS_IN_A_KILOGRAM if in_kilograms else 1)
    if pounds > HEAVIEST_POUNDS[packaging]:
        raise VendorRefusal(400, "PACKAGE.WEIGHT.EXCEEDED", "Weight exceeds the packaging's limit.")
    dimensions = line.get("dimensions")
    if dimensions is not None:
        sides = [dimensions.get(side) for side in ("length", "width", "height")]
        whole = all(isinstance(side, int) and side > 0 for side in sides)
        if not whole or text(dimensions, "units") not in ("IN", "CM"):
            raise VendorRefusal(400, "PACKAGE.DIMENSIONS.INVALID", "Dimensions are whole numbers.")
    references = tuple(
        (text(entry, "customerReferenceType"), text(entry, "value"))
        for entry in line.get("customerReferences", [])
    )
    if any(not kind or not value or len(value) > 40 for kind, value in references):
        raise VendorRefusal(400, "CUSTOMERREFERENCE.INVALID", "A customer reference is invalid.")
    return PieceOrder(pounds, references)


def _party(party: Any, role: str) -> Place:
    contact = _object(party, "contact", f"{role}.CONTACT.REQUIRED")
    if not 10 <= len(text(contact, "phoneNumber")) <= 15:
        raise VendorRefusal(400, f"{role}.PHONENUMBER.INVALID", "Phone number is invalid.")
    if not (text(contact, "personName") or text(contact, "companyName")):
        raise VendorRefusal(400, f"{role}.NAME.REQUIRED", "A person or company name is required.")
    if len(text(contact, "personName")) > 70 or len(text(contact, "companyName")) > MAX_TEXT:
        raise VendorRefusal(400, f"{role}.NAME.TOOLONG", "The name is too long.")
    address = _object(party, "address", f"{role}.ADDRESS.REQUIRED")
    lines = address.get("streetLines")
    if not isinstance(lines, list) or not 1 <= len(lines) <= 3:
        raise VendorRefusal(400, f"{role}.STREETLINES.INVALID", "One to three street lines.")
    if not all(isinstance(line, str) and 0 < len(line) <= MAX_TEXT for line in lines):
        raise VendorRefusal(400, f"{role}.STREETLINES.INVALID", "A street line is too long.")
    city, country = text(address, "city"), text(address, "countryCode")
    if not 1 <= len(city) <= MAX_TEXT or len(country) != 2:
        raise VendorRefusal(400, f"{role}.ADDRESS.INVALID", "City or country is invalid.")
    if len(text(address, "postalCode")) > 10 or (
        country == "US" and not text(address, "postalCode")[:5].isdigit()
    ):
        raise VendorRefusal(400, f"{role}.POSTALCODE.INVALID", "Postal code is invalid.")
    state = text(address, "stateOrProvinceCode")
    return place_of(city.upper(), state, text(address, "postalCode"), country)


def _payment(wanted: Mapping[str, Any], account: str) -> None:
    payment = _object(wanted, "shippingChargesPayment", "PAYMENT.REQUIRED")
    if text(payment, "paymentType") not in ("SENDER", "RECIPIENT", "THIRD_PARTY", "COLLECT"):
        raise VendorRefusal(400, "PAYMENTTYPE.INVALID", "Payment type is invalid.")
    payor = payment.get("payor")
    party = payor.get("responsibleParty") if isinstance(payor, dict) else None
    number = party.get("accountNumber") if isinstance(party, dict) else None
    if text(payment, "paymentType") == "SENDER" and text(number, "value") not in ("", account):
        raise VendorRefusal(400, "PAYOR.ACCOUNT.MISMATCH", "The sender pays with its own account.")


def _object(holder: Any, key: str, code: str) -> dict[str, Any]:
    found = holder.get(key) if isinstance(holder, dict) else None
    if not isinstance(found, dict):
        raise VendorRefusal(400, code, f"{key} is required.")
    return found
