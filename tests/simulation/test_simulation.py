"""G29, G12, G15, G16: the hub's decisions with adapters and a vendor on virtual time, by seeds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from crossdock_adapters.sdk.attempts import Attempt, Attempts
from crossdock_hub.config import Limits
from simulation import hub
from simulation.faults import CLASSES, Faults, drawn
from simulation.outage import Outage
from simulation.quiet import quiet
from simulation.world import Run, World

SEEDS = 200
SHUFFLED_HISTORIES = 100
OUTAGE_EVENTS, OUTAGE_KEYS = 2_000, 100
REPLAYS = 10


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Thousands of simulated processes come and go; each would say so."""
    with quiet():
        yield


def played(seed: int, faults: Faults | None = None, limits: Limits | None = None) -> Run:
    return World(seed, faults or drawn(seed), limits).run()


def failures(runs: list[Run]) -> list[str]:
    return [f"seed {run.seed}: {text}" for run in runs for text in run.violations]


def test_no_mix_of_faults_loses_doubles_reorders_or_repeats_blindly() -> None:
    """Proves on 200 seeds of lost, doubled and late messages, crashes, late effects, outages and
    clock steps that the vendor's books hold each effect once and in order, that nothing is lost,
    no class NONE is called twice, no two calls overlap, and only doubt parks."""
    runs = [played(seed) for seed in range(SEEDS)]
    assert not failures(runs), "\n".join(failures(runs)[:10])
    states = {state for run in runs for state in run.states}
    assert {"CONFIRMED", "REJECTED", "PARKED", "HELD"} <= states, "the runs are too tame"
    assert sum(run.attempts for run in runs) > 1.2 * sum(run.effects for run in runs)


def test_a_draft_that_only_its_adapter_knows_is_doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that the runs reach what two steps are for: all of them are clean as they are, and an
    adapter that confirmed its draft without the hub's word would make some things twice."""
    rough = [
        replace(drawn(seed), operation_class="TWO_STEP", vendor_lost_done=0.3) for seed in range(40)
    ]
    kept = [played(seed, faults) for seed, faults in enumerate(rough)]
    assert not failures(kept), "\n".join(failures(kept)[:10])

    async def unheard(self: Attempts, attempt: Attempt, draft: str) -> None:
        attempt.draft = draft

    monkeypatch.setattr(Attempts, "note_draft", unheard)
    found = failures([played(seed, faults) for seed, faults in enumerate(rough)])
    assert any("doubled" in text for text in found)


def test_an_older_state_comes_before_what_is_newer() -> None:
    """Proves that the runs reach what settling is for: full states whose calls take effect late are
    clean as they are, and with a settle time that is shorter than the vendor's an older state is
    written over a newer one."""
    rough = [
        replace(
            drawn(seed),
            operation_class="NATURAL",
            events_per_key=5,
            vendor_lost_done=0.4,
            late_effect_seconds=40.0,
        )
        for seed in range(40)
    ]
    settled = replace(Limits(), settle_seconds_default=60.0)
    kept = [played(seed, faults, settled) for seed, faults in enumerate(rough)]
    assert not failures(kept), "\n".join(failures(kept)[:10])
    hasty = replace(Limits(), settle_seconds_default=5.0)
    found = failures([played(seed, faults, hasty) for seed, faults in enumerate(rough)])
    assert any("regressed" in text for text in found)


def test_a_seed_replays_identically() -> None:
    """Proves that a run is its seed: ten replays of a rough one agree in every effect and time."""
    assert len({played(9).digest for _ in range(REPLAYS)}) == 1
    assert played(9).digest != played(10).digest


def test_three_copies_in_any_order_are_one() -> None:
    """Proves G15: each dispatch three times, shuffled over 90 seconds, ends as delivered once."""
    runs = []
    for seed in range(SHUFFLED_HISTORIES):
        faults = Faults(
            operation_class=CLASSES[seed % len(CLASSES)],
            copies=3,
            late_seconds=(0.5, 20.0, 90.0)[seed % 3],
        )
        runs.append(played(seed, faults))
    assert not failures(runs), "\n".join(failures(runs)[:10])
    assert all(run.states == {"CONFIRMED": 12} and run.effects == 12 for run in runs)


@pytest.mark.parametrize("step", [300.0, -300.0, 3600.0, -3600.0, -90_000.0])
def test_a_clock_that_is_set_changes_nothing(step: float) -> None:
    """Proves G16: however the hub's clock is set, also across restarts, leases stay exclusive,
    nothing is doubled, and at most a fifth more attempts are made than with a right clock."""
    right = wrong = 0
    for seed in range(20):
        faults = replace(drawn(seed), clock_steps=(), hub_crashes=1 + seed % 3, outages=())
        right += played(seed, faults).attempts
        run = played(seed, replace(faults, clock_steps=(step,)))
        assert not run.violations, (seed, run.violations)
        wrong += run.attempts
    assert wrong <= 1.2 * right, (wrong, right)


@pytest.mark.parametrize("seed", [597, 2704])
def test_leases_outlast_a_restart_with_a_clock_set_forward(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a hub which restarts after its clock was set forward leaves a call that runs what
    was left of its lease; with the grace alone, the same seed has two calls at a time."""
    assert not played(seed).violations
    restarted = hub._restarted
    monkeypatch.setattr(
        hub, "_restarted", lambda record, now, until, away: restarted(record, now, until, 0)
    )
    found = failures([played(seed)])
    assert any("twice at the same time" in text for text in found), "find another such seed"


def test_a_call_ends_within_the_lease_of_a_process_that_is_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proves that processes which are stopped for up to a whole lease, in any step, have no two
    calls at a time; where nobody asks for more of a lease before a call, some of them have."""

    def paused(seed: int) -> Run:
        rough = Faults(
            operation_class=CLASSES[seed % len(CLASSES)],
            paused=0.5,
            pause_seconds=40.0,
            vendor_lost_undone=0.3,
        )
        return played(seed, rough)

    kept = [paused(seed) for seed in range(20)]
    assert not failures(kept), "\n".join(failures(kept)[:10])

    async def unasked(self: Attempts, attempt: Attempt) -> bool:
        return True

    monkeypatch.setattr(Attempts, "renew", unasked)
    # One run in some thirty stops between the begin and the call for as long as it takes.
    found = (text for seed in range(SEEDS) for text in failures([paused(seed)]))
    assert any("twice at the same time" in text for text in found)


@pytest.mark.parametrize("silent_as", ["", "SEARCHABLE", "NATURAL"])
def test_a_day_without_the_vendor_drains_in_order(silent_as: str) -> None:
    """Proves G12: after 24 hours of calls that are refused, or not answered, nothing is lost,
    doubled, out of order or parked, few calls were wasted, and the backlog drains at four fifths
    of the steady rate at least."""
    found = Outage(1, OUTAGE_EVENTS, OUTAGE_KEYS, silent_as).measure()
    assert found.violations == [] and found.parked == 0, found.document()
    assert found.effects == found.events == OUTAGE_EVENTS
    assert found.drain >= 0.8 * found.steady, found.document()
    assert found.resumed_after_seconds < 1.2 * Limits().breaker_probe_seconds_max
    # The breaker asks at most every 24 seconds or so; without it each key would ask for itself.
    assert found.attempts_in_outage < 4_000, found.document()


# The oracle would notice


def test_the_oracle_notices() -> None:
    """Proves that a hub which waits too short before it believes "not found" is caught doubling."""
    hasty = Limits(not_found_needed=1, settle_seconds_default=0.001)
    found = []
    for seed in range(60):
        faults = Faults(vendor_lost_done=0.5, late_effect_seconds=4.0, spread_seconds=20.0)
        found += played(seed, faults, hasty).violations
    assert any(text.startswith("doubled") for text in found), found[:5]


@pytest.mark.parametrize(
    "hasty",
    [Limits(not_found_needed=1), Limits(settle_seconds_default=0.5)],
    ids=["one look-up", "look-ups at once"],
)
def test_the_oracle_notices_a_blind_repeat_that_does_no_harm(hasty: Limits) -> None:
    """Proves that a call which was never done and is repeated after one look-up, or after two that
    came too early, is caught though nothing is doubled; with the usual limits the same is clean."""
    faults = Faults(vendor_lost_undone=0.5)
    kept = [played(seed, faults) for seed in range(5)]
    assert not failures(kept) and sum(run.attempts for run in kept) > 100
    found = [text for seed in range(5) for text in played(seed, faults, hasty).violations]
    assert found and all(text.startswith("blind") for text in found), found[:5]
