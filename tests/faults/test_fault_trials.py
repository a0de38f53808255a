"""The fault tests over real processes, each in its smallest size; `make faults` runs more."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.faults.trials.catalogue import TRIALS
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
