"""G23: an adapter is stopped for longer than its lease, others take over, then it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from tests.faults.history.records import CALL, Attempt, Delivery, VendorCall
from tests.faults.trials.naive_round import MODES, naive
from tests.faults.trials.round import Round, played, progress
from tests.faults.trials.trial import Piece, Result, Size, Trial, judged
from tests.faults.yard.site import Plan, chance_of, mix_of

# Longer than a lease of 3 s and two look-ups of 1.2 s: the repeat is under way when it wakes up.
PAUSE_SECONDS = 7.5
ADAPTERS = 5
# One goes on working, whatever is stopped.
AT_ONCE = ADAPTERS - 1
WRITERS, PACE_SECONDS = 4, 0.6
# The zombie window of docs/guarantees.md, of a piece of 20 pauses: a stop that begins between the
# last look at the lease and the write. It takes some 0.04 ms of a call's second.
ZOMBIES_A_PIECE_MAX = 1


async def freeze(round_: Round, at_once: int = AT_ONCE, adapters: int = ADAPTERS) -> None:
    """Stop adapters in mid-work, a few at a time, and let them go on after their leases."""
    size = round_.piece.size
    chance = chance_of(round_.piece.seed, "freezes")
    # Drawn before the first, so that none depends on whose turn came first.
    pauses = [chance.uniform(0.0, 0.5) for _ in range(size.faults)]
    slots = asyncio.Semaphore(at_once)
    free = list(range(adapters))

    async def one(number: int) -> None:
        async with slots:
            await progress(round_, number * size.orders // (size.faults + at_once))
            await asyncio.sleep(pauses[number])
            victim = free.pop(0)
            round_.site.freeze_adapter(victim)
            await asyncio.sleep(PAUSE_SECONDS)
            round_.site.thaw_adapter(victim)
            free.append(victim)

    await asyncio.gather(*(one(number) for number in range(size.faults)))


async def run_g23(piece: Piece) -> Result:
    """The vendor takes its time, so that calls are under way when their adapter stops."""
    plan = Plan(piece.seed, mix=mix_of("slow"), adapters=ADAPTERS, pace_seconds=PACE_SECONDS)
    async with played(piece, plan, [freeze], WRITERS) as round_:
        history = await round_.history()
    zombies = arrived_late(history.of(VendorCall))
    attempts = history.of(Attempt)
    counts = {
        "orders": round_.load.done,
        "pauses": piece.size.faults,
        "deliveries": len(history.of(Delivery)),
        "leases that ran out": sum(_ran_out(attempt) for attempt in attempts),
        "calls that arrived after their lease": len(zombies),
    }
    missed = not counts["leases that ran out"] and piece.size.faults >= ADAPTERS
    broken = ["no pause hit a call: nothing was proved"] if missed else []
    if len(zombies) > ZOMBIES_A_PIECE_MAX:
        broken += [f"call {c.attempt} of {c.delivery_id} arrived after its lease" for c in zombies]
    return judged(history, piece.directory / "history.jsonl", counts, broken=broken)


def arrived_late(calls: Iterable[VendorCall]) -> list[VendorCall]:
    """Calls that had left before their lease was over, by their stamp, and arrived after it. One
    that left after it breaks a rule of its own."""
    return [call for call in calls if call.kind == CALL and call.start > call.lease_until > 0]


def _ran_out(attempt: Attempt) -> bool:
    """Whether a lease ended with no word; proof that came after it may stand there since."""
    held = (attempt.ended_at or attempt.begun_at) - attempt.begun_at
    return attempt.outcome == "LEASE_EXPIRED" or held > PAUSE_SECONDS * 1e6 / 2


async def _freeze_naive(round_: Round) -> None:
    # Two replicas of each; the second of both goes on.
    await freeze(round_, at_once=len(MODES), adapters=len(MODES))


G23 = Trial(
    "G23",
    "SIGSTOP of adapters for longer than lease and look-ups, others take over, then SIGCONT",
    "0 doubled; a stopped one that wakes up sends nothing (in the zombie window: at most 1 call a"
    " piece), and settles nothing but by proof that its call was done while no newer call was"
    " begun",
    run_g23,
    Size(1, orders=90, faults=6),
    Size(10, orders=220, faults=20),
    {"pauses": 200},
    baseline=lambda piece: naive(
        piece, "slow", _freeze_naive, replicas=2, pace_seconds=PACE_SECONDS
    ),
    baseline_size=Size(1, orders=200, faults=10),
)
