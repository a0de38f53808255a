"""The packs of SAP's products at a real hub: what it counts by them, and what waits for a row."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from crossdock.endpoint.v1 import held_fact_pb2
from crossdock.errors import NotFoundError, PreconditionError
from crossdock.fulfillment.v1 import fulfillment_service_pb2
from crossdock.order.v1 import order_pb2, order_service_pb2
from crossdock.unit.v1 import unit_service_pb2
from crossdock_adapters.sap import conformance
from crossdock_adapters.sap.adapter import ADAPTER
from crossdock_adapters.sap.sandbox import SapSandbox
from crossdock_adapters.sdk import held_payloads
from crossdock_adapters.sdk import runner as running_endpoints
from crossdock_adapters.sdk.runner import EndpointRunner
from crossdock_adapters.sdk.sandbox import SandboxConfig
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from hosted_adapter import asking_soon, hosted
from story import CUSTOMER, DOCK, Story, at, create_order, order, package, request_id, unique
from typed_commands import typed

pytestmark = pytest.mark.timeout(600)

WAIT_SECONDS = 60.0


def tenant(
    hub: RunningHub, lane: Lane, sandbox: SapSandbox, folder: Path, interval_seconds: float = 0.3
) -> AbstractAsyncContextManager[EndpointRunner]:
    """The adapter as the lane's ERP, which reads every product in each round."""
    settings = {
        **conformance.settings(sandbox, folder),
        "plants": {DOCK: "1010"},
        "hears": ["Product"],
        "changes_interval_seconds": interval_seconds,
    }
    return hosted(hub, lane.erp, asking_soon(ADAPTER, 1.0), settings)


def simulated(item: str) -> SapSandbox:
    return SapSandbox(SandboxConfig("sap", settings={"items": [item], "customers": [CUSTOMER]}))


async def say(sandbox: SapSandbox, item: str, **fields: Any) -> None:
    """Somebody in SAP changes a product."""
    await sandbox.commands()["change"]({"kind": "Product", "key": item, "fields": fields})


async def pieces(story: Story, item: str, unit: str, base: str = "EA") -> str:
    """How much of the base unit the hub says that one unit of an item is; "": it can't say."""
    asked = unit_service_pb2.ConvertQuantityRequest(to_unit=base, item_number=item)
    asked.quantity.value, asked.quantity.unit = "1", unit
    try:
        return str((await story.wms.units.ConvertQuantity(asked)).quantity.value)
    except (NotFoundError, PreconditionError):
        return ""


async def until_it_is(story: Story, item: str, unit: str, expected: str, base: str = "EA") -> None:
    """Each pack is told by a request of its own: one that is there says nothing of the others."""

    async def is_so() -> bool:
        return await pieces(story, item, unit, base) == expected

    await eventually(is_so, f"one {unit} of {item} is {expected} {base}", WAIT_SECONDS)


async def conversions(story: Story, item: str) -> list[tuple[str, int]]:
    asked = unit_service_pb2.ListUnitConversionsRequest(item_number=item)
    found = (await story.erp.units.ListUnitConversions(asked)).unit_conversions
    return [(each.number, each.revision) for each in found]


async def rounds(sandbox: SapSandbox, count: int) -> None:
    """So many rounds of polling that begin from now on have ended."""

    def asked() -> int:
        return sum(call.operation == "query_products" for call in sandbox.calls)

    seen = asked()

    async def have_ended() -> bool:
        return asked() > seen + count

    await eventually(have_ended, "rounds of polling", WAIT_SECONDS)


async def of_two_cases(story: Story, item: str) -> tuple[str, str]:
    """An order of two cases: its id and that of its fulfillment request."""
    message = order(story.lane.business_unit)
    message.lines[0].item_number = item
    message.lines[0].quantity.value, message.lines[0].quantity.unit = "2", "CS"
    made = (await story.oms.orders.CreateOrder(create_order(message))).order
    await story.approve(made.id)
    (request,) = await story.release(made.id)
    return made.id, request


async def leave(story: Story, request: str, item: str, quantity: str) -> None:
    """So many pieces are packed and leave."""
    carton = package(item=item)
    carton.contents[0].quantity.value = quantity
    report = fulfillment_service_pb2.ReportPackedRequest(
        request_id=request_id(), fulfillment_request_id=request, shipment_number=unique("SHP"),
        packages=[carton], pack_time=at(),
    )  # fmt: skip
    shipment = (await story.wms.fulfillments.ReportPacked(report)).shipment
    await story.manifest(shipment.id)


async def state(story: Story, order_id: str) -> str:
    asked = order_service_pb2.GetOrderRequest(id=order_id)
    found = (await story.oms.orders.GetOrder(asked)).order.state
    return order_pb2.OrderState.Name(found)


async def held(story: Story) -> Sequence[Any]:
    """What the lane's ERP could not tell."""
    asked = held_fact_pb2.ListHeldFactsRequest(endpoint=story.lane.erp, payloads_only=True)
    return list((await story.operator.endpoints.ListHeldFacts(asked)).held_facts)


async def test_a_case_is_what_sap_says(hub: RunningHub, lane: Lane, tmp_path: Path) -> None:
    """Proves at a real hub that an order of cases that is packed in pieces is counted by SAP's
    pack, that repeats of it change nothing, and that a pack that SAP changes is the hub's."""
    item = unique("PACKED")
    async with (
        simulated(item) as sandbox,
        Story(hub, lane) as story,
        tenant(hub, lane, sandbox, tmp_path),
    ):
        await say(sandbox, item, packs={"CV": ["12", "1"], "PAL": ["480", "1"]})
        await until_it_is(story, item, "CS", "12")
        await until_it_is(story, item, "PF", "40", "CS")
        order_id, request = await of_two_cases(story, item)
        await leave(story, request, item, "12")
        assert await state(story, order_id) == "ORDER_STATE_PARTIALLY_SHIPPED"
        await leave(story, request, item, "12")
        assert await state(story, order_id) == "ORDER_STATE_SHIPPED"
        told = await conversions(story, item)
        await rounds(sandbox, 2)
        assert await conversions(story, item) == told
        await say(sandbox, item, packs={"CV": ["10", "1"], "PAL": ["400", "1"]})
        await until_it_is(story, item, "CS", "10")
        await until_it_is(story, item, "PF", "40", "CS")


async def test_a_pack_of_an_unknown_unit_waits_for_its_row(
    hub: RunningHub, lane: Lane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves at a real hub that item and other packs do not wait for a unit without a row, and that
    its pack is told by itself once `crossdock map set` says what it is."""
    monkeypatch.setattr(running_endpoints, "HEARTBEAT_SECONDS", 0.2)
    monkeypatch.setattr(held_payloads, "HELD_ROUND_SECONDS", 0.5)
    item, code = unique("PACKED"), unique("Z")
    async with simulated(item) as sandbox, Story(hub, lane) as story:
        await say(sandbox, item, packs={"CV": ["12", "1"], code: ["6", "1"]})
        # No other round is due: what is held tells it.
        async with tenant(hub, lane, sandbox, tmp_path, interval_seconds=3600):
            await until_it_is(story, item, "CS", "12")
            assert await pieces(story, item, "BX") == ""

            async def is_held() -> bool:
                return any(code in each.refusal.message for each in await held(story))

            await eventually(is_held, "the product waits for the row", WAIT_SECONDS)
            words = ("map", "set", "sap", "UNIT", code, "--means", "BX")
            await typed(hub, *words, "--reason", "asked the warehouse", "--yes")
            await until_it_is(story, item, "BX", "6")

            async def is_over() -> bool:
                (waited,) = await held(story)
                return bool(waited.state == held_fact_pb2.HELD_FACT_STATE_APPLIED)

            await eventually(is_over, "nothing waits", WAIT_SECONDS)


async def test_a_pack_that_contradicts_is_for_a_person(
    hub: RunningHub, lane: Lane, tmp_path: Path
) -> None:
    """Proves at a real hub that a pair of which a dozen has seven is refused, read by a person with
    both ways, and corrected in SAP; and that the item's other pack is told meanwhile."""
    item = unique("PACKED")
    async with (
        simulated(item) as sandbox,
        Story(hub, lane) as story,
        tenant(hub, lane, sandbox, tmp_path),
    ):
        await say(sandbox, item, BaseUnit="DZ", packs={"CV": ["2", "1"], "PAA": ["1", "7"]})

        async def is_seen() -> bool:
            reasons = [each.refusal.message for each in await held(story)]
            return any(f"{item}:PR:DZN" in each and "1/7 DZN" in each for each in reasons)

        await eventually(is_seen, "the refused pack", WAIT_SECONDS)
        await until_it_is(story, item, "CS", "2", "DZN")
        assert [number for number, _ in await conversions(story, item)] == [f"{item}:CS:DZN"]
        await say(sandbox, item, packs={"CV": ["2", "1"], "PAA": ["1", "6"]})

        async def is_told() -> bool:
            return len(await conversions(story, item)) == 2

        await eventually(is_told, "the corrected pack", WAIT_SECONDS)
