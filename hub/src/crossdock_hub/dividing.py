"""One hub's part in systems that several hubs of a database divide: it holds a seat, leads the
systems that are assigned to that, and knows where the others are led.

Built where the settings say so, started once the hub serves, ended like `sharing`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial

import structlog

from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.tie import TieKeeper, told_by
from crossdock_hub.committer import Committer
from crossdock_hub.config import Limits, Settings
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.leading.bus_watch import BusWatch
from crossdock_hub.leading.elector import Elector
from crossdock_hub.leading.news import News
from crossdock_hub.leading.office import Office
from crossdock_hub.leading.systems import Systems
from crossdock_hub.leading.terms import FOLLOWS, Seen, Timing
from crossdock_hub.refusals import NO_LEADER
from crossdock_hub.store import Store
from crossdock_hub.store.engine import access_of
from crossdock_hub.store.leadership import SeatRow
from crossdock_hub.store_clock import StoreClock
from crossdock_hub.system_duties import Seat, SystemDuties
from crossdock_hub.unit import Refused

log = structlog.get_logger("crossdock.leading")


class Dividing:
    """One hub's. on_change: called when who leads which system has changed. on_let_go: called when
    this hub has let go of a system, for whoever assigns it. on_picker: told with what this hub
    picks from now on, None: it picks nothing."""

    def __init__(
        self,
        settings: Settings,
        limits: Limits,
        store: Store,
        committer: Committer,
        bus: Bus,
        bus_watch: BusWatch,
        clock: StoreClock,
        holder: str,
        on_change: Callable[[], None],
        on_let_go: Callable[[], None],
        on_picker: Callable[[Picker | None], None],
    ) -> None:
        self._limits, self._store, self._committer = limits, store, committer
        self._bus, self._clock = bus, clock
        self._on_picker = on_picker
        timing = Timing(limits.lead_seconds, limits.lead_renew_seconds, limits.lead_look_seconds)
        self._row = SeatRow(settings.database_url, access_of(settings), limits.seats_max)
        self.elector = Elector(self._row, holder, timing, bus_watch)
        self.office = Office(
            self.elector,
            self._row,
            store,
            self._take_seat,
            self._leave_seat,
            committer.lead_no_systems,
            partial(told_by, bus),
        )
        self._duties: SystemDuties | None = None
        self._on_change = on_change
        self.systems = Systems(
            store,
            lambda: (self._row.number, self.elector.term),
            limits.lead_look_seconds,
            self._changed,
            on_let_go,
        )

    def leader(self, endpoint: str) -> Seen | None:
        """Who leads the system of an endpoint, as far as is known here; None: nobody."""
        system = self._committer.system_of(endpoint)
        return self.systems.leader(system) if system is not None else None

    @property
    def seat(self) -> int:
        """The seat that this hub holds; 0: none."""
        return self._row.number if self.elector.term != FOLLOWS else 0

    @property
    def tie(self) -> TieKeeper:
        """What lets calls begin. Raises Refused while this hub has no seat."""
        return self._led().tie

    @property
    def picker(self) -> Picker:
        """What picks for the systems of this hub. Raises Refused while it has no seat."""
        return self._led().picker

    def heard(self, news: News) -> None:
        """Another hub has committed something, or may have."""
        if news.leads:
            self.systems.wake()
        if self._duties is not None:
            self._duties.heard(news)

    def bus_is_back(self) -> None:
        """The connection to the bus is back."""
        if self._duties is not None:
            self._duties.bus_is_back()

    def end_with(self, ending: AsyncExitStack) -> None:
        """Let go of the seat when what is pushed later has ended: every commit is done by then."""
        ending.push_async_callback(self._row.close)
        ending.push_async_callback(self.elector.stop)

    def end_duties_with(self, ending: AsyncExitStack) -> None:
        """Dispatch no more when what is pushed later has ended."""
        ending.push_async_callback(self.office.stop)
        ending.push_async_callback(self.systems.stop)

    async def take_part(self, address: str) -> None:
        """Begin, and return when this hub has a seat, or there is none for it. address: where
        the other hubs reach it."""
        self.elector.address = address
        self.systems.start()
        await self.office.start()
        if self.elector.term == FOLLOWS:
            log.warning(
                "this hub has no seat and leads no systems until one is free; to have more, raise "
                "seats_max in CROSSDOCK_LIMITS of every hub",
                seats_max=self._limits.seats_max,
            )

    def _led(self) -> SystemDuties:
        if self._duties is None:
            raise Refused(NO_LEADER)
        return self._duties

    def _changed(self) -> None:
        # What is led is picked for at once, and what is led no more is not. Whoever led a system
        # before has paused or slowed its endpoints, and may not have told of it.
        self._committer.doubt_endpoints(soon=True)
        self._on_change()

    async def _take_seat(self) -> None:
        term = self.elector.term
        duties = SystemDuties(
            self._store,
            self._bus,
            self._committer,
            self._limits,
            self._clock,
            self.systems,
            Seat(self._row.number, lambda: self.elector.term == term, lambda: self.elector.leads),
        )
        await duties.take_up()
        self._duties = duties
        self._on_picker(duties.picker)

    async def _leave_seat(self) -> None:
        duties, self._duties = self._duties, None
        if duties is not None:
            await duties.lay_down()
            self._on_picker(None)
