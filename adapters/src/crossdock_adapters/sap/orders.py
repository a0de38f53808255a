"""Which sales order is the one of an order, and what is written to it.

It is named by its number, or searched and proven to be ours. The reference that is searched is
free text for everybody in SAP: what carries it is ours only when its type, its sales area and its
sold-to party are those that we book; all else is for a person.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from crossdock.order.v1 import order_pb2
from crossdock.returns.v1 import return_pb2
from crossdock.shipment.v1 import shipment_pb2

from crossdock_adapters.sap import odata, translate
from crossdock_adapters.sap.client import RecordMissing, SapClient, Stale, etag_of
from crossdock_adapters.sap.deliveries import STALE_PAUSE_SECONDS, TRIES
from crossdock_adapters.sap.translate import BookingRules, Numbers, SalesOrder, Step
from crossdock_adapters.sdk.outcomes import NeedsPerson, Retry, Untranslatable

ORDERS: Final = "API_SALES_ORDER_SRV"
ORDER, ORDER_ITEM = "A_SalesOrder", "A_SalesOrderItem"
AREA: Final = ("SalesOrganization", "DistributionChannel", "OrganizationDivision")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The sales order that is looked for. known: its number, "" when nobody told it.

    areas: the sales areas it may be in. sold_to: "" when any is right.
    """

    order_number: str
    reference_property: str
    reference: str
    known: str
    order_type: str
    areas: frozenset[str]
    sold_to: str


def of_order(
    order: order_pb2.Order,
    numbers: Numbers,
    rules: BookingRules,
    changed_fields: Iterable[str] = (),
) -> Wanted:
    """The sales order of an order; a customer that is just being changed proves nothing."""
    customer = numbers.customers.get(order.customer_number, order.customer_number)
    return Wanted(
        order.number,
        rules.reference_property,
        translate.order_reference(order.number, rules),
        order.sales_document,
        rules.order_type,
        frozenset({"/".join(translate.sales_area(order.business_unit, rules))}),
        "" if "customer_number" in set(changed_fields) else customer,
    )


def of_shipment(shipment: shipment_pb2.Shipment, rules: BookingRules) -> Wanted:
    """The sales order of a shipment, which names neither customer nor business unit."""
    return Wanted(
        shipment.order_number,
        rules.reference_property,
        translate.order_reference(shipment.order_number, rules),
        "",
        rules.order_type,
        frozenset(rules.sales_areas.values()),
        "",
    )


def of_return(message: return_pb2.Return, customer: str, rules: BookingRules) -> Wanted:
    """The sales order that a return is of. customer: the sold-to party in SAP."""
    return Wanted(
        message.order_number,
        rules.reference_property,
        translate.order_reference(message.order_number, rules),
        message.sales_document,
        rules.order_type,
        frozenset({"/".join(translate.sales_area(message.business_unit, rules))}),
        customer,
    )


def is_of(row: Mapping[str, Any], order: order_pb2.Order, rules: BookingRules) -> bool:
    """Whether a sales order that carries an order's reference is the order's own: by its number,
    and before the hub knows that by what we book."""
    if order.sales_document:
        shown = str(row.get("SalesOrder") or "")
        return odata.bare(shown) == odata.bare(order.sales_document)
    try:
        # Whatever its customer is called in SAP: an event does not wait for that.
        wanted = of_order(order, Numbers(), rules, ["customer_number"])
    except Untranslatable:
        return False
    return not _differences(row, wanted)


async def numbers(vendor: SapClient, wanted: Wanted) -> list[str]:
    """Numbers of all sales orders that are this order, the known one or else the oldest first.

    NeedsPerson: the known one is not there, or what carries the reference is not ours.
    """
    rows = await vendor.query(
        ORDERS,
        ORDER,
        {
            "$filter": odata.equals(wanted.reference_property, wanted.reference),
            "$orderby": "SalesOrder",
        },
    )
    carrying = [row for row in rows if str(row.get(wanted.reference_property)) == wanted.reference]
    found = []
    for row in carrying:
        number = str(row["SalesOrder"])
        odd = _differences(row, wanted)
        if not odd:
            found.append(number)
        elif not wanted.known:
            raise NeedsPerson(
                f"sales order {number} has the {wanted.reference_property} {wanted.reference} "
                f"and {odd}: a person decides whose it is"
            )
    found.sort(key=odata.by_number)
    if wanted.known:
        if wanted.known not in found:
            # Somebody changed its reference, or it is gone: its number says which.
            await read(vendor, wanted.known)
        found = [wanted.known, *(each for each in found if each != wanted.known)]
    return found


async def one(vendor: SapClient, wanted: Wanted) -> SalesOrder | None:
    """The sales order as it is now. NeedsPerson: there are several, or it is not ours."""
    found = await numbers(vendor, wanted)
    if len(found) > 1:
        listed = ", ".join(found)
        raise NeedsPerson(f"sales orders {listed} are all of order {wanted.order_number}")
    return await read(vendor, found[0]) if found else None


async def read(vendor: SapClient, number: str) -> SalesOrder:
    """A sales order with its items. NeedsPerson: it is not there, or cannot be read."""
    path = f"{ORDER}{odata.key(SalesOrder=number)}"
    try:
        reply = await vendor.read(ORDERS, path, {"$expand": "to_Item"})
    except RecordMissing as missing:
        raise NeedsPerson(f"sales order {number} is not there any more") from missing
    try:
        return translate.order_of(reply.content, reply.etag, etag_of)
    except (ValueError, LookupError) as problem:
        raise NeedsPerson(f"sales order {number} cannot be read: {problem}") from problem


async def written(
    vendor: SapClient, held: SalesOrder, decide: Callable[[SalesOrder], list[Step]]
) -> bool:
    """Write step by step until nothing is left to write. Whether anything was written.

    Each step carries the ETag of what it was decided on, and what it left is read and decided upon
    anew: so an edit in between is never overwritten, and a change that SAP took and did not keep
    (NeedsPerson) is seen.
    """
    done: list[Step] = []
    stale = 0
    while steps := decide(held):
        if steps[0] in done:
            kept = ", ".join(f"{name} {value}" for name, value in steps[0].body.items())
            raise NeedsPerson(f"sales order {held.number} has not kept {kept}: a person looks why")
        try:
            await _write(vendor, held, steps[0])
            done.append(steps[0])
        except Stale:
            stale += 1
            if stale == TRIES:
                said = f"sales order {held.number} is changed all the time"
                raise Retry(STALE_PAUSE_SECONDS, said) from None
        held = await read(vendor, held.number)
    return bool(done)


async def _write(vendor: SapClient, held: SalesOrder, step: Step) -> None:
    path = f"{ORDER}{odata.key(SalesOrder=held.number)}"
    if step.adds:
        await vendor.create(ORDERS, f"{path}/to_Item", step.body)
    elif not step.item:
        await vendor.change(ORDERS, path, step.body, held.etag)
    else:
        etag = {item.number: item.etag for item in held.items}[step.item]
        place = odata.key(SalesOrder=held.number, SalesOrderItem=odata.bare(step.item))
        await vendor.change(ORDERS, f"{ORDER_ITEM}{place}", step.body, etag or held.etag)


def _differences(row: Mapping[str, Any], wanted: Wanted) -> str:
    """What shows that a sales order is another's; "" for one of ours."""
    odd = []
    if str(row.get("SalesOrderType")) != wanted.order_type:
        odd.append(f"type {row.get('SalesOrderType')} instead of {wanted.order_type}")
    area = "/".join(str(row.get(name) or "") for name in AREA)
    if area not in wanted.areas:
        odd.append(f"sales area {area} instead of {' or '.join(sorted(wanted.areas))}")
    sold_to = str(row.get("SoldToParty") or "")
    # SAP shows and hides the zeros before a number as it likes.
    if wanted.sold_to and odata.bare(sold_to) != odata.bare(wanted.sold_to):
        odd.append(f"sold-to party {sold_to} instead of {wanted.sold_to}")
    return ", ".join(odd)
