"""A copy of the database made a moment before a crash: put back, it is known to be older."""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from back_ups import copy_running_database, differences, put_back_database
from crossdock.delivery.v1 import delivery_pb2
from crossdock.errors import CallError
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.bus.streams import TIE_STREAM
from crossdock_hub.bus.tie import DATABASE_OLDER, told_by
from databases import on_sqlite_only
from fixtures_hub import QUICK_LIMITS, Lane, RunningHub, deployment
from fixtures_nats import eventually
from played_endpoint import PlayedEndpoint
from story import Story, approve_order, seed_master_data

pytestmark = on_sqlite_only

CALL_SECONDS = 1.0
LANE = Lane(1)
OPERATION = "create_sales_order"
FIRST, SECOND = str(uuid.uuid4()), str(uuid.uuid4())


@pytest.fixture
async def usual_hub(tmp_path: Path) -> AsyncIterator[RunningHub]:
    """A hub of the test's own whose limits are the usual ones."""
    running = RunningHub(tmp_path / "hub", deployment(1)).start()
    await seed_master_data(running)
    yield running
    running.kill()


async def approved(story: Story) -> None:
    made = await story.create()
    await story.oms.orders.ApproveOrder(approve_order(made.id))


def put_back(hub: RunningHub, saved: Path) -> None:
    """Kill the hub, and start it with the copy."""
    hub.kill()
    put_back_database(hub, saved)
    hub.start()


async def next_of(erp: PlayedEndpoint, delivery_id: str) -> Any:
    """The next look-up of a delivery; None where it is parked instead. No call is to be had."""
    while True:
        dispatch = await erp.take()
        assert dispatch.delivery_id == delivery_id
        if dispatch.kind == delivery_pb2.ATTEMPT_KIND_LOOK_UP:
            return dispatch
        assert (await erp.try_begin(dispatch)).refusal.reason == "LEASE_LOST", "called again"
        if (await erp.reread(delivery_id)).state == delivery_pb2.DELIVERY_STATE_PARKED:
            return None


@pytest.mark.parametrize("kind", ["SEARCHABLE", "TWO_STEP", "NONE"])
async def test_a_call_begun_and_confirmed_after_the_copy(
    usual_hub: RunningHub, tmp_path: Path, kind: str
) -> None:
    """Proves that a copy of the database, put back after work that began later was confirmed within
    a moment, is known to be older: nothing is called again, and the difference is told."""
    saved = tmp_path / "saved"
    async with (
        Story(usual_hub, LANE) as story,
        PlayedEndpoint(usual_hub, LANE.erp, {OPERATION: kind}, call_seconds=CALL_SECONDS) as erp,
    ):
        await approved(story)
        called = await erp.take()
        copy_running_database(usual_hub, saved)
        await erp.complete(called.delivery_id, await erp.begin(called), "CONFIRMED")
        put_back(usual_hub, saved)
        asked = await next_of(erp, called.delivery_id)
        assert (asked is None) == (kind != "SEARCHABLE")
        if asked is not None:
            await erp.complete(called.delivery_id, await erp.begin(asked), "CONFIRMED")
        assert usual_hub.count("attempts", "kind = 'CALL'") == 0, "the vendor was called again"
        assert differences(usual_hub)[DATABASE_OLDER] == 1


async def test_a_draft_noted_and_confirmed_after_the_copy(
    usual_hub: RunningHub, tmp_path: Path
) -> None:
    """Proves that the noting of a draft, too, is known outside of the database before it is
    answered: put back from before it, its delivery is parked, and no second draft is made."""
    saved = tmp_path / "saved"
    async with (
        Story(usual_hub, LANE) as story,
        PlayedEndpoint(
            usual_hub, LANE.erp, {OPERATION: "TWO_STEP"}, call_seconds=CALL_SECONDS
        ) as erp,
    ):
        await approved(story)
        called = await erp.take()
        token = await erp.begin(called, lease_seconds=6.0)
        copy_running_database(usual_hub, saved)
        assert not (await erp.renew(called.delivery_id, token, "D-1")).HasField("refusal")
        await erp.complete(called.delivery_id, token, "CONFIRMED")
        put_back(usual_hub, saved)

        async def parked() -> bool:
            delivery = await erp.reread(called.delivery_id)
            return bool(delivery.state == delivery_pb2.DELIVERY_STATE_PARKED)

        await eventually(parked, "the doubt")
        assert usual_hub.count("attempts", "kind = 'CALL'") == 1, "drafted again"
        assert differences(usual_hub)[DATABASE_OLDER] == 1


async def test_a_copy_that_lacks_nothing(usual_hub: RunningHub, tmp_path: Path) -> None:
    """Proves that a hub which was killed is not taken for one whose database was put back, nor is a
    copy after which nothing began: what runs is not doubted."""
    saved = tmp_path / "saved"
    async with (
        Story(usual_hub, LANE) as story,
        PlayedEndpoint(usual_hub, LANE.erp, {OPERATION: "NONE"}, call_seconds=CALL_SECONDS) as erp,
    ):
        await approved(story)
        called = await erp.take()
        token = await erp.begin(called, lease_seconds=60.0)
        copy_running_database(usual_hub, saved)
        usual_hub.restart()
        put_back(usual_hub, saved)
        done = await erp.complete(called.delivery_id, token, "CONFIRMED")
        assert done.state == delivery_pb2.DELIVERY_STATE_CONFIRMED
        assert DATABASE_OLDER not in differences(usual_hub)


@pytest.fixture
async def hasty_hub(tmp_path: Path) -> AsyncIterator[RunningHub]:
    """A hub of the test's own that soon says that the bus does not answer."""
    limits = json.dumps(QUICK_LIMITS | {"tie_wait_seconds": 0.3})
    running = RunningHub(tmp_path / "hub", deployment(1), limits=limits).start()
    await seed_master_data(running)
    yield running
    running.kill()


async def test_a_begin_waits_for_the_bus(hasty_hub: RunningHub) -> None:
    """Proves that no begin is answered while the bus does not know of it, that the same begin gets
    its own attempt once it does, and that meanwhile no other attempt spends its lease."""
    async with (
        Story(hasty_hub, LANE) as story,
        PlayedEndpoint(hasty_hub, LANE.erp, {OPERATION: "NONE"}) as erp,
    ):
        await approved(story)
        await approved(story)
        first, second = await erp.take(), await erp.take()
        os.kill(hasty_hub.nats_pid, signal.SIGSTOP)
        with pytest.raises(CallError, match="could not be told"):
            await erp.try_begin(first, attempt_id=FIRST)
        with pytest.raises(CallError, match="could not be told"):
            await erp.try_begin(second, attempt_id=SECOND)
        assert hasty_hub.query("SELECT delivery_id, token FROM attempts") == [
            (first.delivery_id, 1)
        ]
        assert hasty_hub.query("SELECT generation, told FROM bus_tie") == [(1, 0)]
        begun = await _once_told(erp, first, FIRST)
        assert begun.token == 1, begun
        # The bus may have been started again: then what nobody had begun is sent once more.
        begun = await _once_told(erp, second, SECOND)
        if begun.HasField("refusal"):
            begun = await _once_told(erp, await erp.take(), str(uuid.uuid4()))
        assert (begun.delivery_id, begun.token) == (second.delivery_id, 1)

        def remembered() -> bool:
            # Each begin that is repeated is told as well.
            ((generation, told),) = hasty_hub.query("SELECT generation, told FROM bus_tie")
            return bool(generation == told >= 2)

        await eventually(remembered, "what the bus knows")


async def test_what_the_bus_was_told_is_told_again(own_hub: RunningHub) -> None:
    """Proves that the stream which says how far the ledger is, and is lost while the hub runs, is
    made again and told, and that a begin of that moment is answered after it."""
    async with (
        Story(own_hub, LANE) as story,
        PlayedEndpoint(own_hub, LANE.erp, {OPERATION: "NONE"}) as erp,
    ):
        await approved(story)
        await approved(story)
        first, second = await erp.take(), await erp.take()
        await erp.begin(first)
        bus = await Bus.connect(own_hub.bus_address())
        assert await bus.delete_stream(TIE_STREAM)
        assert (await _once_told(erp, second, SECOND)).token == 1
        told = await told_by(bus)
        assert told is not None and told.generation == 2
        assert await bus.delete_stream(TIE_STREAM)

        async def again() -> bool:
            return await told_by(bus) == told

        await eventually(again, "the healer")
        await bus.close()


async def _once_told(erp: PlayedEndpoint, dispatch: Any, attempt_id: str) -> Any:
    """Begin as the SDK does: the same request until it is answered."""
    begun: list[Any] = []

    async def answered() -> bool:
        try:
            begun.append(await erp.try_begin(dispatch, attempt_id=attempt_id))
        except CallError as error:
            assert "could not be told" in str(error)
        return bool(begun)

    await eventually(answered, "the bus")
    return begun[0]
