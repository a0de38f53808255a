"""Salesforce Order Management at the hub: orders in as they are allocated, what became of them."""

from __future__ import annotations

from crossdock.errors import CallError, NotFoundError
from crossdock.fulfillment.v1 import fulfillment_pb2
from crossdock.order.v1 import order_service_pb2
from crossdock.shipment.v1 import shipment_pb2

from crossdock_adapters.salesforce import translate
from crossdock_adapters.salesforce.client import (
    RecordMissing,
    SalesforceClient,
    row_quantities,
)
from crossdock_adapters.salesforce.inbox import Inbox
from crossdock_adapters.salesforce.orders import Meaning, Orders, reference_of
from crossdock_adapters.salesforce.pubsub import Seen
from crossdock_adapters.salesforce.translate import Found, Rules
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
from crossdock_adapters.sdk.work import HeldPayload, Poll, Work

ADAPTER = Adapter.load(__package__)

NOT_OURS = "the order is not of this org: nothing to tell it"
PRESETS = frozenset({"earliest", "latest"})
HUB_RETRY_SECONDS = 1.0


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
    order_id, summary = await _order(work, request.order_id)
    if not order_id:
        return Confirmed(note=NOT_OURS)
    async with vendor.turn(summary):
        found = await _read(vendor, order_id)
        left = translate.short_rows(found, request, vendor.names)
        if left and _is_managed(found, vendor):
            await vendor.cancel_items(order_id, left)
        elif left:
            rest = {
                row: translate.remaining(found, row, quantity, vendor.names)
                for row, quantity in left.items()
            }
            await vendor.set_quantities(rest)
        await _move(work, vendor, found, "picked_status")
    note = f"cancelled: {row_quantities(left)}" if left else ""
    return Confirmed([_reference(order_id)], note=note)


@ADAPTER.look_up("record_pick")
async def find_pick(work: Work, vendor: SalesforceClient) -> Confirmed | NotFound:
    """Whether the fulfillment order has the quantities that were picked, and says so."""
    request: fulfillment_pb2.FulfillmentRequest = work.event.fulfillment_request
    order_id, _ = await _order(work, request.order_id)
    if not order_id:
        return Confirmed(note=NOT_OURS)
    found = await _read(vendor, order_id)
    left = translate.short_rows(found, request, vendor.names)
    if left or not _is_past(work, vendor, found, "picked_status"):
        return NotFound(f"{order_id} does not show this pick")
    return Confirmed([_reference(order_id)], note="found by its quantities and status")


@ADAPTER.operation("record_packed")
async def record_packed(work: Work, vendor: SalesforceClient) -> Confirmed:
    """Say that it is packed; a fulfillment order that is further already stays where it is."""
    order_id, summary = await _order(work, work.event.shipment.order_id)
    if not order_id:
        return Confirmed(note=NOT_OURS)
    async with vendor.turn(summary):
        found = await _read(vendor, order_id)
        await _move(work, vendor, found, "packed_status")
    return Confirmed([_reference(order_id)])


@ADAPTER.operation("confirm_shipment")
async def confirm_shipment(work: Work, vendor: SalesforceClient) -> Confirmed:
    """A shipment for each package that left; once all has left, fulfilled and invoiced.

    Each part is the same again when it is repeated: rows are upserted by a key of ours, and there
    is one invoice for a fulfillment order.
    """
    shipment: shipment_pb2.Shipment = work.event.shipment
    order_id, summary = await _order(work, shipment.order_id)
    if not order_id:
        return Confirmed(note=NOT_OURS)
    rows = translate.shipment_rows(
        shipment, order_id, work.settings.text("shipped_shipment_status"), vendor.names
    )
    references = [_reference(order_id), *(Reference("shipment", key) for key in rows)]
    async with vendor.turn(summary):
        found = await _read(vendor, order_id)
        done = translate.has_all_left(shipment)
        moves = done and not _is_past(work, vendor, found, "shipped_status")
        status = work.settings.text("shipped_status") if moves else ""
        await vendor.write_shipments(rows, order_id, status)
        wanted = work.settings.flag("create_invoices") and _is_managed(found, vendor)
        if done and wanted:
            references.append(Reference("invoice", await _invoice(vendor, found)))
    return Confirmed(references)


@ADAPTER.operation("record_delivery")
async def record_delivery(work: Work, vendor: SalesforceClient) -> Confirmed:
    """When the packages arrived, on their shipments; money moves by the org's own rules."""
    shipment: shipment_pb2.Shipment = work.event.shipment
    order_id, summary = await _order(work, shipment.order_id)
    if not order_id:
        return Confirmed(note=NOT_OURS)
    status = work.settings.text("delivered_shipment_status")
    rows = translate.delivered_rows(shipment, order_id, status, vendor.names)
    async with vendor.turn(summary):
        await vendor.write_shipments(rows, order_id, "")
    return Confirmed([Reference("shipment", key) for key in rows])


async def translate_event(poll: Poll, held: HeldPayload, vendor: SalesforceClient) -> None:
    """An event that was held: its record is read again, as it is now."""
    await Inbox(poll, vendor, _orders(poll, vendor), Seen()).translate_held(held)


@ADAPTER.poll("events", translate_held=translate_event)
async def poll_events(poll: Poll, vendor: SalesforceClient) -> None:
    """Events of the subscribed topics; their place is kept once what they mean is durable."""
    await Inbox(poll, vendor, _orders(poll, vendor), vendor.seen).run()


def _orders(poll: Poll, vendor: SalesforceClient) -> Orders:
    settings = poll.settings
    releases = _small(settings.texts("release_categories"))
    cancels = _small(settings.texts("cancel_categories"))
    meaning = Meaning(
        releases=releases,
        cancels=cancels,
        idle=_small(settings.texts("idle_categories")) - releases - cancels,
        statuses=_small(settings.texts("release_statuses")),
    )
    return Orders(poll.hub, vendor, _rules(settings, poll.endpoint, vendor), meaning)


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


def _small(texts: tuple[str, ...]) -> frozenset[str]:
    return frozenset(text.lower() for text in texts)


def _unit(word: str) -> str | None:
    found = ADAPTER.mappings.first(Topic.UNIT, [Code("", word)])
    return found[1].canonical if found else None


async def _order(work: Work, hub_id: str) -> tuple[str, str]:
    """(the fulfillment order that an order of the hub is, its summary); "": none of this org's.

    Asked before anything is sent, so a hub that is away for a moment is a retry.
    """
    if not hub_id:
        raise Untranslatable("the event names no order")
    try:
        asked = order_service_pb2.GetOrderRequest(id=hub_id)
        order = (await work.hub.orders.GetOrder(asked)).order
    except NotFoundError:
        raise Untranslatable(f"the hub has no order {hub_id}") from None
    except CallError as error:
        raise Retry(HUB_RETRY_SECONDS, f"order {hub_id} not read from the hub") from error
    order_id = reference_of(order, work.endpoint, translate.ORDER_REFERENCE)
    return order_id, reference_of(order, work.endpoint, translate.SUMMARY_REFERENCE) or order_id


async def _read(vendor: SalesforceClient, order_id: str) -> Found:
    try:
        return await vendor.fulfillment_order(order_id)
    except RecordMissing as missing:
        raise NeedsPerson(str(missing)) from missing


def _is_managed(found: Found, vendor: SalesforceClient) -> bool:
    """Read before every write of quantities: direct writes break a managed order's balances."""
    try:
        return translate.is_managed(found, vendor.names)
    except Unreadable as problem:
        raise NeedsPerson(f"{found.id}: {problem}") from problem


async def _move(work: Work, vendor: SalesforceClient, found: Found, setting: str) -> None:
    if not _is_past(work, vendor, found, setting):
        await vendor.set_status(found.id, work.settings.text(setting))


def _is_past(work: Work, vendor: SalesforceClient, found: Found, setting: str) -> bool:
    """Whether the fulfillment order has come so far; what comes late moves nothing back."""
    ours = ("picked_status", "packed_status", "shipped_status")
    now = str(vendor.names.get(found.order, "order.status") or "")
    further = [work.settings.text(each) for each in ours[ours.index(setting) :]]
    return now in further


async def _invoice(vendor: SalesforceClient, found: Found) -> str:
    """The fulfillment order's invoice, made where it has none; a refusal because it has one by now
    is told by reading it again."""
    known = vendor.names.get(found.order, "order.invoice")
    if known:
        return str(known)
    try:
        return await vendor.create_invoice(found.id)
    except (Reject, NeedsPerson):
        again = await _read(vendor, found.id)
        known = vendor.names.get(again.order, "order.invoice")
        if not known:
            raise
        return str(known)


def _reference(order_id: str) -> Reference:
    return Reference(translate.ORDER_REFERENCE, order_id)
