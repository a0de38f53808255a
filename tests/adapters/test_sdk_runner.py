"""The runner between a real grpc hub and a real HTTP vendor: each end of an attempt."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from crossdock.client import HubClient
from crossdock.label.v1 import label_service_pb2
from crossdock_adapters.sdk.attempts import FAULT_TELLS_MAX
from crossdock_adapters.sdk.runner import DRAIN_SECONDS, HURRY_SECONDS, register_pause_seconds
from crossdock_adapters.sdk.sandbox import SandboxConfig
from sdk_house import TRACE, House
from sdk_ledger_hub import LedgerHub, dispatch, ended, serving, token_file
from sdk_tiny_sandbox import TinySandbox
from sdk_waiting import until

# Less than a call may take, so that it has to be renewed, each third of it. A renewal may come as
# late as three seconds, on a machine that does much else.
LEASE_SECONDS = 4.5


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    hub = LedgerHub()
    async with serving(hub) as server, TinySandbox(SandboxConfig(name="tiny")) as tiny:
        client = HubClient(server.address, token_file=token_file(tmp_path))
        async with client:
            house = House(hub, server, tiny)
            house.start(client, tmp_path)
            yield house
            house.stopping.set()
            await ended(house.task)


async def test_a_delivery_is_confirmed_with_references_facts_and_its_trace(house: House) -> None:
    """Begin, call, complete, acknowledge; the vendor sees the trace of the message."""
    work = dispatch()
    message = house.queue.put(work, traceparent=f"00-{TRACE}-b7ad6b7169203331-01")
    assert await house.outcome(work) == "CONFIRMED"
    await until(lambda: message.acked)
    told = house.completion(work)
    assert [(r.type, r.value) for r in told.vendor_references] == [("booking", "1")]
    assert told.facts[0].method == "/crossdock.label.v1.LabelService/CreateLabel"
    request = label_service_pb2.CreateLabelRequest.FromString(told.facts[0].request)
    assert len(request.request_id) == 36
    assert "POST /bookings" in told.request_excerpt and "201" in told.response_excerpt
    assert house.tiny.bookings == [{"key": work.vendor_reference, "number": 1}]
    booked = next(call for call in house.tiny.calls if call.operation == "book")
    assert TRACE in booked.traceparent
    assert TRACE in house.hub.traceparents[0]
    assert TRACE in house.hub.metadata_traceparents["complete"]


async def test_concurrent_attempts_share_calls(house: House) -> None:
    """Many deliveries need fewer begins than deliveries, and never more at once than allowed."""
    house.tiny.faults.add({"kind": "slow", "delay_seconds": 0.05})
    works = [dispatch() for _ in range(24)]
    for work in works:
        house.queue.put(work)
    await until(lambda: house.queue.taken >= 4)
    assert house.queue.taken <= 8
    for work in works:
        assert await house.outcome(work) == "CONFIRMED"
    assert sum(house.hub.begin_batches) == 24
    assert len(house.hub.begin_batches) < 24
    assert max(house.hub.begin_batches) <= 4
    assert len(house.tiny.bookings) == 24


async def test_a_refused_begin_calls_nobody(house: House) -> None:
    """A delivery the hub does not let begin is dropped: acknowledged, nothing sent."""
    house.hub.refuse_begins = True
    message = house.queue.put(dispatch())
    await until(lambda: message.acked)
    assert house.tiny.bookings == []
    assert house.hub.complete_batches == []


@pytest.mark.parametrize(
    ("fault", "outcome", "booked"),
    [
        ({"kind": "reply_lost", "count": 1}, "UNKNOWN", 1),
        ({"kind": "error_after", "count": 1}, "UNKNOWN", 1),
        ({"kind": "error_before", "operation": "book"}, "UNKNOWN", 0),
        ({"kind": "throttle", "operation": "book", "retry_after_seconds": 7}, "THROTTLED", 0),
    ],
)
async def test_faults_become_outcomes(
    house: House, fault: dict[str, object], outcome: str, booked: int
) -> None:
    """Each fault of the vendor ends in the outcome that is true of it."""
    await until(lambda: house.subscribed == 1)
    house.tiny.faults.add(fault)
    work = dispatch()
    house.queue.put(work)
    assert await house.outcome(work) == outcome
    assert len(house.tiny.bookings) == booked
    if outcome == "THROTTLED":
        assert house.completion(work).retry_after.seconds == 7


async def test_a_vendor_that_is_down_is_a_retry(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """A refused connection is proven unprocessed; that it is gone and back is said once each."""
    await until(lambda: house.subscribed == 1)
    await house.vendor.http.close()
    house.tiny.faults.add({"kind": "down"})
    await house.tiny.apply_outage()
    caplog.set_level(logging.WARNING)
    works = [dispatch() for _ in range(5)]
    for work in works:
        house.queue.put(work)
    for work in works:
        assert await house.outcome(work) == "RETRY"
    house.tiny.faults.clear()
    await house.tiny.apply_outage()
    back = dispatch()
    house.queue.put(back)
    assert await house.outcome(back) == "CONFIRMED"

    def said() -> list[str]:
        messages = [record.getMessage() for record in caplog.records]
        return [message for message in messages if "Tiny is" in message]

    # The hub may have the word of the outcome before the line is written.
    await until(lambda: len(said()) >= 2, what="a word about the vendor that is back")
    assert len(said()) == 2 and "gone" in said()[0] and "back" in said()[1]


async def test_look_ups_find_do_not_find_or_fail(house: House) -> None:
    """A look-up answers found, not found, or stays unknown: an error is never 'not found'."""
    found = dispatch(look_up=True)
    house.tiny.bookings.append({"key": found.vendor_reference, "number": 42})
    house.queue.put(found)
    assert await house.outcome(found) == "CONFIRMED"
    assert house.completion(found).vendor_references[0].value == "42"
    missing = dispatch(look_up=True)
    house.queue.put(missing)
    assert await house.outcome(missing) == "NOT_FOUND"
    house.tiny.faults.add({"kind": "error_before", "count": 1})
    failed = dispatch(look_up=True)
    house.queue.put(failed)
    assert await house.outcome(failed) == "UNKNOWN"
    house.tiny.faults.add({"kind": "down"})
    await house.tiny.apply_outage()
    unreachable = dispatch(look_up=True)
    house.queue.put(unreachable)
    assert await house.outcome(unreachable) == "UNKNOWN"


@pytest.mark.parametrize(
    ("operation", "item", "outcome", "words"),
    [
        ("fly", "", "PARKED", "does not know the operation"),
        ("misbehave", "key_error", "PARKED", "weight"),
        ("misbehave", "nothing", "PARKED", "no outcome"),
        ("misbehave", "person", "PARKED", "locked"),
        ("misbehave", "key_error_after_effect", "UNKNOWN", "number"),
    ],
)
async def test_poison_is_parked_with_its_reason(
    house: House, operation: str, item: str, outcome: str, words: str
) -> None:
    """What fails before anything left is parked; after that it is unknown."""
    work = dispatch(operation, item=item)
    house.queue.put(work)
    assert await house.outcome(work) == outcome
    assert words in house.completion(work).reason


async def test_undecodable_events_are_parked_and_messages_dropped(house: House) -> None:
    """A strange event type or broken event bytes park; a broken message cannot even begin."""
    strange, broken = dispatch(), dispatch()
    strange.event_type = "crossdock.order.v1.OrderAbducted"
    broken.event = b"\xff\xff\xff"
    for work in (strange, broken):
        house.queue.put(work)
        assert await house.outcome(work) == "PARKED"
    garbage = house.queue.put_raw(b"\xff\xff\xff")
    await until(lambda: garbage.acked)
    good = dispatch()
    house.queue.put(good)
    assert await house.outcome(good) == "CONFIRMED"


async def test_a_slow_call_keeps_its_lease_and_then_times_out(house: House) -> None:
    """While the vendor thinks, the lease is renewed; at the operation's limit it is unknown."""
    await until(lambda: house.subscribed == 1)
    house.hub.lease_seconds = LEASE_SECONDS
    house.tiny.faults.add({"kind": "slow", "delay_seconds": 30, "operation": "book"})
    work = dispatch()
    house.queue.put(work)
    assert await house.outcome(work) == "UNKNOWN"
    assert "no outcome within 6 s" in house.completion(work).reason
    assert house.hub.renewals >= 2


async def test_a_lost_lease_ends_the_call(house: House) -> None:
    """When the hub gives the delivery to another, the call stops and says unknown."""
    await until(lambda: house.subscribed == 1)
    house.hub.lease_seconds = LEASE_SECONDS
    house.tiny.faults.add({"kind": "slow", "delay_seconds": 30, "operation": "book"})
    work = dispatch()
    house.queue.put(work)
    await until(lambda: house.hub.renewals >= 1)
    house.hub.lose_leases = True
    assert await house.outcome(work) == "UNKNOWN"
    assert "lease was lost" in house.completion(work).reason


async def test_a_lost_lease_ends_what_would_take_longer(house: House) -> None:
    """Proves that a call stops when its lease is lost and not only at its own limit, at which this
    test has long lost its patience."""
    await until(lambda: house.subscribed == 1)
    house.hub.lease_seconds = 1.5
    work = dispatch("misbehave", item="sleep")
    house.queue.put(work)
    await until(lambda: house.hub.renewals >= 1)
    house.hub.lose_leases = True
    assert await house.outcome(work) == "RETRY", "nothing was sent"


async def test_a_call_needs_as_much_of_its_lease_as_it_may_take(house: House) -> None:
    """Proves that a call which could outlive its lease asks for more first, and is not made
    when it gets none: it would be in doubt while it still ran."""
    await until(lambda: house.subscribed == 1)
    house.hub.lease_seconds, house.hub.lose_leases = 1.5, True
    work = dispatch()
    house.queue.put(work)
    assert await house.outcome(work) == "RETRY"
    assert house.completion(work).code == "not_tried"
    assert house.tiny.bookings == []


async def test_nothing_is_sent_when_the_lease_ran_out(house: House) -> None:
    """A begin answered too late sends nothing: proven unprocessed."""
    await until(lambda: house.subscribed == 1)
    house.hub.lease_seconds, house.hub.begin_delay_seconds = 1.2, 0.4
    work = dispatch()
    house.queue.put(work)
    assert await house.outcome(work) == "RETRY"
    assert house.tiny.bookings == []


async def test_completion_waits_for_a_hub_that_is_away(house: House) -> None:
    """The vendor answered, the hub is gone: told when it is back, and the vendor called once."""
    await until(lambda: house.subscribed == 1)
    house.tiny.faults.add({"kind": "slow", "delay_seconds": 1.2, "operation": "book"})
    work = dispatch()
    message = house.queue.put(work)
    await until(lambda: any(call.operation == "book" for call in house.tiny.calls))
    await house.server.stop()
    await until(lambda: len(house.tiny.bookings) == 1)
    assert not message.acked
    await house.server.start()
    assert await house.outcome(work) == "CONFIRMED"
    await until(lambda: message.acked)
    assert len(house.tiny.bookings) == 1


async def test_no_hub_no_vendor_call(house: House) -> None:
    """Without a begun attempt nothing is sent, however long the hub is away."""
    await until(lambda: house.subscribed == 1)
    await house.server.stop()
    work = dispatch()
    house.queue.put(work)
    assert house.runner is not None
    await until(lambda: house.queue.taken == 1)
    presence = house.runner._hub_presence
    await until(lambda: not presence.here)
    assert not any(call.operation == "book" for call in house.tiny.calls)
    await house.server.start()
    assert await house.outcome(work) == "CONFIRMED"


async def test_refused_facts_do_not_take_the_outcome_with_them(house: House) -> None:
    """When the hub refuses a completion's facts, outcome and references are told bare, and the
    facts are held as payloads."""
    house.hub.refuse_facts = True
    work = dispatch()
    house.queue.put(work)
    assert await house.outcome(work) == "CONFIRMED"
    told = house.completion(work)
    assert [r.value for r in told.vendor_references] == ["1"]
    assert not told.facts and "a fact is wrong" in told.reason
    assert "1 facts stay behind" in told.reason
    (held,) = house.hub.held.values()
    assert held.source == "completion" and work.delivery_id in held.reason
    kept = label_service_pb2.CreateLabelRequest.FromString(held.payload)
    assert kept.request_id


async def test_a_fault_with_one_completion_is_told_again(house: House) -> None:
    """A fault of the hub with one completion is repeated for that one alone; one whose facts the
    hub can never decide is told bare, and what shares its calls is told once."""
    passing, poison, other = dispatch(), dispatch(), dispatch()
    house.hub.faults[passing.delivery_id] = 2
    house.hub.fault_at_facts.add(poison.delivery_id)
    for work in (passing, poison, other):
        house.queue.put(work)
    for work in (passing, poison, other):
        assert await house.outcome(work) == "CONFIRMED"
    assert house.completion(passing).facts
    told = house.completion(poison)
    assert not told.facts and "INTERNAL_FAULT" in told.reason
    assert [r.value for r in told.vendor_references]
    assert [len(o) for o in house.hub.outcomes().values()] == [1, 1, 1]


async def test_a_lasting_fault_with_one_completion_holds_nothing_up(house: House) -> None:
    """A completion that the hub has a fault with however it is told is given up after so many
    times: the message is acknowledged, the adapter's place is free, and the ledger's lease decides.
    """
    lasting, other = dispatch(), dispatch()
    house.hub.faults[lasting.delivery_id] = 10**6
    message = house.queue.put(lasting)
    await until(lambda: 10**6 - house.hub.faults[lasting.delivery_id] >= 2 * FAULT_TELLS_MAX)
    house.queue.put(other)
    assert await house.outcome(other) == "CONFIRMED"
    await until(lambda: message.acked)
    assert 10**6 - house.hub.faults[lasting.delivery_id] == 2 * FAULT_TELLS_MAX


async def test_own_ids_are_looked_up_and_cached(house: House) -> None:
    """numbers() gives this endpoint's ids, leaves out the unknown, asks once for each."""
    for _ in range(2):
        work = dispatch("numbers")
        house.queue.put(work)
        assert await house.outcome(work) == "CONFIRMED"
    assert house.vendor.numbers == {"a": "I-a", "b": "I-b"}
    assert house.hub.item_reads == 4


async def test_drain_finishes_what_runs_and_takes_no_more(house: House) -> None:
    """On stop a running call ends and is completed; waiting deliveries stay on the bus."""
    house.tiny.faults.add({"kind": "slow", "delay_seconds": 0.7, "operation": "book"})
    works = [dispatch() for _ in range(10)]
    for work in works:
        house.queue.put(work)
    await until(lambda: len([c for c in house.tiny.calls if c.operation == "book"]) == 4)
    started = time.monotonic()
    house.stopping.set()
    await ended(house.task)
    assert time.monotonic() - started < 5
    assert house.queue.stopped and house.vendor.closed
    told = [outcome for outcome in house.hub.outcomes().values() if outcome]
    assert told == [["CONFIRMED"]] * 4
    assert len(house.tiny.bookings) == 4


async def test_drain_hurries_a_call_that_does_not_end(house: House) -> None:
    """A call that outlasts the drain is completed as unknown, within ten seconds."""
    work = dispatch("misbehave", item="sleep")
    house.queue.put(work)
    await until(lambda: work.delivery_id in house.hub.deliveries)
    started = time.monotonic()
    house.stopping.set()
    await ended(house.task)
    assert time.monotonic() - started < 10
    # Nothing with an effect had left, so it is a retry.
    assert house.hub.outcomes()[work.delivery_id] == ["RETRY"]


async def test_an_endpoint_that_is_cancelled_drains_as_well(house: House) -> None:
    """Proves that who serves is let drain, however long that takes, where its endpoint is ended
    from outside: asked again too early, it told no outcome and left its source open."""
    work = dispatch("misbehave", item="sleep")
    house.queue.put(work)
    await until(lambda: work.delivery_id in house.hub.deliveries)
    assert house.task is not None
    house.task.cancel()
    await asyncio.wait({house.task}, timeout=DRAIN_SECONDS + HURRY_SECONDS)
    assert house.task.cancelled() and house.queue.closed and house.vendor.closed
    assert house.hub.outcomes()[work.delivery_id] == ["RETRY"]


async def test_poll_keeps_its_cursor_at_the_hub(house: House) -> None:
    """Pages are pulled once each, the cursor is the hub's, a broken page is held raw."""
    await until(lambda: house.subscribed == 1)
    house.vendor.pages += ["one", "broken", "three"]
    await until(lambda: house.hub.cursors.get("pages", (b"", 0))[0] == b"3")
    held = list(house.hub.held.values())
    assert [(each.payload, each.source) for each in held] == [(b"broken", "poll:pages")]


async def test_a_cursor_moved_elsewhere_is_not_overwritten(house: House) -> None:
    """Compare-and-set: the poll that lost the race ends and goes on from the new cursor."""
    await until(lambda: house.subscribed == 1)
    house.hub.cursors["pages"] = (b"2", 7)
    house.vendor.pages += ["one", "two", "three"]
    await until(lambda: house.hub.cursors["pages"][0] == b"3")
    assert house.hub.cursors["pages"][1] == 8


async def test_webhooks_are_answered_by_what_became_of_them(house: House) -> None:
    """401 for a stranger, 200 with a body when taken or held (FedEx counts nothing but 200 and 202
    as success, and UPS publishes 200 alone), 413 for too much, 503 while the hub is away."""
    runner = house.runner
    assert runner is not None
    await until(lambda: bool(runner.webhook_url))
    url = runner.webhook_url + "/hook"
    good = {"credential": "let me in"}

    async with aiohttp.ClientSession() as session:

        async def post(body: bytes, headers: dict[str, str]) -> int:
            async with session.post(url, data=body, headers=headers) as answer:
                return answer.status

        assert await post(b'{"page": "x"}', {"credential": "wrong"}) == 401
        assert await post(b'{"page": "x"}', {}) == 401
        async with session.post(url, data=b'{"page": "x"}', headers=good) as taken:
            assert (taken.status, await taken.json()) == (200, {})
        assert await post(b"not json", {"credential": "wrong"}) == 401
        assert house.hub.held == {}
        assert await post(b"not json", good) == 200
        assert [each.payload for each in house.hub.held.values()] == [b"not json"]
        assert await post(b"not json", good) == 200
        assert len(house.hub.held) == 1
        assert await post(b'{"page": "invented"}', good) == 200
        assert len(house.hub.held) == 2
        assert await post(b"x" * (513 * 1024), good) == 413
        await house.server.stop()
        assert await post(b"also not json", good) == 503
        await house.server.start()


async def test_nothing_is_taken_before_the_vendor_accepts_us(tmp_path: Path) -> None:
    """While the connection test fails the endpoint does not subscribe, and says so to the hub."""
    hub = LedgerHub()
    async with serving(hub) as server, TinySandbox(SandboxConfig(name="tiny")) as tiny:
        tiny.faults.add({"kind": "down"})
        await tiny.apply_outage()
        client = HubClient(server.address, token_file=token_file(tmp_path))
        async with client:
            house = House(hub, server, tiny)
            house.start(client, tmp_path)
            await until(lambda: bool(house.vendors) and house.vendor.tests >= 2)
            assert house.subscribed == 0
            manifest = hub.registered[0].manifest
            assert [operation.name for operation in manifest.operations][:1] == ["book"]
            tiny.faults.clear()
            await tiny.apply_outage()
            await until(lambda: house.subscribed == 1)
            house.stopping.set()
            await ended(house.task)


async def test_an_endpoint_that_is_not_registered_tells_and_asks_nothing(tmp_path: Path) -> None:
    """Proves that heartbeats, and the rows that they ask for, begin once the hub knows the endpoint
    and its kind: before, both would be refused, and the hub be called gone in the log."""
    hub = LedgerHub()
    hub.refuse_registrations = 1
    async with serving(hub) as server, TinySandbox(SandboxConfig(name="tiny")) as tiny:
        client = HubClient(server.address, token_file=token_file(tmp_path))
        async with client:
            house = House(hub, server, tiny)
            house.start(client, tmp_path)
            runner = house.runner
            assert runner is not None
            await until(lambda: "an operation is wrong" in runner.trouble)
            assert hub.troubles == []
            await until(lambda: house.subscribed == 1)
            await until(lambda: len(hub.troubles) == 1)
            assert len(hub.registered) == 2
            house.stopping.set()
            await ended(house.task)


def test_a_hub_that_was_away_for_long_is_asked_again_soon() -> None:
    """Proves that an adapter asks a hub that does not answer once a second at least, however long
    it was away, and one that refuses it ever more seldom, every ten seconds in the end."""
    away = [register_pause_seconds(failures, away=True) for failures in range(2_000)]
    assert away == sorted(away)
    assert (away[0], away[-1]) == (0.1, 1.0)
    refused = [register_pause_seconds(failures, away=False) for failures in range(2_000)]
    assert refused[:5] == [1.0, 2.0, 4.0, 8.0, 10.0]
    assert refused[-1] == 10.0
