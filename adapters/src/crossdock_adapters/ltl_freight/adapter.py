"""LTL freight at the hub: makes and cancels bills of lading, tells what the carrier's files say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Final

from crossdock.errors import (
    AlreadyUsedError,
    InvalidRequestError,
    NotFoundError,
    PreconditionError,
)
from crossdock.label.v1 import label_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock.tracking.v1 import tracking_pb2

from crossdock_adapters.ltl_freight import (
    agreed_way,
    earlier_calls,
    goods,
    handling_units,
    payer,
    tendering,
    translate,
    translate_invoice,
    translate_status,
    translate_tender,
)
from crossdock_adapters.ltl_freight.client import (
    ERRORS,
    BolClient,
    Booked,
    History,
    NobodySays,
    RefusedInOwnWords,
    Taken,
)
from crossdock_adapters.ltl_freight.pro_numbers import ProRange, range_of
from crossdock_adapters.ltl_freight.translate import BolRules
from crossdock_adapters.ltl_freight.translate_status import Status, StatusRules
from crossdock_adapters.ltl_freight.translate_tender import TenderRules
from crossdock_adapters.sdk import (
    carrier_labels,
    carrier_reports,
    carrier_scans,
    early_settings,
    edi_replies,
    hazardous_goods,
)
from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.attempts import HubAway
from crossdock_adapters.sdk.carrier_labels import LabelImage, Purchase
from crossdock_adapters.sdk.edi_mailbox import EdiMailbox, Read, unsupported
from crossdock_adapters.sdk.folder_place import opened_folder
from crossdock_adapters.sdk.mappings import Topic
from crossdock_adapters.sdk.outcomes import (
    AnswerLater,
    Confirmed,
    NeedsPerson,
    Reference,
    Reject,
    Retry,
    no_retry,
)
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.settings import Secrets, Settings, SettingsError
from crossdock_adapters.sdk.state_zones import with_states
from crossdock_adapters.sdk.work import HeldPayload, Poll, Work
from crossdock_adapters.sdk.x12 import acknowledgments
from crossdock_adapters.sdk.x12.envelopes import Group, TransactionSet
from crossdock_adapters.sdk.x12.segments import ENCODINGS

ADAPTER = Adapter.load(__package__)

PRO: Final = "pro"
# Of a package that another delivery of the same shipment books, the draft is its number.
BOOKED_WITH: Final = "with:"
PDF: Final = "PDF"
# Settings that are one of a few words: a misspelt one would bill somebody else.
WORDS: Final = {
    "terms": translate.TERMS,
    "label_format": translate.LABEL_FORMATS,
    "freight_class": (translate.BY_DENSITY, *translate.CLASSES),
    "usage": ("P", "T"),
    "encoding": ENCODINGS,
    goods.SETTING: goods.CHOICES,
    "booking": (tendering.REST, tendering.BY_TENDER),
    "tender_silence": (tendering.DECLINED_BY_SILENCE, tendering.TO_A_PERSON),
}


@dataclass(frozen=True, slots=True)
class Carrier:
    """One carrier: its API, and its mailbox where there is one."""

    bols: BolClient
    mailbox: EdiMailbox | None
    numbers: ProRange
    by_tender: bool = False

    async def test(self) -> None:
        """Prove that whichever are used take us."""
        if not self.by_tender:
            await self.bols.test()
        if self.mailbox is not None:
            await self.mailbox.test()

    async def close(self) -> None:
        """Close what is open."""
        await self.bols.close()
        if self.mailbox is not None:
            await self.mailbox.close()


@ADAPTER.connect
async def connect(settings: Settings, secrets: Secrets) -> Carrier:
    """One account at one carrier. SettingsError: a setting is none of what it may be."""
    for name, words in WORDS.items():
        if settings.text(name) not in words:
            raise SettingsError(f"{name} is {settings.text(name)!r}: give {' or '.join(words)}")
    early_settings.zones(settings, "scan_time_zones")
    wrong = payer.problem(settings.text("terms"), settings.mapping("bill_to"))
    if wrong:
        raise SettingsError(wrong)
    unknown = [
        each for each in settings.texts("accessorials") if each not in translate.ACCESSORIALS
    ]
    if unknown:
        raise SettingsError(f"accessorials: {', '.join(unknown)} is no code of the standard")
    numbers = range_of(settings)
    if numbers.problem():
        raise SettingsError(numbers.problem())
    mailbox = None
    if settings.text("location"):
        folder = opened_folder(settings, secrets, ERRORS)
        mailbox = EdiMailbox(folder, agreed_way.way_of(settings))
    if _by_tender(settings) and (mailbox is None or not settings.texts("scacs")):
        raise SettingsError("booking by tender needs a mailbox (location) and the carrier's scacs")
    if _by_tender(settings) and mailbox is not None:
        release = mailbox.way.envelope.written_release
        if release < translate_tender.RELEASE:
            oldest = f"tenders are written from {translate_tender.RELEASE} on"
            raise SettingsError(f"release is {release!r}: {oldest}")
    return Carrier(BolClient(settings, secrets), mailbox, numbers, _by_tender(settings))


@ADAPTER.draft("buy_label")
async def take_pro(work: Work, vendor: Carrier) -> str:
    """The first step: the next PRO number of our range. It changes nothing at the carrier."""
    packages = list(work.event.shipment.packages)
    carrier_labels.find_package(work.event.shipment, work.item)
    if packages[0].id != work.item:
        return BOOKED_WITH + await carrier_reports.number_bought_with(work, packages[0])
    # What cannot be said takes no number.
    if vendor.by_tender:
        assert vendor.mailbox is not None
        rules = tender_rules(work.settings)
        tendering.tender_of(work, vendor.mailbox, "", rules, datetime.now(UTC))
        # It has no element for what is dangerous, so nothing is said of it.
        await hazardous_goods.refuse(work, packages)
    else:
        _request(work, "", bol_rules(work.settings))
        await goods.harmless(work)
    assert work.sequences is not None
    try:
        taken = await work.sequences.take(PRO, work.reference, vendor.numbers.first)
    except HubAway as away:
        raise Retry(0.0, f"the hub did not answer for a PRO number: {away}") from away
    return vendor.numbers.written(taken.number)


@ADAPTER.operation("buy_label")
async def buy_label(work: Work, vendor: Carrier) -> Confirmed:
    """The second step: the bill of lading of the whole shipment under the PRO of the draft, or a
    load tender that the carrier accepts."""
    if work.draft.startswith(BOOKED_WITH):
        number = work.draft.removeprefix(BOOKED_WITH)
        note = "on the bill of lading of its shipment's first handling unit"
        return Confirmed([Reference("tracking_number", number)], note=note)
    if vendor.by_tender:
        assert vendor.mailbox is not None
        if not work.in_doubt:
            # What the ERP says may have changed since the PRO was taken.
            await hazardous_goods.refuse(work, work.event.shipment.packages)
        rules = tender_rules(work.settings)
        accepted = await tendering.offer(work, vendor.mailbox, work.draft, rules)
        await _closed(work)
        return _confirmed(work, Booked(accepted.pro, "", b"", accepted.note))
    booked = await _book(work, vendor.bols)
    await _closed(work)
    return _confirmed(work, booked)


async def _book(work: Work, bols: BolClient) -> Booked:
    """The bill of lading of this shipment, by this call or by an earlier one."""
    try:
        harmless = await goods.harmless(work)
    except NeedsPerson as unfit:
        if not work.in_doubt:
            raise
        raise NeedsPerson(
            f"{unfit.reason}. An earlier call may have booked them under PRO {work.draft}: ask the "
            "carrier first, and cancel it there if they are dangerous"
        ) from unfit
    request = _request(work, work.draft, replace(bol_rules(work.settings), harmless=harmless))
    try:
        booked = await bols.book(request)
    except (Reject, RefusedInOwnWords) as refused:
        if not work.in_doubt:
            raise
        # It is said of the repeat: the first call may have made it, and its answer was lost.
        return await earlier_calls.behind(work, bols, refused.reason)
    if isinstance(booked, Taken):
        return await earlier_calls.made(work, bols, booked)
    return booked


@ADAPTER.operation("void_label")
async def void_label(work: Work, vendor: Carrier) -> Confirmed:
    """Cancels the bill of lading of a package's shipment; cancelling twice is one."""
    shipment: shipment_pb2.Shipment = work.event.shipment
    carrier = work.settings.text("carrier_code")
    listed = await handling_units.labels_of(work.hub, shipment.id)
    labels = [each for each in listed if each.carrier_code == carrier]
    valid = [each for each in labels if each.state != label_pb2.LABEL_STATE_VOIDED]
    label = next((each for each in valid if each.package_id == work.item), None)
    void = [each.tracking_number for each in labels if each.package_id == work.item]
    number = carrier_labels.tracking_number_of(shipment, work.item)
    # A number that no label of the hub has is of one that was booked since, and is still held.
    if label is None and void and number in ("", *void):
        # The cancellation of another handling unit told it.
        note = "its label is void already: the bill of lading is cancelled"
        return Confirmed([Reference("voided_tracking_number", number or void[-1])], note=note)
    number = number if label is None else label.tracking_number
    if not number:
        return Confirmed(note="no bill of lading was made for this package: nothing to cancel")
    pro = number if label is None else label.carrier_shipment_number or number
    if vendor.by_tender:
        assert vendor.mailbox is not None
        tendered = "" if label is None else label.purchase_reference
        if not tendered:
            raise NeedsPerson(f"the hub has no label of {number}: nobody knows its tender")
        await tendering.take_back(work, vendor.mailbox, tendered)
    else:
        await _cancel(work, vendor.bols, pro)
    # All of them: the hub may have dropped the purchase and the void of another unit untouched.
    numbers = dict.fromkeys(
        [number, *(each.tracking_number for each in handling_units.under(pro, valid))]
    )
    facts = [carrier_labels.void_request(work.endpoint, carrier, each) for each in numbers]
    return Confirmed([Reference("voided_tracking_number", number)], facts)


async def _cancel(work: Work, bols: BolClient, pro: str) -> None:
    """Cancel a bill of lading, or see that it was cancelled before: by an earlier call, or by that
    of another handling unit, whose delivery does not wait for this one's."""
    # Of a carrier without events nothing is known.
    shows = work.settings.flag("verify_duplicates")
    try:
        cancelled, refusal = await bols.cancel(pro), None
    except Reject as refused:
        cancelled, refusal = False, refused
    except NobodySays as silence:
        with no_retry(silence.reason):
            if shows and (await bols.history(pro)).cancelled:
                return
        raise
    if cancelled:
        return
    # That it was cancelled before has no published word; the carrier's events say so, if later.
    history = await bols.history(pro) if shows else History()
    if history.cancelled:
        return
    if refusal is not None and history.picked_up:
        raise refusal
    if work.in_doubt or len(work.event.shipment.packages) > 1:
        said = "has no PRO" if refusal is None else f"refuses to cancel ({refusal.reason}) PRO"
        raise AnswerLater(f"the carrier {said} {pro}, and no event shows an earlier call")
    raise refusal or NeedsPerson(
        f"the carrier has no PRO {pro}, and does not show that it was cancelled: ask it"
    )


async def tell_held(poll: Poll, held: HeldPayload, vendor: Carrier) -> None:
    """A file that was held; scans that are known already, the hub knows again."""
    if vendor.mailbox is not None:
        await vendor.mailbox.tell_again(
            poll, held.payload, partial(_tell, poll), partial(_refused, poll)
        )


@ADAPTER.poll("mailbox", translate_held=tell_held)
async def read_mailbox(poll: Poll, vendor: Carrier) -> None:
    """What the carrier sent by X12, each interchange once."""
    if vendor.mailbox is not None:
        await vendor.mailbox.take(poll, partial(_tell, poll), partial(_refused, poll))


def bol_rules(settings: Settings) -> BolRules:
    """What the deployment decided about bills of lading, and what the rows say of codes."""
    types = ADAPTER.mappings.natives(Topic.PACKAGE_TYPE)
    return BolRules(
        account=settings.text("account"),
        terms=settings.text("terms"),
        freight_class=settings.text("freight_class"),
        nmfc=settings.text("nmfc"),
        description=settings.text("goods_description"),
        piece_type=types.get("PIECE", ""),
        stackable=settings.flag("stackable"),
        accessorials=settings.texts("accessorials"),
        services=_services(settings),
        package_types=settings.mapping("package_types"),
        packaging=types,
        units=ADAPTER.mappings.natives(Topic.UNIT),
        label_format=settings.text("label_format"),
        special_instructions=settings.text("special_instructions"),
        contact_phone=settings.text("contact_phone"),
        recipient_phone=settings.text("recipient_phone"),
        is_test=settings.flag("is_test"),
        payer=payer.named(settings.mapping("bill_to")),
    )


def tender_rules(settings: Settings) -> TenderRules:
    """What the deployment decided about load tenders."""
    return replace(
        tendering.rules_of(settings),
        accessorials=settings.texts("accessorials"),
        services=_services(settings),
        special_instructions=settings.text("special_instructions"),
        notes=settings.flag("tender_notes"),
    )


def status_rules(settings: Settings) -> StatusRules:
    """What the deployment knows of the carrier's status messages."""
    return StatusRules(
        carrier_code=settings.text("carrier_code"),
        scacs=settings.texts("scacs"),
        zones=with_states(settings.mapping("scan_time_zones")),
        estimates=settings.texts("estimate_codes"),
        ends_days=settings.flag("times_of_2400"),
    )


def _services(settings: Settings) -> dict[str, str]:
    """Word of an order to accessorial code: the rows, and what the settings put in their place."""
    return {**ADAPTER.mappings.natives(Topic.SERVICE_LEVEL), **settings.mapping("services")}


def _by_tender(settings: Settings) -> bool:
    return settings.text("booking") == tendering.BY_TENDER


def _request(work: Work, pro: str, rules: BolRules) -> dict[str, object]:
    pickup = tendering.pickup_day_of(work, work.event.metadata, datetime.now(UTC))
    return translate.bill_of_lading(work.event.shipment, pro, work.reference, pickup, rules)


async def _closed(work: Work) -> None:
    """The PRO is used, so it is no longer kept for this delivery."""
    assert work.sequences is not None
    try:
        await work.sequences.close(PRO, work.reference)
    except (HubAway, Retry):
        # It is the draft of this delivery all the same; what is open for long is forgotten.
        pass


def _confirmed(work: Work, booked: Booked) -> Confirmed:
    """The labels of all handling units of a bill of lading, as facts."""
    shipment: shipment_pb2.Shipment = work.event.shipment
    bought_at = carrier_reports.bought_now() if booked.fresh else None
    numbers = translate.tracking_numbers(shipment, booked.pro)
    facts = []
    for package, number in zip(shipment.packages, numbers, strict=True):
        label = LabelImage(number, PDF, booked.labels)
        purchase = Purchase(label, booked.pro, None, "", bought_at)
        form = label_pb2.LABEL_FORMAT_PDF
        facts.append(carrier_labels.sold(work, purchase, form, package.id))
    missing = carrier_labels.why_no_image(LabelImage(booked.pro, PDF, booked.labels), "the carrier")
    references = [Reference("tracking_number", booked.pro), Reference("pro_number", booked.pro)]
    if booked.confirmation:
        references.append(Reference("confirmation_number", booked.confirmation))
    return Confirmed(references, facts, "; ".join(filter(None, (booked.note, missing))))


async def _tell(poll: Poll, found: TransactionSet, group: Group) -> Read:
    """One set of the carrier's."""
    match found.id:
        case translate_status.SET_ID:
            return await _tell_status(poll, found, group)
        case translate_tender.RESPONSE_ID:
            return await tendering.take_response(poll, found)
        case translate_invoice.INVOICE_ID:
            return await _tell_invoice(poll, found, group)
        case acknowledgments.SET_ID | acknowledgments.IMPLEMENTATION_SET_ID:
            return await edi_replies.note_acknowledgement(poll, found, translate_tender.TENDERS)
    return unsupported(found)


async def _refused(poll: Poll, number: int, note: str) -> str:
    """An interchange of ours that the carrier did not take: its tender is parked for that."""
    return await edi_replies.note_refusal(poll, translate_tender.TENDERS, number, note)


async def _tell_invoice(poll: Poll, found: TransactionSet, group: Group) -> Read:
    """An invoice is a freight charge of its PRO, whose shipment the hub may wait for. One that is
    wrong is held with its file and place, one that the hub refuses by itself."""
    try:
        billed = translate_invoice.invoice(found, status_rules(poll.settings).scacs)
    except Unreadable as error:
        return Read.of([error])
    carrier, sent = poll.settings.text("carrier_code"), translate_invoice.sending(found, group)
    try:
        await poll.hub.freight.RecordFreightInvoice(
            translate_invoice.request(billed, poll.endpoint, carrier, sent)
        )
    except (AlreadyUsedError, InvalidRequestError, NotFoundError, PreconditionError) as refused:
        problem = f"{billed.told()}: the hub refuses it: {refused}: mend and drive it"
        return Read(problems=(problem,), alone=True)
    return Read()


async def _tell_status(poll: Poll, found: TransactionSet, group: Group) -> Read:
    try:
        status = translate_status.read(found, group, ADAPTER.mappings, status_rules(poll.settings))
    except Unreadable as error:
        return Read.of([error])
    errors = list(status.errors)
    try:
        await _report(poll, status)
    except carrier_reports.Refusal as refusal:
        errors.append(Unreadable(str(refusal), found.header.place()))
    return Read.of(errors)


async def _report(poll: Poll, status: Status) -> None:
    """The scans of a 214, for each handling unit that it is about."""
    carrier, own = poll.settings.text("carrier_code"), range_of(poll.settings)
    found = await handling_units.of_status(poll.hub, carrier, status.pro, status.shipment, own)
    most = carrier_scans.MAX_SCANS_PER_REQUEST
    for number in found.numbers:
        events = [_of_unit(event, number, found.note) for event in status.events]
        for start in range(0, len(events), most):
            await carrier_reports.report(poll.hub, poll.endpoint, events[start : start + most])


def _of_unit(
    event: tracking_pb2.TrackingEvent, number: str, note: str
) -> tracking_pb2.TrackingEvent:
    """A scan of a handling unit. note: in front of its words, which may fill all the room."""
    copied = tracking_pb2.TrackingEvent()
    copied.CopyFrom(event)
    copied.tracking_number = number
    said = "; ".join(filter(None, (note, event.description)))
    copied.description = said[: carrier_scans.MAX_DESCRIPTION]
    return copied
