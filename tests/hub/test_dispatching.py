"""What goes out when: budgets of systems, pace and breaker, lanes that do not starve, drains."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from math import ceil, inf
from pathlib import Path
from typing import Any

import pytest
from crossdock.endpoint.v1 import endpoint_pb2
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery.dispatching import Picker, Rate, allowance
from crossdock_hub.delivery.draining import Settled, Throughput, drain_seconds
from crossdock_hub.delivery.registry import RegisteredEndpoint, compile_endpoint
from crossdock_hub.records import DeliveryRecord, EndpointRecord
from crossdock_hub.store import Store, rows
from crossdock_hub.store.crossing import write_rows
from crossdock_hub.store.writing import write, write_deliveries
from crossdock_hub.unit import Changes, Key, View
from databases import open_store
from decisions import START
from hypothesis import given, settings
from hypothesis import strategies as st

LIMITS = Limits()


class Tick:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def endpoint(name: str = "vendor", concurrency: int = 4, rate: str = "", **health: Any) -> Any:
    manifest = endpoint_pb2.Manifest(
        adapter=name, system="system", max_concurrency=concurrency, max_rate_per_second=rate
    )
    manifest.operations.add(name="book")
    body = manifest.SerializeToString()
    record = EndpointRecord(name, "ERP", (), (), (), "ACTIVE", body, **health)
    return compile_endpoint(record, LIMITS)


def ready(number: int, lane: int = 0, name: str = "vendor") -> DeliveryRecord:
    return DeliveryRecord(
        id=f"{name}-{lane}-{number:05d}",
        event_id=f"event-{number}",
        event_type="crossdock.order.v1.OrderApproved",
        endpoint=name,
        operation="book",
        item="",
        ordering_key=f"key-{number}",
        state="READY",
        created_at=START,
        updated_at=START,
        kind="order",
        object_id=f"order-{number}",
        root_id=f"order-{number}",
        vendor_reference="A" * 20,
        sequence=f"{lane}-{number:05d}",
        priority=lane,
        pending=True,
    )


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(tmp_path)
    yield opened
    await opened.close()


class Shift:
    """A picker over a real store: what is picked is done at once, and the next goes."""

    def __init__(self, store: Store, registered: RegisteredEndpoint) -> None:
        self.store = store
        self.registered = registered
        self.clock = Tick()
        self.picker = Picker(LIMITS, self.clock)
        self.now = START
        self.picked: list[DeliveryRecord] = []

    async def queue(self, records: list[DeliveryRecord]) -> None:
        known: dict[Key, Any] = {("endpoint", self.registered.id): self.registered.health}
        async with self.store.write() as connection:
            await write(connection, Changes(records=known))
            await write_rows(connection, [(rows.DELIVERIES, records)])
            await self.picker.restore(connection)

    async def pick(self) -> list[DeliveryRecord]:
        """One batch of the committer; what it sends is confirmed with the next."""
        async with self.store.write() as connection:
            found = await self.picker.pick_stored(connection, View(), [self.registered], self.now)
            done = [replace(one.record, state="CONFIRMED", pending=False) for one in found]
            await write_deliveries(connection, done)
        view = View()
        view.changes.records.update({("delivery", record.id): record for record in done})
        self.picker.pick_new(view, [self.registered], self.now)
        self.picked += [one.record for one in found]
        return [one.record for one in found]


async def test_urgent_work_goes_first_and_the_rest_never_starves(store: Store) -> None:
    """Proves with a queue of urgent work that never ends that every sixteen calls bulk gets one."""
    shift = Shift(store, endpoint(concurrency=3))
    await shift.queue([ready(n) for n in range(400)])
    await shift.queue([ready(n, lane=1) for n in range(20)] + [ready(n, lane=2) for n in range(20)])
    while len(shift.picked) < 160:
        assert await shift.pick()
    lanes = [record.priority for record in shift.picked]
    assert lanes[0] == 0
    for lane in (1, 2):
        places = [index for index, found in enumerate(lanes) if found == lane]
        assert places, f"lane {lane} starved"
        gaps = [later - earlier for earlier, later in zip([0, *places], places, strict=False)]
        assert max(gaps) <= 3 * LIMITS.lane_run_max
    assert lanes.count(0) >= 0.8 * len(lanes)
    for lane in (0, 1, 2):
        own = [record.sequence for record in shift.picked if record.priority == lane]
        assert own == sorted(own), f"lane {lane} lost its order"


async def test_a_queue_drains_in_order_and_its_pace_is_known(store: Store) -> None:
    """Proves that an outage's queue goes out in order, and that drain time is what the last minute
    says."""
    shift = Shift(store, endpoint(concurrency=5))
    await shift.queue([ready(n) for n in range(120)])
    for _ in range(20):
        await shift.pick()
        shift.clock.now += 1.0
    sequences = [record.sequence for record in shift.picked]
    assert sequences == sorted(sequences) and len(sequences) == 100
    settled = shift.picker.settled("vendor")
    assert settled.steady and settled.per_second == pytest.approx(5.0, rel=0.05)


async def test_what_waits_looks_at_the_rate_of_its_own_system_alone(store: Store) -> None:
    """Proves that the next look at stored work is told by the rate that holds it: where one system
    waits for a free slot and another one that waits for nothing has a rate, no look is due by that
    rate; and where both wait, the one that is free first tells."""
    north = endpoint("north", concurrency=1)
    south = replace(endpoint("south", rate="2"), system="other")
    clock = Tick()
    picker = Picker(LIMITS, clock)
    both = [north, south]

    def goes(number: int, of: RegisteredEndpoint, state: str = "READY") -> None:
        record = ready(number, name=of.id)
        if state != "READY":
            record = replace(record, state=state, pending=False, lease_until=START)
        view = View()
        view.changes.records["delivery", record.id] = record
        picker.pick_new(view, both, START)

    goes(0, north)
    goes(0, south)
    assert picker.backlog_seconds is None
    goes(0, south, "IN_FLIGHT")
    goes(1, north)
    assert picker.backlog_seconds == inf
    clock.now = 0.25
    for number in (1, 2):
        goes(number, south)
    assert picker.backlog_seconds == pytest.approx(0.75 + LIMITS.rate_margin_seconds)


async def test_while_the_breaker_is_open_one_goes_and_not_the_one_that_failed(
    store: Store,
) -> None:
    """Proves that a probe is sent in its time only, alone, and is another delivery than those that
    failed last."""
    opened = endpoint(
        concurrency=5,
        breaker_state="OPEN",
        breaker_probe_at=START + 10 * SECOND,
        breaker_failing=("vendor-0-00000", "vendor-0-00001"),
    )
    shift = Shift(store, opened)
    await shift.queue([ready(n) for n in range(10)])
    assert await shift.pick() == []
    shift.now += 11 * SECOND
    assert [record.id for record in await shift.pick()] == ["vendor-0-00002"]


def test_a_throttled_system_gets_less_and_its_endpoints_share_that() -> None:
    """Proves that one endpoint's 429 lowers what all endpoints of its system may send."""
    quiet = endpoint("a", concurrency=8, rate="10")
    told = endpoint("b", concurrency=8, rate="10", pace_thousandths=250, pace_at=START)
    both = [quiet, told]
    assert allowance(quiet, both, START, LIMITS).concurrency == 2
    assert allowance(quiet, both, START, LIMITS).rate_per_second == Decimal("2.5")
    later = START + int(LIMITS.pace_recovery_seconds * SECOND)
    assert allowance(quiet, both, later, LIMITS).concurrency == 8
    held = endpoint("b", concurrency=8, throttled_until=START + SECOND)
    picker = Picker(LIMITS, Tick())
    assert picker.free(quiet, [quiet, held], START) == 0
    assert picker.free(quiet, [quiet, held], START + SECOND) == 8


def test_a_rate_that_changes_does_not_fill_its_bucket_anew() -> None:
    """Proves that recovering pace allows no burst beyond the declared rate."""
    clock = Tick()
    picker = Picker(LIMITS, clock)
    sent = 0
    for step in range(100):
        pace = 500 + step * 5
        now = endpoint("a", concurrency=100, rate="10", pace_thousandths=pace, pace_at=START)
        free = picker.free(now, [now], START)
        for _ in range(free):
            picker._rates["system"].take()
        sent += free
        clock.now += 0.1
    assert sent <= 10 + 10 * 10


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(0, 50), max_size=100),
    waiting=st.integers(0, 10_000),
    busy_since=st.floats(0, 100),
)
def test_the_drain_estimate_is_bounded_by_what_was_seen(
    counts: list[int], waiting: int, busy_since: float
) -> None:
    """Proves that the estimate is never negative, zero only without a queue, none while paused."""
    clock = Tick()
    seen = Throughput(LIMITS.drain_window_seconds, clock)
    for count in counts:
        if count:
            seen.note(count)
        clock.now += 1.0
    for rate in (seen.settled(), seen.settled(busy_since)):
        assert 0 <= rate.per_second <= 50
        assert drain_seconds(waiting, rate, None, moving=False) in (None, 0.0)
        estimate = drain_seconds(waiting, rate, None, moving=True)
        assert (estimate == 0.0) == (waiting == 0)
        assert estimate is None or estimate >= 0


def test_the_drain_estimate_takes_what_says_most() -> None:
    """Proves the order: a steady pace, then what the system allows, then a mean with idle times."""
    for settled, allowed, seconds in (
        (Settled(4.0, steady=True), Decimal(5), 25.0),
        (Settled(4.0), Decimal(5), 20.0),
        (Settled(4.0), None, 25.0),
        (Settled(0.0, steady=True), Decimal(5), None),
        (Settled(0.0), None, None),
    ):
        assert drain_seconds(100, settled, allowed, moving=True) == seconds


def test_a_queue_that_began_just_now_is_measured_without_the_idle_time_before() -> None:
    """Proves that the pace of a burst is known after seconds, though the window is a minute."""
    clock = Tick()
    seen = Throughput(LIMITS.drain_window_seconds, clock)
    clock.now = 1_000.5
    for _ in range(40):
        clock.now += 0.1
        seen.note(3)
    assert seen.settled().per_second < 3
    pace = seen.settled(busy_since=1_000.5)
    assert pace.steady and pace.per_second == pytest.approx(30.0, rel=0.05)
    clock.now = 2_000.0
    assert seen.settled(busy_since=1_000.5) == Settled(0.0, steady=True)


def test_a_pace_that_changes_is_seen_as_soon_as_enough_has_ended() -> None:
    """Proves that a queue which was hardly worked off while the hub was busy is told by the pace it
    has since, ten seconds later, and that few and seldom are still told by the whole minute."""
    clock = Tick()
    clock.now = 1_000.0
    seen = Throughput(LIMITS.drain_window_seconds, clock)
    for per_second in (*[1] * 10, *[24] * 10):
        for _ in range(per_second):
            seen.note()
        clock.now += 1.0
    assert seen.settled(busy_since=999.0) == Settled(24.0, steady=True)
    clock.now = 2_000.0
    for second in range(60):
        if second % 10 == 0:
            seen.note()
        clock.now += 1.0
    assert seen.settled(busy_since=1_999.0).per_second == pytest.approx(0.1, abs=0.02)


@settings(deadline=None)
@given(
    rate=st.sampled_from((0.4, 1.0, 2.5, 7.0, 25.0)),
    steps=st.lists(st.tuples(st.floats(0.01, 3.0), st.integers(0, 40)), max_size=60),
)
def test_no_second_has_more_calls_than_the_rate(
    rate: float, steps: list[tuple[float, int]]
) -> None:
    """Proves that whatever is asked and when, in no stretch of time, with the margin, more calls
    begin than are due in it, and that one may begin just when the rate says that it will."""
    margin = LIMITS.rate_margin_seconds
    clock = Tick()
    bucket = Rate(rate, margin, clock)
    begun: list[float] = []
    for pause, wanted in steps:
        clock.now += pause
        for _ in range(min(wanted, bucket.available())):
            bucket.take()
            begun.append(clock.now)
        left, waits = bucket.available(), bucket.full_seconds()
        assert (waits == inf) == (left == ceil(rate))
        if waits < inf:
            since, clock.now = clock.now, clock.now + waits - 1e-6
            assert bucket.available() == left
            clock.now = since + waits + 1e-6
            assert bucket.available() > left
            clock.now = since + waits
    most = max(1, ceil(rate))
    for first, after in zip(begun, begun[most:], strict=False):
        assert after - first >= most / rate + margin - 1e-5
    clock.now += most / rate + margin + 1e-6
    assert bucket.available() == most
