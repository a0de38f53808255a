"""What the simulated account holds before anybody calls it: items, customers, warehouses, units.

Invented, fixed and small, so that a demonstration is the same every time. Numbers: items SKU-1001
to SKU-1024, customers CUST-1001 to CUST-1012, locations WH-EAST and WH-WEST. An account with more
countries has a location and four customers in each: DE has WH-RHINE and CUST-2001 on, CA WH-LAKES
and CUST-3001 on.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial

from crossdock_adapters.netsuite.sandbox_records import (
    CUSTOMER,
    ITEM,
    LOCATION,
    UNIT,
    Books,
    Fields,
)

STOCK_PER_LOCATION = Decimal(100_000)

_GOODS = (
    # name, weight, weight unit, length, width, height in inches, stock unit, hazardous
    ("Stainless bottle 750 ml", "0.85", "lb", "11", "3.5", "3.5", "EA", False),
    ("Enamel mug", "11.2", "oz", "5", "4", "4", "EA", False),
    ("Camp kettle 1.2 l", "1.9", "lb", "8", "7", "7", "EA", False),
    ("Folding table", "6.4", "kg", "28", "24", "4", "EA", False),
    ("Head torch", "92", "g", "4", "3", "3", "EA", False),
    ("Lithium power bank 20 Ah", "0.78", "lb", "6", "3", "1", "EA", True),
    ("Gas cartridge 230 g", "0.88", "lb", "4", "4", "4", "EA", True),
    ("Trail socks", "2.6", "oz", "6", "4", "1", "EA", False),
)
_CUSTOMERS = (
    "Alder & Sons Outfitters",
    "Birchwood Trading",
    "Cedar Point Supply",
    "Dogwood Retail Group",
    "Elm Street Sports",
    "Fir Valley Stores",
)
_CUSTOMERS_ABROAD = {
    # country: (currency, first number, names)
    "DE": ("EUR", 2001, ("Ahorn Versand", "Birke & Söhne", "Zur Eiche Handel", "Fichtenhof")),
    "CA": ("CAD", 3001, ("Maple Row Supply", "Les Érables", "Tamarack Outfitters", "Spruce & Co")),
}
_LOCATIONS = (
    # number, name, time zone, phone, street, city, state, zip, country
    (
        "WH-EAST",
        "East Warehouse",
        "America/New_York",
        "+1 732 555 0142",
        "400 Depot Road",
        "Edison",
        "NJ",
        "08817",
        "US",
    ),
    (
        "WH-WEST",
        "West Warehouse",
        "America/Los_Angeles",
        "+1 775 555 0187",
        "1200 Yard Street",
        "Reno",
        "NV",
        "89502",
        "US",
    ),
    (
        "WH-RHINE",
        "Rhine Warehouse",
        "Europe/Berlin",
        "+49 203 5550142",
        "Hafenstraße 40",
        "Duisburg",
        "",
        "47119",
        "DE",
    ),
    (
        "WH-LAKES",
        "Lakes Warehouse",
        "America/Toronto",
        "+1 905 555 0163",
        "88 Depot Crescent",
        "Mississauga",
        "ON",
        "L5S 1R2",
        "CA",
    ),
)
_UNITS = (
    # name, abbreviation, how many base units, is base
    ("Each", "EA", "1", True),
    ("Pair", "PR", "2", False),
    ("Inner pack", "PK", "6", False),
    ("Case", "CS", "24", False),
)
ITEM_COUNT = 24
CUSTOMER_COUNT = 12
HOME = "US"
SEEDED_AT = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


def seed(books: Books, countries: Collection[str] = (HOME,)) -> None:
    """Fill empty books, dated SEEDED_AT; in books that were kept, add what a new country brings,
    dated now, so that whoever asks for changes hears of it."""
    add = partial(_add, books, None if books.records else SEEDED_AT)
    rows = [row for row in _LOCATIONS if row[-1] in countries]
    locations = [add(LOCATION, row[0], _location(*row)) for row in rows]
    for name, abbreviation, rate, base in _UNITS:
        add(UNIT, f"unit-{abbreviation}", _unit(name, abbreviation, rate, base))
    for index in range(CUSTOMER_COUNT):
        number = f"CUST-{1001 + index}"
        name = f"{_CUSTOMERS[index % len(_CUSTOMERS)]} {index // len(_CUSTOMERS) + 1}"
        add(CUSTOMER, number, _customer(number, name, "USD"))
    for country, (currency, first, names) in _CUSTOMERS_ABROAD.items():
        for index, name in enumerate(names if country in countries else ()):
            number = f"CUST-{first + index}"
            add(CUSTOMER, number, _customer(number, name, currency))
    for index in range(ITEM_COUNT):
        number = f"SKU-{1001 + index}"
        internal_id = add(ITEM, number, _item(number, index))
        for location in locations:
            books.on_hand.setdefault((str(internal_id), str(location)), STOCK_PER_LOCATION)


def _add(books: Books, at: datetime | None, record_type: str, number: str, fields: Fields) -> int:
    known = books.find(record_type, f"eid:{number}")
    if known is not None:
        return known.internal_id
    record = books.add(record_type, number, {"isinactive": False, **fields})
    if at is not None:
        record.created = record.modified = at
    return record.internal_id


def _item(number: str, index: int) -> Fields:
    name, weight, weight_unit, length, width, height, unit, hazardous = _GOODS[index % len(_GOODS)]
    return {
        "itemid": number,
        "displayname": f"{name}, style {index // len(_GOODS) + 1}",
        "itemtype": "InvtPart",
        "stockunit": unit,
        "weight": Decimal(weight),
        "weightunit": weight_unit,
        "custitem_length_in": Decimal(length),
        "custitem_width_in": Decimal(width),
        "custitem_height_in": Decimal(height),
        "custitem_hazardous": hazardous,
        "custitem_un_number": ("UN3480" if "Lithium" in name else "UN2037") if hazardous else None,
        "averagecost": Decimal("4.20") + index,
        "taxschedule": "Taxable",
        "islotitem": False,
        "isserialitem": False,
    }


def _customer(number: str, name: str, currency: str) -> Fields:
    return {
        "entityid": number,
        "companyname": name,
        "currency": currency,
        "creditlimit": Decimal(25_000),
        "creditholdoverride": "AUTO",
        "terms": "Net 30",
    }


def _location(number: str, *rest: str) -> Fields:
    name, zone, phone, street, city, state, zip_code, country = rest
    return {
        "name": number,
        "fullname": name,
        "timezone": zone,
        "subsidiary": "Crossdock Demo Inc.",
        "mainaddress": 9001 + [row[0] for row in _LOCATIONS].index(number),
        "address": {
            "addressee": name,
            "addrphone": phone,
            "addr1": street,
            "city": city,
            "state": state,
            "zip": zip_code,
            "country": country,
        },
    }


def _unit(name: str, abbreviation: str, rate: str, base: bool) -> Fields:
    return {
        "unitstype": 1,
        "unitname": name,
        "abbreviation": abbreviation,
        "conversionrate": Decimal(rate),
        "baseunit": base,
    }
