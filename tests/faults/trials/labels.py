"""L1: labels are bought and voided while adapters, hub and bus are killed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from fixtures_nats import eventually

from tests.faults.history.labels import BUY, VOID
from tests.faults.history.records import (
    CALL,
    Attempt,
    Delivery,
    Effect,
    History,
    Label,
    LabelLook,
    Packed,
    Rpc,
)
from tests.faults.trials.adapter_kills import kill_adapters
from tests.faults.trials.naive_round import MODES, naive_round
from tests.faults.trials.round import Moment, Round, moments, played, progress, reached
from tests.faults.trials.trial import Piece, Result, Size, Trial, judged
from tests.faults.yard.carrier import PURCHASES
from tests.faults.yard.label_load import LabelLoad
from tests.faults.yard.label_notes import left_behind
from tests.faults.yard.site import Plan, mix_of

# Shares of calls at which an adapter ends itself, before and after the vendor's part of it.
DEATHS = {"before": 0.01, "after": 0.04}
# In each piece; every third one takes bus and adapters with it.
HUB_KILLS = 3
PAUSE_SECONDS_MAX = 0.6
WRITERS = 16
# Between the kill and the new hub, so that adapters repeat what nobody hears.
AWAY_SECONDS = 0.3
# How long a kill of the hub waits for something to kill it in.
AMID_SECONDS = 120.0
# A label is there and a call for another one runs.
AMID_WORK = """
SELECT (SELECT count(*) FROM objects WHERE kind = 'label'),
       (SELECT count(*) FROM deliveries WHERE state = 'IN_FLIGHT')
"""
# A lease that ran out says as little of what the carrier did as a call without an answer.
IN_DOUBT = frozenset({"UNKNOWN", "LEASE_EXPIRED"})


def hub_kills(piece: Piece) -> list[Moment]:
    """When the hub dies: a schedule of its own, apart from that of the adapters."""
    few = min(HUB_KILLS, piece.size.faults)
    size = replace(piece.size, faults=few)
    return moments(replace(piece, size=size), "hub kills", PAUSE_SECONDS_MAX)


def is_group_kill(number: int) -> bool:
    """Whether a kill of the hub takes bus and adapters with it."""
    return number % HUB_KILLS == HUB_KILLS - 1


async def kill_hubs(round_: Round) -> None:
    """kill -9 of the hub with attempts in flight, at last of all at one blow; what it leaves in its
    database is noted before another one works on it."""
    for number, moment in enumerate(hub_kills(round_.piece)):
        await reached(round_, moment)
        await _amid_work(round_)
        if is_group_kill(number):
            round_.site.kill_group()
        else:
            round_.site.kill_hub()
        for record in left_behind(round_.site.hub):
            round_.notes.add(record)
        await asyncio.sleep(AWAY_SECONDS)
        await round_.site.start_hub()


async def _amid_work(round_: Round) -> None:
    """Wait until a kill of the hub leaves a label behind and a call that runs, however slow the
    machine is; or until nothing is left to be called for."""

    def amid_work() -> bool:
        ((labels, calls),) = round_.site.hub.query(AMID_WORK)
        is_over = round_.load.done >= round_.load.orders and not round_.open_work()
        return bool((labels and calls) or is_over)

    await eventually(amid_work, "a label, and a call beside it", AMID_SECONDS)


def plan_of(seed: int) -> Plan:
    """Carriers of each class that a purchase can be of, which book late now and then."""
    return Plan(seed, PURCHASES, mix=mix_of("labels"), deaths=DEATHS, labels=True)


async def run_l1(piece: Piece) -> Result:
    """Shipments are packed, bought for and voided, and nobody lives for long."""
    plan = plan_of(piece.seed)
    kills = [kill_adapters, kill_hubs]
    async with played(piece, plan, kills, WRITERS, LabelLoad) as round_:
        history = await round_.history()
        deaths = round_.site.adapter_deaths
    hubs = len(hub_kills(piece))
    counts = {
        "packages": len({each.package_id for each in history.of(Packed)}),
        "labels": sum(effect.operation == BUY for effect in history.of(Effect)),
        "labels voided": sum(effect.operation == VOID for effect in history.of(Effect)),
        "packed again": packed_again(history),
        "adapter kills": deaths,
        "hub kills": hubs,
        "of them with bus and adapters": sum(map(is_group_kill, range(hubs))),
        "calls without an answer": sum(rpc.outcome == "unknown" for rpc in history.of(Rpc)),
        "attempts": len(history.of(Attempt)),
        "looks at labels": len(history.of(LabelLook)),
        "parked (class none)": parked(history),
        "voids that wait for a person": voids_held(history),
    }
    broken = nothing_there(history)
    return judged(history, piece.directory / "history.jsonl", counts, broken=broken)


def packed_again(history: History) -> int:
    """Packages whose number was packed before, in a shipment that was voided."""
    known = {each.package_id: each.number for each in history.of(Packed)}
    return sum(count - 1 for count in Counter(known.values()).values())


def parked(history: History) -> int:
    """Purchases of which a person has to find out what became."""
    rows = history.of(Delivery)
    return sum(row.operation_class == "NONE" and row.state == "PARKED" for row in rows)


def voids_held(history: History) -> int:
    """Voids behind such a purchase, of the same package or of another one of its shipment."""
    rows = history.of(Delivery)
    return sum(row.operation == VOID and row.state == "HELD" for row in rows)


def nothing_there(history: History) -> list[str]:
    """What a piece has to have had in it to prove anything."""
    wanted: Mapping[str, bool] = {
        "label was bought": bool(history.of(Label)),
        "label was voided": any(label.state == "VOIDED" for label in history.of(Label)),
        "call was left in doubt": any(
            attempt.kind == CALL and attempt.outcome in IN_DOUBT for attempt in history.of(Attempt)
        ),
        "label was seen": any(look.number for look in history.of(LabelLook)),
    }
    return [f"no {what}: nothing was proved" for what, there in wanted.items() if not there]


async def naive_l1(piece: Piece) -> Result:
    """The same load and kills for adapters as they are usually built; nothing is voided there."""

    async def kill(round_: Round) -> None:
        await asyncio.gather(kill_adapters(round_), _kill_hubs_alone(round_))

    plan = replace(plan_of(piece.seed), classes=("searchable",), naive=MODES, voids=False)
    async with naive_round(piece, plan, kill, load_of=LabelLoad) as left:
        deaths = left.site.adapter_deaths
    wanted = {each.number for each in left.records if isinstance(each, Packed)}
    counts = {"packages": len(wanted), "adapter kills": deaths, "hub kills": len(hub_kills(piece))}
    for mode in MODES:
        made = left.sold(mode)
        counts[f"{mode}: labels bought twice"] = sum(count - 1 for count in made.values())
        counts[f"{mode}: packages without one"] = len(wanted - set(made))
    return Result(counts)


async def _kill_hubs_alone(round_: Round) -> None:
    for moment in hub_kills(round_.piece):
        await progress(round_, moment.orders)
        await asyncio.sleep(moment.pause_seconds)
        round_.site.kill_hub()
        await round_.site.start_hub()


L1 = Trial(
    "L1",
    "labels bought and voided by adapters that are killed, as are hub, bus and all at one blow; the"
    " carrier's faults as in G1, 4 % of the bookings up to 1 s late",
    "0 lost, 0 doubled, 0 reordered, 0 regressed: one valid label for each package, number, price"
    " and document as sold; outcome and label are there together or not at all, in what a killed"
    " hub leaves too; class none: every unknown outcome is parked, no other is",
    run_l1,
    Size(1, orders=40, faults=6),
    Size(24, orders=65, faults=10),
    {"labels": 3_000, "adapter kills": 200, "hub kills": 20},
    baseline=naive_l1,
    baseline_size=Size(1, orders=120, faults=12),
)
