"""A carton left on the dock, from the warehouse's confirm through the hub to the ERP's posting."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from crossdock.fulfillment.v1 import fulfillment_service_pb2
from crossdock.shipment.v1 import shipment_events_pb2, shipment_service_pb2
from crossdock_adapters.manhattan.sandbox import ManhattanSandbox
from crossdock_adapters.netsuite import translate
from crossdock_adapters.netsuite.translate import BookingRules, InternalIds, OpenLine
from decisions import WMS
from google.protobuf.timestamp_pb2 import Timestamp
from manhattan_world import FACILITY, sandbox_config
from test_manhattan_adapter import World

from tests.hub.first_flow import FULFILLMENTS, SHIPMENTS, Flow, each, order

METHODS = {
    fulfillment_service_pb2.ReportPickRequest: f"{FULFILLMENTS}/ReportPick",
    fulfillment_service_pb2.ReportPackedRequest: f"{FULFILLMENTS}/ReportPacked",
    shipment_service_pb2.ManifestShipmentRequest: f"{SHIPMENTS}/ManifestShipment",
}
Packed = fulfillment_service_pb2.ReportPackedRequest
Manifest = shipment_service_pb2.ManifestShipmentRequest
DOCK = "DC1"
RULES = BookingRules(zone=ZoneInfo("UTC"))
IDS = InternalIds(items={"SKU-1": "501"}, locations={DOCK: "7"})
HELD = [OpenLine(key=901, line_number=1, item_id="501", unit_id="")]


@dataclass
class Chain:
    """A simulated warehouse behind its adapter, the hub's decisions, and one order between them."""

    world: World
    flow: Flow
    number: str
    part: str
    told: int = 0

    @property
    def shipment(self) -> Any:
        (record,) = self.flow.all("shipment")
        return self.flow.object("shipment", record.id)

    def pass_on(self) -> None:
        """Give the hub what the adapter has told since the last time."""
        facts = list(self.world.hub.facts.values())
        for fact in facts[self.told :]:
            self.flow.call(METHODS[type(fact)], fact, WMS)
        self.told = len(facts)

    async def ship(self, confirms: int) -> None:
        """Label all cartons, and hear so many ship confirms."""
        for package in self.shipment.packages:
            await self.world.print(package.number, f"1Z{package.number}", DOCK)
        await self.world.hear(lambda: len(self.world.hub.of(Manifest)) == confirms)
        self.pass_on()

    def postings(self) -> list[dict[str, Any]]:
        """The bodies of the item fulfillments, one for each event that the ERP acts on."""
        events = [e for e in self.flow.events if e.stem == "shipment.manifested"]
        return [
            translate.item_fulfillment(
                shipment_events_pb2.ShipmentManifested.FromString(event.body).shipment,
                HELD,
                IDS,
                RULES,
                "R",
                Timestamp(),
            )
            for event in events
        ]

    def in_cartons(self, *numbers: str) -> Decimal:
        """What the warehouse's own books say is in these cartons."""
        olpns = self.world.sandbox.books()["olpns"]
        return sum(
            (
                Decimal(detail["Quantity"])
                for olpn in olpns
                for detail in olpn["OlpnDetail"]
                if olpn["OlpnId"] in numbers
            ),
            Decimal(0),
        )


@pytest.fixture
async def chain(tmp_path: Path) -> AsyncIterator[Chain]:
    """An order of 400 pieces that fills several cartons, packed and not yet labelled."""
    async with ManhattanSandbox(sandbox_config()) as sandbox:
        world = World(sandbox, tmp_path, facilities={DOCK: FACILITY})  # type: ignore[arg-type]
        world.hub.add_items("SKU-1")
        flow = Flow()
        made = order(location=DOCK)
        made.lines[0].quantity.CopyFrom(each("400"))
        _, (part,) = flow.released(made)
        request = flow.object("fulfillment_request", part)
        await world.release(request)
        await world.hear(lambda: len(world.hub.of(Packed)) == 1)
        made_chain = Chain(world, flow, request.number, part)
        made_chain.pass_on()
        assert len(made_chain.shipment.packages) >= 3
        yield made_chain
        await world.client.close()


def posted(body: dict[str, Any]) -> Decimal:
    (line,) = body["item"]["items"]
    assert line["itemReceive"] is True
    return Decimal(line["quantity"])


async def test_the_erp_posts_only_what_left_and_the_rest_when_it_leaves(chain: Chain) -> None:
    """Two cartons stay: the goods issue is without them; later they are posted, once, under a key
    of their own."""
    await chain.world.sandbox._command_leave_behind(
        {"original_order_id": chain.number, "cartons": 2}
    )
    await chain.ship(1)
    numbers = [package.number for package in chain.shipment.packages]
    first, rest = numbers[:-2], numbers[-2:]
    (body,) = chain.postings()
    assert posted(body) == chain.in_cartons(*first) < 400
    assert [row["packageDescr"] for row in body["package"]["items"]] == first
    assert chain.flow.state("order", chain.shipment.order_id) == "PARTIALLY_SHIPPED"
    await chain.world.sandbox._command_ship_rest({"original_order_id": chain.number})
    await chain.ship(2)
    before, second = chain.postings()
    assert before == body
    assert posted(second) == chain.in_cartons(*rest)
    assert posted(body) + posted(second) == 400
    assert [row["packageDescr"] for row in second["package"]["items"]] == rest
    assert second["externalId"] == f"{body['externalId']}-2"
    assert chain.flow.state("order", chain.shipment.order_id) == "SHIPPED"


async def test_a_carton_cancelled_at_the_dock_is_short_and_never_posted(chain: Chain) -> None:
    """The cancelled quantity is short on the order's line; the ERP's stock keeps it."""
    await chain.world.sandbox._command_leave_behind(
        {"original_order_id": chain.number, "cancel": True}
    )
    await chain.ship(1)
    last = chain.shipment.packages[-1].number
    (body,) = chain.postings()
    assert posted(body) == 400 - chain.in_cartons(last)
    (row,) = chain.flow.object("order", chain.shipment.order_id).progress
    assert Decimal(row.short.value) == chain.in_cartons(last)
    assert chain.flow.state("fulfillment_request", chain.part) == "SHIPPED"


async def test_a_whole_shipment_is_posted_whole(chain: Chain) -> None:
    """Nothing left behind: one posting of everything, under the shipment's own key."""
    await chain.ship(1)
    (body,) = chain.postings()
    assert posted(body) == 400
    assert body["externalId"] == f"xd-{chain.shipment.id}"
    assert chain.flow.state("order", chain.shipment.order_id) == "SHIPPED"
