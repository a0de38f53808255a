"""One delivery after another: begin, let the adapter do it, complete, acknowledge."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from crossdock import contracts
from crossdock.delivery.v1 import delivery_pb2
from crossdock.ending import end_tasks
from crossdock.telemetry import DECISION
from google.protobuf.message import DecodeError
from opentelemetry.trace import Span, get_current_span

from crossdock_adapters.sdk import exchange
from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.attempts import (
    Attempt,
    Attempts,
    BeginRefused,
    DraftNotKept,
    HubRefused,
)
from crossdock_adapters.sdk.completion import LOOK_UP, whole_completion
from crossdock_adapters.sdk.events import decode_event
from crossdock_adapters.sdk.manifest import Operation
from crossdock_adapters.sdk.mappings import as_they_are
from crossdock_adapters.sdk.outcomes import (
    AnswerLater,
    NotTried,
    OutcomeUnknown,
    Reject,
    Unreachable,
    Untranslatable,
)
from crossdock_adapters.sdk.pacing import Pace, Place
from crossdock_adapters.sdk.presence import Presence
from crossdock_adapters.sdk.telemetry import (
    Telemetry,
    describe_attempt,
    describe_event,
    describe_outcome,
    traceparent,
)
from crossdock_adapters.sdk.work import Work

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 4.0
LEASE_MARGIN_SECONDS = 10.0
MIN_LEASE_TO_START_SECONDS = 1.0
# Of the lease of a process that was stopped, so much is kept for telling how its call ended.
LEASE_SPARE_SECONDS = 1.0
DEFAULT_LEASE_SECONDS = 40.0


class Message(Protocol):
    """A bus message, as the consumer hands it over."""

    @property
    def data(self) -> bytes: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    async def ack(self) -> None: ...

    async def in_progress(self) -> None: ...


MakeWork = Callable[[delivery_pb2.Dispatch, Any, int], Work]


@dataclass(slots=True)
class Worker:
    """Handles the deliveries of one endpoint; any number at a time.

    `hurry` makes every running vendor call end at once: what it left behind is completed as
    unknown, or as a retry when nothing with an effect left. `secret_values`: what no excerpt may
    show, whoever said it. `reach_rows`: has the rows of codes by which what began at a version of
    them is translated; HubAway when they can't be read. `pace`: of the system's calls from this
    process; None: it declares no rate.
    """

    endpoint: str
    adapter: Adapter
    vendor: Any
    attempts: Attempts
    make_work: MakeWork
    vendor_presence: Presence
    telemetry: Telemetry
    hurry: asyncio.Event
    secret_values: Callable[[], Iterable[str]] = tuple
    reach_rows: Callable[[int | None], Awaitable[None]] = as_they_are
    pace: Pace | None = None

    async def handle(self, message: Message) -> None:
        """Work one message off. Raises nothing but cancellation: every end is told the hub."""
        try:
            dispatch = delivery_pb2.Dispatch.FromString(message.data)
        except DecodeError:
            # Without a delivery id there is nothing to complete; the ledger sends it again.
            log.error("endpoint %s: a delivery message cannot be decoded", self.endpoint)
            await message.ack()
            return
        with self.telemetry.handling(message.headers, self.endpoint) as span:
            progress = asyncio.create_task(_keep_message(message))
            try:
                await self._attempt(dispatch, span)
            finally:
                progress.cancel()
            await message.ack()

    async def _attempt(self, dispatch: delivery_pb2.Dispatch, span: Span) -> None:
        operation = self.adapter.manifest.operations.get(dispatch.operation)
        try:
            attempt = await self.attempts.begin(dispatch, _lease(operation), traceparent())
        except BeginRefused as refused:
            log.info("delivery %s not begun: %s", dispatch.delivery_id, refused)
            span.set_attribute(DECISION, "NOT_BEGUN")
            return
        describe_attempt(span, dispatch.delivery_id, dispatch.operation, attempt.number)
        self.telemetry.in_flight.labels(self.endpoint).inc()
        clock = self.vendor_presence.clock
        started = clock()
        try:
            ended, record = await self._perform(dispatch, operation, attempt)
            told, apart = whole_completion(
                dispatch.delivery_id,
                attempt.token,
                attempt.kind,
                ended,
                record,
                dispatch.vendor_reference,
                attempt.rows,
            )
            outcome = delivery_pb2.AttemptOutcome.Name(told.outcome)
            self._note(dispatch.operation, outcome, told.code, ended, clock() - started)
            describe_outcome(span, told, outcome.removeprefix("ATTEMPT_OUTCOME_"))
            result = await self.attempts.complete(told, apart)
            if result.HasField("refusal"):
                log.warning(
                    "delivery %s: completion kept as evidence only: %s",
                    dispatch.delivery_id,
                    result.refusal.message,
                )
        except HubRefused as refused:
            log.error("delivery %s: the outcome was refused: %s", dispatch.delivery_id, refused)
        finally:
            self.telemetry.in_flight.labels(self.endpoint).dec()

    async def _perform(
        self, dispatch: delivery_pb2.Dispatch, operation: Operation | None, attempt: Attempt
    ) -> tuple[Any, exchange.Exchange]:
        with exchange.recording(self.attempts.clock) as record:
            record.lease_until = attempt.lease_until
            try:
                function = self._function(dispatch, attempt.kind)
                event = decode_event(dispatch)
                describe_event(get_current_span(), event)
                # A vendor's answer may repeat a credential under any name of its own.
                record.hide([*contracts.load().sensitive_values(event), *self.secret_values()])
                work = self.make_work(dispatch, event, attempt.number)
                work = replace(work, in_doubt=attempt.in_doubt)
            except Untranslatable as poison:
                return poison, record
            assert operation is not None
            perform = partial(self._by_rows, function, work, attempt)
            if self.pace is None:
                return await self._in_time(perform, operation, attempt, record), record
            place = record.place = await self._place(self.pace)
            if place is None:
                return NotTried(0.0, "the process is stopping"), record
            try:
                ended = await self._in_time(perform, operation, attempt, record)
                if isinstance(ended, NotTried):
                    place.unused()
            finally:
                place.ended()
            return ended, record

    async def _place(self, pace: Pace) -> Place | None:
        """Room for the call in its system's pace; None: the process stops before there is any."""
        waiting = asyncio.create_task(pace.place())
        hurry = asyncio.create_task(self.hurry.wait())
        try:
            try:
                await asyncio.wait({waiting, hurry}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await end_tasks([waiting, hurry])
        except asyncio.CancelledError:
            # Nobody else gives it back, and the system had one call less for good.
            if waiting.done() and not waiting.cancelled():
                waiting.result().unused()
            raise
        return None if waiting.cancelled() else waiting.result()

    async def _in_time(
        self,
        perform: Callable[[], Awaitable[Any]],
        operation: Operation,
        attempt: Attempt,
        record: exchange.Exchange,
    ) -> Any:
        """What it came to, within its time and a lease that is longer."""
        limit = operation.timeout_seconds
        looked_at = self.attempts.clock()
        if record.lease_left_seconds() < MIN_LEASE_TO_START_SECONDS:
            return NotTried(0.0, "the lease ran out before the call began")
        # A call that outlives its lease is in doubt while it still runs: what follows doubt (a
        # look-up that finds nothing yet, then a repeat) would meet it.
        if record.lease_left_seconds() < limit and not await self.attempts.renew(attempt):
            return NotTried(0.0, "too little was left of the lease for the call")
        record.lease_until = attempt.lease_until
        record.ends_at = _call_ends_at(record, limit, looked_at)
        if record.ends_at <= self.attempts.clock():
            return NotTried(0.0, "the time for the call was over before it began")
        return await self._call(perform(), attempt, record, limit)

    async def _by_rows(
        self, function: Callable[[Work, Any], Awaitable[Any]], work: Work, attempt: Attempt
    ) -> Any:
        """Do it by the rows that the hub had as it began, or newer ones: where they are not here
        yet they are read first, within the time of the call. HubAway: nothing was tried."""
        await self.reach_rows(attempt.mapping_version)
        # Those from before: one that comes while it is translated may not be seen.
        attempt.rows = self.adapter.mappings.told().values()
        draft = None if attempt.kind == LOOK_UP else self.adapter.drafts.get(work.operation)
        if draft is None:
            return await function(work, self.vendor)
        return await self._in_two_steps(draft, function, work, attempt)

    async def _in_two_steps(
        self,
        draft: Callable[[Work, Any], Awaitable[str]],
        confirm: Callable[[Work, Any], Awaitable[Any]],
        work: Work,
        attempt: Attempt,
    ) -> Any:
        """Draft, tell the hub, confirm: a draft that only we know of is never confirmed."""
        if not attempt.draft:
            made = await draft(work, self.vendor)
            try:
                await self.attempts.note_draft(attempt, made)
            except DraftNotKept as lost:
                raise OutcomeUnknown(f"draft {made} was not confirmed: {lost}") from None
        return await confirm(replace(work, draft=attempt.draft), self.vendor)

    async def _call(
        self,
        doing: Awaitable[Any],
        attempt: Attempt,
        record: exchange.Exchange,
        limit_seconds: float,
    ) -> Any:
        """What the function returned or raised; it ends early when time or lease are over."""

        def moved(lease_until: float) -> None:
            record.lease_until = lease_until

        left_seconds = record.ends_at - self.attempts.clock()
        call = asyncio.ensure_future(doing)
        alive = asyncio.create_task(self.attempts.keep_alive(attempt, moved))
        hurry = asyncio.create_task(self.hurry.wait())
        try:
            await asyncio.wait(
                {call, alive, hurry}, timeout=left_seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if not call.done():
                why = "the process is stopping" if hurry.done() else "the lease was lost"
                if not (hurry.done() or alive.done()):
                    why = f"no outcome within {limit_seconds:g} s"
                call.cancel()
                await asyncio.wait({call})
                if call.cancelled():
                    return TimeoutError(why)
            return _result(call)
        finally:
            call.cancel()
            await end_tasks([alive, hurry])

    def _function(
        self, dispatch: delivery_pb2.Dispatch, kind: int
    ) -> Callable[[Work, Any], Awaitable[Any]]:
        name = dispatch.operation
        if kind == LOOK_UP:
            found: Any = self.adapter.look_ups.get(name)
            if found is None:
                raise Untranslatable(f"this adapter cannot look up {name}")
        else:
            found = self.adapter.operations.get(name)
            if found is None:
                raise Untranslatable(f"this adapter does not know the operation {name}")
        function: Callable[[Work, Any], Awaitable[Any]] = found
        return function

    def _note(self, operation: str, outcome: str, code: str, ended: Any, seconds: float) -> None:
        """Metrics, and whether the vendor seems to be there."""
        short = outcome.removeprefix("ATTEMPT_OUTCOME_").lower()
        asked_at = self.vendor_presence.clock() - seconds
        self.telemetry.deliveries.labels(self.endpoint, operation, short).inc()
        self.telemetry.calls.labels(self.endpoint, operation, code or "ok").observe(seconds)
        if isinstance(ended, Unreachable):
            self.vendor_presence.gone(ended.reason, asked_at)
        elif isinstance(ended, (AnswerLater, Reject)):
            self.vendor_presence.back(asked_at)
        elif isinstance(ended, (OutcomeUnknown, TimeoutError)):
            self.vendor_presence.doubt(str(ended), asked_at)
        elif not isinstance(ended, BaseException):
            self.telemetry.progress.labels(self.endpoint).set_to_current_time()
            self.vendor_presence.back(asked_at)


def _result(call: asyncio.Future[Any]) -> Any:
    if call.cancelled():
        return TimeoutError("the call was cancelled")
    error = call.exception()
    if error is None:
        return call.result()
    log.debug("the adapter raised", exc_info=error)
    return error


def _call_ends_at(record: exchange.Exchange, limit_seconds: float, looked_at: float) -> float:
    """When the call ends, on the clock of its lease: within the lease, where the hub granted as
    much as the call may take. A process that was stopped after it had looked at its lease, or
    asked for a whole one, at `looked_at`, has less time for the call instead of less lease."""
    ends_at = record.clock() + limit_seconds
    if record.lease_until < looked_at + limit_seconds:
        return ends_at
    return min(ends_at, max(looked_at + limit_seconds, record.lease_until - LEASE_SPARE_SECONDS))


def _lease(operation: Operation | None) -> float:
    """Long enough for the whole call where the hub grants it; renewed where it does not."""
    if operation is None:
        return DEFAULT_LEASE_SECONDS
    return operation.timeout_seconds + LEASE_MARGIN_SECONDS


async def _keep_message(message: Message) -> None:
    """Tell the bus that the message is being worked on, so that it is not sent again."""
    while True:
        await asyncio.sleep(PROGRESS_SECONDS)
        with contextlib.suppress(Exception):
            await message.in_progress()
