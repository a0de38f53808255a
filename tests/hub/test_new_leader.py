"""What a hub that begins to lead goes by: endpoints as another hub left them, and what of their
limits is in use."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from crossdock.endpoint.v1 import endpoint_service_pb2
from crossdock_hub.committer import Committer, no_ties
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.records import Mark
from crossdock_hub.store.writing import write
from crossdock_hub.unit import Changes, Unit
from decisions import CONTRACT, ERP
from first_flow import Flow
from fixtures_hub import QUICK_LIMITS, Lane, RunningHub
from fixtures_nats import eventually
from overlapping_commands import LIMITS, Answer, command
from played_endpoint import ERP_OPERATIONS, PlayedEndpoint
from shared_hubs import SharedHubs
from stored_flow import Books, books
from story import Story, request_id, seed_master_data
from test_shared_database import insist

__all__ = ["books"]

# Hubs that hear of each other by core NATS only.
UNLOOKING = {**QUICK_LIMITS, "elsewhere_look_seconds": 3_600.0}
SLOTS = 3
ORDERS_AT_EACH = 6
RATE, RATED_ORDERS = 4, 14
ON_THE_WAY = "state IN ('DISPATCHED', 'IN_FLIGHT') AND NOT pending"


@pytest.fixture
def hubs(tmp_path: Path) -> Iterator[SharedHubs]:
    """Two hubs, not started yet."""
    running = SharedHubs(tmp_path)
    yield running
    running.end()


async def started(hubs: SharedHubs, **limits: float) -> tuple[RunningHub, RunningHub]:
    """Both, with master data; the first one leads."""
    for hub in hubs.hubs:
        hub.add(limits=json.dumps({**QUICK_LIMITS, **limits}))
    hubs.start()
    first, second = hubs.hubs
    await seed_master_data(first)
    return first, second


async def test_a_batch_under_way_leaves_a_new_leader_the_endpoints_of_now(books: Books) -> None:
    """Proves that a hub which begins to lead amid a batch goes by the endpoints that are stored
    then, and not by those with which that batch began and ends."""
    before = Flow().records["endpoint", ERP.endpoint]
    now = replace(before, state="PAUSED", revision=before.revision + 1)
    async with books.store.write() as connection:
        await write(connection, Changes(records={("endpoint", ERP.endpoint): before}))
    committer = Committer(books.store, CONTRACT, LIMITS, Picker(LIMITS))
    committer.follow()
    committer.start([before])

    def take_the_lead(_changes: Changes) -> Sequence[Mark]:
        """Called when a batch has decided, and is about to be written."""
        committer.lead(Picker(LIMITS), [now], no_ties)
        return ()

    def nothing(_unit: Unit) -> Any:
        return Answer()

    try:
        await committer.submit(command(nothing))
        async with books.store.write() as connection:
            await write(connection, Changes(records={("endpoint", ERP.endpoint): now}))
        committer.ties = take_the_lead
        await committer.submit(command(nothing))
        assert committer.ties is no_ties
        await committer.submit(command(nothing))
        assert [each.state for each in committer.endpoints] == ["PAUSED"]
    finally:
        await committer.stop()


async def _pause(story: Story, *, resume: bool = False) -> None:
    """Pause the ERP of a lane, or resume it."""
    erp = story.lane.erp
    if resume:
        again = endpoint_service_pb2.ResumeEndpointRequest(
            request_id=request_id(), endpoint=erp, reason="found it"
        )
        await story.operator.endpoints.ResumeEndpoint(again)
    else:
        stop = endpoint_service_pb2.PauseEndpointRequest(
            request_id=request_id(), endpoint=erp, reason="a look"
        )
        await story.operator.endpoints.PauseEndpoint(stop)


async def test_a_new_leader_goes_by_what_it_never_heard_of(hubs: SharedHubs) -> None:
    """Proves that an endpoint which was resumed at the leader, while another hub was stopped and
    the bus away, gets its work from that hub when it leads next: it knew of the pause only."""
    first, second = await started(hubs, **UNLOOKING)
    lane = Lane(1)
    async with (
        PlayedEndpoint(first, lane.erp, ERP_OPERATIONS) as erp,
        Story(first, lane) as at_first,
        Story(second, lane) as at_second,
    ):
        await _pause(at_first)
        order = await at_second.approved()
        second.freeze()
        hubs.nats.kill()
        await _pause(at_first, resume=True)
        first.kill()
        hubs.nats.start()
        second.thaw()
        await eventually(lambda: hubs.leader() == (2, second.address), "another leader")
        dispatch = await erp.take()
        assert await at_second.state(order, "create_sales_order") == "DISPATCHED"
        assert dispatch.delivery_id == (await at_second.delivery(order, "create_sales_order")).id


class Slots:
    """An adapter that holds what comes until it is told to end some; it counts what it holds."""

    def __init__(self, erp: PlayedEndpoint) -> None:
        self.erp = erp
        self.begun: dict[str, int] = {}
        self.ended = 0
        self.most = 0
        self._running: dict[str, int] = {}

    async def run(self) -> None:
        """Begin all that comes, each once."""
        while True:
            dispatch = await self.erp.next()
            if dispatch.delivery_id in self.begun:
                continue
            begun = await self.erp.try_begin(dispatch)
            if begun.HasField("refusal"):
                continue
            self.begun[dispatch.delivery_id] = begun.token
            self._running[dispatch.delivery_id] = begun.token
            self.most = max(self.most, len(self._running))

    async def end_one(self) -> None:
        """Confirm one of those that run."""
        await eventually(lambda: self._running, "work")
        delivery_id, token = self._running.popitem()
        # Again, as an adapter does: who leads by the row may not have taken up the duties yet.
        await insist(
            partial(
                self.erp.complete,
                delivery_id,
                token,
                "CONFIRMED",
                references={"sales_order": "1"},
            )
        )
        self.ended += 1


async def test_slots_of_an_endpoint_are_counted_once_for_all_hubs(hubs: SharedHubs) -> None:
    """Proves that an endpoint which takes three calls at once never has more, though two hubs write
    its work and its adapter begins and ends at the one that does not lead; and that a hub which
    leads next counts those that run, and gives it the rest."""
    first, second = await started(hubs)
    lane = Lane(1)
    async with (
        PlayedEndpoint(second, lane.erp, ERP_OPERATIONS, max_concurrency=SLOTS) as erp,
        Story(first, lane) as at_first,
        Story(second, lane) as at_second,
    ):
        slots = Slots(erp)
        working = asyncio.create_task(slots.run())
        stories = (at_first, at_second)
        await asyncio.gather(*(s.approved() for s in stories for _ in range(ORDERS_AT_EACH)))
        await eventually(lambda: len(slots.begun) == SLOTS, "as many calls as it takes")
        for _ in range(SLOTS):
            assert second.count("deliveries", ON_THE_WAY) <= SLOTS
            await slots.end_one()
        await eventually(lambda: len(slots.begun) == 2 * SLOTS, "the next calls")
        first.kill()
        await eventually(lambda: hubs.leader() == (2, second.address), "another leader")
        assert len(slots.begun) == 2 * SLOTS, "no slot is free"
        for _ in range(2 * ORDERS_AT_EACH - SLOTS):
            assert second.count("deliveries", ON_THE_WAY) <= SLOTS
            await slots.end_one()
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
        assert slots.most == SLOTS
        assert len(slots.begun) == slots.ended == 2 * ORDERS_AT_EACH
        assert second.count("deliveries", "state = 'CONFIRMED'") == 2 * ORDERS_AT_EACH


async def test_the_rate_of_an_endpoint_is_one_for_all_hubs(hubs: SharedHubs) -> None:
    """Proves that a system which takes four calls a second is sent as many and no more, though two
    hubs write its work at once."""
    first, second = await started(hubs)
    lane = Lane(1)
    limits = {"max_concurrency": 100, "max_rate_per_second": str(RATE)}
    async with (
        PlayedEndpoint(second, lane.erp, ERP_OPERATIONS, **limits) as erp,
        Story(first, lane) as at_first,
        Story(second, lane) as at_second,
    ):
        begun = time.monotonic()
        stories = (at_first, at_second)
        writing = [story.approved() for story in stories for _ in range(RATED_ORDERS // 2)]
        written = asyncio.gather(*writing)
        for _ in range(RATED_ORDERS):
            called = await erp.try_begin(await erp.take())
            assert not called.HasField("refusal"), called
        took_seconds = time.monotonic() - begun
        await written
    # So many may go at once; from then on one after another.
    assert took_seconds >= (RATED_ORDERS - RATE) / RATE
