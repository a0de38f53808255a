"""What the healer takes back from a lost queue, what it leaves alone, and what it says of a bus
that answers for some endpoints only; no real bus, no store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from crossdock.bus import delivery_stream
from crossdock_hub.bus.address import BusHealth
from crossdock_hub.bus.errors import BusUnavailable
from crossdock_hub.bus.healing import UNANSWERED_MAX, Healer, take_back
from crossdock_hub.bus.outlet import Outlet
from crossdock_hub.bus.streams import StreamLimits, StreamSpec
from crossdock_hub.config import Limits
from crossdock_hub.identity import HUB
from crossdock_hub.records import DeliveryRecord
from decisions import refusal_of
from fixtures_nats import eventually
from ledger_vendor import Desk
from structlog.testing import capture_logs

ENDPOINTS = [f"erp-{number}" for number in range(UNANSWERED_MAX + 1)]
GONE, BACK = "the bus can't be looked after now", "the bus is looked after again"
NO_QUEUE, QUEUE = "an endpoint has no queue and gets no work", "an endpoint has its queue again"


def taken_back(desk: Desk, record: DeliveryRecord) -> DeliveryRecord:
    """The delivery after its queue was found empty."""
    desk.decide(HUB, "take back", lambda unit: take_back(unit, record.id))
    return desk.fresh(record)


def test_a_dispatch_that_nobody_began_waits_again() -> None:
    """Proves that what lay in the queue goes out anew, a call and a look-up alike, with a number
    by which the old message can't begin any more."""
    desk = Desk()
    called, looked = desk.one(key="a"), desk.one(key="b")
    gone = desk.dispatch(called)
    again = taken_back(desk, gone)
    assert (again.state, again.pending) == ("READY", True)
    assert desk.dispatch(again).dispatch_number == gone.dispatch_number + 1
    late = refusal_of(lambda: desk.begin(again, dispatch_number=gone.dispatch_number))
    assert late.reason == "LEASE_LOST"
    desk.settle(looked, "UNKNOWN")
    desk.pass_time(desk.limits.settle_seconds_default + 1)
    assert desk.fresh(looked).state == "RESOLVING"
    gone = desk.dispatch(looked)
    assert (taken_back(desk, gone).state, desk.fresh(looked).pending) == ("RESOLVING", True)


def test_what_somebody_has_begun_is_left_alone() -> None:
    """Proves that a call and a look-up which an adapter has begun stay with it, lease and all:
    taken back, they would be done twice at once."""
    desk = Desk()
    called, looked = desk.one(key="a"), desk.one(key="b")
    desk.take(called)
    desk.settle(looked, "UNKNOWN")
    desk.pass_time(desk.limits.settle_seconds_default + 1)
    token = desk.take(looked)
    for record, state in ((called, "IN_FLIGHT"), (looked, "RESOLVING")):
        before = desk.fresh(record)
        assert before.state == state and before.lease_until is not None
        assert taken_back(desk, before) == before
    desk.complete(looked, token, "CONFIRMED")
    assert taken_back(desk, looked).state == "CONFIRMED"


@dataclass
class Endpoint:
    """One that has work to do."""

    id: str
    operations: bool = True


class Registry:
    """As much of a committer as a look needs."""

    endpoints = tuple(map(Endpoint, ENDPOINTS))


class Streams:
    """A bus that is there, and whose streams of some endpoints answer nobody."""

    def __init__(self) -> None:
        self.silent: set[str] = set()
        self.away = False
        self.goes_at = ""
        """The stream that is asked for when the connection is lost, until the next look."""
        self.looks = 0
        self.health = BusHealth(True, "connected", datetime.now(UTC))

    async def ensure_streams(self, specs: Sequence[StreamSpec]) -> list[str]:
        (name,) = (spec.name for spec in specs)
        # Of each look the first.
        self.looks += name not in map(delivery_stream, ENDPOINTS)
        connected = name != self.goes_at
        self.health = self.health.now(connected, "connected" if connected else "refused")
        if self.away or not connected:
            raise BusUnavailable("connection refused")
        if name in map(delivery_stream, self.silent):
            raise BusUnavailable(f"{name}: no answer within 3 s")
        return []

    async def ensure_consumer(self, spec: Any) -> None:
        """It is there."""

    async def change_node(self) -> None:
        """There is one."""


class QueuesOnly(Healer):
    """A healer of a hub without events."""

    def _durable(self) -> list[tuple[StreamSpec, Outlet]]:
        return []


async def test_a_bus_that_answers_for_fewer_endpoints_and_for_more_is_one_trouble() -> None:
    """Proves that the log says once that the bus can't be looked after, however the number of
    endpoints changes for which it gives no answer, and once that it can be again: when it answers
    for all of them."""
    streams, limits = Streams(), Limits(heal_seconds=0.01, relay_retry_seconds_max=0.01)
    parts: Any = (None, streams, limits, StreamLimits(), Registry())
    healer = QueuesOnly(*parts)

    async def looked() -> None:
        until = streams.looks + 3
        await eventually(lambda: streams.looks >= until, "some looks")

    with capture_logs() as lines:
        healer.start()
        try:
            for _ in range(2):
                for few in (0, 1):
                    streams.silent = set(ENDPOINTS[few:UNANSWERED_MAX])
                    await looked()
            of_the_bus = [line["event"] for line in lines if line["event"] not in (NO_QUEUE, QUEUE)]
            assert of_the_bus == [GONE]
            streams.silent = set()
            await looked()
        finally:
            await healer.stop()
    assert [line["event"] for line in lines if line["event"] in (GONE, BACK)] == [GONE, BACK]


async def test_each_outage_is_said_beside_an_endpoint_without_an_answer() -> None:
    """Proves that an endpoint's stream that stays silent hides neither the end of an outage of the
    bus nor the next one."""
    streams, limits = Streams(), Limits(heal_seconds=0.01, relay_retry_seconds_max=0.01)
    parts: Any = (None, streams, limits, StreamLimits(), Registry())
    healer = QueuesOnly(*parts)
    streams.silent = {ENDPOINTS[0]}
    with capture_logs() as lines:
        healer.start()
        try:
            for away in (True, False, True, False):
                streams.away = away
                until = streams.looks + 3
                await eventually(lambda until=until: streams.looks >= until, "some looks")
        finally:
            await healer.stop()
    said = [line["event"] for line in lines if line["event"] in (GONE, BACK)]
    assert said == [GONE, BACK, GONE, BACK]


async def test_an_outage_is_none_of_the_endpoints_without_an_answer() -> None:
    """Proves that an outage which begins just when one endpoint more could be asked in vain than a
    look puts up with ends with it, though the others go on giving no answer."""
    streams, limits = Streams(), Limits(heal_seconds=0.01, relay_retry_seconds_max=0.01)
    parts: Any = (None, streams, limits, StreamLimits(), Registry())
    healer = QueuesOnly(*parts)
    streams.silent = set(ENDPOINTS[: UNANSWERED_MAX - 1])
    streams.goes_at = delivery_stream(ENDPOINTS[UNANSWERED_MAX - 1])

    def said() -> list[str]:
        return [line["event"] for line in lines if line["event"] in (GONE, BACK)]

    with capture_logs() as lines:
        healer.start()
        try:
            await eventually(lambda: said() == [GONE], "the outage")
            streams.goes_at = ""
            await eventually(lambda: said() == [GONE, BACK], "its end")
            until = streams.looks + 3
            await eventually(lambda: streams.looks >= until, "some looks")
        finally:
            await healer.stop()
    assert said() == [GONE, BACK]
