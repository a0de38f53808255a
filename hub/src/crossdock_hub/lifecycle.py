"""Declared states: which verb leads where, and how far a parcel has come.

A command outside its states is refused. A fact never moves a state backwards: `advance` keeps the
further of two states, so late and doubled facts change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from crossdock_hub.refusals import transition


@dataclass(frozen=True, slots=True)
class Verb:
    """The states a verb may start from, and where it ends."""

    allowed: tuple[str, ...]
    result: str


ORDER: Mapping[str, Verb] = {
    "ApproveOrder": Verb(("CREATED",), "APPROVED"),
    "ReleaseOrder": Verb(("APPROVED",), "RELEASED"),
    "CancelOrder": Verb(("CREATED", "APPROVED", "RELEASED"), "CANCELLED"),
}
SHIPMENT: Mapping[str, Verb] = {
    "VoidShipment": Verb(("PACKED", "MANIFESTED"), "VOIDED"),
}
RESERVATION: Mapping[str, Verb] = {
    "ReleaseInventoryReservation": Verb(("CREATED", "ALLOCATED", "SHORT"), "RELEASED"),
}
# Order content is open to its owner until the warehouses have it.
ORDER_CONTENT_STATES = ("CREATED", "APPROVED")

# How far along a fact says an object is. Ends that nothing may follow are not on the ladder.
LADDERS: Mapping[str, tuple[str, ...]] = {
    "order": (
        "CREATED",
        "APPROVED",
        "RELEASED",
        "PARTIALLY_SHIPPED",
        "SHIPPED",
        "DELIVERED",
    ),
    "fulfillment_request": ("REQUESTED", "PICKED", "PACKED", "SHIPPED", "DELIVERED"),
    "shipment": ("PACKED", "MANIFESTED", "IN_TRANSIT", "DELIVERED"),
    "label": ("CREATED",),
}
_RANKS = {
    kind: {state: rank for rank, state in enumerate(ladder)} for kind, ladder in LADDERS.items()
}

# A parcel's milestones by how far they are. Those with the same rank replace each other by time.
MILESTONE_RANK: Mapping[str, int] = {
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
# Milestones that say nothing about progress.
STILL_MILESTONES = frozenset({"UNSPECIFIED", "UNKNOWN", "INFORMATION", "VOIDED"})
ENDED_MILESTONES = frozenset({"DELIVERED", "RETURNED"})


def check_verb(table: Mapping[str, Verb], kind: str, state: str, verb: str) -> str:
    """The state a command leads to. Raises Refused with STATE_TRANSITION."""
    rule = table[verb]
    if state not in rule.allowed:
        raise transition(kind, state, verb, rule.allowed)
    return rule.result


def advance(kind: str, current: str, reported: str) -> str:
    """The further of two states of one kind; a state off the ladder (cancelled, voided) stays."""
    ranks = _RANKS[kind]
    if current not in ranks:
        return current
    return reported if ranks[reported] > ranks[current] else current


def reached(kind: str, current: str, state: str) -> bool:
    """True when `current` is at or beyond `state`."""
    ranks = _RANKS[kind]
    return current in ranks and ranks[current] >= ranks[state]


@dataclass(frozen=True, slots=True)
class ParcelProgress:
    """How far a parcel has come. time: microseconds UTC of the milestone, None when unknown."""

    milestone: str
    time: int | None
    exception_open: bool


def advance_parcel(
    now: ParcelProgress, milestone: str, time: int | None
) -> tuple[ParcelProgress, bool]:
    """Apply one scan. Returns the new progress and whether anything moved.

    A scan that is older or not further changes nothing. An exception opens a flag that the next
    further or later scan lifts; after an end (delivered, returned) nothing moves any more.
    """
    if milestone in STILL_MILESTONES or now.milestone in ENDED_MILESTONES:
        return now, False
    older = time is not None and now.time is not None and time < now.time
    if milestone == "EXCEPTION":
        if older or now.exception_open:
            return now, False
        return ParcelProgress(now.milestone, time if time is not None else now.time, True), True
    rank, known = MILESTONE_RANK[milestone], MILESTONE_RANK.get(now.milestone, 0)
    if rank > known:
        moved_time = now.time if older and milestone not in ENDED_MILESTONES else time
        still_open = now.exception_open and older and milestone not in ENDED_MILESTONES
        return ParcelProgress(milestone, moved_time, still_open), True
    if now.exception_open and not older and rank == known:
        # The parcel moves again without having come further: the problem is over.
        return ParcelProgress(now.milestone, time if time is not None else now.time, False), True
    return now, False
