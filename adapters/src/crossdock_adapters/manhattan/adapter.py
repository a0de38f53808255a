"""Manhattan at the hub: releases and cancels orders, puts labels on oLPNs, hears the floor."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping

from crossdock.errors import CallError, NotFoundError
from crossdock.fulfillment.v1 import fulfillment_pb2
from crossdock.item.v1 import item_pb2, item_service_pb2
from crossdock.label.v1 import label_pb2

from crossdock_adapters.manhattan import sites, translate
from crossdock_adapters.manhattan.client import ManhattanClient
from crossdock_adapters.manhattan.inbox import Inbox
from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    NeedsPerson,
    NotFound,
    Reference,
    Reject,
    Retry,
    Untranslatable,
)
from crossdock_adapters.sdk.settings import Secrets, Settings
from crossdock_adapters.sdk.work import HeldPayload, Poll, Work

log = logging.getLogger(__name__)

ADAPTER = Adapter.load(__package__)

TOO_LATE = "TOO_LATE"
ITEMS_READ_AT_ONCE = 8
HUB_RETRY_SECONDS = 1.0


@ADAPTER.connect
async def connect(settings: Settings, secrets: Secrets) -> ManhattanClient:
    """One client for one environment of the platform."""
    return ManhattanClient(settings, secrets, ADAPTER.mappings)


@ADAPTER.operation("release_order")
async def release_order(work: Work, vendor: ManhattanClient) -> Confirmed:
    """Sends the original order; its business key is the number of the fulfillment request."""
    request: fulfillment_pb2.FulfillmentRequest = work.event.fulfillment_request
    facility = vendor.sites.facility(request.ship_from_location_number)
    order = translate.original_order(
        request, facility, work.settings.text("order_type"), vendor.names
    )
    await _tell_items(work, vendor, facility, {line.item_number for line in request.lines})
    try:
        await vendor.save_original_order(facility, order)
    except Reject as refused:
        if refused.code not in work.settings.texts("too_late_codes"):
            raise
        # Too late to change means that the floor has it already: an earlier call got through.
        found = await find_released_order(work, vendor)
        if isinstance(found, NotFound):
            raise
        return found
    return _confirmed(request)


@ADAPTER.look_up("release_order")
async def find_released_order(work: Work, vendor: ManhattanClient) -> Confirmed | NotFound:
    """Whether the facility holds an original order under our number, sent for this request."""
    request: fulfillment_pb2.FulfillmentRequest = work.event.fulfillment_request
    facility = vendor.sites.facility(request.ship_from_location_number)
    found = await vendor.find_original_order(facility, request.number)
    if found is None:
        return NotFound(f"{facility} holds no original order {request.number}")
    if not translate.is_ours(found, request, vendor.names):
        raise NeedsPerson(f"{facility} holds {request.number} for another request of the host")
    note = "found by its number"
    if translate.is_cancelled(found, vendor.names):
        note += "; it was cancelled there since"
    return _confirmed(request, note)


@ADAPTER.operation("cancel_order")
async def cancel_order(work: Work, vendor: ManhattanClient) -> Confirmed:
    """Saves the order with its cancel flag; past the freeze status the warehouse refuses."""
    request: fulfillment_pb2.FulfillmentRequest = work.event.fulfillment_request
    facility = vendor.sites.facility(request.ship_from_location_number)
    order = translate.cancellation(
        request, facility, work.settings.text("order_type"), vendor.names
    )
    try:
        await vendor.save_original_order(facility, order)
    except Reject as refused:
        if refused.code in work.settings.texts("not_found_codes"):
            # It may be one of several reasons, and no order is let go of on a word that it is gone.
            if await vendor.find_original_order(facility, request.number) is not None:
                raise
            return Confirmed(note=f"{facility} holds no order {request.number}: nothing to cancel")
        if refused.code in work.settings.texts("too_late_codes"):
            raise Reject(TOO_LATE, refused.reason) from refused
        raise
    return _confirmed(request, "cancelled")


@ADAPTER.look_up("cancel_order")
async def find_cancelled_order(work: Work, vendor: ManhattanClient) -> Confirmed | NotFound:
    """Whether our order is cancelled there; not cancelled, or not there, means ask again."""
    request: fulfillment_pb2.FulfillmentRequest = work.event.fulfillment_request
    facility = vendor.sites.facility(request.ship_from_location_number)
    found = await vendor.find_original_order(facility, request.number)
    if found is None or not translate.is_cancelled(found, vendor.names):
        return NotFound(f"{request.number} is not cancelled at {facility}")
    return _confirmed(request, "found cancelled")


@ADAPTER.operation("print_label")
async def print_label(work: Work, vendor: ManhattanClient) -> Confirmed:
    """Puts tracking number and label on the oLPN; the warehouse prints and then may ship it."""
    label: label_pb2.Label = work.event.label
    facility = vendor.sites.facility(label.ship_from_location_number)
    await vendor.save_olpn(facility, translate.label_on_olpn(label, vendor.names))
    return Confirmed(note=f"{label.tracking_number} is on oLPN {label.package_number}")


async def translate_message(poll: Poll, held: HeldPayload, vendor: ManhattanClient) -> None:
    """A message that was kept raw; it was acknowledged then, so nothing is acknowledged now."""
    if not vendor.sites.zones:
        await _read_facilities(vendor)
    inbox = Inbox(poll, vendor.subscriptions, vendor.sites, vendor.names)
    await inbox.translate_held(held.payload)


@ADAPTER.poll("messages", translate_held=translate_message)
async def poll_messages(poll: Poll, vendor: ManhattanClient) -> None:
    """Picks, packs and ship confirms: pulled, reported, and only then acknowledged."""
    if not vendor.sites.zones:
        # First: a time without its zone would become a fact without an instant.
        await _read_facilities(vendor)
    await Inbox(poll, vendor.subscriptions, vendor.sites, vendor.names).run()
    # A location that the ERP told the hub only after we asked: soon, not at the next long interval.
    await _report_zones(poll, vendor, vendor.sites.untold)


@ADAPTER.poll("facilities")
async def poll_facilities(poll: Poll, vendor: ManhattanClient) -> None:
    """Time zones of our facilities, into the locations of the hub."""
    await _read_facilities(vendor)
    await _report_zones(poll, vendor, vendor.sites.locations())


async def _report_zones(poll: Poll, vendor: ManhattanClient, locations: Mapping[str, str]) -> None:
    for location_number, facility in list(locations.items()):
        zone = vendor.sites.zones.get(facility)
        if zone is None or await sites.report_zone(
            poll.hub, poll.endpoint, location_number, facility, zone
        ):
            vendor.sites.untold.pop(location_number, None)
        else:
            vendor.sites.untold[location_number] = facility


async def _read_facilities(vendor: ManhattanClient) -> None:
    records = await vendor.find_facilities(vendor.sites.any_facility)
    vendor.sites.learn(records, vendor.names)


async def _tell_items(
    work: Work, vendor: ManhattanClient, facility: str, numbers: set[str]
) -> None:
    """Make sure the warehouse knows these items as the hub does; it refuses unknown ones."""
    now = time.monotonic()
    fresh_seconds = work.settings.seconds("items_fresh_seconds")
    stale = [
        number
        for number in sorted(numbers)
        if not vendor.known_items.is_fresh(facility, number, now - fresh_seconds)
    ]
    if not stale:
        return
    gate = asyncio.Semaphore(ITEMS_READ_AT_ONCE)

    async def read(number: str) -> item_pb2.Item:
        async with gate:
            return await _item(work, number)

    items = await asyncio.gather(*map(read, stale))
    changed = [
        item
        for item in items
        if vendor.known_items.revision(facility, item.number) != item.revision
    ]
    if changed:
        records = [translate.item_record(item, vendor.names) for item in changed]
        refused = await vendor.import_items(facility, records)
        if refused:
            number, reason = next(iter(refused.items()))
            raise Reject("ITEM_REFUSED", f"item {number}: {reason}")
    for item in items:
        vendor.known_items.keep(facility, item.number, item.revision, now)


async def _item(work: Work, number: str) -> item_pb2.Item:
    """An item as the hub has it; nothing has been sent to the warehouse yet."""
    try:
        answer = await work.hub.items.GetItem(item_service_pb2.GetItemRequest(number=number))
    except NotFoundError:
        raise Untranslatable(f"the hub has no item {number!r}") from None
    except CallError as error:
        raise Retry(HUB_RETRY_SECONDS, f"item {number!r} not read from the hub") from error
    return answer.item


def _confirmed(request: fulfillment_pb2.FulfillmentRequest, note: str = "") -> Confirmed:
    return Confirmed([Reference("original_order", request.number)], note=note)
