"""Looks at the database every so often, and at once when it is told to; says in the log, once, when
the database stops answering, and once when it answers again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog
from crossdock.ending import end_tasks

from crossdock_hub.keeping import keep
from crossdock_hub.store import StoreFailure

log = structlog.get_logger("crossdock.leading")


class Looking:
    """A loop around `look`, which may raise StoreFailure. away, back: what the log says."""

    def __init__(
        self,
        name: str,
        look: Callable[[], Awaitable[object]],
        look_seconds: float,
        *,
        away: str,
        back: str,
    ) -> None:
        self._name = name
        self._look = look
        self._look_seconds = look_seconds
        self._away = away
        self._back = back
        self._wake = asyncio.Event()
        self._trouble = ""
        self._task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Look at once."""
        self._wake.set()

    def start(self) -> None:
        """Begin to look."""
        self._task = keep(self._name, self._run)

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            await end_tasks([self._task])

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._look()
            except StoreFailure as failure:
                self._say(failure.cause)
            else:
                self._say("")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._look_seconds):
                    await self._wake.wait()

    def _say(self, trouble: str) -> None:
        if trouble and not self._trouble:
            log.warning(self._away, cause=trouble)
        elif self._trouble and not trouble:
            log.info(self._back)
        self._trouble = trouble
