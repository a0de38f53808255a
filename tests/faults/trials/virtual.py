"""G12, G16, G29 and G30: the hub's real decisions on virtual time and beside a model, by seeds."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import invariant, run_state_machine_as_test
from ledger_beside import STEPS, Beside
from picking_beside import PickingBeside
from simulation.faults import CLASSES, Faults, drawn
from simulation.outage import Outage
from simulation.quiet import quiet
from simulation.world import Run, World

from tests.faults.trials.trial import SHOWN_VIOLATIONS, Piece, Result, Size, Trial

FIRST_SEED = 1_001
# As many keys as the table asks for: 5,000 of 100,000 events.
EVENTS_A_KEY = 20
DRAIN_SHARE_MIN = 0.8
ATTEMPTS_MAX = 1.2
CLOCK_STEPS = (300.0, -300.0, 3_600.0, -3_600.0, -90_000.0)
COPIES = 3
# What the pieces of G12 are about in turn: calls that are refused, or that nobody answers.
SILENT_AS = ("", "SEARCHABLE", "NATURAL")
# What the oracle says -> as what the table counts it; the rest fails the piece all the same.
COUNTED_AS = {
    "lost": "lost",
    "doubled": "doubled",
    "blind": "doubled",
    "order": "reordered",
    "regressed": "regressed",
}


def _verdict(violations: list[str]) -> dict[str, int]:
    found = Counter(COUNTED_AS.get(text.partition(":")[0], "") for text in violations)
    return {name: found[name] for name in COUNTED_AS.values()}


def _first(piece: Piece) -> int:
    """The first simulated seed of a piece: pieces follow each other without a gap."""
    return (piece.seed - FIRST_SEED) * piece.size.orders


def _told(runs: list[Run], counts: dict[str, int], broken: list[str]) -> Result:
    violations = [f"seed {run.seed}: {text}" for run in runs for text in run.violations]
    verdict = _verdict([text for run in runs for text in run.violations])
    return Result(counts, verdict, {}, violations[:SHOWN_VIOLATIONS], broken)


async def run_g29(piece: Piece) -> Result:
    """Each seed draws a mix of faults and plays it to its end."""
    first = _first(piece)
    with quiet():
        runs = [World(n, drawn(n)).run() for n in range(first, first + piece.size.orders)]
        again = World(first, drawn(first)).run()
    states = {state for run in runs for state in run.states}
    broken = [] if again.digest == runs[0].digest else [f"seed {first} does not replay"]
    if not {"CONFIRMED", "REJECTED", "PARKED"} <= states:
        broken.append("the runs are too tame: nothing was proved")
    counts = {
        "seeds": len(runs),
        "deliveries": sum(sum(run.states.values()) for run in runs),
        "attempts": sum(run.attempts for run in runs),
        "effects": sum(run.effects for run in runs),
        "simulated hours": int(sum(run.seconds for run in runs) / 3600),
    }
    return _told(runs, counts, broken)


async def run_g16(piece: Piece) -> Result:
    """The same seeds with a right clock and with each step of it."""
    first = _first(piece)
    right, stepped = 0, []
    with quiet():
        for n in range(first, first + piece.size.orders):
            faults = replace(drawn(n), clock_steps=(), hub_crashes=1 + n % 3, outages=())
            right += World(n, faults).run().attempts
            stepped += [
                World(n, replace(faults, clock_steps=(step,))).run() for step in CLOCK_STEPS
            ]
    wrong = sum(run.attempts for run in stepped)
    share = wrong / (right * len(CLOCK_STEPS))
    broken = [f"{share:.2f} x as many attempts"] if share > ATTEMPTS_MAX else []
    counts = {"clock steps": len(stepped), "attempts": wrong}
    told = _told(stepped, counts, broken)
    return replace(told, measured={"attempts, as a share of those with a right clock": [share]})


async def run_g12(piece: Piece) -> Result:
    """A day without the ERP: what came meanwhile is done in its order, and nothing is parked."""
    events = piece.size.orders
    silent_as = SILENT_AS[(piece.seed - FIRST_SEED) % len(SILENT_AS)]
    with quiet():
        found = Outage(piece.seed, events, events // EVENTS_A_KEY, silent_as).measure()
    broken = []
    if found.effects != found.events:
        broken.append(f"{found.effects} effects of {found.events} events")
    if found.parked:
        broken.append(f"{found.parked} are parked")
    share = found.drain / found.steady
    if share < DRAIN_SHARE_MIN:
        broken.append(f"drains at {share:.2f} of the steady rate")
    counts = {
        "events": found.events,
        "effects": found.effects,
        "parked": found.parked,
        "calls in the outage": found.attempts_in_outage,
    }
    measured = {
        "rate of the drain, as a share of the steady one": [share],
        "virtual s from the vendor being back to the first effect": [found.resumed_after_seconds],
    }
    shown = found.violations[:SHOWN_VIOLATIONS]
    return Result(counts, _verdict(found.violations), measured, shown, broken)


def shuffled(piece: Piece, histories: int) -> list[Run]:
    """Histories in which each dispatch comes three times, over up to 90 seconds, in any order."""
    first = (piece.seed - FIRST_SEED) * histories
    runs = []
    with quiet():
        for n in range(first, first + histories):
            kind, late = CLASSES[n % len(CLASSES)], (0.5, 20.0, 90.0)[n % 3]
            faults = Faults(operation_class=kind, copies=COPIES, late_seconds=late)
            runs.append(World(n, faults).run())
    return runs


async def run_g30(piece: Piece) -> Result:
    """Histories that Hypothesis draws, each step of them taken by the hub's decisions and by a
    model: as many of the ledger as of the choice of what goes out."""
    done: Counter[str] = Counter()
    broken = [
        *_differences(Beside, "steps", piece, done),
        *_differences(PickingBeside, "picking steps", piece, done),
    ]
    return Result({**done, "histories": 2 * piece.size.orders}, broken=broken)


def _differences(machine: Any, counted: str, piece: Piece, done: Counter[str]) -> list[str]:
    """Where a decision and its model part, if they do; the steps go under `counted`."""

    class Counted(machine):  # type: ignore[misc]
        @invariant()
        def one_more(self) -> None:
            done[counted] += 1

    told = settings(
        max_examples=piece.size.orders,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        print_blob=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    drawn_from: Any = seed(piece.seed)(Counted)
    try:
        run_state_machine_as_test(drawn_from, settings=told)
    except AssertionError as error:
        notes = "\n".join(getattr(error, "__notes__", ()))
        return [f"{machine.__name__} and its model differ: {error}\n{notes}"]
    return []


G12 = Trial(
    "G12",
    "24 hours without the ERP, in virtual time; 5,000 keys; refused, or silent in two classes",
    "0 lost, 0 doubled, 0 reordered, 0 parked; drains at >= 80 % of the steady rate",
    run_g12,
    Size(3, orders=4_000),
    Size(3, orders=100_000),
    {"events": 300_000},
)
G16 = Trial(
    "G16",
    "the hub's clock is set by 5 minutes, an hour, a day, also across its restarts (virtual time)",
    "0 lost, 0 doubled, leases exclusive; attempts <= 1.2 x those with a right clock",
    run_g16,
    Size(1, orders=20),
    Size(2, orders=200),
    {"clock steps": 2_000},
)
G29 = Trial(
    "G29",
    "simulation: lost, doubled, late messages, crashes, late effects, outages, clock steps, drawn",
    "0 lost, 0 doubled, 0 reordered, no repeat without two settled look-ups; a seed replays",
    run_g29,
    Size(1, orders=300),
    Size(10, orders=1_000),
    {"seeds": 10_000},
)
G30 = Trial(
    "G30",
    "the ledger, and the choice of what goes out, beside models written from their rules",
    "no difference in any state, token, dispatch or call",
    run_g30,
    Size(1, orders=50),
    Size(7, orders=250),
    {"steps": 50_000, "picking steps": 50_000},
)
