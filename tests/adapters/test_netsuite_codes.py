"""A unit that nobody has mapped, from a NetSuite account to the item in the hub."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from crossdock.endpoint.v1 import held_fact_pb2
from crossdock.errors import NotFoundError
from crossdock.item.v1 import item_service_pb2
from crossdock.mapping.v1 import mapping_pb2
from crossdock.mapping.v1 import mapping_service_pb2 as mapping_rpc
from crossdock_adapters.netsuite.adapter import ADAPTER
from crossdock_adapters.netsuite.sandbox import (
    DEFAULT_CERTIFICATE_ID,
    DEFAULT_CLIENT_ID,
    DEFAULT_TIME_ZONE,
)
from crossdock_adapters.sdk import runner as running_endpoints
from crossdock_adapters.sdk.config import EndpointConfig
from crossdock_adapters.sdk.hub_link import HubLink
from crossdock_adapters.sdk.runner import EndpointRunner
from crossdock_adapters.sdk.telemetry import Telemetry
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from netsuite_account import Account, running_account
from sdk_ledger_hub import Queue
from story import Story, unique
from typed_commands import typed

WAIT_SECONDS = 60.0
SKU = "SKU-1004"


async def open_source(*_: Any) -> Queue:
    return Queue()


@contextlib.asynccontextmanager
async def serving(hub: RunningHub, lane: Lane, account: Account) -> AsyncIterator[None]:
    """The lane's ERP, run as the NetSuite adapter runs an account."""
    settings = {
        "base_url": account.sandbox.vendor_url,
        "client_id": DEFAULT_CLIENT_ID,
        "certificate_id": DEFAULT_CERTIFICATE_ID,
        "account_time_zone": DEFAULT_TIME_ZONE,
        "private_key": f"file:{account.key_file}",
        "master_data_interval_seconds": 0.1,
    }
    config = EndpointConfig(lane.erp, "netsuite", hub.token_file(lane.erp), settings=settings)
    stopping = asyncio.Event()
    async with hub.client(lane.erp) as client:
        link = HubLink(lane.erp, client, "test")
        endpoint = EndpointRunner(config, ADAPTER, link, open_source, Telemetry())
        task = asyncio.create_task(endpoint.run(stopping))
        try:
            deadline = time.monotonic() + WAIT_SECONDS
            while endpoint.state != "serving":
                assert time.monotonic() < deadline and not task.done(), endpoint.state
                await asyncio.sleep(0.02)
            yield
        finally:
            stopping.set()
            await task


async def unit_of_item(story: Story) -> str:
    request = item_service_pb2.GetItemRequest(number=SKU)
    try:
        return str((await story.erp.items.GetItem(request)).item.base_unit)
    except NotFoundError:
        return ""


async def waiting(story: Story, word: str) -> list[tuple[str, str, int]]:
    """What coverage says of a word: endpoint, topic, how many wait."""
    request = mapping_rpc.GetMappingCoverageRequest(endpoint_kind="netsuite")
    answer = await story.operator.mappings.GetMappingCoverage(request)
    return [
        (each.endpoint, mapping_pb2.MappingTopic.Name(each.topic), each.quarantined)
        for each in answer.unmapped_codes
        if [native.code for native in each.native_codes] == [word]
    ]


async def payloads(story: Story) -> list[held_fact_pb2.HeldFact]:
    request = held_fact_pb2.ListHeldFactsRequest(endpoint=story.lane.erp, payloads_only=True)
    return list((await story.operator.endpoints.ListHeldFacts(request)).held_facts)


async def test_a_unit_is_counted_set_and_read_again(
    hub: RunningHub, lane: Lane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that an item with a unit that has no row is quarantined and counted by endpoint and
    code, that `crossdock map set` alone has the adapter read it again, and that the dead letter is
    closed by it."""
    monkeypatch.setattr(running_endpoints, "HEARTBEAT_SECONDS", 0.2)
    word = unique("STONE")
    async with (
        running_account(tmp_path) as account,
        Story(hub, lane) as story,
        serving(hub, lane, account),
    ):

        async def change(**fields: Any) -> None:
            await account.sandbox.commands()["change_master_data"](
                {"type": "item", "number": SKU, "fields": fields}
            )

        async def known() -> bool:
            return await unit_of_item(story) != ""

        await eventually(known, "the first poll", WAIT_SECONDS)
        before = await unit_of_item(story)
        await change(stockunit=word)

        async def counted() -> bool:
            expected = (lane.erp, "MAPPING_TOPIC_UNIT", 1)
            return await waiting(story, word) == [expected]

        await eventually(counted, "coverage counts the unit", WAIT_SECONDS)
        assert await unit_of_item(story) == before
        (held,) = await payloads(story)
        assert (held.refusal.reason, held.source) == ("UNMAPPED_CODE", "poll:master_data")
        assert word in held.refusal.message
        said = await typed(hub, "map", "coverage", "--kind", "netsuite", code=1)
        assert word in said
        words = ("map", "set", "netsuite", "UNIT", word, "--means", "STI")
        await typed(hub, *words, "--reason", "their stones are those of Rec 20", "--yes")

        async def written() -> bool:
            (fact,) = await payloads(story)
            return fact.state == held_fact_pb2.HELD_FACT_STATE_APPLIED

        await eventually(written, "the payload is read again", WAIT_SECONDS)
        assert await unit_of_item(story) == "STI"
        assert await waiting(story, word) == []
