"""Every proof of the demo holds on books that agree, and fails on each kind of doctored book."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from crossdock.cli.demo import proofs
from crossdock.cli.demo.books import Call, CarrierBooks, ErpBooks, WarehouseBooks, most_at_once
from crossdock.cli.demo.proofs import Outage, Refused, Traced
from crossdock.cli.demo.views import (
    AttemptView,
    DeliveryView,
    HubView,
    OrderView,
    PackageView,
    ShipmentView,
)
from hypothesis import given, settings
from hypothesis import strategies as st

PREFIX = "xd-"
T0 = datetime(2026, 1, 5, 20, 0, tzinfo=UTC)
OUTAGE = Outage(T0 + timedelta(seconds=100), T0 + timedelta(seconds=120), waited=4)
TRACKING = "1ZA1B2C30300000017"


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def document(key: str, number: str, seconds: float, order_number: str = "") -> dict[str, Any]:
    return {
        "external_id": PREFIX + key,
        "deleted": False,
        "created": at(seconds).isoformat(),
        "fields": {"tranId": number, "custbody_crossdock_order": order_number},
    }


@dataclass
class World:
    """One order, delivered; the books of its three vendors in their own words."""

    view: HubView
    erp: dict[str, Any]
    wms: dict[str, Any]
    ups: dict[str, Any]
    erp_calls: list[Call]
    ups_calls: list[Call]

    def erp_books(self) -> ErpBooks:
        return ErpBooks.read(self.erp, PREFIX)

    def wms_books(self) -> WarehouseBooks:
        return WarehouseBooks.read(self.wms)

    def ups_books(self) -> CarrierBooks:
        return CarrierBooks.read(self.ups)

    def change_order(self, **fields: Any) -> None:
        order = replace(self.view.orders[0], **fields)
        self.view = replace(self.view, orders=(order,))

    def change_package(self, **fields: Any) -> None:
        shipment = self.view.shipments[0]
        package = replace(shipment.packages[0], **fields)
        self.view = replace(self.view, shipments=(replace(shipment, packages=(package,)),))

    @property
    def label(self) -> DeliveryView:
        return self.view.deliveries[2]

    @property
    def parcel(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ups["shipments"][0]["parcels"][0]
        return found


def delivery(operation: str, object_id: str, documents: Sequence[tuple[str, str]]) -> DeliveryView:
    vendor = "ups" if operation == "buy_label" else "netsuite"
    lost = operation == "buy_label"
    attempts = (AttemptView("CALL", "UNKNOWN"), AttemptView("LOOK_UP", "CONFIRMED"))
    return DeliveryView(
        id=f"d-{operation}",
        endpoint=vendor,
        operation=operation,
        state="CONFIRMED",
        order_id="o1",
        object_id=object_id,
        reference="REF1",
        documents=tuple(documents),
        attempts=attempts if lost else (AttemptView("CALL", "CONFIRMED"),),
    )


def call(operation: str, key: str, seconds: float, effect: bool = True, fault: str = "") -> Call:
    return Call(operation, key, at(seconds), at(seconds + 0.5), effect, fault)


@pytest.fixture
def world() -> World:
    package = PackageView("p1", "OLPN1", "4.2", "LBR", TRACKING, "DELIVERED")
    shipment = ShipmentView("s1", "SH1", "o1", "DELIVERED", 7, (package,))
    deliveries = (
        delivery("create_sales_order", "o1", [("sales_order", "SO1")]),
        delivery("post_goods_issue", "s1", [("item_fulfillment", "IF1")]),
        delivery("buy_label", "s1", [("tracking_number", TRACKING)]),
    )
    once = {"created": 1, "updated": 0, "deleted": 0}
    scan = {"type": "I"}
    parcel = {
        "tracking_number": TRACKING,
        "references": [["TN", "REF1"], ["PO", "DEMO-000001"]],
        "weight": "4.2",
        "voided": False,
        "delivered": True,
        "scans": [{"type": "M"}, scan, scan, {"type": "D"}],
    }
    return World(
        HubView((OrderView("o1", "DEMO-000001", "DELIVERED", "SO1"),), (shipment,), deliveries),
        {
            "sales_orders": [document("o1", "SO1", 121, "DEMO-000001")],
            "item_fulfillments": [document("s1", "IF1", 125)],
            "sales_orders_by_external_id": {"xd-o1": dict(once)},
            "item_fulfillments_by_external_id": {"xd-s1": dict(once)},
        },
        {
            "olpns": [
                {"OlpnId": "OLPN1", "Weight": "4.20", "WeightUomId": "LB",
                 "TrackingNumber": TRACKING}
            ],
            "shipments": [{"ShipmentId": "SH1", "OlpnIds": ["OLPN1"]}],
        },
        {"shipments": [{"parcels": [parcel]}]},
        [call("upsert", "xd-o1", 121), call("transform", "xd-s1", 125)],
        [call("ship", "REF1", 50, fault="reply_lost")],
    )  # fmt: skip


Doctor = Callable[[World], None]


def doctored(*cases: tuple[str, Doctor]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("doctor", [pytest.param(f, id=name) for name, f in cases])


# Act 1


def delivered(world: World, expected: int = 1) -> proofs.Proof:
    return proofs.delivered(
        world.view, expected, world.erp_books(), world.wms_books(), world.ups_books()
    )


def test_delivered_holds(world: World) -> None:
    """Books that agree give no disagreement, and the sentence counts them."""
    proof = delivered(world)
    assert proof.holds, proof.disagreements
    assert "1 orders delivered" in proof.sentence
    assert not delivered(world, expected=2).holds


@doctored(
    ("the hub claims less", lambda w: w.change_order(state="RELEASED")),
    ("the hub claims another document", lambda w: w.change_order(sales_document="SO9")),
    ("the ERP has no sales order", lambda w: w.erp["sales_orders"].clear()),
    ("the ERP deleted it", lambda w: w.erp["sales_orders"][0].update(deleted=True)),
    ("the ERP has no goods issue", lambda w: w.erp["item_fulfillments"].clear()),
    ("nothing left the warehouse", lambda w: w.wms["shipments"].clear()),
    ("another oLPN left", lambda w: w.wms["shipments"][0].update(OlpnIds=["OLPN2"])),
    ("the carrier sold no label", lambda w: w.ups["shipments"].clear()),
    ("the carrier voided it", lambda w: w.parcel.update(voided=True)),
    ("the parcel is still under way", lambda w: w.parcel.update(delivered=False)),
    ("the hub has no shipment", lambda w: setattr(w, "view", replace(w.view, shipments=()))),
)
def test_delivered_fails_on(world: World, doctor: Doctor) -> None:
    """The hub's opinion alone never carries the proof."""
    doctor(world)
    assert not delivered(world).holds


# Act 2


def drained(world: World, budget: int = 3) -> proofs.Proof:
    return proofs.drained_within_limit(
        world.view, OUTAGE, world.erp_calls, budget, world.erp_books()
    )


def posted(world: World) -> proofs.Proof:
    return proofs.posted_once(world.view, world.erp_books(), world.erp_calls, PREFIX)


def test_the_outage_holds(world: World) -> None:
    """All three claims of the act hold on books that agree."""
    for proof in (proofs.waited_for_erp(OUTAGE, world.erp_calls), drained(world), posted(world)):
        assert proof.holds, proof.disagreements


def test_an_outage_that_was_none_fails(world: World) -> None:
    """A call in the window, or nothing that waited, shows that the fault did not bite."""
    inside = [*world.erp_calls, call("read", "xd-o1", 110, effect=False)]
    assert not proofs.waited_for_erp(OUTAGE, inside).holds
    assert not proofs.waited_for_erp(replace(OUTAGE, waited=0), world.erp_calls).holds


def test_a_drain_above_the_limit_fails(world: World) -> None:
    """The sandbox's own log counts, tokens aside."""
    world.erp_calls += [call("read", "x", 121.1), call("read", "y", 121.2), call("token", "", 121)]
    assert drained(world).holds
    world.erp_calls += [call("read", "z", 121.3)]
    assert not drained(world).holds


@doctored(
    ("no call came after", lambda w: w.erp_calls.clear()),
    (
        "goods issue before its order",
        lambda w: w.erp["item_fulfillments"][0].update(created=at(110).isoformat()),
    ),
    (
        "a delivery is left",
        lambda w: setattr(
            w,
            "view",
            replace(w.view, deliveries=(replace(w.view.deliveries[0], state="HELD"),)),
        ),
    ),
)
def test_a_drain_fails_on(world: World, doctor: Doctor) -> None:
    """Order and completeness are part of the claim."""
    doctor(world)
    assert not drained(world).holds


def make_twice(world: World) -> None:
    world.erp["item_fulfillments_by_external_id"]["xd-s1"]["created"] = 2


def make_under_another_key(world: World) -> None:
    world.erp["sales_orders"].append(document("other", "SO2", 122, "DEMO-000001"))
    world.erp["sales_orders_by_external_id"]["xd-other"] = {"created": 1}


@doctored(
    ("lost", lambda w: w.erp["item_fulfillments_by_external_id"].clear()),
    ("twice under one key", make_twice),
    ("twice under another key", make_under_another_key),
    ("written over", lambda w: w.erp_calls.append(call("upsert", "xd-o1", 130))),
    (
        "another number in the ledger",
        lambda w: w.erp["sales_orders"][0]["fields"].update(tranId="SO7"),
    ),
)
def test_posted_once_fails_on(world: World, doctor: Doctor) -> None:
    """A document that is missing, doubled, repeated or not the ledger's is found."""
    doctor(world)
    assert not posted(world).holds


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), max_size=20))
def test_most_at_once_is_the_most_at_any_moment(spans: list[tuple[int, int]]) -> None:
    """The sweep finds what looking at every moment finds."""
    calls = [Call("x", "", at(b), at(b + length), True, "") for b, length in spans]
    looked = [sum(c.start <= at(t) < c.end for c in calls) for t in range(75)]
    assert most_at_once(calls) == max(looked, default=0)


# Act 3


def labels(world: World, wanted: int = 1) -> proofs.Proof:
    return proofs.labels_found([world.label], world.ups_books(), world.ups_calls, wanted)


def test_labels_found_holds(world: World) -> None:
    """One reply lost, found by reference, one label sold."""
    proof = labels(world)
    assert proof.holds, proof.disagreements
    assert not labels(world, wanted=2).holds


def second_label(world: World, reference: str) -> None:
    parcel = deepcopy(world.parcel)
    parcel.update(tracking_number="1ZA1B2C30300000028", references=[["TN", reference]])
    world.ups["shipments"].append({"parcels": [parcel]})


def without_look_up(world: World) -> None:
    repeated = replace(
        world.label,
        attempts=(AttemptView("CALL", "UNKNOWN"), AttemptView("CALL", "CONFIRMED")),
    )
    world.view = replace(world.view, deliveries=(*world.view.deliveries[:2], repeated))


@doctored(
    ("a second label under the reference", lambda w: second_label(w, "REF1")),
    ("a label of no delivery", lambda w: second_label(w, "STRAY")),
    ("the carrier sold another number", lambda w: w.parcel.update(tracking_number="1ZOTHER")),
    ("the call was repeated, not looked up", without_look_up),
    ("no reply was lost", lambda w: w.ups_calls.clear()),
)
def test_labels_found_fails_on(world: World, doctor: Doctor) -> None:
    """A second label shows in the carrier's books whatever the ledger believes."""
    doctor(world)
    assert not labels(world).holds


# Act 4

WEBHOOKS = [{"copy": 1, "fault": "late_webhooks"}, {"copy": 2, "fault": "duplicate_webhooks"}]
EVENTS = {"s1": ["tracking.carrier_accepted", "tracking.in_transit", "tracking.delivered"]}


def backwards(world: World, **changes: Any) -> proofs.Proof:
    given_values: dict[str, Any] = {
        "seen_backwards": [],
        "scans_at_hub": {TRACKING: 3},
        "webhooks": WEBHOOKS,
        "events": EVENTS,
        **changes,
    }
    return proofs.never_backwards(world.view, ups=world.ups_books(), **given_values)


def test_never_backwards_holds(world: World) -> None:
    """Every scan once, every parcel where the carrier says."""
    proof = backwards(world)
    assert proof.holds, proof.disagreements


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"seen_backwards": ["package OLPN1 went back"]}, id="seen going back"),
        pytest.param({"scans_at_hub": {TRACKING: 4}}, id="a duplicate was counted"),
        pytest.param({"scans_at_hub": {TRACKING: 2}}, id="a scan is missing"),
        pytest.param({"webhooks": WEBHOOKS[:1]}, id="nothing was doubled"),
        pytest.param({"webhooks": WEBHOOKS[1:]}, id="nothing was late"),
        pytest.param(
            {"events": {"s1": ["tracking.delivered", "tracking.in_transit"]}},
            id="events go back",
        ),
    ],
)
def test_never_backwards_fails_on(world: World, changes: dict[str, Any]) -> None:
    """Each way in which a late or doubled webhook could do harm is looked for."""
    assert not backwards(world, **changes).holds


@doctored(
    ("the hub is behind the carrier", lambda w: w.change_package(milestone="IN_TRANSIT")),
    ("the hub is ahead of the carrier", lambda w: w.parcel.update(delivered=False)),
    ("the carrier does not know the parcel", lambda w: w.ups["shipments"].clear()),
)
def test_never_backwards_compares_with_the_carrier(world: World, doctor: Doctor) -> None:
    """Where the parcel is, is the carrier's to say."""
    doctor(world)
    assert not backwards(world).holds


def test_a_milestone_that_went_back_is_seen(world: World) -> None:
    """Two looks at the hub are compared package by package."""
    before = world.view
    world.change_package(milestone="OUT_FOR_DELIVERY")
    assert proofs.moved_backwards(before, world.view) != []
    assert proofs.moved_backwards(world.view, before) == []
    world.change_package(milestone="UNSPECIFIED")
    assert proofs.moved_backwards(before, world.view) != [], "what was known is lost"
    for nowhere in ("EXCEPTION", "VOIDED", "INFORMATION", "UNKNOWN"):
        world.change_package(milestone=nowhere)
        assert proofs.moved_backwards(before, world.view) == [], nowhere
    assert proofs.moved_backwards(HubView((), ()), world.view) == []


# Act 5

EXPECTED = [
    Refused("OMS", "shipment.packages", "WMS", "proto/x.proto:209"),
    Refused("WMS", "shipment.tracking_number", "CARRIER", "proto/x.proto:214"),
]


def owned(world: World, refusals: Sequence[Refused | None], after: ShipmentView) -> proofs.Proof:
    before = world.view.shipments[0]
    return proofs.refused_by_owner(
        refusals, EXPECTED, before, after, world.wms_books(), world.ups_books()
    )


def test_ownership_holds(world: World) -> None:
    """The sentence carries field, owner, file and line."""
    proof = owned(world, EXPECTED, world.view.shipments[0])
    assert proof.holds, proof.disagreements
    assert "proto/x.proto:214" in proof.sentence


def test_ownership_fails_on_what_was_allowed_or_told_wrongly(world: World) -> None:
    """An accepted write, another line, and a changed shipment each fail."""
    shipment = world.view.shipments[0]
    assert not owned(world, [None, EXPECTED[1]], shipment).holds
    other_line = replace(EXPECTED[0], rule="proto/x.proto:1")
    assert not owned(world, [other_line, EXPECTED[1]], shipment).holds
    assert not owned(world, EXPECTED, replace(shipment, revision=8)).holds


@doctored(
    ("another weight", lambda w: w.wms["olpns"][0].update(Weight="0.1")),
    ("another unit", lambda w: w.wms["olpns"][0].update(WeightUomId="KG")),
    ("another number", lambda w: w.wms["olpns"][0].update(TrackingNumber="1Z0")),
    ("unknown to the carrier", lambda w: w.ups["shipments"].clear()),
)
def test_ownership_compares_with_the_vendors(world: World, doctor: Doctor) -> None:
    """Weights are the warehouse's, numbers the carrier's: their books are asked."""
    doctor(world)
    assert not owned(world, EXPECTED, world.view.shipments[0]).holds


# Act 6

ANSWER = Traced(
    asked="IF1",
    verdict="COMPLETE",
    sentence="delivered, posted once",
    trace_id="0" * 32,
    order_numbers=frozenset({"DEMO-000001"}),
    shipment_ids=frozenset({"s1"}),
    tracking_numbers=frozenset({TRACKING}),
    postings=(("netsuite post_goods_issue", 1),),
)


def trace(world: World, answer: Traced) -> proofs.Proof:
    return proofs.traced(
        answer, world.view.shipments[0], "DEMO-000001", world.erp_books(), world.ups_books()
    )


def test_traced_holds(world: World) -> None:
    """A complete chain that the books confirm."""
    proof = trace(world, ANSWER)
    assert proof.holds, proof.disagreements


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": "WAITING"},
        {"trace_id": ""},
        {"order_numbers": frozenset()},
        {"shipment_ids": frozenset()},
        {"tracking_numbers": frozenset()},
        {"postings": (("netsuite post_goods_issue", 2),)},
        {"asked": "IF2"},
    ],
)
def test_traced_fails_on(world: World, changes: dict[str, Any]) -> None:
    """Every part of the chain has to be there."""
    assert not trace(world, replace(ANSWER, **changes)).holds


def test_traced_asks_the_books(world: World) -> None:
    """A chain that the ERP or the carrier does not know is no chain."""
    world.erp["item_fulfillments"].clear()
    assert not trace(world, ANSWER).holds
