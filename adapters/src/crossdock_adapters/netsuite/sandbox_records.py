"""The simulated account's books: records by internal and external id, and what saving one does.

Nothing here knows HTTP. Bodies are decoded JSON with exact numbers; a refusal is a VendorRefusal in
NetSuite's terms. Sales orders are kept here, item fulfillments in `sandbox_fulfillment`, seed data
in `sandbox_master_data`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, TypeAlias

Fields: TypeAlias = dict[str, Any]

SALES_ORDER = "salesOrder"
ITEM_FULFILLMENT = "itemFulfillment"
ITEM = "inventoryItem"
CUSTOMER = "customer"
LOCATION = "location"
UNIT = "unitsTypeUom"
INVENTORY_NUMBER = "inventoryNumber"
TRANSACTIONS = (SALES_ORDER, ITEM_FULFILLMENT)

PENDING_APPROVAL, PENDING_FULFILLMENT, CANCELLED = "A", "B", "C"
PARTLY_FULFILLED, PARTLY_BILLED, PENDING_BILLING, BILLED, CLOSED = "D", "E", "F", "G", "H"
FULFILLABLE = frozenset({PENDING_FULFILLMENT, PARTLY_FULFILLED, PARTLY_BILLED})


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_HEADER_FIELDS: Mapping[str, frozenset[str]] = {
    SALES_ORDER: _names(
        "externalId entity subsidiary tranDate otherRefNum orderStatus shipMethod shipDate location"
        " shippingAddress item shippingCost memo currency exchangeRate terms salesRep department"
        " class customForm shipComplete"
    ),
    ITEM_FULFILLMENT: _names(
        "externalId shipStatus pickedDate packedDate shippedDate tranDate postingPeriod location"
        " memo shipMethod shipCarrier shippingCost handlingCost item package packageUps"
        " packageFedex packageUsps customForm"
    ),
}
_LINE_FIELDS: Mapping[str, frozenset[str]] = {
    SALES_ORDER: _names(
        "line item quantity rate amount price location taxCode description units isClosed"
    ),
    ITEM_FULFILLMENT: _names(
        "orderLine item quantity itemReceive location inventoryDetail units description"
    ),
}
_CUSTOM_PREFIXES = ("custbody", "custcol", "custitem")


class VendorRefusal(Exception):
    """NetSuite refuses a request: HTTP status, its error code, the text, the JSON path if any."""

    def __init__(self, status: int, code: str, detail: str, path: str = "") -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.path = status, code, detail, path


def user_error(detail: str, path: str = "") -> VendorRefusal:
    """A refusal by a business rule."""
    return VendorRefusal(400, "USER_ERROR", f"Error while accessing a resource. {detail}", path)


def invalid_value(value: object, path: str) -> VendorRefusal:
    """A refusal of one field's value."""
    name = path.rsplit(".", 1)[-1]
    detail = f"Invalid Field Value {value} for the following field: {name}"
    return VendorRefusal(
        400, "INVALID_CONTENT", f"Error while accessing a resource. {detail}", path
    )


def not_found(record_type: str, key: str) -> VendorRefusal:
    """The record is not there, or the role may not see it; the vendor does not say which."""
    detail = f"The record instance does not exist. Provide a valid record instance ID. ({key})"
    return VendorRefusal(404, "NONEXISTENT_ID", detail)


@dataclass
class Record:
    """One record. `lines` are keyed by the line's stable key, which is never reused."""

    type: str
    internal_id: int
    external_id: str | None
    created: datetime
    modified: datetime
    fields: Fields = field(default_factory=dict)
    lines: dict[int, Fields] = field(default_factory=dict)
    next_line_key: int = 1
    times_updated: int = 0
    edited_by_people: list[Fields] = field(default_factory=list)
    deleted: bool = False


@dataclass
class AccountRules:
    """How this account is set up; each differs between real accounts."""

    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    custom_fields: frozenset[str] = frozenset(
        {"custcol_crossdock_line", "custbody_crossdock_order"}
    )
    first_sales_order_number: int = 10001
    first_fulfillment_number: int = 20001
    integrated_ship_methods: Mapping[str, str] = field(default_factory=dict)
    """The sublist of packages by ship method, where that is one of NetSuite's own carriers."""
    written_statuses: frozenset[str] = frozenset({"A", "B"})
    """The values of orderStatus that the record's schema lets be written."""
    closed_through: date | None = None
    """The last day of the last closed accounting period; nothing posts on or before it."""


class Books:
    """Every record of the account, deleted ones included, and counts of what was done to them."""

    def __init__(self, rules: AccountRules) -> None:
        self.rules = rules
        self.records: dict[str, dict[int, Record]] = {}
        self.on_hand: dict[tuple[str, str], Decimal] = {}
        self.transforms: list[Fields] = []
        self._external: dict[tuple[str, str], Record] = {}
        self._fulfillments: dict[int, list[Record]] = {}
        self._next_internal_id = 1001
        self._next_number = {
            SALES_ORDER: rules.first_sales_order_number,
            ITEM_FULFILLMENT: rules.first_fulfillment_number,
        }

    def skip_numbers(self, count: int) -> None:
        """Leave numbers out, so that an account begun anew does not give old ones again."""
        self._next_internal_id += 7 * count
        for record_type in self._next_number:
            self._next_number[record_type] += count

    def living(self, record_type: str) -> Iterator[Record]:
        """Records of a type that are not deleted, oldest first."""
        held = self.records.get(record_type, {})
        return (record for record in held.values() if not record.deleted)

    def find(self, record_type: str, key: str) -> Record | None:
        """By internal id ("123") or external id ("eid:abc")."""
        if key.startswith("eid:"):
            return self._external.get((record_type, key[4:]))
        record = self.records.get(record_type, {}).get(int(key)) if key.isdigit() else None
        return None if record is None or record.deleted else record

    def get(self, record_type: str, key: str) -> Record:
        """As `find`; raises VendorRefusal 404."""
        record = self.find(record_type, key)
        if record is None:
            raise not_found(record_type, key)
        return record

    def resolve(self, record_type: str, reference: Any, path: str) -> Record:
        """The record that `{"id"}` or `{"externalId"}` names; raises VendorRefusal."""
        if isinstance(reference, Mapping):
            if "id" in reference:
                key = str(reference["id"])
            else:
                key = f"eid:{reference.get('externalId', '')}"
            found = self.find(record_type, key)
            if found is not None and found.fields.get("isinactive") is not True:
                return found
            raise invalid_value(reference.get("id", reference.get("externalId")), path)
        raise invalid_value(reference, path)

    def add(self, record_type: str, external_id: str | None, fields: Fields) -> Record:
        """Store a new record under a fresh internal id. Raises VendorRefusal for a taken key."""
        self.refuse_taken(record_type, external_id)
        now = self.rules.clock()
        record = Record(record_type, self._next_internal_id, external_id, now, now, fields)
        self._next_internal_id += 7
        if record_type in self._next_number:
            prefix = "SO" if record_type == SALES_ORDER else "IF"
            record.fields["tranId"] = f"{prefix}{self._next_number[record_type]}"
            self._next_number[record_type] += 1
        self.records.setdefault(record_type, {})[record.internal_id] = record
        if external_id:
            self._external[record_type, external_id] = record
        if record_type == ITEM_FULFILLMENT:
            self._fulfillments.setdefault(fields["createdFrom"], []).append(record)
        return record

    def refuse_taken(self, record_type: str, external_id: str | None) -> None:
        """Transactions share one space of external ids; other types have one each."""
        family = TRANSACTIONS if record_type in TRANSACTIONS else (record_type,)
        if external_id and any((member, external_id) in self._external for member in family):
            raise user_error("This record already exists (duplicate externalId).", "externalId")

    def delete(self, record: Record) -> None:
        """Delete a transaction; an order with fulfillments is refused."""
        self.refuse_closed_period(record.fields.get("tranDate"))
        if record.type == SALES_ORDER and any(self.fulfillments_of(record)):
            raise user_error("This record cannot be deleted because it has dependent records.")
        record.deleted = True
        self._external.pop((record.type, record.external_id or ""), None)
        record.modified = self.rules.clock()

    def fulfillments_of(self, order: Record) -> Iterator[Record]:
        """Living item fulfillments created from an order."""
        held = self._fulfillments.get(order.internal_id, [])
        return (record for record in held if not record.deleted)

    def refuse_closed_period(self, day: str | None) -> None:
        """Raises VendorRefusal when the posting period of that day is closed."""
        closed = self.rules.closed_through
        posting = date.fromisoformat(day) if day else self.rules.clock().date()
        if closed is not None and posting <= closed:
            raise user_error("You cannot post to a closed accounting period.", "tranDate")


def check_names(books: Books, record_type: str, body: Fields, *, refuse: bool) -> Fields:
    """The body without names the record does not have; with `refuse`, such a name is an error."""
    allowed = _HEADER_FIELDS.get(record_type)
    if allowed is None:
        raise VendorRefusal(400, "INVALID_CONTENT", f"Record {record_type} cannot be written here.")
    kept = _kept(books, body, allowed, "", refuse)
    for index, line in enumerate(sublist(body, "item")):
        _kept(books, line, _LINE_FIELDS[record_type], f"item.items[{index}].", refuse)
    return kept


def sublist(body: Mapping[str, Any], name: str) -> Sequence[Fields]:
    """The lines of `{"name": {"items": [...]}}`; raises VendorRefusal when it has another shape."""
    block = body.get(name)
    if block is None:
        return []
    lines = block.get("items") if isinstance(block, Mapping) else None
    if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines):
        raise invalid_value(block, name)
    return lines


def save_sales_order(
    books: Books,
    record: Record | None,
    external_id: str | None,
    body: Fields,
    replaced: frozenset[str],
) -> Record:
    """Create or change a sales order; the body holds known names only. Raises VendorRefusal.

    Lines with a `line` key change that line; others are added. Naming `item` in `replaced` drops
    the lines that the body does not mention.
    """
    header = _order_header(books, record, body)
    if record is None and "entity" not in header:
        raise invalid_value("", "entity")
    lines = _order_lines(books, record, body, "item" in replaced)
    if not lines:
        raise user_error("Please enter a line item for this transaction.", "item")
    if record is None:
        record = books.add(SALES_ORDER, external_id, {"orderStatus": PENDING_APPROVAL})
    else:
        record.times_updated += 1
        record.modified = books.rules.clock()
    record.fields.update(header)
    record.lines.clear()
    for key, line in lines:
        record.lines[key or record.next_line_key] = line
        record.next_line_key = max(record.next_line_key, key or record.next_line_key) + 1
    refresh_order_status(books, record)
    return record


def fulfilled(books: Books, order: Record, line_key: int, statuses: str = "ABC") -> Decimal:
    """Quantity of an order line on fulfillments in any of the given ship statuses."""
    return sum(
        (
            line["quantity"]
            for record in books.fulfillments_of(order)
            if record.fields["shipStatus"] in statuses
            for line in record.lines.values()
            if line["orderLine"] == line_key
        ),
        Decimal(0),
    )


def refresh_order_status(books: Books, order: Record) -> None:
    """Move the order to the status that its shipped quantities imply; final ones stay."""
    status = order.fields["orderStatus"]
    if status not in {PENDING_FULFILLMENT, PARTLY_FULFILLED, PENDING_BILLING}:
        return
    shipped = {key: fulfilled(books, order, key, "C") for key in order.lines}
    open_lines = {key: line for key, line in order.lines.items() if not line.get("isClosed")}
    if not open_lines and not any(shipped.values()):
        order.fields["orderStatus"] = CLOSED
    elif all(shipped[key] >= line["quantity"] for key, line in open_lines.items()):
        order.fields["orderStatus"] = PENDING_BILLING
    elif any(shipped.values()):
        order.fields["orderStatus"] = PARTLY_FULFILLED
    else:
        order.fields["orderStatus"] = PENDING_FULFILLMENT


def _kept(books: Books, body: Fields, allowed: frozenset[str], prefix: str, refuse: bool) -> Fields:
    kept: Fields = {}
    for name, value in body.items():
        custom = name.startswith(_CUSTOM_PREFIXES) and name in books.rules.custom_fields
        if name in allowed or custom:
            kept[name] = value
        elif refuse:
            detail = f"Invalid content in the request body. Unknown property: {name}"
            raise VendorRefusal(400, "INVALID_CONTENT", detail, prefix + name)
    if prefix:
        for name in set(body) - set(kept):
            del body[name]
    return kept


def _order_header(books: Books, record: Record | None, body: Fields) -> Fields:
    header = {name: value for name, value in body.items() if name not in {"item", "externalId"}}
    if "entity" in header:
        header["entity"] = books.resolve(CUSTOMER, header["entity"], "entity").internal_id
    if "location" in header:
        header["location"] = books.resolve(LOCATION, header["location"], "location").internal_id
    if "tranDate" in header:
        books.refuse_closed_period(_day(header["tranDate"], "tranDate"))
    if "orderStatus" in header:
        header["orderStatus"] = _wanted_status(books, record, header["orderStatus"])
    elif record is not None and record.fields["orderStatus"] in {CLOSED, CANCELLED, BILLED}:
        raise user_error("Invalid sales order: it is already closed.", "orderStatus")
    return header


def _wanted_status(books: Books, record: Record | None, reference: Any) -> str:
    wanted = str(reference.get("id")) if isinstance(reference, Mapping) else str(reference)
    if record is None:
        if wanted not in {PENDING_APPROVAL, PENDING_FULFILLMENT}:
            raise invalid_value(wanted, "orderStatus")
        return wanted
    now = str(record.fields["orderStatus"])
    if wanted == now:
        return now
    if wanted not in books.rules.written_statuses:
        raise invalid_value(wanted, "orderStatus")
    if now in {CLOSED, CANCELLED, BILLED}:
        raise user_error("Invalid sales order: it is already closed.", "orderStatus")
    if wanted == CANCELLED and any(books.fulfillments_of(record)):
        raise user_error("This order has fulfillments and cannot be cancelled.", "orderStatus")
    starting = {PENDING_APPROVAL, PENDING_FULFILLMENT}
    if wanted in starting and now in {PARTLY_FULFILLED, PENDING_BILLING}:
        return now
    if wanted not in starting | {CANCELLED, CLOSED}:
        raise invalid_value(wanted, "orderStatus")
    return wanted


def _order_lines(
    books: Books, record: Record | None, body: Fields, replace: bool
) -> list[tuple[int, Fields]]:
    held = dict(record.lines) if record is not None else {}
    given: dict[int, Fields] = {}
    added: list[Fields] = []
    for index, line in enumerate(sublist(body, "item")):
        path = f"item.items[{index}]"
        key = int(line.get("line", 0))
        if key and key not in held:
            raise invalid_value(key, f"{path}.line")
        saved = {**held.get(key, {}), **_order_line(books, line, key not in held, path)}
        if key:
            _refuse_below_fulfilled(books, record, key, saved["quantity"], path)
            given[key] = saved
        else:
            added.append(saved)
    kept = {} if replace and "item" in body else held
    for key in held.keys() - kept.keys() - given.keys():
        _refuse_below_fulfilled(books, record, key, Decimal(0), "item")
    return [*sorted({**kept, **given}.items()), *((0, line) for line in added)]


def _order_line(books: Books, line: Fields, new: bool, path: str) -> Fields:
    saved = {name: value for name, value in line.items() if name != "line"}
    if new or "item" in saved:
        saved["item"] = books.resolve(ITEM, saved.get("item"), f"{path}.item").internal_id
    if new or "quantity" in saved:
        saved["quantity"] = _positive(saved.get("quantity"), f"{path}.quantity")
    if not isinstance(saved.get("units", ""), str):
        raise invalid_value(saved["units"], f"{path}.units")
    if "location" in saved:
        location = books.resolve(LOCATION, saved["location"], f"{path}.location")
        saved["location"] = location.internal_id
    return saved


def _refuse_below_fulfilled(
    books: Books, order: Record | None, key: int, quantity: Decimal, path: str
) -> None:
    if order is not None and quantity < fulfilled(books, order, key):
        raise user_error("The line's quantity is below what is fulfilled.", path)


def _positive(value: Any, path: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or value <= 0:
        raise invalid_value(value, path)
    return Decimal(value)


def _day(value: Any, path: str) -> str:
    try:
        return date.fromisoformat(str(value)).isoformat()
    except ValueError:
        raise invalid_value(value, path) from None
