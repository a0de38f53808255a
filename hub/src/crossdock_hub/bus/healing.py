"""Makes the bus as the database knows it: at the start, while the hub runs, and after every loss.

Streams and consumers that are missing are made; a stream that has lost messages is made anew with
the numbers it had, so that the relay fills it with the same events in the same places and outside
consumers go on where they were. Work that lay in a queue that is gone is sent again at once. An
endpoint whose queue can't be made keeps back no other: `health` says which and why.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import structlog
from crossdock.ending import end_tasks

from crossdock_hub.bus.address import BusHealth
from crossdock_hub.bus.errors import UNANSWERED, BusError, BusRefused, BusUnavailable
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.outlet import Outlet
from crossdock_hub.bus.relay import Relay
from crossdock_hub.bus.stream_administration import StreamState
from crossdock_hub.bus.streams import (
    StreamLimits,
    StreamSpec,
    delivery_consumer_spec,
    delivery_stream_spec,
    event_stream_spec,
    scan_stream_spec,
    tie_stream_spec,
)
from crossdock_hub.commands import Command
from crossdock_hub.committer import Committer, Stopped, now_microseconds
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery import attempts
from crossdock_hub.identity import HUB
from crossdock_hub.keeping import keep
from crossdock_hub.records import BusConsumer, Mark
from crossdock_hub.store import Store, StoreFailure
from crossdock_hub.store.bus_rows import bus_consumers, bus_position, outstanding
from crossdock_hub.unit import Refused, Unit

log = structlog.get_logger("crossdock.healing")

# The clocks of hub and server may differ; what is younger than this is never called expired.
CLOCK_SLACK_MICROSECONDS: Final = 60 * SECOND
# So many endpoints may wait in vain for an answer before a look ends.
UNANSWERED_MAX: Final = 3
_ALL_SERVED: Final = "every endpoint has its queue"


def has_holes(state: StreamState, edge: int | None, horizon: int) -> bool:
    """Whether messages are missing from a stream whose end is known to be right.

    edge: when the row was recorded that its first message comes behind; None: there is none.
    horizon: rows recorded since have to be there; older ones may have gone by their age.
    """
    return state.deleted > 0 or (edge is not None and edge >= horizon)


def take_back(unit: Unit, delivery_id: str) -> None:
    """A dispatch whose message is lost waits again, unless somebody has begun it."""
    record = unit.delivery(delivery_id)
    if record is None or record.pending or record.lease_until is not None:
        return
    if record.state in ("DISPATCHED", "RESOLVING"):
        attempts.give_back(unit, record)


class Healer:
    """Looks at the bus at the start, every `heal_seconds`, and when somebody misses something."""

    def __init__(
        self,
        store: Store,
        bus: Bus,
        limits: Limits,
        stream_limits: StreamLimits,
        committer: Committer,
        clock: Callable[[], int] = now_microseconds,
        on_untold: Callable[[], None] = lambda: None,
        wall: Callable[[], int] = now_microseconds,
        may_change: Callable[[], bool] = lambda: True,
    ) -> None:
        """clock: rows are stamped by it. wall: messages expire by it; it may be set. on_untold:
        called when the stream that says how far the ledger is had to be made. may_change: whether
        this hub still counts on its lead; asked right before a stream is taken away, which must not
        happen to one that another hub fills."""
        self._on_untold = on_untold
        self._wall = wall
        self._may_change = may_change
        self._store = store
        self._bus = bus
        self._limits = limits
        self._stream_limits = stream_limits
        self._committer = committer
        self._clock = clock
        self._wake = asyncio.Event()
        self._lost = True
        self._task: asyncio.Task[None] | None = None
        self._rebuilt_at: dict[str, int] = {}
        self._seen: dict[tuple[str, str], BusConsumer] = {}
        # Endpoints whose queue was made anew and whose work is not sent again yet.
        self._emptied: set[str] = set()
        self._unserved: dict[str, str] = {}
        self._health = BusHealth(True, _ALL_SERVED, datetime.now(UTC))
        # How many of them only wait for an answer, as of the last look.
        self._unanswered = 0
        self.rebuilds = 0
        self._trouble = ""
        # Whether that trouble is that too many of them do not answer.
        self._silent = False

    def watch(self, relay: Relay) -> None:
        """The relay that fills what is made anew."""
        self._relay = relay

    def missed(self) -> None:
        """Somebody found that a stream is not there."""
        self._wake.set()

    def bus_is_back(self) -> None:
        """The connection was lost and is back: memory is gone, and disks may be."""
        self._lost = True
        self._relay.doubt()
        self._wake.set()

    def start(self) -> None:
        """Go on looking. `heal` has been called once."""
        self._task = keep("healer", self._run)

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            await end_tasks([self._task])

    async def _run(self) -> None:
        pause = self._limits.heal_seconds
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            self._wake.clear()
            pause = self._limits.heal_seconds
            try:
                await self.heal()
            except (BusError, StoreFailure) as error:
                self._say(str(error))
                self._silent = self._unanswered >= UNANSWERED_MAX
                pause = self._limits.relay_retry_seconds_max
                self._lost = True
                if isinstance(error, UNANSWERED):
                    await self._bus.change_node()
            else:
                # One endpoint less that waits in vain is no end of it, nor one more a new one.
                self._say(self._trouble if self._unanswered and self._silent else "")

    def _say(self, trouble: str) -> None:
        """Log once when it goes, once when it comes back."""
        if bool(trouble) != bool(self._trouble):
            if trouble:
                log.warning("the bus can't be looked after now", cause=trouble)
            else:
                log.info("the bus is looked after again")
        self._trouble = trouble

    async def heal(self) -> None:
        """One look at everything. BusError, StoreFailure: not all could be put right.

        An endpoint that can't be served raises nothing: see `health`.
        """
        lost, self._unanswered = self._lost, 0
        if await self._bus.ensure_streams([tie_stream_spec(self._stream_limits)]):
            self._on_untold()
        for spec, outlet in self._durable():
            await self._heal_durable(spec, outlet, lost)
        await self._serve_all()
        # Only now: what failed above is looked at in the same way again.
        self._lost = False
        if self._emptied:
            await self._send_again()

    def _durable(self) -> list[tuple[StreamSpec, Outlet]]:
        limits = self._stream_limits
        return [
            (event_stream_spec(limits), self._relay.events),
            (scan_stream_spec(limits), self._relay.scans),
        ]

    # Queues of endpoints

    @property
    def health(self) -> BusHealth:
        """ok: every endpoint that has work to do has its queue, as of the last look."""
        return self._health

    async def serve(self, endpoint: str) -> None:
        """Make an endpoint's queue and consumer, where they are missing. Raises BusError."""
        await self._make_queue(endpoint)
        await self._make_consumer(endpoint)

    async def _make_queue(self, endpoint: str) -> bool:
        """Whether it was missing."""
        spec = delivery_stream_spec(endpoint, self._stream_limits)
        return bool(await self._bus.ensure_streams([spec]))

    async def _make_consumer(self, endpoint: str) -> None:
        await self._bus.ensure_consumer(delivery_consumer_spec(endpoint, self._stream_limits))

    async def _serve_all(self) -> None:
        """Serve every endpoint that can be. BusUnavailable: the bus answers nobody any more."""
        endpoints = [each.id for each in self._committer.endpoints if each.operations]
        self._unserved = {e: why for e, why in self._unserved.items() if e in endpoints}
        self._unanswered = 0
        # Who could not be served the last time comes last: it costs the others no time.
        for endpoint in sorted(endpoints, key=self._unserved.__contains__):
            try:
                if await self._make_queue(endpoint):
                    self._emptied.add(endpoint)
                await self._make_consumer(endpoint)
            except BusError as error:
                if not self._bus.health.ok:
                    # That is an outage, whoever was asked for when it began.
                    raise
                self._unanswered += isinstance(error, BusUnavailable)
                self._note_service(endpoint, str(error))
                if self._unanswered == UNANSWERED_MAX:
                    raise
            else:
                self._note_service(endpoint, "")

    def _note_service(self, endpoint: str, trouble: str) -> None:
        """Keep why an endpoint can't be served, "" when it is; log it once each way."""
        if trouble and endpoint not in self._unserved:
            log.error("an endpoint has no queue and gets no work", endpoint=endpoint, why=trouble)
        elif not trouble and endpoint in self._unserved:
            log.info("an endpoint has its queue again", endpoint=endpoint)
        self._unserved.pop(endpoint, None)
        if trouble:
            self._unserved[endpoint] = trouble
        told = _ALL_SERVED
        if self._unserved:
            first, why = next(iter(self._unserved.items()))
            others = len(self._unserved) - 1
            more = f", nor do {others} more endpoints" if others else ""
            told = f"{first} has no queue and gets no work{more} ({why})"
        self._health = self._health.now(not self._unserved, told)

    # Events and scans

    async def _heal_durable(self, spec: StreamSpec, outlet: Outlet, lost: bool) -> None:
        state = await self._bus.stream_state(spec.name)
        if state is not None and await self._is_torn(state, outlet):
            since = self._clock() - self._rebuilt_at.get(spec.name, 0)
            if since < self._limits.rebuild_pause_seconds * SECOND:
                log.error("the stream lacks messages again, and so soon", stream=spec.name)
            else:
                if not self._may_change():
                    raise BusUnavailable(f"{spec.name} is looked after by another hub")
                # Its consumers are where they were seen last: since then the server has moved them
                # past what is missing, as if it were acknowledged.
                await self._bus.delete_stream(spec.name)
                state = None
        if state is None:
            await self._rebuild(spec, outlet)
            lost = True
        else:
            await self._bus.ensure_streams([spec])
        if lost:
            await self._restore_consumers(spec.name)
        await self._note_consumers(spec.name, forget=not lost)

    async def _is_torn(self, state: StreamState, outlet: Outlet) -> bool:
        """Whether a stream lacks messages that its end says it had."""
        position = outlet.position
        if position is None:
            async with self._store.read() as connection:
                position = await bus_position(connection, outlet.stream)
        if position is None:
            return False
        if state.last_sequence == 0:
            return position.stream_sequence > 0
        if state.last_sequence != position.stream_sequence:
            return False
        edge = await outlet.edge(state, position)
        if has_holes(state, edge, max(self._hot_since(outlet), position.complete_since)):
            return True
        outlet.is_whole()
        return False

    def _hot_since(self, outlet: Outlet) -> int:
        """No message of a row that was recorded since then can have gone by its age.

        The clock of the rows may be behind the wall, which was set forward; or it was ahead of it,
        as the wall was set back, and has come nearer since, by `clock_slew` at most.
        """
        window = outlet.hot_microseconds
        slewed = int(window * self._limits.clock_slew)
        latest = max(self._clock(), self._wall())
        return latest - window + slewed + CLOCK_SLACK_MICROSECONDS

    async def _rebuild(self, spec: StreamSpec, outlet: Outlet) -> None:
        """Make a stream whose messages will get the numbers that they had."""
        first = await outlet.first_sequence_anew()
        if first is None:
            first = 1
        else:
            self.rebuilds += 1
            self._rebuilt_at[spec.name] = self._clock()
            log.error("the stream is lost; it is made anew from the database", stream=spec.name)
        await self._bus.make_stream(spec, first)
        outlet.doubt()
        self._relay.wake()

    # Other people's consumers

    async def _note_consumers(self, stream: str, *, forget: bool) -> None:
        """Remember how far outside consumers are. forget: those that are gone were deleted."""
        there = {(stream, each.name): each for each in await self._bus.consumers(stream)}
        fresh = [each for key, each in there.items() if self._seen.get(key) != each]
        gone = [key for key in self._seen if key[0] == stream and key not in there]
        if fresh or (forget and gone):
            self._committer.mark(Mark(consumers=fresh, forgotten=gone if forget else ()))
        self._seen.update(there)
        if forget:
            for key in gone:
                log.info("a consumer was deleted", stream=stream, consumer=key[1])
                del self._seen[key]

    async def _restore_consumers(self, stream: str) -> None:
        """Make the outside consumers that are missing, each where it was."""
        async with self._store.read() as connection:
            noted = {each.name: each for each in await bus_consumers(connection, stream)}
        noted |= {each.name: each for key, each in self._seen.items() if key[0] == stream}
        there = {each.name for each in await self._bus.consumers(stream)}
        for consumer in noted.values():
            if consumer.name in there:
                continue
            try:
                await self._bus.make_consumer(consumer)
            except BusRefused as error:
                log.error("a consumer can't be made again", consumer=consumer.name, why=str(error))
                continue
            log.warning(
                "a consumer was lost; it goes on where it was last seen",
                stream=stream,
                consumer=consumer.name,
                after=consumer.stream_sequence,
            )

    # Work

    async def _send_again(self) -> None:
        """Take back what was dispatched into queues that are gone: it goes out anew at once."""
        endpoints = sorted(self._emptied - self._unserved.keys())
        async with self._store.read() as connection:
            ids = await outstanding(connection, endpoints)
        for start in range(0, len(ids), self._limits.timer_rows_max):
            await self._take_back(ids[start : start + self._limits.timer_rows_max])
        self._emptied.difference_update(endpoints)

    async def _take_back(self, ids: Sequence[str]) -> None:
        loop = asyncio.get_running_loop()
        commands = [
            Command(
                "take back",
                HUB,
                lambda unit, wanted=each: take_back(unit, wanted),  # type: ignore[misc]
                loop.create_future(),
                keys=frozenset({("delivery", each)}),
            )
            for each in ids
        ]
        with contextlib.suppress(Refused, Stopped):
            # What is not taken back now goes back by its own timer.
            answers = [self._committer.submit(command) for command in commands]
            await asyncio.gather(*answers, return_exceptions=True)
        log.warning("queues were lost; their work is sent again", deliveries=len(ids))
