"""From a packed shipment to an electronic bill of lading (NMFTA Digital LTL, eBOL 2.1.0); pure.

A shipment is one bill of lading under one PRO number; each of its packages is a handling unit.
Weights and dimensions are whole pounds and inches, rounded up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from zoneinfo import ZoneInfo

from crossdock.event.v1 import event_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock.types.v1 import types_pb2

from crossdock_adapters.ltl_freight.payer import COLLECT, THIRD_PARTY
from crossdock_adapters.sdk import carrier_labels, local_times, measures
from crossdock_adapters.sdk.mappings import Topic, UnsentWord
from crossdock_adapters.sdk.outcomes import Untranslatable

VERSION: Final = "2.1.0"
# What `crossdock map` calls the endpoint.
KIND: Final = "ltl-freight"
WHOLE: Final = Decimal(1)
CUBIC_INCHES_IN_A_FOOT: Final = 1728
MAX_LINES: Final = 2
MAX_LINE: Final = 50
PHONE_DIGITS: Final = 10
PALLETS: Final = ("PAT", "SKD")
BY_DENSITY: Final = "density"
COUNTRIES: Final[Mapping[str, str]] = {"US": "USA", "CA": "CAN", "MX": "MEX"}
# The 18 classes, and the classes of the density scale in force since 19 July 2025: pounds per cubic
# foot from which each holds (NMFTA).
CLASSES: Final = (
    "50", "55", "60", "65", "70", "77.5", "85", "92.5", "100", "110", "125", "150", "175", "200",
    "250", "300", "400", "500",
)  # fmt: skip
DENSITIES: Final = (
    ("50", "50"), ("35", "55"), ("30", "60"), ("22.5", "65"), ("15", "70"), ("12", "85"),
    ("10", "92.5"), ("8", "100"), ("6", "125"), ("4", "175"), ("2", "250"), ("1", "300"),
    ("0", "400"),
)  # fmt: skip
# Accessorial codes of the open standard.
ACCESSORIALS: Final = frozenset({
    "APTD", "APTP", "COD", "EXPD", "FVC", "GTD_AM", "GTD_NOON", "GTD_PM", "HAZ", "IDL", "IPU",
    "INBD", "LFTD", "LFTP", "LTDAD", "LTDAP", "MARK", "MNC", "OVR", "PPD", "PSC", "PSH", "PSN",
    "RES", "REP", "SRT", "SS", "TCS",
})  # fmt: skip
LABEL_FORMATS: Final = ("Avery", "Letter", "Zebra")
TERMS: Final = ("Prepaid", COLLECT, THIRD_PARTY)
# What a service is called that is none: freight without a guarantee asks for no accessorial.
NO_ACCESSORIAL: Final = "STANDARD"


@dataclass(frozen=True, slots=True)
class BolRules:
    """What a deployment decides about its bills of lading; made from the endpoint's settings.

    services: word of an order to accessorial code; package_types: container type of the warehouse
    to a word of the package rows, "" for those not named; packaging: that to a handling unit code;
    units: by the contract's code, the standard's;
    harmless: ids of the packages that are declared not hazardous; of others nothing is said.
    payer: whom the deployment names to pay; None: the shipper does, or by the terms the consignee.
    """

    account: str
    terms: str = "Prepaid"
    freight_class: str = BY_DENSITY
    nmfc: str = ""
    description: str = "General merchandise"
    piece_type: str = "PCS"
    stackable: bool = False
    accessorials: Sequence[str] = ()
    services: Mapping[str, str] = field(default_factory=dict)
    package_types: Mapping[str, str] = field(default_factory=dict)
    packaging: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    label_format: str = "Zebra"
    special_instructions: str = ""
    contact_phone: str = ""
    recipient_phone: str = ""
    is_test: bool = False
    harmless: frozenset[str] = frozenset()
    payer: types_pb2.Party | None = None


def bill_of_lading(
    shipment: shipment_pb2.Shipment, pro: str, reference: str, pickup: date, rules: BolRules
) -> dict[str, Any]:
    """The request for a bill of lading under this PRO. Untranslatable says what does not fit."""
    pounds = measures.word_of("LBR", rules.units, KIND)
    units = [_handling_unit(package, rules) for package in shipment.packages]
    gross = sum(unit["weight"] for unit in units)
    pieces = sum(unit["lineItems"][0]["pieces"] for unit in units)
    order = {"number": shipment.order_number, "pieces": pieces, "weight": gross}
    origin = _party(shipment.ship_from, "ship from", rules.contact_phone)
    destination = _party(shipment.ship_to, "ship to", rules.recipient_phone)
    return {
        "version": VERSION,
        "bol": {
            "function": "Create",
            # The standard's only form; a day has no hour of its own.
            "requestedPickupDate": f"{pickup.isoformat()}T00:00:00.000",
            "isTest": rules.is_test,
            "requestorRole": "Shipper",
            "specialInstructions": rules.special_instructions,
        },
        "images": {
            "includeBol": False,
            "includeShippingLabels": True,
            "shippingLabels": {"format": rules.label_format, "quantity": 1, "position": 1},
        },
        "referenceNumbers": {
            "pro": pro,
            "shipmentId": reference,
            "bol": [shipment.number],
            "po": [{**order, "weightUnit": pounds, "palletized": _on_pallets(units)}],
        },
        "payment": {"terms": rules.terms},
        # The standard's schema requires line items here, too; nested ones stand in their units.
        "commodities": {"lineItemLayout": "Nested", "handlingUnits": units, "lineItems": []},
        "shipmentTotals": {"grossWeight": gross, "weightUnit": pounds},
        "accessorials": {
            "codes": accessorials(shipment.service_code, rules.accessorials, rules.services)
        },
        "origin": origin,
        "destination": destination,
        "billTo": _bill_to(origin, destination, rules),
    }


def pickup_day(
    metadata: event_pb2.EventMetadata, now: datetime, days: int, clock: tzinfo = UTC
) -> date:
    """The requested pick-up: so many days after the hub recorded the event, so that a repeat asks
    for the same day; today where that day is over, because no carrier comes yesterday. clock: that
    of the place where it is picked up, whose days these are."""
    recorded = now
    if metadata.HasField("record_time"):
        recorded = metadata.record_time.ToDatetime(UTC)
    day = recorded.astimezone(clock).date() + timedelta(days=days)
    return max(day, now.astimezone(clock).date())


def clock_of(party: types_pb2.Party, zones: Mapping[str, str]) -> tzinfo:
    """The clock of an address, by the zone of its city, its state or its country; UTC where none
    is named: nobody knows how late it is there."""
    address = party.address
    zone = zone_of(address.city.upper(), address.state.upper(), address.country_code, zones)
    known = local_times.known_zone(zone)
    return UTC if known is None else ZoneInfo(known)


def zone_of(city: str, state: str, country: str, zones: Mapping[str, str]) -> str:
    """The zone of a place: the most exact name of it that the deployment gave; "" for none."""
    names = [f"{country}-{state}-{city}", f"{country}-{state}", country]
    return next((zones[name] for name in names if name in zones), "")


def tracking_numbers(shipment: shipment_pb2.Shipment, pro: str) -> list[str]:
    """The number of each handling unit: the PRO of the first, the PRO and a count of the others.

    The carrier knows one PRO for all of them; the hub knows each by a number of its own.
    """
    return [pro if at == 1 else f"{pro}-{at:03}" for at in range(1, len(shipment.packages) + 1)]


def density_class(pounds: int, length: int, width: int, height: int) -> str:
    """The class of a handling unit by pounds per cubic foot, its whole inches taken."""
    density = Decimal(pounds * CUBIC_INCHES_IN_A_FOOT) / Decimal(length * width * height)
    return next(found for least, found in DENSITIES if density >= Decimal(least))


def accessorial_of(service: str, services: Mapping[str, str]) -> str:
    """The accessorial that an ordered service asks for; "" for freight without a guarantee."""
    wanted = service.strip().upper()
    found = services.get(wanted, wanted if wanted in ACCESSORIALS else None)
    if found is None:
        unsent = UnsentWord(Topic.SERVICE_LEVEL, wanted)
        problem = f"service {service!r} has no accessorial code"
        raise Untranslatable.for_want_of(unsent, "ltl-freight", problem)
    return "" if found == NO_ACCESSORIAL else found


def accessorials(service: str, always: Sequence[str], services: Mapping[str, str]) -> list[str]:
    """The accessorials of a shipment: those of every shipment, and that of the ordered service."""
    asked = [*always, accessorial_of(service, services)]
    return sorted({each for each in asked if each})


def _bill_to(
    origin: Mapping[str, Any], destination: Mapping[str, Any], rules: BolRules
) -> dict[str, Any]:
    """Who is billed. The consignee has an account of its own, or none: ours is not said of it."""
    if rules.terms == COLLECT:
        return {**destination}
    payer = origin
    if rules.payer is not None:
        payer = _party(rules.payer, "bill_to", rules.contact_phone)
    return {**payer, "account": rules.account}


def _on_pallets(units: Sequence[Mapping[str, Any]]) -> bool:
    """Whether everything stands on pallets or skids."""
    return all(unit["type"] in PALLETS for unit in units)


def _handling_unit(package: shipment_pb2.Package, rules: BolRules) -> dict[str, Any]:
    pounds = int(measures.weight_in(package.weight, "LBR", WHOLE))
    in_pounds = measures.word_of("LBR", rules.units, KIND)
    unit: dict[str, Any] = {
        "count": 1,
        "type": _unit_type(package.container_type, rules),
        "weight": pounds,
        "weightUnit": in_pounds,
        "stackable": rules.stackable,
    }
    if all(package.HasField(side) for side in ("length", "width", "height")):
        for side in ("length", "width", "height"):
            unit[side] = int(measures.length_in(getattr(package, side), "INH", WHOLE))
        unit["dimensionsUnit"] = measures.word_of("INH", rules.units, KIND)
    item = {
        "description": rules.description,
        "weight": pounds,
        "weightUnit": in_pounds,
        "pieces": _pieces(package),
        "packagingType": rules.piece_type,
        "classification": _class(package, unit, rules),
        "stackable": rules.stackable,
    }
    if package.id in rules.harmless:
        item["hazardous"] = False
    if rules.nmfc:
        item["nmfc"], _, sub = rules.nmfc.partition("-")
        item |= {"nmfcSub": sub} if sub else {}
    unit["lineItems"] = [item]
    return unit


def _class(package: shipment_pb2.Package, unit: Mapping[str, Any], rules: BolRules) -> str:
    if rules.freight_class != BY_DENSITY:
        return rules.freight_class
    sides = [unit.get(side, 0) for side in ("length", "width", "height")]
    if not all(sides):
        raise Untranslatable(
            f"package {package.number}: its class goes by density and it has no dimensions; set "
            "freight_class, or let the warehouse measure it"
        )
    return density_class(unit["weight"], *sides)


def _unit_type(container: str, rules: BolRules) -> str:
    word = rules.package_types.get(container, rules.package_types.get("", ""))
    if not word:
        raise Untranslatable(
            f"container type {container!r} has no word in the setting package_types: name one there"
        )
    return carrier_labels.packaging_of(container, {container: word}, rules.packaging, "", KIND)


def _pieces(package: shipment_pb2.Package) -> int:
    """What is in it, counted where all of it is countable; else it is one piece."""
    try:
        total = sum((Decimal(each.quantity.value) for each in package.contents), Decimal(0))
    except InvalidOperation:
        return 1
    return int(total) if total > 0 and total == total.to_integral_value() else 1


def _party(party: types_pb2.Party, role: str, default_phone: str) -> dict[str, Any]:
    address = party.address
    country = COUNTRIES.get(address.country_code)
    if country is None:
        raise Untranslatable(f"{role}: freight goes within the United States, Canada and Mexico")
    if not (address.city and address.state and address.postal_code):
        raise Untranslatable(f"{role}: city, state and postal code are needed")
    lines = carrier_labels.address_lines(list(address.lines), role, MAX_LINE, MAX_LINES)
    found: dict[str, Any] = {
        "name": (party.company or party.name)[:MAX_LINE],
        "address1": lines[0],
        "city": address.city,
        "stateProvince": address.state.upper(),
        "postalCode": _postal_code(address),
        "country": country,
    }
    if len(lines) > 1:
        found["address2"] = lines[1]
    phone = _phone(party.phone or default_phone)
    contact = {"name": party.name[:MAX_LINE], **({"phone": phone} if phone else {})}
    if party.name or phone:
        found["contact"] = contact
    return found


def _postal_code(address: types_pb2.Address) -> str:
    """As the standard wants it: of Canada's, whose halves have a blank between them, without it."""
    code = address.postal_code.strip()
    return "".join(code.split()).upper() if address.country_code == "CA" else code


def _phone(text: str) -> str:
    """Ten digits; "" where it has another number of them: the standard knows no other form."""
    digits = "".join(one for one in text if one.isascii() and one.isdigit())
    digits = digits[1:] if len(digits) == PHONE_DIGITS + 1 and digits[0] == "1" else digits
    return digits if len(digits) == PHONE_DIGITS else ""
