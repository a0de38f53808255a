"""How the simulated account shows its books: record answers, SuiteQL rows, and GET /books."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from crossdock_adapters.netsuite.sandbox_records import (
    CUSTOMER,
    INVENTORY_NUMBER,
    ITEM,
    ITEM_FULFILLMENT,
    LOCATION,
    SALES_ORDER,
    UNIT,
    Books,
    Fields,
    Record,
    fulfilled,
)
from crossdock_adapters.netsuite.sandbox_suiteql import Value

ORDER_STATUS_NAMES = {
    "A": "Pending Approval",
    "B": "Pending Fulfillment",
    "C": "Cancelled",
    "D": "Partially Fulfilled",
    "E": "Pending Billing/Partially Fulfilled",
    "F": "Pending Billing",
    "G": "Billed",
    "H": "Closed",
}
SHIP_STATUS_NAMES = {"A": "Picked", "B": "Packed", "C": "Shipped"}
_REFERENCES = {"entity": CUSTOMER, "location": LOCATION, "item": ITEM, "createdFrom": SALES_ORDER}
_TABLES = {
    "item": ITEM,
    "customer": CUSTOMER,
    "location": LOCATION,
    "unitstypeuom": UNIT,
    "inventorynumber": INVENTORY_NUMBER,
}
_TRANSACTION_TYPES = {SALES_ORDER: "SalesOrd", ITEM_FULFILLMENT: "ItemShip"}


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_DATED_COLUMNS = frozenset({"id", "externalid", "lastmodifieddate"})
_OWN_COLUMNS = {
    "item": _DATED_COLUMNS
    | _names(
        "itemid displayname itemtype stockunit weight weightunit averagecost taxschedule isinactive"
        " custitem_length_in custitem_width_in custitem_height_in custitem_hazardous"
        " custitem_un_number islotitem isserialitem"
    ),
    "customer": _DATED_COLUMNS
    | _names("entityid companyname currency creditlimit creditholdoverride terms isinactive"),
    "location": _DATED_COLUMNS | _names("name fullname timezone subsidiary mainaddress isinactive"),
    "locationmainaddress": _names("nkey addressee addrphone addr1 addr2 city state zip country"),
    "unitstypeuom": _names("internalid unitstype unitname abbreviation conversionrate baseunit"),
    "inventorynumber": _names("id item inventorynumber"),
    "transaction": _DATED_COLUMNS | _names("tranid type status entity trandate"),
}


def columns() -> Mapping[str, frozenset[str]]:
    """SuiteQL tables and their columns."""
    return _OWN_COLUMNS


def rows(books: Books, table: str, zone: ZoneInfo) -> list[dict[str, Value]]:
    """Rows of a SuiteQL table; dates are wall-clock time of the account, to the second."""
    if table == "locationmainaddress":
        return [
            {**record.fields["address"], "nkey": record.fields["mainaddress"]}
            for record in books.living(LOCATION)
            if "mainaddress" in record.fields
        ]
    if table == "transaction":
        return [
            {
                **_dated(record, zone),
                "tranid": record.fields["tranId"],
                "type": _TRANSACTION_TYPES[kind],
                "status": f"{_TRANSACTION_TYPES[kind]}:{_status(record)}",
                "entity": record.fields["entity"],
                "trandate": str(record.fields["tranDate"]),
            }
            for kind in (SALES_ORDER, ITEM_FULFILLMENT)
            for record in books.living(kind)
        ]
    living = books.living(_TABLES[table])
    if table == "unitstypeuom":
        return [{**record.fields, "internalid": record.internal_id} for record in living]
    return [{**record.fields, **_dated(record, zone)} for record in living]


def suiteql_item(row: Mapping[str, Value]) -> dict[str, Any]:
    """A result row as SuiteQL answers it: everything is text, empty columns are absent."""
    return {"links": [], **{name: _text(value) for name, value in row.items() if value is not None}}


def record_answer(
    books: Books, record: Record, base_url: str, only: Sequence[str], expand: bool
) -> dict[str, Any]:
    """A record as GET answers it; sublists are links unless expanded."""
    href = f"{base_url}/services/rest/record/v1/{record.type}/{record.internal_id}"
    answer: dict[str, Any] = {
        "links": [{"rel": "self", "href": href}],
        "id": str(record.internal_id),
        "createdDate": _instant(record.created),
        "lastModifiedDate": _instant(record.modified),
    }
    if record.external_id:
        answer["externalId"] = record.external_id
    for name, value in record.fields.items():
        if name == "packages":
            answer["package"] = _block(f"{href}/package", value, expand)
        elif value is not None and name != "address":
            answer[name] = _shown(books, name, value)
    if record.type in _TRANSACTION_TYPES:
        shown = [_line(books, record, line_key) for line_key in record.lines]
        answer["item"] = _block(f"{href}/item", shown, expand)
        answer["status"] = _shown(books, _status_field(record), _status(record))
    if only:
        answer = {name: answer[name] for name in ("links", *only) if name in answer}
    return answer


def proof(books: Books) -> dict[str, Any]:
    """The books for GET /books: what exists, what was deleted, how often each was touched."""
    return {
        "sales_orders": [_proof_of(record) for record in _all(books, SALES_ORDER)],
        "item_fulfillments": [_proof_of(record) for record in _all(books, ITEM_FULFILLMENT)],
        "sales_orders_by_external_id": _counts(books, SALES_ORDER),
        "item_fulfillments_by_external_id": _counts(books, ITEM_FULFILLMENT),
        "transforms": books.transforms,
        "document_numbers": {
            str(record.fields["tranId"]): record.external_id
            for kind in (SALES_ORDER, ITEM_FULFILLMENT)
            for record in _all(books, kind)
        },
        "on_hand": [
            {"item": item, "location": location, "quantity": quantity}
            for (item, location), quantity in sorted(books.on_hand.items())
        ],
        "inventory_numbers": [
            {
                "item": record.fields["item"],
                "number": record.fields["inventorynumber"],
                "location": location,
                "quantity": quantity,
            }
            for record in books.living(INVENTORY_NUMBER)
            for location, quantity in record.fields["on_hand"].items()
        ],
        "master_data": {
            kind: [
                {"internal_id": record.internal_id, "number": record.external_id}
                for record in books.living(kind)
            ]
            for kind in (ITEM, CUSTOMER, LOCATION)
        },
    }


def _all(books: Books, record_type: str) -> list[Record]:
    return list(books.records.get(record_type, {}).values())


def _counts(books: Books, record_type: str) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for record in _all(books, record_type):
        entry = counts.setdefault(
            record.external_id or "", {"created": 0, "updated": 0, "deleted": 0}
        )
        entry["created"] += 1
        entry["updated"] += record.times_updated
        entry["deleted"] += record.deleted
    return counts


def _proof_of(record: Record) -> dict[str, Any]:
    return {
        "internal_id": record.internal_id,
        "external_id": record.external_id,
        "deleted": record.deleted,
        "times_updated": record.times_updated,
        "edited_by_people": record.edited_by_people,
        "created": record.created,
        "fields": record.fields,
        "lines": [{"line": key, **line} for key, line in record.lines.items()],
    }


def _status_field(record: Record) -> str:
    return "orderStatus" if record.type == SALES_ORDER else "shipStatus"


def _status(record: Record) -> str:
    return str(record.fields[_status_field(record)])


def _dated(record: Record, zone: ZoneInfo) -> dict[str, Value]:
    modified = record.modified.astimezone(zone).replace(tzinfo=None, microsecond=0)
    return {
        "id": record.internal_id,
        "externalid": record.external_id,
        "lastmodifieddate": modified,
    }


def _line(books: Books, record: Record, line_key: int) -> Fields:
    held = record.lines[line_key]
    shown = {name: _shown(books, name, value) for name, value in held.items()}
    if record.type == SALES_ORDER:
        shown["line"] = line_key
        shown["quantityFulfilled"] = fulfilled(books, record, line_key, "C")
        shown["quantityPicked"] = fulfilled(books, record, line_key)
        shown["isClosed"] = held.get("isClosed", False)
    return shown


def _shown(books: Books, name: str, value: Any) -> Any:
    if name in _REFERENCES and isinstance(value, int):
        target = books.records[_REFERENCES[name]].get(value)
        label = "" if target is None else str(target.fields.get("tranId") or target.external_id)
        return {"links": [], "id": str(value), "refName": label}
    if name == "orderStatus":
        return {"id": value, "refName": ORDER_STATUS_NAMES[value]}
    if name == "shipStatus":
        return {"id": value, "refName": SHIP_STATUS_NAMES.get(value, value)}
    return value


def _block(href: str, lines: Sequence[Fields], expand: bool) -> dict[str, Any]:
    block: dict[str, Any] = {"links": [{"rel": "self", "href": href}]}
    if expand:
        block.update(items=list(lines), count=len(lines), hasMore=False, offset=0)
        block["totalResults"] = len(lines)
    return block


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, datetime):
        return f"{value.month}/{value.day}/{value.year}"
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
