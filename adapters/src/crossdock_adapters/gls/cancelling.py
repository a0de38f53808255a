"""Which parcels a void takes back, and whether GLS cancelled them.

GLS cancels parcel by parcel, and one purchase makes those of all packages. The hub may drop the
deliveries of the other packages, purchase and void, before either began: then the void of the
first package is all that is left of the shipment, so it takes back every parcel of its purchase.
Where they were not dropped, two voids take back the same parcel, and neither waits for the other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from crossdock.errors import (
    AlreadyUsedError,
    CallError,
    InvalidRequestError,
    NotFoundError,
    PreconditionError,
)
from crossdock.label.v1 import label_pb2, label_service_pb2
from crossdock.shipment.v1 import shipment_pb2

from crossdock_adapters.gls import translate
from crossdock_adapters.gls.client import MAX_TRACKED_AT_ONCE, GlsClient
from crossdock_adapters.sdk import carrier_labels
from crossdock_adapters.sdk.carrier_reports import MAX_LABELS_OF_A_SHIPMENT
from crossdock_adapters.sdk.mappings import Mappings
from crossdock_adapters.sdk.outcomes import (
    AnswerLater,
    NeedsPerson,
    OutcomeUnknown,
    Reject,
    Retry,
    VendorOutcome,
)
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.work import Work

log = logging.getLogger(__name__)

DONE, PENDING, TOO_LATE = "done", "pending", "too_late"
# Parcels that one void cancels at once.
CANCELLED_AT_ONCE = 8
# Which outcome is told of several: what is to be asked again goes before what is final, or the
# others would be left in the middle. Retry comes second, as an unknown one: others were cancelled.
TOLD_FIRST = (OutcomeUnknown, Retry, AnswerLater, NeedsPerson, Reject)


@dataclass(frozen=True, slots=True)
class ToCancel:
    """The parcels that a void takes back. alone: those that the void of no other package cancels,
    too, so that only an earlier call of its own may have done it."""

    numbers: tuple[str, ...]
    alone: frozenset[str] = frozenset()


async def to_cancel(work: Work) -> ToCancel:
    """The parcel of this package; of the first package also all others of its purchase. None where
    the hub has its label as void. Untranslatable: the event has no such package."""
    shipment: shipment_pb2.Shipment = work.event.shipment
    carrier_labels.find_package(shipment, work.item)
    request = label_service_pb2.ListLabelsRequest(
        page_size=MAX_LABELS_OF_A_SHIPMENT, shipment_id=shipment.id
    )
    listed = (await work.hub.labels.ListLabels(request)).labels
    carrier = work.settings.text("carrier_code")
    labels = [label for label in listed if label.carrier_code == carrier]
    valid = [label for label in labels if label.state != label_pb2.LABEL_STATE_VOIDED]
    own = [label.tracking_number for label in valid if label.package_id == work.item][:1]
    if not any(label.package_id == work.item for label in labels):
        own = [carrier_labels.tracking_number_of(shipment, work.item)]
    together: list[str] = []
    is_first = bool(shipment.packages) and shipment.packages[0].id == work.item
    if is_first:
        bought = {label.purchase_reference for label in labels if label.package_id == work.item}
        together = [each.tracking_number for each in valid if each.purchase_reference in bought]
    numbers = tuple(number for number in dict.fromkeys([*own, *together]) if number)
    return ToCancel(numbers, frozenset(own) if is_first else frozenset())


async def cancel_all(work: Work, vendor: GlsClient, parcels: ToCancel, mappings: Mappings) -> None:
    """Cancels parcels, and comes back when all of them are. VendorOutcome: what became of the one
    that says most of what has to follow; each of the others was asked for before it is raised, and
    those that are cancelled are told: what is raised tells the hub no facts."""
    left = await _asked_for(work, vendor, parcels)
    unclear = [
        number for number, told in left.items() if _tracking_may_know(work, parcels, number, told)
    ]
    failed = {number: told for number, told in left.items() if number not in unclear}
    for start in range(0, len(unclear), MAX_TRACKED_AT_ONCE):
        page = unclear[start : start + MAX_TRACKED_AT_ONCE]
        try:
            cancelled = await _cancelled_of(work, vendor, page, mappings)
        except OutcomeUnknown as silence:
            failed |= dict.fromkeys(page, silence)
            continue
        failed |= {number: left[number] for number in page if number not in cancelled}
    if failed:
        await _tell_void(work, [each for each in parcels.numbers if each not in failed])
        raise _most_urgent(failed, len(parcels.numbers))


async def _tell_void(work: Work, numbers: Sequence[str]) -> None:
    """Tells the hub which labels are void. OutcomeUnknown: it did not hear it, and the next attempt
    tells it; what it will never take is in the log, and keeps nothing else."""
    carrier = work.settings.text("carrier_code")
    for number in numbers:
        fact = carrier_labels.void_request(work.endpoint, carrier, number)
        try:
            await work.hub.labels.ReportLabelVoided(fact)
        except (AlreadyUsedError, InvalidRequestError, NotFoundError, PreconditionError) as never:
            log.warning("%s is cancelled, and the hub does not take that: %s", number, never)
        except CallError as away:
            said = f"{number} is cancelled, and the hub did not hear that"
            raise OutcomeUnknown(said) from away


async def _asked_for(work: Work, vendor: GlsClient, parcels: ToCancel) -> dict[str, VendorOutcome]:
    """What GLS says of each parcel that it does not call done. Once it takes no calls, no more are
    made: those that are left have that answer too."""
    gate = asyncio.Semaphore(CANCELLED_AT_ONCE)
    away: list[Retry] = []

    async def asked(number: str) -> VendorOutcome | None:
        async with gate:
            if away:
                return away[0]
            try:
                return _meaning(work, number, await vendor.cancel(number))
            except Retry as told:
                away.append(told)
                return told
            except Reject as refused:
                # A repeat may be refused because the first was done, which tracking shows later.
                doubted = _may_be_done(work, parcels, number)
                return OutcomeUnknown(refused.reason) if doubted else refused
            except VendorOutcome as told:
                return told

    async with asyncio.TaskGroup() as group:
        tasks = {number: group.create_task(asked(number)) for number in parcels.numbers}
    told = {number: task.result() for number, task in tasks.items()}
    return {number: outcome for number, outcome in told.items() if outcome is not None}


def _meaning(work: Work, number: str, result: str) -> VendorOutcome | None:
    """What GLS's word for a cancellation means; None: it is done. The words are a setting."""
    word = work.settings.mapping("cancel_results").get(result.upper(), "")
    if word == DONE:
        return None
    if word == PENDING:
        return AnswerLater(f"GLS has not decided yet whether {number} is cancelled ({result})")
    if word == TOO_LATE:
        return Reject(result, f"GLS has scanned {number}: it is too late to cancel it")
    return OutcomeUnknown(f"GLS answers {result} to the cancellation of {number}")


def _may_be_done(work: Work, parcels: ToCancel, number: str) -> bool:
    """Whether an earlier call, or another package's void, may have cancelled a parcel already."""
    return work.in_doubt or number not in parcels.alone


def _tracking_may_know(work: Work, parcels: ToCancel, number: str, told: VendorOutcome) -> bool:
    """Whether a parcel may be cancelled although GLS did not say so: too late says the repeat of a
    call that was done, too; what is not decided yet, tracking does not know either."""
    if isinstance(told, Reject):
        return _may_be_done(work, parcels, number)
    return isinstance(told, OutcomeUnknown) and not isinstance(told, AnswerLater)


async def _cancelled_of(
    work: Work, vendor: GlsClient, numbers: Sequence[str], mappings: Mappings
) -> set[str]:
    """Those that tracking shows as cancelled. OutcomeUnknown: nobody says."""
    asked = ", ".join(numbers)
    assert work.cursors is not None
    counted = vendor.quota.look_up_call(work.cursors)
    try:
        parcels = translate.parcels_in(await vendor.track(numbers, counted))
    except Retry as away:
        said = f"whether {asked} is cancelled: {away.reason}"
        raise OutcomeUnknown(said, away.after_seconds) from away
    except Unreadable as error:
        raise OutcomeUnknown(f"whether {asked} is cancelled: {error}") from error
    shown = [each for each in parcels if isinstance(each, dict)]
    return {str(each.get("requested")) for each in shown if translate.is_voided(each, mappings)}


def _most_urgent(failed: dict[str, VendorOutcome], count: int) -> VendorOutcome:
    """The outcome to raise of several parcels, with the numbers of all that are still valid."""
    told = min(failed.values(), key=_urgency)
    untouched = len(failed) == count and all(isinstance(each, Retry) for each in failed.values())
    if count == 1 or untouched:
        return told
    reason = f"{len(failed)} of {count} parcels are not cancelled ({', '.join(failed)})"
    reason = f"{reason}: {told.reason}"
    if isinstance(told, Reject):
        return Reject(told.code, reason)
    if isinstance(told, NeedsPerson):
        return NeedsPerson(reason)
    if isinstance(told, AnswerLater):
        return AnswerLater(reason, told.after_seconds)
    # Also of a Retry: something was done about others.
    wait = told.after_seconds if isinstance(told, OutcomeUnknown | Retry) else 0.0
    return OutcomeUnknown(reason, wait)


def _urgency(told: VendorOutcome) -> int:
    if isinstance(told, AnswerLater):
        return TOLD_FIRST.index(AnswerLater)
    return next(place for place, kind in enumerate(TOLD_FIRST) if isinstance(told, kind))
