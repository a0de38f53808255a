"""G13 and G14: poisoned work and sick vendors stay with themselves; everybody else goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain

from crossdock.delivery.v1 import delivery_operations_service_pb2 as operations_pb2
from crossdock.errors import CallError
from fixtures_nats import eventually
from story import request_id

from tests.faults.history.checker import check, counted
from tests.faults.history.records import (
    CALL,
    LOOK_UP,
    OK,
    Attempt,
    Delivery,
    Event,
    History,
    Object,
    Rpc,
)
from tests.faults.naive.poison import naive_g13
from tests.faults.naive.shared_pool import naive_g14
from tests.faults.trials.round import Misfortune, Round, played, progress
from tests.faults.trials.trial import SHOWN_VIOLATIONS, Piece, Result, Size, Trial
from tests.faults.yard.load import SPEAKS, is_poisoned
from tests.faults.yard.noting import now
from tests.faults.yard.site import LANES, SHORT_LIMITS, Plan, mix_of

PARKED_SECONDS_MAX = 60.0
PARKED_WORK = """
SELECT p.id, EXISTS (
    SELECT 1 FROM deliveries c WHERE c.root_id = p.root_id AND c.operation = 'cancel_order'
) FROM deliveries p WHERE p.state = 'PARKED'
"""
P99_RATIO_MAX = 2.0
BREAKER_SECONDS_MAX = 10.0
# As adapters wait for slow vendors, and leases that let them: the breaker may not need their end.
CALL_SECONDS = 25.0
LONG_LEASES = {**SHORT_LIMITS, "lease_seconds_max": 60.0}
LOOK_SECONDS = 60.0
# Below this, twice as long is the machine's noise and nobody's wait.
NOISE_SECONDS = 0.5
# Look-ups find it sick too: whoever answers those is there, and its breaker closes.
SICK = {"silent": 0.4, "trickle": 0.3, "timed_out": 0.3, "broken": 1.0}
SHARE = "{} beside the sick, as a share of the calm rounds'"
APART = "{} of a calm round, as a share of the other's"
# A machine that slows down or speeds up meanwhile weighs on both sides alike.
TURNS = (False, True, True, False)
# Below what the machine can do: else the figures are those of a queue for its cores.
PACE_SECONDS = 0.5
FOUND = "done there and found by look-up"
# Nobody but the ledger keeps the sick one from doing something twice: it honours no keys.
HEALTHY, ILL = "keyed", "searchable"
POISONED = ("searchable", "natural")


def confirmed_after(history: History, wanted: Callable[[Delivery, str], bool]) -> list[float]:
    """Seconds from the answer to an approval until its sales order is confirmed, of those wanted.

    wanted gets the delivery and the order's number.
    """
    numbers = {row.id: row.number for row in history.of(Object)}
    events = {event.id: event for event in history.of(Event)}
    ended = {a.delivery_id: a.ended_at for a in history.of(Attempt) if a.outcome == "CONFIRMED"}

    def asked(row: Delivery) -> bool:
        number = numbers.get(events[row.event_id].object_id, "")
        return row.operation == "create_sales_order" and wanted(row, number)

    return _waits(history, ended, asked, "ApproveOrder")


def parked_after(history: History) -> list[float]:
    """Seconds from the answer to a write until the last attempt ended of its work that is parked:
    what an operator waits before he is told."""
    ended: dict[str, int] = {}
    for attempt in history.of(Attempt):
        if attempt.ended_at:
            so_far = ended.get(attempt.delivery_id, 0)
            ended[attempt.delivery_id] = max(so_far, attempt.ended_at)
    return _waits(history, ended, lambda row: row.state == "PARKED", *SPEAKS)


def _waits(
    history: History, ended: Mapping[str, int], wanted: Callable[[Delivery], bool], *methods: str
) -> list[float]:
    """Seconds from the answer to a write by one of the methods until its work ended."""
    answered: dict[str, int] = {}
    for rpc in history.of(Rpc):
        if rpc.method in methods and rpc.outcome == OK:
            answered.setdefault(rpc.request_id, rpc.end)
    asked_by = {event.id: event.causation_id for event in history.of(Event)}
    found = []
    for row in history.of(Delivery):
        request = asked_by.get(row.event_id, "")
        if request in answered and row.id in ended and wanted(row):
            found.append(max(0.0, (ended[row.id] - answered[request]) / 1e6))
    return sorted(found)


def p99(ordered: list[float]) -> float:
    return ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))] if ordered else 0.0


def p95(ordered: list[float]) -> float:
    return ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))] if ordered else 0.0


def p50(ordered: list[float]) -> float:
    return ordered[len(ordered) // 2] if ordered else 0.0


QUANTILES: Mapping[str, Callable[[list[float]], float]] = {"p50": p50, "p95": p95, "p99": p99}
SHARES_MAX = {"p50": 1.1, "p95": 1.25, "p99": 1.5}
# Of a core's turn: what differs by less is nobody's wait.
NOISE_SECONDS_MIN = 0.02


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
    plan = Plan(piece.seed, classes=POISONED, mix=mix_of("well"))
    calm = await _round(piece, plan, "calm")
    poisoned = replace(plan, poisoned=piece.size.faults)
    bad, after, broken = await _released(piece, poisoned, "poisoned")

    def good(number: str) -> bool:
        return not is_poisoned(number, piece.size.faults, piece.size.orders)

    others = confirmed_after(bad, lambda _, number: good(number))
    before = confirmed_after(calm, lambda _, number: good(number))
    parked = {row.id for row in bad.of(Delivery) if row.state == "PARKED"}
    waits = parked_after(bad)
    broken += _compared(before, others, "other orders")
    # One that was cancelled before anybody took it up is superseded, and poisons nothing.
    cancelled = _superseded(bad, lambda number: not good(number))
    if len(parked) + cancelled != piece.size.faults:
        told = f"{len(parked)} are parked and {cancelled} cancelled"
        broken.append(f"{told}, {piece.size.faults} are poisoned")
    broken += [f"parked only after {s:.1f} s" for s in waits if s > PARKED_SECONDS_MAX]
    if len(waits) != len(parked):
        broken.append(f"of {len(parked)} that are parked, {len(waits)} say since when")
    violations = [*check(calm), *check(bad), *check(after)]
    counts = {
        "orders": len(before) + len(others),
        "poisoned": piece.size.faults,
        "parked": len(parked),
        "cancelled before": cancelled,
        "held behind them": len(_held_behind(bad)),
        "confirmed after the release": _confirmed_of(after, parked | _held_behind(bad)),
    }
    measured = {
        "s to confirm, calm": before,
        "s to confirm beside poison": others,
        "s from the order to parked": waits,
    }
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


def _held_behind(history: History) -> set[str]:
    return {row.id for row in history.of(Delivery) if row.state == "HELD"}


def _confirmed_of(history: History, wanted: set[str]) -> int:
    return sum(r.id in wanted and r.state == "CONFIRMED" for r in history.of(Delivery))


async def _released(piece: Piece, plan: Plan, name: str) -> tuple[History, History, list[str]]:
    """A round with poison, then the adapters mended and all that is parked released by an operator.

    The history before the release, the one after it, and what was not as it has to be: everything
    goes that was parked or waited behind it. In which order, the history's check says.
    """
    own = replace(piece, directory=piece.directory / name)
    async with played(own, plan, []) as round_:
        before = await round_.history()
        before.write(own.directory / "before.jsonl")
        round_.site.mend_adapters()
        broken = await _release(round_)
        await round_.quiet()
        after = await round_.history()
    after.write(own.directory / "history.jsonl")
    waited = {row.id for row in before.of(Delivery) if row.state in ("PARKED", "HELD")}
    ended = {row.id: row.state for row in after.of(Delivery)}
    stuck = [ended[each] for each in waited if ended[each] not in ("CONFIRMED", "SKIPPED")]
    if stuck:
        broken.append(
            f"{len(stuck)} of {len(waited)} that waited are {', '.join(sorted(set(stuck)))}"
        )
    return before, after, broken


async def _release(round_: Round) -> list[str]:
    """An operator retries what is parked, and skips it where its order was cancelled meanwhile;
    the refusals, in words."""
    hub, refused = round_.site.hub, []
    async with hub.client("operator") as operator:
        for delivery_id, cancelled in hub.query(PARKED_WORK):
            verb = "Skip" if cancelled else "Retry"
            request = getattr(operations_pb2, f"{verb}DeliveryRequest")(
                request_id=request_id(), delivery_id=delivery_id, reason="the adapters are mended"
            )
            try:
                await getattr(operator.delivery_operations, f"{verb}Delivery")(request)
            except CallError as error:
                refused.append(f"{verb} of a parked delivery is refused: {error}")
            else:
                round_.skipped += [delivery_id] if cancelled else []
    return refused


async def run_g14(piece: Piece) -> Result:
    """One vendor well, the other silent, dripping, or gone after the booking, and well at last."""
    plan = Plan(
        piece.seed,
        classes=(HEALTHY, ILL),
        mix=mix_of("well"),
        limits=LONG_LEASES,
        call_seconds=CALL_SECONDS,
        pace_seconds=PACE_SECONDS,
    )
    ill = replace(plan, mixes={ILL: SICK})
    opened: list[float] = []

    async def watch(round_: Round) -> None:
        opened.append(await _breaker_opens(round_, LANES[ILL].erp))
        await _healthy_done(round_)
        # What comes of its calls and doubts shows only when it answers again.
        await round_.site.change_mix(ILL, **mix_of("well"))

    calm, sick = [], []
    for number, is_sick in enumerate(TURNS):
        name = f"{number} {'sick' if is_sick else 'calm'}"
        if is_sick:
            sick.append(await _round(piece, ill, name, [watch]))
        else:
            calm.append(await _round(piece, plan, name))
    return _both_sides(calm, sick, opened)


def _both_sides(calm: list[History], sick: list[History], opened: list[float]) -> Result:
    """What the healthy vendor's callers waited in the rounds of both sides, and what the sick one
    did. opened: seconds until its breaker was open, in each of its rounds."""
    counts = {
        "orders": sum(len(_seconds(each)) for each in (*calm, *sick)),
        "calls of the sick vendor": sum(_calls(each) for each in sick),
        "confirmed there once it was well": sum(_confirmed(each) for each in sick),
        FOUND: sum(_found(each) for each in sick),
    }
    before, beside = [_seconds(each) for each in calm], [_seconds(each) for each in sick]
    both = sorted(chain.from_iterable(before)), sorted(chain.from_iterable(beside))
    shares = {name: at(both[1]) / at(both[0]) for name, at in QUANTILES.items()}
    apart = {name: _apart(before, at) for name, at in QUANTILES.items()}
    measured = {
        "s to confirm, calm": both[0],
        "s to confirm beside the sick": both[1],
        **{SHARE.format(name): [share] for name, share in shares.items()},
        **{APART.format(name): [each] for name, each in apart.items()},
        "s from the first call to an open breaker": opened,
    }
    violations = [each for history in (*calm, *sick) for each in check(history)]
    shown = [str(violation) for violation in violations[:SHOWN_VIOLATIONS]]
    broken = [
        f"the healthy vendor: {name} {at(both[1]):.3f} s, calm {at(both[0]):.3f} s"
        for name, at in QUANTILES.items()
        # Nobody can tell what differs by less than two calm rounds do.
        if shares[name] > max(SHARES_MAX[name], apart[name])
        and at(both[1]) - at(both[0]) > NOISE_SECONDS_MIN
    ]
    broken += [f"the breaker opened after {s:.1f} s" for s in opened if s > BREAKER_SECONDS_MAX]
    if not counts[FOUND]:
        broken.append("it had done nothing that it did not answer: of doubles nothing was proved")
    return Result(counts, counted(violations), measured, shown, broken)


def _seconds(history: History) -> list[float]:
    return confirmed_after(history, lambda row, _: row.endpoint == LANES[HEALTHY].erp)


def _apart(rounds: Sequence[list[float]], at: Callable[[list[float]], float]) -> float:
    """How many times as long the slowest of the rounds is as the fastest."""
    return max(at(each) for each in rounds) / min(at(each) for each in rounds)


def _sick(history: History) -> dict[str, Delivery]:
    """Deliveries of the sick vendor, by id."""
    return {row.id: row for row in history.of(Delivery) if row.endpoint == LANES[ILL].erp}


def _calls(history: History) -> int:
    """Of the sick vendor."""
    there = _sick(history)
    return sum(a.kind == CALL and a.delivery_id in there for a in history.of(Attempt))


def _confirmed(history: History) -> int:
    """Deliveries that the sick vendor has confirmed."""
    return sum(row.state == "CONFIRMED" for row in _sick(history).values())


def _found(history: History) -> int:
    """Look-ups that found what the sick vendor had done and not answered."""
    there = _sick(history)
    looked = [a for a in history.of(Attempt) if a.kind == LOOK_UP and a.delivery_id in there]
    return sum(attempt.outcome == "CONFIRMED" for attempt in looked)


async def _healthy_done(round_: Round) -> None:
    """Wait until all orders are placed and the healthy vendor has done its part of them."""
    await progress(round_, round_.load.orders)
    hub = round_.site.hub
    still = f"endpoint = '{LANES[HEALTHY].erp}' AND state NOT IN ('CONFIRMED', 'SUPERSEDED')"
    await eventually(
        lambda: not hub.count("deliveries", still), "the end of the healthy's work", LOOK_SECONDS
    )


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
    "other orders p99 <= 2 x; each is parked <= 60 s with its reason; what follows waits, and goes"
    " in order once it is released",
    run_g13,
    Size(1, orders=120, faults=6),
    Size(3, orders=400, faults=16),
    {"poisoned": 48},
    alone=True,
    baseline=naive_g13,
    baseline_size=Size(1, orders=400, faults=16),
)
G14 = Trial(
    "G14",
    "one vendor never answers, or a byte a second, or books and falls silent",
    "0 lost, 0 doubled there, seen when it is well again; its breaker opens <= 10 s; at the other"
    " vendor p50 <= 1.1 x, p95 <= 1.25 x, p99 <= 1.5 x of calm rounds, or as much as two calm"
    " rounds differ",
    run_g14,
    Size(1, orders=60),
    Size(3, orders=600),
    {"orders": 3_000},
    bounds={SHARE.format(name): most for name, most in SHARES_MAX.items()},
    alone=True,
    baseline=lambda piece: naive_g14(piece, HEALTHY, ILL, SICK, PACE_SECONDS),
    baseline_size=Size(1, orders=120),
)
