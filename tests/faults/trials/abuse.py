"""A1, A2 and A5: callers who send what is no request, breaks a rule, or is too much."""

from __future__ import annotations

from itertools import islice

from abuse import malformed, oversize, rule_breaking
from abuse.broken_rules import declared_rules
from crossdock import contracts
from fixtures_hub import RunningHub

from tests.faults.naive.servicer import naive_a1, naive_a5
from tests.faults.trials.trial import Piece, Result, Size, Trial

FIRST_SEED = 1_001
# Of the hub's resident memory, over the second half of the messages. What it has in use does not
# grow at all then; the allocator's free pieces do, ever less (docs/guarantees.md).
GROWTH_MAX = 0.05
PEAK_GROWTH_MAX = 50 * oversize.MEBIBYTE
# Until the hub has compiled and filled what it keeps for good; its answers count too.
WARM_UP = 500
FAULT = "fault in a"
A1_PIECES = 12
NO_END = 10**9


def _share(piece: Piece, pieces: int) -> list[str]:
    """The methods of one piece: together the pieces take every method of the contract once."""
    names = sorted(contracts.load().methods)
    if piece.size.faults:
        return names
    return list(islice(names, (piece.seed - FIRST_SEED) % pieces, None, pieces))


def _hub(piece: Piece) -> RunningHub:
    return RunningHub(piece.directory / "hub").start()


async def run_a1(piece: Piece) -> Result:
    """So many byte strings for each of its methods, on a hub of the piece's own."""
    names, each = _share(piece, A1_PIECES), piece.size.orders
    hub = _hub(piece)
    try:
        found = await malformed.measure(hub, each, min(WARM_UP, each), str(piece.seed), names)
        faults = hub.log().count(FAULT)
    finally:
        hub.kill()
    broken = list(found.tally.examples) if found.tally.faults else []
    if faults:
        broken.append(f"the hub's log tells of {faults} faults in itself")
    counts = {
        "methods": len(names),
        "malformed messages": found.tally.sent,
        "refused with INVALID_ARGUMENT": found.tally.codes["INVALID_ARGUMENT"],
        "UNKNOWN, INTERNAL or exception text": found.tally.faults,
    }
    growth = {
        "share by which the hub's memory grew over the second half": [max(0.0, found.growth)],
        "the same since the warm-up": [max(0.0, found.growth_at_all)],
    }
    # A short run measures the allocator's steps, not a leak.
    if found.growth > GROWTH_MAX and not piece.size.faults:
        broken.append(f"memory grew by {found.growth:.1%}")
    return Result(counts, measured=growth, broken=broken)


async def run_a2(piece: Piece) -> Result:
    """Every rule of the contract, broken at every place and in every way."""
    hub = _hub(piece)
    size = piece.size
    try:
        found = await rule_breaking.measure(
            hub, size.orders, most_per_rule=size.faults or NO_END, seed=str(piece.seed)
        )
        faults = hub.log().count(FAULT)
    finally:
        hub.kill()
    broken = list(found.wrong)
    if found.state_changed:
        broken.append("a refused message changed the database")
    if faults:
        broken.append(f"the hub's log tells of {faults} faults in itself")
    counts = {
        "rules, added over the pieces": len(found.rules),
        "messages": sum(found.rules.values()),
        "not refused by name": found.wrong_count,
    }
    least = {"messages a rule": [float(n) for n in found.rules.values()]}
    return Result(counts, measured=least, broken=broken)


async def run_a5(piece: Piece) -> Result:
    """Each attack; the hub's memory is read at its peak meanwhile."""
    hub = _hub(piece)
    outcomes = []
    try:
        for _ in range(piece.size.faults):
            outcomes += await oversize.measure(hub, oversize.attacks())
        faults = hub.log().count(FAULT)
    finally:
        hub.kill()
    broken = [f"{o.attack}: {o.code}" for o in outcomes if o.code not in oversize.REFUSALS]
    broken += [f"{o.attack}: + {o.grown:,} bytes" for o in outcomes if o.grown > PEAK_GROWTH_MAX]
    if faults:
        broken.append(f"the hub's log tells of {faults} faults in itself")
    counts = {
        "attacks": len(outcomes),
        "refused": sum(o.code in oversize.REFUSALS for o in outcomes),
    }
    measured = {
        "MiB that the hub's peak grew": [o.grown / oversize.MEBIBYTE for o in outcomes],
        "s until the refusal": [o.seconds for o in outcomes],
    }
    return Result(counts, measured=measured, broken=broken)


METHODS = len(contracts.load().methods)
A1_EACH = 10_000
A1 = Trial(
    "A1",
    f"{A1_EACH:,} malformed byte strings for each of the contract's methods",
    "an answer or a reason of the contract: 0 UNKNOWN, INTERNAL or exception text; memory + < 5 %"
    " over the second half",
    run_a1,
    Size(1, orders=140, faults=1),
    Size(A1_PIECES, orders=A1_EACH),
    {"methods": METHODS, "malformed messages": METHODS * A1_EACH},
    baseline=naive_a1,
    baseline_size=Size(1, orders=A1_EACH),
)
# So many random values for each rule and place: rules that can be broken in many ways are broken
# 2,000 times in all; a field that is left out is so in one way.
A2_PIECES, A2_VALUES = 8, 250
A2 = Trial(
    "A2",
    "each rule of the contract broken at every place, by fixed and by random values",
    "refused with code, reason, field, rule and a sentence; no row of the database has changed",
    run_a2,
    Size(1, orders=0, faults=10),
    Size(A2_PIECES, orders=A2_VALUES),
    {"rules, added over the pieces": A2_PIECES * len(declared_rules())},
)
A5 = Trial(
    "A5",
    "too many bytes, items and headers, gzip bombs",
    "each is refused by code; the hub's memory peaks < 50 MiB higher",
    run_a5,
    Size(1, faults=1),
    Size(1, faults=5),
    {"attacks": 50},
    baseline=naive_a5,
    baseline_size=Size(1, faults=5),
)
