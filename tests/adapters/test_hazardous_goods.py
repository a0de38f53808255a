"""Dangerous goods: no carrier's adapter books what it would declare falsely."""

from __future__ import annotations

from collections.abc import Callable
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
from crossdock_adapters.sdk import hazardous_goods, registry, settings
from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.outcomes import NeedsPerson
from crossdock_adapters.sdk.work import Work
from ups_world import packed_shipment

# What a setting without a default is given here, by its kind; no call is made with it.
OF_KIND = {"url": "http://127.0.0.1:1", "secret": "env:PATH", "integer": 1}
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
    del shipment.packages[0].contents[:]
    for line, number in enumerate(numbers, start=1):
        content = shipment.packages[0].contents.add(line_number=line, item_number=number)
        content.quantity.value, content.quantity.unit = "1", "EA"
    return shipment


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
    hub.goods["SKU-2"] = item_pb2.Item(
        number="SKU-2", hazardous_material=item_pb2.HazardousMaterial(hazardous=False)
    )
    shipment = holding(packed_shipment(), "SKU-1", "SKU-2", "SKU-3", "SKU-1")
    adapter = registry.adapter("ups")
    for _ in range(2):
        await hazardous_goods.refuse(work_of(adapter, hub, shipment), shipment.packages)
    assert hub.items_read == ["SKU-1", "SKU-2", "SKU-3"]
    other.goods["SKU-3"] = hazard()
    with pytest.raises(NeedsPerson, match=r"SKU-3 \(hazardous\)"):
        await hazardous_goods.refuse(work_of(adapter, other, shipment), shipment.packages)


async def test_what_the_erp_corrects_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that an item is asked for again after its time, so that a corrected one ships."""
    hub = SmallHub()
    hub.goods["SKU-1006"] = hazard()
    shipment = holding(packed_shipment(), "SKU-1006")
    work = work_of(registry.adapter("ups"), hub, shipment)
    with pytest.raises(NeedsPerson):
        await hazardous_goods.refuse(work, shipment.packages)
    hub.goods["SKU-1006"].hazardous_material.hazardous = False
    monkeypatch.setattr(hazardous_goods, "KEPT_SECONDS", 0.0)
    await hazardous_goods.refuse(work, shipment.packages)
