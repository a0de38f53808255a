"""What a flow's facts that could not be written yet add to its verdict; pure.

Such a fact may be all that keeps goods from going on, or the books from being right. It never hides
what is worse, and what it says no longer matters where its shipment was voided, or where all goods
have arrived: then only what is booked by it counts. The list of what is held has all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from crossdock.types.v1 import types_pb2

from crossdock_hub.objects.departures import awaited_correction
from crossdock_hub.objects.lifecycle import ENDED_RETURNS
from crossdock_hub.reading.chain import HELD_MAX, Chain
from crossdock_hub.reading.progress import Judgement
from crossdock_hub.records import HeldFactRecord
from crossdock_hub.wording import duration

# States of an order in which a fact that was not written no longer holds goods up.
OVER: Final = frozenset({"DELIVERED", "CANCELLED"})
# By these the books are made, whether the goods have arrived or not.
_BOOKED_BY: Final = frozenset({"ManifestShipment", "RecordFreightInvoice"})
_SEVERITY: Final = {"WAITING": 1, "NEEDS_PERSON": 2}


def with_unwritten(found: Judgement, chain: Chain, now: int) -> Judgement:
    """A verdict on the objects of a flow, and what is not written of it: the worse one leads.

    now: microseconds UTC.
    """
    facts = [fact for fact in chain.held if _matters(fact, chain)]
    if not facts:
        return found
    # What waits for nothing that may come is told first: only a person can help.
    facts.sort(key=lambda fact: bool(fact.awaits))
    word, begin = "WAITING", "Waiting"
    if not facts[0].awaits:
        word, begin = "NEEDS_PERSON", "A person has to look"
    told, said = _told(facts, now), found.sentence.rstrip(".")
    if _SEVERITY.get(found.verdict, 0) >= _SEVERITY[word]:
        return Judgement(found.verdict, f"{said}; besides, {told}.")
    return Judgement(word, f"{begin}: {told}; besides: {said[:1].lower()}{said[1:]}.")


def _matters(fact: HeldFactRecord, chain: Chain) -> bool:
    voided = (r for r in chain.objects if r.kind == "shipment" and r.state == "VOIDED")
    if any(fact.awaits == awaited_correction(shipment.id) for shipment in voided):
        return False
    return _method_of(fact) in _BOOKED_BY or not _is_over(chain)


def _is_over(chain: Chain) -> bool:
    """Whether the order has arrived or is cancelled, and nothing of it is on its way back."""
    returns = [r for r in chain.objects if r.kind == "customer_return"]
    return any(r.kind == "order" and r.state in OVER for r in chain.objects) and all(
        r.state in ENDED_RETURNS for r in returns
    )


def _method_of(fact: HeldFactRecord) -> str:
    """By which method a fact was reported, without its service."""
    return fact.method.rpartition("/")[2]


def _told(facts: Sequence[HeldFactRecord], now: int) -> str:
    first = facts[0]
    refusal = types_pb2.Refusal.FromString(first.refusal)
    least = "at least " if len(facts) >= HELD_MAX else ""
    more = f" ({least}{len(facts) - 1} more as well)" if len(facts) > 1 else ""
    return (
        f"what {first.endpoint} reported by {_method_of(first)} is not written since "
        f"{duration(now - first.created_at)}{more}: {refusal.message.rstrip('.')}"
    )
