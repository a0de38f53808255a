"""A hub killed with kill -9 under load: what was answered is there once, what was not can be
repeated, and nobody's work is lost or done twice."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from bus_reading import Stored, stored_messages
from crossdock import bus
from crossdock.client import HubClient
from crossdock.delivery.v1 import delivery_pb2
from crossdock.errors import CallError, NoAnswerError, TryAgainError
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from played_endpoint import PlayedEndpoint
from story import approve_order, create_order, order

WRITERS = 30
ORDERS_EACH = 8
# `make faults` has more of it, as G3.
KILLS = 2
ADAPTERS = 8
SEED = 20_250_601
PAUSE_SECONDS = 0.05
# Below a second on an idle machine; a channel left to its own back-off would take minutes.
FIRST_ANSWER_SECONDS_MAX = 45.0
GIVE_UP_SECONDS = 120.0


@dataclass
class History:
    """What callers and the vendor saw, to be compared with what the hub has afterwards."""

    # Order number -> (id, revision) as answered.
    approved: dict[str, tuple[str, int]] = field(default_factory=dict)
    repeats: int = 0
    # Delivery id -> how often the vendor was called for it.
    calls: Counter[str] = field(default_factory=Counter)
    refused: list[CallError] = field(default_factory=list)
    last_answer: float = 0.0


async def until_answered(history: History, call: Callable[[], Awaitable[Any]]) -> Any:
    """Repeat a call, the same each time, until the hub says something."""
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while True:
        try:
            answer = await call()
        except (NoAnswerError, TryAgainError):
            assert time.monotonic() < deadline, "the hub did not come back"
            history.repeats += 1
            await asyncio.sleep(PAUSE_SECONDS)
            continue
        history.last_answer = time.monotonic()
        return answer


async def write(oms: HubClient, history: History, business_unit: str) -> None:
    """Create and approve orders one after another, with request ids that stay the same."""
    for _ in range(ORDERS_EACH):
        create = create_order(order(business_unit))
        try:
            made = (await until_answered(history, lambda c=create: oms.orders.CreateOrder(c))).order  # type: ignore[misc]
            approve = approve_order(made.id)
            done = (
                await until_answered(history, lambda a=approve: oms.orders.ApproveOrder(a))  # type: ignore[misc]
            ).order
        except CallError as error:
            history.refused.append(error)
            continue
        history.approved[create.order.number] = (done.id, done.revision)


async def adapt(erp: PlayedEndpoint, history: History) -> None:
    """An adapter: no call without a begin, and every call's end is repeated until it is heard."""
    while True:
        dispatch = await erp.next()
        attempt_id = str(uuid.uuid4())
        result = await until_answered(
            history,
            lambda d=dispatch, a=attempt_id: erp.try_begin(d, attempt_id=a),  # type: ignore[misc]
        )
        if result.HasField("refusal"):
            continue
        history.calls[dispatch.delivery_id] += 1
        await until_answered(
            history,
            lambda d=dispatch, r=result: erp.complete(d.delivery_id, r.token, "CONFIRMED"),  # type: ignore[misc]
        )


async def kill_and_restart(hub: RunningHub, history: History, chance: random.Random) -> None:
    """Kill the hub in the middle of work; callers find it again soon after it serves."""
    answered = len(history.approved)
    goal = answered + chance.randint(10, 40)
    await eventually(lambda: len(history.approved) >= goal, "load")
    hub.kill()
    hub.spawn()
    await asyncio.to_thread(hub.wait_until_serving)
    serving = time.monotonic()
    await eventually(lambda: history.last_answer > serving, "an answer", FIRST_ANSWER_SECONDS_MAX)


async def test_kill_9_of_the_hub_under_load(own_hub: RunningHub) -> None:
    """Proves with two kill -9 under 30 writers and 8 adapters: every answered write is there
    once, the events table and the stream are the same, every delivery was made and none twice or
    parked, and callers find the hub again by themselves."""
    chance, history, lane = random.Random(SEED), History(), Lane(1)
    async with (
        own_hub.client("oms", deadline_seconds=5.0) as oms,
        PlayedEndpoint(own_hub, lane.erp, {"create_sales_order": "SEARCHABLE"}) as erp,
    ):
        writers = [
            asyncio.create_task(write(oms, history, lane.business_unit)) for _ in range(WRITERS)
        ]
        adapters = [asyncio.create_task(adapt(erp, history)) for _ in range(ADAPTERS)]
        for _ in range(KILLS):
            await kill_and_restart(own_hub, history, chance)
        await asyncio.gather(*writers)
        await eventually(lambda: _all_confirmed(own_hub, len(history.approved)), "deliveries")
        for adapter in adapters:
            assert not adapter.done(), adapter
            adapter.cancel()
        await asyncio.gather(*adapters, return_exceptions=True)
    assert history.refused == []
    assert history.repeats > 0, "the kills were not felt"
    assert len(history.approved) == WRITERS * ORDERS_EACH
    _writes_are_there_once(own_hub, history)
    _deliveries_were_made_once(own_hub, history)
    await _stream_is_the_events_table(own_hub)


def _all_confirmed(hub: RunningHub, orders: int) -> bool:
    return hub.count("deliveries", "state = 'CONFIRMED'") == orders


def _writes_are_there_once(hub: RunningHub, history: History) -> None:
    stored = hub.query("SELECT number, id, revision, state FROM objects WHERE kind = 'order'")
    assert len(stored) == len(history.approved)
    assert {number: (i, revision) for number, i, revision, _ in stored} == history.approved
    assert {state for *_, state in stored} == {"APPROVED"}


def _deliveries_were_made_once(hub: RunningHub, history: History) -> None:
    rows = hub.query("SELECT id, root_id, state, attempts FROM deliveries")
    assert {root for _, root, _, _ in rows} == {i for i, _ in history.approved.values()}
    assert len(rows) == len(history.approved)
    assert {state for _, _, state, _ in rows} == {"CONFIRMED"}
    assert {attempts for *_, attempts in rows} == {1}
    assert history.calls == Counter(row[0] for row in rows)


async def _stream_is_the_events_table(hub: RunningHub) -> None:
    """Every event once on the stream, with the table's bytes, in commit order by partition."""
    await eventually(lambda: hub.count("events", "published_at IS NULL") == 0, "publishing")
    messages = await stored_messages(hub.bus_address(), bus.EVENT_STREAM)
    table = hub.query("SELECT id, stem, partition, body FROM events ORDER BY sequence")
    ids = [message.headers["Nats-Msg-Id"] for message in messages]
    assert Counter(ids).most_common(1)[0][1] == 1, "an event is on the stream twice"
    expected = [Stored(0, bus.event_subject(s, p), bytes(b), {"id": i}) for i, s, p, b in table]
    assert set(ids) == {event.headers["id"] for event in expected}
    for partition in range(bus.PARTITIONS):
        ending = f".{partition}"
        on_stream = [(m.subject, m.data) for m in messages if m.subject.endswith(ending)]
        in_table = [(e.subject, e.data) for e in expected if e.subject.endswith(ending)]
        assert on_stream == in_table


async def test_a_restart_keeps_attempts_and_answers(own_hub: RunningHub) -> None:
    """Proves that a kill neither parks nor doubles an attempt in flight, that its completion counts
    after the restart, that what was dispatched and not begun comes again, and that a request is
    answered as before."""
    lane, history = Lane(1), History()
    requests = [create_order(order(lane.business_unit)) for _ in range(2)]
    operations = {"create_sales_order": "NONE"}
    async with (
        own_hub.client("oms") as oms,
        PlayedEndpoint(own_hub, lane.erp, operations) as erp,
    ):
        answers = [await oms.orders.CreateOrder(request) for request in requests]
        for answer in answers:
            await oms.orders.ApproveOrder(approve_order(answer.order.id))
        flying, unbegun = await erp.take(), await erp.take()
        token = await erp.begin(flying, lease_seconds=30.0)
        own_hub.kill()
        own_hub.spawn()
        await asyncio.to_thread(own_hub.wait_until_serving)
        again = await until_answered(history, lambda: oms.orders.CreateOrder(requests[0]))
        assert again == answers[0]
        states = [(await erp.reread(d.delivery_id)).state for d in (flying, unbegun)]
        assert states[0] == delivery_pb2.DELIVERY_STATE_IN_FLIGHT
        assert delivery_pb2.DELIVERY_STATE_PARKED not in states
        repeated = await erp.take()
        assert repeated.delivery_id == unbegun.delivery_id
        assert repeated.dispatch_number == unbegun.dispatch_number + 1
        assert (await erp.try_begin(unbegun)).refusal.reason == "LEASE_LOST"
        ended = await erp.complete(flying.delivery_id, token, "CONFIRMED")
        assert ended.state == delivery_pb2.DELIVERY_STATE_CONFIRMED
        await erp.complete(repeated.delivery_id, await erp.begin(repeated), "CONFIRMED")
    assert hub_states(own_hub) == {"CONFIRMED": 2}


def hub_states(hub: RunningHub) -> dict[str, int]:
    """How many deliveries are in which state."""
    return dict(hub.query("SELECT state, count(*) FROM deliveries GROUP BY state"))
