"""G13 and G14: poisoned work and sick vendors stay with themselves; everybody else goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from fixtures_nats import eventually

from tests.faults.history.checker import check, counted
from tests.faults.history.records import OK, Attempt, Delivery, Event, History, Object, Rpc
from tests.faults.trials.round import Misfortune, Round, played
from tests.faults.trials.trial import SHOWN_VIOLATIONS, Piece, Result, Size, Trial
from tests.faults.yard.load import is_poisoned
from tests.faults.yard.noting import now
from tests.faults.yard.site import LANES, SHORT_LIMITS, Plan, mix_of

PARKED_SECONDS_MAX = 60.0
P99_RATIO_MAX = 2.0
BREAKER_SECONDS_MAX = 10.0
# As adapters wait for slow vendors, and leases that let them: the breaker may not need their end.
CALL_SECONDS = 25.0
LONG_LEASES = {**SHORT_LIMITS, "lease_seconds_max": 60.0}
LOOK_SECONDS = 60.0
# Below this, twice as long is the machine's noise and nobody's wait.
NOISE_SECONDS = 0.5
SICK = {"silent": 0.4, "trickle": 0.3, "timed_out": 0.3}
P50_SHARE = "p50 beside the sick, as a share of the slower calm round's"
P99_SHARE = "p99 beside the sick, as a share of the slower calm round's"
# What the design asks for; a p99 is the second-worst of a hundred, and differs more than that
# between two calm rounds: the report says by how much, and 2 x is what fails.
SHARE_WANTED = 1.1
HEALTHY, ILL = "searchable", "keyed"


def confirmed_after(history: History, wanted: Callable[[Delivery, str], bool]) -> list[float]:
    """Seconds from the answer to an approval until its sales order is confirmed, of those wanted.

    wanted gets the delivery and the order's number.
    """
    answered = {
        rpc.request_id: rpc.end
        for rpc in history.of(Rpc)
        if rpc.method == "ApproveOrder" and rpc.outcome == OK
    }
    events = {event.id: event for event in history.of(Event)}
    numbers = {row.id: row.number for row in history.of(Object)}
    ended = {a.delivery_id: a.ended_at for a in history.of(Attempt) if a.outcome == "CONFIRMED"}
    found = []
    for row in history.of(Delivery):
        event = events.get(row.event_id)
        if event is None or row.operation != "create_sales_order" or row.id not in ended:
            continue
        if event.causation_id in answered and wanted(row, numbers.get(event.object_id, "")):
            found.append(max(0.0, (ended[row.id] - answered[event.causation_id]) / 1e6))
    return sorted(found)


def p99(ordered: list[float]) -> float:
    return ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))] if ordered else 0.0


def p50(ordered: list[float]) -> float:
    return ordered[len(ordered) // 2] if ordered else 0.0


async def _round(
    piece: Piece, plan: Plan, name: str, misfortunes: Sequence[Misfortune] = ()
) -> History:
    own = replace(piece, directory=piece.directory / name)
    async with played(own, plan, misfortunes) as round_:
        history = await round_.history()
    history.write(piece.directory / name / "history.jsonl")
    return history


def _compared(calm: list[float], beside: list[float], what: str) -> list[str]:
    allowed = max(P99_RATIO_MAX * p99(calm), NOISE_SECONDS)
    if p99(beside) <= allowed:
        return []
    return [f"{what}: p99 {p99(beside):.2f} s, without it {p99(calm):.2f} s"]


async def run_g13(piece: Piece) -> Result:
    """The same load with and without orders that no adapter can translate."""
    plan = Plan(piece.seed, classes=(HEALTHY, "natural"), mix=mix_of("well"))
    calm = await _round(piece, plan, "calm")
    bad = await _round(piece, replace(plan, poisoned=piece.size.faults), "poisoned")

    def good(number: str) -> bool:
        return not is_poisoned(number, piece.size.faults, piece.size.orders)

    others = confirmed_after(bad, lambda _, number: good(number))
    before = confirmed_after(calm, lambda _, number: good(number))
    parked = {row.id for row in bad.of(Delivery) if row.state == "PARKED"}
    waits = [
        (a.ended_at - a.begun_at) / 1e6
        for a in bad.of(Attempt)
        if a.delivery_id in parked and a.ended_at
    ]
    broken = _compared(before, others, "other orders")
    # One that was cancelled before anybody took it up is superseded, and poisons nothing.
    cancelled = _superseded(bad, lambda number: not good(number))
    if len(parked) + cancelled != piece.size.faults:
        told = f"{len(parked)} are parked and {cancelled} cancelled"
        broken.append(f"{told}, {piece.size.faults} are poisoned")
    if max(waits, default=0.0) > PARKED_SECONDS_MAX:
        broken.append(f"parked only after {max(waits):.1f} s")
    violations = [*check(calm), *check(bad)]
    counts = {
        "orders": len(before) + len(others),
        "poisoned": piece.size.faults,
        "parked": len(parked),
        "cancelled before": cancelled,
        "held behind them": _held_behind(bad),
    }
    measured = {"s to confirm, calm": before, "s to confirm beside poison": others}
    shown = [str(violation) for violation in violations[:SHOWN_VIOLATIONS]]
    return Result(counts, counted(violations), measured, shown, broken)


def _superseded(history: History, wanted: Callable[[str], bool]) -> int:
    """How many sales orders were superseded, of the orders whose numbers are wanted."""
    orders = {event.id: event.object_id for event in history.of(Event)}
    numbers = {row.id: row.number for row in history.of(Object)}
    return sum(
        row.state == "SUPERSEDED" and wanted(numbers.get(orders.get(row.event_id, ""), ""))
        for row in history.of(Delivery)
        if row.operation == "create_sales_order"
    )


def _held_behind(history: History) -> int:
    return sum(row.state == "HELD" for row in history.of(Delivery))


async def run_g14(piece: Piece) -> Result:
    """One vendor well, the other silent, dripping, or gone after the booking."""
    plan = Plan(
        piece.seed,
        classes=(HEALTHY, ILL),
        mix=mix_of("well"),
        limits=LONG_LEASES,
        call_seconds=CALL_SECONDS,
    )
    calm = await _round(piece, plan, "calm")
    opened: list[float] = []

    async def watch(round_: Round) -> None:
        opened.append(await _breaker_opens(round_, LANES[ILL].erp))

    ill = replace(plan, mixes={ILL: SICK}, patience_seconds=0.0)
    sick = await _round(piece, ill, "sick", [watch])
    # Twice, so that the report can say how far two calm rounds differ on this machine.
    again = await _round(piece, plan, "calm again")

    def healthy(row: Delivery, _: str) -> bool:
        return row.endpoint == LANES[HEALTHY].erp

    before, beside = confirmed_after(calm, healthy), confirmed_after(sick, healthy)
    later = confirmed_after(again, healthy)
    violations = [*check(calm), *check(sick), *check(again)]
    states = Counter(row.state for row in sick.of(Delivery) if row.endpoint == LANES[ILL].erp)
    counts = {
        "orders": len(before) + len(beside) + len(later),
        "calls of the sick vendor": sum(
            a.kind == "CALL"
            for a in sick.of(Attempt)
            if a.delivery_id in {r.id for r in sick.of(Delivery) if r.endpoint == LANES[ILL].erp}
        ),
        "confirmed there": states["CONFIRMED"],
    }
    measured = {
        "s to confirm, calm": sorted([*before, *later]),
        "s to confirm beside the sick": beside,
        P50_SHARE: [p50(beside) / max(p50(before), p50(later))],
        P99_SHARE: [p99(beside) / max(p99(before), p99(later))],
        "p99 of the slower calm round, as a share of the other": [
            max(p99(before), p99(later)) / min(p99(before), p99(later))
        ],
        "s from the first call to an open breaker": opened,
    }
    shown = [str(violation) for violation in violations[:SHOWN_VIOLATIONS]]
    broken = _compared(sorted([*before, *later]), beside, "the healthy vendor")
    broken += [f"the breaker opened after {s:.1f} s" for s in opened if s > BREAKER_SECONDS_MAX]
    return Result(counts, counted(violations), measured, shown, broken)


async def _breaker_opens(round_: Round, endpoint: str) -> float:
    """Seconds from the first call at an endpoint until its breaker is open."""
    hub = round_.site.hub

    def opened() -> bool:
        return hub.query("SELECT breaker_state FROM endpoints WHERE id = ?", endpoint) != [
            ("CLOSED",)
        ]

    await eventually(opened, "an open breaker", LOOK_SECONDS)
    ((first,),) = hub.query(
        "SELECT min(begun_at) FROM attempts JOIN deliveries ON deliveries.id = delivery_id"
        " WHERE endpoint = ?",
        endpoint,
    )
    return (now() - int(first)) / 1e6


G13 = Trial(
    "G13",
    "orders that no adapter can translate, among others",
    "other orders p99 <= 2 x; each is parked <= 60 s with its reason; what follows waits in order",
    run_g13,
    Size(1, orders=120, faults=6),
    Size(3, orders=400, faults=16),
    {"poisoned": 48},
    alone=True,
)
G14 = Trial(
    "G14",
    "one vendor never answers, or a byte a second, or books and falls silent",
    "0 doubled there; its breaker opens <= 10 s; at the other vendor p50 and p99 <= 1.1 x (told;"
    " beyond 2 x it fails)",
    run_g14,
    Size(1, orders=60),
    Size(3, orders=200),
    {"orders": 500},
    bounds={P50_SHARE: SHARE_WANTED, P99_SHARE: SHARE_WANTED},
    alone=True,
)
