"""Booking by load tender: a 204 goes out once, and the delivery waits for the carrier's 990.

A 997 says that the tender can be read, and nothing else; a tender that is not answered until its
time is over counts as the setting `tender_silence` says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from crossdock_adapters.ltl_freight import tenders, translate_tender
from crossdock_adapters.ltl_freight.tenders import Tender, Tenders
from crossdock_adapters.ltl_freight.translate_tender import ACCEPTED, TENDERS, TenderRules
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
from crossdock_adapters.sdk.settings import Settings
from crossdock_adapters.sdk.work import Poll, Work
from crossdock_adapters.sdk.x12 import acknowledgments
from crossdock_adapters.sdk.x12.acknowledgments import Status
from crossdock_adapters.sdk.x12.envelopes import TransactionSet

REST, BY_TENDER = "rest", "tender"
DECLINED_BY_SILENCE, TO_A_PERSON = "declined", "person"
# A tender that was given up: whatever the carrier answers now is for a person.
EXPIRED: Final = "X"
CANCELLATION: Final = "-CANCEL"

Sets = Callable[[datetime], Sequence[TransactionSet]]


def rules_of(settings: Settings) -> TenderRules:
    """Whom loads are tendered to."""
    scacs = settings.texts("scacs")
    return TenderRules(scacs[0] if scacs else "", settings.text("terms"))


async def offer(work: Work, mailbox: EdiMailbox, pro: str) -> str:
    """Tender the shipment under this PRO and wait for the answer: a note once it is accepted.

    Reject: declined; AnswerLater: not answered yet; OutcomeUnknown: not even acknowledged in time.
    """
    settings = work.settings
    within = timedelta(seconds=settings.seconds("tender_answer_seconds"))
    marks = mailbox.way.envelope.delimiters

    def sets(now: datetime) -> Sequence[TransactionSet]:
        pick_up = now.date() + timedelta(days=settings.integer("pickup_days"))
        shipment, rules = work.event.shipment, rules_of(settings)
        return [
            translate_tender.tender(
                shipment, work.reference, pro, now + within, pick_up, rules, marks
            )
        ]

    found = await _sent(work, mailbox, work.reference, sets)
    if found.answer == ACCEPTED:
        return "; ".join(filter(None, (f"tender {work.reference} accepted", found.reason)))
    if found.answer:
        said = "gave no answer" if found.answer == EXPIRED else f"declined it {found.reason}"
        raise Reject(found.answer, f"tendered as {work.reference}, the carrier {said}".strip())
    _check_syntax(found)
    if datetime.now(UTC) - found.sent > within:
        if settings.text("tender_silence") == DECLINED_BY_SILENCE:
            await _give_up(work)
            raise Reject("NO_ANSWER", f"the carrier did not answer within {within}")
        raise NeedsPerson(f"the carrier did not answer within {within}: ask it, then resolve this")
    raise _waiting(found, work)


async def take_back(work: Work, mailbox: EdiMailbox, tendered: str) -> None:
    """Cancel the tender with this reference; done once the carrier acknowledged that it can be
    read, because no response follows a cancellation."""
    marks = mailbox.way.envelope.delimiters
    rules = rules_of(work.settings)

    def sets(_: datetime) -> Sequence[TransactionSet]:
        return [translate_tender.cancellation(tendered, rules, marks)]

    # All packages of a shipment are cancelled by one.
    found = await _sent(work, mailbox, f"{tendered}{CANCELLATION}", sets)
    _check_syntax(found)
    if not found.syntax:
        raise _waiting(found, work)


async def take_response(poll: Poll, found: TransactionSet) -> Read:
    """A 990: noted with its tender; a person sees one that answers none, or answers otherwise."""
    try:
        said = translate_tender.response(found)
    except Unreadable as error:
        return Read.of([error])
    assert poll.cursors is not None
    wrong = ""

    def decide(state: Tenders) -> Tenders:
        nonlocal wrong
        after, wrong = tenders.answered(state, said.reference, said.code, said.reason)
        return after

    await tenders.change(poll.cursors, decide)
    return Read(problems=(f"{found.header.place()}: {wrong}",) if wrong else ())


async def take_acknowledgement(poll: Poll, found: TransactionSet) -> Read:
    """A 997: noted with the tender it is about, if it is about one."""
    try:
        said = acknowledgments.read(found)
    except Unreadable as error:
        return Read.of([error])
    if said.functional_id != TENDERS:
        return Read()
    assert poll.cursors is not None
    status = said.sets[0].status if said.sets else said.status
    number = said.control_number
    await tenders.change(
        poll.cursors, lambda state: tenders.acknowledged(state, number, str(status))
    )
    return Read()


async def _sent(work: Work, mailbox: EdiMailbox, reference: str, sets: Sets) -> Tender:
    """The set with this reference as it is known now; sent where it was not."""
    assert work.cursors is not None and work.sequences is not None
    key = f"{TENDERS}:{reference}"
    try:
        found = tenders.of(await tenders.known(work.cursors), reference)
        if found is not None:
            return found
        taken = await mailbox.send(work.sequences, key, TENDERS, sets)
    except HubAway as away:
        raise Retry(0.0, f"the hub did not answer for the tenders: {away}") from away
    fresh = Tender(reference, taken.number, taken.time)
    try:
        await tenders.change(work.cursors, lambda state: tenders.noted(state, fresh))
        # Only now: until it is noted, whoever comes again sends the same under the same number.
        await mailbox.sent(work.sequences, key)
    except (HubAway, Retry) as trouble:
        raise OutcomeUnknown(
            f"tender {reference} is out, and not noted yet: {trouble}"
        ) from trouble
    return fresh


async def _give_up(work: Work) -> None:
    """From here on an answer comes too late. One that came meanwhile stands: asked again."""
    assert work.cursors is not None
    wrong = ""

    def decide(state: Tenders) -> Tenders:
        nonlocal wrong
        after, wrong = tenders.answered(state, work.reference, EXPIRED, "")
        return after

    try:
        await tenders.change(work.cursors, decide)
    except HubAway as away:
        raise Retry(0.0, f"the hub did not answer for the tenders: {away}") from away
    if wrong:
        raise AnswerLater(f"tender {work.reference} was answered at this moment")


def _check_syntax(found: Tender) -> None:
    if found.syntax and not Status(found.syntax).accepted:
        raise NeedsPerson(
            f"the carrier could not read interchange {found.number:09d} (997 says "
            f"{found.syntax}): mend what its guide wants, then resubmit this delivery"
        )


def _waiting(found: Tender, work: Work) -> OutcomeUnknown:
    """It has the tender and answers later; or it has not even acknowledged it in time."""
    silence = timedelta(seconds=work.settings.seconds("acknowledgement_seconds"))
    if not found.syntax and datetime.now(UTC) - found.sent > silence:
        return OutcomeUnknown(f"SILENT: interchange {found.number:09d} has no 997 after {silence}")
    awaited = "its 990" if found.syntax else "its 997"
    return AnswerLater(f"interchange {found.number:09d} waits for {awaited}")
