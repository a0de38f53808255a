"""G1 and G2: adapters are killed at any moment, and between the vendor's answer and the hub's."""

from __future__ import annotations

from collections import Counter

from tests.faults.history.records import Attempt, Delivery, Effect
from tests.faults.trials.naive_round import naive
from tests.faults.trials.round import Round, moments, played, reached
from tests.faults.trials.trial import Piece, Result, Size, Trial, judged
from tests.faults.yard.site import Plan, mix_of

# Shares of calls at which an adapter ends itself, before and after the vendor's part of it.
DEATHS = {"before": 0.005, "after": 0.02}
PAUSE_SECONDS_MAX = 0.3


async def kill_adapters(round_: Round) -> None:
    """kill -9 of one adapter after another, spread over the load, at moments that are drawn."""
    for number, moment in enumerate(moments(round_.piece, "kills", PAUSE_SECONDS_MAX)):
        await reached(round_, moment)
        round_.site.kill_adapter(number)


async def _run(piece: Piece, mix: str) -> Result:
    plan = Plan(piece.seed, mix=mix_of(mix), deaths=DEATHS)
    async with played(piece, plan, [kill_adapters]) as round_:
        history = await round_.history()
        deaths = round_.site.adapter_deaths
    rows = history.of(Delivery)
    states = Counter((row.operation_class, row.state) for row in rows)
    counts = {
        "orders": round_.load.done,
        "deliveries": len(rows),
        "adapter kills": deaths,
        "attempts": len(history.of(Attempt)),
        "vendor documents": len(history.of(Effect)),
        "parked (class none)": states["NONE", "PARKED"],
    }
    return judged(history, piece.directory / "history.jsonl", counts)


async def run_g1(piece: Piece) -> Result:
    """The carrier's usual faults."""
    return await _run(piece, "carrier")


async def run_g2(piece: Piece) -> Result:
    """Bookings that appear up to a second after the connection was cut."""
    return await _run(piece, "late")


G1 = Trial(
    "G1",
    "kill -9 of adapters; 8 % booked then silent, 6 % booked then 500, 8 % dropped, 8 % 503",
    "0 lost, 0 doubled, 0 reordered; class none: every unknown outcome is parked, no other is",
    run_g1,
    Size(1, orders=150, faults=6),
    Size(20, orders=260, faults=10),
    {"orders": 5_000, "adapter kills": 200},
    baseline=lambda piece: naive(piece, "carrier", kill_adapters, DEATHS),
    baseline_size=Size(1, orders=400, faults=16),
)
G2 = Trial(
    "G2",
    "the same, 12 % of the bookings appear up to 1 s late (settle_after 1.2 s)",
    "0 lost, 0 doubled, 0 reordered",
    run_g2,
    Size(1, orders=120, faults=4),
    Size(10, orders=250, faults=5),
    {"orders": 2_500, "adapter kills": 50},
    baseline=lambda piece: naive(piece, "late", kill_adapters, DEATHS),
    baseline_size=Size(1, orders=400, faults=8),
)
