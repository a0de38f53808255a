"""Salesforce Order Management at the hub: orders in as they are allocated, what became of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from crossdock.errors import CallError, NotFoundError
from crossdock.fulfillment.v1 import fulfillment_pb2
from crossdock.order.v1 import order_pb2, order_service_pb2
from crossdock.returns.v1 import return_pb2
from crossdock.shipment.v1 import shipment_pb2

from crossdock_adapters.salesforce import packed_again, returns, translate
from crossdock_adapters.salesforce.client import (
    RecordMissing,
    SalesforceClient,
    row_quantities,
)
from crossdock_adapters.salesforce.inbox import Inbox
from crossdock_adapters.salesforce.orders import Orders, reference_of
from crossdock_adapters.salesforce.pubsub import Seen
from crossdock_adapters.salesforce.returns import CustomerReturn
from crossdock_adapters.salesforce.stages import Stage, Stages
from crossdock_adapters.salesforce.translate import Found, Rules
from crossdock_adapters.sdk import return_reasons
from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.mappings import Code, Topic
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    NeedsPerson,
    NotFound,
    Reference,
    Reject,
    Retry,
    Untranslatable,
)
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.settings import Secrets, Settings, SettingsError
from crossdock_adapters.sdk.voided_shipments import VOIDED_SINCE, is_voided
from crossdock_adapters.sdk.work import HeldPayload, Poll, Work

ADAPTER = Adapter.load(__package__)
STAGES = Stages(ADAPTER.mappings)

# The states of the hub's order in which nothing of it is left to leave.
ALL_LEFT = (order_pb2.ORDER_STATE_SHIPPED, order_pb2.ORDER_STATE_DELIVERED)
NOT_OURS = "the order is not of this org: nothing to tell it"
# The draft of a refund that this org has nothing to do with.
NO_DRAFT = "none"
PRESETS = frozenset({"earliest", "latest"})
HUB_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Ours:
    """A fulfillment order, and the hub's order that it is."""

    id: str
    summary_id: str
    order: order_pb2.Order

    @property
    def has_all_left(self) -> bool:
        """By the hub's word, of every shipment of the order."""
        return self.order.state in ALL_LEFT


@ADAPTER.connect
async def connect(settings: Settings, secrets: Secrets) -> SalesforceClient:
    """One client for one org."""
    if settings.text("first_start") not in PRESETS:
        raise SettingsError(f"first_start must be one of {', '.join(sorted(PRESETS))}")
    return SalesforceClient(settings, secrets)


@ADAPTER.operation("record_pick")
async def record_pick(work: Work, vendor: SalesforceClient) -> Confirmed:
    """Take what was short out of the fulfillment order, then say that it is picked.

    Both by what is there now: what an earlier attempt cancelled is not cancelled again.
    """
    request: fulfillment_pb2.FulfillmentRequest = work.event.fulfillment_request
    ours = await _order(work, request.order_id)
    if ours is None:
        return Confirmed(note=NOT_OURS)
    async with vendor.turn(ours.summary_id):
        found = await _read_open(vendor, ours)
        left = _short_rows(work, vendor, found, request)
        await _take_out(vendor, found, left)
        await _move(work, vendor, found, "picked_status")
    note = f"cancelled: {row_quantities(left)}" if left else ""
    return Confirmed([_reference(ours.id)], note=note)


@ADAPTER.look_up("record_pick")
async def find_pick(work: Work, vendor: SalesforceClient) -> Confirmed | NotFound:
    """Whether the fulfillment order has the quantities that were picked, and says so."""
    request: fulfillment_pb2.FulfillmentRequest = work.event.fulfillment_request
    ours = await _order(work, request.order_id)
    if ours is None:
        return Confirmed(note=NOT_OURS)
    found = await _read(vendor, ours)
    left = _short_rows(work, vendor, found, request)
    if left or not _is_past(work, vendor, found, "picked_status"):
        return NotFound(f"{ours.id} does not show this pick")
    return Confirmed([_reference(ours.id)], note="found by its quantities and status")


@ADAPTER.operation("record_packed")
async def record_packed(work: Work, vendor: SalesforceClient) -> Confirmed:
    """Say that it is packed; a fulfillment order that is further already stays where it is."""
    ours = await _order(work, work.event.shipment.order_id)
    if ours is None:
        return Confirmed(note=NOT_OURS)
    async with vendor.turn(ours.summary_id):
        found = await _read_open(vendor, ours)
        await _move(work, vendor, found, "packed_status")
    return Confirmed([_reference(ours.id)])


@ADAPTER.operation("confirm_shipment")
async def confirm_shipment(work: Work, vendor: SalesforceClient) -> Confirmed:
    """A shipment for each package that left; once all has left, fulfilled and invoiced.

    Each part is the same again when it is repeated: rows are upserted by a key of ours, what has
    not left is taken out by what is there then, and a fulfillment order has one invoice. One that
    was voided by its turn is left to its void, which may be over by now: nothing is written.
    """
    shipment: shipment_pb2.Shipment = work.event.shipment
    ours = await _order(work, shipment.order_id)
    if ours is None:
        return Confirmed(note=NOT_OURS)
    status = work.settings.text("shipped_shipment_status")
    rows = translate.shipment_rows(shipment, ours.id, status, vendor.names)
    async with vendor.turn(ours.summary_id):
        # Within the turn: what was voided while this one waited for it counts.
        ours = await _as_of_now(work, ours)
        if await is_voided(work):
            return Confirmed(note=VOIDED_SINCE)
        found = await _read_open(vendor, ours)
        items = _items(work, vendor, found, shipment)
        rest = await _awaited(work, vendor, ours, found)
        note = "" if rest else await _leave_out(work, vendor, ours, found)
        invoice = await _write(work, vendor, ours, found, rows, items, done=not rest)
    notes = filter(None, [note, rest and f"not fulfilled yet: {rest}"])
    return Confirmed([_reference(ours.id), *_shipments(rows), *invoice], note="; ".join(notes))


@ADAPTER.operation("record_delivery")
async def record_delivery(work: Work, vendor: SalesforceClient) -> Confirmed:
    """When the packages arrived, on their shipments; money moves by the org's own rules.

    Where the last of the order was cancelled at the dock no departure says that nothing more will
    leave, so this looks too. NeedsPerson: what left with a voided shipment has not left since.
    """
    shipment: shipment_pb2.Shipment = work.event.shipment
    ours = await _order(work, shipment.order_id)
    if ours is None:
        return Confirmed(note=NOT_OURS)
    status = work.settings.text("delivered_shipment_status")
    rows = translate.delivered_rows(shipment, ours.id, status, vendor.names)
    async with vendor.turn(ours.summary_id):
        ours = await _as_of_now(work, ours)
        found = await _read(vendor, ours)
        rest = await _awaited(work, vendor, ours, found)
        note = "" if rest else await _leave_out(work, vendor, ours, found)
        invoice = await _write(work, vendor, ours, found, rows, {}, done=not rest)
    if rest:
        raise NeedsPerson(
            f"{ours.id} is not set to {work.settings.text('shipped_status')} nor invoiced: {rest}; "
            "have it packed again, or take it out in Salesforce, then retry the delivery"
        )
    return Confirmed([_reference(ours.id), *_shipments(rows), *invoice], note=note)


@ADAPTER.operation("reverse_shipment")
async def reverse_shipment(work: Work, vendor: SalesforceClient) -> Confirmed:
    """Take back the shipments of a voided shipment, with their items; a repeat finds none.

    NeedsPerson: the fulfillment order is fulfilled by now, which no action takes back.
    """
    shipment: shipment_pb2.Shipment = work.event.shipment
    ours = await _order(work, shipment.order_id)
    if ours is None:
        return Confirmed(note=NOT_OURS)
    async with vendor.turn(ours.summary_id):
        found = await _read(vendor, ours)
        prefix = translate.shipment_prefix(shipment)
        held = await vendor.shipments_of(ours.id)
        rows = {key: id_ for key, id_ in held.items() if key.startswith(prefix)}
        if rows and _stage(found, vendor) is Stage.DONE:
            invoice = vendor.names.get(found.order, "order.invoice")
            raise NeedsPerson(
                f"{ours.id} is {translate.status_of(found, vendor.names)} in Salesforce"
                f"{f' and has invoice {invoice}' if invoice else ''}, and nothing takes that back: "
                "set it back there, then retry the delivery"
            )
        await vendor.take_back(list(rows.values()), work.settings.text("voided_shipment_status"))
    note = "" if rows else "there is no shipment: nothing to take back"
    return Confirmed([_reference(ours.id), *_shipments(rows)], note=note)


@ADAPTER.draft("refund")
async def prepare_refund(work: Work, vendor: SalesforceClient) -> str:
    """How much was returned of each item before; it changes nothing."""
    wanted = await _received(work, vendor)
    return await returns.prepare(vendor, wanted) if wanted is not None else NO_DRAFT


@ADAPTER.operation("refund")
async def refund(work: Work, vendor: SalesforceClient) -> Confirmed:
    """Take back what a receipt brought; money moves by the org's own rules."""
    wanted = await _received(work, vendor)
    if wanted is None:
        return Confirmed(note=NOT_OURS)
    return await returns.open_return(vendor, wanted, work.draft)


async def _received(work: Work, vendor: SalesforceClient) -> CustomerReturn | None:
    """The return that the receipt is; None: its order is none of this org's."""
    message: return_pb2.Return = work.event.customer_return
    ours = await _order(work, message.order_id)
    if ours is None:
        return None
    found = await _read(vendor, ours)
    reasons = return_reasons.of(ADAPTER.mappings, work.settings.mapping("return_reasons"))
    rules = _rules(work.settings, work.endpoint, vendor)
    try:
        return returns.of_receipt(message, ours.summary_id, found, reasons, rules)
    except Unreadable as problem:
        raise NeedsPerson(f"{found.id}: {problem}") from problem


async def translate_event(poll: Poll, held: HeldPayload, vendor: SalesforceClient) -> None:
    """An event that was held: its record is read again, as it is now."""
    await Inbox(poll, vendor, _orders(poll, vendor), Seen()).translate_held(held)


@ADAPTER.poll("events", translate_held=translate_event)
async def poll_events(poll: Poll, vendor: SalesforceClient) -> None:
    """Events of the subscribed topics; their place is kept once what they mean is durable."""
    await Inbox(poll, vendor, _orders(poll, vendor), vendor.seen).run()


def _orders(poll: Poll, vendor: SalesforceClient) -> Orders:
    return Orders(poll.hub, vendor, _rules(poll.settings, poll.endpoint, vendor), STAGES)


def _rules(settings: Settings, endpoint: str, vendor: SalesforceClient) -> Rules:
    return Rules(
        names=vendor.names,
        endpoint=endpoint,
        business_unit=settings.text("business_unit"),
        number_prefix=settings.text("order_number_prefix"),
        default_customer=settings.text("default_customer"),
        currency=settings.text("currency"),
        default_unit=settings.text("default_unit"),
        channel=settings.text("channel"),
        unit=_unit,
        locations=settings.mapping("locations"),
        delivery_methods=settings.mapping("delivery_methods"),
        countries=settings.mapping("countries"),
    )


def _unit(word: str) -> str | None:
    found = ADAPTER.mappings.first(Topic.UNIT, [Code("", word)])
    return found[1].canonical if found else None


async def _order(work: Work, hub_id: str) -> Ours | None:
    """The fulfillment order that an order of the hub is; None: it is none of this org's.

    Asked before anything is sent, so a hub that is away for a moment is a retry.
    """
    if not hub_id:
        raise Untranslatable("the event names no order")
    order = await _hub_order(work, hub_id)
    order_id = reference_of(order, work.endpoint, translate.ORDER_REFERENCE)
    if not order_id:
        return None
    summary = reference_of(order, work.endpoint, translate.SUMMARY_REFERENCE)
    return Ours(order_id, summary or order_id, order)


async def _as_of_now(work: Work, ours: Ours) -> Ours:
    """With the hub's order as it is once a turn has come, before anything is written in it."""
    return replace(ours, order=await _hub_order(work, ours.order.id))


async def _hub_order(work: Work, hub_id: str) -> order_pb2.Order:
    try:
        asked = order_service_pb2.GetOrderRequest(id=hub_id)
        return (await work.hub.orders.GetOrder(asked)).order
    except NotFoundError:
        raise Untranslatable(f"the hub has no order {hub_id}") from None
    except CallError as error:
        raise Retry(HUB_RETRY_SECONDS, f"order {hub_id} not read from the hub") from error


async def _read(vendor: SalesforceClient, ours: Ours) -> Found:
    """As it is now, in the units in which the hub has it."""
    try:
        found = await vendor.state_of(ours.id)
    except RecordMissing as missing:
        raise NeedsPerson(str(missing)) from missing
    units = {line.line_number: line.quantity.unit for line in ours.order.lines}
    return replace(found, placed_in=units)


async def _read_open(vendor: SalesforceClient, ours: Ours) -> Found:
    """One that is worked on. Reject: it is cancelled, and what is written would bring it back."""
    found = await _read(vendor, ours)
    if _stage(found, vendor) is Stage.CANCELLED:
        raise Reject("CANCELLED", f"{ours.id} is cancelled in Salesforce: nothing is written")
    return found


def _short_rows(
    work: Work,
    vendor: SalesforceClient,
    found: Found,
    request: fulfillment_pb2.FulfillmentRequest,
) -> dict[str, Decimal]:
    try:
        return translate.short_rows(found, request, _rules(work.settings, work.endpoint, vendor))
    except Unreadable as problem:
        raise NeedsPerson(f"{found.id}: {problem}") from problem


async def _take_out(vendor: SalesforceClient, found: Found, rows: Mapping[str, Decimal]) -> None:
    """Take quantities out of rows: of a managed order by the action that balances it."""
    if rows and _is_managed(found, vendor):
        await vendor.cancel_items(found.id, rows)
    elif rows:
        rest = {
            row: translate.remaining(found, row, quantity, vendor.names)
            for row, quantity in rows.items()
        }
        await vendor.set_quantities(rest)


async def _leave_out(work: Work, vendor: SalesforceClient, ours: Ours, found: Found) -> str:
    """Once all has left, take out what the hub counts as short, at the pick or at the dock, which
    would be billed; what was, for people. What is fulfilled or invoiced by now stays as it is.

    Only that: a shipment that was voided to be packed again has not left either, and nothing puts
    back what is cancelled. So nothing is asked of this while that is awaited: where each confirm
    tells the whole line, the hub counts some of it as short until it has left.
    """
    closed = _stage(found, vendor) in (Stage.DONE, Stage.CANCELLED)
    if not ours.has_all_left or closed or vendor.names.get(found.order, "order.invoice"):
        return ""
    rules = _rules(work.settings, work.endpoint, vendor)
    try:
        rest, unread = translate.short_over(found, ours.order, rules)
    except Unreadable as problem:
        raise NeedsPerson(f"{found.id}: {problem}") from problem
    await _take_out(vendor, found, rest)
    taken = [f"cancelled, for it did not leave: {row_quantities(rest)}"] if rest else []
    return "; ".join([*taken, *unread])


async def _awaited(work: Work, vendor: SalesforceClient, ours: Ours, found: Found) -> str:
    """What of an order that counts as shipped is to be packed again; "": nothing, or it is over."""
    if not ours.has_all_left or _stage(found, vendor) in (Stage.DONE, Stage.CANCELLED):
        return ""
    rules = _rules(work.settings, work.endpoint, vendor)
    try:
        return await packed_again.awaited(work, ours.order, found, rules)
    except Unreadable as problem:
        raise NeedsPerson(f"{found.id}: {problem}") from problem


async def _write(
    work: Work,
    vendor: SalesforceClient,
    ours: Ours,
    found: Found,
    rows: Mapping[str, Mapping[str, Any]],
    items: Mapping[str, Mapping[str, Any]],
    *,
    done: bool,
) -> list[Reference]:
    """Shipments, and once all of the order has left: fulfilled, and its invoice, if it has one.

    done: nothing of it is to be packed again.
    """
    done = done and ours.has_all_left and _stage(found, vendor) is not Stage.CANCELLED
    moves = done and not _is_past(work, vendor, found, "shipped_status")
    invoiced = done and work.settings.flag("create_invoices") and _is_managed(found, vendor)
    await vendor.write_shipments(
        rows, items, ours.id, work.settings.text("shipped_status") if moves else ""
    )
    return [Reference("invoice", await _invoice(vendor, ours, found))] if invoiced else []


def _items(
    work: Work, vendor: SalesforceClient, found: Found, shipment: shipment_pb2.Shipment
) -> dict[str, dict[str, Any]]:
    if not work.settings.flag("shipment_items"):
        return {}
    rules = _rules(work.settings, work.endpoint, vendor)
    try:
        return translate.shipment_item_rows(shipment, found, rules, vendor.external_id_field)
    except Unreadable as problem:
        raise NeedsPerson(f"{found.id}: {problem}") from problem


def _shipments(rows: Iterable[str]) -> list[Reference]:
    return [Reference("shipment", key) for key in rows]


def _is_managed(found: Found, vendor: SalesforceClient) -> bool:
    """Read before every write of quantities: direct writes break a managed order's balances."""
    try:
        return translate.is_managed(found, vendor.names)
    except Unreadable as problem:
        raise NeedsPerson(f"{found.id}: {problem}") from problem


def _stage(found: Found, vendor: SalesforceClient) -> Stage:
    """What its status means. NeedsPerson: no row says; it may be cancelled."""
    try:
        return STAGES.of(found, vendor.names)
    except Unreadable as problem:
        raise NeedsPerson(f"{found.id}: {problem}") from problem


async def _move(work: Work, vendor: SalesforceClient, found: Found, setting: str) -> None:
    if not _is_past(work, vendor, found, setting):
        await vendor.set_status(found.id, work.settings.text(setting))


def _is_past(work: Work, vendor: SalesforceClient, found: Found, setting: str) -> bool:
    """Whether the fulfillment order has come so far; what comes late moves nothing back."""
    if _stage(found, vendor) is Stage.DONE:
        return True
    ours = ("picked_status", "packed_status", "shipped_status")
    now = translate.status_of(found, vendor.names)
    further = [work.settings.text(each) for each in ours[ours.index(setting) :]]
    return now in further


async def _invoice(vendor: SalesforceClient, ours: Ours, found: Found) -> str:
    """The fulfillment order's invoice, made where it has none; a refusal because it has one by now
    is told by reading it again."""
    known = vendor.names.get(found.order, "order.invoice")
    if known:
        return str(known)
    try:
        return await vendor.create_invoice(found.id)
    except (Reject, NeedsPerson):
        again = await _read(vendor, ours)
        known = vendor.names.get(again.order, "order.invoice")
        if not known:
            raise
        return str(known)


def _reference(order_id: str) -> Reference:
    return Reference(translate.ORDER_REFERENCE, order_id)
