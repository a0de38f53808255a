"""A row that is set by RPC, and the very next words that go to a vendor, at a real hub."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from crossdock.endpoint.v1 import held_fact_pb2
from crossdock.fulfillment.v1 import fulfillment_pb2, fulfillment_service_pb2
from crossdock_adapters.canada_post.adapter import ADAPTER
from crossdock_adapters.canada_post.sandbox import CanadaPostSandbox
from crossdock_adapters.manhattan import conformance as warehouse
from crossdock_adapters.manhattan.adapter import ADAPTER as MANHATTAN
from crossdock_adapters.manhattan.sandbox import ManhattanSandbox
from crossdock_adapters.sdk import runner as running_endpoints
from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.sandbox import SandboxConfig
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from hosted_adapter import hosted
from story import DOCK, ITEM, Story, unique
from test_canada_post_hub import (
    SANDBOX_SETTINGS,
    WAIT_SECONDS,
    dock_in_ottawa,
    label_of,
    packed,
    settings,
)
from test_codes_by_way_in_hub import hearing
from typed_commands import typed

pytestmark = pytest.mark.timeout(300)

# Of the test's whole life there is one heartbeat, at its beginning.
NEVER_SECONDS = 3_600.0
PICKED = fulfillment_pb2.FULFILLMENT_STATE_PICKED
CODES = ("DOM.LIB", "DOM.PC", "DOM.RP")


async def test_what_is_sent_is_sent_by_the_row_of_now(
    hub: RunningHub, lane: Lane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a label is bought by the row that was set a moment before its order was packed,
    the first time and each time that the row is another: without a heartbeat, and at the first
    attempt, as nothing was sent by an older one."""
    monkeypatch.setattr(running_endpoints, "HEARTBEAT_SECONDS", NEVER_SECONDS)
    word = unique("SWIFT").upper().replace("-", "_")
    # Of other parcel numbers than those of other tests at this hub.
    config = SandboxConfig("canada-post", seed=31, settings=SANDBOX_SETTINGS)
    await dock_in_ottawa(hub)
    sold: list[str] = []
    async with (
        CanadaPostSandbox(config) as sandbox,
        Story(hub, lane) as story,
        hosted(hub, lane.carrier, ADAPTER, settings(sandbox, tmp_path)) as runner,
    ):
        await eventually(lambda: runner.state == "serving", "the endpoint", WAIT_SECONDS)
        for code, before in zip(CODES, (None, *CODES), strict=False):
            row = ("map", "set", "canada-post", "SERVICE_LEVEL", code, "--type", "DOM")
            # What the deployment says of a code stays: of two that are preferred none is newer.
            if before is not None:
                gone = ("map", "reset", "canada-post", "SERVICE_LEVEL", before, "--type", "DOM")
                await typed(hub, *gone, "--reason", "the tariff ended", "--yes")
            means = ("--means", word, "--preferred", "--reason", "the new tariff", "--yes")
            await typed(hub, *row, *means)
            shipment = (await packed(story, word)).id

            async def bought(shipment: str = shipment) -> bool:
                return await story.state(shipment, "buy_label") == "CONFIRMED"

            await eventually(bought, f"a label of {code}", WAIT_SECONDS)
            delivery = await story.delivery(shipment, "buy_label")
            assert delivery.attempts == 1, delivery
            number = (await label_of(story, shipment)).tracking_number
            sold += [
                each["service"]
                for each in sandbox.books()["shipments"]
                if each["tracking_number"] == number
            ]
    assert sold == list(CODES)


async def test_what_comes_in_is_read_by_the_row_of_now(
    hub: RunningHub, lane: Lane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a pick in a unit which got its row a moment before Manhattan published it is told
    and never held, though its adapter hears of rows by no heartbeat and is in the middle of a run
    of its poll; and that one in a unit whose row went is held, not read by what it meant."""
    monkeypatch.setattr(running_endpoints, "HEARTBEAT_SECONDS", NEVER_SECONDS)
    given = {
        **ManhattanSandbox.example_settings(tmp_path),
        **warehouse.CONFORMANCE.sandbox_settings,
    }
    config = SandboxConfig("manhattan", settings=given)
    unit, reason = unique("ZQ"), ("--reason", "their support said so", "--yes")
    row = ("manhattan", "UNIT", unit)
    async with ManhattanSandbox(config) as sandbox, Story(hub, lane) as story:
        _, (first,) = await story.released()
        _, (second,) = await story.released()
        told = {
            **warehouse.settings(sandbox, tmp_path),
            "facilities": {DOCK: warehouse.FACILITY},
            "messages_run_seconds": NEVER_SECONDS,
        }
        async with hearing(hub, lane.wms, MANHATTAN, told):
            await typed(hub, "map", "set", *row, "--means", "EA", *reason)
            await publish_pick(story, sandbox, first, unit)
            assert await held(story) == 0
            assert (await requested(story, first)).state == PICKED
            await typed(hub, "map", "reset", *row, *reason)
            before = await requested(story, second)
            await publish_pick(story, sandbox, second, unit)
            assert await held(story) == 1
            assert await requested(story, second) == before


async def publish_pick(story: Story, sandbox: ManhattanSandbox, request_id: str, unit: str) -> None:
    """Have a pick in this unit published; until its message is acknowledged."""
    number = (await requested(story, request_id)).number
    line = {
        "OriginalOrderLineId": "1",
        "ItemId": ITEM,
        "PickedQuantity": 1,
        "QuantityUomId": unit,
    }
    picked = {
        "OrderId": f"{number}_1",
        "OriginalOrderId": number,
        "Extended": {"HostRequestId": request_id},
        "OrderLine": [line],
    }
    message = vendor_json.dumps(warehouse.message("PickConfirmed", 1, Order=[picked]))
    world: Any = SimpleNamespace(sandbox=sandbox, hub=None)
    await warehouse.publish(world, message)


async def held(story: Story) -> int:
    """How many payloads of the warehouse the hub holds, or has held."""
    request = held_fact_pb2.ListHeldFactsRequest(endpoint=story.lane.wms, payloads_only=True)
    return len((await story.operator.endpoints.ListHeldFacts(request)).held_facts)


async def requested(story: Story, request_id: str) -> fulfillment_pb2.FulfillmentRequest:
    request = fulfillment_service_pb2.GetFulfillmentRequestRequest(id=request_id)
    answer = await story.wms.fulfillments.GetFulfillmentRequest(request)
    found: fulfillment_pb2.FulfillmentRequest = answer.fulfillment_request
    return found
