"""What a carrier's adapter tells the hub and asks it outside of deliveries: scans, proofs, labels.

Every scan goes through `report`; `ask_about_moving` is the round of a tracking poll.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

from crossdock.errors import AlreadyUsedError, InvalidRequestError, PreconditionError
from crossdock.label.v1 import label_pb2, label_service_pb2
from crossdock.returns.v1 import return_pb2, return_service_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock.tracking.v1 import tracking_pb2
from crossdock.types.v1 import types_pb2

from crossdock_adapters.sdk import carrier_scans
from crossdock_adapters.sdk.carrier_scans import History
from crossdock_adapters.sdk.outcomes import (
    NeedsPerson,
    NotTried,
    Throttled,
    Unreachable,
    VendorOutcome,
)
from crossdock_adapters.sdk.work import Poll, Work

if TYPE_CHECKING:
    from crossdock.client import HubClient

log = logging.getLogger(__name__)

MAX_LABELS_OF_A_SHIPMENT = 500
MAX_REPORTED_CODES = 1_000
# A label whose purchase has no time may have come to the hub so long after it: what was found after
# a lost answer waits for a person, who has weekends and holidays.
KNOWN_LATE_DAYS = 30
# After so many the longest wait is reached, whatever the settings.
WAITS_THAT_GROW_MAX = 60

# So often running a page of tracking may fail before it is passed.
PAGE_FAILURES_MAX = 3
# What the cursor of a tracking poll begins with on its pages of returns.
_RETURN_PAGES: Final = "~1"

_reported_codes: set[tuple[str, str, str]] = set()
# By endpoint: the first parcel of the page that failed last, and how often running.
_failed_pages: dict[str, tuple[str, int]] = {}

Ask = Callable[[Sequence[label_pb2.Label]], Awaitable[None]]


class Refusal(Exception):
    """The hub will never take this as it is; the payload behind it is kept raw instead."""


async def report(
    hub: HubClient, endpoint: str, events: Sequence[tracking_pb2.TrackingEvent]
) -> None:
    """Scans of one parcel first, then the proofs of delivery they carry; durable on return.

    Applied or held; what the hub knows already is not told twice. Refusal when it never will.
    """
    for event in events:
        _note_unknown(event)
    try:
        await hub.tracking.ReportTrackingEvents(carrier_scans.tracking_request(endpoint, events))
    except AlreadyUsedError:
        # The id names these scans: the hub has them already.
        pass
    except (InvalidRequestError, PreconditionError) as error:
        raise Refusal(str(error)) from error
    for event in events:
        await _prove(hub, endpoint, event)


async def report_or_hold(
    poll: Poll,
    history: History,
    written: Callable[[], bytes],
    content_type: str = "application/json",
) -> None:
    """Tells the hub the scans of one parcel; where something of it cannot be told, the payload as
    it is `written` is held."""
    problems = list(history.problems)
    if history.events:
        try:
            await report(poll.hub, poll.endpoint, history.events)
        except Refusal as refusal:
            problems.append(str(refusal))
    if problems:
        raw = written()
        await poll.hold(raw, "; ".join(problems), content_type, key=payload_key(raw))


async def ask_about_moving(poll: Poll, page_size: int, ask: Ask) -> None:
    """Gives `ask` the labels whose parcels are under way, page by page: those of packages, then
    those of returns, whoever had them sold.

    The hub lets go of parcels of which nothing was heard for CROSSDOCK_TRACKING_POLL_LIMIT_DAYS,
    and lists them again once something is.

    The next run goes on where this one ended: the poll's cursor is the hub's page token. A page
    that the carrier fails to answer is asked again, and passed after PAGE_FAILURES_MAX times: one
    of its parcels may be the reason, and the pages behind it must not wait for ever. Settings:
    carrier_code, and tracking_parcels_per_poll, how many one run asks about.
    """
    carrier_code = poll.settings.text("carrier_code")
    parcels_max = poll.settings.integer("tracking_parcels_per_poll")
    left, token = parcels_max, poll.cursor.decode()
    may_begin_anew = bool(token)
    # Pages of returns may have none of this carrier.
    for _ in range(parcels_max):
        try:
            labels, token = await _under_way(poll.hub, carrier_code, min(left, page_size), token)
        except Refusal:
            if not token:
                raise
            # The hub no longer knows this place in its list: begin again at the oldest.
            await poll.advance(b"")
            return
        if labels:
            await poll.catch_up()
            await _ask_page(poll, ask, labels, token)
        left -= len(labels)
        if labels or not token:
            await poll.advance(token)
        if left <= 0:
            return
        if not token:
            # A run that met the empty end of a round alone begins the next one.
            if left < parcels_max or not may_begin_anew:
                return
            may_begin_anew = False
    await poll.advance(token)


async def _ask_page(
    poll: Poll, ask: Ask, labels: Sequence[label_pb2.Label], next_token: str
) -> None:
    """Ask about a page; what failed too often running is passed, and still raised."""
    first = labels[0].tracking_number
    try:
        await ask(labels)
    except (Throttled, Unreachable):
        # The carrier is away, or wants a rest: that is no parcel's fault.
        raise
    except VendorOutcome as failed:
        page, times = _failed_pages.get(poll.endpoint, ("", 0))
        times = times + 1 if page == first else 1
        _failed_pages[poll.endpoint] = first, times
        if times >= PAGE_FAILURES_MAX:
            del _failed_pages[poll.endpoint]
            log.warning(
                "%d parcels from %s on are passed: tracking failed %d times running: %s",
                len(labels),
                first,
                times,
                failed.reason,
            )
            await poll.advance(next_token)
        raise
    _failed_pages.pop(poll.endpoint, None)


async def each_at_once(
    numbers: Sequence[str], most: int, ask: Callable[[str], Awaitable[None]]
) -> None:
    """Ask about every number, at most so many at once; only then raise what one of them raised."""
    gate = asyncio.Semaphore(most)

    async def gated(number: str) -> None:
        async with gate:
            await ask(number)

    results = await asyncio.gather(*map(gated, numbers), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


async def _under_way(
    hub: HubClient, carrier_code: str, page_size: int, token: str
) -> tuple[Sequence[label_pb2.Label], str]:
    """A page of labels, and the next page's token: of packages, then of returns."""
    if token.startswith(_RETURN_PAGES):
        place = token.removeprefix(_RETURN_PAGES)
        labels, place = await _returning_labels(hub, carrier_code, page_size, place)
        return labels, f"{_RETURN_PAGES}{place}" if place else ""
    labels, place = await moving_labels(hub, carrier_code, page_size, token)
    return labels, place or _RETURN_PAGES


async def _returning_labels(
    hub: HubClient, carrier_code: str, page_size: int, page_token: str
) -> tuple[Sequence[label_pb2.Label], str]:
    request = return_service_pb2.ListReturnsRequest(
        page_size=page_size, page_token=page_token, moving_only=True
    )
    try:
        answer = await hub.returns.ListReturns(request)
    except InvalidRequestError as error:
        raise Refusal(str(error)) from error
    labels = [
        _returning_label(each)
        for each in answer.customer_returns
        # A hub that does not know moving_only lists voided ones too.
        if each.label.carrier_code == carrier_code and not each.label.voided
    ]
    return labels, answer.next_page_token


def _returning_label(customer_return: return_pb2.Return) -> label_pb2.Label:
    """What a poll has to know of the label of a return."""
    sold = customer_return.label
    label = label_pb2.Label(carrier_code=sold.carrier_code, tracking_number=sold.tracking_number)
    if customer_return.HasField("create_time"):
        label.create_time.CopyFrom(customer_return.create_time)
    if sold.HasField("purchase_time"):
        label.purchase_time.CopyFrom(sold.purchase_time)
    return label


async def moving_labels(
    hub: HubClient, carrier_code: str, page_size: int, page_token: str
) -> tuple[Sequence[label_pb2.Label], str]:
    """A page of labels whose parcel is under way, oldest first, and the next page's token."""
    request = label_service_pb2.ListLabelsRequest(
        page_size=page_size, page_token=page_token, moving_only=True, carrier_code=carrier_code
    )
    try:
        answer = await hub.labels.ListLabels(request)
    except InvalidRequestError as error:
        raise Refusal(str(error)) from error
    return list(answer.labels), answer.next_page_token


async def label_of(hub: HubClient, shipment_id: str, package_id: str) -> label_pb2.Label | None:
    """A package's label as the hub stores it; None when none is bought, or all are void."""
    request = label_service_pb2.ListLabelsRequest(
        page_size=MAX_LABELS_OF_A_SHIPMENT, shipment_id=shipment_id
    )
    answer = await hub.labels.ListLabels(request)
    for label in answer.labels:
        if label.package_id == package_id and label.state != label_pb2.LABEL_STATE_VOIDED:
            return label
    return None


def first_day(label: label_pb2.Label) -> date | None:
    """A day that is not after the purchase of a label, wherever that was: what a carrier shows of
    its number from before is another parcel's. None when the hub says nothing of it."""
    if not label.HasField("create_time"):
        return None
    known = label.create_time.ToDatetime(tzinfo=UTC)
    if not label.purchase_time.HasField("instant"):
        return (known - timedelta(days=KNOWN_LATE_DAYS)).date()
    # The purchase has the clock of whoever bought; what the hub knows was bought before.
    bought = min(label.purchase_time.instant.ToDatetime(tzinfo=UTC), known)
    return (bought - timedelta(days=1)).date()


def bought_now() -> types_pb2.SourceTime:
    """This machine's clock, for a carrier that does not say when it sold a label."""
    found = types_pb2.SourceTime(
        precision=types_pb2.TIME_PRECISION_SECOND, zone=types_pb2.TIME_ZONE_SOURCE_GIVEN
    )
    found.instant.FromDatetime(datetime.now(UTC).replace(microsecond=0))
    return found


async def number_bought_with(work: Work, first: shipment_pb2.Package) -> str:
    """The number of this package's label, which the delivery of its shipment's first package buys.

    Settings: wait_for_first_seconds, wait_for_first_seconds_max, wait_for_first_attempts_max.
    NotTried: it is not bought yet; NeedsPerson: it was waited for long enough.
    """
    label = await label_of(work.hub, work.event.shipment.id, work.item)
    if label is not None:
        return label.tracking_number
    if work.attempt > work.settings.integer("wait_for_first_attempts_max"):
        raise NeedsPerson(
            f"the first package of its shipment ({first.number}) has no label; see what became of "
            "that one, then retry this"
        )
    wait = _wait_for_first_seconds(work)
    raise NotTried(wait, "it is bought with the first package of its shipment: not yet")


def _wait_for_first_seconds(work: Work) -> float:
    """Longer and longer: the first package may be waiting for the end of an outage, and each time
    that this one asks counts towards the times after which a person has to look."""
    grown = 1.25 ** min(work.attempt - 1, WAITS_THAT_GROW_MAX)
    settings = work.settings
    wait = settings.seconds("wait_for_first_seconds") * grown
    return min(wait, settings.seconds("wait_for_first_seconds_max"))


def payload_key(payload: bytes) -> str:
    """A key for a payload whose carrier gives it no id: the same bytes are the same payload."""
    return hashlib.sha256(payload).hexdigest()


async def _prove(hub: HubClient, endpoint: str, event: tracking_pb2.TrackingEvent) -> None:
    proof = carrier_scans.confirmation_request(endpoint, event)
    if proof is None:
        return
    try:
        await hub.confirmations.CreateDeliveryConfirmation(proof)
    except AlreadyUsedError:
        return
    except (InvalidRequestError, PreconditionError) as error:
        raise Refusal(str(error)) from error


def _note_unknown(event: tracking_pb2.TrackingEvent) -> None:
    """Says once per process that a code has no mapping; the hub keeps and counts every one."""
    if event.milestone != shipment_pb2.MILESTONE_UNKNOWN:
        return
    code = (event.carrier_code, event.status_type, event.status_code)
    if code not in _reported_codes and len(_reported_codes) < MAX_REPORTED_CODES:
        _reported_codes.add(code)
        log.warning("%s status type %s code %s has no mapping", *code)
