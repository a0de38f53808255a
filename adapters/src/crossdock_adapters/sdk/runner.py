"""One endpoint from connection test to drain: subscribes, works deliveries off, polls, listens."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from crossdock.ending import end_tasks

from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.alerts import Alerts
from crossdock_adapters.sdk.attempts import Attempts, HubAway, HubRefused
from crossdock_adapters.sdk.config import EndpointConfig
from crossdock_adapters.sdk.held_payloads import HeldPayloads
from crossdock_adapters.sdk.hub_link import HubLink, Registration
from crossdock_adapters.sdk.inbound import Inbound
from crossdock_adapters.sdk.mapping_sync import MappingSync
from crossdock_adapters.sdk.outcomes import VendorOutcome
from crossdock_adapters.sdk.pacing import Paces
from crossdock_adapters.sdk.presence import Presence
from crossdock_adapters.sdk.sandbox_server import Listener
from crossdock_adapters.sdk.sequences import Sequences
from crossdock_adapters.sdk.settings import Secrets, Settings, SettingsError, check
from crossdock_adapters.sdk.telemetry import Telemetry
from crossdock_adapters.sdk.work import Work
from crossdock_adapters.sdk.worker import Message, Worker

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 5.0
# A beat that is nearer than this share of a period is the one that was just told.
SAME_BEAT_SHARE = 0.01
# Between registrations: first, most. A hub that is away is asked again soon, since its work waits
# as long as this once it is back; one that refuses waits for a person.
AWAY_PAUSES_SECONDS = (0.1, 1.0)
REFUSED_PAUSES_SECONDS = (1.0, 10.0)
DOUBLINGS_MAX = 16
TEST_PAUSE_SECONDS = 0.5
MAX_TEST_PAUSE_SECONDS = 15.0
TEST_SECONDS = 30.0
PREFETCH = 4
DRAIN_SECONDS = 6.5
HURRY_SECONDS = 1.5
CLOSE_SECONDS = 1.0
_BEGAN = time.monotonic()


class Source(Protocol):
    """Where deliveries come from; the consumer over JetStream is one."""

    async def next(self) -> Message | None:
        """The next message; None once stopped and empty."""

    async def stop(self) -> None:
        """Take no more; what was fetched and not handed out goes back."""

    async def close(self) -> None:
        """Let the last acknowledgements leave, and disconnect."""


OpenSource = Callable[[Registration, int], Awaitable[Source]]


def register_pause_seconds(failures: int, *, away: bool) -> float:
    """How long to wait after a registration failed that so many failed before: twice as long each
    time, up to a limit that is lower where the hub did not answer than where it refused."""
    first, most = AWAY_PAUSES_SECONDS if away else REFUSED_PAUSES_SECONDS
    return min(first * 2.0 ** min(failures, DOUBLINGS_MAX), most)


def beat_pause_seconds(running_seconds: float) -> float:
    """How long to wait for the next heartbeat, in a process that runs for so long.

    All its endpoints tell theirs at the same moments: the hub wakes once for them, and keeps them
    in one transaction or two. Other processes began at other times.
    """
    pause = HEARTBEAT_SECONDS - running_seconds % HEARTBEAT_SECONDS
    return pause if pause > HEARTBEAT_SECONDS * SAME_BEAT_SHARE else pause + HEARTBEAT_SECONDS


class EndpointRunner:
    """Runs one endpoint until told to stop.

    `state` is starting, registered, testing, serving, draining or stopped.
    """

    def __init__(
        self,
        config: EndpointConfig,
        adapter: Adapter,
        link: HubLink,
        open_source: OpenSource,
        telemetry: Telemetry,
        changed: Callable[[], None] = lambda: None,
        paces: Paces | None = None,
    ) -> None:
        """paces: what the process's endpoints of one system share; None: it has no others."""
        adapter.check()
        self.settings, self.secrets = prepared(config, adapter)
        self.config = config
        self.adapter = adapter
        self.state = "starting"
        self.webhook_url = ""
        self._link = link
        self._open_source = open_source
        self._telemetry = telemetry
        self._changed = changed
        self._mappings = MappingSync(config.id, adapter.name, link.hub, adapter.mappings)
        self._held: HeldPayloads | None = None
        self._hub_presence = Presence(f"endpoint {config.id}: the hub")
        self._vendor_presence = Presence(f"endpoint {config.id}: {adapter.manifest.title}")
        self._alerts = Alerts(config.id, telemetry.alerts)
        self._registered = asyncio.Event()
        self._hurry = asyncio.Event()
        self._working: set[asyncio.Task[None]] = set()
        manifest = adapter.manifest
        self._concurrency = min(manifest.concurrency, config.concurrency or manifest.concurrency)
        self._pace = (paces or Paces()).of(manifest.system, manifest.rate_per_second)

    async def run(self, stopping: asyncio.Event) -> None:
        """Serve until `stopping` is set, then drain. Ends within 10 seconds of that."""
        assert self.adapter.connect_function is not None
        vendor = await self.adapter.connect_function(self.settings, self.secrets)
        inbound = self._inbound(vendor)
        listener: Listener | None = None
        serving = asyncio.create_task(self._serve(vendor, inbound, stopping))
        background: list[asyncio.Task[Any]] = [serving]
        try:
            if self.adapter.webhooks:
                listener = await self._listen(inbound)
            background.append(asyncio.create_task(self._heartbeats()))
            stop = asyncio.create_task(stopping.wait())
            background.append(stop)
            await asyncio.wait({serving, stop}, return_when=asyncio.FIRST_COMPLETED)
            if self.state != "serving" and not serving.done():
                # Still waiting for the hub or the vendor: there is nothing to finish.
                serving.cancel()
            self._go("draining")
            await asyncio.wait({serving}, timeout=DRAIN_SECONDS + HURRY_SECONDS)
            if serving.done() and not serving.cancelled():
                serving.result()
        finally:
            # Longer than what serves takes to drain: asked again meanwhile, it would close nothing.
            await end_tasks(background, again_seconds=DRAIN_SECONDS + HURRY_SECONDS)
            if listener is not None:
                await listener.stop()
            await _close(vendor)
            self._go("stopped")

    @property
    def trouble(self) -> str:
        """What is missing to serve, the hub before the vendor, and why; "": nothing."""
        missing = [each for each in (self._hub_presence, self._vendor_presence) if each.trouble]
        return f"{missing[0].what} is gone: {missing[0].trouble}" if missing else ""

    async def _serve(self, vendor: Any, inbound: Inbound, stopping: asyncio.Event) -> None:
        registration = await self._register()
        self._go("testing")
        await self._test(vendor)
        source = await self._open_source(registration, self._concurrency + PREFETCH)
        self._go("serving")
        polls = [
            asyncio.create_task(inbound.poll_forever(poll), name=f"poll {poll.name}")
            for poll in self.adapter.polls.values()
        ]
        held = self._held = HeldPayloads(inbound)
        polls.append(asyncio.create_task(held.run(), name="held payloads"))
        worker = self._worker(vendor, held)
        consuming = asyncio.create_task(self._consume(source, worker))
        stop = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait({consuming, stop}, return_when=asyncio.FIRST_COMPLETED)
            if consuming.done():
                await consuming
        finally:
            stop.cancel()
            ending = asyncio.create_task(end_tasks(polls))
            await source.stop()
            await self._finish(consuming)
            await ending
            await source.close()

    async def _consume(self, source: Source, worker: Worker) -> None:
        """One message for each free slot: what waits, waits on the bus, where others see it."""
        slots = asyncio.Semaphore(self._concurrency)
        while True:
            await slots.acquire()
            message = await source.next()
            if message is None:
                return
            task = asyncio.create_task(worker.handle(message))
            self._working.add(task)

            def ended(task: asyncio.Task[None]) -> None:
                self._working.discard(task)
                slots.release()
                if not task.cancelled() and (error := task.exception()) is not None:
                    log.error("endpoint %s: %s", self.config.id, error, exc_info=error)

            task.add_done_callback(ended)

    async def _finish(self, consuming: asyncio.Task[None]) -> None:
        """Let running calls end by themselves, then make them, then leave them to their leases."""
        await end_tasks([consuming])
        if self._working:
            await asyncio.wait(set(self._working), timeout=DRAIN_SECONDS - HURRY_SECONDS)
        self._hurry.set()
        if self._working:
            await asyncio.wait(set(self._working), timeout=HURRY_SECONDS)
        left = list(self._working)
        await end_tasks(left)
        if left:
            log.warning("endpoint %s: %d attempts left unfinished", self.config.id, len(left))

    async def _register(self) -> Registration:
        failures = 0
        while True:
            try:
                registration = await self._link.register(self.adapter.manifest)
                await self._mappings.publish()
            except (HubAway, HubRefused) as error:
                self._hub_presence.gone(str(error))
                pause = register_pause_seconds(failures, away=isinstance(error, HubAway))
                await asyncio.sleep(pause)
                failures += 1
                continue
            self._hub_presence.back()
            self._registered.set()
            return registration

    async def _test(self, vendor: Any) -> None:
        """Prove that the vendor answers and accepts us, before any work is taken."""
        test = self.adapter.test_function
        pause = TEST_PAUSE_SECONDS
        while True:
            try:
                async with asyncio.timeout(TEST_SECONDS):
                    await (vendor.test() if test is None else test(vendor))
            except (VendorOutcome, TimeoutError, OSError) as error:
                self._vendor_presence.gone(f"connection test: {error}")
            except Exception as error:
                self._vendor_presence.gone(f"connection test: {type(error).__name__}: {error}")
            else:
                self._vendor_presence.back()
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_TEST_PAUSE_SECONDS)

    async def _heartbeats(self) -> None:
        # Before, the hub knows neither the endpoint nor of which kind it is.
        await self._registered.wait()
        news = False
        while True:
            try:
                version = await self._link.heartbeat(
                    self._vendor_presence.trouble or self._alerts.told()
                )
                # Twice: the hub tells of rows before it has asked for the payloads they are of.
                before, news = news, await self._mappings.follow(version)
                if self._held is not None and (news or before):
                    self._held.look_again()
            except (HubAway, HubRefused) as error:
                self._hub_presence.gone(str(error))
            else:
                self._hub_presence.back()
            await asyncio.sleep(beat_pause_seconds(time.monotonic() - _BEGAN))

    async def _listen(self, inbound: Inbound) -> Listener:
        config = self.config
        listener = Listener(inbound.webhook_app(), config.webhook_host, config.webhook_port or 0)
        await listener.start()
        self.webhook_url = f"http://{config.webhook_host}:{listener.port}"
        self._changed()
        return listener

    def _inbound(self, vendor: Any) -> Inbound:
        return Inbound(
            endpoint=self.config.id,
            adapter=self.adapter,
            vendor=vendor,
            settings=self.settings,
            secrets=self.secrets,
            link=self._link,
            hub_presence=self._hub_presence,
            vendor_presence=self._vendor_presence,
            telemetry=self._telemetry,
            alerts=self._alerts,
            catch_up=self._mappings.catch_up,
        )

    def _worker(self, vendor: Any, held: HeldPayloads) -> Worker:
        def make_work(dispatch: Any, event: Any, attempt: int) -> Work:
            return Work(
                delivery_id=dispatch.delivery_id,
                endpoint=self.config.id,
                operation=dispatch.operation,
                item=dispatch.item,
                reference=dispatch.vendor_reference,
                attempt=attempt,
                event=event,
                settings=self.settings,
                hub=self._link.hub,
                look_up_numbers=self._link.numbers,
                sequences=Sequences(self._link),
                cursors=self._link,
            )

        return Worker(
            endpoint=self.config.id,
            adapter=self.adapter,
            vendor=vendor,
            attempts=Attempts(self._link, self._hub_presence, held.add),
            make_work=make_work,
            vendor_presence=self._vendor_presence,
            telemetry=self._telemetry,
            hurry=self._hurry,
            secret_values=self.secrets.values,
            reach_rows=self._mappings.reach,
            pace=self._pace,
        )

    def _go(self, state: str) -> None:
        self.state = state
        self._changed()


def prepared(config: EndpointConfig, adapter: Adapter) -> tuple[Settings, Secrets]:
    """Checked settings of an endpoint. SettingsError lists everything that is wrong."""
    settings, secrets = check(
        adapter.manifest.settings, config.settings, allow_plaintext=config.allow_plaintext
    )
    problems = adapter.manifest.outlasting(settings)
    if problems:
        raise SettingsError("; ".join(problems))
    return settings, secrets


async def _close(vendor: Any) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await vendor.close()
