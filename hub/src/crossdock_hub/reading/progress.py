"""What a flow's objects say when the ledger has nothing open: who acts next, or the end; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from crossdock.quantities import plain
from crossdock.tracking.v1 import tracking_pb2

from crossdock_hub.delivery.postings import Posting, postings
from crossdock_hub.objects.departures import Amounts, still_at_dock
from crossdock_hub.objects.lifecycle import ENDED_MILESTONES, ENDED_RETURNS
from crossdock_hub.objects.resources import microseconds
from crossdock_hub.objects.shortages import still_to_pack
from crossdock_hub.reading.chain import Chain
from crossdock_hub.records import ObjectRecord
from crossdock_hub.verbs.scan_meanings import milestone_name
from crossdock_hub.wording import clock, duration, listed

# Lines of a request that are named in a sentence.
LINES_NAMED_MAX: Final = 3
# States of an order and of a request whose goods have left.
_GONE: Final = frozenset({"SHIPPED", "DELIVERED"})


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict by its name in crossdock.lineage.v1.Verdict, and the same in one sentence."""

    verdict: str
    sentence: str


def name_of(chain: Chain, object_id: str) -> str:
    """How people call an object of the flow: "shipment SH-1"."""
    for record in chain.objects:
        if record.id == object_id:
            return _called(record)
    return object_id


def _called(record: ObjectRecord) -> str:
    return f"{record.kind.replace('_', ' ')} {record.number or record.id}"


def judge_objects(chain: Chain, now: int) -> Judgement:
    """The verdict on a flow of which no delivery is open."""
    root = next((record for record in chain.objects if record.id == chain.root_id), None)
    if root is None:
        return Judgement("COMPLETE", "Nothing is open.")
    if root.kind != "order":
        state = f"{root.state}, " if root.state else ""
        return Judgement(
            "COMPLETE",
            f"Nothing is open: {_called(root)} is {state}at revision {root.revision} since "
            f"{clock(root.updated_at, now)}.",
        )
    if root.state == "CANCELLED":
        return _unpaid_freight(chain, now) or _cancelled(chain, root, now)
    if root.state in ("CREATED", "APPROVED"):
        step = "approve" if root.state == "CREATED" else "release"
        since = duration(now - root.updated_at)
        return Judgement(
            "UNDER_WAY", f"Under way: the OMS has to {step} {_called(root)} since {since}."
        )
    return _shipping(chain, root, now)


def _cancelled(chain: Chain, order: ObjectRecord, now: int) -> Judgement:
    told = {
        record.endpoint
        for record in chain.deliveries
        if record.supersedes and record.state in ("CONFIRMED", "SUPERSEDED") and record.endpoint
    }
    who = f"{listed(sorted(told))} know" if len(told) > 1 else f"{''.join(told)} knows"
    known = who if told else "nobody had to be told"
    reason = order.message.cancel_reason or "no reason was given"
    at = clock(order.updated_at, now)
    return Judgement("CANCELLED", f"Cancelled {at}: {reason}; {known}.")


def _shipping(chain: Chain, order: ObjectRecord, now: int) -> Judgement:
    shipments = [r for r in chain.objects if r.kind == "shipment" and r.state != "VOIDED"]
    trouble = _exception(chain, shipments, now)
    if trouble is not None:
        return trouble
    back = [shipment for shipment in shipments if shipment.state == "RETURNED"]
    if back:
        names = listed([_called(shipment) for shipment in back])
        return Judgement("NEEDS_PERSON", f"A person has to look: {names} went back to the sender.")
    if order.state == "DELIVERED":
        return (
            _not_told_to_leave(shipments, now)
            or _coming_back(chain, now)
            or _complete(chain, shipments, now)
        )
    return _next_step(chain, order, shipments, now)


def _not_told_to_leave(shipments: Sequence[ObjectRecord], now: int) -> Judgement | None:
    """A carrier's scans may overtake the warehouse's report, or that report may be lost: until it
    comes no ERP posts the goods issue, though the customer has the goods."""
    for shipment in shipments:
        message: Any = shipment.message
        if shipment.state == "DELIVERED" and not message.HasField("manifest_time"):
            since = duration(now - shipment.updated_at)
            return Judgement(
                "UNDER_WAY",
                f"Under way: {_called(shipment)} is delivered since {since}, and no departure from "
                f"warehouse {message.ship_from_location_number} is written; its goods issue is "
                "posted when one is.",
            )
    return None


def _coming_back(chain: Chain, now: int) -> Judgement | None:
    """Who has to act on the oldest return that is not over."""
    for record in chain.objects:
        if record.kind != "customer_return" or record.state in ENDED_RETURNS:
            continue
        message: Any = record.message
        place = message.return_to_location_number
        words = {
            "INITIATED": "the customer has to send it",
            "IN_TRANSIT": f"it is on its way to warehouse {place}",
        }.get(record.state, f"warehouse {place} has received some of it")
        since = duration(now - record.updated_at)
        return Judgement(
            "UNDER_WAY",
            f"Under way: {_called(record)} is {record.state} since {since}; {words}.",
        )
    return None


def _exception(chain: Chain, shipments: Sequence[ObjectRecord], now: int) -> Judgement | None:
    for shipment in shipments:
        for row in shipment.message.progress:
            if row.exception_open and milestone_name(row.milestone) not in ENDED_MILESTONES:
                since = ""
                if row.HasField("milestone_time"):
                    since = f" since {duration(now - microseconds(row.milestone_time))}"
                return Judgement(
                    "WAITING",
                    f"Waiting on carrier {shipment.message.carrier_code}{since}: it reports a "
                    f"problem with parcel {row.tracking_number}{_reason(chain, row)} that no later "
                    "scan has lifted.",
                )
    return None


def _reason(chain: Chain, row: Any) -> str:
    """ " (address problem)": what the last exception of a parcel gave as its reason, if any."""
    exceptions = [
        tracking_pb2.TrackingEvent.FromString(scan.body)
        for scan in chain.scans
        if scan.tracking_number == row.tracking_number and scan.milestone == "EXCEPTION"
    ]
    reason = exceptions[-1].exception_reason if exceptions else ""
    return f" ({reason.lower().replace('_', ' ')})" if reason else ""


def _complete(chain: Chain, shipments: Sequence[ObjectRecord], now: int) -> Judgement:
    unpaid = _unpaid_freight(chain, now)
    if unpaid is not None:
        return unpaid
    times = [
        microseconds(shipment.message.delivered_time)
        for shipment in shipments
        if shipment.message.HasField("delivered_time")
    ]
    delivered = f"delivered {clock(max(times), now)}" if times else "delivered"
    names = {shipment.id for shipment in shipments}
    booked = [p for p in postings(chain.deliveries) if p.role == "ERP" and p.object_id in names]
    # What gave no document is told, not posted, where something else was posted.
    clauses = [delivered, *_posted([p for p in booked if p.documents] or booked)]
    clauses += _returned(chain)
    refused = [r for r in chain.deliveries if r.state == "REJECTED"]
    if refused:
        first = refused[0]
        clauses.append(f"{first.endpoint} had refused {first.operation}: {first.waiting_on}")
    clauses += _booked_freight(chain)
    return Judgement("COMPLETE", f"Complete: {', '.join(clauses)}.")


def _returned(chain: Chain) -> list[str]:
    """ "customer return RMA-1 is RECEIVED (60000001)", one clause for each return."""
    clauses = []
    booked = postings(chain.deliveries)
    for record in chain.objects:
        if record.kind == "customer_return":
            own = [p for p in booked if p.role == "ERP" and p.object_id == record.id]
            numbers = dict.fromkeys(number for posting in own for number in posting.numbers)
            given = f" ({', '.join(numbers)})" if numbers else ""
            clauses.append(f"{_called(record)} is {record.state}{given}")
    return clauses


def _posted(booked: Sequence[Posting]) -> list[str]:
    """ "posted to netsuite once (IF-1003)", one clause for each endpoint."""
    if not booked:
        return ["no ERP had to post it"]
    clauses = []
    for endpoint in dict.fromkeys(posting.endpoint for posting in booked):
        own = [posting for posting in booked if posting.endpoint == endpoint]
        objects = {posting.object_id for posting in own}
        often = "once" if len(objects) == 1 else "once per shipment"
        numbers = [number for posting in own for number in posting.numbers]
        given = f" ({', '.join(dict.fromkeys(numbers))})" if numbers else ""
        clauses.append(f"posted to {endpoint} {often}{given}")
    return clauses


# What transport management has to do with a freight charge, by its state.
_FREIGHT_STEPS: Final = {
    "INVOICED": "waits for its audit",
    "DISPUTED": "is disputed",
    "APPROVED": "is approved and not finalised",
}


def _unpaid_freight(chain: Chain, now: int) -> Judgement | None:
    """A carrier's invoice that nobody has settled; an estimate alone keeps nothing open."""
    for record in chain.objects:
        step = _FREIGHT_STEPS.get(record.state) if record.kind == "freight_charge" else None
        if step is not None:
            amount = record.message.invoice.amount
            return Judgement(
                "UNDER_WAY",
                f"Under way: {_freight_invoice(record)} over {amount.amount} {amount.currency} "
                f"{step} since {duration(now - record.updated_at)}.",
            )
    return None


def _booked_freight(chain: Chain) -> list[str]:
    """ "freight invoice 77-1 of LTL posted to sap once (5105600001/2026)", one for each charge."""
    clauses = []
    for charge in chain.objects:
        bills = [p for p in postings(chain.deliveries) if p.object_id == charge.id]
        if charge.kind == "freight_charge" and bills:
            clauses += [f"{_freight_invoice(charge)} {clause}" for clause in _posted(bills)]
    return clauses


def _freight_invoice(record: ObjectRecord) -> str:
    message: Any = record.message
    return f"freight invoice {message.invoice.number} of {message.carrier_code}"


def _next_step(
    chain: Chain, order: ObjectRecord, shipments: Sequence[ObjectRecord], now: int
) -> Judgement:
    """Who has to act next: the part of the order that is furthest behind speaks."""
    for state, verb in (("REQUESTED", "pick and pack"), ("PICKED", "pack")):
        for request in chain.objects:
            if request.kind == "fulfillment_request" and request.state == state:
                place = request.message.ship_from_location_number
                since = duration(now - request.updated_at)
                return Judgement(
                    "UNDER_WAY",
                    f"Under way: warehouse {place} has to {verb} {request.number} since {since}.",
                )
    for shipment in shipments:
        if shipment.state == "PACKED":
            return _packed(shipment, now)
    unpacked = _unpacked(chain, shipments, now) or _back_at_dock(chain, order, shipments, now)
    if unpacked is not None:
        return unpacked
    for shipment in shipments:
        if shipment.state in ("MANIFESTED", "IN_TRANSIT"):
            return _carried(shipment, now)
    since = duration(now - order.updated_at)
    return Judgement("UNDER_WAY", f"Under way: {_called(order)} is {order.state} since {since}.")


def _unpacked(chain: Chain, shipments: Sequence[ObjectRecord], now: int) -> Judgement | None:
    """A warehouse that has packed some of a request and has said nothing of the rest."""
    for request in chain.objects:
        if request.kind != "fulfillment_request" or request.state != "PACKED":
            continue
        message: Any = request.message
        packed: list[Any] = [shipment.message for shipment in shipments]
        own = [each for each in packed if each.fulfillment_request_id == request.id]
        rest = still_to_pack(message, own, chain.units_of(message, own))
        if rest:
            return Judgement(
                "UNDER_WAY",
                f"Under way: warehouse {message.ship_from_location_number} has to pack the rest of "
                f"{request.number} ({_lines(rest)}), or to say that it is short, since "
                f"{duration(now - _last_packed(chain, request))}.",
            )
    return None


def _back_at_dock(
    chain: Chain, order: ObjectRecord, shipments: Sequence[ObjectRecord], now: int
) -> Judgement | None:
    """A request that says SHIPPED, and of which something left and was voided after that."""
    for request in chain.objects:
        if request.kind != "fulfillment_request" or request.state not in _GONE:
            continue
        message: Any = request.message
        undone = [each for each in chain.objects if _left_and_voided(each, request)]
        packed: list[Any] = [each.message for each in shipments]
        own = [each for each in packed if each.fulfillment_request_id == request.id]
        rest = still_to_pack(message, own, chain.units_of(message, own))
        if not undone or not rest:
            continue
        newest: Any = max(undone, key=_voided_at).message
        stay = [request.number or request.id] + ([_called(order)] if order.state in _GONE else [])
        return Judgement(
            "UNDER_WAY",
            f"Under way: {listed([_called(each) for each in undone])} left and was voided "
            f"{clock(max(map(_voided_at, undone)), now)} ({newest.void_reason}); {listed(stay)} "
            f"still {'say' if len(stay) > 1 else 'says'} {request.state}, as states never go back: "
            f"warehouse {message.ship_from_location_number} has to pack {_lines(rest)} again "
            "(ReportPacked) and to confirm it (ManifestShipment), also if it did leave; what will "
            "not be shipped, the order desk has to settle with the customer.",
        )
    return None


def _left_and_voided(record: ObjectRecord, request: ObjectRecord) -> bool:
    message: Any = record.message
    return (
        record.kind == "shipment"
        and record.state == "VOIDED"
        and message.fulfillment_request_id == request.id
        and message.HasField("manifest_time")
    )


def _voided_at(shipment: ObjectRecord) -> int:
    message: Any = shipment.message
    if not message.HasField("void_time"):
        return shipment.updated_at
    return int(message.void_time.ToMicroseconds())


def _lines(amounts: Amounts) -> str:
    """ "2 EA of line 1 and 1 EA of line 2", or how many lines it is."""
    words = [f"{plain(q)} {unit} of line {line}" for (line, unit), q in amounts.items()]
    return listed(words) if len(words) <= LINES_NAMED_MAX else f"{len(words)} lines"


def _last_packed(chain: Chain, request: ObjectRecord) -> int:
    """When the warehouse packed or voided a shipment of a request last; a pick, a label or a scan
    that came since is no work on the rest."""
    times = [request.created_at]
    for record in chain.objects:
        message: Any = record.message
        if record.kind == "shipment" and message.fulfillment_request_id == request.id:
            voided = message.HasField("void_time")
            times.append(message.void_time.ToMicroseconds() if voided else record.created_at)
    return max(times)


def _packed(shipment: ObjectRecord, now: int) -> Judgement:
    message: Any = shipment.message
    since = duration(now - shipment.updated_at)
    bare = [row for row in message.progress if not row.label_id]
    if bare:
        words = f"{len(bare)} of {len(message.progress)} packages have no label yet"
    else:
        words = f"warehouse {message.ship_from_location_number} has to hand it over"
    return Judgement(
        "UNDER_WAY", f"Under way: {_called(shipment)} is packed since {since}; {words}."
    )


def _carried(shipment: ObjectRecord, now: int) -> Judgement:
    message: Any = shipment.message
    going = [
        row for row in message.progress if milestone_name(row.milestone) not in ENDED_MILESTONES
    ]
    clauses = [f"{_called(shipment)} is with carrier {message.carrier_code}"]
    behind = [package.number for package in still_at_dock(message)]
    if behind:
        place = message.ship_from_location_number
        clauses = [
            f"{_called(shipment)} left without package {listed(behind)}, which warehouse {place} "
            "has to hand over"
        ]
    if going:
        row = going[0]
        last = milestone_name(row.milestone)
        at = f" at {clock(microseconds(row.milestone_time), now)}" if _timed(row) else ""
        clauses.append(f"parcel {row.tracking_number} was last {last}{at}")
    return Judgement("UNDER_WAY", f"Under way: {'; '.join(clauses)}.")


def _timed(row: Any) -> bool:
    return bool(row.HasField("milestone_time"))
