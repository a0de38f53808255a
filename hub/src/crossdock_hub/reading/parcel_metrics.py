"""Gauge of the parcels that nobody asks about any more: counted seldom, told to each scrape."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from prometheus_client.core import GaugeMetricFamily

from crossdock_hub.config import SECOND, Limits
from crossdock_hub.objects.parcel_news import heard_since
from crossdock_hub.reading.endpoint_metrics import read_on

# Silent labels by carrier code; since when one of them would be heard of (microseconds UTC), and
# how many labels are looked at.
Count = Callable[[int, int], Awaitable[Mapping[str, int]]]


class SilentParcels:
    """How many parcels are silent, by carrier, kept for `silent_count_seconds`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        count: Count,
        clock: Callable[[], int],
        limits: Limits,
    ) -> None:
        self.loop = loop
        self._count = count
        self._clock = clock
        self._limits = limits
        self._one_at_a_time = asyncio.Lock()
        self._counted_at: int | None = None
        self._found: Mapping[str, int] = {}

    async def by_carrier(self) -> Mapping[str, int]:
        """The last count, or a new one if that is old. What could not be counted counts as counted
        nothing until then, so that a slow database is not asked at each scrape. StoreFailure."""
        async with self._one_at_a_time:
            now, limits = self._clock(), self._limits
            keeps = int(limits.silent_count_seconds * SECOND)
            # The clock may have been set.
            if self._counted_at is None or not 0 <= now - self._counted_at < keeps:
                self._counted_at, self._found = now, {}
                since = heard_since(now, limits)
                self._found = await self._count(since, limits.silent_count_labels_max)
            return self._found


def gauge(silent: SilentParcels | None) -> GaugeMetricFamily:
    """The gauge; its name without values where nobody counts, or the store does not answer."""
    family = GaugeMetricFamily(
        "crossdock_silent_parcels",
        "Parcels of packages of which nothing was heard for so long that nobody asks any more.",
        labels=["carrier"],
    )
    found = None if silent is None else read_on(silent.loop, silent.by_carrier())
    for carrier_code, count in sorted((found or {}).items()):
        family.add_metric([carrier_code], count)
    return family
