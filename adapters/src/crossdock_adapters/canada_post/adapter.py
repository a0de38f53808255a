"""Canada Post at the hub: buys labels, voids or refunds them, reports what tracking shows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial

from crossdock.label.v1 import label_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock.types.v1 import types_pb2

from crossdock_adapters.canada_post import manifests, translate
from crossdock_adapters.canada_post.client import (
    CURRENCY,
    SUSPENDED,
    CanadaPostClient,
    ShipmentInfo,
    Voided,
)
from crossdock_adapters.canada_post.translate import DOMESTIC, ShipRules
from crossdock_adapters.sdk import carrier_labels, carrier_reports, hazardous_goods
from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.carrier_labels import LabelImage, Purchase
from crossdock_adapters.sdk.mappings import Topic
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    NeedsPerson,
    NotFound,
    OutcomeUnknown,
    Reference,
    Reject,
    VendorOutcome,
)
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.settings import Secrets, Settings, SettingsError
from crossdock_adapters.sdk.work import HeldPayload, Poll, Work

log = logging.getLogger(__name__)

ADAPTER = Adapter.load(__package__)

BY_REFERENCE, BY_PIN = "requestId", "trackingPIN"
LABELS_PER_PAGE = 100
PARCELS_ASKED_AT_ONCE = 4
# After so many attempts a shipment that is there is adopted without its label, which somebody
# prints from Canada Post: a parcel that waits for ever is worse.
ATTEMPTS_FOR_LABEL = 10
XML = "application/xml"
# Settings that are one of a few words: a misspelt one would transmit, or ask for another label.
WORDS = {
    "transmission": (translate.AT_DEPARTURE, translate.MANIFEST, translate.AT_CREATION),
    "method_of_payment": ("Account", "CreditCard", "SupplierAccount"),
    "label_encoding": ("ZPL", "PDF"),
    "label_format": ("4x6", "8.5x11"),
}
FORMATS = {"PDF": label_pb2.LABEL_FORMAT_PDF, "ZPL": label_pb2.LABEL_FORMAT_ZPL}


@ADAPTER.connect
async def connect(settings: Settings, secrets: Secrets) -> CanadaPostClient:
    """One client for one API key. SettingsError: a setting is none of the words it may be."""
    for name, words in WORDS.items():
        if settings.text(name) not in words:
            raise SettingsError(f"{name} is {settings.text(name)!r}: give {' or '.join(words)}")
    if settings.text("group") and settings.text("transmission") != translate.MANIFEST:
        raise SettingsError(
            f"group is given and transmission is {settings.text('transmission')}: a group for many "
            "shipments is one that somebody else transmits; leave group, or set transmission to "
            f"{translate.MANIFEST}"
        )
    return CanadaPostClient(settings, secrets)


@ADAPTER.operation("buy_label")
async def buy_label(work: Work, vendor: CanadaPostClient) -> Confirmed:
    """Creates the shipment of one package under our reference, and fetches its label."""
    shipment: shipment_pb2.Shipment = work.event.shipment
    rules = ship_rules(work.settings)
    document = translate.shipment_document(shipment, work.item, work.reference, rules)
    await hazardous_goods.refuse(work, [carrier_labels.find_package(shipment, work.item)])
    info = await vendor.create(document)
    if info.request_id not in ("", work.reference):
        raise OutcomeUnknown(f"Canada Post answers with the shipment of {info.request_id}")
    if info.status == SUSPENDED:
        raise OutcomeUnknown(f"shipment {info.shipment_id} is made and {info.why_unusable}")
    # The shipment is there and will be paid: whatever else is wrong, it is not to be repeated.
    made = f"shipment {info.shipment_id} is made, its label not fetched"
    try:
        label = await vendor.label(info)
    except VendorOutcome as outcome:
        wish: float = getattr(outcome, "after_seconds", 0.0)
        raise OutcomeUnknown(f"{made}: {outcome.reason}", wish) from outcome
    if not label.image:
        raise OutcomeUnknown(f"{made}: Canada Post does not show it")
    return _bought(work, info, label, info.due, carrier_reports.bought_now(), [])


@ADAPTER.look_up("buy_label")
async def find_label(work: Work, vendor: CanadaPostClient) -> Confirmed | NotFound:
    """Looks for shipments under our reference, by exact match of what Canada Post shows.

    Several found: of those whose labels may be used the one with the lowest number is adopted,
    whatever their order, so that every look-up adopts the same. The others are duplicates that the
    hub raises, unless their price was asked back before. A look-up takes none back: the call that
    made it may still say that it is done.
    """
    listed = await vendor.find(BY_REFERENCE, work.reference)
    found = [info for info in listed if info.request_id == work.reference]
    if listed and not found:
        # Whatever they are: a search that lists something has not said that ours is not there.
        told = ", ".join(sorted({info.request_id or "no reference" for info in listed}))
        raise OutcomeUnknown(f"Canada Post lists shipments of {told} for {work.reference}")
    if not found:
        return NotFound(f"Canada Post knows no shipment with reference {work.reference}")
    found.sort(key=lambda info: (len(info.shipment_id), info.shipment_id))
    ours = next((info for info in found if not info.why_unusable), None)
    if ours is None:
        told = ", shipment ".join(f"{info.shipment_id} {info.why_unusable}" for info in found)
        raise NeedsPerson(
            f"shipment {told}: no label to use. To buy another one, retry the delivery and say "
            "that Canada Post has none (--not-found-at-vendor)"
        )
    label = await _label_if_ever(work, vendor, ours)
    due = await vendor.price(ours)
    others = [info for info in found if info is not ours and not info.asked_back]
    notes = [f"found by reference {work.reference}"]
    notes += [f"void by hand: second label {other.tracking_pin}" for other in others]
    duplicates = [Reference("tracking_number", other.tracking_pin) for other in others]
    bought = _bought(work, ours, label, due, None, notes)
    return replace(bought, duplicates=duplicates, found_by=ours.request_id)


async def _label_if_ever(work: Work, vendor: CanadaPostClient, info: ShipmentInfo) -> LabelImage:
    """The label of a shipment that a look-up found; after many attempts without its image."""
    try:
        return await vendor.label(info)
    except OutcomeUnknown as outcome:
        if work.attempt < ATTEMPTS_FOR_LABEL:
            raise
        log.warning("label of shipment %s given up: %s", info.shipment_id, outcome.reason)
        return LabelImage(info.tracking_pin, "", b"")


@ADAPTER.operation("void_label")
async def void_label(work: Work, vendor: CanadaPostClient) -> Confirmed:
    """Voids the label of one package; one that was transmitted is to be refunded instead."""
    shipment: shipment_pb2.Shipment = work.event.shipment
    pin, shipment_id = carrier_labels.tracking_number_of(shipment, work.item), ""
    label = await carrier_reports.label_of(work.hub, shipment.id, work.item)
    if label is not None:
        pin, shipment_id = label.tracking_number, label.carrier_shipment_number
    if not pin:
        return Confirmed(note="no label was bought for this package: nothing to void")
    if not shipment_id:
        found = [info for info in await vendor.find(BY_PIN, pin) if info.tracking_pin == pin]
        if not found:
            # Voided before, or bought under another customer number: nothing here proves which.
            raise NeedsPerson(f"Canada Post knows no shipment of parcel {pin}: is it voided?")
        shipment_id = found[0].shipment_id
    references, note = await _take_back(work, vendor, shipment_id, pin)
    fact = carrier_labels.void_request(work.endpoint, work.settings.text("carrier_code"), pin)
    voided = [Reference("voided_tracking_number", pin), *references]
    return Confirmed(voided, [fact], note)


@ADAPTER.operation("close_manifest")
async def close_manifest(work: Work, vendor: CanadaPostClient) -> Confirmed:
    """Transmits what left with a departure; what was transmitted before stays so."""
    return await manifests.close(work, vendor, ship_rules(work.settings))


@ADAPTER.look_up("close_manifest")
async def find_manifest(work: Work, vendor: CanadaPostClient) -> Confirmed | NotFound:
    """Asks each shipment that left whether it is transmitted."""
    return await manifests.find(work, vendor)


async def translate_detail(poll: Poll, held: HeldPayload, vendor: CanadaPostClient) -> None:
    """An answer of tracking as it came; scans that are known already, the hub knows again."""
    await _report_history(poll, held.payload, "")


@ADAPTER.poll("tracking", translate_held=translate_detail)
async def poll_tracking(poll: Poll, vendor: CanadaPostClient) -> None:
    """Asks about parcels under way, a bounded share in each run: there are no callbacks."""
    ask = partial(_ask_about, poll, vendor)
    await carrier_reports.ask_about_moving(poll, LABELS_PER_PAGE, ask)


def ship_rules(settings: Settings) -> ShipRules:
    """What the deployment decided about shipments, and what the rows say of services."""
    return ShipRules(
        customer_number=settings.text("customer_number"),
        contract_id=settings.text("contract_id"),
        paid_by=settings.text("paid_by"),
        method_of_payment=settings.text("method_of_payment"),
        transmission=settings.text("transmission"),
        group=settings.text("group"),
        shipping_point=settings.text("shipping_point"),
        collected=settings.flag("collected"),
        options=settings.texts("options"),
        services={
            **ADAPTER.mappings.natives(Topic.SERVICE_LEVEL, DOMESTIC),
            **settings.mapping("services"),
        },
        package_types=settings.mapping("package_types"),
        packaging=ADAPTER.mappings.natives(Topic.PACKAGE_TYPE),
        output_format=settings.text("label_format"),
        encoding=settings.text("label_encoding"),
        contact_phone=settings.text("contact_phone"),
        cost_centre=settings.text("cost_centre"),
    )


def _bought(
    work: Work,
    info: ShipmentInfo,
    label: LabelImage,
    due: Decimal | None,
    bought_at: types_pb2.SourceTime | None,
    notes: Sequence[str],
) -> Confirmed:
    missing = carrier_labels.why_no_image(label, "Canada Post")
    if missing:
        log.warning("label %s: %s", info.tracking_pin, missing)
        notes = [*notes, missing]
    purchase = Purchase(label, info.shipment_id, due, CURRENCY, bought_at)
    form = FORMATS.get(label.format, label_pb2.LABEL_FORMAT_UNSPECIFIED)
    fact = carrier_labels.sold(work, purchase, form)
    references = [
        Reference("tracking_number", info.tracking_pin),
        Reference("shipment_number", info.shipment_id),
    ]
    return Confirmed(references, [fact], "; ".join(notes))


async def _take_back(
    work: Work, vendor: CanadaPostClient, shipment_id: str, pin: str
) -> tuple[list[Reference], str]:
    """Voids a shipment, or asks for its price where it was transmitted: references and a note.

    Not there is "voided before" only where its parcel is not listed any more.
    """
    done = await vendor.void(shipment_id)
    if done is Voided.NOW:
        return [], "voided"
    if done is Voided.NOT_THERE:
        if any(info.tracking_pin == pin for info in await vendor.find(BY_PIN, pin)):
            raise OutcomeUnknown(f"shipment {shipment_id} is not there, and parcel {pin} is listed")
        return [], "not there any more: voided before"
    email = work.settings.text("refund_email")
    if not email:
        raise NeedsPerson(
            f"shipment {shipment_id} was transmitted: ask Canada Post for a refund, or set "
            "refund_email so that this endpoint does"
        )
    ticket = await vendor.refund(shipment_id, translate.refund_document(email))
    if not ticket:
        return [], "transmitted already: a refund had been asked for before"
    note = f"transmitted already: refund asked for by service ticket {ticket}"
    return [Reference("refund_ticket", ticket)], note


async def _ask_about(
    poll: Poll, vendor: CanadaPostClient, labels: Sequence[label_pb2.Label]
) -> None:
    """Tracks several parcels at once; one that is refused does not cost the others."""

    async def ask(pin: str) -> None:
        try:
            body = await vendor.track(pin)
        except Reject as refused:
            log.warning("tracking of %s refused: %s", pin, refused.reason)
            return
        if body:
            await _report_history(poll, body, pin)

    pins = [label.tracking_number for label in labels]
    await carrier_reports.each_at_once(pins, PARCELS_ASKED_AT_ONCE, ask)


async def _report_history(poll: Poll, body: bytes, pin: str) -> None:
    """Tells the hub every scan; what cannot be read is held raw, with its place."""
    carrier = poll.settings.text("carrier_code")
    try:
        history = translate.history(body, pin, ADAPTER.mappings, carrier)
    except Unreadable as error:
        await poll.hold(body, str(error), XML, key=carrier_reports.payload_key(body))
        return
    await carrier_reports.report_or_hold(poll, history, lambda: body, XML)
