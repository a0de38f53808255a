"""The proofs about poison: pure comparisons of dead letters and postings with the ERP's books."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from crossdock.cli.demo.books import Call, ErpBooks
from crossdock.cli.demo.proofs import Proof
from crossdock.cli.network.netsuite import ERP_ID_PREFIX

# What sound orders may take longer with poison beside them: noise of a machine, not a queue.
SLOWER_TIMES: Final = 2.0
SLOWER_SECONDS: Final = 2.0
ACT: Final = 7


@dataclass(frozen=True, slots=True)
class DeadGroup:
    """Dead letters of one cause. members: ids of those that are open."""

    id: str
    kind: str
    state: str
    endpoint: str
    reason: str
    open: int
    members: tuple[str, ...]
    object_ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class Pace:
    """How long the ERP's document took for some orders (seconds), and the most calls for one."""

    orders: int
    median_seconds: float
    slowest_seconds: float
    most_calls: int


@dataclass(frozen=True, slots=True)
class Mended:
    """What the hub says of one order's posting. words: reasons that operators gave."""

    order_id: str
    verdict: str
    sentence: str
    numbers: tuple[str, ...]
    words: tuple[str, ...]


def parked_by_cause(
    groups: Sequence[DeadGroup],
    unsayable: Sequence[str],
    refused: Sequence[str],
    erp: ErpBooks,
    calls: Sequence[Call],
) -> Proof:
    """Each stands in the group of its cause; the ERP booked none, and was not asked in vain."""
    wrong: list[str] = []
    for kind, ids in (("PARKED", unsayable), ("REJECTED", refused)):
        same = [group for group in groups if group.kind == kind]
        if len(same) != 1 or same[0].object_ids != frozenset(ids):
            wrong.append(f"{len(same)} groups of kind {kind} for {len(ids)} orders of one cause")
        wrong += [f"a group of kind {kind} has no reason" for group in same if not group.reason]
    if not any(group.kind == "HELD_PAYLOAD" and group.endpoint == "ups" for group in groups):
        wrong.append("the half webhook is not among the dead letters")
    asked = Counter(
        call.key.removeprefix(ERP_ID_PREFIX) for call in calls if call.operation == "upsert"
    )
    wrong += [
        f"the ERP was asked to book {key} in a unit it has no word for"
        for key in unsayable
        if asked[key]
    ]
    wrong += [
        f"the ERP was asked {asked[key]} times for {key}" for key in refused if asked[key] > 1
    ]
    wrong += [f"the ERP booked {key}" for key in (*unsayable, *refused) if erp.made.get(key)]
    told = "; ".join(f"{g.open} at {g.endpoint}: {g.reason}" for g in groups)
    return Proof(
        ACT,
        "each parked with its reason, grouped by cause",
        told,
        tuple(wrong),
        {"groups": len(groups), "open": sum(group.open for group in groups)},
    )


def others_pass(without: Pace, beside: Pace) -> Proof:
    """Sound orders behind the poisoned ones are booked at the first call, and as fast as before."""
    wrong = []
    if beside.most_calls != 1:
        wrong.append(f"a sound order needed {beside.most_calls} calls")
    allowed = SLOWER_TIMES * without.median_seconds + SLOWER_SECONDS
    if beside.median_seconds > allowed:
        wrong.append(f"{beside.median_seconds:.2f} s, more than {allowed:.2f} s")
    return Proof(
        ACT,
        "others are not slowed",
        f"{beside.orders} sound orders in the ERP's books {beside.median_seconds:.2f} s after "
        f"their approval (median), {without.median_seconds:.2f} s before the poison came",
        tuple(wrong),
        {
            "median_seconds": round(beside.median_seconds, 3),
            "median_seconds_without": round(without.median_seconds, 3),
        },
    )


def mended_once(
    stopped: Sequence[DeadGroup],
    closed: Sequence[DeadGroup],
    mended: Sequence[Mended],
    erp: ErpBooks,
) -> Proof:
    """Every group closed without anybody closing it, and the ERP holds each order once."""
    states = {group.id: group.state for group in closed}
    wrong = [
        f"the group {group.reason!r} is {states.get(group.id, 'gone')}"
        for group in stopped
        # A payload that was discarded leaves nothing behind that a group could be made of.
        if states.get(group.id, "CLOSED" if group.kind == "HELD_PAYLOAD" else "") != "CLOSED"
    ]
    for each in mended:
        if each.verdict != "POSTED_ONCE":
            wrong.append(f"order {each.order_id}: {each.sentence}")
        if not each.words:
            wrong.append(f"order {each.order_id}: nobody's reason was kept")
        record = erp.sales_orders.get(each.order_id)
        number = record["fields"]["tranId"] if record is not None else None
        if erp.made.get(each.order_id, 0) != 1 or each.numbers != (number,):
            wrong.append(
                f"order {each.order_id}: the ERP made {erp.made.get(each.order_id, 0)} ({number}), "
                f"the ledger holds {', '.join(each.numbers) or 'none'}"
            )
    return Proof(
        ACT,
        "mended by an operator, closed by themselves",
        f"{len(mended)} orders posted once after a word with a reason; "
        f"{len(stopped)} groups closed by themselves with the last of their members",
        tuple(wrong),
        {"mended": len(mended), "groups": len(stopped)},
    )
