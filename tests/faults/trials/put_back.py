"""G19: a database of yesterday, or of a moment ago, with today's bus; yesterday's bus with today's
database."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from typing import Any

from back_ups import (
    copy_bus,
    copy_database,
    copy_running_database,
    differences,
    put_back_bus,
    put_back_database,
)
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.tie import BUS_OLDER, DATABASE_OLDER, told_by
from fixtures_nats import eventually

from tests.faults.history.ledger import open_at_the_end
from tests.faults.history.order import grouped
from tests.faults.history.records import Attempt, Delivery
from tests.faults.trials.bus_losses import all_there
from tests.faults.trials.round import Round, played, progress
from tests.faults.trials.trial import Piece, Result, Size, Trial, judged
from tests.faults.yard.load import Load
from tests.faults.yard.noting import now
from tests.faults.yard.site import LANES, Plan, mix_of

STOP_SECONDS = 30.0
BACK_SECONDS = 30.0
FILLED_SECONDS = 90.0
PACE_SECONDS = 0.3
GENERATIONS = 3
LATER_ORDERS = 12
YOUNG_ORDERS = 4
FOUND = "found by look-up"
NATURAL = LANES["natural"].erp


async def _end(round_: Round) -> None:
    """SIGTERM, and wait."""
    process = round_.site.hub.process
    assert process is not None
    process.send_signal(signal.SIGTERM)
    await eventually(lambda: process.poll() is not None, "the end of the hub", STOP_SECONDS)


async def _generations(round_: Round, more: int) -> None:
    """Wait until the bus was told so many later generations of the ledger."""
    before = await _generation(round_)

    async def told() -> bool:
        return await _generation(round_) >= before + more

    await eventually(told, "a later generation", BACK_SECONDS)


async def _generation(round_: Round) -> int:
    bus = await Bus.connect(round_.site.bus_address)
    try:
        told = await told_by(bus)
        return 0 if told is None else told.generation
    finally:
        await bus.close()


class Window:
    """From when on the copy is old, until it was put back: microseconds."""

    def __init__(self) -> None:
        self.copied = self.put_back = 0


async def _database(round_: Round, window: Window, saved: Path) -> None:
    """Copy it in the middle of the work, put it back when all orders are placed; then go on."""
    if _is_young(round_.piece):
        await progress(round_, round_.load.orders - YOUNG_ORDERS)
        copy_running_database(round_.site.hub, saved)
        window.copied = now()
        await _confirmed(round_)
    else:
        await progress(round_, round_.load.orders // 2)
        await _end(round_)
        copy_database(round_.site.hub, saved)
        window.copied = now()
        await round_.site.start_hub()
    await progress(round_, round_.load.orders)
    await eventually(lambda: _all_told(round_), "every event on the stream", BACK_SECONDS)
    round_.site.kill_hub()
    put_back_database(round_.site.hub, saved)
    window.put_back = now()
    round_.site.note("put back", "the database")
    await round_.site.start_hub()
    later = Load(round_.site, round_.load.orders + LATER_ORDERS)
    await later.go_on_from(round_.load.orders)


def _is_young(piece: Piece) -> bool:
    """Every other database that is put back was copied moments before the hub is killed."""
    return piece.seed % 4 == 3


async def _confirmed(round_: Round) -> None:
    """Wait until a vendor has done something more."""
    before = round_.site.hub.count("deliveries", "state = 'CONFIRMED'")

    def more() -> bool:
        return round_.site.hub.count("deliveries", "state = 'CONFIRMED'") > before

    await eventually(more, "a confirmation", BACK_SECONDS)


async def _bus(round_: Round, window: Window, saved: Path) -> None:
    """The same with the streams; here every order stays known, and the load goes on."""
    await progress(round_, round_.load.orders // 3)
    await _end(round_)
    copy_bus(round_.site.hub, saved)
    window.copied = now()
    await round_.site.start_hub()
    await progress(round_, round_.load.orders // 2)
    await _generations(round_, GENERATIONS)
    await _end(round_)
    put_back_bus(round_.site.hub, saved)
    window.put_back = now()
    round_.site.note("put back", "the bus")
    await round_.site.start_hub()


async def run_g19(piece: Piece) -> Result:
    """Odd seeds put the database back, even ones the bus."""
    return await (_older_database(piece) if piece.seed % 2 else _older_bus(piece))


async def _older_database(piece: Piece) -> Result:
    """What was answered after the copy is gone; no vendor may be asked for anything again."""
    window = Window()

    async def fault(round_: Round) -> None:
        await _database(round_, window, piece.directory / "saved")

    plan = Plan(piece.seed, mix=mix_of("slow"), pace_seconds=PACE_SECONDS)
    async with played(piece, plan, [fault]) as round_:
        site = round_.site
        await eventually(lambda: _strange(round_), "the relay's word", BACK_SECONDS)
        told = differences(site.hub)
        history = await round_.history()
        effects = (await site.books())["effects"]
    history.write(piece.directory / "history.jsonl")
    broken = [] if told.get(DATABASE_OLDER) else [f"told are only {sorted(told)}"]
    counts, found = by_the_books(history.of(Delivery), history.of(Attempt), effects, window)
    if not counts["done after the copy"]:
        broken.append("nothing was done between copy and putting back: nothing was proved")
    verdict = {kind: len(found[kind]) for kind in ("lost", "doubled", "regressed")}
    violations = [f"{kind}: {each}" for kind in verdict for each in found[kind]]
    broken += found["broken"]
    counts = {
        "databases put back": 1,
        "copied moments before": int(_is_young(piece)),
        "orders": round_.load.done + LATER_ORDERS,
    } | counts
    return Result(counts, verdict, {}, violations, broken)


def _all_told(round_: Round) -> bool:
    return round_.site.hub.count("events", "published_at IS NULL") == 0


def _strange(round_: Round) -> bool:
    return "STRANGE_MESSAGES" in differences(round_.site.hub)


def by_the_books(
    rows: list[Delivery], attempts: list[Attempt], effects: list[dict[str, Any]], window: Window
) -> tuple[dict[str, int], dict[str, list[str]]]:
    """Counts, and what is lost, doubled or otherwise not as it has to be."""
    # An upsert may be repeated: it stands in the vendor's books as often as it was sent.
    once = [effect for effect in effects if effect["endpoint"] != NATURAL]
    made = Counter((effect["endpoint"], effect["key"]) for effect in once)
    # A repeat with another key stands there under both.
    done = Counter(effect["delivery_id"] for effect in once)
    has = {effect["delivery_id"] for effect in effects}
    known = {row.id: row for row in rows}
    forgotten = [
        effect
        for effect in effects
        if window.copied < effect["made_at"] < window.put_back and effect["delivery_id"] in known
    ]
    parked = [row for row in rows if row.state == "PARKED"]
    counts = {
        "deliveries": len(rows),
        "done after the copy": len(forgotten),
        FOUND: sum(a.kind == "LOOK_UP" and a.outcome == "CONFIRMED" for a in attempts),
        "parked (class none, lost draft)": len(parked),
    }
    return counts, {
        "lost": [row.id for row in rows if row.state == "CONFIRMED" and row.id not in has],
        "doubled": [
            *(f"{key} at {endpoint}" for (endpoint, key), n in made.items() if n > 1),
            *(f"{delivery_id} was done {n} times" for delivery_id, n in done.items() if n > 1),
        ],
        "regressed": _not_newest([e for e in effects if e["delivery_id"] in known]),
        "broken": [
            *(f"{r.id} of class {r.operation_class} is parked" for r in parked if _wrong(r)),
            *(f"{row.id} is still {row.state}" for row in open_at_the_end(rows)),
        ],
    }


def _not_newest(effects: list[dict[str, Any]]) -> list[str]:
    """Objects of which the upserting vendor ends with an older state than it was sent."""
    states = grouped((e for e in effects if e["endpoint"] == NATURAL), lambda e: e["subject"])
    return [
        f"{subject} at {NATURAL}"
        for subject, found in states.items()
        if max(found, key=lambda e: e["made_at"])["revision"] < max(e["revision"] for e in found)
    ]


def _wrong(row: Delivery) -> bool:
    return row.operation_class != "NONE"


async def _older_bus(piece: Piece) -> Result:
    """Nothing that was answered is gone: the whole history is judged."""
    window = Window()

    async def fault(round_: Round) -> None:
        await _bus(round_, window, piece.directory / "saved")

    plan = Plan(piece.seed, mix=mix_of("well"), pace_seconds=PACE_SECONDS)
    async with played(piece, plan, [fault]) as round_:
        await eventually(lambda: all_there(round_), "the stream filled again", FILLED_SECONDS)
        history = await round_.history()
        told = differences(round_.site.hub)
    counts = {
        "buses put back": 1,
        "orders": round_.load.done,
        "deliveries": len(history.of(Delivery)),
    }
    broken = [] if told.get(BUS_OLDER) else [f"told are only {sorted(told)}"]
    return judged(history, piece.directory / "history.jsonl", counts, broken=broken)


G19 = Trial(
    "G19",
    "yesterday's database, or that of a moment ago, put back under today's bus, and yesterday's bus"
    " under today's database",
    "what was confirmed meanwhile is found by look-up (class none, and two steps whose draft is"
    " lost: parked), never posted again (an upsert is, and ends at the newest state; a keyed call"
    " is, with its key); the difference is told; an older bus: 0 lost, 0 doubled, 0 reordered",
    run_g19,
    Size(3, orders=90),
    Size(10, orders=160),
    {"databases put back": 5, "copied moments before": 2, "buses put back": 5, FOUND: 5},
)
