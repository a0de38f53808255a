"""Who must act on an event: targets times endpoints, by operation and scope; stable ids."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from crossdock.bus import delivery_id, vendor_reference
from crossdock_hub.identity import Caller, Scope
from decisions import CONTRACT, ERP, WMS, refusal_of
from first_flow import Flow, order, package

EU = Caller("netsuite-eu", "ERP", Scope(business_units=frozenset({"retail-eu"})))
DC2 = Caller("manhattan-2", "WMS", Scope(location_numbers=frozenset({"DC2"})))


def summary(flow: Flow) -> list[tuple[str, str, str]]:
    """Endpoint, operation and state of every delivery."""
    return [(r.endpoint, r.operation, r.state) for r in flow.deliveries()]


def test_an_event_goes_to_each_target_that_offers_the_operation() -> None:
    """Proves that required targets get work, and optional ones nobody offers get none."""
    flow = Flow()
    flow.approve(flow.create().id)
    assert summary(flow) == [("netsuite", "create_sales_order", "READY")]


def test_scope_decides_between_endpoints_of_a_role() -> None:
    """Proves that the business unit picks the ERP, and the ship-from location the warehouse."""
    flow = Flow()
    us = Caller("netsuite", "ERP", Scope(business_units=frozenset({"retail-us"})))
    flow.employ(us, {"create_sales_order": "SEARCHABLE"})
    flow.employ(EU, {"create_sales_order": "SEARCHABLE"})
    flow.employ(DC2, {"release_order": "NATURAL"})
    flow.learn_location("DC2")
    message = order(lines=2)
    message.lines[1].ship_from_location_number = "DC2"
    flow.released(message)
    assert summary(flow) == [
        ("netsuite", "create_sales_order", "READY"),
        ("manhattan", "release_order", "READY"),
        ("manhattan-2", "release_order", "READY"),
    ]
    parts = flow.all("fulfillment_request")
    assert [p.ship_from_location_number for p in parts] == ["DC1", "DC2"]
    assert [p.number for p in parts] == ["SO-1-1", "SO-1-2"]
    assert [line.line_number for p in parts for line in p.lines] == [1, 2]


def test_a_required_target_nobody_serves_is_unrouted_and_seen() -> None:
    """Proves that work without a worker is a row with words, not silence."""
    flow = Flow()
    flow.learn_location("DC9")
    flow.released(order(location="DC9"))
    (record,) = flow.deliveries("", "release_order")
    assert (record.endpoint, record.state, record.pending) == ("", "UNROUTED", False)
    assert "WMS" in record.waiting_on
    assert flow.counters["unrouted", "WMS", "release_order"] == 1


def test_unrouted_work_of_two_roles_differs() -> None:
    """Proves that ids of unrouted deliveries are named after the role."""
    flow = Flow()
    for caller in ("netsuite", "ups"):
        flow.records["endpoint", caller].manifest = b""
    shipment = flow.labelled()
    flow.void(shipment.id)
    unrouted = [r for r in flow.deliveries() if r.state == "UNROUTED"]
    assert {r.role for r in unrouted} == {"ERP", "CARRIER"}
    assert len({r.id for r in unrouted}) == len(unrouted)


def test_an_event_means_one_delivery_a_package_where_it_says_so() -> None:
    """Proves that items are the packages, each with an id and a vendor reference of its own."""
    flow = Flow()
    _, (part,) = flow.released(order(lines=2))
    shipment = flow.pack(part, package("LPN-1", 1), package("LPN-2", 2)).shipment
    bought = flow.deliveries("ups", "buy_label")
    assert [r.item for r in bought] == [p.id for p in shipment.packages]
    assert len({r.vendor_reference for r in bought}) == 2
    assert {r.ordering_key for r in bought} == {shipment.id}
    assert {r.state for r in bought} == {"READY"}


def test_delivery_ids_follow_from_what_they_are() -> None:
    """Proves that event, endpoint, operation and item make the id: planned again, it is equal."""
    flow = Flow()
    flow.labelled()
    for record in flow.deliveries():
        same = delivery_id(record.event_id, record.endpoint, record.operation, record.item)
        assert record.id == same
        assert record.vendor_reference == vendor_reference(record.id)
        assert len(record.vendor_reference) == 20


def test_a_delivery_knows_its_flow() -> None:
    """Proves that root, object and references of the event come along for prerequisites."""
    flow = Flow()
    shipment = flow.labelled()
    flow.manifest()
    posted = flow.delivery("netsuite", "post_goods_issue")
    assert posted.root_id == shipment.order_id
    assert posted.object_id == shipment.id
    assert posted.requires == ("create_sales_order",)
    assert {shipment.id, shipment.order_id} <= set(posted.refers_to)
    assert (posted.state, posted.hold_reason) == ("HELD", "PREREQUISITE")


def test_a_paused_endpoint_still_gets_its_work() -> None:
    """Proves that a pause holds work back, it does not send it elsewhere or lose it."""
    flow = Flow()
    flow.records["endpoint", "netsuite"].state = "PAUSED"
    flow.approve(flow.create().id)
    assert summary(flow) == [("netsuite", "create_sales_order", "READY")]


def test_a_bolder_class_needs_an_operator_s_word() -> None:
    """Proves that a class which repeats on less evidence is refused with the setting that allows
    it, and taken for the operations that the endpoints file names and no others."""
    careful = {"create_sales_order": "SEARCHABLE", "cancel_order": "SEARCHABLE"}
    flow = Flow()
    flow.register(ERP, careful)
    bolder = careful | {"create_sales_order": "KEYED"}
    refusal = refusal_of(lambda: flow.register(ERP, bolder))
    assert refusal.reason == "MANIFEST_REFUSED"
    assert "bolder_operations of netsuite" in refusal.message
    allowed = replace(ERP, bolder_operations=frozenset({"create_sales_order"}))
    flow.register(allowed, bolder)
    both = dict.fromkeys(careful, "KEYED")
    assert refusal_of(lambda: flow.register(allowed, both)).metadata["operation"] == "cancel_order"


def test_endpoints_that_would_both_do_the_same_work_are_refused() -> None:
    """Proves that nobody can register a second ERP for the same business units by accident."""
    flow = Flow()
    twin = Caller("netsuite-2", "ERP")
    flow.employ(twin, {})
    refusal = refusal_of(lambda: flow.register(twin, {"create_sales_order": "NONE"}))
    assert refusal.reason == "MANIFEST_REFUSED"
    assert refusal.metadata["operation"] == "create_sales_order"
    assert "netsuite" in refusal.message
    flow.register(twin, {"record_release": "NATURAL"})
    flow.register(ERP, {"create_sales_order": "SEARCHABLE"})


def test_a_second_warehouse_of_other_locations_is_welcome() -> None:
    """Proves that scopes which do not meet share no work."""
    flow = Flow()
    flow.employ(DC2, {"release_order": "NATURAL"})
    flow.register(WMS, {"release_order": "NATURAL"})


@pytest.mark.parametrize(
    ("old", "new", "is_refused"),
    [
        ("NONE", "SEARCHABLE", True),
        ("SEARCHABLE", "NATURAL", True),
        ("KEYED", "TWO_STEP", True),
        ("NATURAL", "KEYED", False),
        ("SEARCHABLE", "NONE", False),
        ("KEYED", "KEYED", False),
    ],
)
def test_a_class_becomes_bolder_by_an_operator_only(old: str, new: str, is_refused: bool) -> None:
    """Proves that an adapter can't talk the hub into repeating on less evidence."""
    flow = Flow()
    desk = Caller("billing", "BILLING")
    flow.employ(desk, {"trigger_invoice": old})

    def register() -> Any:
        return flow.register(desk, {"trigger_invoice": new})

    if is_refused:
        assert refusal_of(register).reason == "MANIFEST_REFUSED"
    else:
        register()


def test_every_target_of_the_contract_can_be_routed() -> None:
    """Proves that each target's key and items are fields of its event."""
    from crossdock.contracts import items_of, ordering_key_of

    for event in CONTRACT.events.values():
        message = CONTRACT.generated_class(event.type)()
        for target in event.targets:
            assert ordering_key_of(target, message) == ""
            assert items_of(target, message) == ([] if target.item else [""])
