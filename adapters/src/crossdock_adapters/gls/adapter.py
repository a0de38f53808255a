"""GLS at the hub: labels for all packages of a shipment at once, cancellations, what tracking says.

The delivery of a shipment's first package makes the shipment; those of the others wait for it.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from crossdock.label.v1 import label_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock.types.v1 import types_pb2
from google.protobuf.message import Message

from crossdock_adapters.gls import cancelling, finding, translate
from crossdock_adapters.gls.client import (
    CONFLICT,
    MAX_TRACKED_AT_ONCE,
    GlsClient,
    PageFailed,
    Parcel,
)
from crossdock_adapters.gls.translate import SERVICE_TYPES, ShipRules
from crossdock_adapters.sdk import (
    carrier_labels,
    carrier_reports,
    hazardous_goods,
    local_times,
    vendor_json,
)
from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.carrier_labels import Purchase
from crossdock_adapters.sdk.carrier_scans import History
from crossdock_adapters.sdk.mappings import Topic
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    NeedsPerson,
    NotFound,
    OutcomeUnknown,
    Reference,
    Reject,
    Retry,
    VendorOutcome,
)
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.settings import Secrets, Settings, SettingsError
from crossdock_adapters.sdk.work import HeldPayload, Poll, Work

log = logging.getLogger(__name__)

ADAPTER = Adapter.load(__package__)

# After so many attempts a person gets the number of a parcel that is there, and prints its label at
# GLS: adopted without it, it would have a number that can't be cancelled. So do parcels that are
# fewer than the packages.
ATTEMPTS_FOR_LABEL = 10
# Labels of one shipment that a look-up asks for at once.
PRINTED_AT_ONCE = 8
# Days that are told at once, after GLS or we were away for longer.
DAYS_TOLD_MAX = 7
# So long a day that GLS does not close is told again, and named by the alert: somebody asked GLS.
DAYS_OWED_MAX = 14
# A page of tracking that GLS answers with 5xx so often running is treated as one that it refuses:
# one parcel may be the reason, and the pages behind it must not wait for ever. So often a parcel
# has to fail alone, too, before it is left out for the day: a failure may pass.
PAGE_FAILURES_MAX = 3
# Of one parcel in an answer of tracking (Track & Trace 1.0.7): there is nothing to tell yet.
NOT_TRACKED_YET = "E_404_01"
DAY_NOT_CLOSED = "day_not_closed"


@ADAPTER.connect
async def connect(settings: Settings, secrets: Secrets) -> GlsClient:
    """One client for one application. SettingsError: a setting is none of what it may be."""
    if local_times.known_zone(settings.text("time_zone")) is None:
        raise SettingsError("time_zone is no IANA time zone: give one as Europe/Berlin")
    closes_at = settings.text("end_of_day_time")
    if closes_at and not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", closes_at):
        raise SettingsError("end_of_day_time is no time of a day: give it as 17:30, or leave it")
    kept = settings.integer("tracking_calls_for_look_ups")
    if kept >= settings.integer("tracking_calls_per_day"):
        raise SettingsError(
            "tracking_calls_for_look_ups must be below tracking_calls_per_day, or nothing is polled"
        )
    known = {cancelling.DONE, cancelling.PENDING, cancelling.TOO_LATE}
    if set(settings.mapping("cancel_results").values()) - known:
        raise SettingsError(f"cancel_results: the words are {', '.join(sorted(known))}")
    return GlsClient(settings, secrets)


@ADAPTER.operation("buy_label")
async def buy_label(work: Work, vendor: GlsClient) -> Confirmed:
    """Makes the shipment, our reference on it. GLS makes a second one if it is repeated."""
    shipment: shipment_pb2.Shipment = work.event.shipment
    first = _first(work)
    if first.id != work.item:
        return _with_first(await carrier_reports.number_bought_with(work, first))
    day = _now(work.settings).date().isoformat()
    rules = ship_rules(work.settings, shipment)
    request = translate.shipment_request(shipment, work.reference, day, rules)
    await hazardous_goods.refuse(work, shipment.packages)
    parcels = await vendor.create(request)
    try:
        ours, over = translate.assigned(parcels, _units(work))
    except ValueError as error:
        raise OutcomeUnknown(f"a shipment is made, and GLS shows {error}") from error
    if over:
        raise OutcomeUnknown(f"a shipment is made, and GLS shows {len(over)} parcels too many")
    return _bought(work, ours, carrier_reports.bought_now(), [])


@ADAPTER.look_up("buy_label")
async def find_label(work: Work, vendor: GlsClient) -> Confirmed | NotFound:
    """Looks for parcels under our reference, in tracking, where it shows none in ShipIT; each is
    printed once more.

    Of each package the parcel with the lowest number is adopted, so that every look-up adopts the
    same. What is over was made by a second call, and is a duplicate that the hub raises.
    """
    if _first(work).id != work.item:
        label = await carrier_reports.label_of(work.hub, work.event.shipment.id, work.item)
        if label is None:
            return NotFound("it is bought with the first package of its shipment: not yet")
        return _with_first(label.tracking_number)
    try:
        listed = await _found(work, vendor)
    except (OutcomeUnknown, NeedsPerson):
        printed = await _in_shipit(work, vendor)
        if printed is None:
            raise
        return printed
    valid = [each for each in listed if not translate.is_voided(each, ADAPTER.mappings)]
    if not valid:
        printed = None if listed else await _in_shipit(work, vendor)
        return printed or NotFound(f"GLS knows no valid parcel with reference {work.reference}")
    booked = len(work.event.shipment.packages)
    if len(valid) < booked:
        raise _too_few(work, [str(each["unitno"]) for each in valid], booked)
    _none_is_older(work, valid)
    parcels = await _all_printed_again(work, vendor, valid)
    for parcel in parcels:
        if parcel.shipment and work.reference not in parcel.shipment:
            shown = ", ".join(parcel.shipment)
            raise _unclear(work, f"the search shows parcel {parcel.number} of {shown} as well")
    parcels.sort(key=lambda parcel: (len(parcel.number), parcel.number))
    try:
        ours, over = translate.assigned(parcels, _units(work))
    except ValueError as error:
        raise _unclear(work, f"tracking shows {error}, so far") from error
    notes = [f"found by reference {work.reference}"]
    notes += [f"cancel by hand: second label {other.track_id}" for other in over]
    return replace(
        _bought(work, ours, None, notes),
        duplicates=[Reference("tracking_number", other.track_id) for other in over],
        found_by=work.reference if any(parcel.shipment for parcel in ours) else None,
    )


@ADAPTER.operation("void_label")
async def void_label(work: Work, vendor: GlsClient) -> Confirmed:
    """Cancels the parcel of a package, and with the first one all that were bought with it. What
    GLS does not call done, tracking is asked about."""
    parcels = await cancelling.to_cancel(work)
    numbers = parcels.numbers
    if not numbers:
        return Confirmed(note="the hub has no valid label of this package: nothing to cancel")
    await cancelling.cancel_all(work, vendor, parcels, ADAPTER.mappings)
    carrier = work.settings.text("carrier_code")
    return Confirmed(
        [Reference("voided_tracking_number", number) for number in numbers],
        [carrier_labels.void_request(work.endpoint, carrier, number) for number in numbers],
    )


async def translate_parcels(poll: Poll, held: HeldPayload, vendor: GlsClient) -> None:
    """An answer as tracking gave it; scans that are known already, the hub knows again."""
    await _report(poll, held.payload, ())


@ADAPTER.poll("tracking", translate_held=translate_parcels)
async def poll_tracking(poll: Poll, vendor: GlsClient) -> None:
    """Asks about parcels under way, ten in a call, while the day's share of the quota lasts."""
    assert poll.cursors is not None
    if not await vendor.quota.left_for_polling(poll.cursors):
        return
    try:
        ask = partial(_ask_about, poll, vendor)
        await carrier_reports.ask_about_moving(poll, MAX_TRACKED_AT_ONCE, ask)
    except Retry as failed:
        # Repeated as fast as other polls, an hour of failures would spend the day's quota.
        interval = poll.settings.seconds("tracking_interval_seconds")
        failed.after_seconds = max(failed.after_seconds, interval)
        raise


@ADAPTER.poll("end_of_day")
async def end_of_day(poll: Poll, vendor: GlsClient) -> None:
    """Tells GLS once a day that its parcels are complete; after a lost answer once more.

    The days since the last one are told again, that one included: parcels that were made after its
    hour are of it, and a day on which nobody could tell is not left open. One that GLS does not
    close, or says nothing of, holds up no other, and is told again with them.
    """
    closes_at, now = poll.settings.text("end_of_day_time"), _now(poll.settings)
    if not closes_at:
        return
    due = now.date() if f"{now:%H:%M}" >= closes_at else now.date() - timedelta(days=1)
    closed, *owed = poll.cursor.decode().split(",")
    if (not closed and due < now.date()) or closed >= due.isoformat():
        return
    days = sorted({*days_to_close(closed, due), *days_owed(owed, due)})
    left = await _days_not_closed(vendor, days, "" if closed in owed else closed)
    silent = [day for day, told in left.items() if isinstance(told, OutcomeUnknown)]
    open_days = [day for day in left if not (day == due and day in silent)]
    if open_days:
        named = ", ".join(f"{day} ({left[day].reason})" for day in open_days)
        said = f"GLS does not close {named}: ask GLS whether its parcels are accepted"
        poll.alerts.sound(DAY_NOT_CLOSED, said)
    else:
        poll.alerts.lift(DAY_NOT_CLOSED)
    answered = [day.isoformat() for day in days if not silent or day < min(silent)]
    closed = max([closed, *answered])
    if closed:
        await poll.advance(",".join([closed, *(day.isoformat() for day in open_days)]))
    if due in silent:
        raise left[due]


async def _days_not_closed(
    vendor: GlsClient, days: Sequence[date], told_before: str
) -> dict[date, VendorOutcome]:
    """What GLS says of each day that it does not close; asking again at once changes nothing, and
    other days must not wait for it. Retry: it takes no calls now."""
    left: dict[date, VendorOutcome] = {}
    for day in days:
        try:
            await vendor.end_of_day(day.isoformat())
        except (Reject, NeedsPerson, OutcomeUnknown) as told:
            # That a day which it closed before is closed, nobody has to look at.
            again = isinstance(told, Reject) and told.code == CONFLICT
            if not (again and day.isoformat() == told_before):
                left[day] = told
    return left


def days_owed(owed: Sequence[str], due: date) -> list[date]:
    """Those of the days that GLS did not close which are told once more with this one."""
    days = [date.fromisoformat(day) for day in owed]
    return [day for day in days if due - day <= timedelta(days=DAYS_OWED_MAX)]


def days_to_close(closed: str, due: date) -> list[date]:
    """The days to tell, oldest first. closed: the last one that was, "" at first."""
    if not closed:
        return [due]
    first = max(date.fromisoformat(closed), due - timedelta(days=DAYS_TOLD_MAX - 1))
    return [first + timedelta(days=n) for n in range((due - first).days + 1)]


def ship_rules(settings: Settings, shipment: shipment_pb2.Shipment) -> ShipRules:
    """What the deployment decided about a shipment, and what the rows say of services."""
    natives = [ADAPTER.mappings.natives(Topic.SERVICE_LEVEL, each) for each in SERVICE_TYPES]
    rows = {word: code for table in natives for word, code in table.items()}
    contacts = settings.mapping("contacts_by_location")
    return ShipRules(
        contact_id=contacts.get(shipment.ship_from_location_number, settings.text("contact_id")),
        middleware=settings.text("middleware"),
        services={**rows, **settings.mapping("services")},
        always=settings.texts("always_services"),
        incoterm=settings.text("incoterm"),
        template=settings.text("label_template"),
        label_format=settings.text("label_format"),
        field_names=settings.mapping("field_names"),
    )


def _now(settings: Settings) -> datetime:
    return datetime.now(ZoneInfo(settings.text("time_zone")))


def _first(work: Work) -> shipment_pb2.Package:
    """The package whose delivery makes the shipment. Untranslatable: ours is none of its."""
    shipment: shipment_pb2.Shipment = work.event.shipment
    carrier_labels.find_package(shipment, work.item)
    return shipment.packages[0]


def _units(work: Work) -> list[str]:
    return translate.units_of(work.reference, len(work.event.shipment.packages))


def _with_first(number: str) -> Confirmed:
    note = "bought with the first package of its shipment"
    return Confirmed([Reference("tracking_number", number)], note=note)


async def _all_printed_again(
    work: Work, vendor: GlsClient, found: Sequence[Mapping[str, Any]]
) -> list[Parcel]:
    """Parcels with their labels, several asked for at once: one after the other the largest
    shipment would never be done within the time of an attempt. One that fails ends them all."""
    gate = asyncio.Semaphore(PRINTED_AT_ONCE)

    async def printed(parcel: Mapping[str, Any]) -> Parcel:
        async with gate:
            return await _printed_again(work, vendor, parcel)

    try:
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(printed(parcel)) for parcel in found]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in asked]


async def _in_shipit(work: Work, vendor: GlsClient) -> Confirmed | None:
    """The parcels of all packages as ShipIT has them under our references; None: it shows none."""
    labels = ship_rules(work.settings, work.event.shipment).labels
    days = finding.days_of(work, _now(work.settings).date())
    is_last = work.attempt >= ATTEMPTS_FOR_LABEL
    parcels = await finding.printed_by_unit(vendor, _units(work), days, labels, is_last=is_last)
    if not parcels:
        return None
    notes = [f"ShipIT has {work.reference}, which tracking does not show"]
    shown = any(work.reference in parcel.shipment for parcel in parcels)
    return replace(_bought(work, parcels, None, notes), found_by=work.reference if shown else None)


async def _found(work: Work, vendor: GlsClient) -> list[dict[str, Any]]:
    """What tracking shows under our reference. NeedsPerson: it went on saying nothing of it."""
    try:
        assert work.cursors is not None
        return await vendor.find(work.reference, work.cursors)
    except OutcomeUnknown as told:
        if work.attempt < ATTEMPTS_FOR_LABEL:
            raise
        raise NeedsPerson(
            f"tracking does not say whether {work.reference} was bought ({told.reason}): look at "
            "GLS, then resolve this delivery, or say that nothing was found; not_found_codes may "
            "name a code that means that"
        ) from told


def _unclear(work: Work, said: str) -> OutcomeUnknown | NeedsPerson:
    """Tracking shows parcels that cannot be taken for ours: not rightly yet, or it never will."""
    if work.attempt < ATTEMPTS_FOR_LABEL:
        return OutcomeUnknown(said)
    return NeedsPerson(
        f"{said}, under {work.reference}: look at GLS, then resolve this delivery, or say that "
        "nothing was found"
    )


def _too_few(work: Work, numbers: Sequence[str], booked: int) -> OutcomeUnknown | NeedsPerson:
    """Tracking shows fewer parcels than were booked: not all of them yet, or it never will."""
    said = f"{len(numbers)} parcels for {booked} packages"
    if work.attempt < ATTEMPTS_FOR_LABEL:
        return OutcomeUnknown(f"tracking shows {said}, so far")
    return NeedsPerson(
        f"tracking shows {said} under {work.reference} ({', '.join(numbers)}): {finding.CLEAR_UP}"
    )


def _none_is_older(work: Work, found: Sequence[Mapping[str, Any]]) -> None:
    """Refuses parcels of before the purchase was asked for: they are somebody else's, and a label
    that is printed again would end the one on them. A day is left for zones and clocks."""
    metadata = work.event.metadata
    if not metadata.HasField("record_time"):
        return
    asked_for = metadata.record_time.ToDatetime(UTC).date() - timedelta(days=1)
    days = {str(each["unitno"]): translate.day_made(each, "") for each in found}
    older = [each for each, day in days.items() if day and day < asked_for.isoformat()]
    if not older:
        return
    said = ", ".join(f"{number} of {days[number]}" for number in older)
    others = ", ".join(number for number in days if number not in older)
    beside = f", beside {others}, which may be ours" if others else ""
    raise _unclear(work, f"the search shows parcel {said} already{beside}")


async def _printed_again(work: Work, vendor: GlsClient, found: Mapping[str, Any]) -> Parcel:
    """A parcel that tracking shows, with its label. NeedsPerson: GLS does not print it any more."""
    number = str(found["unitno"])
    made_on = translate.day_made(found, _now(work.settings).date().isoformat())
    labels = ship_rules(work.settings, work.event.shipment).labels
    try:
        own = (work.reference, *_units(work))
        return await vendor.reprint(number, made_on, labels, own)
    except OutcomeUnknown as outcome:
        if work.attempt < ATTEMPTS_FOR_LABEL:
            raise
        raise NeedsPerson(
            f"GLS has parcel {number} under {work.reference} and does not print it again "
            f"({outcome.reason}): print it from GLS, then resolve this delivery with its number"
        ) from outcome


def _bought(
    work: Work,
    parcels: Sequence[Parcel],
    bought_at: types_pb2.SourceTime | None,
    notes: Sequence[str],
) -> Confirmed:
    """The labels of all packages of a shipment, as facts; the number of our own package alone:
    two tracking numbers of one delivery are a label that was bought twice."""
    shipment: shipment_pb2.Shipment = work.event.shipment
    notes = list(notes)
    references: list[Reference] = []
    facts: list[Message] = []
    for package, parcel in zip(shipment.packages, parcels, strict=True):
        label = parcel.label
        missing = carrier_labels.why_no_image(label, "GLS")
        if missing and parcel is not parcels[0] and parcels[0].label.image:
            missing = f"printed with {parcels[0].track_id}"
        if missing:
            notes.append(f"{parcel.track_id}: {missing}")
        purchase = Purchase(label, parcel.number, None, "", bought_at)
        form = translate.FORMATS.get(label.format, label_pb2.LABEL_FORMAT_UNSPECIFIED)
        facts.append(carrier_labels.sold(work, purchase, form, package.id))
        if package.id == work.item:
            references.append(Reference("tracking_number", parcel.track_id))
    return Confirmed(references, facts, "; ".join(notes))


async def _ask_about(poll: Poll, vendor: GlsClient, labels: Sequence[label_pb2.Label]) -> None:
    """Tracks parcels. One that GLS refuses, though not its neighbours, is left out for the day:
    with it a page would be refused each time."""
    refused: list[str] = []
    asked = vendor.quota.asked_about([label.tracking_number for label in labels])
    alone = [each for each in vendor.quota.suspects(asked) if vendor.quota.may_split()]
    page = [each for each in asked if each not in alone]
    told = await _ask_in_parts(poll, vendor, page, refused)
    for number in alone:
        told = await _ask_in_parts(poll, vendor, [number], refused, failing=True) or told
    if told:
        vendor.quota.leave_out(refused)


async def _ask_in_parts(
    poll: Poll, vendor: GlsClient, numbers: Sequence[str], refused: list[str], failing: bool = False
) -> bool:
    """Whether GLS told of any parcel; those that it refuses alone are added to `refused`, or that
    failed alone again and again. Of a page that it refuses each half is asked about, while the
    day's share for that lasts; so is one that failed again and again. failing: of such a page this
    is a part."""
    if not numbers:
        return False
    assert poll.cursors is not None
    try:
        body = await vendor.track(numbers, vendor.quota.poll_call(poll.cursors))
    except (OutcomeUnknown, PageFailed) as refusal:
        if isinstance(refusal, PageFailed) and not failing:
            if vendor.quota.failed(numbers) < PAGE_FAILURES_MAX:
                raise
            failing = True
        log.warning("tracking of %s refused: %s", ", ".join(numbers), refusal.reason)
        if len(numbers) == 1 and (
            isinstance(refusal, OutcomeUnknown)
            or vendor.quota.failed_alone(numbers[0]) >= PAGE_FAILURES_MAX
        ):
            refused += numbers
        if len(numbers) == 1 or not vendor.quota.may_split():
            return False
        half = len(numbers) // 2
        told = await _ask_in_parts(poll, vendor, numbers[:half], refused, failing)
        return await _ask_in_parts(poll, vendor, numbers[half:], refused, failing) or told
    vendor.quota.answered(numbers)
    await _report(poll, body, numbers)
    return True


async def _report(poll: Poll, body: bytes, asked: Sequence[str]) -> None:
    """Tells the hub every scan; a parcel that cannot be read is held alone, with its place."""
    try:
        parcels = translate.parcels_in(body)
    except Unreadable as error:
        await poll.hold(body, str(error), key=carrier_reports.payload_key(body))
        return
    for parcel in parcels:
        error_code = translate.error_of(parcel)
        if error_code:
            if error_code != NOT_TRACKED_YET:
                log.warning("tracking answers %s for a parcel", error_code)
            continue
        carrier = poll.settings.text("carrier_code")
        try:
            history = translate.history(parcel, asked, ADAPTER.mappings, carrier)
        except Unreadable as error:
            history = History((), (str(error),))
        written = partial(vendor_json.dumps, {"parcels": [parcel]})
        await carrier_reports.report_or_hold(poll, history, written)
