"""LTL freight at a real hub: from packed to delivered, an answer lost, files doubled and late."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from crossdock.delivery.v1 import delivery_operations_service_pb2 as operations_pb2
from crossdock.item.v1 import item_pb2, item_service_pb2
from crossdock.label.v1 import label_pb2, label_service_pb2
from crossdock.location.v1 import location_service_pb2
from crossdock.shipment.v1 import shipment_pb2, shipment_service_pb2
from crossdock.types.v1 import types_pb2
from crossdock_adapters.ltl_freight import conformance
from crossdock_adapters.ltl_freight.adapter import ADAPTER
from crossdock_adapters.ltl_freight.sandbox import LtlFreightSandbox
from crossdock_adapters.sdk.sandbox import SandboxConfig
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from hosted_adapter import hosted
from story import ITEM, Story, create_order, order, request_id, state_of, unique

pytestmark = pytest.mark.timeout(600)

WAIT_SECONDS = 60.0
DOCK = "FRESNO-1"


def party(name: str, city: str, state: str, postal_code: str) -> types_pb2.Party:
    address = types_pb2.Address(
        lines=["1 Main St"], city=city, state=state, postal_code=postal_code, country_code="US"
    )
    return types_pb2.Party(name=name, address=address)


async def dock_in_fresno(hub: RunningHub) -> None:
    entry = location_service_pb2.LocationEntry(request_id=request_id())
    entry.location.number = DOCK
    entry.location.address.CopyFrom(party("Dock", "Fresno", "CA", "93701"))
    entry.update_mask.paths.append("address")
    async with hub.client("netsuite") as erp:
        request = location_service_pb2.UpsertLocationsRequest(entries=[entry])
        await erp.locations.UpsertLocations(request)


async def packed(story: Story, packages: int, item: str = ITEM) -> shipment_pb2.Shipment:
    """The shipment of a new order from Fresno to Seattle, on so many pallets."""
    message = order(story.lane.business_unit, docks=[DOCK])
    message.lines[0].item_number = item
    message.carrier_code, message.service_code = "LTL", "FREIGHT"
    message.ship_to.CopyFrom(party("Cascade Supply", "Seattle", "WA", "98101"))
    made = (await story.oms.orders.CreateOrder(create_order(message))).order
    await story.approve(made.id)
    (fulfillment,) = await story.release(made.id)
    return await story.pack(fulfillment, packages, item)


async def said_of(hub: RunningHub, number: str, **hazard: Any) -> None:
    """The ERP tells an item, and what it says of its danger; nothing where nothing is given."""
    entry = item_service_pb2.ItemEntry(request_id=request_id())
    entry.item.number, entry.item.description = number, "A lamp"
    entry.update_mask.paths.append("description")
    if hazard:
        entry.item.hazardous_material.CopyFrom(item_pb2.HazardousMaterial(**hazard))
        entry.update_mask.paths.append("hazardous_material")
    async with hub.client("netsuite") as erp:
        answer = await erp.items.UpsertItems(item_service_pb2.UpsertItemsRequest(entries=[entry]))
    assert not answer.results[0].HasField("refusal"), answer


async def parked(story: Story, shipment_id: str, told: str) -> bool:
    """Whether its booking waits for a person, who is told this."""
    found = await story.deliveries(shipment_id, "buy_label")
    if [state_of(each) for each in found] != ["PARKED"]:
        return False
    return told in found[0].attempt_log[-1].reason


async def retried(story: Story, shipment_id: str) -> None:
    """A person says that it shall be tried again."""
    delivery = await story.delivery(shipment_id, "buy_label")
    retry = operations_pb2.RetryDeliveryRequest(
        request_id=request_id(), delivery_id=delivery.id, reason="the item is corrected"
    )
    await story.operator.delivery_operations.RetryDelivery(retry)


async def labels_of(story: Story, shipment_id: str) -> list[label_pb2.Label]:
    request = label_service_pb2.ListLabelsRequest(page_size=10, shipment_id=shipment_id)
    return list((await story.carrier.labels.ListLabels(request)).labels)


async def all_are(story: Story, shipment_id: str, operation: str, count: int) -> bool:
    found = await story.deliveries(shipment_id, operation)
    return [state_of(each) for each in found] == ["CONFIRMED"] * count


async def delivered(story: Story, shipment_id: str) -> bool:
    request = shipment_service_pb2.GetShipmentRequest(id=shipment_id)
    found = (await story.oms.shipments.GetShipment(request)).shipment
    return bool(found.progress) and all(
        each.milestone == shipment_pb2.MILESTONE_DELIVERED for each in found.progress
    )


def carrier(folder: Path, **more: Any) -> LtlFreightSandbox:
    """A simulated carrier with its mailbox in the folder. more: of its settings."""
    settings = {
        **LtlFreightSandbox.example_settings(folder),
        "client_id": conformance.CLIENT_ID,
        "client_secret": conformance.CLIENT_SECRET,
        "calls_per_second": 500,
        "step_seconds": 0.1,
        **more,
    }
    return LtlFreightSandbox(SandboxConfig("ltl-freight", settings=settings))


async def cancel(story: Story, sandbox: LtlFreightSandbox, shipment_id: str) -> None:
    """The warehouse voids a shipment, and the carrier has cancelled its bill of lading."""
    void = shipment_service_pb2.VoidShipmentRequest(
        request_id=request_id(), shipment_id=shipment_id, reason="packed twice"
    )
    await story.wms.shipments.VoidShipment(void)
    await eventually(
        lambda: all_are(story, shipment_id, "void_label", 1), "the cancellation", WAIT_SECONDS
    )
    assert sandbox.books()["cancelled"] == 1


async def carry(story: Story, sandbox: LtlFreightSandbox, shipment_id: str, pro: str) -> None:
    """The freight is carried, its files doubled and out of order, until all of it is known."""
    await story.manifest(shipment_id)
    for kind in ("duplicate", "out_of_order"):
        await sandbox.commands()["misbehave"]({"kind": kind, "count": 2})
    await sandbox.commands()["pickup"]({"pros": [pro]})
    await eventually(lambda: delivered(story, shipment_id), "both are delivered", WAIT_SECONDS)

    def acknowledged() -> bool:
        books = sandbox.books()
        said = {each["group"] for each in books["acknowledged"]}
        return said == set(range(1, books["interchanges"] + 1))

    await eventually(acknowledged, "every interchange is acknowledged", WAIT_SECONDS)


async def test_freight_is_booked_once_delivered_and_another_cancelled(
    hub: RunningHub, lane: Lane, tmp_path: Path
) -> None:
    """Proves at a real hub that a lost answer makes one bill of lading for two pallets, that its
    status files, doubled and out of order, bring both to delivered and are acknowledged, and that
    a voided shipment is cancelled at the carrier."""
    await dock_in_fresno(hub)
    async with carrier(tmp_path) as sandbox, Story(hub, lane) as story:
        settings = {
            **conformance.settings(sandbox, tmp_path),
            "freight_class": "85",
            "mailbox_interval_seconds": 0.1,
            "wait_for_first_seconds": 0.1,
        }
        async with hosted(hub, lane.carrier, ADAPTER, settings):
            sandbox.faults.add({"kind": "reply_lost", "operation": "create", "count": 1})
            lost, plain = [(await packed(story, count)).id for count in (2, 1)]

            async def both_booked() -> bool:
                counts = ((lost, 2), (plain, 1))
                return all([await all_are(story, each, "buy_label", n) for each, n in counts])

            await eventually(both_booked, "both bills of lading", WAIT_SECONDS)
            assert any(call.fault == "reply_lost" for call in sandbox.calls)
            assert len(sandbox.books()["bols"]) == 2
            first, second = await labels_of(story, lost)
            pro = first.tracking_number
            assert second.tracking_number == f"{pro}-002"
            assert second.carrier_shipment_number == pro
            await cancel(story, sandbox, plain)
            await carry(story, sandbox, lost, pro)
        books = sandbox.books()
        assert {each["status"] for each in books["acknowledged"]} == {"A"}
        assert sandbox.tick_error == "" and not books["unreadable"]


async def test_freight_under_the_carriers_own_pro_is_found_by_our_reference(
    hub: RunningHub, lane: Lane, tmp_path: Path
) -> None:
    """Proves at a real hub that a delivery reported under a PRO that no label has brings the two
    pallets of the booking to delivered whose reference its 214 repeats."""
    await dock_in_fresno(hub)
    async with carrier(tmp_path) as sandbox, Story(hub, lane) as story:
        settings = {
            **conformance.settings(sandbox, tmp_path),
            "freight_class": "85",
            # The hub knows labels of the other tests by their numbers.
            "pro_first": 500000501,
            "mailbox_interval_seconds": 0.1,
            "wait_for_first_seconds": 0.1,
        }
        async with hosted(hub, lane.carrier, ADAPTER, settings):
            shipment = (await packed(story, 2)).id
            booked = partial(all_are, story, shipment, "buy_label", 2)
            await eventually(booked, "the booking", WAIT_SECONDS)
            reference = (await labels_of(story, shipment))[0].purchase_reference
            await story.manifest(shipment)
            said = conformance.status(7, "D1", "1405")
            named = f"B10*77-1234567*{reference}*".encode()
            body = said.replace(f"B10*{conformance.PRO}*S-2001*".encode(), named)
            assert body != said
            (sandbox.mailbox_folder() / "from_carrier" / "own.edi").write_bytes(body)
            await eventually(lambda: delivered(story, shipment), "both arrive", WAIT_SECONDS)


async def test_a_refusal_after_a_throttled_call_is_a_refusal(
    hub: RunningHub, lane: Lane, tmp_path: Path
) -> None:
    """Proves at a real hub that an attempt which provably did nothing leaves no doubt: what the
    carrier refuses after it is rejected at once, by one call more."""
    await dock_in_fresno(hub)
    async with carrier(tmp_path, pro_range=[1, 2]) as sandbox, Story(hub, lane) as story:
        settings = {**conformance.settings(sandbox, tmp_path), "freight_class": "85"}
        async with hosted(hub, lane.carrier, ADAPTER, settings):
            throttle = {"kind": "throttle", "count": 1, "retry_after_seconds": 0.1}
            sandbox.faults.add({**throttle, "operation": "create"})
            shipment = (await packed(story, 1)).id

            async def rejected() -> bool:
                found = await story.deliveries(shipment, "buy_label")
                return [state_of(each) for each in found] == ["REJECTED"]

            await eventually(rejected, "the refusal", WAIT_SECONDS)
        assert [call.operation for call in sandbox.calls].count("create") == 2


async def test_goods_go_once_the_erp_has_said_that_they_are_harmless(
    hub: RunningHub, lane: Lane, tmp_path: Path
) -> None:
    """Proves at a real hub that goods of which nobody says whether they are dangerous, and goods
    that are said to be, park before anything is asked of the carrier, and that the ERP's word and
    a retry book each at once."""
    await dock_in_fresno(hub)
    async with carrier(tmp_path) as sandbox, Story(hub, lane) as story:
        given = {**conformance.settings(sandbox, tmp_path), "freight_class": "85"}
        del given["hazard_not_said"]
        unsaid, dangerous = unique("SKU"), unique("SKU")
        await said_of(hub, unsaid)
        await said_of(hub, dangerous, hazardous=True, un_number="UN3480", hazard_class="9")
        async with hosted(hub, lane.carrier, ADAPTER, given):
            for before, number, told in (
                (0, unsaid, f"whether {unsaid} is dangerous"),
                (1, dangerous, f"dangerous goods: {dangerous} (UN3480, class 9)"),
            ):
                shipment = (await packed(story, 1, number)).id
                await eventually(partial(parked, story, shipment, told), told, WAIT_SECONDS)
                assert [call.operation for call in sandbox.calls].count("create") == before
                await said_of(hub, number, hazardous=False)
                await retried(story, shipment)
                booked = partial(all_are, story, shipment, "buy_label", 1)
                await eventually(booked, "it is booked", WAIT_SECONDS)
        assert len(sandbox.books()["bols"]) == 2
