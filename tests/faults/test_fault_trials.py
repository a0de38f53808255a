"""The fault tests over real processes, each in its smallest size; `make faults` runs more."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.faults.history.records import Attempt
from tests.faults.trials.catalogue import TRIALS
from tests.faults.trials.redelivery import LEASE_MICROSECONDS, begun_by_copies
from tests.faults.trials.trial import Piece, Result, Size

SEED = 501
# G1 in this size is the recorded run of the history checker's tests, G23 test_adapter_stopped.py.
SMALLEST = {
    "G4": Size(1, orders=30, faults=2),
    "G5": Size(1, orders=24, faults=1),
    "G6": Size(1, faults=2),
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
