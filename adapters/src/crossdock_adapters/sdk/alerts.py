"""What somebody should know about an endpoint that serves all the same.

    poll.alerts.sound("events_lost", "events since 09:14 may be lost", seconds=3600)
    poll.alerts.lift("events_lost")

An alert is logged once, shown as a metric while it lasts, and told to the hub with each heartbeat,
which shows it with the endpoint. It stops nothing.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

from prometheus_client import Gauge

log = logging.getLogger(__name__)


class Alerts:
    """The alerts of one endpoint, by name; gauge: with the labels endpoint and alert."""

    def __init__(
        self,
        endpoint: str = "",
        gauge: Gauge | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._endpoint = endpoint
        self._gauge = gauge
        self._clock = clock
        self._sounding: dict[str, tuple[str, float]] = {}

    def sound(self, name: str, said: str, seconds: float = math.inf) -> None:
        """Say it until it is lifted, or for so long; said again, the newer words count."""
        if name not in self._sounding:
            log.error("endpoint %s: alert %s: %s", self._endpoint, name, said)
        self._sounding[name] = (said, self._clock() + seconds)
        self._show(name, 1)

    def lift(self, name: str) -> None:
        """It is over; nothing happens where it did not sound."""
        if self._sounding.pop(name, None) is not None:
            log.warning("endpoint %s: alert %s is over", self._endpoint, name)
            self._show(name, 0)

    def told(self) -> str:
        """All that sound now, in words; "": none does."""
        now = self._clock()
        for name in [name for name, (_, until) in self._sounding.items() if until <= now]:
            self.lift(name)
        return "; ".join(said for said, _ in self._sounding.values())

    def _show(self, name: str, value: int) -> None:
        if self._gauge is not None:
            self._gauge.labels(self._endpoint, name).set(value)
