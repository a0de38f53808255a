"""Asks the bus every so often whether it is there, by what no hub can lead without: what the bus
was told of the ledger. What follows from the answers says `bus_seen`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

import structlog
from crossdock.ending import end_tasks

from crossdock_hub.bus.address import BusHealth
from crossdock_hub.bus.errors import BusError
from crossdock_hub.keeping import keep
from crossdock_hub.leading.bus_seen import (
    BusPatience,
    BusSeen,
    answered,
    is_away,
    is_steady,
    unanswered,
)

log = structlog.get_logger("crossdock.leading")

# A server that has it answers within milliseconds.
QUESTION_SECONDS: Final = 1.0
_ANSWERS: Final = "the bus answers"


class BusWatch:
    """One hub's. ask: raises BusError where the bus does not answer. look_seconds: between
    questions. on_away: called at each question while it is away."""

    def __init__(
        self,
        ask: Callable[[], Awaitable[object]],
        patience: BusPatience,
        look_seconds: float,
        on_away: Callable[[], Awaitable[None]],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._patience = patience
        self._look_seconds = look_seconds
        self._on_away = on_away
        self._monotonic = monotonic
        self._seen = BusSeen()
        self._health = BusHealth(True, _ANSWERS, datetime.now(UTC))
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_away(self) -> bool:
        """Whether this hub has been without a bus for so long that others may do what it leads."""
        return is_away(self._seen, self._monotonic(), self._patience)

    @property
    def is_steady(self) -> bool:
        """Whether it has been there for so long that this hub may take what others offer."""
        return is_steady(self._seen, self._monotonic(), self._patience)

    @property
    def health(self) -> BusHealth:
        """ok: it is not away, as of the last question."""
        return self._health

    async def answers(self) -> bool:
        """Ask now: what was answered before says nothing of a bus that goes in this moment."""
        asked_at, cause = self._monotonic(), ""
        try:
            async with asyncio.timeout(QUESTION_SECONDS):
                await self._ask()
        except BusError as error:
            cause = str(error)
        except TimeoutError:
            cause = f"no answer within {QUESTION_SECONDS:g} s"
        if cause:
            self._seen = unanswered(self._seen, asked_at)
        else:
            self._seen = answered(self._seen, self._monotonic())
        self._say(cause)
        return not cause

    def start(self) -> None:
        """Begin to ask."""
        self._task = keep("bus watch", self._run)

    async def stop(self) -> None:
        """Ask no more."""
        if self._task is not None:
            await end_tasks([self._task])

    def wake(self) -> None:
        """The connection is back: ask at once."""
        self._wake.set()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            await self.answers()
            if self.is_away:
                await self._on_away()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._look_seconds):
                    await self._wake.wait()

    def _say(self, cause: str) -> None:
        """Log once when it goes, once when it comes back."""
        well, away = self._health.ok, self.is_away
        if away and well:
            log.warning("the bus is away; what this hub leads may go to one that has it", why=cause)
        elif not (away or well):
            log.info("the bus is there again; what this hub leads stays with it")
        told = f"the bus does not answer this hub ({cause})" if away else _ANSWERS
        self._health = self._health.now(not away, told)
