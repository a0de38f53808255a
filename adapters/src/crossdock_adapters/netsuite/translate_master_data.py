"""From rows of NetSuite's tables to items, customers, locations and unit conversions: pure.

A row is what SuiteQL answers under the names of the column settings: text, absent when empty. Only
fields that the ERP owns and the account has a column for are in the mask; what a row cannot say
raises Unreadable, so that the row is kept raw instead; its place is the column, as "/weight".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import TypeAlias

from crossdock.client import request_id
from crossdock.customer.v1 import customer_pb2, customer_service_pb2
from crossdock.item.v1 import item_pb2, item_service_pb2
from crossdock.location.v1 import location_pb2, location_service_pb2
from crossdock.types.v1 import types_pb2
from crossdock.unit.v1 import unit_pb2, unit_service_pb2

from crossdock_adapters.sdk.mappings import Code, Mappings, Topic
from crossdock_adapters.sdk.places import Unreadable

Row: TypeAlias = Mapping[str, str]
Entry: TypeAlias = (
    item_service_pb2.ItemEntry
    | customer_service_pb2.CustomerEntry
    | location_service_pb2.LocationEntry
    | unit_service_pb2.UnitConversionEntry
)

# The type of NetSuite's own list of weight units among the rows of units.
WEIGHT = "weight"
CREDIT_STATUSES = {
    name.removeprefix("CREDIT_STATUS_"): number
    for name, number in customer_pb2.CreditStatus.items()
    if number
}
MAX_SHOWN = 60
QUANTITY_STEP = Decimal("0.000000001")
_UN_NUMBER = re.compile(r"UN[0-9]{4}")
_DECIMAL = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,9})?")
_CURRENCY = re.compile(r"[A-Z]{3}")
_COUNTRY = re.compile(r"[A-Z]{2}")


@dataclass(frozen=True, slots=True)
class MasterDataRules:
    """What differs between accounts; made from the endpoint's settings.

    `mappings` has the rows of units as they are now; `units`, by NetSuite's names and
    abbreviations, goes before them.
    """

    endpoint: str
    mappings: Mappings
    units: Mapping[str, str] = field(default_factory=dict)
    length_unit: str = "INH"
    currency: str = "USD"
    base_units: Mapping[str, str] = field(default_factory=dict)

    def unit(self, name: str, place: str, type_: str = "") -> str:
        """A unit as UN/ECE Recommendation 20 has it. Unreadable: it has no row."""
        codes = [Code(type_, name)]
        found = self.mappings.first(Topic.UNIT, codes)
        own = "" if type_ else self.units.get(name, "")
        if not own and found is None:
            kind = f" --type {type_}" if type_ else ""
            raise Unreadable(
                f"unit {name[:MAX_SHOWN]!r} has no row; say what it means with crossdock map set "
                f"netsuite UNIT CODE{kind} --means WORD --reason …",
                place,
                self.mappings.unread(Topic.UNIT, codes),
            )
        return own or ("" if found is None else found[1].canonical)

    def credit(self, code: str) -> customer_pb2.CreditStatus.ValueType:
        """What a code of credit means; without one NetSuite checks each order. Unreadable: it has
        no row."""
        if not code:
            return customer_pb2.CREDIT_STATUS_REVIEW
        codes = [Code("", code.upper())]
        found = self.mappings.first(Topic.CREDIT_STATUS, codes)
        if found is None or found[1].canonical not in CREDIT_STATUSES:
            raise Unreadable(
                f"credit hold {code[:MAX_SHOWN]!r} has no row; say what it means with crossdock "
                "map set netsuite CREDIT_STATUS CODE --means WORD --reason …",
                "/credit_hold",
                self.mappings.unread(Topic.CREDIT_STATUS, codes),
            )
        return CREDIT_STATUSES[found[1].canonical]


def item_entry(row: Row, rules: MasterDataRules) -> item_service_pb2.ItemEntry:
    """An item: description, unit, status, weight, dimensions, lots and serial numbers, hazard."""
    item = item_pb2.Item(number=_needed(row, "number"))
    inactive = row.get("inactive") == "T"
    item.status = item_pb2.ITEM_STATUS_INACTIVE if inactive else item_pb2.ITEM_STATUS_ACTIVE
    item.status_code = "inactive" if inactive else "active"
    if "description" in row:
        item.description = row["description"][:300]
    if "unit" in row:
        item.base_unit = rules.unit(row["unit"], "/unit")
    if "tax_class" in row:
        item.tax_class = row["tax_class"][:32]
    if "weight" in row:
        unit = rules.unit(row.get("weight_unit", ""), "/weight_unit", WEIGHT)
        item.weight.CopyFrom(_quantity(row, "weight", unit))
    for name in ("length", "width", "height"):
        if name in row:
            getattr(item, name).CopyFrom(_quantity(row, name, rules.length_unit))
    for name in ("lot_controlled", "serial_controlled"):
        if name in row:
            setattr(item, name, row[name] == "T")
    if "hazardous" in row:
        item.hazardous_material.CopyFrom(_hazard(row))
    return item_service_pb2.ItemEntry(item=item)


def customer_entry(row: Row, rules: MasterDataRules) -> customer_service_pb2.CustomerEntry:
    """A customer: name, credit, terms, and its currency where the account has a column for that. An
    inactive one is on hold: nothing is booked for it."""
    number = _needed(row, "number")
    customer = customer_pb2.Customer(number=number, legal_name=row.get("name", number)[:200])
    if row.get("inactive") == "T":
        customer.credit_status = customer_pb2.CREDIT_STATUS_HOLD
        customer.credit_status_code = "inactive"
    else:
        code = row.get("credit_hold", "")
        customer.credit_status = rules.credit(code)
        customer.credit_status_code = code
    if "credit_limit" in row:
        customer.credit_limit.amount = _decimal(row, "credit_limit")
        customer.credit_limit.currency = rules.currency
    if row.get("currency"):
        if not _CURRENCY.fullmatch(row["currency"]):
            raise Unreadable(f"{row['currency'][:MAX_SHOWN]!r} is no ISO 4217 code", "/currency")
        customer.currency = row["currency"]
    if "terms" in row:
        customer.payment_terms = row["terms"][:32]
    return customer_service_pb2.CustomerEntry(customer=customer)


def location_entry(row: Row, rules: MasterDataRules) -> location_service_pb2.LocationEntry:
    """A location: name, company, address, whether it is in use. Its time zone is the WMS's."""
    number = _needed(row, "number")
    location = location_pb2.Location(number=number, active=row.get("inactive") != "T")
    location.name = row.get("name", number)[:100]
    if "company" in row:
        location.company = row["company"][:64]
    if row.get("country"):
        if not _COUNTRY.fullmatch(row["country"]):
            raise Unreadable(f"{row['country']!r} is not an ISO 3166 code", "/country")
        location.address.name = row.get("addressee", location.name)[:100]
        location.address.phone = row.get("phone", "")[:32]
        place = location.address.address
        place.lines.extend(row[name][:100] for name in ("line1", "line2") if row.get(name))
        place.city = row.get("city", "")[:60]
        place.state = row.get("state", "")[:20]
        place.postal_code = row.get("postal_code", "")[:16]
        place.country_code = row["country"]
    return location_service_pb2.LocationEntry(location=location)


def unit_entry(row: Row, rules: MasterDataRules) -> unit_service_pb2.UnitConversionEntry | None:
    """A conversion to the base unit of its units type; None for the base unit itself.

    Also None for units types that do not hold for all items (setting `common_units_types`).
    """
    base = rules.base_units.get(_needed(row, "type"))
    if base is None or row.get("base") == "T":
        return None
    place = "/code" if row.get("code") else "/name"
    unit = rules.unit(row.get("code") or _needed(row, "name"), place)
    conversion = unit_pb2.UnitConversion(
        number=f"*:{unit}:{base}",
        from_unit=unit,
        to_unit=base,
        numerator=_decimal({"rate": _needed(row, "rate")}, "rate"),
        denominator="1",
    )
    return unit_service_pb2.UnitConversionEntry(unit_conversion=conversion)


def complete(
    entry: Entry, kind: str, row: Row, columns: Iterable[str], rules: MasterDataRules
) -> Entry:
    """Add mask, reference and request id. The same row translated alike has the same id."""
    paths = _paths(kind, set(columns))
    entry.update_mask.paths.extend(paths)
    entry.references.append(
        types_pb2.ExternalReference(
            system=rules.endpoint, type=reference_type(kind), value=_needed(row, "id")
        )
    )
    # The date of change has seconds only, and a better translation is a new version too.
    content = hashlib.sha256(entry.SerializeToString(deterministic=True)).hexdigest()
    version = f"{row.get('modified', '')} {content}"
    entry.request_id = request_id(rules.endpoint, f"{kind}/{row['id']}", version)
    return entry


def reference_type(kind: str) -> str:
    """Type of the reference that holds NetSuite's internal id; ids repeat between record types."""
    return kind


def _paths(kind: str, columns: set[str]) -> list[str]:
    """First-level fields the account has columns for, in the order of the contract."""
    return [path for path, needed in _FIELDS[kind].items() if needed <= columns]


_FIELDS: Mapping[str, Mapping[str, set[str]]] = {
    "item": {
        "description": {"description"},
        "base_unit": {"unit"},
        "status": {"inactive"},
        "status_code": {"inactive"},
        "tax_class": {"tax_class"},
        "length": {"length"},
        "width": {"width"},
        "height": {"height"},
        "weight": {"weight", "weight_unit"},
        "hazardous_material": {"hazardous"},
        "lot_controlled": {"lot_controlled"},
        "serial_controlled": {"serial_controlled"},
    },
    "customer": {
        "legal_name": {"name"},
        "credit_status": {"credit_hold", "inactive"},
        "credit_status_code": {"credit_hold", "inactive"},
        "credit_limit": {"credit_limit"},
        "payment_terms": {"terms"},
        "currency": {"currency"},
    },
    "location": {
        "name": {"name"},
        "company": {"company"},
        "address": {"country"},
        "active": {"inactive"},
    },
    "unit_conversion": {
        "from_unit": {"rate"},
        "to_unit": {"rate"},
        "numerator": {"rate"},
        "denominator": {"rate"},
    },
}


def _hazard(row: Row) -> item_pb2.HazardousMaterial:
    if row["hazardous"] != "T":
        return item_pb2.HazardousMaterial(hazardous=False)
    un_number = row.get("un_number", "").replace(" ", "").upper()
    if un_number and not _UN_NUMBER.fullmatch(un_number):
        raise Unreadable(f"{un_number!r} is not a United Nations number", "/un_number")
    return item_pb2.HazardousMaterial(hazardous=True, un_number=un_number)


def _needed(row: Row, name: str) -> str:
    value = row.get(name, "").strip()
    if not value:
        raise Unreadable(f"the row has no {name}", f"/{name}")
    return value


def _quantity(row: Row, name: str, unit: str) -> types_pb2.Quantity:
    return types_pb2.Quantity(value=_decimal(row, name), unit=unit)


def _decimal(row: Row, name: str) -> str:
    """Decimal text as the contract writes it; Oracle leaves out the zero before the point."""
    text = str(row[name])
    try:
        plain = format(Decimal(text).quantize(QUANTITY_STEP), "f")
    except InvalidOperation:
        plain = ""
    if not _DECIMAL.fullmatch(plain):
        raise Unreadable(f"{text[:MAX_SHOWN]!r} is not a decimal number", f"/{name}")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain
