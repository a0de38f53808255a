"""What a message names has to exist: commands are refused, facts wait; keys name one object."""

from __future__ import annotations

from typing import Any

import pytest
from crossdock.order.v1 import order_service_pb2
from crossdock.types.v1 import types_pb2
from decisions import CONTRACT, OMS, outcome, refusal_of, request_id
from first_flow import ORDERS, Flow, order, package


def referenced(*keys: tuple[str, str, str]) -> order_service_pb2.CreateOrderRequest:
    """A CreateOrder with the keys of other systems."""
    request = order_service_pb2.CreateOrderRequest(request_id=request_id(), order=order())
    for system, type_, value in keys:
        request.references.add(system=system, type=type_, value=value)
    return request


@pytest.mark.parametrize(
    ("field", "kind", "change"),
    [
        ("order.customer_number", "customer", lambda o: setattr(o, "customer_number", "C-9")),
        ("order.lines[1].item_number", "item", lambda o: setattr(o.lines[1], "item_number", "X")),
        (
            "order.lines[0].ship_from_location_number",
            "location",
            lambda o: setattr(o.lines[0], "ship_from_location_number", "DC9"),
        ),
    ],
)
def test_a_command_that_names_what_is_not_there_is_refused(
    field: str, kind: str, change: Any
) -> None:
    """Proves that the refusal says which field, which kind and which value, and nothing is kept."""
    flow = Flow()
    message = order(lines=2)
    change(message)
    refusal = refusal_of(lambda: flow.create(message))
    assert refusal.reason == "UNKNOWN_REFERENCE"
    assert refusal.metadata["field"] == field
    assert refusal.metadata["kind"] == kind
    assert refusal.violations[0].field == field
    assert flow.all("order") == []


def test_every_reference_of_the_contract_leads_to_a_kind_of_object() -> None:
    """Proves that no field can name something that the hub does not keep."""
    for resource in CONTRACT.resources.values():
        for path in CONTRACT.reference_paths(resource.message_name):
            assert path.kind in CONTRACT.resources
            assert path.by in ("id", "number")
            if path.by == "number":
                assert "number" in CONTRACT.resources[path.kind].fields


def test_a_fact_that_names_what_is_not_there_waits_for_it() -> None:
    """Proves that a pack with an item nobody told of is held, and written when the item comes."""
    flow = Flow()
    _, (part,) = flow.released()
    held = flow.pack(part, package(item="SKU-NEW"))
    assert outcome(held.receipt) == "HELD"
    assert held.receipt.held_because.reason == "UNKNOWN_REFERENCE"
    assert not held.HasField("shipment")
    assert flow.all("shipment") == []
    flow.learn_item("SKU-OTHER")
    assert flow.drive() == []
    flow.learn_item("SKU-NEW")
    assert flow.drive() == [held.receipt.held_fact_id]
    assert len(flow.all("shipment")) == 1
    assert flow.held() == []


def test_a_fact_that_waits_for_two_things_waits_for_one_after_the_other() -> None:
    """Proves that a driven fact is held again for what else it needs."""
    flow = Flow()
    _, (part,) = flow.released()
    flow.pack(part, package("LPN-1", item="NEW-1"), package("LPN-2", item="NEW-2"))
    flow.learn_item("NEW-1")
    assert flow.drive() == []
    (waiting,) = flow.held()
    assert (waiting.awaits, waiting.drives) == ("item:NEW-2", 1)
    flow.learn_item("NEW-2")
    assert flow.drive() == [waiting.id]


def test_an_update_checks_what_it_changes() -> None:
    """Proves that a change to an unknown customer is refused, and other fields don't matter."""
    flow = Flow()
    made = flow.create()
    patch = type(made)(id=made.id, customer_number="C-9", channel="web")
    refusal = refusal_of(lambda: flow.update_order(patch, "customer_number"))
    assert refusal.reason == "UNKNOWN_REFERENCE"
    assert flow.update_order(patch, "channel").order.channel == "web"


def test_a_key_of_another_system_names_one_object() -> None:
    """Proves that a key is found again, and that nobody else can have it."""
    flow = Flow()
    first = flow.call(f"{ORDERS}/CreateOrder", referenced(("shop", "cart", "77")), OMS).order
    record = flow.records["reference", "shop", "cart", "77"]
    assert (record.kind, record.object_id) == ("order", first.id)
    second = referenced(("shop", "cart", "77"))
    second.order.number = "SO-2"
    refusal = refusal_of(lambda: flow.call(f"{ORDERS}/CreateOrder", second, OMS))
    assert refusal.reason == "REFERENCE_TAKEN"
    assert refusal.metadata["object_id"] == first.id


def test_the_same_key_twice_is_one() -> None:
    """Proves that a doubled key in one request does not stand in its own way."""
    flow = Flow()
    key = ("shop", "cart", "77")
    made = flow.call(f"{ORDERS}/CreateOrder", referenced(key, key), OMS).order
    assert [r.value for r in made.references] == ["77"]


def test_a_fact_is_held_for_every_kind_of_predecessor() -> None:
    """Proves that pick, pack, manifest, label, scan, proof and void can all come too early."""
    from crossdock.label.v1 import label_service_pb2
    from decisions import CARRIER
    from first_flow import LABELS, scan

    flow = Flow()
    ghost = request_id()
    void = label_service_pb2.ReportLabelVoidedRequest(
        request_id=request_id(), tracking_number="1Z1", carrier_code="UPSN"
    )
    receipts: list[types_pb2.FactReceipt] = [
        flow.pick(ghost).receipt,
        flow.pack(ghost).receipt,
        flow.manifest("SHP-0").receipt,
        flow.label(ghost, ghost).receipt,
        *flow.report(scan("IN_TRANSIT", flow.now)),
        flow.prove().receipt,
        flow.call(f"{LABELS}/ReportLabelVoided", void, CARRIER).receipt,
    ]
    assert {outcome(receipt) for receipt in receipts} == {"HELD"}
    assert {record.awaits for record in flow.held()} == {
        f"fulfillment_request:{ghost}",
        "shipment:SHP-0",
        f"shipment:{ghost}",
        "parcel:UPSN/1Z1",
    }
    assert flow.events == []
