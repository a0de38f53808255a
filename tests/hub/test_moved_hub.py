"""A hub in the middle of its work moves from a file to PostgreSQL, with the bus it has."""

from __future__ import annotations

import asyncio
import difflib
import json
import re
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from back_ups import differences
from crossdock.dead_letter.v1 import dead_letter_service_pb2
from crossdock.delivery.v1 import delivery_operations_service_pb2, delivery_pb2
from crossdock.endpoint.v1 import endpoint_service_pb2, held_fact_pb2
from crossdock.lineage.v1 import lineage_service_pb2
from crossdock.order.v1 import order_pb2, order_service_pb2
from crossdock.replay.v1 import replay_pb2, replay_service_pb2
from databases import ServerDatabase, on_sqlite_only
from fixtures_hub import QUICK_LIMITS, Lane, RunningHub, deployment
from fixtures_nats import eventually
from fixtures_postgres import PostgresProcess
from played_endpoint import ERP_OPERATIONS, PlayedEndpoint, event_of
from replay_desk import Desk
from story import Story, pick, request_id, seed_master_data, update_order

LANE = Lane(1)
# Doubt does not become a question to the vendor while the database moves, however slow that is.
SETTLE_SECONDS = 3_600.0
STATES_BEFORE = {"CONFIRMED", "UNKNOWN", "PARKED", "REJECTED", "HELD", "UNROUTED"}
DONE = {"CONFIRMED", "SUPERSEDED", "SKIPPED"}
pytestmark = on_sqlite_only


def effect(dispatch: delivery_pb2.Dispatch) -> tuple[str, str]:
    """What is there once at the vendor when it was done: an operation about an object."""
    event = event_of(dispatch)
    is_order = dispatch.event_type.startswith("crossdock.order")
    about = event.order if is_order else event.fulfillment_request
    return dispatch.operation, about.id


@dataclass
class Vendor:
    """An ERP's books: how often it did an operation about an object."""

    done: Counter[tuple[str, str]] = field(default_factory=Counter)

    def book(self, dispatch: delivery_pb2.Dispatch) -> None:
        self.done[effect(dispatch)] += 1

    async def answer(self, erp: PlayedEndpoint, dispatch: delivery_pb2.Dispatch) -> None:
        """Do what a dispatch asks for, once for each time that it may begin."""
        begun = await erp.try_begin(dispatch)
        if begun.HasField("refusal"):
            return
        outcome = "CONFIRMED"
        if dispatch.kind == delivery_pb2.ATTEMPT_KIND_CALL:
            self.book(dispatch)
        elif not self.done[effect(dispatch)]:
            outcome = "NOT_FOUND"
        references = {"document": dispatch.vendor_reference} if outcome == "CONFIRMED" else {}
        await erp.complete(dispatch.delivery_id, begun.token, outcome, references=references)


@pytest.fixture
def file_hub(tmp_path: Path) -> Iterator[RunningHub]:
    """A hub of the test's own on a file."""
    running = RunningHub(
        tmp_path / "hub", deployment(1), database="sqlite", limits=json.dumps(QUICK_LIMITS)
    ).start()
    asyncio.run(seed_master_data(running))
    yield running
    running.kill()


@dataclass(frozen=True)
class UnderWay:
    """Ids of what waits for a person's word: a parked and a doubtful delivery, and a plan."""

    parked: str
    doubtful: str
    plan: str


async def begin_work(story: Story, erp: PlayedEndpoint, vendor: Vendor) -> UnderWay:
    """One of everything that can be under way."""
    await story.approved()
    await vendor.answer(erp, await erp.take())
    await story.approved()
    await erp.work("REJECTED", reason="the customer is on hold")
    order_id = await story.approved()
    parked, _ = await erp.work("PARKED", reason="a person has to look")
    changed = order_pb2.Order(id=order_id, customer_reference="PO-2")
    await story.oms.orders.UpdateOrder(update_order(changed, "customer_reference"))
    await story.released()
    await vendor.answer(erp, await erp.take())
    await story.wms.fulfillments.ReportPick(pick(str(uuid.uuid4())))
    raw = held_fact_pb2.HoldPayloadRequest(
        request_id=request_id(), payload=b"<xml", source="/wms/hook", reason="no XML at byte 4"
    )
    await story.wms.endpoints.HoldPayload(raw)
    plan = await Desk(story.operator, LANE.erp).plan("FAILED", event_types=["order.approved"])
    await story.approved()
    doubtful = await erp.take()
    token = await erp.begin(doubtful)
    vendor.book(doubtful)
    pause = endpoint_service_pb2.PauseEndpointRequest(
        request_id=request_id(), endpoint=LANE.erp, reason="the database moves"
    )
    await story.operator.endpoints.PauseEndpoint(pause)
    await erp.complete(doubtful.delivery_id, token, "UNKNOWN", reason="timed out")
    return UnderWay(parked.delivery_id, doubtful.delivery_id, plan.id)


async def answers(hub: RunningHub) -> dict[str, Any]:
    """What people and systems read, by what they ask for."""
    async with Story(hub, LANE) as story:
        operator = story.operator
        deliveries = [*await story.deliveries(""), *await story.deliveries("", endpoint=LANE.erp)]
        orders = await story.oms.orders.ListOrders(order_service_pb2.ListOrdersRequest())
        asked: dict[str, Any] = {
            "deliveries": deliveries,
            "orders": orders,
            "replays": await operator.replays.ListReplays(replay_service_pb2.ListReplaysRequest()),
            "letters": await operator.dead_letters.ListDeadLetters(
                dead_letter_service_pb2.ListDeadLettersRequest()
            ),
            "held": await operator.endpoints.ListHeldFacts(held_fact_pb2.ListHeldFactsRequest()),
        }
        for replay in asked["replays"].replays:
            request = replay_service_pb2.ListReplayItemsRequest(replay_id=replay.id)
            asked[f"items of {replay.id}"] = await operator.replays.ListReplayItems(request)
        for group in asked["letters"].groups:
            one = dead_letter_service_pb2.GetDeadLettersRequest(group_id=group.id)
            asked[f"group {group.id}"] = await operator.dead_letters.GetDeadLetters(one)
        for order in orders.orders:
            trace = lineage_service_pb2.TraceRequest(id=order.id)
            asked[f"trace of {order.id}"] = await operator.lineage.Trace(trace)
    return asked


def as_lines(found: dict[str, Any]) -> list[str]:
    """Answers as lines, without what any start of a hub, or time alone, changes: how often held
    facts were tried, and for how long something has been as it is."""
    lines = [f"{name}: {line}" for name, each in found.items() for line in str(each).splitlines()]
    timeless = [re.sub(r"since \d+ (s|min)", "since", line) for line in lines]
    return [line for line in timeless if " drives: " not in line]


def states(hub: RunningHub) -> set[str]:
    return {row[0] for row in hub.query("SELECT state FROM deliveries")}


def move(hub: RunningHub, *arguments: str) -> dict[str, Any]:
    """`crossdock hub move` with the hub's own settings."""
    command = [sys.executable, "-m", "crossdock.cli", "hub", "move", *arguments, "--json"]
    done = subprocess.run(command, env=hub.environment(), capture_output=True, timeout=200)
    assert done.returncode == 0, done.stderr.decode()
    told: dict[str, Any] = json.loads(done.stdout)
    return told


async def test_a_hub_moves_in_the_middle_of_its_work(
    file_hub: RunningHub, postgres_server: PostgresProcess
) -> None:
    """Proves that a hub with work confirmed, unknown, parked, refused, waiting, unrouted and held,
    and with a replay planned, answers the same after its database moved to PostgreSQL; that it
    belongs to the same bus; and that all of the work is then done, each effect once."""
    hub, vendor = file_hub, Vendor()
    async with (
        Story(hub, LANE) as story,
        PlayedEndpoint(hub, LANE.erp, ERP_OPERATIONS, settle_seconds=SETTLE_SECONDS) as erp,
    ):
        under_way = await begin_work(story, erp, vendor)
        assert states(hub) >= STATES_BEFORE, states(hub)
        await eventually(lambda: hub.count("events", "published_at IS NULL") == 0, "the relay")
    before = await answers(hub)
    assert hub.stop() == 0
    database = ServerDatabase(postgres_server)
    told = await asyncio.to_thread(move, hub, "--to", database.url)
    assert told["rows"] > 50
    code, said = hub.run_to_its_end()
    assert code == 78 and database.name in said
    hub.database = database
    hub.start()
    after = await answers(hub)
    differs = list(difflib.unified_diff(as_lines(before), as_lines(after), lineterm="", n=2))
    assert not differs, "\n".join(differs)
    assert differences(hub) == {}, "it is the database that the bus knows"
    await finish_work(hub, vendor, under_way)
    assert set(vendor.done.values()) == {1}, vendor.done
    await eventually(lambda: hub.count("events", "published_at IS NULL") == 0, "the relay")


async def finish_work(hub: RunningHub, vendor: Vendor, under_way: UnderWay) -> None:
    """Let go what is paused, parked, in doubt and planned, and work until nothing is left."""
    async with (
        Story(hub, LANE) as story,
        PlayedEndpoint(hub, LANE.erp, ERP_OPERATIONS) as erp,
        PlayedEndpoint(hub, LANE.wms, {"release_order": "NATURAL"}) as wms,
    ):
        await story.operator.endpoints.ResumeEndpoint(
            endpoint_service_pb2.ResumeEndpointRequest(request_id=request_id(), endpoint=LANE.erp)
        )
        retry = delivery_operations_service_pb2.RetryDeliveryRequest(
            request_id=request_id(),
            delivery_id=under_way.parked,
            reason="looked",
            not_found_at_vendor=True,
        )
        await story.operator.delivery_operations.RetryDelivery(retry)
        found = delivery_operations_service_pb2.ResolveDeliveryRequest(
            request_id=request_id(), delivery_id=under_way.doubtful, reason="it is in the books"
        )
        found.references.add(type="document", value="SO-DOUBTFUL")
        await story.operator.delivery_operations.ResolveDelivery(found)
        await Desk(story.operator, LANE.erp).start(replay_pb2.Replay(id=under_way.plan))

        async def works(endpoint: PlayedEndpoint) -> None:
            while True:
                await vendor.answer(endpoint, await endpoint.next())

        working = [asyncio.create_task(works(each)) for each in (erp, wms)]
        try:
            await eventually(lambda: states(hub) <= DONE, "the end of all work", 120)
        finally:
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)
