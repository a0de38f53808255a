"""What a hub does for the systems that it leads: it dispatches their deliveries, lets their calls
begin, and sees when they are silent. Taken up with a seat, laid down when that is lost.

Its parts are made anew for each seat: what they hold in memory is true while nobody else has it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from crossdock.ending import end_tasks

from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.tie import TieKeeper, enter_part
from crossdock_hub.committer import Committed, Committer
from crossdock_hub.config import Limits
from crossdock_hub.delivery.dispatcher import CLOCK_SECONDS, Dispatcher, look_pause_seconds
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.delivery.silence import SilenceWatch
from crossdock_hub.keeping import keep
from crossdock_hub.leading.news import News
from crossdock_hub.leading.systems import Systems
from crossdock_hub.records import Tie
from crossdock_hub.store import Store, StoreFailure, shared_work
from crossdock_hub.store_clock import StoreClock


@dataclass(frozen=True, slots=True)
class Seat:
    """The seat that the duties belong to. number: which one. still_held: whether its term is this
    hub's, as far as it knows; the database guards what relies on it. counts_on_it: whether nobody
    else can have it now."""

    number: int
    still_held: Callable[[], bool]
    counts_on_it: Callable[[], bool]


class SystemDuties:
    """One seat's parts. `take_up`, then `lay_down`; neither a second time."""

    def __init__(
        self,
        store: Store,
        bus: Bus,
        committer: Committer,
        limits: Limits,
        clock: StoreClock,
        systems: Systems,
        seat: Seat,
    ) -> None:
        self._store = store
        self._bus = bus
        self._committer = committer
        self._limits = limits
        self._clock = clock
        self._systems = systems
        self._seat = seat
        self._ending = contextlib.AsyncExitStack()
        self._listeners: list[Callable[[Committed], None]] = []
        self._backlog = asyncio.Event()
        self.picker = Picker(limits, stored=shared_work)

    async def take_up(self) -> None:
        """Begin to lead what is assigned to the seat. Raises StoreFailure, and leaves nothing
        running."""
        seat, committer = self._seat, self._committer
        tie = await self._enter()
        self.tie = TieKeeper(
            self._bus,
            self._limits,
            committer,
            tie,
            self._clock,
            told=tie.told,
            may_tell=seat.counts_on_it,
            part=seat.number,
        )
        dispatcher = Dispatcher(self._bus, self._limits)
        silence = SilenceWatch(committer, self._limits, self.picker.in_use, self._clock)
        self._listeners = [
            dispatcher.committed,
            self.tie.committed,
            silence.committed,
            lambda _batch: self._note_backlog(),
        ]
        committer.listeners[:0] = self._listeners
        committer.lead_systems(
            self.picker, self.tie.number, lambda: self._systems.own, seat.still_held
        )
        for part in (dispatcher, silence, self.tie):
            part.start()
            self._ending.push_async_callback(part.stop)
        self._poking = keep("poke", self._poke)
        self._systems.take(True)

    async def _enter(self) -> Tie:
        """How far the seat's part of the ledger is. On a new database that waits for the office,
        which compares it with the bus before anybody begins a call. Raises StoreFailure."""
        while self._seat.still_held():
            with contextlib.suppress(LookupError):
                async with self._store.write() as connection:
                    return await enter_part(connection, self._seat.number)
            await asyncio.sleep(self._limits.lead_look_seconds)
        raise StoreFailure("the seat was lost while its hub waited for the office", full=False)

    async def lay_down(self) -> None:
        """End every part; what they have not done whoever leads the systems next does."""
        self._systems.take(False)
        listeners = self._committer.listeners
        listeners[:] = [each for each in listeners if each not in self._listeners]
        if self._listeners:
            await end_tasks([self._poking])
        await self._ending.aclose()

    def heard(self, news: News) -> None:
        """Another hub has committed something, or may have."""
        if news.work and self._concerns(news):
            self._committer.look_again()

    def bus_is_back(self) -> None:
        """The connection to the bus is back: it may have lost what it was told."""
        self.tie.tell_again()

    def _concerns(self, news: News) -> bool:
        return not news.worked or any(map(self._committer.leads_endpoint, news.worked))

    def _note_backlog(self) -> None:
        if self._committer.backlog_seconds is not None:
            self._backlog.set()

    async def _poke(self) -> None:
        """While stored work waits, have the committer look whether rate and pauses let some of it
        out: it knows that without the store."""
        while True:
            while (waits := self._committer.backlog_seconds) is not None:
                await asyncio.sleep(look_pause_seconds(waits, self._limits))
                self._committer.poke()
            self._backlog.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOCK_SECONDS):
                    await self._backlog.wait()
