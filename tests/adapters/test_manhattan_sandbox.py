"""The simulated warehouse: cartons, leases, search, access, and the floor that moves by itself."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from crossdock_adapters.manhattan import sandbox_messages as messages
from crossdock_adapters.manhattan.sandbox_cartons import (
    CARTON_TYPES,
    OVERSIZE,
    ItemSize,
    Units,
    cartonise,
)
from crossdock_adapters.manhattan.sandbox_pubsub import PubSubMessage, Subscription
from crossdock_adapters.manhattan.sandbox_records import (
    CANCELLED,
    Facility,
    OutMessage,
    WarehouseRefusal,
)
from crossdock_adapters.manhattan.sandbox_search import search
from crossdock_adapters.manhattan.sandbox_warehouse import Pace, Warehouse
from hypothesis import given
from hypothesis import strategies as st
from manhattan_world import FACILITY, OTHER_FACILITY, ZONE, order_content

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
ORGANIZATION = "ACME"

sizes = st.builds(
    ItemSize,
    *(
        st.decimals(min_value=low, max_value=high, places=2)
        for low, high in (("0.01", "60"), ("0.1", "30"), ("0.1", "20"), ("0.1", "20"))
    ),
)
quantities = st.one_of(
    st.integers(1, 120).map(Decimal), st.decimals(min_value="0.1", max_value="9", places=1)
)


def floor(**pace: float) -> tuple[Warehouse, list[OutMessage]]:
    """A warehouse of two sites and what it sent."""
    sent: list[OutMessage] = []
    sites = [
        Facility(FACILITY, "East", ZONE),
        Facility(OTHER_FACILITY, "West", "America/Los_Angeles", metric=True),
    ]
    quick = {"pick_seconds": 1.0, "pack_seconds": 1.0, "manifest_seconds": 1.0, **pace}
    speed = Pace(**quick)  # type: ignore[arg-type]
    warehouse = Warehouse(7, speed, sites, lambda message, _: sent.append(message))
    item = {
        "ItemId": "A-1",
        "ItemPackage": [{"Weight": "5", "Length": "8", "Width": "8", "Height": "8"}],
    }
    warehouse.import_item(ORGANIZATION, item)
    return warehouse, sent


def work_off(warehouse: Warehouse, start: datetime, seconds: int = 10) -> None:
    for second in range(seconds):
        warehouse.step(start + timedelta(seconds=second))


@given(st.lists(st.tuples(quantities, sizes), min_size=1, max_size=12))
def test_cartonisation_conserves_quantities(lines: list[tuple[Decimal, ItemSize]]) -> None:
    """Every picked unit is in exactly one carton, and no carton is heavier than it may be."""
    picked = [Units(str(i), f"item-{i}", quantity) for i, (quantity, _) in enumerate(lines)]
    by_item = {f"item-{i}": size for i, (_, size) in enumerate(lines)}
    cartons = cartonise(picked, by_item)
    packed: Counter[str] = Counter()
    limits = {each.id: each for each in CARTON_TYPES}
    for carton in cartons:
        assert carton.contents
        for content in carton.contents:
            assert content.quantity > 0
            packed[content.line_id] += content.quantity  # type: ignore[assignment]
        weight = sum(by_item[c.item_id].weight * c.quantity for c in carton.contents)
        assert carton.net_weight == weight
        if carton.type_id != OVERSIZE:
            assert weight <= limits[carton.type_id].max_weight
    assert dict(packed) == {units.line_id: units.quantity for units in picked}


def test_a_big_order_takes_several_cartons() -> None:
    """Forty heavy units do not travel in one box."""
    heavy = ItemSize(Decimal(5), Decimal(8), Decimal(8), Decimal(8))
    assert len(cartonise([Units("1", "A", Decimal(40))], {"A": heavy})) >= 4


@given(st.lists(st.sampled_from(["pull", "ack", "give", "wait"]), max_size=60), st.integers(1, 5))
def test_a_message_is_gone_only_by_an_ack_in_time(steps: list[str], maximum: int) -> None:
    """Whatever is pulled, given back or left to expire: nothing vanishes without an ack."""
    now = NOON
    subscription = Subscription("s", ack_deadline_seconds=10)
    for number in range(6):
        subscription.publish(PubSubMessage(str(number), "", {}, now), now)
    leases: list[str] = []
    acknowledged = 0
    for step in steps:
        if step == "pull":
            leases += [each["ackId"] for each in subscription.pull(maximum, now)]
        elif step == "ack" and leases:
            acknowledged += subscription.acknowledge([leases.pop(0)], now)
        elif step == "give" and leases:
            subscription.modify([leases.pop(0)], 0, now)
        elif step == "wait":
            now += timedelta(seconds=6)
        assert subscription.waiting + subscription.outstanding + acknowledged == 6


def test_an_ack_after_the_lease_has_no_effect() -> None:
    """A late ack is accepted in words and forgets nothing: the message comes again."""
    subscription = Subscription("s", ack_deadline_seconds=1)
    subscription.publish(PubSubMessage("1", "", {}, NOON), NOON)
    (first,) = subscription.pull(1, NOON)
    later = NOON + timedelta(seconds=2)
    assert subscription.acknowledge([first["ackId"]], later) == 0
    (again,) = subscription.pull(1, later)
    assert again["deliveryAttempt"] == 2 and again["message"] == first["message"]


@given(st.text(max_size=20))
def test_a_quoted_value_cannot_end_early(value: str) -> None:
    """Quotes in a value are doubled, so a query finds that value and nothing else."""
    from crossdock_adapters.manhattan.client import quoted

    records = [{"OriginalOrderId": value}, {"OriginalOrderId": "other", "Secret": "x"}]
    page, total = search({"Query": f"OriginalOrderId = {quoted(value)}"}, records)
    assert total == (2 if value == "other" else 1)
    assert page[0]["OriginalOrderId"] == value


def test_search_speaks_the_query_language() -> None:
    """in, like, and, child paths, template, sort and pages do what the platform's do."""
    records = [
        {"OrderId": f"O-{n}", "Line": [{"Item": "A" if n % 2 else "B"}], "More": n}
        for n in range(5)
    ]
    body = {
        "Query": "OrderId in ('O-1','O-3', 'O-4') and Line.Item = 'A'",
        "Template": {"OrderId": None},
        "Sort": [{"attribute": "OrderId", "direction": "desc"}],
        "Size": 1,
        "Page": 1,
    }
    assert search(body, records) == ([{"OrderId": "O-1"}], 2)
    assert search({"Query": "OrderId ~ 'o-4%'"}, records)[1] == 1
    with pytest.raises(WarehouseRefusal):
        search({"Query": "OrderId = 'O-1' or 1=1"}, records)


def test_an_order_is_picked_packed_and_waits_for_its_labels() -> None:
    """The floor moves by itself, but nothing ships before every oLPN has a tracking number."""
    warehouse, sent = floor()
    original, changed = warehouse.save_original(
        ORGANIZATION, FACILITY, order_content("SO-1", 40), NOON
    )
    assert changed
    work_off(warehouse, NOON)
    assert [each.type for each in sent] == [messages.PICK, messages.PACK]
    olpns = original.orders[0].olpns
    assert len(olpns) > 1
    for number, olpn in enumerate(olpns):
        work_off(warehouse, NOON + timedelta(seconds=20 + number))
        assert [each.type for each in sent][2:] == []
        content = {"OlpnId": olpn.id, "TrackingNumber": f"1Z{number}"}
        warehouse.save_olpn(ORGANIZATION, FACILITY, content, NOON + timedelta(seconds=30))
    work_off(warehouse, NOON + timedelta(seconds=40))
    assert [each.type for each in sent] == [messages.PICK, messages.PACK, messages.SHIP]
    ship = sent[-1].payload["Shipment"][0]
    assert {o["TrackingNumber"] for o in ship["Order"][0]["Olpn"]} == {
        f"1Z{number}" for number in range(len(olpns))
    }
    assert ship["ShipDateTime"].startswith("2026-03-02T07:00:4"), "local, without an offset"


def test_a_repeated_save_changes_nothing_and_a_late_one_is_refused() -> None:
    """Saves upsert by business key before the freeze status; after it they are too late."""
    warehouse, _ = floor()
    first, _ = warehouse.save_original(ORGANIZATION, FACILITY, order_content("SO-1", 2), NOON)
    again, changed = warehouse.save_original(ORGANIZATION, FACILITY, order_content("SO-1", 2), NOON)
    assert again is first and not changed
    _, changed = warehouse.save_original(ORGANIZATION, FACILITY, order_content("SO-1", 3), NOON)
    assert changed and first.orders[0].lines[0].ordered == 3
    warehouse.step(NOON + timedelta(seconds=5))
    for content in (order_content("SO-1", 4), {"OriginalOrderId": "SO-1", "IsCancelled": True}):
        with pytest.raises(WarehouseRefusal) as refused:
            warehouse.save_original(ORGANIZATION, FACILITY, content, NOON)
        assert refused.value.key == "ORDER_FROZEN"


def test_a_cancelled_order_never_ships() -> None:
    """A cancel before the freeze stops the floor; cancelling twice is one cancel."""
    warehouse, sent = floor()
    warehouse.save_original(ORGANIZATION, FACILITY, order_content("SO-1"), NOON)
    cancel = {"OriginalOrderId": "SO-1", "IsCancelled": True}
    original, changed = warehouse.save_original(ORGANIZATION, FACILITY, cancel, NOON)
    assert changed and original.maximum_status == CANCELLED
    assert warehouse.save_original(ORGANIZATION, FACILITY, cancel, NOON)[1] is False
    work_off(warehouse, NOON)
    assert sent == []


def test_a_wrong_location_header_writes_another_site() -> None:
    """The platform believes the header: the same order number lives once per site."""
    warehouse, _ = floor()
    for site in (FACILITY, OTHER_FACILITY):
        content = {**order_content("SO-1"), "OriginFacilityId": FACILITY}
        warehouse.save_original(ORGANIZATION, site, content, NOON)
    assert {key[1] for key in warehouse.originals} == {FACILITY, OTHER_FACILITY}


def test_short_picks_are_told_and_counted() -> None:
    """Picked and short add up to ordered, line by line, and only picked units are packed."""
    warehouse, sent = floor(short_rate=1.0)
    for number in range(8):
        content = order_content(f"SO-{number}", 9)
        original, _ = warehouse.save_original(ORGANIZATION, FACILITY, content, NOON)
        work_off(warehouse, NOON)
        line = original.orders[0].lines[0]
        assert line.short > 0 and line.picked + line.short == 9
        packed = sum(
            content.quantity
            for olpn in original.orders[0].olpns
            for content in olpn.carton.contents
        )
        assert packed == line.picked
    assert {each.type for each in sent} == {messages.PICK, messages.PACK}


def test_the_same_seed_runs_the_same_whatever_the_order_of_arrival() -> None:
    """Two runs with one seed pack and ship alike, so a failed run can be repeated."""
    outcomes = []
    for turn in (1, -1):
        warehouse, _ = floor(short_rate=0.3)
        for number in list(range(6))[::turn]:
            warehouse.save_original(ORGANIZATION, FACILITY, order_content(f"SO-{number}", 9), NOON)
        work_off(warehouse, NOON)
        outcomes.append(
            {
                each.id: [(line.picked, line.short) for line in each.orders[0].lines]
                for each in warehouse.originals.values()
            }
        )
    assert outcomes[0] == outcomes[1]


def test_a_split_order_ships_in_two(tmp_path: Path) -> None:
    """With split_rate the warehouse plans one original order as two, each with its shipment."""
    warehouse, sent = floor(split_rate=1.0)
    content = order_content("SO-1")
    content["OriginalOrderLine"].append(
        {"OriginalOrderLineId": "2", "ItemId": "A-1", "OrderedQuantity": 1}
    )
    original, _ = warehouse.save_original(ORGANIZATION, FACILITY, content, NOON)
    work_off(warehouse, NOON)
    assert len({order.shipment_id for order in original.orders}) == 2
    assert Counter(each.type for each in sent) == {messages.PICK: 2, messages.PACK: 2}
