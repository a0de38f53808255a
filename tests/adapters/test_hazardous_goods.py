"""Dangerous goods: no carrier's adapter books what it would declare falsely."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from carrier_hub import SmallHub
from crossdock.fulfillment.v1 import fulfillment_events_pb2
from crossdock.item.v1 import item_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock_adapters.canada_post import conformance as canada_post
from crossdock_adapters.fedex import conformance as fedex
from crossdock_adapters.gls import conformance as gls
from crossdock_adapters.ltl_freight import conformance as ltl_freight
from crossdock_adapters.ltl_freight import goods, translate
from crossdock_adapters.ltl_freight.translate import BolRules
from crossdock_adapters.sdk import hazardous_goods, registry, settings
from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.outcomes import NeedsPerson, OutcomeUnknown, Throttled
from crossdock_adapters.sdk.work import Work
from ltl_freight_world import REFERENCE, pallets, running
from ups_world import packed_shipment

# What a setting without a default is given here, by its kind; no call is made with it.
OF_KIND = {"url": "http://127.0.0.1:1", "secret": "env:PATH", "integer": 1}
STANDARD = {"LTL_GUARANTEED_NOON": "STANDARD"}
SHIPMENTS: dict[str, Callable[[], shipment_pb2.Shipment]] = {
    "canada-post": canada_post.shipment,
    "fedex": fedex.shipment,
    "gls": gls.shipment,
    "ltl-freight": ltl_freight.shipment,
    "ups": packed_shipment,
}


class Untouched:
    """A vendor that nothing may be asked of."""

    by_tender = False

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} of the vendor was asked for")


def hazard(**said: Any) -> item_pb2.Item:
    material = item_pb2.HazardousMaterial(hazardous=True, **said)
    return item_pb2.Item(number="SKU-1006", hazardous_material=material)


def harmless(number: str) -> item_pb2.Item:
    material = item_pb2.HazardousMaterial(hazardous=False)
    return item_pb2.Item(number=number, hazardous_material=material)


def work_of(adapter: Adapter, hub: Any, shipment: shipment_pb2.Shipment) -> Work:
    declared = adapter.manifest.settings
    given = {
        name: OF_KIND.get(each.kind, "X")
        for name, each in declared.items()
        if each.required and each.default is None
    }
    own = {"account_number": "A", "time_zone": "UTC"}
    given |= {key: value for key, value in own.items() if key in declared}
    checked, _ = settings.check(declared, given)
    event = fulfillment_events_pb2.FulfillmentPacked(shipment=shipment)
    package = shipment.packages[0].id
    nobody: Any = None
    return Work("d", adapter.name, "buy_label", package, "R" * 20, 1, event, checked, hub, nobody)


def holding(shipment: shipment_pb2.Shipment, *numbers: str) -> shipment_pb2.Shipment:
    fill(shipment.packages[0], *numbers)
    return shipment


def fill(package: shipment_pb2.Package, *numbers: str) -> None:
    """These items are in it, and nothing else."""
    del package.contents[:]
    for line, number in enumerate(numbers, start=1):
        content = package.contents.add(line_number=line, item_number=number)
        content.quantity.value, content.quantity.unit = "1", "EA"


def test_every_carrier_is_among_these() -> None:
    """Proves that an adapter that buys labels, and is not tested here, fails a test."""
    installed = [registry.adapter(name) for name in registry.names()]
    buying = [each.name for each in installed if "buy_label" in each.manifest.operations]
    assert sorted(SHIPMENTS) == sorted(buying)


@pytest.mark.parametrize("name", SHIPMENTS)
async def test_dangerous_goods_park_before_the_first_call(name: str) -> None:
    """Proves for each carrier that a shipment with an item that the ERP calls hazardous parks, with
    the item and what to do, before anything is asked of the carrier or a number is taken."""
    adapter = registry.adapter(name)
    hub = SmallHub()
    hub.goods["SKU-1006"] = hazard(un_number="UN3480", hazard_class="9")
    work = work_of(adapter, hub, holding(SHIPMENTS[name](), "SKU-1001", "SKU-1006"))
    first: Any = adapter.drafts.get("buy_label") or adapter.operations["buy_label"]
    vendor: Any = Untouched()
    with pytest.raises(NeedsPerson, match=r"SKU-1006 \(UN3480, class 9\);.* resolve this delivery"):
        await first(work, vendor)


async def test_an_item_is_read_once_and_what_is_not_said_holds_nothing_up() -> None:
    """Proves that a shipment of known items costs no call, that an item which is unknown, unsaid or
    said to be harmless passes, and that another hub is asked anew."""
    hub, other = SmallHub(), SmallHub()
    hub.goods["SKU-1"] = item_pb2.Item(number="SKU-1")
    hub.goods["SKU-2"] = harmless("SKU-2")
    shipment = holding(packed_shipment(), "SKU-1", "SKU-2", "SKU-3", "SKU-1")
    adapter = registry.adapter("ups")
    for _ in range(2):
        await hazardous_goods.refuse(work_of(adapter, hub, shipment), shipment.packages)
    assert hub.items_read == ["SKU-1", "SKU-2", "SKU-3"]
    other.goods["SKU-3"] = hazard()
    with pytest.raises(NeedsPerson, match=r"SKU-3 \(hazardous\)"):
        await hazardous_goods.refuse(work_of(adapter, other, shipment), shipment.packages)


async def test_what_the_erp_corrects_ships_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that an item that parked is read anew by the next attempt, so that a corrected one
    ships at once, and that one which was harmless is read again after its time."""
    hub = SmallHub()
    hub.goods["SKU-1006"] = hazard()
    shipment = holding(packed_shipment(), "SKU-1006")
    work = work_of(registry.adapter("ups"), hub, shipment)
    with pytest.raises(NeedsPerson):
        await hazardous_goods.refuse(work, shipment.packages)
    hub.goods["SKU-1006"].hazardous_material.hazardous = False
    await hazardous_goods.refuse(work, shipment.packages)
    hub.goods["SKU-1006"].hazardous_material.hazardous = True
    await hazardous_goods.refuse(work, shipment.packages)
    monkeypatch.setattr(hazardous_goods, "KEPT_SECONDS", 0.0)
    with pytest.raises(NeedsPerson):
        await hazardous_goods.refuse(work, shipment.packages)


async def test_what_nobody_said_is_not_told_to_be_harmless() -> None:
    """Proves that items that are unknown or unsaid and contents that nobody told are named by their
    package, each item read once for all packages, that a later word of the ERP is read, and that
    what is dangerous parks."""
    hub, shipment = SmallHub(), pallets(3)
    hub.goods["SKU-1"], hub.goods["SKU-2"] = item_pb2.Item(number="SKU-1"), harmless("SKU-2")
    said, unsaid, untold = shipment.packages
    fill(said, "SKU-2")
    fill(unsaid, "SKU-1", "SKU-2", "SKU-4", "SKU-1")
    fill(untold)
    work = work_of(registry.adapter("ltl-freight"), hub, shipment)
    for read in (3, 2):
        hub.items_read.clear()
        assert await hazardous_goods.unsaid(work, shipment.packages) == {
            said.id: (),
            unsaid.id: ("SKU-1", "SKU-4"),
            untold.id: (f"what is in package {untold.number}",),
        }
        assert len(hub.items_read) == read
    hub.goods["SKU-1"].hazardous_material.hazardous = False
    hub.goods["SKU-4"] = hub.goods["SKU-2"]
    assert (await hazardous_goods.unsaid(work, shipment.packages))[unsaid.id] == ()
    hub.goods["SKU-3"] = hazard()
    fill(untold, "SKU-3")
    with pytest.raises(NeedsPerson, match=r"dangerous goods: SKU-3 \(hazardous\)"):
        await hazardous_goods.unsaid(work, shipment.packages)


async def bill_of(hub: SmallHub, shipment: shipment_pb2.Shipment, how: str) -> list[Any]:
    """What a bill of lading for these goods says of danger, by handling unit; "" for nothing."""
    adapter = registry.adapter("ltl-freight")
    work = work_of(adapter, hub, shipment)
    work = replace(work, settings=settings.Settings({**work.settings, "hazard_not_said": how}))
    rules = BolRules(
        "A",
        package_types={"": "PALLET"},
        packaging={"PALLET": "PAT"},
        harmless=await goods.harmless(work),
    )
    rules = replace(rules, units={"LBR": "Pounds", "INH": "Inches"}, services=STANDARD)
    said = translate.bill_of_lading(shipment, "1", "R", date(2026, 3, 5), rules)
    units = said["commodities"]["handlingUnits"]
    return [unit["lineItems"][0].get("hazardous", "") for unit in units]


async def test_a_bill_of_lading_says_harmless_of_what_was_said_to_be() -> None:
    """Proves for LTL freight that `hazardous` is false where every item was said to be harmless, or
    the deployment vouches for what nobody said; else it parks or is left out, by the setting."""
    hub, shipment = SmallHub(), pallets(2)
    fill(shipment.packages[1], "SKU-2")
    hub.goods["SKU-1001"] = harmless("SKU-1001")
    assert await bill_of(hub, shipment, "omit") == [False, ""]
    assert await bill_of(hub, shipment, "harmless") == [False, False]
    with pytest.raises(NeedsPerson, match=r"whether SKU-2 is dangerous .*hazard_not_said"):
        await bill_of(hub, shipment, "park")
    hub.goods["SKU-2"] = hub.goods["SKU-1001"]
    assert await bill_of(hub, shipment, "park") == [False, False]
    hub.goods["SKU-3"] = hazard()
    fill(shipment.packages[1], "SKU-3")
    for how in goods.CHOICES:
        with pytest.raises(NeedsPerson, match="dangerous goods: SKU-3"):
            await bill_of(hub, shipment, how)


async def test_goods_that_turn_out_dangerous_are_not_booked(tmp_path: Path) -> None:
    """Proves that what the ERP calls dangerous after the PRO was taken parks before the bill of
    lading, and before the tender, though the deployment vouches for its goods."""
    async with running(tmp_path) as world:
        world.sandbox.faults.add({"kind": "throttle", "operation": "create", "count": 1})
        with pytest.raises(Throttled):
            await world.buy(pallets(1))
        world.hub.goods["SKU-1001"] = hazard()
        with pytest.raises(NeedsPerson, match=r"dangerous goods: SKU-1001 \(hazardous\)") as parked:
            await world.buy(pallets(1))
        assert "earlier call" not in parked.value.reason
        assert world.sandbox.books()["bols"] == []
    (tmp_path / "tender").mkdir()
    async with running(tmp_path / "tender", booking="tender") as world:
        world.drafts[REFERENCE] = "500000001"
        world.hub.goods["SKU-1001"] = hazard()
        with pytest.raises(NeedsPerson, match=r"dangerous goods: SKU-1001 \(hazardous\)"):
            await world.buy(pallets(1))
        assert world.names("to_carrier") == []


async def test_what_may_be_booked_as_harmless_goes_to_a_person(tmp_path: Path) -> None:
    """Proves that a booking whose answer was lost is not repeated once the ERP calls its goods
    dangerous, and names the PRO to ask the carrier for; and that it is adopted once it does not."""
    async with running(tmp_path) as world:
        world.sandbox.faults.add({"kind": "reply_lost", "operation": "create", "count": 1})
        with pytest.raises(OutcomeUnknown):
            await world.buy(pallets(1))
        world.hub.goods["SKU-1001"] = hazard()
        told = r"dangerous goods: SKU-1001 .*earlier call may have booked them under PRO 500000001"
        with pytest.raises(NeedsPerson, match=told):
            await world.buy(pallets(1))
        assert [call.operation for call in world.sandbox.calls].count("create") == 1
        world.hub.goods["SKU-1001"].hazardous_material.hazardous = False
        assert (await world.buy(pallets(1))).references[0].value == "500000001"
        assert len(world.sandbox.books()["bols"]) == 1
