"""The proofs of the demo: pure comparisons of the hub's ledger with the vendors' own books.

Each function names every disagreement it finds; a proof holds when it finds none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from crossdock.cli.demo.books import Call, CarrierBooks, ErpBooks, WarehouseBooks, most_at_once
from crossdock.cli.demo.views import DeliveryView, HubView, ShipmentView

SHOWN_DISAGREEMENTS: Final = 5
POSTING_OPERATIONS: Final = frozenset({"create_sales_order", "post_goods_issue"})
LEFT_THE_DOCK: Final = frozenset({"MANIFESTED", "IN_TRANSIT", "DELIVERED"})
# How far a milestone is; those that are not here say nothing about progress.
MILESTONE_RANK: Final[Mapping[str, int]] = {
    "LABEL_CREATED": 1,
    "CARRIER_ACCEPTED": 2,
    "IN_TRANSIT": 3,
    "OUT_FOR_DELIVERY": 4,
    "DELIVERY_ATTEMPTED": 5,
    "READY_FOR_COLLECTION": 5,
    "RETURNING": 6,
    "DELIVERED": 7,
    "RETURNED": 7,
}
SAYS_NO_PLACE: Final = frozenset({"UNKNOWN", "INFORMATION", "EXCEPTION", "VOIDED"})
EVENT_RANK: Final[Mapping[str, int]] = {
    "tracking.carrier_accepted": 2,
    "tracking.in_transit": 3,
    "tracking.out_for_delivery": 4,
    "tracking.delivered": 7,
}
_UNIT_WORDS: Final = {"LBR": "LB", "KGM": "KG"}


@dataclass(frozen=True, slots=True)
class Proof:
    """One claim and whether the books agree. sentence: with its numbers, for a person."""

    act: int
    claim: str
    sentence: str
    disagreements: tuple[str, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        return not self.disagreements


@dataclass(frozen=True, slots=True)
class Outage:
    """When the ERP's port was closed, by the machine's one clock, and what waited at its end."""

    begin: datetime
    end: datetime
    waited: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A write that the hub refused; what it named. rule: file and line."""

    writer: str
    field: str
    owner: str
    rule: str


@dataclass(frozen=True, slots=True)
class Traced:
    """What a trace answered, reduced to what can be compared."""

    asked: str
    verdict: str
    sentence: str
    trace_id: str
    order_numbers: frozenset[str]
    shipment_ids: frozenset[str]
    tracking_numbers: frozenset[str]
    postings: tuple[tuple[str, int], ...]


def delivered(
    view: HubView, expected: int, erp: ErpBooks, wms: WarehouseBooks, ups: CarrierBooks
) -> Proof:
    """Every order is delivered at the hub, and each vendor's books say the same."""
    wrong: list[str] = []
    if len(view.orders) != expected:
        wrong.append(f"the hub holds {len(view.orders)} orders of {expected}")
    for order in view.orders:
        if order.state != "DELIVERED":
            wrong.append(f"{order.number} is {order.state} at the hub")
        record = erp.sales_orders.get(order.id)
        if record is None or record["fields"]["tranId"] != order.sales_document:
            wrong.append(
                f"{order.number}: sales document {order.sales_document!r} is not the ERP's"
            )
    by_order = Counter(shipment.order_id for shipment in view.shipments)
    wrong += [f"{order.number} has no shipment" for order in view.orders if not by_order[order.id]]
    for shipment in view.shipments:
        wrong += _shipment_disagreements(shipment, erp, wms, ups)
    return Proof(
        1,
        "all orders delivered, and every vendor's books agree",
        f"{len(view.orders)} orders delivered; the vendors' own books hold "
        f"{_held(erp.sales_orders, (o.id for o in view.orders))} sales orders, "
        f"{_held(wms.shipped, (s.number for s in view.shipments))} shipments, "
        f"{_held(ups.parcels, (p.tracking_number for p in view.packages))} parcels, "
        f"{_held(erp.fulfillments, (s.id for s in view.shipments))} goods issues for them",
        tuple(wrong),
        {"orders": len(view.orders), "shipments": len(view.shipments)},
    )


def waited_for_erp(outage: Outage, calls: Sequence[Call]) -> Proof:
    """While the ERP was down nothing reached it, and work waited for it."""
    during = [call for call in calls if outage.begin < call.start < outage.end]
    wrong = [f"the ERP logged {call.operation} at {call.start:%H:%M:%S}" for call in during]
    if not outage.waited:
        wrong.append("nothing waited at the end of the outage")
    seconds = (outage.end - outage.begin).total_seconds()
    return Proof(
        2,
        "the ERP was away and its work waited",
        f"{len(during)} calls in {seconds:.0f} s of outage; {outage.waited} deliveries waited",
        tuple(wrong),
        {"waited": outage.waited, "seconds": round(seconds, 1)},
    )


def drained_within_limit(
    view: HubView, outage: Outage, calls: Sequence[Call], budget: int, erp: ErpBooks
) -> Proof:
    """The drain kept the ERP's limit, and no goods issue came before its order."""
    after = [call for call in calls if call.start >= outage.end and call.operation != "token"]
    most = most_at_once(after)
    wrong = [f"{most} calls at once, {budget} are allowed"] if most > budget else []
    if not after:
        wrong.append("the ERP logged no call after the outage")
    for shipment in view.shipments:
        order, posted = erp.sales_orders.get(shipment.order_id), erp.fulfillments.get(shipment.id)
        if order and posted and _time(posted) < _time(order):
            wrong.append(f"shipment {shipment.number} was posted before its order")
    wrong += [
        f"{each.operation} {each.object_id} is {each.state}: {each.waiting_on}"
        for each in view.deliveries
        if each.operation in POSTING_OPERATIONS and each.state != "CONFIRMED"
    ]
    last = max((call.end for call in after if call.effect), default=outage.end)
    seconds = (last - outage.end).total_seconds()
    return Proof(
        2,
        "drained in order within the limit",
        f"drained {seconds:.0f} s after the ERP was back, at most {most} calls at once in its own "
        f"log, {budget} allowed",
        tuple(wrong),
        {"most_at_once": most, "budget": budget, "drain_seconds": round(seconds, 1)},
    )


def posted_once(view: HubView, erp: ErpBooks, calls: Sequence[Call], prefix: str) -> Proof:
    """Nothing lost and nothing twice: one document per fact, in the ERP's books and in its log."""
    keys = {order.id: order.number for order in view.orders if order.state != "CANCELLED"}
    keys |= {each.id: each.number for each in view.shipments if each.state in LEFT_THE_DOCK}
    lost = [number for key, number in keys.items() if not erp.made.get(key)]
    twice = [number for key, number in keys.items() if erp.made.get(key, 0) > 1]
    twice += [
        order.number for order in view.orders if erp.orders_by_number.get(order.number, 0) > 1
    ]
    effects = Counter(
        call.key.removeprefix(prefix)
        for call in calls
        if call.effect and call.operation in ("upsert", "create", "transform")
    )
    twice += [number for key, number in keys.items() if effects[key] > 1 and number not in twice]
    foreign = [key for key in erp.made if key not in keys]
    wrong = [f"{number} is not in the ERP" for number in lost]
    wrong += [f"{number} is in the ERP more than once" for number in twice]
    wrong += [f"the ERP holds {key}, which the hub does not know" for key in foreign]
    wrong += _ledger_disagreements(view, erp)
    return Proof(
        2,
        "lost 0, twice 0",
        f"lost {len(lost)}, twice {len(twice)}: {len(keys)} documents due, {len(erp.made)} in the "
        "ERP's books",
        tuple(wrong),
        {"due": len(keys), "lost": len(lost), "twice": len(twice)},
    )


def labels_found(
    deliveries: Sequence[DeliveryView], ups: CarrierBooks, calls: Sequence[Call], wanted: int
) -> Proof:
    """Labels whose reply was lost were found by reference; the carrier sold no second one."""
    lost = [call for call in calls if call.fault == "reply_lost" and call.operation == "ship"]
    found = [each for each in deliveries if _found_by_look_up(each)]
    wrong: list[str] = []
    if len(lost) < wanted:
        wrong.append(f"only {len(lost)} of {wanted} replies were lost")
    if len(found) != len(lost):
        wrong.append(f"{len(lost)} replies were lost, {len(found)} labels found by reference")
    second = 0
    for each in deliveries:
        sold = ups.by_reference.get(each.reference, ())
        second += max(0, len(sold) - 1)
        if len(sold) != 1 or sold[0] != each.document("tracking_number"):
            number = each.document("tracking_number") or "none"
            wrong.append(
                f"reference {each.reference}: the carrier sold {', '.join(sold) or 'nothing'}, "
                f"the ledger holds {number}"
            )
    known = {number for each in deliveries for number in ups.by_reference.get(each.reference, ())}
    stray = [number for number in ups.parcels if number not in known]
    second += len(stray)
    wrong += [f"label {number} belongs to no delivery of the ledger" for number in stray]
    return Proof(
        3,
        "lost replies found by reference, second labels 0",
        f"{len(lost)} replies lost after booking, {len(found)} found by reference, second labels "
        f"{second} of {len(ups.parcels)} sold",
        tuple(wrong),
        {"lost": len(lost), "found": len(found), "second_labels": second},
    )


def never_backwards(
    view: HubView,
    seen_backwards: Sequence[str],
    scans_at_hub: Mapping[str, int],
    ups: CarrierBooks,
    webhooks: Sequence[Mapping[str, Any]],
    events: Mapping[str, Sequence[str]],
) -> Proof:
    """Doubled and late webhooks moved nothing back, were counted once, and none is missing.

    events: stems of the tracking events of each single-package shipment, by revision.
    """
    doubled = sum(each["copy"] > 1 for each in webhooks)
    late = sum("late_webhooks" in str(each["fault"]) for each in webhooks)
    wrong = list(seen_backwards)
    if not doubled or not late:
        wrong.append(f"{doubled} webhooks were doubled and {late} late: nothing was tried")
    for shipment_id, stems in events.items():
        if _go_back(stems):
            wrong.append(f"events of shipment {shipment_id} go back: {' > '.join(stems)}")
    for package in view.packages:
        parcel = ups.parcels.get(package.tracking_number)
        if parcel is None:
            wrong.append(
                f"package {package.number}: the carrier has no {package.tracking_number!r}"
            )
            continue
        if parcel.delivered != (package.milestone == "DELIVERED"):
            word = "delivered" if parcel.delivered else "not delivered"
            wrong.append(
                f"{parcel.tracking_number} is {word} in the carrier's books, {package.milestone} "
                "at the hub"
            )
        stored = scans_at_hub.get(parcel.tracking_number, 0)
        if stored != parcel.scans:
            wrong.append(f"{parcel.tracking_number}: {parcel.scans} scans, the hub has {stored}")
    total = sum(parcel.scans for parcel in ups.parcels.values())
    return Proof(
        4,
        "states moved backwards 0",
        f"{doubled} webhooks doubled, {late} late: moved backwards {len(seen_backwards)}, scans "
        f"counted twice or missing 0 of {sum(scans_at_hub.values())}"
        if not wrong
        else f"{doubled} webhooks doubled, {late} late",
        tuple(wrong),
        {"doubled": doubled, "late": late, "scans": total, "backwards": len(seen_backwards)},
    )


def refused_by_owner(
    refusals: Sequence[Refused | None],
    expected: Sequence[Refused],
    before: ShipmentView,
    after: ShipmentView,
    wms: WarehouseBooks,
    ups: CarrierBooks,
) -> Proof:
    """Both foreign writes were refused with field, owner, file and line; nobody's books moved."""
    wrong: list[str] = []
    for got, want in zip(refusals, expected, strict=True):
        if got is None:
            wrong.append(f"{want.writer} was allowed to write {want.field}")
        elif got != want:
            wrong.append(f"the refusal says {got}, the contract says {want}")
    if before != after:
        wrong.append(f"shipment {before.number} changed at the hub")
    for package in after.packages:
        olpn = wms.olpns.get(package.number, {})
        weight = (Decimal(str(olpn.get("Weight", 0))), olpn.get("WeightUomId"))
        unit = _UNIT_WORDS.get(package.weight_unit, package.weight_unit)
        if weight != (Decimal(package.weight), unit):
            wrong.append(f"package {package.number}: the warehouse weighed {weight[0]} {weight[1]}")
        if olpn.get("TrackingNumber") != package.tracking_number:
            wrong.append(f"package {package.number}: another tracking number at the warehouse")
        if package.tracking_number not in ups.parcels:
            wrong.append(f"package {package.number}: the carrier has no {package.tracking_number}")
    told = "; ".join(
        f"{each.writer} may not write {each.field}, owner {each.owner}, {each.rule}"
        for each in refusals
        if each is not None
    )
    return Proof(5, "refused with field, owner, file and line", told, tuple(wrong))


def traced(
    answer: Traced, shipment: ShipmentView, order_number: str, erp: ErpBooks, ups: CarrierBooks
) -> Proof:
    """From the ERP's document number the trace finds the chain that the books hold."""
    wrong: list[str] = []
    record = erp.fulfillments.get(shipment.id)
    if record is None or record["fields"]["tranId"] != answer.asked:
        wrong.append(f"{answer.asked} is not the ERP's document of shipment {shipment.number}")
    if answer.verdict != "COMPLETE":
        wrong.append(f"the verdict is {answer.verdict}: {answer.sentence}")
    if order_number not in answer.order_numbers:
        wrong.append(f"order {order_number} is not in the chain")
    if shipment.id not in answer.shipment_ids:
        wrong.append(f"shipment {shipment.number} is not in the chain")
    wanted = {package.tracking_number for package in shipment.packages}
    missing = wanted - answer.tracking_numbers
    wrong += [f"tracking number {number} is not in the chain" for number in sorted(missing)]
    unsold = [number for number in sorted(wanted) if number not in ups.parcels]
    wrong += [f"the carrier has no {number}" for number in unsold]
    wrong += [f"{name} posted {times} times" for name, times in answer.postings if times != 1]
    if len(answer.trace_id) != 32:
        wrong.append("there is no trace id")
    return Proof(
        6,
        "one order traced from its ERP document",
        f"{answer.asked}: {answer.sentence} (trace {answer.trace_id})",
        tuple(wrong),
        {"document": answer.asked, "order": order_number, "trace_id": answer.trace_id},
    )


def moved_backwards(before: HubView, now: HubView) -> list[str]:
    """Packages whose milestone is less far than at an earlier look, in sentences.

    A milestone that says nothing about where the parcel is can't be less far.
    """
    known = {package.id: package for package in before.packages}
    found = []
    for package in now.packages:
        earlier = known.get(package.id)
        if earlier is None or package.milestone in SAYS_NO_PLACE:
            continue
        was, is_now = (MILESTONE_RANK.get(each.milestone, 0) for each in (earlier, package))
        if is_now < was:
            found.append(
                f"package {package.number} went from {earlier.milestone} to {package.milestone}"
            )
    return found


def _shipment_disagreements(
    shipment: ShipmentView, erp: ErpBooks, wms: WarehouseBooks, ups: CarrierBooks
) -> list[str]:
    wrong = []
    if shipment.state != "DELIVERED":
        wrong.append(f"shipment {shipment.number} is {shipment.state} at the hub")
    if wms.shipped.get(shipment.number) != frozenset(each.number for each in shipment.packages):
        wrong.append(f"shipment {shipment.number} left the warehouse with other packages, or not")
    if shipment.id not in erp.fulfillments:
        wrong.append(f"shipment {shipment.number} has no goods issue in the ERP")
    for package in shipment.packages:
        parcel = ups.parcels.get(package.tracking_number)
        if parcel is None or parcel.voided or not parcel.delivered:
            wrong.append(f"parcel {package.tracking_number or package.number} did not arrive")
    return wrong


def _ledger_disagreements(view: HubView, erp: ErpBooks) -> list[str]:
    """Document numbers that the ledger holds and the ERP's books do not."""
    wrong = []
    for each in view.deliveries:
        kind, held = (
            ("sales_order", erp.sales_orders)
            if each.operation == "create_sales_order"
            else ("item_fulfillment", erp.fulfillments)
        )
        number = each.document(kind)
        if each.operation not in POSTING_OPERATIONS or each.state != "CONFIRMED":
            continue
        record = held.get(each.object_id)
        if record is None or record["fields"]["tranId"] != number:
            wrong.append(f"the ledger holds {kind} {number!r}, the ERP does not")
    return wrong


def _found_by_look_up(delivery: DeliveryView) -> bool:
    kinds = [(attempt.kind, attempt.outcome) for attempt in delivery.attempts]
    return ("CALL", "UNKNOWN") in kinds and ("LOOK_UP", "CONFIRMED") in kinds


def _go_back(stems: Sequence[str]) -> bool:
    """Whether an event tells less than one before; moving on after an exception is no way back."""
    furthest, exception = 0, False
    for stem in stems:
        exception = exception or stem == "tracking.delivery_exception"
        rank = EVENT_RANK.get(stem, furthest)
        if rank < furthest and not exception:
            return True
        if rank > furthest:
            furthest, exception = rank, False
    return False


def _held(books: Collection[str], keys: Any) -> int:
    return sum(key in books for key in keys)


def _time(record: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(str(record["created"]))
