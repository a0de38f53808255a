"""Takes up a hub's duties when it leads and lays them down when it does not, one after the other.

What was written by a former leader's connection is over before anything begins: that connection is
ended, and this hub's own is named, in the term that it holds.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import structlog
from crossdock.ending import end_tasks

from crossdock_hub.bus.errors import BusError
from crossdock_hub.keeping import keep
from crossdock_hub.leading.elector import NOTHING, Elector
from crossdock_hub.leading.terms import FOLLOWS
from crossdock_hub.store.failures import StoreFailure
from crossdock_hub.store.leadership import LeadershipRow
from crossdock_hub.store.postgresql import Backend

log = structlog.get_logger("crossdock.leading")

# After a lead that could not be taken up others have a chance before this hub tries again.
FAILED_SECONDS: Final = 1.0
# How long a start waits for somebody to lead, before it serves what needs nobody.
SETTLED_SECONDS: Final = 10.0


class Writer(Protocol):
    """What a leader writes with; see `store.engine.Store`."""

    def write_in_term(self, task: str, term: int) -> Backend | None: ...


class Office:
    """Follows the elector. take_up: begins the duties; lay_down: ends them, all or some of them.

    bus_answers: raises BusError while it does not. on_follow: called at once when the lead
    is lost, before anything else is decided.
    """

    def __init__(
        self,
        elector: Elector,
        row: LeadershipRow,
        writer: Writer,
        take_up: Callable[[], Awaitable[None]],
        lay_down: Callable[[], Awaitable[None]],
        on_follow: Callable[[], None],
        bus_answers: Callable[[], Awaitable[object]],
    ) -> None:
        self._elector = elector
        self._row = row
        self._writer = writer
        self._take_up = take_up
        self._lay_down = lay_down
        self._on_follow = on_follow
        self._bus_answers = bus_answers
        self._in_office = FOLLOWS
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        elector.on_change = self._note_change

    @property
    def leads(self) -> bool:
        """Whether the duties are taken up in a term that this hub counts on still."""
        return self._in_office != FOLLOWS and self._in_office == self._elector.term

    def _note_change(self) -> None:
        if self._elector.term == FOLLOWS:
            self._writer.write_in_term(self._row.task, FOLLOWS)
            self._on_follow()
        self._changed.set()

    def deposed(self, task: str, term: int) -> None:
        """What the hub writes with is not named in a term any more; of another task's nothing is
        changed here. See `store.engine.Store.on_deposed`."""
        if task == self._row.task:
            self._elector.lose(term)

    async def start(self) -> None:
        """Begin, and return when somebody leads, or nobody could be found for long."""
        self._elector.start()
        self._task = keep("office", self._run)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLED_SECONDS):
                while True:
                    if self.leads or self._another_leads():
                        return
                    await asyncio.sleep(self._elector.look_seconds)

    def _another_leads(self) -> bool:
        return self._elector.term == FOLLOWS and self._elector.leader is not None

    async def stop(self) -> None:
        """Lay the duties down; the term is held until the elector stops."""
        if self._task is not None:
            await end_tasks([self._task])
        await self._lay_down()

    async def _run(self) -> None:
        while True:
            term = self._elector.term
            if self._in_office not in (FOLLOWS, term):
                self._in_office = FOLLOWS
                self._on_follow()
                await self._lay_down()
            if term != FOLLOWS and self._in_office == FOLLOWS:
                await self._enter(term)
                # What has changed meanwhile is seen at once.
                continue
            await self._changed.wait()
            self._changed.clear()

    async def _enter(self, term: int) -> None:
        task = self._row.task
        try:
            # Without a bus nobody can lead, and nobody's connection is ended in vain.
            await self._bus_answers()
            if not await self._clear(task, term):
                return
            await self._take_up()
        except Exception as error:
            known = isinstance(error, StoreFailure | BusError)
            cause = {"cause": str(error)} if known else {"exc_info": error}
            await self._lay_down()
            if self._elector.term != term:
                # Lost meanwhile: there is nothing to give up, least of all a later term.
                log.warning("this hub has lost what it was about to lead", task=task, **cause)
                return
            log.error("this hub can't lead; another one may", task=task, **cause)
            await self._elector.give_up()
            await asyncio.sleep(FAILED_SECONDS)
            return
        self._in_office = term
        log.info("this hub has taken up its duties", task=task, term=term)

    async def _clear(self, task: str, term: int) -> bool:
        """Leave no other connection to write as a leader; False: this hub leads no more."""
        former = self._elector.former_writer
        if former == self._writer.write_in_term(task, term):
            # Nobody else has led since: it is this hub's own.
            former = NOTHING
        while self._elector.term == term and not await self._row.end_writer(former):
            log.warning("what the former leader writes with has not ended yet", pid=former.pid)
        if self._elector.term != term:
            return False
        while (own := self._writer.write_in_term(task, term)) is not None:
            if not await self._row.name_writer(term, own):
                self._elector.lose(term)
                return False
            if self._writer.write_in_term(task, term) == own:
                break
        # A connection that is made later is named by whoever makes it.
        return self._elector.term == term
