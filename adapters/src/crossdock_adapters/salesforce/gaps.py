"""What has to be read again because events are missing: kept by the hub until it is done.

Reading again may take hours where much changed, longer than any run of the poll and perhaps than
this process lives. So the window of time that is open is the hub's to remember, and shrinks while
it is read: nothing is read twice for a restart, and the places of the topics move on meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from crossdock_adapters.salesforce import translate, translate_events
from crossdock_adapters.salesforce.client import SalesforceClient
from crossdock_adapters.salesforce.translate_events import Window
from crossdock_adapters.sdk.cursors import Cursors

# So many records are told between two words to the hub of how far it is.
STEP: Final = 100


class Gaps:
    """The window of one org's changes that has to be read again, if there is one."""

    def __init__(self, cursors: Cursors, vendor: SalesforceClient) -> None:
        self._cursors = cursors
        self._vendor = vendor
        self._name = translate_events.gap_name(vendor.organization)
        # Topics find their gaps at the same time, and each widens the same window.
        self._turn = asyncio.Lock()

    async def widen(self, since: datetime, overlap: timedelta) -> None:
        """Everything that changed from then until now has to be read again; durable on return.

        overlap: how much more at both ends, for clocks that differ.
        """
        async with self._turn:
            raw, version = await self._cursors.get_cursor(self._name)
            wanted = Window(since - overlap, datetime.now(UTC) + overlap)
            await self._put(wanted.and_(translate_events.window_of(raw)), version)

    async def close(self, tell: Callable[[str], Awaitable[None]], seconds: float) -> int | None:
        """Tell what is in the window, oldest change first, for so long. How many records are told
        once nothing is left; None: something is, or there was no window."""
        raw, version = await self._cursors.get_cursor(self._name)
        window = translate_events.window_of(raw)
        if window is None:
            return None
        until = time.monotonic() + seconds
        told, kept = 0, 0
        given = (translate.told_time(each) for each in (window.since, window.until))
        async for page in self._vendor.changed(*given):
            for order_id, changed in page:
                moment, late = _moment(changed), time.monotonic() > until
                if moment is not None and moment < window.since:
                    # Told before: a query's times are of whole seconds.
                    continue
                # Between two moments only: of records with one moment the order says nothing.
                pauses = told and (late or told - kept >= STEP)
                if pauses and moment is not None and moment > window.since:
                    window, kept = Window(moment, window.until), told
                    version = await self._put(window, version)
                    if late:
                        return None
                await tell(order_id)
                told += 1
        await self._put(None, version)
        return told

    async def _put(self, window: Window | None, version: int) -> int:
        value = translate_events.window_bytes(window)
        return await self._cursors.put_cursor(self._name, value, version)


def _moment(text: str) -> datetime | None:
    """None: it is none. Such a record is told, and moves the window nowhere."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
