"""What a fault test is: pieces with a seed each, what they have to count, when they pass."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.history.checker import check, counted
from tests.faults.history.records import History

SHOWN_VIOLATIONS = 20
BASELINE_PARTS = 4


@dataclass(frozen=True, slots=True)
class Size:
    """How much of a test is run: so many pieces, each with so many of everything."""

    pieces: int
    orders: int = 0
    faults: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of a test: its seed decides the load, the faults and what strikes the vendor."""

    trial: str
    seed: int
    size: Size
    directory: Path


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a piece.

    counts: what was done, added up over pieces. measured: figures, of which the report shows the
    range. broken: sentences about criteria that were not met, apart from the history's violations.
    """

    counts: Mapping[str, int]
    verdict: Mapping[str, int] = field(default_factory=dict)
    measured: Mapping[str, Sequence[float]] = field(default_factory=dict)
    violations: Sequence[str] = ()
    broken: Sequence[str] = ()

    @property
    def passed(self) -> bool:
        return not self.violations and not self.broken


Run = Callable[[Piece], Coroutine[Any, Any, Result]]


@dataclass(frozen=True, slots=True)
class Trial:
    """A row of the table. asked: the counts that the whole of `full` has to reach.

    bounds: figure -> what its 99th percentile may be; beyond it the report says so, and the test
    still counts as kept: seconds depend on the machine, promises do not. floors: the same for what
    a figure has to reach at its median. alone: it compares seconds, so nothing runs beside it.
    baseline: the same faults against what is usually built instead; None: there is nothing to run.
    """

    id: str
    title: str
    criterion: str
    run: Run
    quick: Size
    full: Size
    asked: Mapping[str, int]
    bounds: Mapping[str, float] = field(default_factory=dict)
    floors: Mapping[str, float] = field(default_factory=dict)
    alone: bool = False
    baseline: Run | None = None
    baseline_size: Size = Size(1)

    @property
    def words(self) -> tuple[str, str]:
        """What is done, and what it is judged by."""
        return self.title, self.criterion

    @property
    def quick_baseline_size(self) -> Size:
        """The baseline beside the reduced counts: enough to show what it loses, and no longer."""
        whole = self.baseline_size
        return Size(whole.pieces, _part(whole.orders), _part(whole.faults))


def _part(count: int) -> int:
    return -(-count // BASELINE_PARTS)


def judged(
    history: History,
    path: Path,
    counts: Mapping[str, int],
    measured: Mapping[str, Sequence[float]] | None = None,
    broken: Sequence[str] = (),
) -> Result:
    """Write a history beside the piece's other files, and check it."""
    history.write(path)
    found = check(history)
    shown = [str(violation) for violation in found[:SHOWN_VIOLATIONS]]
    return Result(counts, counted(found), measured or {}, shown, broken)
