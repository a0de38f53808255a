"""Keeps a hub's standing true: takes a row that has run out, renews its own, sees when it is lost.

Whoever asks gets what is known now; `on_change` is called on the event loop whenever the term that
is held has changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Protocol

import structlog
from crossdock.ending import end_tasks

from crossdock_hub.keeping import keep
from crossdock_hub.leading.terms import (
    FOLLOWS,
    Seen,
    Standing,
    Timing,
    counts_on_it,
    granted,
    lost,
    may_take,
    pause_seconds,
)
from crossdock_hub.store.failures import StoreFailure
from crossdock_hub.store.leadership import Renewed, Taken
from crossdock_hub.store.postgresql import Backend

log = structlog.get_logger("crossdock.leading")

NOTHING = Backend(0, 0)


class Row(Protocol):
    """Where it is written who leads; see `store.leadership.LeadershipRow`. task: what is led in the
    term that was taken last."""

    @property
    def task(self) -> str: ...

    async def look(self) -> Seen | None: ...

    async def take(
        self, holder: str, address: str, lasts_seconds: float, *, offered: bool
    ) -> Taken | None: ...

    async def renew(self, term: int, lasts_seconds: float, *, offers: bool) -> Renewed | None: ...

    async def offer(self, term: int, until: int) -> None: ...

    async def release(self, term: int) -> None: ...


class BusSight(Protocol):
    """Whether this hub has its bus; see `leading.bus_watch.BusWatch`."""

    @property
    def is_away(self) -> bool: ...

    @property
    def is_steady(self) -> bool: ...

    async def answers(self) -> bool: ...


class Elector:
    """One hub's part in who leads. holder: a name that no other process ever had. bus: without it
    this hub takes nothing, and offers what it has."""

    def __init__(
        self,
        row: Row,
        holder: str,
        timing: Timing,
        bus: BusSight,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._row = row
        self._holder = holder
        self._timing = timing
        self._bus = bus
        self._monotonic = monotonic
        self._standing = Standing()
        self._seen: Seen | None = None
        self._trouble = ""
        self._task: asyncio.Task[None] | None = None
        self.address = ""
        self.former_writer = NOTHING
        """What the last leader wrote with when the row was taken from it."""
        self.on_change: Callable[[], None] = lambda: None
        self.on_leader: Callable[[], None] = lambda: None
        """Told when another one may lead than before."""

    @property
    def term(self) -> int:
        """The term that is held; FOLLOWS: none."""
        return self._standing.term

    @property
    def look_seconds(self) -> float:
        """How often a hub that follows asks."""
        return self._timing.look

    @property
    def leads(self) -> bool:
        """Whether this hub may do as leader what the database does not guard."""
        return counts_on_it(self._standing, self._monotonic())

    @property
    def leader(self) -> Seen | None:
        """Who leads, as far as is known here; None: nobody, or it was not asked yet."""
        seen = self._seen
        return seen if seen is not None and seen.address else None

    def start(self) -> None:
        """Begin to take part."""
        self._task = keep("leadership", self._run)

    async def stop(self) -> None:
        """Take part no more, and let another hub lead at once."""
        if self._task is not None:
            await end_tasks([self._task])
        await self.give_up()

    async def give_up(self) -> None:
        """Let go of a term that is held; after an answer that never came it runs out by itself."""
        term = self.term
        if term == FOLLOWS:
            return
        self.lose(term)
        with contextlib.suppress(StoreFailure):
            await self._row.release(term)

    def lose(self, term: int) -> None:
        """A term is held no more, whoever found out."""
        if self.term == term != FOLLOWS:
            self._standing = lost(self._standing)
            self._seen = None
            self.on_change()

    async def step(self) -> None:
        """Ask once. Raises StoreFailure."""
        if self.term == FOLLOWS:
            await self._follow()
        else:
            await self._renew(self.term)

    async def _renew(self, term: int) -> None:
        asked_at, offers = self._monotonic(), self._bus.is_away
        renewed = await self._row.renew(term, self._timing.lasts, offers=offers)
        if renewed is None:
            log.warning("another hub has taken the lead", task=self._row.task, term=term)
            self.lose(term)
        elif self.term == term:
            self._standing = granted(term, asked_at, self._timing, offers=offers)
            if offers and not renewed.offered:
                # Only now that it is counted on no more: whoever reads that may lead.
                await self._row.offer(term, renewed.until)
                log.warning("this hub offers its lead", task=self._row.task, term=term)

    async def _follow(self) -> None:
        await self._look()
        seen = self._seen
        if not may_take(seen, self._holder, self._standing, steady=self._bus.is_steady):
            return
        if self._bus.is_away or not await self._bus.answers():
            return
        asked_at, lasts = self._monotonic(), self._timing.lasts
        offered = seen is not None and seen.offered
        taken = await self._row.take(self._holder, self.address, lasts, offered=offered)
        if taken is None:
            await self._look()
            return
        self.former_writer = taken.writer
        self._standing = granted(taken.term, asked_at, self._timing)
        self._seen = Seen(taken.term, self._holder, self.address, self._timing.lasts)
        log.info("this hub leads", task=self._row.task, term=taken.term)
        self.on_leader()
        self.on_change()

    async def _look(self) -> None:
        before, self._seen = self._seen, await self._row.look()
        if (before and before.term) != (self._seen and self._seen.term):
            self.on_leader()

    async def _run(self) -> None:
        while True:
            try:
                await self.step()
            except StoreFailure as failure:
                self._say(failure.cause)
            else:
                self._say("")
            now = self._monotonic()
            pause = pause_seconds(self._standing, self._seen, now, self._timing)
            if self._trouble:
                pause = max(pause, self._timing.look)
            await asyncio.sleep(pause)

    def _say(self, trouble: str) -> None:
        """Log once when the database stops answering, once when it answers again."""
        if trouble and not self._trouble:
            log.warning("who leads can't be asked", cause=trouble)
        elif self._trouble and not trouble:
            log.info("who leads is known again")
        self._trouble = trouble
