"""What every simulated carrier has: places with their clocks, people who sign, pace, an agenda."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Place:
    """Where scans happen; the offset is what the simulator writes beside local times."""

    city: str
    state: str
    postal_code: str
    country: str
    offset_minutes: int


STATE_OFFSETS = {
    "AZ": -420, "CA": -480, "CO": -420, "CT": -300, "FL": -300, "GA": -300, "ID": -420,
    "IL": -360, "IN": -300, "KS": -360, "KY": -300, "LA": -360, "MA": -300, "MD": -300,
    "MI": -300, "MN": -360, "MO": -360, "NC": -300, "NJ": -300, "NM": -420, "NV": -480,
    "NY": -300, "OH": -300, "OK": -360, "OR": -480, "PA": -300, "SC": -300, "TN": -360,
    "TX": -360, "UT": -420, "VA": -300, "WA": -480, "WI": -360,
}  # fmt: skip
DEFAULT_OFFSET = -300
RECEIVERS = ("RIVERA", "OKAFOR", "LINDQVIST", "TANAKA", "MARCHETTI", "FRONT DESK", "DOCK 4")


def place_of(city: str, state: str, postal_code: str, country: str) -> Place:
    """A place with the standard-time offset of its state (the simulator knows no summer time)."""
    return Place(city, state, postal_code, country, STATE_OFFSETS.get(state, DEFAULT_OFFSET))


@dataclass(frozen=True, slots=True)
class Pace:
    """When parcels move, and how soon what was sold can be found; all in seconds.

    `auto_handover_seconds` None waits for the command `handover`.
    """

    auto_handover_seconds: float | None = None
    scan_interval_seconds: float = 1.0
    visible_after_seconds: float = 0.0

    @classmethod
    def of(cls, settings: Mapping[str, Any], visible_after: str = "") -> Pace:
        """By the settings of these names; visible_after: what this carrier calls the last one."""
        auto = settings.get("auto_handover_seconds")
        return cls(
            None if auto is None else float(auto),
            float(settings.get("scan_interval_seconds", 1.0)),
            float(settings.get(visible_after, 0.0)),
        )


class Agenda:
    """Which parcel to look at when."""

    def __init__(self) -> None:
        self._entries: list[tuple[datetime, int, str]] = []
        self._written = 0

    def note(self, number: str, at: datetime) -> None:
        """Look at this parcel at that time."""
        self._written += 1
        heapq.heappush(self._entries, (at, self._written, number))

    def due(self, now: datetime) -> Iterator[tuple[datetime, str]]:
        """What is due by now, in order of time; what is noted meanwhile counts too."""
        while self._entries and self._entries[0][0] <= now:
            at, _, number = heapq.heappop(self._entries)
            yield at, number
