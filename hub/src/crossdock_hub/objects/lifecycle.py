"""Declared states: which verb leads where, and how far a parcel has come.

A command outside its states is refused. A fact never moves a state backwards: `advance` keeps the
further of two states, so late and doubled facts change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

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
CUSTOMER_RETURN: Mapping[str, Verb] = {
    "CancelReturn": Verb(("INITIATED", "IN_TRANSIT"), "CANCELLED"),
    "CloseReturn": Verb(("PARTIALLY_RECEIVED", "RECEIVED"), "CLOSED"),
}
RESERVATION: Mapping[str, Verb] = {
    "ReleaseInventoryReservation": Verb(("CREATED", "ALLOCATED", "SHORT"), "RELEASED"),
}
FREIGHT_CHARGE: Mapping[str, Verb] = {
    "ApproveFreightCharge": Verb(("INVOICED", "DISPUTED"), "APPROVED"),
    "CancelFreightCharge": Verb(("ESTIMATED", "INVOICED", "DISPUTED", "APPROVED"), "CANCELLED"),
    "DisputeFreightCharge": Verb(("INVOICED", "APPROVED"), "DISPUTED"),
    "FinaliseFreightCharge": Verb(("APPROVED",), "FINALISED"),
}
# In which states transport management may still change what it said about a charge.
FREIGHT_CHARGE_CONTENT_STATES: Mapping[str, tuple[str, ...]] = {
    "audit": ("INVOICED", "DISPUTED"),
    "dispute": ("DISPUTED",),
    "estimate": ("ESTIMATED", "INVOICED", "DISPUTED", "APPROVED"),
}
# Order content is open to its owner until the warehouses have it.
ORDER_CONTENT_STATES = ("CREATED", "APPROVED")
# Only what has left can come back.
RETURNABLE_ORDER_STATES = ("PARTIALLY_SHIPPED", "SHIPPED", "DELIVERED")
# A return of which nobody has to do anything any more.
ENDED_RETURNS = frozenset({"RECEIVED", "CLOSED", "CANCELLED"})

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
    "customer_return": ("INITIATED", "IN_TRANSIT", "PARTIALLY_RECEIVED", "RECEIVED"),
}
_RANKS = {
    kind: {state: rank for rank, state in enumerate(ladder)} for kind, ladder in LADDERS.items()
}

# A parcel's milestones by how far they are: no two alike, so any order of scans ends at the same.
MILESTONE_RANK: Mapping[str, int] = {
    "LABEL_CREATED": 1,
    "CARRIER_ACCEPTED": 2,
    "IN_TRANSIT": 3,
    "OUT_FOR_DELIVERY": 4,
    "DELIVERY_ATTEMPTED": 5,
    "READY_FOR_COLLECTION": 6,
    "RETURNING": 7,
    "DELIVERED": 8,
    "RETURNED": 9,
}
# Milestones that say nothing about progress.
STILL_MILESTONES = frozenset({"UNSPECIFIED", "UNKNOWN", "INFORMATION", "VOIDED"})
ENDED_MILESTONES = frozenset({"DELIVERED", "RETURNED"})
# Milestones that a parcel has on its way back only.
WAY_BACK = frozenset({"RETURNING", "RETURNED"})
# Milestones of a parcel on its way: on the way back they mean that it is returning.
_UNDER_WAY = frozenset(
    {
        "CARRIER_ACCEPTED",
        "IN_TRANSIT",
        "OUT_FOR_DELIVERY",
        "DELIVERY_ATTEMPTED",
        "READY_FOR_COLLECTION",
    }
)


def is_with_carrier(milestone: str) -> bool:
    """Whether a parcel that has come so far is, or was, in the carrier's hands."""
    return MILESTONE_RANK.get(milestone, 0) >= MILESTONE_RANK["CARRIER_ACCEPTED"]


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


class ParcelProgress(NamedTuple):
    """How far a parcel has come.

    time: microseconds UTC of the newest scan that counted, at an end of that end; None when
    unknown. exception_open: the newest scan told of a problem.
    """

    milestone: str
    time: int | None
    exception_open: bool


def meant(milestone: str, return_leg: bool) -> str:
    """What a scan's milestone means: "delivered" on the way back is "returned"."""
    if not return_leg:
        return milestone
    if milestone == "DELIVERED":
        return "RETURNED"
    return "RETURNING" if milestone in _UNDER_WAY else milestone


def may_turn(current: str, milestone: str) -> bool:
    """Whether a scan can make of a delivery a return, so that the parcel's others have to be read.

    A delivery can when a scan of the way back may have come before, and the other way round.
    """
    if milestone == "DELIVERED":
        return current == "RETURNING" or current in ENDED_MILESTONES
    return milestone in WAY_BACK and current in ENDED_MILESTONES


@dataclass(slots=True)
class _WayBack:
    """Where the way back begins among a parcel's scans, by how each of them may be compared.

    time: of the oldest of its scans that has one; untimed: place of the first that has none;
    place: of the first of all.
    """

    time: float = inf
    untimed: float = inf
    place: float = inf

    def add(self, place: int, time: int | None) -> None:
        self.place = min(self.place, place)
        if time is None:
            self.untimed = min(self.untimed, place)
        else:
            self.time = min(self.time, time)


def turned(scans: Sequence[tuple[str, int | None]]) -> list[str]:
    """What a parcel's scans mean beside each other. scans: milestone and time, as they came.

    A delivery that is not older than a scan of the way back is one to the sender, and then such a
    scan itself: most carriers have no code of their own for that. Where one of two has no time, the
    order in which they came counts.
    """
    meanings = [name for name, _ in scans]
    back = _WayBack()
    ends: list[tuple[int, int | None]] = []
    for place, (name, time) in enumerate(scans):
        if name in WAY_BACK:
            back.add(place, time)
        elif name == "DELIVERED":
            ends.append((place, time))
    # Whatever turns one turns all behind it: of each order only the last has to be looked at.
    by_time = sorted((time, place) for place, time in ends if time is not None)
    timed = [place for place, time in ends if time is not None]
    untimed = [place for place, time in ends if time is None]
    while True:
        if by_time and by_time[-1][0] >= back.time:
            _, place = by_time.pop()
        elif timed and timed[-1] > back.untimed:
            place = timed.pop()
        elif untimed and untimed[-1] > back.place:
            place = untimed.pop()
        else:
            return meanings
        meanings[place] = "RETURNED"
        back.add(place, scans[place][1])


def advance_parcel(
    now: ParcelProgress, milestone: str, time: int | None
) -> tuple[ParcelProgress, bool]:
    """Apply one scan. Returns the new progress, and whether milestone or exception changed.

    Scans with a time may come in any order, the end is the same: the furthest milestone, and an
    exception only if the newest scan is one. A scan without a time counts as the newest. After an
    end only the return of the parcel moves anything.
    """
    if milestone in STILL_MILESTONES:
        return now, False
    if milestone == now.milestone and milestone in ENDED_MILESTONES:
        return ParcelProgress(milestone, _earlier(now.time, time), False), False
    if now.milestone in ENDED_MILESTONES and milestone != "RETURNED":
        return now, False
    if milestone in ENDED_MILESTONES:
        if now.milestone == "RETURNED":
            return now, False
        return ParcelProgress(milestone, time, False), True
    return _under_way(now, milestone, time)


def _under_way(
    now: ParcelProgress, milestone: str, time: int | None
) -> tuple[ParcelProgress, bool]:
    rank, known = MILESTONE_RANK.get(milestone, 0), MILESTONE_RANK.get(now.milestone, 0)
    if milestone == "EXCEPTION":
        opens = time is None or now.time is None or time >= now.time
        problem = now.exception_open or opens
    else:
        # Without times the parcel moves on when it has not come less far.
        lifts = rank >= known if time is None else now.time is None or time > now.time
        problem = now.exception_open and not lifts
    furthest = milestone if rank > known else now.milestone
    after = ParcelProgress(furthest, _later(now.time, time), problem)
    return after, (furthest, problem) != (now.milestone, now.exception_open)


def _later(left: int | None, right: int | None) -> int | None:
    if left is None or right is None:
        return right if left is None else left
    return left if left > right else right


def _earlier(left: int | None, right: int | None) -> int | None:
    if left is None or right is None:
        return right if left is None else left
    return left if left < right else right
