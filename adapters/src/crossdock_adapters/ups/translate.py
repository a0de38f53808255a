"""Between the contract and UPS's words for labels: pure functions, no clock, no network.

Scans have their own module, `translate_scans`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from crossdock.label.v1 import label_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock.types.v1 import types_pb2

from crossdock_adapters.sdk import measures
from crossdock_adapters.sdk.carrier_labels import address_lines, find_package, packaging_of
from crossdock_adapters.sdk.mappings import Topic, UnsentWord
from crossdock_adapters.sdk.outcomes import Untranslatable

# What `crossdock map` calls the endpoint.
KIND = "ups"
DOMESTIC = frozenset({"US", "PR"})
# Whose phone numbers UPS takes as area code, seven digits and an extension, without a country code.
NORTH_AMERICAN = frozenset({"US", "PR", "CA", "VI"})
NORTH_AMERICAN_CODE, NORTH_AMERICAN_DIGITS = "1", 10
# The service within a country that needs somebody to ask for, as everything abroad does.
NEXT_DAY_AIR_EARLY = "14"
# Where a service has another code than from the US: types of the service rows in mappings.toml.
ABROAD, UNION = "INTL", "EU"
SERVICE_TABLES = ("CA", "PL", UNION, ABROAD)
# Ground to a home is no service of UPS's own: the same code, and the address is said to be a home.
GROUND, RESIDENTIAL_GROUND = "GROUND", "GROUND_RESIDENTIAL"
UNION_COUNTRIES = frozenset([
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU",
    "IE", "IT", "LT", "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK",
])  # fmt: skip
MAX_TEXT = 35
MAX_DESCRIPTION = 50
# ReturnService: a label that is made here, and printed by the customer.
PRINT_RETURN_LABEL = "9"
MAX_LINES = 3
MAX_CITY = 30
MAX_STATE = 5
MAX_POSTAL_CODE = 9
MAX_PHONE = 15
WEIGHT_STEP = Decimal("0.1")
# Three characters for a side.
LENGTH_STEP = Decimal(1)
SERVICE_CODE = re.compile(r"[0-9A-Z][0-9]")
ORDERED_FORMATS = ("GIF", "ZPL", "EPL")
FORMATS = {
    "GIF": label_pb2.LABEL_FORMAT_GIF,
    "ZPL": label_pb2.LABEL_FORMAT_ZPL,
    "EPL": label_pb2.LABEL_FORMAT_EPL,
    # Nobody can order these two; UPS answers with PNG where GIF was asked for.
    "PNG": label_pb2.LABEL_FORMAT_PNG,
    "PDF": label_pb2.LABEL_FORMAT_PDF,
}


@dataclass(frozen=True, slots=True)
class ShipRules:
    """What a deployment decides about its shipments; made from the endpoint's settings.

    package_types: container type of the warehouse to a word of the package rows. `services`,
    `packaging`, `units`: by the contract's word, UPS's code. service_choices: by the same
    words as `services`, all the codes that UPS has for it.
    """

    account_number: str
    accounts_by_location: Mapping[str, str] = field(default_factory=dict)
    services: Mapping[str, str] = field(default_factory=dict)
    service_choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    packaging_code: str = "02"
    package_types: Mapping[str, str] = field(default_factory=dict)
    packaging: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    label_format: str = "ZPL"

    def account_for(self, location_number: str) -> str:
        """The shipper number that ships from a location."""
        return self.accounts_by_location.get(location_number, self.account_number)

    def packaging_for(self, container: str) -> str:
        """The packaging code of a container type."""
        return packaging_of(
            container, self.package_types, self.packaging, self.packaging_code, KIND
        )


def ship_request(
    shipment: shipment_pb2.Shipment, package_id: str, reference: str, rules: ShipRules
) -> dict[str, Any]:
    """UPS's request for the label of one package; Untranslatable says what does not fit."""
    package = find_package(shipment, package_id)
    origin = shipment.ship_from.address.country_code
    destination = shipment.ship_to.address.country_code
    account = rules.account_for(shipment.ship_from_location_number)
    if not account:
        raise Untranslatable("no UPS account number is set for this location")
    references = _references(reference, shipment.order_number)
    parcel: dict[str, Any] = {
        "Packaging": {"Code": rules.packaging_for(package.container_type)},
        "PackageWeight": _weight(package.weight, origin, rules.units),
    }
    dimensions = _dimensions(package, origin, rules.units)
    if dimensions:
        parcel["Dimensions"] = dimensions
    bill = {"Type": "01", "BillShipper": {"AccountNumber": account}}
    service = service_code(shipment.service_code, origin, rules.services, rules.service_choices)
    asks_for = _asks_for_somebody(shipment, service)
    body: dict[str, Any] = {
        "Description": "Merchandise",
        "Shipper": {**_party(shipment.ship_from, "ship from", asks_for), "ShipperNumber": account},
        "ShipTo": _ship_to(shipment, asks_for),
        "PaymentInformation": {"ShipmentCharge": [bill]},
        "Service": {"Code": service},
        # Present means true: without entitlement UPS answers with published rates only.
        "ShipmentRatingOptions": {"NegotiatedRatesIndicator": ""},
        "Package": [parcel],
    }
    # UPS takes references on the package within the US or PR, on the shipment everywhere else,
    # from one of them to the other, too.
    within = origin == destination and origin in DOMESTIC
    (parcel if within else body)["ReferenceNumber"] = references
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


def return_request(
    shipment: shipment_pb2.Shipment, reference: str, rules: ShipRules
) -> dict[str, Any]:
    """UPS's request for the label of a return, which `shipment` is from the customer to the
    warehouse. The account's holder is the shipper there too, and the customer the ship-from."""
    request = ship_request(shipment, shipment.packages[0].id, reference, rules)
    body = request["ShipmentRequest"]["Shipment"]
    account = body["Shipper"]["ShipperNumber"]
    asks_for = _asks_for_somebody(shipment, body["Service"]["Code"])
    # A warehouse is no home, by whichever service it is sent to.
    warehouse = _party(shipment.ship_to, "ship to", asks_for)
    body["Shipper"] = {**warehouse, "ShipperNumber": account}
    body["ShipFrom"] = _party(shipment.ship_from, "ship from", asks_for)
    body["ShipTo"] = warehouse
    body["ReturnService"] = {"Code": PRINT_RETURN_LABEL}
    body["Description"] = f"Return {shipment.number}"[:MAX_DESCRIPTION]
    # UPS takes a description of the contents of each package of a return.
    body["Package"][0]["Description"] = "Merchandise"
    return request


def service_code(
    service: str,
    origin_country: str,
    services: Mapping[str, str],
    choices: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> str:
    """UPS's code for an ordered service; its meaning depends on the origin country.

    Looks for "CA:GROUND", then in the tables of the origin: from the US and PR alone "GROUND", from
    elsewhere "EU:GROUND" within the Union and "INTL:INTL_EXPRESS" of what goes abroad. A UPS code
    passes; ground to a home without a code of its own is ground. `choices`: by the same names, all
    the codes that UPS has for a word.
    """
    wanted = service.strip().upper()
    own = _own_tables(origin_country)
    words = (wanted, GROUND) if wanted == RESIDENTIAL_GROUND else (wanted,)
    names = [name for word in words for name in _names(word, origin_country)]
    found = next((services[name] for name in names if name in services), None)
    if found is None and SERVICE_CODE.fullmatch(wanted):
        found = wanted
    if found is not None:
        return found
    codes = next((choices[name] for name in names if name in choices), ())
    problem = f"service {service!r} from {origin_country} has no UPS code"
    if codes:
        problem += f" that is sent by itself: UPS sells it as {' or '.join(codes)}"
    if not own:
        # A row for what goes abroad would hold from everywhere.
        setting = f'"{origin_country}:{wanted}"'
        raise Untranslatable(f"{problem}; say it in the setting services, as {setting}")
    types = own if origin_country in DOMESTIC else (*own, ABROAD)
    unsent = UnsentWord(Topic.SERVICE_LEVEL, wanted, types)
    raise Untranslatable.for_want_of(unsent, KIND, problem, codes[0] if codes else "CODE")


def _names(word: str, origin_country: str) -> list[str]:
    """Under which names a word of the contract is looked up, in their order."""
    if origin_country in DOMESTIC:
        return [f"{origin_country}:{word}", word]
    tables = (origin_country, *_own_tables(origin_country), ABROAD)
    return [f"{table}:{word}" for table in tables]


def _own_tables(origin_country: str) -> tuple[str, ...]:
    """The types of the service rows of what is shipped within a country; empty: UPS says none."""
    if origin_country in DOMESTIC:
        return ("",)
    own = (origin_country,) if origin_country in SERVICE_TABLES else ()
    return (*own, UNION) if origin_country in UNION_COUNTRIES else own


def _references(reference: str, order_number: str) -> list[dict[str, str]]:
    """Ours first: UPS prints two, and ours is what a look-up needs."""
    references = [{"Code": "TN", "Value": reference}]
    if order_number and len(order_number) <= MAX_TEXT:
        references.append({"Code": "PO", "Value": order_number})
    return references


def _label_specification(label_format: str) -> dict[str, Any]:
    specification: dict[str, Any] = {"LabelImageFormat": {"Code": label_format}}
    if label_format == "GIF":
        specification["HTTPUserAgent"] = "Mozilla/4.5"
    else:
        specification["LabelStockSize"] = {"Height": "6", "Width": "4"}
    return specification


def _asks_for_somebody(shipment: shipment_pb2.Shipment, service: str) -> bool:
    """Whether UPS wants to know whom to ask for at both ends: abroad, and early in the morning."""
    countries = {party.address.country_code for party in (shipment.ship_from, shipment.ship_to)}
    return len(countries) > 1 or service == NEXT_DAY_AIR_EARLY


def _ship_to(shipment: shipment_pb2.Shipment, asks_for: bool) -> dict[str, Any]:
    """Where to; a home where the address says so, or the service that was ordered."""
    found = _party(shipment.ship_to, "ship to", asks_for)
    if shipment.service_code.strip().upper() == RESIDENTIAL_GROUND:
        found["Address"]["ResidentialAddressIndicator"] = ""
    return found


def _party(party: types_pb2.Party, role: str, asks_for: bool) -> dict[str, Any]:
    """A party as UPS takes it; asks_for: with whom to ask for there, whoever is known."""
    address = party.address
    if len(address.city) > MAX_CITY or len(address.state) > MAX_STATE:
        raise Untranslatable(f"{role}: city or state is longer than UPS takes")
    # Not every country has states, or postal codes: UPS takes no empty ones.
    codes = {"StateProvinceCode": address.state, "PostalCode": _postal_code(address)}
    found: dict[str, Any] = {
        # The company is the addressee where there is one; names print cut at 30 anyway.
        "Name": (party.company or party.name)[:MAX_TEXT],
        "Address": {
            "AddressLine": address_lines(address.lines, role, MAX_TEXT, MAX_LINES),
            "City": address.city,
            **{name: code for name, code in codes.items() if code},
            "CountryCode": address.country_code,
        },
    }
    if asks_for or (party.company and party.name):
        found["AttentionName"] = (party.name or party.company)[:MAX_TEXT]
    phone = _phone(party)
    if phone:
        found["Phone"] = {"Number": phone[:MAX_PHONE]}
    if party.email and len(party.email) <= 50:
        found["EMailAddress"] = party.email
    if party.residential:
        found["Address"]["ResidentialAddressIndicator"] = ""
    return found


def _postal_code(address: types_pb2.Address) -> str:
    code = address.postal_code.strip()
    if address.country_code in NORTH_AMERICAN:
        code = code.replace("-", "").replace(" ", "").upper()
    if len(code) > MAX_POSTAL_CODE:
        raise Untranslatable(f"postal code {code!r} is longer than UPS takes")
    return code


def _phone(party: types_pb2.Party) -> str:
    """The digits of a phone number, without the country code where UPS does not take it."""
    digits = "".join(character for character in party.phone if character.isdigit())
    if party.address.country_code not in NORTH_AMERICAN:
        return digits
    is_long = len(digits) > NORTH_AMERICAN_DIGITS
    return digits.removeprefix(NORTH_AMERICAN_CODE) if is_long else digits


def _imperial(origin_country: str) -> bool:
    """UPS refuses kilograms with inches, and kilograms from the US."""
    return origin_country in DOMESTIC


def _weight(
    quantity: types_pb2.Quantity, origin_country: str, units: Mapping[str, str]
) -> dict[str, Any]:
    """Pounds or kilograms, rounded up to a tenth so that nothing is declared too light."""
    unit = "LBR" if _imperial(origin_country) else "KGM"
    code = measures.word_of(unit, units, KIND)
    value = measures.weight_in(quantity, unit, WEIGHT_STEP)
    return {"UnitOfMeasurement": {"Code": code}, "Weight": measures.plain(value)}


def _dimensions(
    package: shipment_pb2.Package, origin_country: str, units: Mapping[str, str]
) -> dict[str, Any] | None:
    """Whole inches or centimetres, in the same system as the weight, the longest side as length;
    None unless all are given."""
    if not all(package.HasField(side) for side in ("length", "width", "height")):
        return None
    unit = "INH" if _imperial(origin_country) else "CMT"
    code = measures.word_of(unit, units, KIND)

    sides = [
        measures.length_in(quantity, unit, LENGTH_STEP)
        for quantity in (package.length, package.width, package.height)
    ]
    longest = sides.index(max(sides))
    sides[0], sides[longest] = sides[longest], sides[0]
    length, width, height = map(measures.plain, sides)
    return {"UnitOfMeasurement": {"Code": code}, "Length": length, "Width": width, "Height": height}
