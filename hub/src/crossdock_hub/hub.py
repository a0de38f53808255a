"""Puts a hub together: lock, bus, store, committer, what follows commits, server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import structlog
from crossdock import contracts
from crossdock.errors import ContractError

from crossdock_hub.announcing import announce
from crossdock_hub.archive.settling import rules_of
from crossdock_hub.backfilling import BACKFILL_MAPPINGS, Backfiller
from crossdock_hub.bus.address import BusAddress, BusHealth
from crossdock_hub.bus.embedded import EmbeddedNats, is_full
from crossdock_hub.bus.embedded_config import EmbeddedSettings
from crossdock_hub.bus.errors import BusError
from crossdock_hub.bus.external import check_replicas, connected, external_address
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.no_queue import no_queue
from crossdock_hub.bus.streams import StreamLimits
from crossdock_hub.bus.tie import TieKeeper
from crossdock_hub.committer import Committer
from crossdock_hub.config import Limits, Settings, limits_of
from crossdock_hub.data_lock import DataLock
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.delivery.draining import Settled
from crossdock_hub.dividing import Dividing
from crossdock_hub.door.binding import check_address, check_port_sharing
from crossdock_hub.door.calls import Door
from crossdock_hub.door.intake import Intake
from crossdock_hub.door.server import Server
from crossdock_hub.door.services import Services
from crossdock_hub.duties import Duties, Ground
from crossdock_hub.expiring import Expiries
from crossdock_hub.identity import Caller, Identities
from crossdock_hub.keeping import keep
from crossdock_hub.leading.divider import Division
from crossdock_hub.leading.news import News
from crossdock_hub.reading.catalogue import answers, looks
from crossdock_hub.reading.endpoint_metrics import Books
from crossdock_hub.reading.hub_status import GET_HUB_STATUS, HubStatus
from crossdock_hub.reading.mapping_queries import MappingQueries
from crossdock_hub.reading.parcel_metrics import SilentParcels
from crossdock_hub.reading.queries import Queries
from crossdock_hub.reading.shared_tailing import SharedTail
from crossdock_hub.reading.tailing import Tails
from crossdock_hub.records import EndpointRecord
from crossdock_hub.refusals import NO_LEADER
from crossdock_hub.replay.queries import ReplayQueries
from crossdock_hub.retention import ages, with_retention
from crossdock_hub.sharing import Sharing, check_sharing, version_of_hubs
from crossdock_hub.store import Reader, Store
from crossdock_hub.store.engine import access_of, database_url
from crossdock_hub.store.moving_parcels import silent_by_carrier
from crossdock_hub.store.replay_reading import ReplayReader
from crossdock_hub.store.starting import newest
from crossdock_hub.store.writing import every_endpoint
from crossdock_hub.store_clock import StoreClock
from crossdock_hub.telemetry import Metrics
from crossdock_hub.unit import Refused
from crossdock_hub.waiting import Waiters

log = structlog.get_logger("crossdock.hub")

CREDENTIALS_FOLDER = "bus-credentials"
BUS_HEALTH_SECONDS = 2.0


class Hub:
    """One hub process. `start`, then `stop`; what failed to start is taken apart again."""

    def __init__(self, settings: Settings, limits: Limits | None = None) -> None:
        self.settings = settings
        self.limits = limits or limits_of(settings)
        self.contract = with_retention(contracts.load(), settings.retention_days)
        hot_hours = settings.event_hot_hours
        self._rules = rules_of(settings.archive_days, ages(self.contract, hot_hours, self.limits))
        self._data = settings.data_directory
        self._lock = DataLock(self._data)
        self._nats: EmbeddedNats | None = None
        self._bus_address = BusAddress("")
        self._watch: asyncio.Task[None] | None = None
        self._duties: Duties | None = None
        self._sharing: Sharing | None = None
        self._dividing: Dividing | None = None
        self._shared_tail: SharedTail | None = None
        self._ending = contextlib.AsyncExitStack()
        self._expiries = Expiries(settings, self.limits)
        self.metrics = Metrics()
        self.metrics.watch_expiries(self._expiries)

    async def start(self) -> None:
        """Start everything, in the order in which one part needs the other.

        Raises CrossdockError, StoreFailure or OSError when it can't, and leaves nothing running.
        """
        try:
            await self._start()
        except BaseException:
            await self._ending.aclose()
            raise

    async def stop(self) -> None:
        """Drain: no accepted call fails, what is queued is committed, then everything ends."""
        self.tails.close()
        self.waiters.close()
        await self._ending.aclose()
        log.info("hub stopped")

    async def _start(self) -> None:
        """Each part that started says how it ends; they end in the opposite order."""
        identities = Identities.load(self.settings.endpoints_file)
        self._ending.callback(self._lock.acquire().release)
        check_port_sharing(self.settings)
        check_address(self.settings)
        check_sharing(self.settings)
        check_replicas(self.settings)
        self.contract.warm()
        await self._start_bus(identities.callers)
        await self._open_store()
        self._configured = [_endpoint_record(caller) for caller in identities.callers]
        self._build(identities)
        unserved = self.services.unserved()
        if self._shared_tail is not None:
            self._shared_tail.start()
            self._ending.push_async_callback(self._shared_tail.stop)
        if unserved:
            raise ContractError(*(f"{name}: no code serves this method" for name in unserved))
        if self._sharing is not None:
            self._sharing.end_with(self._ending)
        self.committer.follow()
        self.committer.start(self._known)
        self._ending.push_async_callback(self.committer.stop)
        if self._sharing is None:
            self._ending.push_async_callback(self._lay_down)
            await self._take_up()
        else:
            self._sharing.end_duties_with(self._ending)
        # Before anybody is let in: a port of metrics that somebody has ends the start.
        metrics_port = self.metrics.serve(self.settings.metrics_host, self.settings.metrics_port)
        await self.server.start()
        self._ending.callback(self._cancel_tasks)
        self._ending.push_async_callback(self.server.drain)
        if self._sharing is not None:
            await self._sharing.take_part(self.server.own_address)
        self._watch = keep("bus health", self._watch_bus)
        self._write_address(metrics_port)
        log.info(
            "hub serves",
            address=self.server.address,
            of_this_hub=self.server.own_address,
            bus=self._bus_address.url,
        )

    def _cancel_tasks(self) -> None:
        if self._watch is not None:
            self._watch.cancel()

    async def _start_bus(self, callers: Sequence[Caller]) -> None:
        if self.settings.nats_url:
            self._bus_address = external_address(self.settings)
        else:
            names = tuple(caller.endpoint for caller in callers)
            self._nats = EmbeddedNats(
                EmbeddedSettings(self._data, port=self.settings.nats_port, endpoints=names),
                lock=self._lock,
                on_health=told_health(),
            )
            self._ending.push_async_callback(self._nats.stop)
            self._bus_address = await self._nats.start()
            for name in names:
                self._write_credentials(name, await self._nats.admit(name))
        connecting = Bus.connect(
            self._bus_address, on_closed=_bus_is_lost, on_reconnected=self._bus_is_back
        )
        external = bool(self.settings.nats_url)
        self.bus = await (connected(self.settings, connecting) if external else connecting)
        self._ending.push_async_callback(self.bus.close)

    def _write_credentials(self, endpoint: str, address: BusAddress) -> None:
        folder = self._data / CREDENTIALS_FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"{endpoint}.json"
        text = json.dumps({"user": address.user, "password": address.password})
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)

    async def _open_store(self) -> None:
        url = database_url(self.settings.database_url, self._data)
        divided = self.settings.divide_systems
        version = version_of_hubs(divided=divided) if self.settings.shared_database else ""
        self.store = await Store.open(url, self.contract, access_of(self.settings), version)
        self.store.on_taken = _database_is_taken
        self._ending.push_async_callback(self.store.close)
        async with self.store.write() as connection:
            newest_id, newest_at = await newest(connection)
            self._known = await every_endpoint(connection)
            await self.store.answered.look(connection)
        self.clock = StoreClock(self.limits, newest_at)
        # It picks nothing before somebody leads.
        idle = Picker(self.limits)
        self.committer = Committer(
            self.store, self.contract, self.limits, idle, self.clock, newest_id
        )

    async def _take_up(self) -> None:
        """Lead: begin with what only one hub does. Raises StoreFailure, BusError."""
        sharing = self._sharing
        term = sharing.term if sharing is not None else 0
        duties = Duties(
            Ground(
                self.settings,
                self.limits,
                self._rules,
                self._stream_limits,
                self.store,
                self.bus,
                self.committer,
                self.clock,
                self.metrics,
                lambda: sharing is None or sharing.term == term,
                lambda: sharing is None or sharing.counts_on_lead,
                self._division(),
            )
        )
        await duties.take_up(self._configured)
        self._duties = duties
        count = partial(silent_by_carrier, self.store)
        silent = SilentParcels(asyncio.get_running_loop(), count, self.clock, self.limits)
        self.metrics.watch_office(duties.relay, silent)
        if self._dividing is None:
            self._picks(duties.picker)

    async def _lay_down(self) -> None:
        duties, self._duties = self._duties, None
        if duties is not None:
            await duties.lay_down()
            self.metrics.watch_office()
            if self._dividing is None:
                self._picks(None)

    def _division(self) -> Division | None:
        """How the office of this hub gives systems to hubs; None: who leads leads them all."""
        sharing, dividing = self._sharing, self._dividing
        if sharing is None or dividing is None:
            return None

        def changed() -> None:
            sharing.newsroom.leads_changed()
            dividing.systems.wake()

        return Division(
            lambda: dividing.seat, sharing.holder, sharing.end_writer, changed, sharing.has_bus
        )

    def _let_go(self) -> None:
        """This hub has let go of systems that others are to lead."""
        if self._sharing is not None:
            self._sharing.newsroom.leads_changed()
        if self._duties is not None:
            self._duties.systems_are_free()

    def _picks(self, picker: Picker | None) -> None:
        """What this hub dispatches with has changed; None: it dispatches nothing."""
        books = None
        if picker is not None:
            reader, loop = Reader(self.store), asyncio.get_running_loop()
            settled, limits = picker.settled, self.limits
            books = Books(loop, self._led_endpoints, reader.figures, settled, self.clock, limits)
        self.metrics.watch_endpoints(self.committer, picker, books)

    async def _led_endpoints(self) -> list[EndpointRecord]:
        stored = await Reader(self.store).endpoints()
        return [each for each in stored if self.committer.leads_endpoint(each.id)]

    def _heard(self, news: News) -> None:
        """Another hub of the database has committed something, or may have."""
        self.waiters.heard(news.packages, more=news.packages_untold)
        if self._shared_tail is not None:
            self._shared_tail.heard(news)
        if self._dividing is not None:
            self._dividing.heard(news)
        if self._duties is not None:
            self._duties.heard(news)
        if news.endpoints and (self._duties is None or self._dividing is not None):
            # Whom a call is passed on to is known from them, also where nobody writes.
            self.committer.doubt_endpoints(soon=self._dividing is not None)

    def _led(self) -> Duties:
        """What this hub does as leader. Raises Refused while it does not lead."""
        if self._duties is None:
            raise Refused(NO_LEADER)
        return self._duties

    def _share(self) -> None:
        """Build what works with other hubs, where the settings say that there may be any."""
        limits = self.limits
        if self.settings.shared_database:
            self._sharing = Sharing(
                self.settings,
                limits,
                self.store,
                self.committer,
                self.bus,
                self._take_up,
                self._lay_down,
                self._heard,
            )
        if self._sharing is not None and self.settings.divide_systems:
            self._dividing = Dividing(
                self.settings,
                limits,
                self.store,
                self.committer,
                self.bus,
                self._sharing.bus_watch,
                self.clock,
                self._sharing.holder,
                self._sharing.forwarder.look_again,
                self._let_go,
                self._picks,
            )
            self._sharing.divide(self._dividing)

    def _build(self, identities: Identities) -> None:
        limits = self.limits
        self._share()
        self.waiters = Waiters()
        reader = Reader(self.store)
        self.tails = Tails(reader, limits)
        if self._sharing is not None:
            self._shared_tail = SharedTail(self.store, self.tails, limits)
        self.committer.listeners += [
            self.metrics.committed,
            (self._shared_tail or self.tails).committed,
            self.waiters.committed,
            announce,
        ]
        door = Door(self.contract, identities, limits, self.settings.require_deadline)
        queries = Queries(reader, self.contract, limits, self.waiters, self.clock, self._settled)
        about_replays = ReplayQueries(ReplayReader(self.store), limits, self.clock)
        about_codes = MappingQueries(self.store, limits)
        backfiller = Backfiller(self.store, self.committer)
        by_method = answers(queries) | about_replays.answers() | about_codes.answers()
        self.services = Services(
            door,
            Intake(self.contract, limits),
            self.committer,
            by_method | {GET_HUB_STATUS: self._status, BACKFILL_MAPPINGS: backfiller.answer},
            looks(queries),
            self.tails.follow,
            self._after_register,
            self._tie,
            self._sharing.forwarder if self._sharing is not None else None,
        )
        names = {method.service for method in self.contract.methods.values()}
        handlers, arrivals = self.services.handlers(), self.committer.lanes.arrivals
        self.server = Server(self.settings, limits, handlers, names, identities, arrivals)

    def _tie(self, _endpoint: str) -> TieKeeper:
        """What lets calls begin at this hub. Raises Refused while it leads nothing."""
        return self._dividing.tie if self._dividing is not None else self._led().tie

    def _settled(self, endpoint: str) -> Settled | None:
        """How fast an endpoint is worked off; None: another hub knows."""
        if self._dividing is None:
            return self._led().picker.settled(endpoint)
        led = self.committer.leads_endpoint(endpoint) and self._dividing.seat
        return self._dividing.picker.settled(endpoint) if led else None

    async def _status(self, caller: Caller, request: Any, context: Any) -> Any:
        shared = self._sharing is not None
        relay, expiries = self._led().relay, self._expiries
        status = HubStatus(self.store, relay, self._bus_health, expiries, shared=shared)
        return await status.answer(caller, request, context)

    @property
    def _stream_limits(self) -> StreamLimits:
        settings = self.settings
        return StreamLimits(
            settings.event_hot_hours,
            self.limits.duplicate_window_seconds,
            replicas=settings.nats_replicas,
        )

    def _bus_is_back(self) -> None:
        if self._sharing is not None:
            self._sharing.bus_watch.wake()
        if self._duties is not None:
            self._duties.bus_is_back()
        if self._dividing is not None:
            self._dividing.bus_is_back()

    async def _after_register(self, endpoint: str) -> None:
        """Before a registration is answered, the endpoint's stream and consumer exist."""
        try:
            await self._led().healer.serve(endpoint)
        except BusError as error:
            raise Refused(no_queue(endpoint, error)) from None

    async def _watch_bus(self) -> None:
        while True:
            await self.server.set_bus(self._bus_health().ok)
            self._expiries.say()
            await asyncio.sleep(BUS_HEALTH_SECONDS)

    def _bus_health(self) -> BusHealth:
        if self._nats is not None and not self._nats.health.ok:
            return self._nats.health
        if self._sharing is not None and not self._sharing.bus_watch.health.ok:
            return self._sharing.bus_watch.health
        if self._duties is None or not self.bus.health.ok:
            return self.bus.health
        return self._duties.healer.health

    def _write_address(self, metrics_port: int | None) -> None:
        path = self.settings.address_file
        if path is None:
            return
        document = {
            "pid": os.getpid(),
            "grpc": self.server.address,
            "grpc_of_this_hub": self.server.own_address,
            "nats_url": self._bus_address.url,
            "nats_credentials_directory": str(self._data / CREDENTIALS_FOLDER),
            "metrics_port": metrics_port,
        }
        fresh = path.with_name(path.name + ".new")
        fresh.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        fresh.replace(path)


def _endpoint_record(caller: Caller) -> EndpointRecord:
    return EndpointRecord(
        id=caller.endpoint,
        role=caller.role,
        business_units=tuple(sorted(caller.scope.business_units)),
        location_numbers=tuple(sorted(caller.scope.location_numbers)),
        carrier_codes=tuple(sorted(caller.scope.carrier_codes)),
        state="EXPECTED",
        manifest=b"",
    )


def told_health() -> Callable[[BusHealth], None]:
    """Says once why the embedded server does not store, and once that it does again.

    A full disk is said once more where something else was said first: a server that waits for a
    write which finds no room is taken for one that hangs, and a person has to make room.
    """
    well, said_full = True, False

    def tell(health: BusHealth) -> None:
        nonlocal well, said_full
        changed, full = health.ok != well, is_full(health)
        if changed and health.ok:
            log.info("the embedded nats-server stores again")
        elif changed or (full and not said_full):
            log.error("the embedded nats-server stores nothing", because=health.reason)
        well, said_full = health.ok, not health.ok and (said_full or full)

    return tell


def _database_is_taken(reason: str) -> None:
    """What this hub knows of its database is not true any more: only a new start helps."""
    log.error("the database is not as this hub left it; the process ends", cause=reason)
    os._exit(70)


def _bus_is_lost(reason: str) -> None:
    """The bus refuses us for good: a hub without it must not go on as if all were well."""
    log.error("the bus refused the hub for good; the process ends", cause=reason)
    os._exit(70)
