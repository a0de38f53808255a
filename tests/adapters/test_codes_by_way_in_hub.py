"""Codes that nobody has mapped, by each way into a real hub, until somebody does.

Items by staging table and by SOAP are in test_legacy_items_hub, records by REST in
test_netsuite_codes. Flat files bring none in: of them it is a word that has no code to be sent.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from crossdock.endpoint.v1 import held_fact_pb2
from crossdock.fulfillment.v1 import fulfillment_pb2, fulfillment_service_pb2
from crossdock.mapping.v1 import mapping_service_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock.tracking.v1 import tracking_service_pb2
from crossdock_adapters.legacy_file.adapter import ADAPTER as FILE
from crossdock_adapters.legacy_file.sandbox import LegacyFileSandbox
from crossdock_adapters.ltl_freight import conformance as freight
from crossdock_adapters.ltl_freight.adapter import ADAPTER as LTL
from crossdock_adapters.ltl_freight.sandbox import LtlFreightSandbox
from crossdock_adapters.manhattan import conformance as warehouse
from crossdock_adapters.manhattan.adapter import ADAPTER as MANHATTAN
from crossdock_adapters.manhattan.sandbox import ManhattanSandbox
from crossdock_adapters.sdk import held_payloads, vendor_json
from crossdock_adapters.sdk import runner as running_endpoints
from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.config import EndpointConfig
from crossdock_adapters.sdk.hub_link import HubLink
from crossdock_adapters.sdk.runner import EndpointRunner
from crossdock_adapters.sdk.sandbox import SandboxConfig
from crossdock_adapters.sdk.telemetry import Telemetry
from crossdock_adapters.ups.adapter import ADAPTER as UPS
from crossdock_adapters.ups.sandbox import UpsSandbox
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from hosted_adapter import hosted
from sdk_ledger_hub import Queue
from story import CARRIER_CODE, CUSTOMER, DOCK, ITEM, Story, create_order, label, order, unique
from test_legacy_file_hub import settings as file_settings
from typed_commands import typed
from ups_world import ACCOUNT, CALLBACK_CREDENTIAL, SANDBOX_SETTINGS

pytestmark = pytest.mark.timeout(300)

WAIT_SECONDS = 90.0
REASON = ("--reason", "their support said so", "--yes")
IN_TRANSIT = shipment_pb2.MILESTONE_IN_TRANSIT


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adapters hear of new rows within a moment."""
    monkeypatch.setattr(running_endpoints, "HEARTBEAT_SECONDS", 0.2)
    monkeypatch.setattr(held_payloads, "HELD_ROUND_SECONDS", 0.5)


@asynccontextmanager
async def hearing(
    hub: RunningHub, endpoint: str, adapter: Adapter, settings: Mapping[str, Any]
) -> AsyncIterator[EndpointRunner]:
    """The adapter as this endpoint of the hub, for what comes in: it is given no deliveries."""

    async def open_source(*_: Any) -> Queue:
        return Queue()

    token = hub.token_file(endpoint)
    config = EndpointConfig(endpoint, adapter.name, token, webhook_port=0, settings=dict(settings))
    stopping = asyncio.Event()
    async with hub.client(endpoint) as client:
        link = HubLink(endpoint, client, "test")
        runner = EndpointRunner(config, adapter, link, open_source, Telemetry())
        task = asyncio.create_task(runner.run(stopping))
        try:
            await eventually(lambda: runner.state == "serving", "the endpoint", WAIT_SECONDS)
            yield runner
        finally:
            stopping.set()
            await task


async def waiting(story: Story, kind: str, endpoint: str) -> int:
    """How much waits at an endpoint for codes of a kind, on its way in or out."""
    request = mapping_service_pb2.GetMappingCoverageRequest(endpoint_kind=kind)
    answer = await story.operator.mappings.GetMappingCoverage(request)
    ours = [each for each in answer.unmapped_codes if each.endpoint == endpoint]
    return sum(each.quarantined + each.parked_deliveries for each in ours)


async def scanned(story: Story, number: str) -> list[Any]:
    """The milestones of a parcel's scans, in the order in which they happened."""
    request = tracking_service_pb2.ListTrackingEventsRequest(tracking_number=number)
    found = (await story.oms.tracking.ListTrackingEvents(request)).tracking_events
    return [each.milestone for each in sorted(found, key=lambda each: each.event_time.local)]


async def parcel(story: Story, number: str) -> None:
    """One that left, with this number on its label."""
    packed = await story.packed()
    await story.manifest(packed.id)
    await story.carrier.labels.CreateLabel(label(packed.id, packed.packages[0].id, number))


def alert(number: str, hour: int, kind: str, code: str) -> bytes:
    """A scan as UPS calls back with it."""
    status = {"type": kind, "code": code, "description": "Somewhere"}
    return vendor_json.dumps({
        "trackingNumber": number, "localActivityDate": "20260305",
        "localActivityTime": f"{hour:02}0000", "activityStatus": status,
    })  # fmt: skip


async def test_a_scan_by_webhook_waits_for_its_row(hub: RunningHub, lane: Lane) -> None:
    """Proves that a scan whose code has no row, which UPS called back with, is kept and counted
    while later ones go on, and is written in its place once `crossdock map set` gives it one."""
    number = unique("1Z")
    sandbox = UpsSandbox(SandboxConfig("ups", settings=SANDBOX_SETTINGS))
    async with sandbox, Story(hub, lane) as story:
        await parcel(story, number)
        settings = {
            "base_url": sandbox.vendor_url, "client_id": "env:UPS_TEST_CLIENT_ID",
            "client_secret": "env:UPS_TEST_CLIENT_SECRET", "account_number": ACCOUNT,
            "callback_credential": "env:UPS_TEST_CALLBACK", "carrier_code": CARRIER_CODE,
            "calls_per_second": 2000,
        }  # fmt: skip
        async with hearing(hub, lane.carrier, UPS, settings) as runner:
            headers = {"authorization": f"Bearer {CALLBACK_CREDENTIAL}"}
            url = f"{runner.webhook_url}/ups/track-alert"
            async with aiohttp.ClientSession() as vendor:
                for body in (alert(number, 9, "I", "ZQW"), alert(number, 10, "I", "OT")):
                    answer = await vendor.post(url, data=body, headers=headers)
                    assert answer.status == 200, await answer.text()
            known = await scanned(story, number)
            assert len(known) == 1 and await waiting(story, "ups", lane.carrier) == 1
            words = ("map", "set", "ups", "STATUS", "ZQW", "--type", "I", "--means", "IN_TRANSIT")
            await typed(hub, *words, *REASON)

            async def written() -> bool:
                return await scanned(story, number) == [IN_TRANSIT, *known]

            await eventually(written, "the scan is written", WAIT_SECONDS)
            assert await waiting(story, "ups", lane.carrier) == 0


async def test_a_status_by_edi_waits_for_its_row(
    hub: RunningHub, lane: Lane, tmp_path: Path
) -> None:
    """Proves the same of a 214 in a file of a mailbox, which is put away all the same."""
    pro = f"7{uuid.uuid4().int % 10**8:08}"
    given = {
        **LtlFreightSandbox.example_settings(tmp_path),
        **freight.CONFORMANCE.sandbox_settings,
    }
    config = SandboxConfig("ltl-freight", settings=given)
    async with LtlFreightSandbox(config) as sandbox, Story(hub, lane) as story:
        await parcel(story, pro)
        settings = {**freight.settings(sandbox, tmp_path), "carrier_code": CARRIER_CODE}
        async with hearing(hub, lane.carrier, LTL, settings):
            world: Any = SimpleNamespace(sandbox=sandbox, hub=None)
            for number, (code, clock) in enumerate((("ZQ", "0905"), ("AF", "1340")), start=1):
                told = freight.status(number, code, clock).replace(
                    freight.PRO.encode(), pro.encode()
                )
                await freight.drop(world, told)
            known = await scanned(story, pro)
            assert len(known) == 1 and await waiting(story, "ltl-freight", lane.carrier) == 1
            words = ("map", "set", "ltl-freight", "STATUS", "ZQ", "--means", "IN_TRANSIT")
            await typed(hub, *words, *REASON)

            async def written() -> bool:
                return await scanned(story, pro) == [IN_TRANSIT, *known]

            await eventually(written, "the scan is written", WAIT_SECONDS)
            assert await waiting(story, "ltl-freight", lane.carrier) == 0


async def test_a_pick_by_pub_sub_waits_for_its_unit(
    hub: RunningHub, lane: Lane, tmp_path: Path
) -> None:
    """Proves that a pick in a unit without a row, which Manhattan published, is kept raw and its
    message acknowledged, and told once `crossdock map set` gives the unit a row."""
    given = {
        **ManhattanSandbox.example_settings(tmp_path),
        **warehouse.CONFORMANCE.sandbox_settings,
    }
    config = SandboxConfig("manhattan", settings=given)
    async with ManhattanSandbox(config) as sandbox, Story(hub, lane) as story:
        _, (request_id,) = await story.released()
        settings = {
            **warehouse.settings(sandbox, tmp_path), "facilities": {DOCK: warehouse.FACILITY},
        }  # fmt: skip

        async def requested() -> fulfillment_pb2.FulfillmentRequest:
            request = fulfillment_service_pb2.GetFulfillmentRequestRequest(id=request_id)
            answer = await story.wms.fulfillments.GetFulfillmentRequest(request)
            found: fulfillment_pb2.FulfillmentRequest = answer.fulfillment_request
            return found

        before = await requested()
        line = {
            "OriginalOrderLineId": "1", "ItemId": ITEM, "PickedQuantity": 1,
            "QuantityUomId": "ZQP",
        }  # fmt: skip
        picked = {
            "OrderId": f"{before.number}_1", "OriginalOrderId": before.number,
            "Extended": {"HostRequestId": request_id}, "OrderLine": [line],
        }  # fmt: skip
        async with hearing(hub, lane.wms, MANHATTAN, settings):
            told = vendor_json.dumps(warehouse.message("PickConfirmed", 1, Order=[picked]))
            world: Any = SimpleNamespace(sandbox=sandbox, hub=None)
            await warehouse.publish(world, told)
            assert await waiting(story, "manhattan", lane.wms) == 1
            assert (await requested()).state == before.state
            words = ("map", "set", "manhattan", "UNIT", "ZQP", "--means", "EA")
            await typed(hub, *words, *REASON)

            async def written() -> bool:
                request = held_fact_pb2.ListHeldFactsRequest(endpoint=lane.wms, payloads_only=True)
                (held,) = (await story.operator.endpoints.ListHeldFacts(request)).held_facts
                return held.state == held_fact_pb2.HELD_FACT_STATE_APPLIED

            await eventually(written, "the pick is told", WAIT_SECONDS)
            assert (await requested()).state == fulfillment_pb2.FULFILLMENT_STATE_PICKED
            assert await waiting(story, "manhattan", lane.wms) == 0


async def test_an_order_by_file_waits_for_its_unit(
    hub: RunningHub, lane: Lane, tmp_path: Path
) -> None:
    """Proves that an order in a unit which the ERP by flat file has no word for is parked and
    counted, no file of it out, and goes once `crossdock map set` says the word."""
    example = LegacyFileSandbox.example_settings(tmp_path)
    config = SandboxConfig(
        "legacy-file", settings={**example, "items": [ITEM], "customers": [CUSTOMER]}
    )
    create = "create_sales_order"
    async with (
        LegacyFileSandbox(config) as sandbox,
        Story(hub, lane) as story,
        hosted(hub, lane.erp, FILE, file_settings(sandbox, tmp_path)),
    ):
        message = order(lane.business_unit)
        message.lines[0].quantity.unit = "STI"
        made = (await story.oms.orders.CreateOrder(create_order(message))).order
        await story.approve(made.id)

        async def is_(state: str) -> bool:
            return await story.state(made.id, create) == state

        await eventually(lambda: is_("PARKED"), "the order waits", WAIT_SECONDS)
        assert await waiting(story, "legacy-file", lane.erp) == 1
        assert sandbox.books()["sales_orders"] == []
        words = ("map", "set", "legacy-file", "UNIT", "ZQ", "--means", "STI", "--preferred")
        await typed(hub, *words, *REASON)
        await eventually(lambda: is_("CONFIRMED"), "the order is booked", WAIT_SECONDS)
        assert await waiting(story, "legacy-file", lane.erp) == 0
