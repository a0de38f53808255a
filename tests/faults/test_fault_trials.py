"""The fault tests over real processes, each in its smallest size; `make faults` runs more."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.history.records import (
    OK,
    Attempt,
    Delivery,
    Event,
    History,
    Rpc,
    Run,
    VendorCall,
)
from tests.faults.trials.catalogue import TRIALS
from tests.faults.trials.disks import told_otherwise
from tests.faults.trials.kill_rounds import OVER_THE_NEW_BUS
from tests.faults.trials.neighbours import parked_after
from tests.faults.trials.put_back import Window, by_the_books
from tests.faults.trials.redelivery import LEASE_MICROSECONDS, begun_by_copies
from tests.faults.trials.trial import Piece, Result, Size
from tests.faults.trials.zombies import ZOMBIES_A_PIECE_MAX, arrived_late
from tests.faults.yard.site import LANES

SEED = 501
# G1 in this size is the recorded run of the history checker's tests, G23 test_adapter_stopped.py.
SMALLEST = {
    "G4": Size(1, orders=30, faults=2),
    "G5": Size(1, orders=24, faults=1),
    "G6": Size(1, faults=2),
    "G8": Size(1, faults=2),
    "G9": Size(1, faults=1),
    "G12": Size(1, orders=400),
    "G15": Size(1, orders=30, faults=4),
    "G16": Size(1, orders=2),
    "G26": Size(1, orders=12),
    "G29": Size(1, orders=20),
    "G30": Size(1, orders=4),
}
pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("name", SMALLEST)
def test_a_promise_is_kept_under_its_fault(name: str, tmp_path: Path) -> None:
    """Proves that the criterion of the test of this id in docs/guarantees.md holds in a small
    run, with the fault in it."""
    trial, size = TRIALS[name], SMALLEST[name]
    piece = Piece(name, SEED, size, tmp_path / name)
    result: Result = asyncio.run(trial.run(piece))
    assert [*result.violations, *result.broken] == []
    assert all(result.counts[asked] > 0 for asked in trial.asked), result.counts


@pytest.mark.parametrize(
    ("created", "before", "over"),
    [
        (100, [], False),
        (100, [(150, "RETRY")], False),
        (100, [(150, "RETRY"), (250, "UNKNOWN")], True),
        (100, [(250, "CONFIRMED")], False),
        (250, [], True),
    ],
)
def test_only_what_was_sent_after_the_kill_went_over_the_new_bus(
    created: int, before: list[tuple[int, str]], over: bool
) -> None:
    """Proves that G4 and G5 end their measure with work that was put on the bus after the kill at
    200, and not with what had been fetched, though it begins at 300, nor with late proof."""
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE deliveries (id, created_at)")
    database.execute("CREATE TABLE attempts (delivery_id, token, begun_at, ended_at, outcome)")
    database.execute("INSERT INTO deliveries VALUES ('one', ?)", (created,))
    for token, (ended, outcome) in enumerate(before, 1):
        row = ("one", token, ended - 40, ended, outcome)
        database.execute("INSERT INTO attempts VALUES (?, ?, ?, ?, ?)", row)
    database.execute("INSERT INTO attempts VALUES ('one', 9, 300, NULL, '')")
    assert database.execute(OVER_THE_NEW_BUS, (200, 200)).fetchone() == (300 if over else None,)


@pytest.mark.parametrize(
    ("later", "ended", "outcome", "copies"),
    [
        (1_000, None, "", 1),
        (LEASE_MICROSECONDS - 1, None, "", 1),
        (LEASE_MICROSECONDS, None, "", 0),
        (LEASE_MICROSECONDS, LEASE_MICROSECONDS + 5, "CONFIRMED", 0),
        (1_000, 500, "CONFIRMED", 1),
        (1_000, 500, "REJECTED", 1),
        (1_000, 500, "UNKNOWN", 0),
        (1_000, 1_500, "UNKNOWN", 1),
    ],
)
def test_what_a_copy_began_is_told_from_what_failed(
    later: int, ended: int | None, outcome: str, copies: int
) -> None:
    """Proves that an attempt counts as begun by a copy when the one before went on or was settled,
    and not when its lease had run out or its outcome was unknown; others' do not matter."""
    first = Attempt("d", 1, 1, "CALL", 0, ended, outcome)
    second = Attempt("d", 2, 2, "CALL", later, None, "")
    other = Attempt("e", 1, 1, "CALL", 10, None, "")
    assert begun_by_copies([second, other, first]) == copies


def delivery(name: str, state: str, key: str = "key", event: str = "") -> Delivery:
    """A row of the ledger of which only these matter."""
    what = ("erp-1", "create_sales_order", "NONE")
    return Delivery(name, event, *what, "", key, "1", state, "", "", "", 0, 0, ())


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([("one", "UNKNOWN", "a")], ["one is still UNKNOWN"]),
        ([("one", "HELD", "a")], ["one is still HELD"]),
        ([("one", "RESOLVING", "a")], ["one is still RESOLVING"]),
        ([("one", "PARKED", "a"), ("two", "HELD", "b")], ["two is still HELD"]),
        ([("one", "PARKED", "a"), ("two", "HELD", "a")], []),
        ([("one", "REJECTED", "a"), ("two", "HELD", "a")], []),
        ([("one", "PARKED", "a"), ("two", "UNKNOWN", "a")], ["two is still UNKNOWN"]),
        ([("one", "SKIPPED", "a")], []),
    ],
)
def test_what_stays_open_after_a_restore_fails(
    rows: list[tuple[str, str, str]], told: list[str]
) -> None:
    """Proves that G19 fails for work that is in doubt or held for ever after the database was put
    back, and not for what waits behind work that a person has to move."""
    _, found = by_the_books([delivery(*row) for row in rows], [], [], Window())
    assert found["broken"] == told


def test_a_restore_without_look_ups_proves_nothing() -> None:
    """Proves that G19 asks for what was found by look-up, and counts it by that name."""
    attempts = [
        Attempt("one", 1, 1, "LOOK_UP", 0, 5, "CONFIRMED"),
        Attempt("two", 1, 1, "LOOK_UP", 0, 5, "NOT_FOUND"),
        Attempt("two", 2, 2, "CALL", 6, 9, "CONFIRMED"),
    ]
    counts, _ = by_the_books([], attempts, [], Window())
    assert TRIALS["G19"].asked["found by look-up"] > 0 and counts["found by look-up"] == 1


@pytest.mark.parametrize(
    ("endpoint", "keys", "doubled"),
    [
        ("keyed", ["one"], []),
        ("keyed", ["one", "another"], ["d was done 2 times"]),
        ("searchable", ["one", "one"], ["one at erp-01", "d was done 2 times"]),
        ("natural", ["one", "one"], []),
    ],
)
def test_a_restore_that_repeats_is_told(endpoint: str, keys: list[str], doubled: list[str]) -> None:
    """Proves that G19 fails for a delivery that a vendor did twice, under the same key or another,
    and not for an upsert."""
    effects = [
        {"endpoint": LANES[endpoint].erp, "key": key, "delivery_id": "d", "made_at": 1,
         "subject": "o", "revision": 1}
        for key in keys
    ]  # fmt: skip
    _, found = by_the_books([], [], effects, Window())
    assert found["doubled"] == doubled


def test_the_wait_for_a_parked_order_begins_with_the_order() -> None:
    """Proves that G13 measures from the first OK of a write to the end of its last attempt, and not
    how long an attempt took, and leaves out what is not parked."""
    second = 1_000_000
    writes = [
        Rpc("oms", "ApproveOrder", "r1", 0, second, "unknown"),
        Rpc("oms", "ApproveOrder", "r1", 2 * second, 3 * second, OK),
        Rpc("oms", "ApproveOrder", "r2", 2 * second, 3 * second, OK),
        Rpc("oms", "CreateOrder", "r3", 2 * second, 3 * second, OK),
    ]
    events = [Event(n, f"e{n}", "type", f"o{n}", 1, 1, 0, f"r{n}", "") for n in (1, 2, 3)]
    rows = [delivery("one", "PARKED", event="e1"), delivery("two", "CONFIRMED", event="e2")]
    attempts = [
        Attempt("one", 1, 1, "CALL", 60 * second, 61 * second, "LEASE_EXPIRED"),
        Attempt("one", 2, 2, "CALL", 72 * second, 73 * second, "UNTRANSLATABLE"),
        Attempt("two", 1, 1, "CALL", 72 * second, 74 * second, "CONFIRMED"),
    ]
    history = History(Run("G13", 1), (*writes, *events, *rows, *attempts))
    assert parked_after(history) == [70.0]


def test_a_full_volume_is_named_and_nothing_else() -> None:
    """Proves that G11 fails for calls that began on a full volume and were refused for another
    reason, and not for those that began before or after."""
    spans = [(100, 200), (300, 400)]
    named = [(100, "STORE_FULL"), (350, "STORE_FULL")]
    outside = [(99, "DEADLINE"), (200, "HUB_UNAVAILABLE"), (400, "DEADLINE")]
    assert told_otherwise([*named, *outside], spans) == []
    others = [(100, "DEADLINE"), (399, "DEADLINE")]
    assert told_otherwise([*named, *others], spans) == [
        "2 calls on a full volume ended with DEADLINE"
    ]


def test_calls_that_arrive_after_their_lease_are_told_from_those_that_left_after_it() -> None:
    """Proves that G23 counts as zombies the calls that arrive after their lease, and neither those
    in time, nor look-ups, nor calls whose sender said no lease; one a piece is the window."""
    kept = VendorCall("erp", "CALL", "sell", "d", 1, "k", 50, 60, 201, True, 10, 50)
    late = replace(kept, start=51)
    others = [replace(late, kind="LOOK_UP"), replace(late, lease_until=0)]
    assert arrived_late([kept, late, *others]) == [late]
    assert ZOMBIES_A_PIECE_MAX == 1
