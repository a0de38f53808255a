"""What goes wrong in a simulated run, and how often: all of it decided by the seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

CLASSES = ("SEARCHABLE", "KEYED", "TWO_STEP", "NONE", "NATURAL")


@dataclass(frozen=True, slots=True)
class Faults:
    """Chances from 0 to 1, and times in seconds.

    lost, doubled, late_seconds: of a dispatch on the bus, and how late. request_lost, answer_lost:
    of a call to the hub; hub_seconds: how late it may come on either way; hub_faults: of an item
    that the hub answers with a fault of its own. vendor_*: what the vendor does instead of
    answering: be silent or break off with the effect made or not, be unreachable, refuse.
    late_effect_seconds: how long after its end a call that was not answered may still take effect;
    less than the settle time, as an operation declares it. adapter_crashes, adapter_stops,
    hub_crashes: how many in the run; a stop lets calls end. paused, pause_seconds: of a whole
    process, before it reads the answer to a begin and while it connects to the vendor. clock_steps:
    seconds by which the hub's wall clock is set, in turn. outages: (start, end) during which the
    vendor can't be reached; silent_outages: its calls are not answered then, so that nobody knows,
    instead of being refused.
    """

    operation_class: str = "SEARCHABLE"
    keys: int = 4
    events_per_key: int = 3
    spread_seconds: float = 60.0
    lost: float = 0.0
    doubled: float = 0.0
    copies: int = 1
    late_seconds: float = 0.05
    request_lost: float = 0.0
    answer_lost: float = 0.0
    vendor_lost_done: float = 0.0
    vendor_lost_undone: float = 0.0
    vendor_away: float = 0.0
    vendor_refuses: float = 0.0
    late_effect_seconds: float = 0.0
    adapter_crashes: int = 0
    adapter_stops: int = 0
    hub_crashes: int = 0
    hub_seconds: float = 0.0
    hub_faults: float = 0.0
    paused: float = 0.0
    pause_seconds: float = 0.0
    clock_steps: tuple[float, ...] = ()
    outages: tuple[tuple[float, float], ...] = ()
    silent_outages: bool = False
    quiet_after_seconds: float = 400.0


def drawn(seed: int) -> Faults:
    """A mix of faults; most runs have some of each, some have few of much."""
    chance = random.Random(f"faults/{seed}")

    def some(most: float) -> float:
        return chance.choice((0.0, most / 4, most)) * chance.random()

    start = chance.uniform(0, 60)
    return Faults(
        operation_class=chance.choice(CLASSES),
        keys=chance.choice((1, 3, 5)),
        events_per_key=chance.choice((1, 3, 5)),
        lost=some(0.3),
        doubled=some(0.4),
        late_seconds=chance.choice((0.05, 2.0, 45.0)),
        request_lost=some(0.2),
        answer_lost=some(0.2),
        vendor_lost_done=some(0.3),
        vendor_lost_undone=some(0.3),
        vendor_away=some(0.3),
        vendor_refuses=some(0.1),
        late_effect_seconds=chance.choice((0.0, 1.0, 4.0)),
        adapter_crashes=chance.choice((0, 1, 6)),
        hub_crashes=chance.choice((0, 1, 4)),
        paused=some(0.2),
        pause_seconds=chance.choice((1.0, 30.0, 120.0)),
        clock_steps=chance.choice(((), (), (300.0, -300.0), (-3600.0,), (3600.0, -7200.0))),
        outages=chance.choice(((), ((start, start + 90.0),))),
        silent_outages=chance.choice((False, True)),
        adapter_stops=chance.choice((0, 0, 2)),
        hub_seconds=chance.choice((0.0, 0.05, 2.0, 7.0)),
        hub_faults=some(0.2),
    )
