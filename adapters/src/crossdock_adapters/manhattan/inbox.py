"""Messages from Pub/Sub to the hub: acknowledged only once the hub keeps them, one way or another.

A message is done when the hub applied or held its facts, or keeps it raw because it can't be
translated. Everything else comes again: after a lease, an outage of the hub, a kill.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Sequence
from typing import Any

from crossdock.errors import (
    AlreadyUsedError,
    CallError,
    ConflictError,
    HubFaultError,
    NoAnswerError,
    NotAllowedError,
    NotFoundError,
    TryAgainError,
    UnknownEndpointError,
)
from crossdock.fulfillment.v1 import fulfillment_service_pb2

from crossdock_adapters.manhattan import translate_messages
from crossdock_adapters.manhattan.names import Names
from crossdock_adapters.manhattan.sites import Sites
from crossdock_adapters.manhattan.subscription import Received, SubscriptionClient
from crossdock_adapters.manhattan.translate_messages import Context, Fact
from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.attempts import HubAway, HubRefused
from crossdock_adapters.sdk.outcomes import Retry
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.work import Poll

log = logging.getLogger(__name__)

MAX_AT_ONCE = 16
MAX_HOLD_REASON = 900
FIRST_PAUSE_SECONDS = 0.2
MAX_PAUSE_SECONDS = 2.0
# The hub could not take it now, or not from us: nothing about the message itself is wrong.
NOT_THE_MESSAGE = (
    NoAnswerError,
    TryAgainError,
    HubFaultError,
    ConflictError,
    NotAllowedError,
    UnknownEndpointError,
    HubAway,
    HubRefused,
)


class Inbox:
    """One run over the subscriptions of an endpoint."""

    def __init__(
        self, poll: Poll, subscriptions: SubscriptionClient, sites: Sites, names: Names
    ) -> None:
        self._poll = poll
        self._subscriptions = subscriptions
        self._sites = sites
        self._names = names
        self._ignored = frozenset(poll.settings.texts("ignored_message_types"))
        self._gate = asyncio.Semaphore(MAX_AT_ONCE)
        self._hub_trouble: Exception | None = None
        self._answered = asyncio.Event()

    async def run(self) -> None:
        """Pull every subscription until the run's time is over; raise what went wrong at its end.

        A subscription that fails pauses and goes on, so that one outage does not stop the others.
        No subscription waits for the answer of another: a pull that is not answered by then is
        heard by the next run. But one answer there is in each run, or none could say that the
        vendor is there.
        """
        until = time.monotonic() + self._poll.settings.seconds("messages_run_seconds")
        names = self._poll.settings.texts("subscriptions")
        ends = await asyncio.gather(
            *(self._drain(name, until) for name in names), return_exceptions=True
        )
        for end in ends:
            if isinstance(end, BaseException):
                raise end
        if self._hub_trouble is not None:
            raise self._hub_trouble

    async def translate_held(self, payload: bytes) -> None:
        """A message that was kept raw, once more; its facts have the ids that they had at first,
        unless the hub has an earlier reading of it under those."""
        await self._keep(Received("", "held", "", payload, {}))

    async def _drain(self, subscription: str, until: float) -> None:
        maximum = max(1, self._poll.settings.integer("pull_messages"))
        trouble: Retry | None = None
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                received = await self._pull(subscription, maximum, until)
                if received is None:
                    break
                if received:
                    await self._take(subscription, received)
                trouble, pause = None, FIRST_PAUSE_SECONDS
            except Retry as retry:
                trouble = retry
            if time.monotonic() >= until:
                break
            if trouble is not None:
                await asyncio.sleep(min(max(pause, trouble.after_seconds), MAX_PAUSE_SECONDS))
                pause *= 2
        if trouble is not None:
            raise trouble

    async def _pull(self, subscription: str, maximum: int, until: float) -> list[Received] | None:
        """None: the run is over, and this subscription is not answered yet."""
        try:
            received = await self._subscriptions.pull_within(
                subscription, maximum, until, self._answered
            )
        except Exception:
            self._answered.set()
            raise
        if received is not None:
            self._answered.set()
        return received

    async def _take(self, subscription: str, received: Sequence[Received]) -> None:
        """Hand messages to the hub: in order per order, many orders at once."""
        lanes: dict[str, list[Received]] = {}
        for message in received:
            lanes.setdefault(message.ordering_key or message.message_id, []).append(message)
        results: Sequence[list[str]] = ()
        if await self._caught_up():
            results = await asyncio.gather(*(self._lane(lane) for lane in lanes.values()))
        done = {ack_id for acknowledged in results for ack_id in acknowledged}
        left = [message.ack_id for message in received if message.ack_id not in done]
        if left:
            seconds = int(self._poll.settings.seconds("redeliver_seconds"))
            await self._subscriptions.give_back(subscription, left, seconds)
        if done:
            await self._subscriptions.acknowledge(subscription, sorted(done))

    async def _caught_up(self) -> bool:
        """Whether what came is read by the rows of now; False: the hub is away, and all of it is
        given back."""
        try:
            await self._poll.catch_up()
        except NOT_THE_MESSAGE as trouble:
            self._hub_trouble = trouble
            return False
        return True

    async def _lane(self, lane: Sequence[Received]) -> list[str]:
        """Ack ids of what is durable; the first that is not keeps the later ones waiting."""
        done: list[str] = []
        async with self._gate:
            for message in lane:
                try:
                    await self._keep(message)
                except NOT_THE_MESSAGE as trouble:
                    self._hub_trouble = trouble
                    break
                done.append(message.ack_id)
        return done

    async def _keep(self, message: Received) -> None:
        """Durable in the hub on return: applied, held, or raw."""
        try:
            payload = vendor_json.loads(message.data)
            if not isinstance(payload, dict):
                raise Unreadable("the message is not a JSON object")
            if str(self._names.get(payload, "message.type")) in self._ignored:
                return
            facts = translate_messages.facts(payload, await self._context(payload))
        except (Unreadable, ValueError, RecursionError) as error:
            await self._hold(message, str(error) or type(error).__name__, error)
            return
        try:
            for fact in facts:
                await self._tell(fact)
        except NOT_THE_MESSAGE:
            raise
        except CallError as refused:
            await self._hold(message, f"the hub refuses it: {refused}")

    async def _context(self, payload: dict[str, Any]) -> Context:
        found: dict[str, str] = {}
        for number in translate_messages.numbers_to_resolve(payload, self._names):
            if not number:
                continue
            request = fulfillment_service_pb2.GetFulfillmentRequestRequest(number=number)
            try:
                answer = await self._poll.hub.fulfillments.GetFulfillmentRequest(request)
            except NotFoundError:
                continue
            found[number] = answer.fulfillment_request.id
        return Context(self._poll.endpoint, self._names, self._sites.zones, found)

    async def _tell(self, fact: Fact) -> None:
        try:
            await self._report(fact)
        except AlreadyUsedError as used:
            if used.reason != "REQUEST_ID_REUSED":
                raise
            await self._report(translate_messages.told_otherwise(fact, self._poll.endpoint))

    async def _report(self, fact: Fact) -> None:
        hub = self._poll.hub
        if isinstance(fact, fulfillment_service_pb2.ReportPickRequest):
            await hub.fulfillments.ReportPick(fact)
        elif isinstance(fact, fulfillment_service_pb2.ReportPackedRequest):
            await hub.fulfillments.ReportPacked(fact)
        else:
            await hub.shipments.ManifestShipment(fact)

    async def _hold(
        self, message: Received, reason: str, cause: BaseException | None = None
    ) -> None:
        """Keep it raw; the same bytes are kept once, however often they come."""
        key = hashlib.sha256(message.data).hexdigest()
        await self._poll.hold(message.data, reason[:MAX_HOLD_REASON], key=key, cause=cause)
        log.warning("message %s kept raw: %s", message.message_id, reason)
