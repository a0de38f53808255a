"""Labels of FedEx for the way back: sold once whatever gets lost, told, and taken back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from carrier_hub import check
from crossdock.item.v1 import item_pb2
from crossdock.label.v1 import label_pb2
from crossdock.returns.v1 import return_events_pb2, return_pb2
from crossdock_adapters.fedex import adapter, conformance, translate
from crossdock_adapters.sdk import proving, return_labels
from crossdock_adapters.sdk.conformance import returned_parcel
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    NeedsPerson,
    OutcomeUnknown,
    Reject,
    Untranslatable,
)
from crossdock_adapters.sdk.work import Work
from fedex_world import World, fedex

DELIVERY_ID = "0190f7a2-0000-7e5f-8a6b-00000000000b"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with fedex(tmp_path) as made:
        made.hub.learn(*returned_parcel.known(conformance.WAREHOUSE))
        yield made


def initiated(world: World, **changes: Any) -> Work:
    wanted = returned_parcel.customer_return("FEDEX", conformance.CUSTOMER)
    for name, value in changes.items():
        setattr(wanted, name, value)
    event = return_events_pb2.ReturnInitiated(customer_return=wanted)
    return world.work("buy_return_label", event, "", DELIVERY_ID)


def given_up(world: World) -> Work:
    wanted = returned_parcel.customer_return("FEDEX", conformance.CUSTOMER)
    event = return_events_pb2.ReturnCancelled(customer_return=wanted)
    return world.work("void_return_label", event, "", "void-return")


async def buy(world: World, work: Work, draft: str = "") -> Confirmed:
    """Both steps, and what the hub makes of the fact."""
    known = draft or await adapter.open_return(work, world.client)
    done = await adapter.buy_return_label(replace(work, draft=known), world.client)
    for fact in done.facts:
        check(fact)
        world.hub.note_return(fact)
    return done


def label_of(done: Confirmed) -> return_pb2.ReturnLabel:
    fact: Any = done.facts[0]
    assert len(done.facts) == 1
    found: return_pb2.ReturnLabel = fact.customer_return.label
    return found


async def test_a_return_label_is_a_page_that_the_customer_prints(world: World) -> None:
    """Proves that FedEx is asked for a return from the customer to the warehouse under our
    reference and the number of the authorisation, weighed by its items, and what the fact says."""
    work = initiated(world)
    done = await buy(world, work)
    label = label_of(done)
    assert (label.carrier_code, label.service_code) == ("FEDEX", "GROUND")
    assert label.format == label_pb2.LABEL_FORMAT_PDF
    assert label.image.startswith(b"%PDF")
    assert label.purchase_reference == work.reference
    assert [(each.type, each.value) for each in done.references] == [
        ("tracking_number", label.tracking_number)
    ]
    (bought,) = world.books["shipments"]
    assert bought["comes_back"]
    (parcel,) = bought["parcels"]
    # 1.9 kg, rounded up to a tenth of a pound.
    assert parcel["pounds"] == "4.2"
    references = {tuple(each) for each in parcel["references"]}
    assert {
        ("CUSTOMER_REFERENCE", work.reference),
        ("RMA_ASSOCIATION", returned_parcel.NUMBER),
    } <= references


@pytest.mark.parametrize("shows", ["labels", "request", "gone"])
async def test_a_lost_confirmation_buys_no_second_label(tmp_path: Path, shows: str) -> None:
    """Proves that whatever an index shows after its confirmation, a label whose answer was lost is
    adopted for the return, and no second one is bought."""
    async with fedex(tmp_path, {"after_confirmation": shows}) as world:
        world.hub.learn(*returned_parcel.known(conformance.WAREHOUSE))
        work = initiated(world)
        draft = await adapter.open_return(work, world.client)
        world.sandbox.faults.add({"kind": "reply_lost", "operation": "confirm", "count": 1})
        with pytest.raises(OutcomeUnknown):
            await buy(world, work, draft)
        label = label_of(await buy(world, work, draft))
        known = world.books["labels_by_reference"][work.reference]
        assert known["tracking_numbers"] == [label.tracking_number]
        assert bool(label.image) == (shows == "labels"), "tracking shows no image"


@pytest.mark.parametrize("carrier_code", ["", "UPS"])
async def test_a_return_for_nobody_or_another_carrier_buys_nothing(
    world: World, carrier_code: str
) -> None:
    """Proves that a return whose carrier the customer chooses, or that goes by another one, is
    done with a note and without a call: an event without a carrier reaches every carrier."""
    work = initiated(world)
    work.event.customer_return.carrier_code = carrier_code
    done = await buy(world, work)
    assert not done.facts and "nothing bought" in done.note
    assert not world.sandbox.calls


async def test_cancelling_a_return_label_twice_is_one(world: World) -> None:
    """Proves that the label of a return that was given up is cancelled at FedEx once, told as
    void with its image, and that a return without one needs no call."""
    nothing = await adapter.void_return_label(given_up(world), world.client)
    assert "nothing to cancel" in nothing.note and not world.sandbox.calls
    sold = label_of(await buy(world, initiated(world)))
    for _ in range(2):
        done = await adapter.void_return_label(given_up(world), world.client)
        after = label_of(done)
        assert after.voided and after.image == sold.image
        assert after.tracking_number == sold.tracking_number
    assert world.books["shipments_cancelled"] == 1


async def test_a_return_label_in_use_is_not_taken_back(world: World) -> None:
    """Proves that after the first scan FedEx's no is a rejection, and the label stays valid."""
    await buy(world, initiated(world))
    await world.handed_over()
    with pytest.raises(Reject):
        await adapter.void_return_label(given_up(world), world.client)


async def test_what_is_missing_is_named(world: World) -> None:
    """Proves that an item without a weight, a location without an address and dangerous goods park
    with what to do, before anything is sent; and that return_weight stands in for the first."""
    world.hub.goods[returned_parcel.ITEM].ClearField("weight")
    with pytest.raises(Untranslatable, match=r"SKU-1001 weighs.*return_weight"):
        await adapter.open_return(initiated(world), world.client)
    world.hub.goods[returned_parcel.ITEM].hazardous_material.hazardous = True
    world.hub.places[returned_parcel.LOCATION].address.Clear()
    with pytest.raises(Untranslatable, match="location RENO has no address"):
        await adapter.open_return(initiated(world), world.client)
    assert not world.sandbox.calls


async def test_dangerous_goods_do_not_come_back_unsaid(world: World) -> None:
    """Proves that a return of what the ERP calls dangerous waits for a person."""
    world.hub.goods[returned_parcel.ITEM].hazardous_material.hazardous = True
    with pytest.raises(NeedsPerson, match="dangerous goods"):
        await adapter.open_return(initiated(world), world.client)
    assert not world.sandbox.calls


async def test_a_return_is_weighed_by_the_setting_where_nobody_knows(tmp_path: Path) -> None:
    """Proves that return_weight is what a return weighs whose items have no weight."""
    async with fedex(tmp_path, return_weight="7 LBR") as world:
        world.hub.learn(*returned_parcel.known(conformance.WAREHOUSE))
        world.hub.goods[returned_parcel.ITEM].ClearField("weight")
        await buy(world, initiated(world))
        assert world.books["shipments"][0]["parcels"][0]["pounds"] == "7.0"


@pytest.mark.parametrize(("usual", "pounds"), [("2 LBR", "4.2"), ("7 LBR", "7.0")])
async def test_what_is_known_of_a_part_is_no_less_than_the_setting(
    tmp_path: Path, usual: str, pounds: str
) -> None:
    """Proves that a return of which one item has a weight and another none is declared by the
    setting, and no lighter than what is known of it: 1.9 kilograms."""
    async with fedex(tmp_path, return_weight=usual) as world:
        world.hub.learn(*returned_parcel.known(conformance.WAREHOUSE))
        work = initiated(world)
        second = work.event.customer_return.lines.add(line_number=2, item_number="SKU-2002")
        second.quantity.CopyFrom(work.event.customer_return.lines[0].quantity)
        world.hub.goods[returned_parcel.ITEM].weight.value = "1.9"
        world.hub.learn(item_pb2.Item(number="SKU-2002", base_unit="EA"))
        await buy(world, work)
        assert world.books["shipments"][0]["parcels"][0]["pounds"] == pounds


async def test_the_poll_asks_about_returns_as_well(world: World) -> None:
    """Proves that the parcel of a return is followed by the tracking poll, until it is void."""
    label = label_of(await buy(world, initiated(world)))
    await world.handed_over()
    poll = world.poll()
    await adapter.poll_tracking(poll, world.client)
    assert world.hub.milestones(label.tracking_number)
    asked = world.calls("track")
    world.hub.returns_known[returned_parcel.RETURN_ID].label.voided = True
    await adapter.poll_tracking(world.poll(), world.client)
    assert world.calls("track") == asked


@pytest.mark.parametrize("fault", proving.SILENT_FAULTS)
@pytest.mark.parametrize("strikes", ["create", "confirm"])
async def test_the_class_holds_for_returns(world: World, strikes: str, fault: str) -> None:
    """Proves the declared class with the SDK's own trial, whichever of the two answers is lost."""
    trial = proving.Trial(
        adapter.ADAPTER,
        "buy_return_label",
        world.client,
        world.sandbox,
        lambda: initiated(world),
        lambda: world.books["shipments_confirmed"],
        strikes,
        settle_seconds=0.0,
    )
    assert await proving.class_problems(trial, fault) == []


async def test_fedex_is_asked_for_the_way_back(world: World) -> None:
    """Proves that the customer is the shipper of a return and the warehouse its recipient, and that
    FedEx is told that it is one, with a label to print."""
    shipment = await return_labels.shipment_back(initiated(world))
    rules = adapter.ship_rules(world.settings)
    requested = translate.requested_return(shipment, "REFERENCE", rules)
    assert requested["shipper"]["address"]["postalCode"] == "97205-1234"
    assert requested["recipients"][0]["address"]["postalCode"] == "89502"
    assert requested["shipmentSpecialServices"] == {
        "specialServiceTypes": ["RETURN_SHIPMENT"],
        "returnShipmentDetail": {"returnType": "PRINT_RETURN_LABEL"},
    }
