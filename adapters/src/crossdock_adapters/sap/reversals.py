"""What a void takes back: the delivery of each departure, with the document of its reversal.

A repeat finds deliveries that are open by then. Which reversal was the shipment's own, the hub
knows: by the goods issue's document that it has of this shipment, and by those of the order's other
shipments, which may have been on the same delivery before.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from crossdock.shipment.v1 import shipment_pb2

from crossdock_adapters.sap import material_documents, translate
from crossdock_adapters.sap.deliveries import Deliveries
from crossdock_adapters.sap.delivery import (
    RELEASED_KEYS,
    Delivery,
    odd_status,
    refuse_unproven,
    released,
)
from crossdock_adapters.sap.material_documents import Choose, Posting
from crossdock_adapters.sap.translate import SalesOrder
from crossdock_adapters.sdk.order_shipments import shipments_of
from crossdock_adapters.sdk.outcomes import Confirmed, NeedsPerson, Reference
from crossdock_adapters.sdk.work import Work

ISSUE: Final = "post_goods_issue"
DOCUMENT: Final = "material_document"
NOTHING_POSTED: Final = "nothing is posted: nothing to do"


@dataclass(frozen=True, slots=True)
class Known:
    """What the hub has by now. issues: the shipment's goods issues; others: documents of the
    order's other shipments; both as numbers without the year. deliveries: those of the issues."""

    issues: frozenset[str]
    others: frozenset[str]
    deliveries: frozenset[str]

    def own(self, postings: Sequence[Posting]) -> Posting | None:
        """The shipment's last posting among those of a delivery; None: it has none there."""
        number = material_documents.bare
        ours = [each for each in postings if number(each.document) in self.issues]
        # What nobody else posted is ours, of which the hub did not hear: the delivery has our key.
        left = [
            each
            for each in postings
            if not {number(each.document), number(each.reversal)} & self.others
        ]
        return next(reversed(ours or left), None)

    def without(self, issues: Collection[str]) -> Known:
        """The same of what is not among these goods issues."""
        return replace(self, issues=self.issues.difference(issues))


async def take_back(
    work: Work, deliveries: Deliveries, sales_order: SalesOrder, day: str
) -> Confirmed:
    """Reverse the goods issue of each departure, on this day, and let its delivery go.

    A delivery is let go once the document of its reversal is read: what is packed again takes it
    then, and its own movements come behind. OutcomeUnknown: a document is not there yet, and all
    are reversed.
    """
    keys = translate.departure_keys(work.event.shipment)
    there = await deliveries.of_order(sales_order)
    ours = {*keys, *map(released, keys)}
    carrying = [each for each in there if each.key in ours]
    # All of them first: a document that does not show holds up no other delivery.
    reversed_ = [await _reversed(work, deliveries, each, day) for each in carrying]
    references, notes, told = [], [], set[str]()
    for each, (choose, note) in zip(carrying, reversed_, strict=True):
        if choose is not None:
            posting = await deliveries.documents.reversed_(each, choose)
            told.add(material_documents.bare(posting.document))
            references += _references(posting, each)
        notes += [note, await deliveries.release(each.number)]
    if len(carrying) < len(keys):
        left = (await _known(work)).without(told)
        if not carrying and not left.issues:
            refuse_unproven(there, sales_order, {item.number for item in sales_order.items})
        references += await _taken_since(deliveries, left, sales_order, there, keys)
    said = "; ".join(filter(None, notes))
    if not references:
        said = "; ".join(filter(None, [NOTHING_POSTED, said]))
    return Confirmed(references, note=said)


def _references(posting: Posting, delivery: Delivery) -> list[Reference]:
    return [Reference(DOCUMENT, posting.reversal), Reference("reversed_delivery", delivery.number)]


async def _reversed(
    work: Work, deliveries: Deliveries, delivery: Delivery, day: str
) -> tuple[Choose | None, str]:
    """Which posting of the delivery is reversed, now or by an earlier attempt, and what SAP warned
    of; None and "" where nothing of the shipment is posted on it. NeedsPerson: what is posted on
    it may be what somebody posted after it was let go."""
    documents, let_go = deliveries.documents, bool(RELEASED_KEYS.fullmatch(delivery.key))
    if delivery.posted and not let_go:
        issue = await documents.reversible(delivery)
        note = await deliveries.reverse(delivery, day)
        number = material_documents.bare(issue)
        known = Known(frozenset({number}), frozenset(), frozenset())
        return known.own, note
    if delivery.movement != "open" and not let_go:
        raise NeedsPerson(odd_status(delivery))
    postings = await documents.postings(delivery)
    known = await _known(work) if postings else Known(frozenset(), frozenset(), frozenset())
    own = known.own(postings)
    if own is None:
        return None, ""
    if delivery.movement != "open" and not own.reversal:
        raise NeedsPerson(f"an earlier attempt let it go: {odd_status(delivery)}")
    return known.own, ""


async def _taken_since(
    deliveries: Deliveries,
    known: Known,
    sales_order: SalesOrder,
    there: Sequence[Delivery],
    keys: Sequence[str],
) -> list[Reference]:
    """Goods issues of which no delivery carries our key: an earlier attempt reversed and let go
    what another shipment took since. NeedsPerson: one of them is not reversed."""
    references, left = [], set(known.issues)
    for each in there if left else ():
        if each.number not in known.deliveries:
            continue
        for posting in await deliveries.documents.postings(each):
            number = material_documents.bare(posting.document)
            if number in left and posting.reversal:
                left.remove(number)
                references += _references(posting, each)
    if left:
        raise NeedsPerson(
            f"{', '.join(sorted(left))} is posted, and no delivery of sales order "
            f"{sales_order.number} carries {' or '.join(keys)}"
        )
    return references


async def _known(work: Work) -> Known:
    """The event's shipment is as it was when it was voided: a goods issue that was in doubt then
    is known by now. Retry and NeedsPerson as `shipments_of`."""
    shipment: shipment_pb2.Shipment = work.event.shipment
    own, others = [shipment], list[shipment_pb2.Shipment]()
    for each in await shipments_of(work, shipment.order_id) if shipment.order_id else ():
        (own if each.id == shipment.id else others).append(each)
    return Known(
        frozenset(_numbers(work.endpoint, own, DOCUMENT, {ISSUE})),
        frozenset(_numbers(work.endpoint, others, DOCUMENT)),
        frozenset(_numbers(work.endpoint, own, "outbound_delivery", {ISSUE})),
    )


def _numbers(
    endpoint: str,
    shipments: Sequence[shipment_pb2.Shipment],
    type_: str,
    operations: Collection[str] = (),
) -> set[str]:
    """Documents of a type that an endpoint posted for shipments, by these operations or any."""
    return {
        material_documents.bare(each.document_number)
        for shipment in shipments
        for each in shipment.postings
        if (each.endpoint, each.document_type) == (endpoint, type_)
        and (not operations or each.operation in operations)
    }
