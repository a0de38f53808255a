"""Between the contract and FedEx's words for shipments: pure functions, no clock, no network.

Scans have their own module, `translate_scans`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from crossdock.label.v1 import label_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock.types.v1 import types_pb2

from crossdock_adapters.fedex.client import MAX_PIECES
from crossdock_adapters.sdk import measures
from crossdock_adapters.sdk.carrier_labels import address_lines, packaging_of
from crossdock_adapters.sdk.mappings import Topic, UnsentWord
from crossdock_adapters.sdk.outcomes import Untranslatable

# What `crossdock map` calls the endpoint.
KIND = "fedex"
# The table of the services across this border.
CROSS_BORDER = "US-CA"
# Origins that weigh in pounds; FedEx refuses mixed systems within a shipment.
IMPERIAL = frozenset({"US", "PR"})
GROUND, RESIDENTIAL_GROUND, CROSS_BORDER_GROUND = "GROUND", "GROUND_RESIDENTIAL", "INTL_GROUND"
PICKUP_TYPES = ("USE_SCHEDULED_PICKUP", "CONTACT_FEDEX_TO_SCHEDULE", "DROPOFF_AT_FEDEX_LOCATION")
RETURN_PAYERS = ("SENDER", "RECIPIENT")
# Of FedEx's services the one that it sells to a residence alone.
HOME_DELIVERY = "GROUND_HOME_DELIVERY"
MAX_TEXT = 35
MAX_LINES = 3
MAX_PERSON = 70
MAX_POSTAL_CODE = 10
MAX_EMAIL = 80
MIN_PHONE, MAX_PHONE = 10, 15
MAX_REFERENCE = 40
WEIGHT_STEP = Decimal("0.1")
WHOLE = Decimal(1)


@dataclass(frozen=True, slots=True)
class LabelKind:
    """A label as the contract names it, FedEx's word for it, and the stock that goes with it."""

    format: label_pb2.LabelFormat.ValueType
    image_type: str
    stock: str


# Thermal printers take STOCK_*, sheets PAPER_*: FedEx refuses the mixture.
KINDS = {
    "ZPL": LabelKind(label_pb2.LABEL_FORMAT_ZPL, "ZPLII", "STOCK_4X6"),
    "EPL": LabelKind(label_pb2.LABEL_FORMAT_EPL, "EPL2", "STOCK_4X6"),
    "PDF": LabelKind(label_pb2.LABEL_FORMAT_PDF, "PDF", "PAPER_4X6"),
    "PNG": LabelKind(label_pb2.LABEL_FORMAT_PNG, "PNG", "PAPER_4X6"),
}
FORMATS = {kind.image_type: kind.format for kind in KINDS.values()}


@dataclass(frozen=True, slots=True)
class ShipRules:
    """What a deployment decides about its shipments; made from the endpoint's settings.

    package_types: container type of the warehouse to a word of the package rows. `services`,
    `units`, `packaging`: by the contract's word, FedEx's code.
    """

    account_number: str
    accounts_by_location: Mapping[str, str] = field(default_factory=dict)
    services: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    packaging_type: str = "YOUR_PACKAGING"
    package_types: Mapping[str, str] = field(default_factory=dict)
    packaging: Mapping[str, str] = field(default_factory=dict)
    pickup_type: str = "USE_SCHEDULED_PICKUP"
    label_format: str = "ZPL"
    label_stock: str = ""
    default_phone: str = ""
    payment_type: str = "SENDER"

    def account_for(self, location_number: str) -> str:
        """The account that ships from a location. Untranslatable when none is set."""
        found = self.accounts_by_location.get(location_number, self.account_number)
        if not found:
            raise Untranslatable(f"no FedEx account number is set for location {location_number}")
        return found

    @property
    def kind(self) -> LabelKind:
        """The kind of label that is asked for. Untranslatable: FedEx makes none of that kind."""
        found = KINDS.get(self.label_format.upper())
        if found is None:
            raise Untranslatable(f"label_format {self.label_format}: one of {', '.join(KINDS)}")
        return found


def label_specification(rules: ShipRules) -> dict[str, str]:
    """The label that a confirmation asks for."""
    kind = rules.kind
    return {
        "imageType": kind.image_type,
        "labelStockType": rules.label_stock or kind.stock,
        "labelFormatType": "COMMON2D",
    }


def requested_shipment(
    shipment: shipment_pb2.Shipment,
    packages: Sequence[shipment_pb2.Package],
    reference: str,
    rules: ShipRules,
) -> dict[str, Any]:
    """FedEx's words for a shipment of these packages; Untranslatable says what does not fit.

    `reference` goes on each package, for a search by it. Without a ship date FedEx takes today,
    as the sender's calendar has it.
    """
    if len(packages) > MAX_PIECES:
        raise Untranslatable(
            f"{len(packages)} packages: FedEx takes {MAX_PIECES} of one shipment at once; "
            "set multi_piece = false to buy each on its own"
        )
    # The confirmation asks for the label; one that FedEx does not make is not worth an opening.
    label_specification(rules)
    origin = shipment.ship_from.address.country_code
    weight_unit, length_unit = ("LBR", "INH") if origin in IMPERIAL else ("KGM", "CMT")
    weights = [measures.weight_in(each.weight, weight_unit, WEIGHT_STEP) for each in packages]
    lines = [
        _line_item(position, package, weight, (weight_unit, length_unit), rules.units)
        for position, (package, weight) in enumerate(zip(packages, weights, strict=True), start=1)
    ]
    references = _references(reference, shipment.order_number)
    account = {"value": rules.account_for(shipment.ship_from_location_number)}
    service = service_type(shipment, rules.services)
    recipient = _party(shipment.ship_to, "ship to", rules)
    if service == HOME_DELIVERY:
        # Who orders it says so, whether or not the address does.
        recipient["address"]["residential"] = True
    return {
        "pickupType": rules.pickup_type,
        "serviceType": service,
        "packagingType": packaging_type(packages, rules),
        "totalWeight": sum(weights, Decimal(0)),
        "shipper": _party(shipment.ship_from, "ship from", rules),
        "recipients": [recipient],
        "shippingChargesPayment": {
            "paymentType": rules.payment_type,
            "payor": {"responsibleParty": {"accountNumber": account}},
        },
        "requestedPackageLineItems": [{**line, "customerReferences": references} for line in lines],
    }


def requested_return(
    shipment: shipment_pb2.Shipment, reference: str, rules: ShipRules
) -> dict[str, Any]:
    """FedEx's words for a return, which `shipment` is from the customer to the warehouse: a label
    that the customer prints. The number of the authorisation goes on it, as far as FedEx takes it.
    """
    ordered = shipment.service_code.strip().upper()
    if ordered == RESIDENTIAL_GROUND and not shipment.ship_to.residential:
        # A warehouse is no home.
        ordered_shipment, shipment = shipment, shipment_pb2.Shipment()
        shipment.CopyFrom(ordered_shipment)
        shipment.service_code = GROUND
    requested = requested_shipment(shipment, shipment.packages, reference, rules)
    if len(shipment.number) <= MAX_REFERENCE:
        authorised = {"customerReferenceType": "RMA_ASSOCIATION", "value": shipment.number}
        for line in requested["requestedPackageLineItems"]:
            line["customerReferences"] = [*line["customerReferences"], authorised]
    requested["shipmentSpecialServices"] = {
        "specialServiceTypes": ["RETURN_SHIPMENT"],
        "returnShipmentDetail": {"returnType": "PRINT_RETURN_LABEL"},
    }
    return requested


def packaging_type(packages: Sequence[shipment_pb2.Package], rules: ShipRules) -> str:
    """FedEx's packaging type; it is of the whole shipment. Untranslatable: they have several."""
    found = {
        packaging_of(
            each.container_type, rules.package_types, rules.packaging, rules.packaging_type, KIND
        )
        for each in packages
    }
    if len(found) > 1:
        raise Untranslatable(
            f"the packages are {', '.join(sorted(found))}, and a FedEx shipment has one packaging "
            "type: set multi_piece = false to buy each on its own"
        )
    return found.pop()


def service_type(shipment: shipment_pb2.Shipment, services: Mapping[str, str]) -> str:
    """FedEx's service for the one ordered; its own service types pass.

    Ground to a residence is another service, and so is ground across a border.
    """
    wanted = shipment.service_code.strip().upper()
    if wanted == GROUND and shipment.ship_to.residential:
        wanted = RESIDENTIAL_GROUND
    countries = {p.address.country_code for p in (shipment.ship_from, shipment.ship_to)}
    if wanted in (GROUND, RESIDENTIAL_GROUND) and countries == {"US", "CA"}:
        wanted = CROSS_BORDER_GROUND
    found = services.get(wanted)
    if found is None and wanted in services.values():
        found = wanted
    if found is None:
        unsent = UnsentWord(Topic.SERVICE_LEVEL, wanted, ("", CROSS_BORDER))
        problem = f"service {shipment.service_code!r} has no FedEx service type"
        raise Untranslatable.for_want_of(unsent, "fedex", problem)
    return found


def _line_item(
    sequence: int,
    package: shipment_pb2.Package,
    weight: Decimal,
    units: tuple[str, str],
    native: Mapping[str, str],
) -> dict[str, Any]:
    weight_unit, length_unit = units
    line: dict[str, Any] = {
        "sequenceNumber": str(sequence),
        "weight": {"units": measures.word_of(weight_unit, native, KIND), "value": weight},
    }
    if all(package.HasField(side) for side in ("length", "width", "height")):
        # Whole numbers only: FedEx cuts the rest off, we round it up.
        line["dimensions"] = {
            "length": int(measures.length_in(package.length, length_unit, WHOLE)),
            "width": int(measures.length_in(package.width, length_unit, WHOLE)),
            "height": int(measures.length_in(package.height, length_unit, WHOLE)),
            "units": measures.word_of(length_unit, native, KIND),
        }
    return line


def _references(reference: str, order_number: str) -> list[dict[str, str]]:
    references = [{"customerReferenceType": "CUSTOMER_REFERENCE", "value": reference}]
    if order_number and len(order_number) <= MAX_REFERENCE:
        references.append({"customerReferenceType": "P_O_NUMBER", "value": order_number})
    return references


def _party(party: types_pb2.Party, role: str, rules: ShipRules) -> dict[str, Any]:
    address = party.address
    if len(address.city) > MAX_TEXT or len(address.postal_code) > MAX_POSTAL_CODE:
        raise Untranslatable(f"{role}: city or postal code is longer than FedEx takes")
    given = party.phone or rules.default_phone
    phone = "".join(character for character in given if character.isdigit())
    if not MIN_PHONE <= len(phone) <= MAX_PHONE:
        raise Untranslatable(
            f"{role}: FedEx needs a phone number of {MIN_PHONE} to {MAX_PHONE} digits; "
            "set default_phone for those without one"
        )
    contact: dict[str, Any] = {"phoneNumber": phone}
    if party.name:
        contact["personName"] = party.name[:MAX_PERSON]
    if party.company:
        contact["companyName"] = party.company[:MAX_TEXT]
    if party.email and len(party.email) <= MAX_EMAIL:
        contact["emailAddress"] = party.email
    # Not every country has states, or postal codes: those are left out, not sent empty.
    codes = {"stateOrProvinceCode": address.state, "postalCode": address.postal_code}
    return {
        "contact": contact,
        "address": {
            "streetLines": address_lines(address.lines, role, MAX_TEXT, MAX_LINES),
            "city": address.city,
            **{name: code for name, code in codes.items() if code},
            "countryCode": address.country_code,
            "residential": party.residential,
        },
    }
