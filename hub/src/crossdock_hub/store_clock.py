"""The clock of everything the hub stores and times: it never jumps and never goes back.

Leases, retries and settle times are promises about how long something lasts. A wall clock that is
set forward an hour would end every lease at once, one that is set back would stop time. So this
clock starts at the wall's time, but not before what is stored already, and goes on with the
machine's monotonic clock. Where the wall differs afterwards, it is followed slowly: by at most
`slew` of the time that passes, which is far less than the margin between a lease and its call.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from crossdock_hub.config import SECOND, Limits

log = structlog.get_logger("crossdock.clock")


def wall_microseconds() -> int:
    """The machine's idea of the time, UTC."""
    return time.time_ns() // 1000


class StoreClock:
    """Microseconds since the epoch, UTC. Call it; later calls never answer less."""

    def __init__(
        self,
        limits: Limits,
        newest: int = 0,
        wall: Callable[[], int] = wall_microseconds,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """newest: the latest time that is stored; the clock starts after it."""
        self._limits = limits
        self._wall = wall
        self._monotonic = monotonic
        self._at = monotonic()
        self._now = max(wall(), newest)
        self._told = False

    def __call__(self) -> int:
        passed = int((self._monotonic() - self._at) * SECOND)
        if passed > 0:
            self._at += passed / SECOND
            most = int(passed * self._limits.clock_slew)
            off = self.offset_microseconds() - passed
            self._now += passed + max(-most, min(most, off))
            self._tell(off - max(-most, min(most, off)))
        return self._now

    def not_before(self, newest: int) -> None:
        """Go on from a later time that was stored meanwhile, by another hub on the database."""
        self._now = max(self(), newest)

    def offset_microseconds(self) -> int:
        """How far the wall is ahead of this clock; negative: behind it."""
        return self._wall() - self._now

    def _tell(self, off: int) -> None:
        """Say it once when the wall was set, once when it is caught up with."""
        limit = int(self._limits.clock_step_seconds * SECOND)
        if abs(off) > limit and not self._told:
            self._told = True
            log.warning(
                "the machine's clock was set; stored times follow slowly, leases keep their length",
                ahead_seconds=round(off / SECOND, 1),
            )
        elif self._told and abs(off) <= limit // 2:
            self._told = False
            log.info("stored times agree with the machine's clock again")
