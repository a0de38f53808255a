"""The proofs about a day without the ERP: pure comparisons of the ledger with the ERP's own log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from crossdock.cli.demo.books import Call, ErpBooks
from crossdock.cli.demo.poison_proofs import DeadGroup
from crossdock.cli.demo.proofs import Outage, Proof, drained_within_limit, posted_once
from crossdock.cli.demo.views import HubView

ACT: Final = 8
STOPPED: Final = frozenset({"PARKED", "REJECTED", "SKIPPED", "UNROUTED"})
# A day less what it takes until the first order is there.
LONG_HOURS: Final = 12.0


@dataclass(frozen=True, slots=True)
class Day:
    """When the ERP's port was closed, and how many seconds of the day one second here is."""

    begin: datetime
    end: datetime
    scale: float


@dataclass(frozen=True, slots=True)
class Waited:
    """What waited just before the ERP was back: how much, the oldest for how many hours of the day,
    and the breaker: whether it was open, and probes that had failed."""

    deliveries: int
    oldest_hours: float
    probes: int
    open: bool


def waited_a_day(day: Day, waited: Waited, calls: Sequence[Call]) -> Proof:
    """Nothing reached the ERP, its work waited for most of the day, and the breaker knew."""
    during = [call for call in calls if day.begin < call.start < day.end]
    wrong = [f"the ERP logged {call.operation} at {call.start:%H:%M:%S}" for call in during]
    if not waited.deliveries:
        wrong.append("nothing waited at the end of the day")
    if waited.oldest_hours < LONG_HOURS:
        wrong.append(f"the oldest had waited {waited.oldest_hours:.1f} hours of the day only")
    if not waited.open or not waited.probes:
        wrong.append(f"the breaker was {'open' if waited.open else 'closed'} after the day")
    hours = (day.end - day.begin).total_seconds() * day.scale / 3_600
    return Proof(
        ACT,
        "a day of work waited",
        f"{len(during)} calls in {hours:.0f} hours; {waited.deliveries} deliveries waited, the "
        f"oldest for {waited.oldest_hours:.0f} hours; {waited.probes} probes, one at a time",
        tuple(wrong),
        {
            "waited": waited.deliveries,
            "oldest_hours": round(waited.oldest_hours, 1),
            "probes": waited.probes,
            "scale": round(day.scale),
        },
    )


def drained_in_order(
    view: HubView, day: Day, calls: Sequence[Call], budget: int, erp: ErpBooks
) -> Proof:
    """As after a short outage: in order, and within what the ERP takes."""
    found = drained_within_limit(view, Outage(day.begin, day.end, 0), calls, budget, erp)
    return replace(found, act=ACT)


def nothing_given_up(view: HubView, groups: Sequence[DeadGroup], tries: Mapping[str, int]) -> Proof:
    """No delivery was parked or refused because of the outage, and none used its calls up on it."""
    wrong = [
        f"{each.operation} {each.object_id} is {each.state}: {each.waiting_on}"
        for each in view.deliveries
        if each.state in STOPPED
    ]
    wrong += [f"dead letters: {group.open} {group.kind}: {group.reason}" for group in groups]
    untried = sum(not count for count in tries.values())
    return Proof(
        ACT,
        "dead letters 0",
        f"{len(tries)} deliveries, dead letters {sum(group.open for group in groups)}; "
        f"{untried} were not tried once while the ERP was away",
        tuple(wrong),
        {
            "deliveries": len(tries),
            "untried": untried,
            "most_tries": max(tries.values(), default=0),
        },
    )


def once_after_a_day(view: HubView, erp: ErpBooks, calls: Sequence[Call], prefix: str) -> Proof:
    """Nothing lost and nothing twice, over the whole evening and the day after it."""
    return replace(posted_once(view, erp, calls, prefix), act=ACT)
