"""Callers whose call has come and who are not in line yet.

Between the two lie some turns of the event loop and of grpc's own thread. Bulk that is taken
meanwhile goes first although it came later, and such a caller waits for all of it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Arrivals:
    """How many of them there are; whoever is about to take bulk waits for them."""

    def __init__(self) -> None:
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()

    def come(self) -> None:
        """The call of a caller is known; what it says is not."""
        self._count += 1
        self._none.clear()

    def heard(self) -> None:
        """One is with its handler, which puts it in line before anything else has a turn."""
        self._count = max(0, self._count - 1)
        if not self._count:
            self._none.set()

    async def all_heard(self, seconds: float) -> None:
        """Wait until nobody is on the way, so long at most.

        Who is not heard by then may never be, as when a caller gives up: nobody waits for it again.
        """
        # What has come by now, and was not looked at while somebody else had the event loop.
        await asyncio.sleep(0)
        if not self._count:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._none.wait()
                return
        self._count = 0
        self._none.set()
