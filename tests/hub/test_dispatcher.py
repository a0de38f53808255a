"""Dispatches on their way to the bus: when they leave, and what is said while a stream takes none
of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from crossdock.bus import delivery_message_id, delivery_subject
from crossdock_hub.bus.errors import BusUnavailable
from crossdock_hub.bus.publishing import Message, Outcome, PublishResult, refused, unknown
from crossdock_hub.committer import Committed
from crossdock_hub.config import Limits
from crossdock_hub.delivery.dispatcher import Dispatcher
from crossdock_hub.delivery.dispatching import Picked
from crossdock_hub.unit import Changes
from fixtures_nats import eventually
from ledger_vendor import Desk
from structlog.testing import capture_logs

# Long enough for a busy machine, and no time for a bus that waits for an answer.
SOON_SECONDS = 10.0
WAIT, FLOW = "deliveries wait, the bus does not take them", "deliveries flow again"


class Streams:
    """A bus with a stream for each endpoint, some of which take nothing."""

    def __init__(self) -> None:
        self.leaderless: set[str] = set()
        self.silent: set[str] = set()
        """Subjects whose answer is waited for until the bus gives them up."""
        self.given_up = asyncio.Event()
        self.unlucky: set[str] = set()
        """Message ids that are lost on their way, whatever the stream does."""
        self.away = False
        self.tries = 0
        self.stored: list[str] = []

    async def publish_window(self, messages: Sequence[Message]) -> list[PublishResult]:
        self.tries += 1
        if self.away:
            raise BusUnavailable("no connection")
        if self.silent & {message.subject for message in messages}:
            await self.given_up.wait()
        return [self._result(message) for message in messages]

    def _result(self, message: Message) -> PublishResult:
        if message.subject in self.leaderless | self.silent:
            return unknown("no answer in time")
        if message.message_id in self.unlucky:
            return refused("not sent in time")
        self.stored.append(message.subject)
        return PublishResult(Outcome.STORED, len(self.stored))


def dispatched(desk: Desk, endpoint: str) -> Committed:
    """A batch that dispatches one delivery of an endpoint."""
    record = desk.one()
    record.endpoint = endpoint
    return Committed(0, Changes(), picked=[Picked(record, 1.0)])


class Site:
    """A dispatcher before some streams, and what it says."""

    def __init__(self, said: list[Any], **limits: float) -> None:
        self.desk, self.streams, self._said = Desk(), Streams(), said
        changed = Limits().with_changes({"relay_poll_seconds": 0.01} | limits)
        self.dispatcher = Dispatcher(self.streams, changed)  # type: ignore[arg-type]

    @property
    def said(self) -> list[str]:
        return [line["event"] for line in self._said]

    async def send(self, endpoint: str) -> None:
        """Send one, and wait until it was tried."""
        before = self.streams.tries
        self.dispatcher.committed(dispatched(self.desk, endpoint))
        await eventually(lambda: self.streams.tries > before, f"a try to {endpoint}")

    async def tried(self, more: int) -> None:
        until = self.streams.tries + more
        await eventually(lambda: self.streams.tries >= until, f"{more} more tries")


async def test_a_dispatch_leaves_in_the_next_turn() -> None:
    """Proves that what a batch dispatches is with the bus one turn of the event loop later: beside
    bulk each is as long as that has it, and a vendor's call waits for all of them."""
    site = Site([])
    site.dispatcher.start()
    try:
        site.dispatcher.committed(dispatched(site.desk, "ups"))
        await asyncio.sleep(0)
        assert site.streams.stored == [delivery_subject("ups")]
    finally:
        await site.dispatcher.stop()


async def test_what_was_dispatched_before_the_start_is_sent_then() -> None:
    """Proves that what is dispatched while the bus is still looked at goes once it was, in the
    order in which it came, one stream at a time as later."""
    site = Site([])
    for endpoint in ("ups", "netsuite", "ups"):
        site.dispatcher.committed(dispatched(site.desk, endpoint))
    await asyncio.sleep(0)
    assert site.streams.tries == 0
    site.dispatcher.start()
    try:
        await eventually(lambda: len(site.streams.stored) == 3, "all of it")
        ups, netsuite = delivery_subject("ups"), delivery_subject("netsuite")
        assert site.streams.stored == [ups, ups, netsuite]
        assert site.streams.tries == 2
    finally:
        await site.dispatcher.stop()


async def test_a_stream_without_leader_says_so_once_while_others_flow() -> None:
    """Proves that the log tells once that a stream takes nothing, however often it is tried and
    whatever other streams take meanwhile, and once that it takes everything again."""
    with capture_logs() as lines:
        site = Site(lines)
        site.streams.leaderless = {delivery_subject("ups")}
        site.dispatcher.start()
        try:
            await site.send("ups")
            for _ in range(5):
                await site.send("netsuite")
                await site.tried(2)
            assert site.said == [WAIT]
            assert lines[0]["subject"] == delivery_subject("ups")
            site.streams.leaderless = set()
            await eventually(lambda: site.said == [WAIT, FLOW], "the end of it")
            await site.send("netsuite")
            await site.send("ups")
            assert site.said == [WAIT, FLOW]
        finally:
            await site.dispatcher.stop()


async def test_nobody_waits_for_the_answer_of_another_stream() -> None:
    """Proves that while a stream gives no answer, as one without a leader, what goes to others goes
    at once, and that what comes for that one meanwhile goes in one turn once it answers."""
    with capture_logs() as lines:
        site = Site(lines)
        site.streams.silent = {delivery_subject("ups")}
        site.dispatcher.start()
        try:
            await site.send("ups")
            for endpoint in ("ups", "netsuite", "fedex") * 2:
                site.dispatcher.committed(dispatched(site.desk, endpoint))
            await eventually(
                lambda: len(site.streams.stored) == 4, "what others take", SOON_SECONDS
            )
            site.streams.silent = set()
            before = site.streams.tries
            site.streams.given_up.set()
            await eventually(lambda: len(site.streams.stored) == 7, "what that one takes")
            assert site.streams.tries - before == 1
            assert site.said == []
        finally:
            await site.dispatcher.stop()


async def test_it_flows_again_only_when_nothing_is_left() -> None:
    """Proves that a bus which is away is one trouble of all streams, which lasts until the last of
    them takes what waits."""
    with capture_logs() as lines:
        site = Site(lines)
        site.streams.away = True
        site.dispatcher.start()
        try:
            await site.send("ups")
            await site.send("netsuite")
            await site.tried(4)
            assert site.said == [WAIT]
            site.streams.away, site.streams.leaderless = False, {delivery_subject("ups")}
            await eventually(lambda: delivery_subject("netsuite") in site.streams.stored, "others")
            await site.tried(2)
            assert site.said == [WAIT]
            site.streams.leaderless = set()
            await eventually(lambda: site.said == [WAIT, FLOW], "the end of it")
        finally:
            await site.dispatcher.stop()


@pytest.mark.parametrize("unlucky", [True, False])
async def test_one_lost_message_keeps_its_stream_waiting(*, unlucky: bool) -> None:
    """Proves that while one message of a stream is tried again in vain, others that it takes do not
    tell that it flows."""
    with capture_logs() as lines:
        site = Site(lines)
        site.dispatcher.start()
        try:
            lost = dispatched(site.desk, "ups")
            if unlucky:
                (picked,) = lost.picked
                record = picked.record
                site.streams.unlucky = {delivery_message_id(record.id, record.dispatch_number)}
            site.dispatcher.committed(lost)
            await site.tried(1)
            for _ in range(3):
                await site.send("ups")
            assert site.said == ([WAIT] if unlucky else [])
            site.streams.unlucky = set()
            await eventually(lambda: site.said == ([WAIT, FLOW] if unlucky else []), "the end")
        finally:
            await site.dispatcher.stop()


async def test_an_endpoint_that_is_gone_is_forgotten() -> None:
    """Proves that a stream which nothing is sent to any more, as of an endpoint that was removed,
    does not keep the next trouble from being told."""
    with capture_logs() as lines:
        site = Site(lines, dispatch_seconds=0.05)
        site.streams.leaderless = {delivery_subject("gone")}
        site.dispatcher.start()
        try:
            await site.send("gone")

            async def over() -> bool:
                await site.send("netsuite")
                return site.said == [WAIT, FLOW]

            await eventually(over, "the end of it")
            site.streams.leaderless = {delivery_subject("ups")}
            await site.send("ups")
            await eventually(lambda: site.said == [WAIT, FLOW, WAIT], "the next trouble")
        finally:
            await site.dispatcher.stop()
