"""Puts dispatched deliveries on their endpoints' subjects, and sees to timers and held facts.

What could not be published is tried again while its dispatch lasts; after that the ledger takes it
back by itself and gives it a new number.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Sequence
from math import inf
from typing import Any, Final

import structlog
from crossdock import bus as contract_bus
from crossdock.delivery.v1 import delivery_pb2
from crossdock.ending import end_tasks

from crossdock_hub.bus.errors import BusError
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.publishing import NO_STREAM, Message
from crossdock_hub.commands import Command
from crossdock_hub.committer import Committed, Committer, Stopped
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery import attempts
from crossdock_hub.delivery.dispatching import Picked
from crossdock_hub.identity import HUB
from crossdock_hub.keeping import keep
from crossdock_hub.spans import PublishSpans
from crossdock_hub.store import Store, StoreFailure
from crossdock_hub.store.writing import due_deliveries
from crossdock_hub.unit import Refused

log = structlog.get_logger("crossdock.dispatcher")

# How soon timers see that a wall clock was set forward.
CLOCK_SECONDS: Final = 1.0
# A stream that nothing was refused by for so many times as long as a dispatch lasts, though the
# ledger gives what waits a new number after each, has nothing that waits for it any more.
STUCK_DISPATCHES: Final = 3


def dispatch_message(picked: Picked) -> Message:
    """A delivery as it travels: enough to act without reading back."""
    record = picked.record
    look_up = record.state == "RESOLVING"
    message = delivery_pb2.Dispatch(
        delivery_id=record.id,
        dispatch_number=record.dispatch_number,
        kind=delivery_pb2.ATTEMPT_KIND_LOOK_UP if look_up else delivery_pb2.ATTEMPT_KIND_CALL,
        operation=record.operation,
        item=record.item,
        event_type=record.event_type,
        event=picked.body,
        vendor_reference=record.vendor_reference,
        attempt=record.attempts + record.look_ups + 1,
        replay_id=record.replay_id,
    )
    message.lease.FromMicroseconds(int(picked.lease_seconds * SECOND))
    headers = {
        contract_bus.MESSAGE_ID_HEADER: contract_bus.delivery_message_id(
            record.id, record.dispatch_number
        )
    }
    if record.traceparent:
        headers["traceparent"] = record.traceparent
    if record.replay_id:
        headers[contract_bus.REPLAY_HEADER] = record.replay_id
    return Message(
        contract_bus.delivery_subject(record.endpoint), message.SerializeToString(), headers
    )


class Dispatcher:
    """Publishes picked deliveries; a publish is never awaited by a caller's RPC.

    Each endpoint's stream takes what goes to it in turns of its own: for the answer of one that
    does not answer, as one without a leader, nobody waits but what goes to that stream.

    on_gone: called when an endpoint's queue is not there.
    """

    def __init__(
        self, bus: Bus, limits: Limits, on_gone: Callable[[], None] = lambda: None
    ) -> None:
        self._bus = bus
        self._on_gone = on_gone
        self._limits = limits
        self._is_started = False
        # Endpoint -> what is to go to its stream, while that is sent to or waits for the start.
        self._waiting: dict[str, deque[Picked]] = {}
        self._sending: set[asyncio.Task[None]] = set()
        # How many messages of each subject are tried again and again.
        self._insisted_on: Counter[str] = Counter()
        # Subjects whose stream takes nothing, and when it last refused or did not answer.
        self._stuck: dict[str, float] = {}

    def committed(self, batch: Committed) -> None:
        """A batch is durable: send what it dispatched, in the next turn of the event loop. In a
        later one it would wait for whatever else the batch has others do."""
        for picked in batch.picked:
            endpoint = picked.record.endpoint
            is_first = endpoint not in self._waiting
            self._waiting.setdefault(endpoint, deque()).append(picked)
            if is_first and self._is_started:
                self._begin("dispatch", self._send(endpoint))

    def start(self) -> None:
        """Begin to publish, with what was dispatched before."""
        self._is_started = True
        for endpoint in self._waiting:
            self._begin("dispatch", self._send(endpoint))

    async def stop(self) -> None:
        """Publish no more; the ledger sends again what is not begun."""
        self._is_started = False
        await end_tasks([*self._sending])

    def _begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=name)
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, endpoint: str) -> None:
        """Send what waits for one stream, and what comes meanwhile."""
        waiting = self._waiting[endpoint]
        try:
            while waiting:
                count = min(len(waiting), self._limits.dispatch_slice)
                await self._send_slice([waiting.popleft() for _ in range(count)])
        finally:
            del self._waiting[endpoint]

    async def _send_slice(self, batch: Sequence[Picked]) -> None:
        try:
            left = await self._try([dispatch_message(picked) for picked in batch])
        except Exception as error:
            # Once its dispatch has run out, the ledger sends it again.
            log.error("fault in a dispatch", endpoint=batch[0].record.endpoint, exc_info=error)
            return
        if left:
            # What comes next need not wait for it: what is left has its own time.
            self._insisted_on.update(message.subject for message in left)
            self._begin("dispatch again", self._insist(left))

    async def _insist(self, messages: Sequence[Message]) -> None:
        deadline = asyncio.get_running_loop().time() + self._limits.dispatch_seconds / 2
        pause = self._limits.relay_poll_seconds
        try:
            while messages and asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(pause)
                messages = await self._try(messages, again=True)
        finally:
            self._insisted_on.subtract(message.subject for message in messages)

    async def _try(self, messages: Sequence[Message], *, again: bool = False) -> list[Message]:
        """Publish to one stream; what is not stored comes back. again: they are among what is
        insisted on."""
        left: list[Message] = list(messages)
        try:
            with PublishSpans(messages) as sending:
                results = sending.results = await self._bus.publish_window(sending.messages)
        except BusError as error:
            cause = str(error)
        else:
            failed = [(m, r) for m, r in zip(messages, results, strict=True) if not r.is_stored]
            if any(result.code == NO_STREAM for _, result in failed):
                self._on_gone()
            left, cause = [m for m, _ in failed], failed[-1][1].reason if failed else ""
        if again:
            self._insisted_on.subtract(message.subject for message in messages)
            self._insisted_on.update(message.subject for message in left)
        self._note(messages[0].subject, bool(left), cause)
        return left

    def _note(self, subject: str, refused: bool, cause: str) -> None:
        """Log once when the first stream takes nothing, and once when the last one does again: each
        endpoint has its own, and while one is stuck the others flow."""
        stuck, now = bool(self._stuck), asyncio.get_running_loop().time()
        if refused:
            self._stuck[subject] = now
        elif not self._insisted_on[subject]:
            self._stuck.pop(subject, None)
        # Of an endpoint that is gone or paused nothing is tried any more.
        outdated = now - self._limits.dispatch_seconds * STUCK_DISPATCHES
        self._stuck = {each: since for each, since in self._stuck.items() if since > outdated}
        if self._stuck and not stuck:
            log.warning("deliveries wait, the bus does not take them", cause=cause, subject=subject)
        elif stuck and not self._stuck:
            log.info("deliveries flow again")


def look_pause_seconds(backlog_seconds: float | None, limits: Limits) -> float:
    """How long until a look whether stored work may go: when a rate lets some out, and soon for
    what else may. backlog_seconds: of the committer."""
    if backlog_seconds is None:
        return CLOCK_SECONDS
    return min(limits.timer_seconds, max(backlog_seconds, limits.rate_look_seconds))


class Timers:
    """Wakes deliveries whose time has come, and endpoints whose rate allows another call.

    When the next one is due is known from what was read last and from every commit since: the store
    is read when one is due, and every `timer_look_seconds` for what nobody told of.
    """

    def __init__(
        self,
        store: Store,
        committer: Committer,
        limits: Limits,
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._committer = committer
        self._limits = limits
        self._clock = clock
        self._next: int | None = None
        # By the event loop's time.
        self._read_at = -inf
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def committed(self, batch: Committed) -> None:
        """A batch is durable: a timer may be due earlier than the next one known."""
        if batch.untold:
            self.heard(self._clock())
        for record in batch.deliveries():
            self.heard(record.due_at)

    def heard(self, due_at: int | None) -> None:
        """A delivery of some commit has a timer then; None: it has none."""
        if due_at is not None and (self._next is None or due_at < self._next):
            self._next = due_at
            self._wake.set()

    def start(self) -> None:
        """Begin, with what is due already."""
        self._task = keep("timers", self._run)

    async def stop(self) -> None:
        """No more timers."""
        if self._task is not None:
            await end_tasks([self._task])

    async def _run(self) -> None:
        # After a fault, too, nothing is known.
        self._read_at = -inf
        while True:
            await self._until_due()
            # What commits while the store is read may be due before all that the store tells.
            self._next, self._read_at = None, asyncio.get_running_loop().time()
            try:
                async with self._store.read() as connection:
                    ids, following = await due_deliveries(
                        connection, self._clock(), self._limits.timer_rows_max
                    )
            except StoreFailure as failure:
                log.warning("timers wait, the store does not answer", cause=failure.cause)
                await asyncio.sleep(1.0)
                self._read_at = -inf
                continue
            self.heard(following)
            if ids:
                await self._tick(ids)
                # There may be more of them, and what was refused is due still.
                self.heard(self._clock())

    async def _until_due(self) -> None:
        """Wait for the next timer. While stored work waits, have the committer look meanwhile
        whether rate and pauses let some of it out: it knows that without the store."""
        while (pause := self._pause_seconds()) > 0:
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            if self._committer.backlog_seconds is not None:
                self._committer.poke()

    def _pause_seconds(self) -> float:
        """How long to sleep before the next look at the clocks; 0 or less: the store is read."""
        limits = self._limits
        since = asyncio.get_running_loop().time() - self._read_at
        ahead = inf if self._next is None else (self._next - self._clock()) / SECOND
        left = max(min(ahead, limits.timer_look_seconds - since), limits.timer_seconds - since)
        return min(left, look_pause_seconds(self._committer.backlog_seconds, limits))

    async def _tick(self, ids: Sequence[str]) -> None:
        answers: list[asyncio.Future[Any]] = []
        for delivery_id in ids:
            command = Command(
                "timer",
                HUB,
                lambda unit, wanted=delivery_id: attempts.tick(unit, wanted),  # type: ignore[misc]
                asyncio.get_running_loop().create_future(),
                keys=frozenset({("delivery", delivery_id)}),
                bulk=True,
            )
            try:
                answers.append(self._committer.submit(command))
            except (Refused, Stopped):
                break
        await asyncio.gather(*answers, return_exceptions=True)
