"""What only one hub of a database does at a time: relay, timers, and all that looks after bus,
facts, replays and age. Taken up with a lead, laid down when it is lost or the hub stops. Where hubs
do not divide systems, it dispatches for all of them, too; where they do, see `system_duties`.

Its parts are made anew for each lead: what they hold in memory is true while nobody else leads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from crossdock.bus import delivery_stream

from crossdock_hub.archive.archiver import Archiver
from crossdock_hub.archive.settling import Rules
from crossdock_hub.bus.errors import BusError
from crossdock_hub.bus.healing import Healer
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.relay import Relay
from crossdock_hub.bus.streams import StreamLimits, tie_stream_spec
from crossdock_hub.bus.tie import (
    DATABASE_OLDER,
    Parts,
    TieKeeper,
    compare_at_start,
    hold_calls,
    is_older,
    parts_told_by,
    tell_parts,
    tie_message,
    told_by,
)
from crossdock_hub.committer import Committed, Committer
from crossdock_hub.config import SECOND, Limits, Settings, archive_of
from crossdock_hub.delivery.dispatcher import Dispatcher, Timers
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.delivery.removal import REMOVED
from crossdock_hub.delivery.rerouting import Rerouter
from crossdock_hub.delivery.silence import SilenceWatch
from crossdock_hub.driving import Driver
from crossdock_hub.leading.divider import Divider, Division, by_system
from crossdock_hub.leading.news import News
from crossdock_hub.records import EndpointRecord, Tie
from crossdock_hub.replay.planning import Planner
from crossdock_hub.replay.running import Replayer
from crossdock_hub.retention import Purger
from crossdock_hub.sending_again import WordDriver
from crossdock_hub.store import Reader, Store, shared_work, writing
from crossdock_hub.store.bus_rows import tie_parts
from crossdock_hub.store.replay_reading import ReplayReader
from crossdock_hub.store.starting import newest, note_start
from crossdock_hub.store.writing import ensure_endpoints, restart_leases
from crossdock_hub.store_clock import StoreClock
from crossdock_hub.telemetry import Metrics

log = structlog.get_logger("crossdock.hub")


@dataclass(frozen=True, slots=True)
class Ground:
    """What the duties stand on; it belongs to the hub and outlives them.

    still_leads: whether the term is held, as far as this hub knows; the database guards what relies
    on it. counts_on_lead: whether nobody else can lead now, for what the database does not guard.
    division: how systems are given to the hubs that lead them; None: who leads leads them all.
    """

    settings: Settings
    limits: Limits
    archive_rules: Rules
    stream_limits: StreamLimits
    store: Store
    bus: Bus
    committer: Committer
    clock: StoreClock
    metrics: Metrics
    still_leads: Callable[[], bool]
    counts_on_lead: Callable[[], bool]
    division: Division | None = None


class Duties:
    """One lead's parts. `take_up`, then `lay_down`; neither a second time."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._told = 0
        self._ending = contextlib.AsyncExitStack()
        self._listeners: list[Callable[[Committed], None]] = []
        shared = ground.settings.shared_database
        self.picker = Picker(ground.limits, stored=shared_work if shared else writing)

    async def take_up(self, configured: Sequence[EndpointRecord]) -> None:
        """Bring ledger and bus to what a new leader may go on from, and begin.

        configured: the endpoints as this hub is told of them. Raises StoreFailure, BusError, and
        leaves nothing running.
        """
        known, tie = await self._enter(configured)
        await self._tell(tie)
        self._build(tie)
        committer = self._ground.committer
        still = self._ground.still_leads
        if self._ground.division is None:
            committer.lead(self.picker, known, self.tie.number, still)
        else:
            committer.lead_office(known, still)
        committer.listeners[:0] = self._listeners
        try:
            await self.healer.heal()
        except BaseException:
            await self.lay_down()
            raise
        for part in (
            self.relay,
            *self._dispatching,
            self.timers,
            self.driver,
            self.word_driver,
            self.rerouter,
            self.planner,
            self.replayer,
            self.purger,
            self.archiver,
            self.healer,
            self.tie,
        ):
            part.start()
            self._ending.push_async_callback(part.stop)
        committer.poke()

    async def lay_down(self) -> None:
        """End every part; what they have not done the next leader does."""
        committer = self._ground.committer
        committer.listeners[:] = [
            each for each in committer.listeners if each not in self._listeners
        ]
        await self._ending.aclose()

    async def _enter(
        self, configured: Sequence[EndpointRecord]
    ) -> tuple[list[EndpointRecord], Tie]:
        """Take over what an earlier leader has left in the ledger. The endpoints, and the tie."""
        ground, limits = self._ground, self._ground.limits
        # Before the database is read: see `compare_at_start`.
        told, parts_told = await told_by(ground.bus), await parts_told_by(ground.bus)
        await self._drop_queues(configured, told, parts_told)
        async with ground.store.write() as connection:
            _, newest_at = await newest(connection)
            ground.clock.not_before(newest_at)
            now = ground.clock()
            until = now + int(limits.restart_grace_seconds * SECOND)
            longest = int(limits.lease_seconds_max * SECOND)
            self._away = now - newest_at
            await note_start(connection, now)
            if ground.division is None:
                await restart_leases(connection, now, until, self._away, longest)
            tie, differs = await compare_at_start(connection, told, parts_told, newest_at, now)
            known = await ensure_endpoints(connection, configured, now, limits)
            if differs == DATABASE_OLDER and ground.division is not None:
                await ground.division.close_others(connection)
            if differs == DATABASE_OLDER:
                # Also of endpoints that are not configured now: whoever holds a lease there may
                # still call when they are back.
                known = await hold_calls(connection, known, now, limits)
            await ground.store.answered.look(connection)
        return [record for record in known if record.state != REMOVED], tie

    async def _drop_queues(
        self, configured: Sequence[EndpointRecord], told: Tie | None, parts_told: Parts
    ) -> None:
        """Where the database was put back, delete every queue: the message ids there are those of a
        future that is gone. Before the difference is settled, so that a start which ends in
        between finds it again; and not amid that, for no transaction waits for the bus."""
        ground = self._ground
        async with ground.store.read() as connection:
            if not await is_older(connection, told, parts_told):
                return
        stored = await Reader(ground.store).endpoints()
        for name in sorted({record.id for record in (*stored, *configured)}):
            await ground.bus.delete_stream(delivery_stream(name))

    async def _tell(self, tie: Tie) -> None:
        """Tell the bus before any work begins."""
        bus = self._ground.bus
        try:
            await bus.ensure_streams([tie_stream_spec(self._ground.stream_limits)])
            await bus.publish(tie_message(tie))
        except BusError as error:
            # A bus that stores nothing now is told as soon as it does.
            log.warning("the bus was not told how far the ledger is", cause=str(error))
        else:
            self._told = tie.generation

    async def _tell_parts(self) -> None:
        """Tell the bus what it lacks of parts of the ledger that other hubs lead, or led."""
        async with self._ground.store.read() as connection:
            parts = await tie_parts(connection)
        await tell_parts(self._ground.bus, parts)

    def _build(self, tie: Tie) -> None:
        self._build_way_out(tie)
        self._build_movers()
        self._build_keepers()
        self._build_dispatching()
        self._listeners = [
            *(part.committed for part in self._dispatching),
            self.relay.committed,
            self.tie.committed,
            self.timers.committed,
            self.driver.committed,
            self.word_driver.committed,
            self.rerouter.committed,
            self.planner.committed,
            self.replayer.committed,
        ]

    def _build_way_out(self, tie: Tie) -> None:
        """What puts events and work on the bus, and keeps the bus as it has to be."""
        ground, limits = self._ground, self._ground.limits
        bus, committer, clock = ground.bus, ground.committer, ground.clock
        self.tie = TieKeeper(
            bus,
            limits,
            committer,
            tie,
            clock,
            lambda: self.healer.missed(),
            self._told,
            ground.counts_on_lead,
            tell_others=self._tell_parts,
        )
        self.healer = Healer(
            ground.store,
            bus,
            limits,
            ground.stream_limits,
            committer,
            clock,
            self.tie.tell_again,
            may_change=ground.counts_on_lead,
        )
        self.relay = Relay(
            ground.store,
            bus,
            limits,
            committer,
            ground.settings.event_hot_hours,
            self.healer.missed,
            clock,
            self.tie.report,
        )
        self.healer.watch(self.relay)

    def _build_dispatching(self) -> None:
        """What leads every system, or what gives them to the hubs that do."""
        ground, limits = self._ground, self._ground.limits
        committer, clock = ground.committer, ground.clock
        self._dispatching: tuple[Dispatcher | SilenceWatch | Divider, ...]
        if ground.division is None:
            dispatcher = Dispatcher(ground.bus, limits, self.healer.missed)
            silence = SilenceWatch(committer, limits, self.picker.in_use, clock)
            self._dispatching = (dispatcher, silence)
            return
        self.divider = Divider(
            ground.store,
            ground.division,
            lambda: by_system(committer.endpoints),
            limits,
            clock,
            self._away,
            ground.still_leads,
        )
        self._dispatching = (self.divider,)

    def _build_movers(self) -> None:
        """What moves deliveries, facts and replays on by itself."""
        ground, limits = self._ground, self._ground.limits
        store, committer, clock = ground.store, ground.committer, ground.clock
        self.timers = Timers(store, committer, limits, clock)
        self.driver = Driver(store, committer, limits)
        self.word_driver = WordDriver(store, committer, limits)
        self.rerouter = Rerouter(store, committer, limits)
        replays = ReplayReader(store)
        self.replayer = Replayer(replays, committer, limits, clock)
        self.planner = Planner(replays, committer, store.contract, limits, clock)

    def _build_keepers(self) -> None:
        """What lets old things go."""
        ground, limits = self._ground, self._ground.limits
        hot_hours, metrics = ground.settings.event_hot_hours, ground.metrics
        self.purger = Purger(
            ground.store, ground.committer, limits, hot_hours, ground.clock, metrics.purged
        )
        self.archiver = Archiver(
            ground.store,
            ground.committer,
            limits,
            ground.archive_rules,
            archive_of(ground.settings),
            ground.clock,
            counted=metrics.archived,
        )

    def heard(self, news: News) -> None:
        """Another hub has committed something, or may have."""
        if news.events or news.scans:
            self.relay.wake()
        if self._ground.division is None:
            if news.work:
                self._ground.committer.look_again()
        elif news.leads or news.endpoints:
            self.divider.wake()
        self.timers.heard(news.due_at)
        self.driver.heard(news.awaited, news.satisfied)
        if news.sweep:
            self.driver.sweep()
        elif news.page:
            self.driver.look_through_page()
        page = news.sweep or news.page
        if news.unrouted or page:
            self.rerouter.look_later(news.unrouted, page=page)

    def bus_is_back(self) -> None:
        """The connection to the bus is back: look and tell at once."""
        self.healer.bus_is_back()
        self.tie.bus_is_back()

    def systems_are_free(self) -> None:
        """This hub has let go of systems: they are given to others at once."""
        if self._ground.division is not None:
            self.divider.wake()
