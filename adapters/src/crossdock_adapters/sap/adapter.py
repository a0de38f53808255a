"""SAP S/4HANA Cloud at the hub: books orders, goods issues and freight, tells what changed."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

from crossdock.client import HubClient
from crossdock.order.v1 import order_pb2
from crossdock.returns.v1 import return_pb2
from crossdock.shipment.v1 import shipment_pb2

from crossdock_adapters.sap import (
    answers,
    freight,
    inbound,
    odata,
    orders,
    return_receipts,
    returns,
    reversals,
    translate,
)
from crossdock_adapters.sap.answers import Answers
from crossdock_adapters.sap.client import (
    Login,
    RecordMissing,
    SapClient,
    Stale,
    client_certificate,
)
from crossdock_adapters.sap.deliveries import Deliveries, DeliveryRules
from crossdock_adapters.sap.delivery import (
    RETURNED,
    Delivery,
    Preceding,
)
from crossdock_adapters.sap.material_documents import GOODS_MOVEMENT, SOURCES, DocumentRules
from crossdock_adapters.sap.orders import ORDER, ORDERS
from crossdock_adapters.sap.returns import CustomerReturn, ReturnRules
from crossdock_adapters.sap.translate import BookingRules, Numbers, SalesOrder, Shipped
from crossdock_adapters.sdk import deployed_files, early_settings, return_reasons
from crossdock_adapters.sdk.adapter import Adapter, same_secret
from crossdock_adapters.sdk.attempts import HubAway
from crossdock_adapters.sdk.booked_orders import sales_document_now
from crossdock_adapters.sdk.erp_documents import sales_document
from crossdock_adapters.sdk.http import VendorHttp
from crossdock_adapters.sdk.mappings import Code, Topic
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    NeedsPerson,
    NotFound,
    OutcomeUnknown,
    Reference,
    Reject,
    Retry,
)
from crossdock_adapters.sdk.settings import Secrets, Settings, SettingsError
from crossdock_adapters.sdk.voided_shipments import VOIDED_SINCE, is_repeated_in_vain
from crossdock_adapters.sdk.work import HeldPayload, Poll, Refused, Webhook, Work

ADAPTER = Adapter.load(__package__)


@ADAPTER.connect
async def connect(settings: Settings, secrets: Secrets) -> SapClient:
    """One client for one tenant and technical user. SettingsError: a setting makes no sense."""
    early_settings.zone(settings, "time_zone")
    booking_rules(settings)
    heard(settings)
    service = delivery_rules(settings).service
    certificate = client_certificate(settings)
    if certificate is None and not (settings.text("user") and secrets.has("password")):
        raise SettingsError("give user and password, or certificate_file and key_file")
    try:
        http = VendorHttp.of(settings, client_certificate=certificate)
    except OSError as error:
        raise SettingsError(f"certificate_file, key_file or authority_file: {error}") from error
    return SapClient(
        http,
        Login(settings.text("user"), lambda: secrets.text("password")),
        loaded_answers(settings.text("answers_file")),
        seats=ADAPTER.manifest.concurrency,
        sap_client=settings.text("sap_client"),
        test_service=service,
    )


@ADAPTER.operation("create_sales_order")
async def create_sales_order(work: Work, vendor: SapClient) -> Confirmed:
    """Book the approved order, unless SAP has it: a create knows no key and would book it twice."""
    order: order_pb2.Order = work.event.order
    rules = booking_rules(work.settings)
    body = translate.sales_order(order, await _numbers(work, order), rules)
    found = await find_sales_order(work, vendor)
    if isinstance(found, Confirmed):
        return found
    try:
        reply = await vendor.create(ORDERS, ORDER, body)
    except (Stale, RecordMissing) as odd:
        raise NeedsPerson(f"SAP answered a create with {odd}") from odd
    number = str(reply.content.get("SalesOrder") or "")
    if not number:
        raise OutcomeUnknown("SAP booked a sales order and did not say its number")
    return _booked(order, number, "; ".join(map(str, reply.messages)))


@ADAPTER.look_up("create_sales_order")
async def find_sales_order(work: Work, vendor: SapClient) -> Confirmed | NotFound:
    """Look for the order's sales order by our reference: the oldest is adopted, others are told."""
    order: order_pb2.Order = work.event.order
    rules = booking_rules(work.settings)
    reference = translate.order_reference(order.number, rules)
    wanted = orders.of_order(order, await _numbers(work, order), rules)
    numbers = await orders.numbers(vendor, wanted)
    if not numbers:
        return NotFound(f"SAP knows no sales order with {rules.reference_property} {reference}")
    duplicates = [Reference("sales_order", number) for number in numbers[1:]]
    booked = _booked(order, numbers[0], f"found by {rules.reference_property} {reference}")
    return Confirmed(booked.references, booked.facts, booked.note, duplicates)


@ADAPTER.operation("change_order")
async def change_order(work: Work, vendor: SapClient) -> Confirmed:
    """Write what differs from the order as it is now; the same again writes nothing."""
    order: order_pb2.Order = work.event.order
    rules = booking_rules(work.settings)
    numbers = await _numbers(work, order)
    wanted = orders.of_order(order, numbers, rules, work.event.changed_fields)
    held = await orders.one(vendor, wanted)
    if held is None:
        raise NeedsPerson(f"the sales order of {order.number} to change is not in SAP")
    fields = list(work.event.changed_fields)
    written = await orders.written(
        vendor, held, lambda now: translate.changes(order, fields, numbers, rules, now)
    )
    note = "" if written else "nothing that SAP keeps has changed"
    return Confirmed([Reference("sales_order", held.number)], note=note)


@ADAPTER.operation("cancel_order")
async def cancel_order(work: Work, vendor: SapClient) -> Confirmed:
    """Reject every item with a reason; SAP refuses it for what was delivered."""
    order: order_pb2.Order = work.event.order
    rules = booking_rules(work.settings)
    wanted = orders.of_order(order, await _numbers(work, order), rules)
    held = await orders.one(vendor, wanted)
    if held is None and (booked := await sales_document_now(work)):
        held = await orders.one(vendor, replace(wanted, known=booked))
    if held is None:
        return Confirmed(note="there is no sales order: nothing to cancel")
    await orders.written(vendor, held, lambda now: translate.rejections(now, rules))
    return Confirmed([Reference("sales_order", held.number)])


@ADAPTER.operation("post_freight_charge")
async def post_freight_charge(work: Work, vendor: SapClient) -> Confirmed:
    """Book what the audit agreed to as a supplier invoice, unless SAP has it."""
    return await freight.book(work, vendor)


@ADAPTER.look_up("post_freight_charge")
async def find_freight_charge(work: Work, vendor: SapClient) -> Confirmed | NotFound:
    """Look for the invoice by the carrier and its number; what was cancelled is not there."""
    return await freight.find(work, vendor)


@ADAPTER.operation("post_goods_issue")
async def post_goods_issue(work: Work, vendor: SapClient) -> Confirmed:
    """Post what left with this departure, on a delivery of its own that carries our key."""
    if await is_repeated_in_vain(work):
        return Confirmed(note=VOIDED_SINCE)
    shipment: shipment_pb2.Shipment = work.event.shipment
    rules = booking_rules(work.settings)
    key = translate.departure_keys(shipment)[-1]
    lines = translate.shipped(shipment, rules)
    header = translate.header_changes(shipment, work.event.metadata.record_time, rules)
    order = await _needed_order(vendor, shipment, rules)
    point = rules.shipping_points.get(shipment.ship_from_location_number, "")
    deliveries = Deliveries(vendor, delivery_rules(work.settings))
    try:
        creation = translate.delivery_create(order, lines, point)
        delivery = await deliveries.claimed(order, key, lines, creation)
        delivery = await deliveries.made_ready(delivery, lines, header)
        warned = await deliveries.post(delivery)
    except RecordMissing as missing:
        raise NeedsPerson(f"a delivery of {order.number} is not there: {missing}") from missing
    return await _posted(deliveries, delivery, warned)


@ADAPTER.look_up("post_goods_issue")
async def find_goods_issue(work: Work, vendor: SapClient) -> Confirmed | NotFound:
    """Whether the departure's delivery is posted: its status says it, whatever became of a call."""
    shipment: shipment_pb2.Shipment = work.event.shipment
    rules = booking_rules(work.settings)
    key = translate.departure_keys(shipment)[-1]
    order = await _needed_order(vendor, shipment, rules)
    deliveries = Deliveries(vendor, delivery_rules(work.settings))
    return await _find_posted(deliveries, order, key, translate.shipped(shipment, rules))


async def _find_posted(
    deliveries: Deliveries, of: Preceding, key: str, lines: Sequence[Shipped]
) -> Confirmed | NotFound:
    delivery = await deliveries.find(of, key, lines)
    if delivery is None:
        return NotFound(f"no delivery of {of.number} carries {key}")
    if delivery.posted:
        return await _posted(deliveries, delivery, f"found posted by {key}")
    if delivery.movement != "open":
        raise OutcomeUnknown(
            f"delivery {delivery.number} has the goods movement status {delivery.status!r}"
        )
    await deliveries.refuse_reversed(delivery)
    return NotFound(f"delivery {delivery.number} is not posted")


@ADAPTER.operation("reverse_goods_issue")
async def reverse_goods_issue(work: Work, vendor: SapClient) -> Confirmed:
    """Reverse the goods issue of each departure, on the day on which the hub heard of it, and let
    its delivery go."""
    rules = booking_rules(work.settings)
    # Without its sales order nobody can say that nothing is posted.
    order = await _needed_order(vendor, work.event.shipment, rules)
    deliveries = Deliveries(vendor, delivery_rules(work.settings))
    heard = work.event.metadata.record_time.ToDatetime().replace(tzinfo=ZoneInfo("UTC"))
    literal = odata.datetime_literal(_midnight(heard.astimezone(rules.zone)))
    return await reversals.take_back(work, deliveries, order, literal)


@ADAPTER.operation("open_return")
async def open_return(work: Work, vendor: SapClient) -> Confirmed:
    """Open the return that was authorised, unless SAP has it."""
    return await returns.open_return(vendor, await _authorised(work, vendor))


@ADAPTER.look_up("open_return")
async def find_return(work: Work, vendor: SapClient) -> Confirmed | NotFound:
    """Look for the return by the number of its authorisation."""
    return await returns.find(vendor, await _authorised(work, vendor))


@ADAPTER.operation("cancel_return")
async def cancel_return(work: Work, vendor: SapClient) -> Confirmed:
    """Reject every item of the return; SAP refuses it for what has come."""
    rules = booking_rules(work.settings)
    number = await returns.opened(work, vendor, rules)
    if not number:
        return Confirmed(note="there is no customer return: nothing to cancel")
    return await returns.cancel(vendor, number, rules.reject_reason)


@ADAPTER.operation("post_return_receipt")
async def post_return_receipt(work: Work, vendor: SapClient) -> Confirmed:
    """Post what came with this receipt, on a returns delivery of its own that carries our key."""
    message: return_pb2.Return = work.event.customer_return
    rules = booking_rules(work.settings)
    key, lines = return_receipts.receipt_key(message), return_receipts.came(message, rules)
    header = return_receipts.header_changes(message, work.event.metadata.record_time, rules)
    opened = await return_receipts.open_return(work, vendor, rules)
    deliveries = Deliveries(vendor, receipt_rules(work.settings), RETURNED)
    try:
        creation = return_receipts.creation(opened.number, lines)
        delivery = await deliveries.claimed(opened, key, lines, creation)
        delivery = await deliveries.made_ready(delivery, lines, header)
        warned = await deliveries.post(delivery)
    except RecordMissing as missing:
        raise NeedsPerson(f"a delivery of {opened.number} is not there: {missing}") from missing
    return await _posted(deliveries, delivery, warned)


@ADAPTER.look_up("post_return_receipt")
async def find_return_receipt(work: Work, vendor: SapClient) -> Confirmed | NotFound:
    """Whether the receipt's delivery is posted: its status says it."""
    message: return_pb2.Return = work.event.customer_return
    rules = booking_rules(work.settings)
    lines = return_receipts.came(message, rules)
    opened = await return_receipts.open_return(work, vendor, rules)
    deliveries = Deliveries(vendor, receipt_rules(work.settings), RETURNED)
    return await _find_posted(deliveries, opened, return_receipts.receipt_key(message), lines)


async def _authorised(work: Work, vendor: SapClient) -> CustomerReturn:
    rules = booking_rules(work.settings)
    order = await returns.order_of(work, vendor, rules)
    return returns.of_event(work.event.customer_return, order, rules, return_rules(work.settings))


async def proven(hook: Webhook, vendor: SapClient) -> None:
    """The event broker sends the user and password that its webhook subscription was given."""
    if not hook.secrets.has("events_password"):
        raise Refused(401, "no events_password is set: events are not taken")
    pair = f"{hook.settings.text('events_user')}:{hook.secrets.text('events_password')}"
    expected = f"Basic {b64encode(pair.encode()).decode()}"
    if not same_secret(hook.headers.get("authorization", ""), expected):
        raise Refused(401, "unknown sender")


@ADAPTER.webhook("/sap/events", check=proven)
async def receive_event(hook: Webhook, vendor: SapClient) -> None:
    """One business event: a key, whose document is read and told."""
    facts = _facts(hook.hub, hook.endpoint, hook.settings)
    await inbound.receive(hook, vendor, facts, heard(hook.settings))


async def tell_held(poll: Poll, held: HeldPayload, vendor: SapClient) -> None:
    """A document that could not be told when it was read, as it is now."""
    await inbound.translate_held(poll, held, vendor, _facts(poll.hub, poll.endpoint, poll.settings))


@ADAPTER.poll("changes", translate_held=tell_held)
async def pull_changes(poll: Poll, vendor: SapClient) -> None:
    """What changed in SAP since the last time, whether an event told it or not."""
    overlap = timedelta(seconds=poll.settings.seconds("changes_overlap_seconds"))
    facts = _facts(poll.hub, poll.endpoint, poll.settings)
    await inbound.pull(poll, vendor, facts, heard(poll.settings), overlap)


def _facts(hub: HubClient, endpoint: str, settings: Settings) -> inbound.Facts:
    return inbound.Facts(hub, endpoint, _unit_meaning, booking_rules(settings), ADAPTER.mappings)


def _unit_meaning(code: str) -> str:
    found = ADAPTER.mappings.first(Topic.UNIT, [Code("", code)])
    return found[1].canonical if found else ""


def heard(settings: Settings) -> tuple[str, ...]:
    """Kinds of documents that are read. SettingsError: one that nobody can."""
    names = settings.texts("hears")
    unknown = sorted(set(names) - set(inbound.KINDS))
    if unknown:
        raise SettingsError(f"hears: {', '.join(unknown)}: none of {', '.join(inbound.KINDS)}")
    return names


async def _needed_order(
    vendor: SapClient, shipment: shipment_pb2.Shipment, rules: BookingRules
) -> SalesOrder:
    order = await orders.one(vendor, orders.of_shipment(shipment, rules))
    if order is None:
        raise NeedsPerson(f"the sales order of {shipment.order_number} is not in SAP")
    return order


async def _posted(deliveries: Deliveries, delivery: Delivery, note: str) -> Confirmed:
    """The posting is a fact by now: nothing that goes wrong in reading is an answer to it."""
    try:
        return Confirmed(await deliveries.posted_documents(delivery), note=note)
    except (Retry, NeedsPerson, Reject, RecordMissing, Stale) as error:
        said = f"delivery {delivery.number} is posted, its document cannot be read: {error}"
        raise OutcomeUnknown(said) from None


async def _numbers(work: Work, order: order_pb2.Order) -> Numbers:
    """Asked before anything is sent, so a hub that is away for a moment is a retry."""
    try:
        return Numbers(
            await work.numbers("customer", [order.customer_number]),
            await work.numbers("item", sorted({line.item_number for line in order.lines})),
        )
    except HubAway as away:
        raise Retry(0.0, f"the hub did not answer for numbers: {away}") from away


def _booked(order: order_pb2.Order, number: str, note: str) -> Confirmed:
    fact = sales_document(order.id, number)
    return Confirmed([Reference("sales_order", number)], [fact], note)


def _midnight(moment: datetime) -> datetime:
    """The calendar day of a moment as OData has it: midnight, called UTC."""
    return moment.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=ZoneInfo("UTC"))


def booking_rules(settings: Settings) -> BookingRules:
    """What the deployment decided about documents. SettingsError names a wrong source."""
    properties = settings.mapping("delivery_properties")
    for name, source in properties.items():
        if source not in translate.SHIPMENT_VALUES:
            known = ", ".join(sorted(translate.SHIPMENT_VALUES))
            raise SettingsError(f"delivery_properties: {name} = {source!r} is none of {known}")
    units = ADAPTER.mappings.natives(Topic.UNIT)
    return BookingRules(
        zone=ZoneInfo(settings.text("time_zone")),
        reference_property=settings.text("reference_property"),
        reference_prefix=settings.text("reference_prefix"),
        order_type=settings.text("order_type"),
        sales_areas=settings.mapping("sales_areas"),
        plants=settings.mapping("plants"),
        shipping_points=settings.mapping("shipping_points"),
        conditions=settings.mapping("shipping_conditions"),
        price_condition=settings.text("price_condition"),
        reject_reason=settings.text("reject_reason"),
        units=units,
        delivery_properties=properties,
    )


def delivery_rules(settings: Settings) -> DeliveryRules:
    """How deliveries come to be in this tenant. SettingsError: an unknown way."""
    documents_by = settings.text("documents_by")
    if documents_by not in SOURCES:
        raise SettingsError(f"documents_by has to be one of {', '.join(SOURCES)}")
    category = settings.text("reversal_category")
    if category == GOODS_MOVEMENT:
        raise SettingsError(
            f"reversal_category {category} is that of every goods movement: give the category that "
            "the document flow has for reversals alone"
        )
    return DeliveryRules(
        service=settings.text("delivery_service"),
        creates=settings.flag("creates_deliveries"),
        picks=settings.flag("picks"),
        documents=DocumentRules(
            documents_by,
            settings.seconds("document_seconds"),
            frozenset(settings.texts("reversal_movements")),
            category,
        ),
    )


def receipt_rules(settings: Settings) -> DeliveryRules:
    """The same for returns deliveries, which the adapter creates, and puts away where a setting
    says so."""
    service, puts_away = settings.text("return_delivery_service"), settings.flag("puts_away")
    return replace(delivery_rules(settings), service=service, creates=True, picks=puts_away)


def return_rules(settings: Settings) -> ReturnRules:
    """What the tenant's customizing calls returns."""
    return ReturnRules(
        return_type=settings.text("return_type"),
        order_reason=settings.text("return_order_reason"),
        reasons=return_reasons.of(ADAPTER.mappings, settings.mapping("return_reasons")),
        follow_up=settings.text("return_follow_up"),
    )


def loaded_answers(file: str) -> Answers:
    """The table of answers, of a deployment's own file with the tables of codes that it leaves out.
    SettingsError names every row that is wrong."""
    place = __package__, "answers_file"
    shipped = deployed_files.table(*place, "", deployed_files.ANSWERS_FILE, answers.read)
    if not file:
        return shipped
    own = partial(answers.read, below=shipped)
    return deployed_files.table(*place, file, deployed_files.ANSWERS_FILE, own)
