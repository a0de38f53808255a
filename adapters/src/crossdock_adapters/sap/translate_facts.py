"""From SAP's events and documents to facts of the contract: pure.

An event carries a key and nothing else; what it is about is read. A document that cannot be put
into the contract's words raises Unreadable with its place: the key is kept, and read again later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from crossdock.client import request_id
from crossdock.customer.v1 import customer_pb2, customer_service_pb2
from crossdock.item.v1 import item_pb2, item_service_pb2
from crossdock.order.v1 import order_service_pb2
from crossdock.types.v1 import types_pb2
from google.protobuf.message import Message

from crossdock_adapters.sap import odata
from crossdock_adapters.sdk.mappings import Code, Mappings, Topic, UnreadCodes
from crossdock_adapters.sdk.places import Unreadable, inside, pointer

Row = Mapping[str, Any]
# The contract's unit for a unit of SAP's; "" where no row says it.
UnitMeaning = Callable[[str], str]

PRODUCT, CUSTOMER, SALES_ORDER = "Product", "BusinessPartner", "SalesOrder"
TYPE_START: Final = "sap.s4.beh."
MAX_NAME: Final = 200
MAX_DESCRIPTION: Final = 300
MAX_CODE: Final = 32
MAX_KEY: Final = 40
MAX_BLOCK: Final = 64
CREDIT_CHECK: Final = "TotalCreditCheckStatus"
# Words of CreditStatus by which SAP delivers nothing until somebody releases the order.
CREDIT_BLOCKS: Final = frozenset({"HOLD", "REVIEW"})


@dataclass(frozen=True, slots=True)
class Change:
    """What an event says: an object of a kind has changed, or is new."""

    kind: str
    key: str
    event_id: str


def event_of(payload: Any, kinds: Mapping[str, str]) -> Change:
    """A CloudEvent. kinds: of objects that are read, with the property of their key.

    Unreadable: a place is missing or of another kind, or nobody has said what the type means.
    """
    if not isinstance(payload, Mapping):
        raise Unreadable("is no JSON object")
    type_ = _text(payload, "type")
    parts = type_.removeprefix(TYPE_START).split(".")
    # sap.s4.beh.<object>.v1.<Object>.<Action>.v1
    if not type_.startswith(TYPE_START) or len(parts) != 5:
        raise Unreadable(f"{type_!r} is no type of a business event", "/type")
    kind, action = parts[2], parts[3]
    if kind not in kinds or action not in ("Created", "Changed"):
        raise Unreadable(f"nobody has said what {type_!r} means", "/type")
    data = payload.get("data")
    if not isinstance(data, Mapping):
        raise Unreadable("is no object", "/data")
    with inside("/data"):
        key = _text(data, kinds[kind], MAX_KEY)
    return Change(kind, key, odata.said(payload, "id")[:MAX_KEY])


def item_entry(row: Row, etag: str, endpoint: str, unit: UnitMeaning) -> Message:
    """A product as an item: description, base unit, status, weight, lots, serial numbers."""
    number = _text(row, "Product", MAX_KEY)
    item = item_pb2.Item(number=number)
    paths = ["base_unit", "status", "status_code", "lot_controlled", "serial_controlled"]
    item.base_unit = unit_of(row, "BaseUnit", unit)
    code = str(row.get("CrossPlantStatus") or "")[:MAX_CODE]
    deleted = bool(row.get("IsMarkedForDeletion"))
    item.status = item_pb2.ITEM_STATUS_INACTIVE if deleted else item_pb2.ITEM_STATUS_ACTIVE
    if code and not deleted:
        # What a status of this customizing forbids, only the tenant knows: the code goes along.
        item.status = item_pb2.ITEM_STATUS_BLOCKED
    item.status_code = "deletion" if deleted else code
    item.lot_controlled = bool(row.get("IsBatchManagementRequired"))
    item.serial_controlled = bool(row.get("SerialNumberProfile"))
    description = _description(row)
    if description:
        item.description = description[:MAX_DESCRIPTION]
        paths.append("description")
    weight = _number(row, "GrossWeight")
    if weight:
        item.weight.value = odata.decimal_text(weight)
        item.weight.unit = unit_of(row, "WeightUnit", unit)
        paths.append("weight")
    entry = item_service_pb2.ItemEntry(item=item)
    return _complete(entry, "item", number, paths, etag, endpoint)


def customer_entry(row: Row, etag: str, endpoint: str, unit: UnitMeaning) -> Message | None:
    """A business partner's name as that of a customer; None: it buys nothing."""
    number = str(row.get("Customer") or "")[:MAX_KEY]
    if not number:
        return None
    customer = customer_pb2.Customer(number=number)
    customer.legal_name = _text(row, "BusinessPartnerFullName", MAX_NAME)
    entry = customer_service_pb2.CustomerEntry(customer=customer)
    return _complete(entry, "customer", number, ["legal_name"], etag, endpoint)


def block_of(row: Row, mappings: Mappings) -> str:
    """Why SAP will not deliver or book a sales order, as SAP's codes say it; "": nothing is.
    Unreadable: no row says what the credit check ended with. Every reason of a delivery block is
    one, whatever the tenant calls it."""
    if code := odata.said(row, "DeliveryBlockReason"):
        return f"delivery block {code}"[:MAX_BLOCK]
    credit = odata.said(row, CREDIT_CHECK)[:MAX_CODE]
    if not credit:
        return ""
    codes = [Code(CREDIT_CHECK, credit)]
    found = mappings.first(Topic.CREDIT_STATUS, codes)
    if found is None:
        said = (
            f"{credit!r} has no row, so nobody knows whether it blocks the order: crossdock map "
            f"set sap CREDIT_STATUS {credit} --type {CREDIT_CHECK} --means HOLD --reason …"
        )
        waits_for = mappings.unread(Topic.CREDIT_STATUS, codes)
        raise Unreadable(said, pointer(CREDIT_CHECK), waits_for)
    return f"credit check status {credit}" if found[1].canonical in CREDIT_BLOCKS else ""


def block_fact(
    block: str, etag: str, endpoint: str, order_id: str
) -> order_service_pb2.UpdateOrderRequest:
    """The fact whether SAP blocks an order, and why; "": it does not."""
    fact = order_service_pb2.UpdateOrderRequest()
    fact.order.id = order_id
    if block:
        fact.order.block = block
    fact.update_mask.paths.append("block")
    fact.request_id = request_id(endpoint, f"order/{order_id}", version(fact, etag))
    return fact


def since(cursor: Mapping[str, str], kind: str, overlap: timedelta) -> datetime | None:
    """From when on changes of a kind are asked for; None: everything."""
    found = cursor.get(kind)
    return datetime.fromisoformat(found) - overlap if found else None


def _complete(
    entry: Any, kind: str, number: str, paths: list[str], etag: str, endpoint: str
) -> Message:
    """Mask, reference and request id; the same document read alike has the same id."""
    entry.update_mask.paths.extend(paths)
    entry.references.append(types_pb2.ExternalReference(system=endpoint, type=kind, value=number))
    entry.request_id = request_id(endpoint, f"{kind}/{number}", version(entry, etag))
    result: Message = entry
    return result


def version(fact: Message, etag: str) -> str:
    """What of a fact's request id says its state: the document's ETag and what was made of it, for
    a better translation of the same version is a new version too."""
    content = hashlib.sha256(fact.SerializeToString(deterministic=True)).hexdigest()
    return f"{etag} {content}"


def _description(row: Row) -> str:
    rows = odata.inner(row, "to_Description")
    english = [each for each in rows if each.get("Language") == "EN"]
    said = (odata.said(each, "ProductDescription") for each in [*english, *rows])
    return next(filter(None, said), "")


def unit_of(row: Row, name: str, unit: UnitMeaning) -> str:
    """The contract's word for a unit of SAP's. Unreadable: it is missing, or has no row."""
    code = _text(row, name, MAX_CODE)
    found = unit(code)
    if not found:
        said = f"unit {code!r} has no row: crossdock map set sap UNIT …"
        raise Unreadable(said, pointer(name), UnreadCodes(Topic.UNIT, (Code("", code),)))
    return found


def _number(row: Row, name: str) -> Decimal:
    try:
        return odata.number(row.get(name) or "0")
    except ValueError as error:
        raise Unreadable(str(error), pointer(name)) from None


def _text(row: Row, name: str, most: int = MAX_NAME) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise Unreadable("is missing or no text", pointer(name))
    if len(value) > most:
        raise Unreadable(f"is longer than {most} characters", pointer(name))
    return value
