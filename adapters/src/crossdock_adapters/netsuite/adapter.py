"""NetSuite at the hub: books sales orders and goods issues, undoes them, reports master data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from crossdock.order.v1 import order_pb2
from crossdock.shipment.v1 import shipment_pb2

from crossdock_adapters.netsuite import inventory_numbers, master_data, translate
from crossdock_adapters.netsuite.client import (
    TOKEN_PATH,
    DuplicateRecord,
    Login,
    NetSuiteClient,
    RecordMissing,
    eid,
)
from crossdock_adapters.netsuite.statuses import POSTED, SHIP_STATUS, STATUSES
from crossdock_adapters.netsuite.translate import BookingRules, InternalIds
from crossdock_adapters.netsuite.translate_cancellation import cancellation
from crossdock_adapters.sdk import early_settings
from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.attempts import HubAway
from crossdock_adapters.sdk.booked_orders import sales_document_now
from crossdock_adapters.sdk.erp_documents import sales_document
from crossdock_adapters.sdk.http import VendorHttp
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
from crossdock_adapters.sdk.work import HeldPayload, Poll, Work

ADAPTER = Adapter.load(__package__)

SALES_ORDER = "salesOrder"
ITEM_FULFILLMENT = "itemFulfillment"
ORDER_DOCUMENT = "sales_order"
SHIPMENT_DOCUMENT = "item_fulfillment"
_ORDER_FIELDS = ("id", "tranId", "orderStatus", "externalId")
_FULFILLMENT_FIELDS = ("id", "tranId", "shipStatus", "externalId")
_REPLACE_LINES = "item"


@ADAPTER.connect
async def connect(settings: Settings, secrets: Secrets) -> NetSuiteClient:
    """One client for one account. SettingsError: a setting makes no sense."""
    early_settings.zone(settings, "account_time_zone")
    package_sublists(settings)
    inventory_numbers.check(settings)
    base_url = settings.text("base_url").rstrip("/")
    login = Login(
        client_id=settings.text("client_id"),
        certificate_id=settings.text("certificate_id"),
        algorithm=settings.text("algorithm"),
        audience=settings.text("token_url") or base_url + TOKEN_PATH,
        private_key=lambda: secrets.text("private_key"),
    )
    http = VendorHttp(base_url, timeout_seconds=settings.seconds("timeout_seconds"))
    return NetSuiteClient(http, login, concurrency=ADAPTER.manifest.concurrency)


@ADAPTER.operation("create_sales_order")
async def create_sales_order(work: Work, vendor: NetSuiteClient) -> Confirmed:
    """Book the approved order: an upsert by external id, so that a repeat makes no second one."""
    order: order_pb2.Order = work.event.order
    rules = booking_rules(work.settings)
    body = translate.sales_order(order, await _ids_of_order(work, order), rules, work.reference)
    key = translate.order_key(rules, order.id)
    try:
        internal_id = await vendor.upsert(SALES_ORDER, key, body, replace=_REPLACE_LINES)
    except DuplicateRecord as duplicate:
        return _adopted(await find_sales_order(work, vendor), duplicate)
    record = await vendor.read(SALES_ORDER, internal_id, _ORDER_FIELDS)
    return _booked(order, record, internal_id)


@ADAPTER.look_up("create_sales_order")
async def find_sales_order(work: Work, vendor: NetSuiteClient) -> Confirmed | NotFound:
    """Look for the order's sales order by external id; what people changed in it stays."""
    order: order_pb2.Order = work.event.order
    key = translate.order_key(booking_rules(work.settings), order.id)
    try:
        record = await vendor.read(SALES_ORDER, eid(key), _ORDER_FIELDS)
    except RecordMissing:
        return NotFound(f"NetSuite knows no sales order with external id {key}")
    _check_key(record, key)
    return _booked(order, record, translate.internal_id_of(record))


@ADAPTER.operation("change_order")
async def change_order(work: Work, vendor: NetSuiteClient) -> Confirmed:
    """Send the parts that changed, each in full; the same again changes nothing more."""
    order: order_pb2.Order = work.event.order
    rules = booking_rules(work.settings)
    key = eid(translate.order_key(rules, order.id))
    try:
        record = await vendor.read(SALES_ORDER, key, expand=True)
        held = translate.open_lines(record, rules)
        ids = await _ids_of_order(work, order)
        body = translate.changed_parts(order, work.event.changed_fields, ids, rules, held)
        if body:
            replaced = _REPLACE_LINES if "item" in body else ""
            await vendor.update(SALES_ORDER, key, body, replace=replaced)
    except RecordMissing as missing:
        raise NeedsPerson(f"the sales order to change is not there ({missing})") from missing
    references = translate.document_references(
        ORDER_DOCUMENT, record, translate.internal_id_of(record)
    )
    return Confirmed(references, note="" if body else "nothing that NetSuite keeps has changed")


@ADAPTER.operation("cancel_order")
async def cancel_order(work: Work, vendor: NetSuiteClient) -> Confirmed:
    """Close every line of the sales order, or give it the cancelled status where a setting names
    one; refused once something is picked or shipped."""
    order: order_pb2.Order = work.event.order
    rules = booking_rules(work.settings)
    key = eid(translate.order_key(rules, order.id))
    try:
        record = await vendor.read(SALES_ORDER, key, expand=True)
        body = cancellation(record, work.settings.text("cancelled_status"))
        if body:
            await vendor.update(SALES_ORDER, key, body)
    except RecordMissing as missing:
        if booked := await sales_document_now(work):
            raise NeedsPerson(
                f"sales order {booked} is not found under its external id, which "
                f"somebody changed, or this role may not see it ({missing}): close its lines in "
                "NetSuite, then resolve the delivery"
            ) from missing
        return Confirmed(note="there is no sales order: nothing to cancel")
    internal_id = translate.internal_id_of(record)
    return Confirmed(translate.document_references(ORDER_DOCUMENT, record, internal_id))


@ADAPTER.operation("post_goods_issue")
async def post_goods_issue(work: Work, vendor: NetSuiteClient) -> Confirmed:
    """Transform the sales order into an item fulfillment of what left with this departure."""
    if await is_repeated_in_vain(work):
        return Confirmed(note=VOIDED_SINCE)
    shipment: shipment_pb2.Shipment = work.event.shipment
    rules = booking_rules(work.settings)
    try:
        order = await vendor.read(
            SALES_ORDER, eid(translate.order_key(rules, shipment.order_id)), expand=True
        )
    except RecordMissing as missing:
        raise NeedsPerson(f"the sales order is not there ({missing})") from missing
    held = translate.open_lines(order, rules)
    body = translate.item_fulfillment(
        shipment,
        held,
        await _ids_of_shipment(work, vendor, shipment),
        rules,
        work.reference,
        work.event.metadata.record_time,
    )
    order_id = translate.internal_id_of(order)
    try:
        internal_id = await vendor.transform(SALES_ORDER, order_id, ITEM_FULFILLMENT, body)
    except DuplicateRecord as duplicate:
        return _adopted(await find_goods_issue(work, vendor), duplicate)
    record = await vendor.read(ITEM_FULFILLMENT, internal_id, _FULFILLMENT_FIELDS)
    return _posted(work, record, internal_id, "")


@ADAPTER.look_up("post_goods_issue")
async def find_goods_issue(work: Work, vendor: NetSuiteClient) -> Confirmed | NotFound:
    """Look for the item fulfillment of this departure by external id."""
    key = translate.fulfillment_key(booking_rules(work.settings), work.event.shipment)
    try:
        record = await vendor.read(ITEM_FULFILLMENT, eid(key), _FULFILLMENT_FIELDS)
    except RecordMissing:
        return NotFound(f"NetSuite knows no item fulfillment with external id {key}")
    _check_key(record, key)
    return _posted(work, record, translate.internal_id_of(record), f"found by external id {key}")


@ADAPTER.operation("reverse_goods_issue")
async def reverse_goods_issue(work: Work, vendor: NetSuiteClient) -> Confirmed:
    """Delete the shipment's item fulfillments, one for each departure.

    Refused when one is invoiced or its period closed. NeedsPerson, and none is deleted: the hub
    knows of more than are there, and no earlier attempt can have deleted them.
    """
    found = await _fulfillments(work, vendor)
    deleted: list[str] = []
    for key in found:
        try:
            await vendor.delete(ITEM_FULFILLMENT, eid(key))
        except RecordMissing:
            # Somebody else's deletion came between, and undid it as well.
            continue
        except (Retry, OutcomeUnknown) as trouble:
            if not deleted:
                raise
            said = f"{', '.join(deleted)} is deleted, {key} perhaps not: {trouble.reason}"
            raise OutcomeUnknown(said, trouble.after_seconds) from trouble
        deleted.append(key)
    return Confirmed(
        [Reference("deleted_item_fulfillment", key) for key in deleted],
        note="" if deleted else "there is no item fulfillment: nothing to reverse",
    )


async def _fulfillments(work: Work, vendor: NetSuiteClient) -> list[str]:
    """External ids of the shipment's item fulfillments that are there. NeedsPerson: some are not,
    and nothing of ours can have deleted them."""
    numbers: dict[str, str] = {}
    for key in translate.fulfillment_keys(booking_rules(work.settings), work.event.shipment):
        try:
            record = await vendor.read(ITEM_FULFILLMENT, eid(key), _FULFILLMENT_FIELDS)
        except RecordMissing:
            continue
        numbers[key] = str(record.get("tranId") or key)
    posted = {
        each.document_number
        for each in work.event.shipment.postings
        if (each.endpoint, each.operation) == (work.endpoint, "post_goods_issue")
        and each.document_type == SHIPMENT_DOCUMENT
    }
    if len(numbers) < len(posted) and not work.in_doubt:
        raise NeedsPerson(
            f"posted: {', '.join(sorted(posted))}; found by external id: "
            f"{', '.join(sorted(numbers.values())) or 'none'}; nothing was deleted. Somebody "
            "deleted the rest or changed its external id, or this role may not see it: give it "
            "back its external id or let the role see it, then retry the delivery; or undo all of "
            "it in NetSuite, then resolve the delivery"
        )
    return list(numbers)


async def read_anew(poll: Poll, held: HeldPayload, vendor: NetSuiteClient) -> None:
    """The record of a row that was held, as it is now: its unit may have a row since."""
    await master_data.read_anew(poll, held, vendor, ADAPTER.mappings)


@ADAPTER.poll("master_data", translate_held=read_anew)
async def pull_master_data(poll: Poll, vendor: NetSuiteClient) -> None:
    """Changed items, customers, locations and unit conversions, into the hub."""
    await master_data.pull(poll, vendor, ADAPTER.mappings)


def _check_key(record: Mapping[str, Any], key: str) -> None:
    """A record under another external id is no answer to the question, whatever else it says."""
    found = record.get("externalId", key)
    if found != key:
        raise OutcomeUnknown(f"asked for external id {key}, NetSuite answered with {found}")


def booking_rules(settings: Settings) -> BookingRules:
    """What the deployment decided about documents."""
    return BookingRules(
        zone=ZoneInfo(settings.text("account_time_zone")),
        external_id_prefix=settings.text("external_id_prefix"),
        line_field=settings.text("line_field"),
        order_field=settings.text("order_field"),
        approved_status=settings.text("approved_status"),
        shipped_status=settings.text("shipped_status"),
        price_level=settings.text("price_level"),
        line_units=settings.mapping("line_units"),
        ship_methods=settings.mapping("ship_methods"),
        package_sublists=package_sublists(settings),
        subsidiaries=settings.mapping("subsidiaries"),
        currencies=settings.mapping("currencies"),
        weight_decimals=settings.integer("weight_decimals"),
    )


def package_sublists(settings: Settings) -> dict[str, str]:
    """The setting of that name. SettingsError when a value names no sublist of packages."""
    known = {name.lower(): name for name in (*translate.PACKAGE_SUBLISTS, translate.NO_SUBLIST)}
    named = settings.mapping("package_sublists")
    for carrier, sublist in named.items():
        if sublist.lower() not in known:
            raise SettingsError(
                f"package_sublists: {sublist!r} of {carrier} is no sublist; write one of "
                f"{', '.join(known.values())}"
            )
    return {carrier: known[sublist.lower()] for carrier, sublist in named.items()}


async def _ids_of_order(work: Work, order: order_pb2.Order) -> InternalIds:
    locations = {line.ship_from_location_number for line in order.lines}
    return InternalIds(
        customers=await _ids(work, "customer", {order.customer_number}),
        items=await _ids(work, "item", {line.item_number for line in order.lines}),
        locations=await _ids(work, "location", locations),
    )


async def _ids_of_shipment(
    work: Work, vendor: NetSuiteClient, shipment: shipment_pb2.Shipment
) -> InternalIds:
    packed = {content.item_number for box in shipment.packages for content in box.contents}
    items = await _ids(work, "item", packed)
    numbers = translate.numbers_that_left(shipment)
    return InternalIds(
        items=items,
        locations=await _ids(work, "location", {shipment.ship_from_location_number}),
        tracked=await inventory_numbers.find(vendor, work.settings, numbers, items),
    )


async def _ids(work: Work, kind: str, numbers: set[str]) -> dict[str, str]:
    """Asked before anything is sent, so a hub that is away for a moment is a retry."""
    try:
        return await work.numbers(kind, sorted(numbers))
    except HubAway as away:
        raise Retry(0.0, f"the hub did not answer for {kind} numbers: {away}") from away


def _adopted(found: Confirmed | NotFound, duplicate: DuplicateRecord) -> Confirmed:
    """The external id is taken: by our own earlier attempt, or the refusal is a real one."""
    if isinstance(found, NotFound):
        raise Reject("DUPLICATE", str(duplicate))
    return found


def _booked(order: order_pb2.Order, record: Mapping[str, Any], internal_id: str) -> Confirmed:
    references = translate.document_references(ORDER_DOCUMENT, record, internal_id)
    facts = []
    if record.get("tranId"):
        facts.append(sales_document(order.id, str(record["tranId"])))
    return Confirmed(references, facts)


def _posted(work: Work, record: Mapping[str, Any], internal_id: str, note: str) -> Confirmed:
    """NeedsPerson: the fulfillment is there, and in a step in which nothing is posted."""
    references = translate.document_references(SHIPMENT_DOCUMENT, record, internal_id)
    code = translate.status_of(record, "shipStatus")
    known = STATUSES[SHIP_STATUS].get(code)
    is_posted = code in ("", work.settings.text("shipped_status"))
    if not is_posted and (known is None or known.word != POSTED):
        told = f"{code} ({known.meaning})" if known else f"{code!r}, which has no row"
        raise NeedsPerson(
            f"item fulfillment {references[0].value} has shipStatus {told}: it posts nothing; "
            "set it to shipped in NetSuite, then retry the delivery"
        )
    return Confirmed(references, note=note)
