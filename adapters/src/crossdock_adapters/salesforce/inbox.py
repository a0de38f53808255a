"""Events to the hub: a topic's place is kept only once everything before it is durable there.

A stream stays open from one run of the poll to the next. It is dropped when anything goes wrong,
and the next run subscribes behind the place that the hub has: events come again, and change
nothing. A place that the service does not know any more is a gap: the topic is read from its oldest
event, and every fulfillment order that changed since the place was kept is read again, by `gaps`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from datetime import UTC, datetime, timedelta
from typing import Final

from crossdock.errors import (
    CallError,
    ConflictError,
    HubFaultError,
    NoAnswerError,
    NotAllowedError,
    TryAgainError,
    UnknownEndpointError,
)
from google.protobuf.message import DecodeError

from crossdock_adapters.salesforce import avro, translate_events
from crossdock_adapters.salesforce.client import SalesforceClient
from crossdock_adapters.salesforce.gaps import Gaps
from crossdock_adapters.salesforce.orders import Orders
from crossdock_adapters.salesforce.pubsub import (
    MAX_REQUESTED,
    ReplayLost,
    Seen,
    Subscription,
)
from crossdock_adapters.salesforce.stages import Stage
from crossdock_adapters.salesforce.stubs import pubsub_api_pb2
from crossdock_adapters.salesforce.translate_events import Place
from crossdock_adapters.sdk.attempts import HubAway, HubRefused
from crossdock_adapters.sdk.cursors import Cursors
from crossdock_adapters.sdk.inbound import described
from crossdock_adapters.sdk.outcomes import NeedsPerson, Retry, VendorOutcome
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.settings import SettingsError
from crossdock_adapters.sdk.work import HeldPayload, Poll

log = logging.getLogger(__name__)

GAP: Final = "events_lost"
BUDGET: Final = "api_requests"
CONTENT_TYPE: Final = "application/x-protobuf; message=eventbus.v1.ProducerEvent"
# Of a fulfillment order that no event told of: its id.
ID_TYPE: Final = "text/plain; charset=us-ascii"
MAX_HOLD_REASON: Final = 900
# How long the service retains events.
RETENTION: Final = timedelta(hours=72)
# The hub could not take it now, or not from us: nothing about the event itself is wrong.
NOT_THE_EVENT: Final = (
    NoAnswerError, TryAgainError, HubFaultError, ConflictError, NotAllowedError,
    UnknownEndpointError,
)  # fmt: skip


class Inbox:
    """One run over the topics of an endpoint."""

    def __init__(self, poll: Poll, vendor: SalesforceClient, orders: Orders, seen: Seen) -> None:
        if poll.cursors is None:
            raise RuntimeError("the runner gives every poll its cursors")
        self._poll = poll
        self._vendor = vendor
        self._orders = orders
        self._seen = seen
        self._cursors: Cursors = poll.cursors
        self._gaps = Gaps(poll.cursors, vendor)
        settings = poll.settings
        self._size = max(1, min(settings.integer("events_at_once"), MAX_REQUESTED))
        self._preset = settings.text("first_start").upper()

    async def run(self) -> None:
        """Take what comes until the run's time is over, then as long what was missed; raise what
        went wrong at its end.

        A topic that fails does not stop the others, nor the rest.
        """
        seconds = self._poll.settings.seconds("events_run_seconds")
        until = time.monotonic() + seconds
        topics = self._poll.settings.texts("topics")
        ends: list[BaseException | None] = await asyncio.gather(
            *(self._follow(topic, until) for topic in topics), return_exceptions=True
        )
        ends += await asyncio.gather(self._close_gap(seconds), return_exceptions=True)
        self._watch_budget()
        failed = [end for end in ends if end is not None]
        for end in failed[1:]:
            said = end if isinstance(end, VendorOutcome) else type(end).__name__
            log.warning("endpoint %s: also in this run: %s", self._poll.endpoint, said)
        if failed:
            raise failed[0]

    async def translate_held(self, held: HeldPayload) -> None:
        """What was held, once more; the record is read as it is now."""
        if held.content_type == ID_TYPE:
            order_id = held.payload.decode("ascii", "replace")
            await self._tell_of_gap(order_id)
            return
        try:
            event = pubsub_api_pb2.ProducerEvent.FromString(held.payload)
        except DecodeError:
            await self._poll.hold(held.payload, "it is held in part, or no event", CONTENT_TYPE)
            return
        await self._keep(event)

    async def _follow(self, topic: str, until: float) -> None:
        try:
            await self._drain(topic, until)
        except BaseException:
            self._vendor.pubsub.drop(topic)
            raise

    async def _drain(self, topic: str, until: float) -> None:
        name = translate_events.cursor_name(self._vendor.organization, topic)
        raw, version = await self._cursors.get_cursor(name)
        place = translate_events.place_of(raw)
        from_now_on = not place.replay_id and self._preset == "LATEST"
        if from_now_on and not self._vendor.pubsub.is_open(topic, place.replay_id):
            place, version = await self._from_now_on(name, place, version)
        stream = await self._stream(topic, place.replay_id)
        begun_again = False
        while (left := until - time.monotonic()) > 0:
            try:
                came = await self._vendor.pubsub.received(stream, left)
            except ReplayLost as lost:
                if begun_again:
                    raise Retry(0.0, f"topic {topic}: no replay id is known ({lost})") from lost
                stream, begun_again = await self._begin_again(topic, place, lost), True
                continue
            if came is None:
                return
            await self._poll.catch_up()
            reached = await self._told(came, place)
            if reached.replay_id and reached.replay_id != place.replay_id:
                place = reached
                log.debug("topic %s: %d events, rpc %s", topic, len(came.events), came.rpc_id)
                version = await self._cursors.put_cursor(
                    name, translate_events.place_bytes(place), version
                )
                stream.kept = place.replay_id
            await stream.grant(len(came.events))

    async def _from_now_on(self, name: str, place: Place, version: int) -> tuple[Place, int]:
        """Since when a topic is listened to that begins with what comes, kept before it is. Until
        something comes there is no place to go on behind: where the stream ended before that, what
        changed since is read again."""
        if place.time is not None:
            await self._gaps.widen(place.time, self._overlap)
        since = Place(b"", datetime.now(UTC))
        kept = translate_events.place_bytes(since)
        return since, await self._cursors.put_cursor(name, kept, version)

    async def _told(self, came: pubsub_api_pb2.FetchResponse, place: Place) -> Place:
        """The place behind a response, once its events are durable in the hub.

        Its time is that of the last event that says one: a bus that lags gives old ones, and what
        changed since then has to be read again if the place is lost. Nothing lies before an empty
        response.
        """
        if not came.events:
            return Place(came.latest_replay_id, datetime.now(UTC))
        moment = place.time
        for event in came.events:
            moment = await self._keep(event.event) or moment
        return Place(came.events[-1].replay_id, moment)

    async def _stream(self, topic: str, replay_id: bytes) -> Subscription:
        pubsub = self._vendor.pubsub
        found: Subscription = await pubsub.subscription(topic, replay_id, self._preset, self._size)
        return found

    async def _begin_again(self, topic: str, place: Place, lost: ReplayLost) -> Subscription:
        """From the oldest event on; what changed since the place was kept will be read again."""
        since = place.time or datetime.now(UTC) - RETENTION
        said = f"topic {topic}: events since {since:%Y-%m-%dT%H:%M:%SZ} may be lost ({lost})"
        self._poll.alerts.sound(GAP, said, self._poll.settings.seconds("gap_alert_seconds"))
        await self._gaps.widen(since, self._overlap)
        pubsub = self._vendor.pubsub
        stream: Subscription = await pubsub.subscription(topic, b"", "EARLIEST", self._size)
        # It goes on in the next run although nothing came yet that would move the place.
        stream.kept = place.replay_id
        return stream

    @property
    def _overlap(self) -> timedelta:
        return timedelta(seconds=self._poll.settings.seconds("overlap_seconds"))

    async def _close_gap(self, seconds: float) -> None:
        count = await self._gaps.close(self._tell_of_gap, seconds)
        if count is not None:
            log.warning("endpoint %s: what was missed is read again", self._poll.endpoint)

    async def _tell_of_gap(self, order_id: str) -> None:
        payload, key = order_id.encode(), f"gap/{order_id}"
        await self._tell_or_hold(order_id, payload, key, ID_TYPE, is_due=True)

    async def _keep(self, event: pubsub_api_pb2.ProducerEvent) -> datetime | None:
        """Durable in the hub on return: told, or held raw. When it happened; None: it says no time,
        or cannot be read."""
        known_as = event.id
        moment: datetime | None = None
        try:
            schema = await self._vendor.pubsub.schema(event.schema_id)
        except Unreadable as problem:
            await self._hold_unread(event, known_as, problem)
            return None
        try:
            record = avro.decode(schema, event.payload)
            moment = _retained(translate_events.time_of(record))
            known_as = translate_events.event_id(record, event.id)
            if known_as in self._seen:
                return moment
            is_idle = self._orders.stages.is_idle
            change = translate_events.change_of(schema.name, record, is_idle)
        except Exception as problem:
            await self._hold_unread(event, known_as, problem)
            return moment
        if change.note:
            log.info("event %s: %s", known_as, change.note)
        if change.everything:
            await self._gaps.widen(self._overflowed(moment), self._overlap)
        stage = self._orders.stages.known(change.status, change.category)
        released = stage is Stage.RELEASED
        told, payload = True, event.SerializeToString()
        for order_id in change.ids:
            key = known_as if len(change.ids) == 1 else f"{known_as}/{order_id}"
            told &= await self._tell_or_hold(
                order_id, payload, key, CONTENT_TYPE, is_due=released or change.is_gap
            )
        if told:
            self._seen.add(known_as)
        return moment

    def _overflowed(self, committed: datetime | None) -> datetime:
        """Since when changes are missing; where the event does not say: all that is retained."""
        oldest = datetime.now(UTC) - RETENTION
        if committed is None:
            return oldest
        window = timedelta(seconds=self._poll.settings.seconds("overflow_window_seconds"))
        return max(committed - window, oldest)

    async def _tell_or_hold(
        self, order_id: str, payload: bytes, key: str, content_type: str, *, is_due: bool
    ) -> bool:
        """Whether it is told. What can pass by itself is raised, and the event comes again then; so
        is what is wrong with every read, a right that is missing: no event is to blame for it.

        is_due: see Orders.tell.
        """
        try:
            await self._orders.tell(order_id, is_due=is_due)
        except (*NOT_THE_EVENT, HubAway, HubRefused, Retry, NeedsPerson, SettingsError):
            raise
        except Exception as problem:
            # Whatever it is: one event must not keep back all that come behind it.
            said = f"{order_id}: {_said(problem)}"
            await self._hold(payload, said, key, content_type, problem)
            return False
        return True

    async def _hold_unread(
        self, event: pubsub_api_pb2.ProducerEvent, known_as: str, problem: Exception
    ) -> None:
        # By its content too: an id that cannot be trusted must not stand for another event.
        payload = event.SerializeToString()
        key = f"{known_as}/{hashlib.sha256(payload).hexdigest()[:16]}"
        await self._hold(payload, _said(problem), key, CONTENT_TYPE, problem)

    async def _hold(
        self, payload: bytes, reason: str, key: str, content_type: str, cause: Exception
    ) -> None:
        await self._poll.hold(payload, reason[:MAX_HOLD_REASON], content_type, key, cause)
        log.warning("event %s kept raw: %s", key, reason)

    def _watch_budget(self) -> None:
        said = self._vendor.budget.alert(self._poll.settings.number("limit_alert_percent"))
        if said:
            self._poll.alerts.sound(BUDGET, said)
        else:
            self._poll.alerts.lift(BUDGET)


def _retained(moment: datetime | None) -> datetime | None:
    """A time that an event of now can have: nothing older is kept, and nothing is of tomorrow."""
    if moment is None:
        return None
    now = datetime.now(UTC)
    return min(max(moment, now - RETENTION), now)


def _said(problem: Exception) -> str:
    """What is wrong, for people."""
    match problem:
        case Unreadable():
            return str(problem)
        case VendorOutcome():
            return problem.reason
        case CallError():
            return f"the hub refuses it: {problem}"
    return described(problem)
