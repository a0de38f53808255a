"""What a case of the bench measures: a figure and its floor, taken in turns in the same run."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Options:
    """How much a run measures.

    repetitions: of each side, in turns. seconds: of one, where timed. scale: of what is counted.
    sustained_seconds: how long something is kept up.
    """

    repetitions: int = 5
    seconds: float = 2.0
    scale: float = 1.0
    sustained_seconds: float = 120.0

    def count(self, full: int) -> int:
        """A number of things to do, less in a quick run."""
        return max(1, round(full * self.scale))


QUICK = Options(repetitions=3, seconds=1.0, scale=0.3, sustained_seconds=15.0)
SOAK = Options(sustained_seconds=600.0)


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the report.

    samples: one value a repetition. floor: the same of the least that any program must do; empty
    where there is none. target: of the ratio, or of the figure itself where there is no floor.
    at_most: whether less is better. beside: told for comparison, and not aimed at.
    """

    case: str
    name: str
    unit: str
    samples: Sequence[float]
    floor_name: str = ""
    floor: Sequence[float] = field(default_factory=tuple)
    target: float | None = None
    at_most: bool = False

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def floor_median(self) -> float | None:
        return statistics.median(self.floor) if self.floor else None

    @property
    def ratio(self) -> float | None:
        """Of the medians."""
        return self.median / self.floor_median if self.floor_median else None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None: there is none."""
        if self.target is None:
            return None
        reached = self.median if self.ratio is None else self.ratio
        return reached <= self.target if self.at_most else reached >= self.target

    def document(self) -> dict[str, Any]:
        """As it stands in the report's file."""
        return {
            "case": self.case,
            "name": self.name,
            "unit": self.unit,
            "figure": self.median,
            "spread": [min(self.samples), max(self.samples)],
            "floor_name": self.floor_name,
            "floor": self.floor_median,
            "floor_spread": [min(self.floor), max(self.floor)] if self.floor else None,
            "ratio": self.ratio,
            "target": self.target,
            "met": self.met,
        }

    def line(self) -> str:
        """As it stands in the table of the terminal."""
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        aim = "" if self.target is None else f"{'<=' if self.at_most else '>='} {self.target:g}"
        word = {None: "", True: "met", False: "MISSED"}[self.met]
        floor = f"{self.floor_name}: {_spread(self.floor)}" if self.floor else ""
        return (
            f"{self.name:<34} {_spread(self.samples):>26} {self.unit:<9} {ratio:>6}"
            f" {aim:>7} {word:<6} {floor}"
        )


HEADING = (
    f"{'figure: median (min-max)':<34} {'':>26} {'':<9} {'ratio':>6} {'target':>7}        floor"
)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of them is below; 0.5: the one in the middle."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def machine() -> dict[str, Any]:
    """What the figures were taken on, without its name."""
    return {
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_average": os.getloadavg()[0],
    }


def _spread(samples: Sequence[float]) -> str:
    digits = 1 if statistics.median(samples) < 100 else 0
    low, high = min(samples), max(samples)
    return f"{statistics.median(samples):,.{digits}f} ({low:,.{digits}f}-{high:,.{digits}f})"
