"""Attempts at the hub's ledger: begun before anything leaves, kept alive, completed for sure."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock.errors import HubFaultError
from google.protobuf.duration_pb2 import Duration

from crossdock_adapters.sdk import lease_clock
from crossdock_adapters.sdk.carrying import COMPLETION_SOURCE, Apart, facts_apart
from crossdock_adapters.sdk.coalesce import Coalescer
from crossdock_adapters.sdk.mappings import Told
from crossdock_adapters.sdk.presence import Presence

log = logging.getLogger(__name__)
T = TypeVar("T")

FIRST_PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 5.0
RENEW_AT_SHARE_OF_LEASE = 1 / 3
MAX_REASON_CHARACTERS = 1_000
MAX_LOST_CHARACTERS = 200
MAX_REFUSAL_CHARACTERS = 400
# A completion that the hub has a fault with is told so often whole, and then so often bare.
FAULT_TELLS_MAX = 4
HUB_FAULT = "INTERNAL_FAULT"


class HubAway(Exception):
    """The hub did not answer, or asks to come again: repeating the call is right."""


class HubRefused(Exception):
    """The hub refused the call for good; the text is the hub's."""


class Ledger(Protocol):
    """The ledger's calls. Each raises HubAway or HubRefused, and nothing else."""

    async def begin(
        self, begins: list[delivery_service_pb2.Begin]
    ) -> list[delivery_service_pb2.BeginResult]: ...

    async def renew(
        self, renewals: list[delivery_service_pb2.LeaseRenewal]
    ) -> list[delivery_service_pb2.LeaseResult]: ...

    async def complete(
        self, completions: list[delivery_service_pb2.Completion]
    ) -> list[delivery_service_pb2.CompletionResult]: ...

    async def hold(
        self, source: str, payload: bytes, content_type: str, reason: str, key: str
    ) -> str: ...


class DraftNotKept(Exception):
    """The hub did not keep a draft: it must not be confirmed; the text is the hub's."""


class BeginRefused(Exception):
    """The hub says this delivery is not to be worked on now: drop the message."""


@dataclass(slots=True)
class Attempt:
    """A begun attempt. `lease_until` (`lease_clock`) is counted from before we asked.

    `draft`: what an earlier attempt of the delivery made and did not see confirmed.
    `asked_seconds`: the lease that was asked for; a begin that was repeated is told what is left.
    `in_doubt`: an earlier call may have been done. `mapping_version`: of the rows that the hub had
    as it began; None of one that does not say. `rows`: those by which it was translated.
    """

    delivery_id: str
    token: int
    kind: int
    number: int
    lease_seconds: float
    lease_until: float
    draft: str = ""
    asked_seconds: float = 0.0
    in_doubt: bool = True
    mapping_version: int | None = None
    rows: Iterable[Told] = ()


def new_attempt_id() -> str:
    """An id that no other attempt has."""
    return str(uuid.uuid4())


class Attempts:
    """Begins, renews and completes; concurrent attempts share calls. `clock`: of their leases."""

    def __init__(
        self,
        ledger: Ledger,
        hub: Presence,
        on_held: Callable[[Sequence[str]], None] = lambda held_ids: None,
        clock: Callable[[], float] = lease_clock.now,
        new_id: Callable[[], str] = new_attempt_id,
    ) -> None:
        """on_held: told the ids of what is held apart from a completion, once that is told."""
        self.clock = clock
        self._new_id = new_id
        self._hub = hub
        self._on_held = on_held
        self._ledger = ledger
        self._begin = Coalescer(ledger.begin)
        self._renew = Coalescer(ledger.renew)
        self._complete = Coalescer(self._complete_batch)

    async def begin(
        self, dispatch: delivery_pb2.Dispatch, lease_seconds: float, traceparent: str
    ) -> Attempt:
        """Begin what is sent now; waits while the hub is away. BeginRefused: drop it."""
        request = delivery_service_pb2.Begin(
            delivery_id=dispatch.delivery_id,
            dispatch_number=dispatch.dispatch_number,
            # Made once: a begin repeated after a lost answer gets the same attempt.
            attempt_id=self._new_id(),
            lease=_duration(lease_seconds),
            traceparent=traceparent[:64],
        )
        asked_at, faults = 0.0, 0

        async def once() -> delivery_service_pb2.BeginResult:
            nonlocal asked_at, faults
            asked_at = self.clock()
            result = await self._begin.call(request)
            faults += result.refusal.reason == HUB_FAULT
            if result.refusal.reason == HUB_FAULT and faults < FAULT_TELLS_MAX:
                # No word about the delivery: a begin before it may have been granted, and lost.
                raise HubAway(result.refusal.message)
            return result

        try:
            result = await self._insist(once)
        except HubRefused as refused:
            raise BeginRefused(str(refused)) from None
        if result.HasField("refusal"):
            raise BeginRefused(f"{result.refusal.reason}: {result.refusal.message}")
        seconds = result.lease.ToNanoseconds() / 1e9
        # An older hub does not say it: then any earlier attempt may have done it.
        in_doubt = result.in_doubt if result.HasField("in_doubt") else result.attempt > 1
        version = result.mapping_version if result.HasField("mapping_version") else None
        return Attempt(
            result.delivery_id, result.token, result.kind, result.attempt, seconds,
            asked_at + seconds, result.draft, lease_seconds, in_doubt, version,
        )  # fmt: skip

    async def note_draft(self, attempt: Attempt, draft: str) -> None:
        """Make a draft known before it is confirmed; it is durable when this returns.

        Waits while the hub is away. DraftNotKept when the lease is lost, or another draft stands.
        """
        renewal = delivery_service_pb2.LeaseRenewal(
            delivery_id=attempt.delivery_id,
            token=attempt.token,
            lease=_duration(attempt.lease_seconds),
            draft=draft,
        )
        try:
            result = await self._insist(lambda: self._renew.call(renewal))
        except HubRefused as refused:
            raise DraftNotKept(str(refused)) from None
        if result.HasField("refusal"):
            raise DraftNotKept(f"{result.refusal.reason}: {result.refusal.message}")
        attempt.draft = draft

    async def renew(self, attempt: Attempt) -> bool:
        """Ask for a whole lease once more. False: it was not granted, nothing is to be sent."""
        asked_at = self.clock()
        renewal = delivery_service_pb2.LeaseRenewal(
            delivery_id=attempt.delivery_id,
            token=attempt.token,
            lease=_duration(attempt.asked_seconds or attempt.lease_seconds),
        )
        try:
            result = await self._renew.call(renewal)
        except (HubAway, HubRefused) as why:
            log.warning("delivery %s: no longer lease: %s", attempt.delivery_id, why)
            return False
        if result.HasField("refusal"):
            return False
        attempt.lease_until = asked_at + result.lease.ToNanoseconds() / 1e9
        return True

    async def keep_alive(self, attempt: Attempt, moved: Callable[[float], None]) -> None:
        """Renew the lease until cancelled; returns when the lease is lost.

        `moved` gets the new end of the lease (`lease_clock`) after each renewal.
        """
        while True:
            await asyncio.sleep(attempt.lease_seconds * RENEW_AT_SHARE_OF_LEASE)
            asked_at = self.clock()
            renewal = delivery_service_pb2.LeaseRenewal(
                delivery_id=attempt.delivery_id,
                token=attempt.token,
                lease=_duration(attempt.lease_seconds),
            )
            try:
                result = await self._renew.call(renewal)
            except HubAway as away:
                # The call goes on: its lease has not ended yet, and an answer may still come.
                self._hub.gone(str(away))
                continue
            except HubRefused as refused:
                log.warning("delivery %s: renewal refused: %s", attempt.delivery_id, refused)
                return
            self._hub.back()
            if result.refusal.reason == HUB_FAULT:
                # Not a word about the lease: it stands until its end.
                log.warning("delivery %s: %s", attempt.delivery_id, result.refusal.message)
                continue
            if result.HasField("refusal"):
                log.warning("delivery %s: lease lost", attempt.delivery_id)
                return
            attempt.lease_until = asked_at + result.lease.ToNanoseconds() / 1e9
            moved(attempt.lease_until)

    async def complete(
        self, completion: delivery_service_pb2.Completion, apart: Sequence[Apart] = ()
    ) -> delivery_service_pb2.CompletionResult:
        """Tell the outcome; repeated for as long as this process lives and the hub is away.

        apart: what the completion has no room for. It is held before: a process that dies between
        the two leaves an attempt that is looked up or repeated, and the same is held once; after a
        completion nobody would come back for it.

        HubRefused when the hub does not take even the bare outcome: the lease will end, and what
        follows doubt is the ledger's.
        """
        held: list[str] = []
        if lost := await self._hold(completion.delivery_id, apart, held):
            completion.reason = f"{lost} {completion.reason}"[:MAX_REASON_CHARACTERS]
        result = await self._tell(completion)
        if isinstance(result, HubRefused):
            # What we learned is not acceptable, but that it happened must be known.
            log.error("delivery %s: completion refused: %s", completion.delivery_id, result)
            lost += await self._hold(completion.delivery_id, facts_apart(completion), held)
            result = await self._tell(_bare(completion, result, lost))
        if held:
            self._on_held(held)
        if isinstance(result, HubRefused):
            raise result
        return result

    async def _hold(self, delivery_id: str, apart: Sequence[Apart], held: list[str]) -> str:
        """Says how many of these the hub does not hold, and why; "" when it holds all. held: gets
        the ids of those it holds."""
        lost, last, before = 0, "", ""
        for each in apart:
            try:
                before = await self._hold_one(each.behind(before))
                held.append(before)
            except HubRefused as refused:
                before = ""
                log.error("delivery %s: %s: LOST: %s", delivery_id, each.reason, refused)
                lost, last = lost + 1, str(refused)[:MAX_LOST_CHARACTERS]
        return f"LOST, the hub does not hold {lost} of {len(apart)}: {last}." if lost else ""

    async def _hold_one(self, apart: Apart) -> str:
        """The id under which it is held, durably. HubRefused too when the hub has a fault with it
        each time."""
        faults = 0

        async def once() -> str:
            nonlocal faults
            try:
                return await self._ledger.hold(
                    COMPLETION_SOURCE, apart.payload, apart.content_type, apart.reason, apart.key
                )
            except HubAway as away:
                faults += isinstance(away.__cause__, HubFaultError)
                if faults >= FAULT_TELLS_MAX:
                    raise HubRefused(str(away)) from away
                raise

        return await self._insist(once)

    async def _tell(
        self, completion: delivery_service_pb2.Completion
    ) -> delivery_service_pb2.CompletionResult | HubRefused:
        """The hub's answer; HubRefused too when it has a fault with this completion each time."""
        pause = FIRST_PAUSE_SECONDS
        for told in range(1, FAULT_TELLS_MAX + 1):
            result = await self._insist(lambda: self._complete.call(completion))
            if isinstance(result, HubRefused) or result.refusal.reason != HUB_FAULT:
                break
            if told == FAULT_TELLS_MAX:
                return HubRefused(f"{result.refusal.reason}: {result.refusal.message}")
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_PAUSE_SECONDS)
        return result

    async def _complete_batch(
        self, completions: list[delivery_service_pb2.Completion]
    ) -> Sequence[delivery_service_pb2.CompletionResult | HubRefused]:
        try:
            return await self._ledger.complete(completions)
        except HubRefused as refused:
            if len(completions) == 1:
                return [refused]
        # One bad completion must not take the others with it.
        results: list[delivery_service_pb2.CompletionResult | HubRefused] = []
        for completion in completions:
            try:
                results += await self._ledger.complete([completion])
            except HubRefused as refused:
                results.append(refused)
        return results

    async def _insist(self, once: Callable[[], Awaitable[T]]) -> T:
        """Repeat while the hub is away, with a growing pause; ends with the process."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                result = await once()
            except HubAway as away:
                self._hub.gone(str(away))
                await asyncio.sleep(pause)
                pause = min(pause * 2, MAX_PAUSE_SECONDS)
                continue
            self._hub.back()
            return result


def _bare(
    completion: delivery_service_pb2.Completion, refused: HubRefused, lost: str
) -> delivery_service_pb2.Completion:
    """The outcome and what the vendor has for it; how many facts stay behind is said, and what was
    said of what is apart."""
    count = len(completion.facts)
    where = f"held as payloads of {COMPLETION_SOURCE}"
    left = f"{count} facts stay behind, {where}; " if count else ""
    told = f"{lost} " if lost else ""
    why = f"the hub refused the rest: {str(refused)[:MAX_REFUSAL_CHARACTERS]}; "
    return delivery_service_pb2.Completion(
        delivery_id=completion.delivery_id,
        token=completion.token,
        outcome=completion.outcome,
        code=completion.code,
        reason=f"{told}{left}{why}{completion.reason}"[:MAX_REASON_CHARACTERS],
        retry_after=completion.retry_after,
        vendor_references=completion.vendor_references,
        duplicates=completion.duplicates,
    )


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(int(seconds * 1e9))
    return duration
