"""Booking by load tender: a 204 goes out once, and the delivery waits for the carrier's 990.

A tender that is not answered until its time is over counts as the setting `tender_silence` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, NoReturn

from crossdock.event.v1 import event_pb2

from crossdock_adapters.ltl_freight import handling_units, payer, translate, translate_tender
from crossdock_adapters.ltl_freight.pro_numbers import plain
from crossdock_adapters.ltl_freight.translate_tender import ACCEPTED, TENDERS, TenderRules
from crossdock_adapters.sdk import edi_replies
from crossdock_adapters.sdk.attempts import HubAway
from crossdock_adapters.sdk.edi_mailbox import EdiMailbox, Read
from crossdock_adapters.sdk.outcomes import (
    AnswerLater,
    NeedsPerson,
    OutcomeUnknown,
    Reject,
    Retry,
)
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.sequences import Taken
from crossdock_adapters.sdk.settings import Settings
from crossdock_adapters.sdk.state_zones import with_states
from crossdock_adapters.sdk.work import Poll, Work
from crossdock_adapters.sdk.x12.envelopes import TransactionSet

REST, BY_TENDER = "rest", "tender"
DECLINED_BY_SILENCE, TO_A_PERSON = "declined", "person"
# A tender that was given up: whatever the carrier answers now is for a person.
EXPIRED: Final = "X"
CANCELLATION: Final = "-CANCEL"
# Between the carrier's own number, or nothing, and its words in what is kept of an acceptance: no
# text of a segment has a control character.
BEHIND_NUMBER: Final = "\x1f"
# What earlier versions kept in front of the number, and in front of nothing where there was none.
EARLIER_NUMBER: Final = "PRO "


@dataclass(frozen=True, slots=True)
class Accepted:
    """A tender that the carrier took, and the PRO that it goes under: ours, or the carrier's own
    where its answer names one."""

    pro: str
    note: str


def rules_of(settings: Settings) -> TenderRules:
    """Whom loads are tendered to."""
    scacs = settings.texts("scacs")
    return TenderRules(
        scacs[0] if scacs else "",
        settings.text("terms"),
        unit=settings.text("tender_unit"),
        payer=payer.named(settings.mapping("bill_to")),
    )


def tender_of(
    work: Work, mailbox: EdiMailbox, pro: str, rules: TenderRules, now: datetime
) -> TransactionSet:
    """The tender of the shipment under this PRO, made now. Untranslatable: it does not fit."""
    settings = work.settings
    respond_by = now + timedelta(seconds=settings.seconds("tender_answer_seconds"))
    pick_up = pickup_day_of(work, event_pb2.EventMetadata(), now)
    marks = mailbox.way.envelope.delimiters
    made = translate_tender.tender(
        work.event.shipment, work.reference, pro, respond_by, pick_up, rules, marks
    )
    mailbox.rendered(TENDERS, Taken(1, now), [made])
    return made


def pickup_day_of(work: Work, asked: event_pb2.EventMetadata, now: datetime) -> date:
    """The day on which the shipment is to be picked up, as the calendar at its origin has it."""
    zones = with_states(work.settings.mapping("scan_time_zones"))
    clock = translate.clock_of(work.event.shipment.ship_from, zones)
    return translate.pickup_day(asked, now, work.settings.integer("pickup_days"), clock)


async def offer(work: Work, mailbox: EdiMailbox, pro: str, rules: TenderRules) -> Accepted:
    """Tender the shipment under this PRO and wait for the answer.

    Reject: declined; AnswerLater: not answered yet; OutcomeUnknown: not even acknowledged in time;
    NeedsPerson: the carrier could not read it, or was silent, and silence is a person's, or its
    time was over before it could be sent.
    """
    settings = work.settings
    within = timedelta(seconds=settings.seconds("tender_answer_seconds"))

    def sets(now: datetime) -> Sequence[TransactionSet]:
        return [tender_of(work, mailbox, pro, rules, now)]

    found = await edi_replies.send_once(work, mailbox, TENDERS, work.reference, sets, within)
    found = await edi_replies.awaited(work, TENDERS, found, settings.seconds("answer_wait_seconds"))
    if found.answer == ACCEPTED:
        await _collected(work, work.reference)
        return _accepted(work.reference, pro, found.reason)
    if found.answer == EXPIRED:
        await _end_by_silence(work, within)
    if found.answer:
        await _collected(work, work.reference)
        said = f"tendered as {work.reference}, the carrier declined it {found.reason}"
        raise Reject(found.answer, said.strip())
    edi_replies.check_syntax(found)
    if datetime.now(UTC) - found.sent > within:
        await _give_up(work)
        await _end_by_silence(work, within)
    raise edi_replies.waiting(found, settings.seconds("acknowledgement_seconds"))


async def take_back(work: Work, mailbox: EdiMailbox, tendered: str) -> None:
    """Cancel the tender with this reference; done once the carrier acknowledged that it can be
    read, because no response follows a cancellation."""
    marks = mailbox.way.envelope.delimiters
    rules = rules_of(work.settings)

    def sets(_: datetime) -> Sequence[TransactionSet]:
        return [translate_tender.cancellation(tendered, rules, marks)]

    # All packages of a shipment are cancelled by one.
    reference = f"{tendered}{CANCELLATION}"
    found = await edi_replies.send_once(work, mailbox, TENDERS, reference, sets)
    wait = work.settings.seconds("answer_wait_seconds")
    found = await edi_replies.awaited(work, TENDERS, found, wait, lambda sent: sent.syntax)
    edi_replies.check_syntax(found)
    if not found.syntax:
        silence = work.settings.seconds("acknowledgement_seconds")
        raise edi_replies.waiting(found, silence)
    # Nothing else will be said about it: it need not be kept as one that waits.
    await _note(work, reference, ACCEPTED)
    await _collected(work, reference)


async def take_response(poll: Poll, found: TransactionSet) -> Read:
    """A 990: noted with its tender; a person sees one that answers none, or answers otherwise."""
    try:
        said = translate_tender.response(found)
    except Unreadable as error:
        return Read.of([error])
    assert poll.cursors is not None
    # What is kept of an answer has room for its word and a reason: the number goes first.
    number = f"{said.pro}{BEHIND_NUMBER}" if said.code == ACCEPTED else ""
    reason = f"{number}{said.reason}"
    wrong = await edi_replies.note_answer(
        poll.cursors,
        TENDERS,
        said.reference,
        said.code,
        reason,
        # Another number is another answer: the carrier would report and bill under it. Other words
        # are none, and neither is what has no digit, such as TBA.
        reason_counts=said.code == ACCEPTED and _has_digit(said.pro),
        counted=lambda kept: _number_and_words(kept)[0],
    )
    is_yes = wrong and said.code == ACCEPTED
    # An acceptance that names our number after one that named none says nothing else.
    if is_yes and await handling_units.is_bought_as(poll.hub, said.pro, said.reference):
        return Read()
    told = wrong.replace(BEHIND_NUMBER, " ")
    return Read(problems=(f"{found.header.place()}: {told}",) if told else ())


def _accepted(reference: str, offered: str, kept: str) -> Accepted:
    """What an acceptance says, of what was kept of it."""
    own, words = _number_and_words(kept)
    note = "; ".join(filter(None, (f"tender {reference} accepted", words)))
    if own and own != plain(offered):
        return Accepted(own, f"{note}; the carrier's PRO instead of {offered}")
    return Accepted(offered, note)


def _number_and_words(kept: str) -> tuple[str, str]:
    """The carrier's own number, "" where it names none, and its words. A number has a digit: what
    has none, such as TBA, is told with the words."""
    own, marked, words = kept.partition(BEHIND_NUMBER)
    if not marked:
        told, _, words = kept.partition("; ")
        own = told.removeprefix(EARLIER_NUMBER)
        # Words could begin so, too; the number was kept plain.
        if own == told or own != plain(own) or not _has_digit(own):
            return "", kept
    own = plain(own)
    if not _has_digit(own):
        return "", "; ".join(filter(None, (own, words)))
    return own, words


def _has_digit(text: str) -> bool:
    return any(each.isdecimal() for each in text)


async def _end_by_silence(work: Work, within: timedelta) -> NoReturn:
    """What becomes of a delivery whose tender was given up, however often it is asked."""
    if work.settings.text("tender_silence") == DECLINED_BY_SILENCE:
        await _collected(work, work.reference)
        raise Reject("NO_ANSWER", f"the carrier did not answer within {within}")
    # It is not collected: the delivery is open until a person ends it.
    raise NeedsPerson(
        f"the carrier did not answer within {within}: ask it, then resolve this; an answer that "
        "comes now is held"
    )


async def _collected(work: Work, reference: str) -> None:
    assert work.cursors is not None
    await edi_replies.note_collected(work.cursors, TENDERS, reference)


async def _give_up(work: Work) -> None:
    """From here on an answer comes too late. One that came meanwhile stands: asked again."""
    if await _note(work, work.reference, EXPIRED):
        raise AnswerLater(f"tender {work.reference} was answered at this moment")


async def _note(work: Work, reference: str, word: str) -> str:
    """Note what became of a tender that is out; what is wrong with that. OutcomeUnknown: it is not
    noted, and to say that nothing was sent would be wrong."""
    assert work.cursors is not None
    try:
        return await edi_replies.note_answer(work.cursors, TENDERS, reference, word)
    except (HubAway, Retry) as trouble:
        raise OutcomeUnknown(f"{reference} is out; its end is not noted: {trouble}") from trouble
