"""FedEx at the hub: buys labels in two steps, cancels them, reports what tracking tells."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from crossdock.label.v1 import label_pb2, label_service_pb2
from crossdock.returns.v1 import return_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock.types.v1 import types_pb2

from crossdock_adapters.fedex import purchasing, signature, translate, translate_scans
from crossdock_adapters.fedex.client import MAX_TRACKED_AT_ONCE, Booking, FedexClient
from crossdock_adapters.fedex.translate import CROSS_BORDER, ShipRules
from crossdock_adapters.sdk import (
    carrier_labels,
    carrier_reports,
    carrier_scans,
    early_settings,
    hazardous_goods,
    return_labels,
    vendor_json,
)
from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.carrier_labels import Purchase
from crossdock_adapters.sdk.carrier_scans import History
from crossdock_adapters.sdk.mappings import Topic
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    OutcomeUnknown,
    Reference,
    Reject,
)
from crossdock_adapters.sdk.settings import Secrets, Settings
from crossdock_adapters.sdk.state_zones import with_states
from crossdock_adapters.sdk.work import HeldPayload, Poll, Refused, Webhook, Work

log = logging.getLogger(__name__)

ADAPTER = Adapter.load(__package__)

# Of a package that another delivery of the same shipment buys, the draft is its label.
BOUGHT_WITH = "with:"
# Draft of a return for which there is nothing to buy.
NOTHING = "nothing"
# Within so long nearly every parcel is sent; one that the hub has asked about later may be, too.
TRACKED_DAYS = 90


@ADAPTER.connect
async def connect(settings: Settings, secrets: Secrets) -> FedexClient:
    """One client for one FedEx account. SettingsError: a setting is none of what it may be."""
    early_settings.one_of(settings, "pickup_type", translate.PICKUP_TYPES)
    early_settings.one_of(settings, "return_payment_type", translate.RETURN_PAYERS)
    for name in ("label_format", "return_label_format"):
        early_settings.one_of(settings, name, translate.KINDS, any_case=True)
    early_settings.weight(settings, "return_weight")
    early_settings.zones(settings, "scan_time_zones")
    return FedexClient(settings, secrets)


@ADAPTER.draft("buy_label")
async def open_shipment(work: Work, vendor: FedexClient) -> str:
    """Makes the open shipment of all packages under our reference, for the first of them."""
    shipment: shipment_pb2.Shipment = work.event.shipment
    rules = ship_rules(work.settings)
    packages = _packages(work, shipment)
    if packages[0].id != work.item:
        return BOUGHT_WITH + await carrier_reports.number_bought_with(work, packages[0])
    requested = translate.requested_shipment(shipment, packages, work.reference, rules)
    await hazardous_goods.refuse(work, packages)
    account = rules.account_for(shipment.ship_from_location_number)
    return await purchasing.open_shipment(work, vendor, account, requested)


@ADAPTER.operation("buy_label")
async def buy_label(work: Work, vendor: FedexClient) -> Confirmed:
    """Confirms the open shipment, which buys its labels."""
    if work.draft.startswith(BOUGHT_WITH):
        number = work.draft.removeprefix(BOUGHT_WITH)
        note = "bought with the first package of its shipment"
        return Confirmed([Reference("tracking_number", number)], note=note)
    shipment: shipment_pb2.Shipment = work.event.shipment
    rules = ship_rules(work.settings)
    account = rules.account_for(shipment.ship_from_location_number)
    booking, note = await purchasing.confirm(work, vendor, account, rules, ADAPTER.mappings)
    return _bought(work, booking, note)


@ADAPTER.draft("buy_return_label")
async def open_return(work: Work, vendor: FedexClient) -> str:
    """Makes the open shipment of a return under our reference."""
    if return_labels.nothing_to_buy(work) is not None:
        return NOTHING
    rules = _return_rules(work.settings)
    shipment = await return_labels.shipment_back(work)
    requested = translate.requested_return(shipment, work.reference, rules)
    await hazardous_goods.refuse(work, shipment.packages)
    account = rules.account_for(shipment.ship_from_location_number)
    return await purchasing.open_shipment(work, vendor, account, requested)


@ADAPTER.operation("buy_return_label")
async def buy_return_label(work: Work, vendor: FedexClient) -> Confirmed:
    """Confirms the open shipment of a return, which buys the label that the customer prints."""
    nothing = return_labels.nothing_to_buy(work)
    if nothing is not None:
        return nothing
    rules = _return_rules(work.settings)
    account = rules.account_for(work.event.customer_return.return_to_location_number)
    booking, note = await purchasing.confirm(work, vendor, account, rules, ADAPTER.mappings)
    return _bought_back(work, booking, note)


@ADAPTER.operation("void_label")
async def void_label(work: Work, vendor: FedexClient) -> Confirmed:
    """Cancels the shipment of a package's label; cancelling twice is one, after a scan no more.

    With it go the labels of all packages that were sold together, which is told of each: the hub
    may have dropped the purchase and the void of another package untouched.
    """
    shipment: shipment_pb2.Shipment = work.event.shipment
    carrier = work.settings.text("carrier_code")
    labels = await _labels_of(work, carrier)
    valid = [each for each in labels if each.state != label_pb2.LABEL_STATE_VOIDED]
    label = next((each for each in valid if each.package_id == work.item), None)
    void = [each.tracking_number for each in labels if each.package_id == work.item]
    number = carrier_labels.tracking_number_of(shipment, work.item)
    # A number that no label of the hub has is of one that was bought since, and is still held.
    if label is None and void and number in ("", *void):
        # The void of another package told it.
        note = "its label is void already: its shipment is cancelled"
        return Confirmed([Reference("voided_tracking_number", number or void[-1])], note=note)
    number = number if label is None else label.tracking_number
    if not number:
        return Confirmed(note="no label was bought for this package: nothing to cancel")
    master = "" if label is None else label.carrier_shipment_number
    account = ship_rules(work.settings).account_for(shipment.ship_from_location_number)
    together = (
        each.tracking_number
        for each in valid
        if (master or number) in (each.tracking_number, each.carrier_shipment_number)
    )
    numbers = dict.fromkeys([number, *together])
    await _cancel(vendor, number, master, account, shipment.ship_from)
    facts = [carrier_labels.void_request(work.endpoint, carrier, each) for each in numbers]
    return Confirmed([Reference("voided_tracking_number", number)], facts)


@ADAPTER.operation("void_return_label")
async def void_return_label(work: Work, vendor: FedexClient) -> Confirmed:
    """Cancels the shipment of a return's label, as `void_label` does."""
    wanted: return_pb2.Return = work.event.customer_return
    label = await return_labels.sold_label(work)
    if label is None:
        return Confirmed(note="no label was bought here for this return: nothing to cancel")
    number, master = label.tracking_number, label.carrier_shipment_number
    account = ship_rules(work.settings).account_for(wanted.return_to_location_number)
    await _cancel(vendor, number, master, account, wanted.ship_from)
    return return_labels.voided(work, label)


async def check_signature(hook: Webhook, vendor: FedexClient) -> None:
    """FedEx signs the raw body; what it would no longer send again by itself is a replay."""
    given = hook.headers.get(hook.settings.text("signature_header").lower(), "")
    if not signature.is_signed(hook.body, given, hook.secrets.text("webhook_token")):
        raise Refused(401, "the signature is missing or wrong")
    try:
        newest = translate_scans.newest_day(vendor_json.loads(hook.body))
    except (ValueError, RecursionError):
        return
    window = hook.settings.integer("replay_window_days")
    if signature.is_replayed(newest, datetime.now(UTC).date(), window):
        raise Refused(403, f"its newest scan is older than the {window} days FedEx keeps callbacks")


@ADAPTER.webhook("/fedex/tracking", check=check_signature)
async def tracking_callback(hook: Webhook, vendor: FedexClient) -> None:
    """Track results, pushed: perhaps twice, out of order, or never (then polling has them)."""
    try:
        histories = translate_scans.histories_in(
            vendor_json.loads(hook.body),
            ADAPTER.mappings,
            hook.settings.text("carrier_code"),
            with_states(hook.settings.mapping("scan_time_zones")),
            hook.settings.texts("tracking_not_found_codes"),
        )
    except (ValueError, RecursionError) as error:
        await hook.hold(str(error), key=carrier_reports.payload_key(hook.body))
        return
    problems: list[str] = []
    for history in histories:
        problems += [*history.problems, *await _tell(hook, history, carrier_scans.WEBHOOK)]
    if problems:
        await hook.hold("; ".join(problems), key=carrier_reports.payload_key(hook.body))


async def translate_result(poll: Poll, held: HeldPayload, vendor: FedexClient) -> None:
    """A result as Track showed it; scans that are known already, the hub knows again."""
    result = vendor_json.loads(held.payload)
    if not isinstance(result, dict):
        await poll.hold(held.payload, "the track result is not a JSON object")
        return
    await _report_result(poll, result)


@ADAPTER.poll("tracking", translate_held=translate_result)
async def poll_tracking(poll: Poll, vendor: FedexClient) -> None:
    """Asks about parcels under way, thirty in a call and a bounded share in each run."""
    ask = partial(_ask_about, poll, vendor)
    await carrier_reports.ask_about_moving(poll, MAX_TRACKED_AT_ONCE, ask)


def ship_rules(settings: Settings) -> ShipRules:
    """What the deployment decided about shipments, and what the rows say of codes."""
    natives, rows = ADAPTER.mappings.natives, ADAPTER.mappings.told()
    # FedEx's own service types pass, also those that no word of the contract is sent as.
    own = {code.code: code.code for topic, code in rows if topic == Topic.SERVICE_LEVEL}
    words = {**natives(Topic.SERVICE_LEVEL), **natives(Topic.SERVICE_LEVEL, CROSS_BORDER)}
    services = {**own, **words}
    return ShipRules(
        account_number=settings.text("account_number"),
        accounts_by_location=settings.mapping("accounts_by_location"),
        services={**services, **settings.mapping("services")},
        units=natives(Topic.UNIT),
        packaging_type=settings.text("packaging_type"),
        package_types=settings.mapping("package_types"),
        packaging=natives(Topic.PACKAGE_TYPE),
        pickup_type=settings.text("pickup_type"),
        label_format=settings.text("label_format"),
        label_stock=settings.text("label_stock"),
        default_phone=settings.text("default_phone"),
    )


def _return_rules(settings: Settings) -> ShipRules:
    """The same for the way back, whose label the customer prints."""
    return replace(
        ship_rules(settings),
        label_format=settings.text("return_label_format"),
        label_stock="",
        payment_type=settings.text("return_payment_type"),
    )


def _packages(work: Work, shipment: shipment_pb2.Shipment) -> list[shipment_pb2.Package]:
    """The packages that are bought together with the one of this delivery, the first one first."""
    own = carrier_labels.find_package(shipment, work.item)
    return list(shipment.packages) if work.settings.flag("multi_piece") else [own]


def _bought(work: Work, booking: Booking, note: str = "") -> Confirmed:
    """The labels of all packages of a booking, as facts; the number of our own package alone, since
    two tracking numbers of one delivery are a label that was bought twice."""
    shipment: shipment_pb2.Shipment = work.event.shipment
    packages = _packages(work, shipment)
    if len(booking.pieces) != len(packages):
        raise OutcomeUnknown(
            f"FedEx sold {len(booking.pieces)} labels under {booking.master_number} "
            f"for {len(packages)} packages"
        )
    bought_at = _bought_at(note)
    notes = _notes_of(booking, note)
    references, facts = [Reference("shipment_number", booking.master_number)], []
    ordered = sorted(booking.pieces, key=lambda piece: piece.sequence)
    for package, piece in zip(packages, ordered, strict=True):
        label = piece.label
        purchase = Purchase(label, booking.master_number, piece.amount, piece.currency, bought_at)
        form = translate.FORMATS.get(label.format, label_pb2.LABEL_FORMAT_UNSPECIFIED)
        facts.append(carrier_labels.sold(work, purchase, form, package.id))
        if package.id == work.item:
            references.append(Reference("tracking_number", label.tracking_number))
    return Confirmed(references, facts, "; ".join(notes))


def _bought_back(work: Work, booking: Booking, note: str) -> Confirmed:
    """The label of a return as a fact, with its number."""
    if len(booking.pieces) != 1:
        raise OutcomeUnknown(
            f"FedEx sold {len(booking.pieces)} labels under {booking.master_number} for one return"
        )
    piece, notes = booking.pieces[0], _notes_of(booking, note)
    bought_at = _bought_at(note)
    purchase = Purchase(piece.label, booking.master_number, piece.amount, piece.currency, bought_at)
    form = translate.FORMATS.get(piece.label.format, label_pb2.LABEL_FORMAT_UNSPECIFIED)
    number = Reference("tracking_number", piece.label.tracking_number)
    return Confirmed([number], [return_labels.sold_request(work, purchase, form)], "; ".join(notes))


def _bought_at(found_how: str) -> types_pb2.SourceTime | None:
    """When a booking was bought: now, or nobody knows where it was found; FedEx does not say."""
    return None if found_how else carrier_reports.bought_now()


def _notes_of(booking: Booking, note: str) -> list[str]:
    """What a person should know of a booking: how it was found, FedEx's remarks, missing images."""
    notes = [note, *booking.alerts] if note else list(booking.alerts)
    for piece in booking.pieces:
        missing = carrier_labels.why_no_image(piece.label, "FedEx")
        if missing:
            log.warning("label %s: %s", piece.label.tracking_number, missing)
            notes.append(missing)
    return notes


async def _labels_of(work: Work, carrier: str) -> list[label_pb2.Label]:
    """Every label of ours of the delivery's shipment, void ones too."""
    request = label_service_pb2.ListLabelsRequest(
        page_size=carrier_reports.MAX_LABELS_OF_A_SHIPMENT, shipment_id=work.event.shipment.id
    )
    listed = (await work.hub.labels.ListLabels(request)).labels
    return [each for each in listed if each.carrier_code == carrier]


async def _cancel(
    vendor: FedexClient, number: str, master: str, account: str, sender: types_pb2.Party
) -> None:
    """Cancels a whole shipment; true also of one that was cancelled before. Reject: it was not."""
    try:
        cancelled = await vendor.cancel(master or number, account, sender.address.country_code)
        refusal = Reject("not_cancelled", f"FedEx did not cancel {number}")
    except Reject as refused:
        cancelled, refusal = False, refused
    # FedEx has no published word for "cancelled before"; tracking knows.
    if not cancelled and not await _is_cancelled(vendor, number):
        raise refusal


async def _is_cancelled(vendor: FedexClient, number: str) -> bool:
    results = await vendor.track([{"trackingNumberInfo": {"trackingNumber": number}}])
    newest = translate_scans.newest_result(results, number, None)
    return newest is not None and translate_scans.is_cancelled(newest, ADAPTER.mappings)


async def _ask_about(poll: Poll, vendor: FedexClient, labels: Sequence[label_pb2.Label]) -> None:
    """Tracks parcels; one that FedEx refuses, or does not know, does not cost the others."""
    if not labels:
        return
    try:
        results = await vendor.track([_inquiry(label) for label in labels])
    except OutcomeUnknown as refused:
        if len(labels) == 1:
            log.warning("tracking of %s refused: %s", labels[0].tracking_number, refused.reason)
            return
        for label in labels:
            await _ask_about(poll, vendor, [label])
        return
    unknown = poll.settings.texts("tracking_not_found_codes")
    for label in labels:
        number = label.tracking_number
        newest = translate_scans.newest_result(results, number, carrier_reports.first_day(label))
        if newest is not None:
            await _report_result(poll, newest)
    for result in results:
        code, message = translate_scans.error_of(result)
        if code and code not in unknown:
            log.warning("tracking says %s: %s", code, message)


def _inquiry(label: label_pb2.Label) -> dict[str, Any]:
    """Which of the shipments that had this number over the years is meant: by its ship date."""
    inquiry: dict[str, Any] = {"trackingNumberInfo": {"trackingNumber": label.tracking_number}}
    first = carrier_reports.first_day(label)
    if first is not None:
        inquiry["shipDateBegin"] = first.isoformat()
        # Today is over somewhere already.
        tomorrow = datetime.now(UTC).date() + timedelta(days=1)
        last = max(first + timedelta(days=TRACKED_DAYS), tomorrow)
        inquiry["shipDateEnd"] = last.isoformat()
    return inquiry


async def _report_result(poll: Poll, result: Mapping[str, Any]) -> None:
    history = translate_scans.parcel_history(
        result,
        ADAPTER.mappings,
        poll.settings.text("carrier_code"),
        with_states(poll.settings.mapping("scan_time_zones")),
    )
    problems = [*history.problems, *await _tell(poll, history, carrier_scans.POLL)]
    if problems:
        raw = vendor_json.dumps(dict(result))
        await poll.hold(raw, "; ".join(problems), key=carrier_reports.payload_key(raw))


async def _tell(way: Poll | Webhook, history: History, channel: str) -> list[str]:
    """Reports the scans of one parcel; what the hub will never take of them."""
    for event in history.events:
        event.channel = channel
    try:
        if history.events:
            await carrier_reports.report(way.hub, way.endpoint, history.events)
    except carrier_reports.Refusal as refusal:
        return [str(refusal)]
    return []
