"""UPS at the hub: buys and voids labels, subscribes to scans, reports what UPS tells and shows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

from crossdock.label.v1 import label_pb2
from crossdock.returns.v1 import return_pb2
from crossdock.shipment.v1 import shipment_pb2
from google.protobuf.message import Message

from crossdock_adapters.sdk import (
    carrier_labels,
    carrier_reports,
    early_settings,
    hazardous_goods,
    return_labels,
    vendor_json,
)
from crossdock_adapters.sdk.adapter import Adapter, same_secret
from crossdock_adapters.sdk.carrier_labels import LabelImage, Purchase
from crossdock_adapters.sdk.mappings import Topic
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    NotFound,
    OutcomeUnknown,
    Reference,
    Reject,
)
from crossdock_adapters.sdk.settings import Secrets, Settings
from crossdock_adapters.sdk.work import HeldPayload, Poll, Refused, Webhook, Work
from crossdock_adapters.ups import adoption, translate, translate_scans
from crossdock_adapters.ups.client import MAX_SUBSCRIBED_NUMBERS, UpsClient
from crossdock_adapters.ups.status_codes import StatusTable
from crossdock_adapters.ups.translate import SERVICE_TABLES, ShipRules

log = logging.getLogger(__name__)

ADAPTER = Adapter.load(__package__)

BY_PACKAGE, BY_ACCOUNT = "package", "account"
LABELS_PER_PAGE = 100
PARCELS_ASKED_AT_ONCE = 8
MAX_RENEWAL_PAGES = 1_000


def statuses() -> StatusTable:
    """What UPS's statuses mean by the rows that hold now."""
    return StatusTable(ADAPTER.mappings)


@ADAPTER.connect
async def connect(settings: Settings, secrets: Secrets) -> UpsClient:
    """One client for one UPS application. SettingsError: a setting is none of what it may be."""
    early_settings.one_of(settings, "subscription", (BY_PACKAGE, BY_ACCOUNT))
    for name in ("label_format", "return_label_format"):
        early_settings.one_of(settings, name, translate.ORDERED_FORMATS)
    early_settings.weight(settings, "return_weight")
    return UpsClient(settings, secrets)


@ADAPTER.operation("buy_label")
async def buy_label(work: Work, vendor: UpsClient) -> Confirmed:
    """Buys the label of one package, our reference on it. UPS sells a second one if repeated."""
    shipment: shipment_pb2.Shipment = work.event.shipment
    request = translate.ship_request(shipment, work.item, work.reference, ship_rules(work.settings))
    await hazardous_goods.refuse(work, [carrier_labels.find_package(shipment, work.item)])
    purchase, alerts = await _buy(vendor, request)
    return _bought(purchase, alerts, _label_fact(work, purchase))


@ADAPTER.look_up("buy_label")
async def find_label(work: Work, vendor: UpsClient) -> Confirmed | NotFound:
    """Looks for a label under our reference: label recovery first, then tracking."""
    shipment: shipment_pb2.Shipment = work.event.shipment
    account = ship_rules(work.settings).account_for(shipment.ship_from_location_number)
    return await _find(work, vendor, account, work.settings.text("label_format"), _label_fact)


@ADAPTER.operation("buy_return_label")
async def buy_return_label(work: Work, vendor: UpsClient) -> Confirmed:
    """Buys the label of a return, which the customer prints, our reference on it."""
    nothing = return_labels.nothing_to_buy(work)
    if nothing is not None:
        return nothing
    label_format = work.settings.text("return_label_format")
    rules = replace(ship_rules(work.settings), label_format=label_format)
    shipment = await return_labels.shipment_back(work)
    request = translate.return_request(shipment, work.reference, rules)
    await hazardous_goods.refuse(work, shipment.packages)
    purchase, alerts = await _buy(vendor, request)
    return _bought(purchase, alerts, _return_fact(work, purchase))


@ADAPTER.look_up("buy_return_label")
async def find_return_label(work: Work, vendor: UpsClient) -> Confirmed | NotFound:
    """The same search as for any label."""
    wanted: return_pb2.Return = work.event.customer_return
    account = ship_rules(work.settings).account_for(wanted.return_to_location_number)
    label_format = work.settings.text("return_label_format")
    return await _find(work, vendor, account, label_format, _return_fact)


@ADAPTER.operation("void_label")
async def void_label(work: Work, vendor: UpsClient) -> Confirmed:
    """Voids the label of one package; voiding twice is one void, after a scan UPS refuses."""
    shipment: shipment_pb2.Shipment = work.event.shipment
    number = carrier_labels.tracking_number_of(shipment, work.item)
    if not number:
        label = await carrier_reports.label_of(work.hub, shipment.id, work.item)
        number = label.tracking_number if label is not None else ""
    if not number:
        return Confirmed(note="no label was bought for this package: nothing to void")
    await _void(vendor, number)
    fact = carrier_labels.void_request(work.endpoint, work.settings.text("carrier_code"), number)
    return Confirmed([Reference("voided_tracking_number", number)], [fact])


@ADAPTER.operation("void_return_label")
async def void_return_label(work: Work, vendor: UpsClient) -> Confirmed:
    """Voids the label of a return, as `void_label` does."""
    label = await return_labels.sold_label(work)
    if label is None:
        return Confirmed(note="no label was bought here for this return: nothing to void")
    await _void(vendor, label.tracking_number)
    return return_labels.voided(work, label)


@ADAPTER.operation("subscribe_tracking")
async def subscribe_tracking(work: Work, vendor: UpsClient) -> Confirmed:
    """Asks UPS to call back for one parcel, or once for everything an account ships."""
    label: label_pb2.Label = work.event.label
    if work.settings.text("subscription") == BY_ACCOUNT:
        account = ship_rules(work.settings).account_for(label.ship_from_location_number)
        await vendor.ensure_account_subscription(account, work.settings.text("subscription_id"))
        return Confirmed(note="the account's subscription covers this parcel")
    accepted, refused = await vendor.subscribe([label.tracking_number])
    if label.tracking_number not in accepted:
        named = ", ".join(refused) or label.tracking_number
        raise Reject("not_subscribed", f"UPS refuses Track Alert for {named}; polling remains")
    return Confirmed([Reference("track_alert", label.tracking_number)])


async def check_credential(hook: Webhook, vendor: UpsClient) -> None:
    """UPS sends back the credential entered in its portal; it signs nothing."""
    given = hook.headers.get(hook.settings.text("callback_header").lower(), "")
    scheme = hook.settings.text("callback_scheme")
    secret = hook.secrets.text("callback_credential")
    expected = f"{scheme} {secret}" if scheme else secret
    if not same_secret(given, expected):
        raise Refused(401, "the callback credential is missing or wrong")


@ADAPTER.webhook("/ups/track-alert", check=check_credential)
async def track_alert(hook: Webhook, vendor: UpsClient) -> None:
    """One scan, pushed: at least once at best, unordered, perhaps never (then polling has it)."""
    try:
        payload = vendor_json.loads(hook.body)
        event = translate_scans.alert_event(payload, statuses(), hook.settings.text("carrier_code"))
    except (ValueError, RecursionError) as error:
        await hook.hold(str(error), key=carrier_reports.payload_key(hook.body))
        return
    try:
        await carrier_reports.report(hook.hub, hook.endpoint, [event])
    except carrier_reports.Refusal as refusal:
        await hook.hold(str(refusal), key=carrier_reports.payload_key(hook.body))


async def translate_package(poll: Poll, held: HeldPayload, vendor: UpsClient) -> None:
    """A package as tracking showed it; scans that are known already, the hub knows again."""
    package = vendor_json.loads(held.payload)
    if not isinstance(package, dict):
        await poll.hold(held.payload, "the package is not a JSON object")
        return
    await _report_history(poll, package)


@ADAPTER.poll("tracking", translate_held=translate_package)
async def poll_tracking(poll: Poll, vendor: UpsClient) -> None:
    """The net under Track Alert: asks about parcels under way, a bounded share in each run."""
    ask = partial(_ask_about, poll, vendor)
    await carrier_reports.ask_about_moving(poll, LABELS_PER_PAGE, ask)


@ADAPTER.poll("renew_subscriptions")
async def renew_subscriptions(poll: Poll, vendor: UpsClient) -> None:
    """Package subscriptions end after 14 days: parcels still under way are subscribed again.

    Reject: UPS refused some of them, which is told once all others are asked for.
    """
    if poll.settings.text("subscription") == BY_ACCOUNT:
        return
    age = timedelta(days=poll.settings.integer("renew_subscriptions_after_days"))
    bought_before = datetime.now(UTC) - age
    token = ""
    refused: Reject | None = None
    for _ in range(MAX_RENEWAL_PAGES):
        labels, token = await carrier_reports.moving_labels(
            poll.hub, poll.settings.text("carrier_code"), MAX_SUBSCRIBED_NUMBERS, token
        )
        old = [
            label.tracking_number
            for label in labels
            if label.create_time.ToDatetime(tzinfo=UTC) <= bought_before
        ]
        try:
            if old:
                await vendor.subscribe(old)
        except Reject as told:
            refused = refused or told
        if not token:
            break
    if refused is not None:
        raise refused


def _services() -> dict[str, str]:
    """Service of an order to UPS's code: from the US by its name, from elsewhere "CA:GROUND"."""
    services = dict(ADAPTER.mappings.natives(Topic.SERVICE_LEVEL))
    for table in SERVICE_TABLES:
        of_table = ADAPTER.mappings.natives(Topic.SERVICE_LEVEL, table)
        services |= {f"{table}:{word}": code for word, code in of_table.items()}
    return services


def _service_choices() -> dict[str, tuple[str, ...]]:
    """The codes that UPS has for a service, several where none is sent by itself; the same keys."""
    found: dict[str, tuple[str, ...]] = {}
    for (topic, code), row in ADAPTER.mappings.told().items():
        if topic == Topic.SERVICE_LEVEL:
            name = f"{code.type}:{row.meaning.canonical}" if code.type else row.meaning.canonical
            found[name] = (*found.get(name, ()), code.code)
    return found


def ship_rules(settings: Settings) -> ShipRules:
    """What the deployment decided about shipments, and what the rows say of codes."""
    return ShipRules(
        account_number=settings.text("account_number"),
        accounts_by_location=settings.mapping("accounts_by_location"),
        services={**_services(), **settings.mapping("services")},
        service_choices=_service_choices(),
        packaging_code=settings.text("packaging_code"),
        package_types=settings.mapping("package_types"),
        packaging=ADAPTER.mappings.natives(Topic.PACKAGE_TYPE),
        units=ADAPTER.mappings.natives(Topic.UNIT),
        label_format=settings.text("label_format"),
    )


async def _buy(vendor: UpsClient, request: Mapping[str, Any]) -> tuple[Purchase, Sequence[str]]:
    """One call of Ship, and what UPS remarks. UPS sells a second label if it is repeated."""
    booking = await vendor.ship(request)
    purchase = Purchase(
        booking.labels[0],
        booking.shipment_number,
        booking.amount,
        booking.currency,
        carrier_reports.bought_now(),
    )
    return purchase, booking.alerts


async def _find(
    work: Work,
    vendor: UpsClient,
    account: str,
    label_format: str,
    fact_of: Callable[[Work, Purchase], Message],
) -> Confirmed | NotFound:
    """The label under our reference, in this format, told by the fact that is made of it.

    Several found: one is adopted. The others are voided, and the note says so, where tracking
    confirms that both carry our reference; what is not voided is a duplicate that the hub raises.
    """
    images = await vendor.recover_by_reference(work.reference, account, label_format)
    packages = await vendor.track_by_reference(work.reference, account)
    numbers = adoption.numbers(work.reference, images, packages)
    by_number = await _shown_by_number(vendor, numbers)
    found = adoption.candidates(work.reference, images, packages, by_number, statuses())
    if not found:
        return NotFound(f"UPS knows no valid label with reference {work.reference}")
    # What this process adopted before, and may have told, stays what it was.
    adopted = vendor.adopted(work.reference)
    found.sort(key=lambda candidate: candidate.tracking_number != adopted)
    ours, label = await _first_with_label(vendor, found, label_format)
    vendor.adopt(work.reference, ours.tracking_number)
    notes = [f"found by reference {work.reference}; UPS does not say the price again"]
    duplicates = []
    for other in found:
        if other is ours:
            continue
        is_sure = ours.confirmed and other.confirmed and other.tracking_number != adopted
        voided, note = await _put_away(vendor, other.tracking_number, is_sure)
        notes.append(note)
        if not voided:
            duplicates.append(Reference("tracking_number", other.tracking_number))
    purchase = Purchase(label, ours.tracking_number, None, "", ours.bought_at)
    return replace(_bought(purchase, notes, fact_of(work, purchase)), duplicates=duplicates)


async def _shown_by_number(vendor: UpsClient, numbers: Sequence[str]) -> list[Mapping[str, Any]]:
    """What tracking shows of each number; of those that it does not know (yet), or refuses to be
    asked about, nothing: one of them must not keep the label that is there from being told."""
    shown: list[Mapping[str, Any]] = []

    async def ask(number: str) -> None:
        package = await _tracked(vendor, number)
        if package is not None:
            shown.append(package)

    await carrier_reports.each_at_once(numbers, PARCELS_ASKED_AT_ONCE, ask)
    return shown


async def _first_with_label(
    vendor: UpsClient, found: Sequence[adoption.Candidate], label_format: str
) -> tuple[adoption.Candidate, LabelImage]:
    """The first candidate whose label UPS shows; OutcomeUnknown, which names all, where none is."""
    for candidate in found:
        label = candidate.image or await vendor.recover(candidate.tracking_number, label_format)
        if label is not None:
            return candidate, label
    named = ", ".join(candidate.tracking_number for candidate in found)
    raise OutcomeUnknown(f"found by our reference, and no label can be recovered yet: {named}")


def _bought(purchase: Purchase, notes: Sequence[str], fact: Message) -> Confirmed:
    number = purchase.label.tracking_number
    missing = carrier_labels.why_no_image(purchase.label, "UPS")
    if missing:
        log.warning("label %s: %s", number, missing)
        notes = [*notes, missing]
    references = [Reference("tracking_number", number)]
    if purchase.shipment_number not in ("", number):
        references.append(Reference("shipment_number", purchase.shipment_number))
    return Confirmed(references, [fact], "; ".join(notes))


def _label_fact(work: Work, purchase: Purchase) -> Message:
    """The label of a package, as the hub is told of it."""
    return carrier_labels.sold(work, purchase, _format_of(purchase))


def _return_fact(work: Work, purchase: Purchase) -> Message:
    """The label of a return, as the hub is told of it."""
    return return_labels.sold_request(work, purchase, _format_of(purchase))


def _format_of(purchase: Purchase) -> label_pb2.LabelFormat.ValueType:
    return translate.FORMATS.get(purchase.label.format, label_pb2.LABEL_FORMAT_UNSPECIFIED)


async def _void(vendor: UpsClient, number: str) -> None:
    """Voids a label, now or before. Reject: it is not void."""
    result = await vendor.void(number)
    if not all(result.voided.values()):
        raise Reject("not_voided", f"UPS did not void {number}")


async def _put_away(vendor: UpsClient, number: str, is_sure: bool) -> tuple[bool, str]:
    """Voids a label bought twice, or says why a person has to; what time can mend is raised, so
    that the look-up is repeated. `is_sure`: it is ours and was never adopted, and the one that is
    kept is ours."""
    if not is_sure:
        why = "tracking does not confirm both labels by number, or it was adopted before"
        return False, f"second label {number} was left, see to it by hand: {why}"
    try:
        result = await vendor.void(number)
    except Reject as refused:
        why = f"second label {number} could not be voided, void it by hand: {refused.reason}"
        return False, why
    if not all(result.voided.values()):
        return False, f"second label {number} was not voided, void it by hand"
    return True, f"second label {number} voided"


async def _ask_about(poll: Poll, vendor: UpsClient, labels: Sequence[label_pb2.Label]) -> None:
    """Tracks several parcels at once; one that UPS refuses does not cost the others."""

    async def ask(number: str) -> None:
        package = await _tracked(vendor, number, first_days[number])
        if package is not None:
            await _report_history(poll, package)

    first_days = {label.tracking_number: carrier_reports.first_day(label) for label in labels}
    await carrier_reports.each_at_once(list(first_days), PARCELS_ASKED_AT_ONCE, ask)


async def _tracked(
    vendor: UpsClient, number: str, first_day: date | None = None
) -> Mapping[str, Any] | None:
    """What tracking shows of a number; None: it does not know it, or refuses to be asked about, or
    all of it was over before this day."""
    try:
        packages = await vendor.track(number)
    except OutcomeUnknown as refused:
        log.warning("tracking of %s refused: %s", number, refused.reason)
        return None
    return translate_scans.newest_package(packages, number, first_day)


async def _report_history(poll: Poll, package: Mapping[str, Any]) -> None:
    carrier = poll.settings.text("carrier_code")
    history = translate_scans.package_history(package, statuses(), carrier)
    await carrier_reports.report_or_hold(poll, history, lambda: vendor_json.dumps(dict(package)))
