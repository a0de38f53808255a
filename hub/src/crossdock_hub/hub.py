"""Puts a hub together: lock, bus, store, committer, what follows commits, server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable, Sequence

import structlog
from crossdock import contracts
from crossdock.bus import delivery_stream
from crossdock.errors import ContractError, Refusal

from crossdock_hub.announcing import announce
from crossdock_hub.archive.archiver import Archiver
from crossdock_hub.archive.settling import rules_of
from crossdock_hub.backfilling import BACKFILL_MAPPINGS, Backfiller
from crossdock_hub.bus.address import BusAddress, BusHealth
from crossdock_hub.bus.embedded import EmbeddedNats, is_full
from crossdock_hub.bus.embedded_config import EmbeddedSettings
from crossdock_hub.bus.errors import BusError, BusFull, BusUnavailable
from crossdock_hub.bus.external import check_replicas, external_address
from crossdock_hub.bus.healing import Healer
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.relay import Relay
from crossdock_hub.bus.streams import StreamLimits, tie_stream_spec
from crossdock_hub.bus.tie import (
    DATABASE_OLDER,
    TieKeeper,
    compare_at_start,
    hold_calls,
    tie_message,
    told_by,
)
from crossdock_hub.committer import Committer
from crossdock_hub.config import SECOND, Limits, Settings, archive_of
from crossdock_hub.data_lock import DataLock
from crossdock_hub.delivery.dispatcher import Dispatcher, Timers
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.delivery.removal import REMOVED
from crossdock_hub.delivery.rerouting import Rerouter
from crossdock_hub.delivery.silence import SilenceWatch
from crossdock_hub.door.calls import Door
from crossdock_hub.door.intake import Intake
from crossdock_hub.door.server import Server, check_address
from crossdock_hub.door.services import Services
from crossdock_hub.driving import Driver
from crossdock_hub.identity import Caller, Identities
from crossdock_hub.keeping import keep
from crossdock_hub.reading.endpoint_metrics import Books
from crossdock_hub.reading.hub_status import GET_HUB_STATUS, HubStatus
from crossdock_hub.reading.mapping_queries import MappingQueries
from crossdock_hub.reading.queries import Queries
from crossdock_hub.reading.tailing import Tails
from crossdock_hub.records import EndpointRecord
from crossdock_hub.replay.planning import Planner
from crossdock_hub.replay.queries import ReplayQueries
from crossdock_hub.replay.running import Replayer
from crossdock_hub.retention import Purger, ages, with_retention
from crossdock_hub.store import Reader, Store
from crossdock_hub.store.engine import access_of, database_url
from crossdock_hub.store.replay_reading import ReplayReader
from crossdock_hub.store.starting import newest
from crossdock_hub.store.writing import ensure_endpoints, restart_leases
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
        self.limits = limits or Limits().with_changes(settings.limits)
        self.contract = with_retention(contracts.load(), settings.retention_days)
        hot_hours = settings.event_hot_hours
        self._rules = rules_of(settings.archive_days, ages(self.contract, hot_hours, self.limits))
        self._data = settings.data_directory
        self._lock = DataLock(self._data)
        self._nats: EmbeddedNats | None = None
        self._bus_address = BusAddress("")
        self._watch: asyncio.Task[None] | None = None
        self._healer: Healer | None = None
        self._told = 0
        self._ending = contextlib.AsyncExitStack()
        self.metrics = Metrics()

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
        check_address(self.settings)
        check_replicas(self.settings)
        self.contract.warm()
        await self._start_bus(identities.callers)
        await self._start_store(identities.callers)
        self._build(identities)
        unserved = self.services.unserved()
        if unserved:
            raise ContractError(*(f"{name}: no code serves this method" for name in unserved))
        self.committer.start(self._configured)
        self._ending.push_async_callback(self.committer.stop)
        await self.healer.heal()
        for part in (
            self.relay,
            self.dispatcher,
            self.timers,
            self.silence,
            self.driver,
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
        self.committer.poke()
        await self.server.start()
        self._ending.callback(self._cancel_tasks)
        self._ending.push_async_callback(self.server.drain)
        self._watch = keep("bus health", self._watch_bus)
        settings = self.settings
        metrics_port = self.metrics.serve(settings.metrics_host, settings.metrics_port)
        self._write_address(metrics_port)
        log.info("hub serves", address=self.server.address, bus=self._bus_address.url)

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
        self.bus = await Bus.connect(
            self._bus_address, on_closed=_bus_is_lost, on_reconnected=self._bus_is_back
        )
        self._ending.push_async_callback(self.bus.close)

    def _write_credentials(self, endpoint: str, address: BusAddress) -> None:
        folder = self._data / CREDENTIALS_FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"{endpoint}.json"
        text = json.dumps({"user": address.user, "password": address.password})
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)

    async def _start_store(self, callers: Sequence[Caller]) -> None:
        url = database_url(self.settings.database_url, self._data)
        self.store = await Store.open(url, self.contract, access_of(self.settings))
        self.store.on_taken = _database_is_taken
        self._ending.push_async_callback(self.store.close)
        configured = [_endpoint_record(caller) for caller in callers]
        async with self.store.write() as connection:
            self._newest_id, newest_at = await newest(connection)
            self.clock = StoreClock(self.limits, newest_at)
            now = self.clock()
            until = now + int(self.limits.restart_grace_seconds * SECOND)
            longest = int(self.limits.lease_seconds_max * SECOND)
            await restart_leases(connection, now, until, now - newest_at, longest)
            told = await told_by(self.bus)
            self._tie, differs = await compare_at_start(connection, told, newest_at, now)
            known = await ensure_endpoints(connection, configured, now, self.limits)
            if differs == DATABASE_OLDER:
                known = await hold_calls(connection, known, now, self.limits)
                # Their message ids are those of a future that is gone. Before the difference is
                # settled: a start that ends here finds it again. Also of endpoints that are not
                # configured now: whoever holds a lease there may still call when they are back.
                for record in known:
                    await self.bus.delete_stream(delivery_stream(record.id))
            self._configured = [record for record in known if record.state != REMOVED]
            await self.store.answered.look(connection)
        await self._tell_tie()

    async def _tell_tie(self) -> None:
        """Tell the bus before any work begins."""
        try:
            await self.bus.ensure_streams([tie_stream_spec(self._stream_limits)])
            await self.bus.publish(tie_message(self._tie))
        except BusError as error:
            # A bus that stores nothing now is told as soon as it does.
            log.warning("the bus was not told how far the ledger is", cause=str(error))
        else:
            self._told = self._tie.generation

    def _build(self, identities: Identities) -> None:
        limits = self.limits
        picker = Picker(limits)
        self.committer = Committer(
            self.store, self.contract, limits, picker, self.clock, self._newest_id
        )
        self._build_way_out()
        self._build_movers(picker)
        self.waiters = Waiters()
        reader = Reader(self.store)
        self.tails = Tails(reader, limits)
        self.committer.listeners += [
            self.dispatcher.committed,
            self.relay.committed,
            self.tie.committed,
            self.timers.committed,
            self.silence.committed,
            self.driver.committed,
            self.rerouter.committed,
            self.planner.committed,
            self.replayer.committed,
            self.metrics.committed,
            self.tails.committed,
            self.waiters.committed,
            announce,
        ]
        loop = asyncio.get_running_loop()
        books = Books(loop, reader.endpoints, reader.figures, picker, self.clock, limits)
        self.metrics.watch(self.relay, picker, self.committer, books)
        door = Door(self.contract, identities, limits, self.settings.require_deadline)
        queries = Queries(reader, self.contract, limits, self.waiters, self.clock, picker.settled)
        about_replays = ReplayQueries(ReplayReader(self.store), limits, self.clock)
        status = HubStatus(self.store, self.relay, self._bus_health)
        about_codes = MappingQueries(self.store, limits)
        backfiller = Backfiller(self.store, self.committer)
        answers = queries.answers() | about_replays.answers() | about_codes.answers()
        self.services = Services(
            door,
            Intake(self.contract, limits),
            self.committer,
            answers | {GET_HUB_STATUS: status.answer, BACKFILL_MAPPINGS: backfiller.answer},
            queries.looks(),
            self.tails.follow,
            self._after_register,
            self.tie,
        )
        names = {method.service for method in self.contract.methods.values()}
        self.server = Server(self.settings, limits, self.services.handlers(), names, identities)

    def _build_movers(self, picker: Picker) -> None:
        """What moves deliveries, facts and replays on by itself."""
        limits = self.limits
        self.timers = Timers(self.store, self.committer, limits, self.clock)
        self.silence = SilenceWatch(self.committer, limits, picker.in_use, self.clock)
        self.driver = Driver(self.store, self.committer, limits)
        self.rerouter = Rerouter(self.store, self.committer, limits)
        replays = ReplayReader(self.store)
        self.replayer = Replayer(replays, self.committer, limits, self.clock)
        self.planner = Planner(replays, self.committer, self.contract, limits, self.clock)

    def _build_way_out(self) -> None:
        """What puts events and work on the bus, and keeps the bus as it has to be."""
        limits = self.limits
        hot_hours = self.settings.event_hot_hours
        self.purger = Purger(
            self.store, self.committer, limits, hot_hours, self.clock, self.metrics.purged
        )
        self.archiver = Archiver(
            self.store,
            self.committer,
            limits,
            self._rules,
            archive_of(self.settings),
            self.clock,
            counted=self.metrics.archived,
        )
        self.tie = TieKeeper(
            self.bus,
            limits,
            self.committer,
            self._tie,
            self.clock,
            lambda: self.healer.missed(),
            self._told,
        )
        self.committer.ties = self.tie.number
        self.healer = Healer(
            self.store,
            self.bus,
            limits,
            self._stream_limits,
            self.committer,
            self.clock,
            self.tie.tell_again,
        )
        self.relay = Relay(
            self.store,
            self.bus,
            limits,
            self.committer,
            hot_hours,
            self.healer.missed,
            self.clock,
            self.tie.report,
        )
        self.healer.watch(self.relay)
        self._healer = self.healer
        self.dispatcher = Dispatcher(self.bus, limits, self.healer.missed)

    @property
    def _stream_limits(self) -> StreamLimits:
        settings = self.settings
        return StreamLimits(
            settings.event_hot_hours,
            self.limits.duplicate_window_seconds,
            replicas=settings.nats_replicas,
        )

    def _bus_is_back(self) -> None:
        if self._healer is not None:
            self._healer.bus_is_back()
            self.tie.bus_is_back()

    async def _after_register(self, endpoint: str) -> None:
        """Before a registration is answered, the endpoint's stream and consumer exist."""
        try:
            await self.healer.serve(endpoint)
        except BusError as error:
            raise Refused(_no_queue(endpoint, error)) from None

    async def _watch_bus(self) -> None:
        while True:
            await self.server.set_bus(self._bus_health().ok)
            await asyncio.sleep(BUS_HEALTH_SECONDS)

    def _bus_health(self) -> BusHealth:
        if self._nats is not None and not self._nats.health.ok:
            return self._nats.health
        return self.healer.health if self.bus.health.ok else self.bus.health

    def _write_address(self, metrics_port: int | None) -> None:
        path = self.settings.address_file
        if path is None:
            return
        document = {
            "pid": os.getpid(),
            "grpc": self.server.address,
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


def _no_queue(endpoint: str, error: BusError) -> Refusal:
    """Why an endpoint that is registered by now can't be told where its work lies."""
    again = "; repeat with the same request_id"
    if isinstance(error, BusFull):
        reserved = StreamLimits().delivery_max_bytes >> 20
        reason, rule = (
            "STORE_FULL",
            f"the bus has no room for the queue of {endpoint!r}, which reserves {reserved} MiB of "
            "memory: give the hub's NATS account or server more for JetStream, or take away an "
            f"endpoint that is not needed{again}",
        )
    elif isinstance(error, BusUnavailable):
        reason, rule = "HUB_UNAVAILABLE", f"the bus does not answer{again}"
    else:
        reason, rule = (
            "HUB_UNAVAILABLE",
            f"the bus refuses the queue of {endpoint!r}: see what else is in the hub's NATS "
            f"account{again}",
        )
    return Refusal(reason, rule, {"cause": str(error)}, retry_after_seconds=1.0)


def _database_is_taken(reason: str) -> None:
    """What this hub knows of its database is not true any more: only a new start helps."""
    log.error("the database is not as this hub left it; the process ends", cause=reason)
    os._exit(70)


def _bus_is_lost(reason: str) -> None:
    """The bus refuses us for good: a hub without it must not go on as if all were well."""
    log.error("the bus refused the hub for good; the process ends", cause=reason)
    os._exit(70)
