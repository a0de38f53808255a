"""States and milestones: commands are refused outside their states, facts never move back."""

from __future__ import annotations

import random
from functools import partial
from itertools import permutations
from typing import Any

import pytest
from crossdock_hub.objects import lifecycle
from decisions import outcome, refusal_of
from first_flow import Flow, order, package, scan, seconds
from hypothesis import given, settings
from hypothesis import strategies as st

FRESH = lifecycle.ParcelProgress("LABEL_CREATED", None, False)
MOVING = [*lifecycle.MILESTONE_RANK, "EXCEPTION"]
ALL = [*MOVING, *lifecycle.STILL_MILESTONES]
SCANS = st.lists(
    st.tuples(st.sampled_from(ALL), st.integers(1, 5), st.booleans()), min_size=1, max_size=8
)


def played(scans: list[tuple[str, int | None, bool]]) -> lifecycle.ParcelProgress:
    """What becomes of a parcel by these scans in this order."""
    now = FRESH
    said = [(lifecycle.meant(milestone, back), time) for milestone, time, back in scans]
    for milestone, (_, time) in zip(lifecycle.turned(said), said, strict=True):
        now, _ = lifecycle.advance_parcel(now, milestone, time)
    return now


# Parcels


@given(scans=SCANS, seed=st.integers())
@settings(max_examples=400)
def test_any_order_of_scans_ends_at_the_same(scans: list[Any], seed: int) -> None:
    """Proves that late and shuffled webhooks tell the same story: milestone, time and exception."""
    shuffled = list(scans)
    random.Random(seed).shuffle(shuffled)
    assert played(shuffled) == played(scans)


@pytest.mark.parametrize("left", MOVING)
@pytest.mark.parametrize("right", MOVING)
@pytest.mark.parametrize("times", [(1, 2), (2, 2), (2, 1)])
def test_any_two_scans_end_at_the_same_in_either_order(
    left: str, right: str, times: tuple[int, int]
) -> None:
    """Proves each pair, those of the same moment included: no two milestones are equally far."""
    first: tuple[str, int | None, bool] = (left, times[0], False)
    second: tuple[str, int | None, bool] = (right, times[1], False)
    assert played([first, second]) == played([second, first])


@given(scans=SCANS, again=st.lists(st.integers(0, 7), max_size=8))
def test_doubled_scans_change_nothing(scans: list[Any], again: list[int]) -> None:
    """Proves that a scan told twice, now or much later, is told once."""
    doubled = [*scans, *(scans[index % len(scans)] for index in again)]
    assert played(doubled) == played(scans)


@given(
    scans=st.lists(
        st.tuples(st.sampled_from(ALL), st.none() | st.integers(1, 20), st.booleans()), max_size=12
    )
)
def test_a_milestone_never_goes_back(scans: list[Any]) -> None:
    """Proves that no scan, with or without a time, moves a parcel backwards."""
    now = FRESH
    for milestone, time, back in scans:
        after, moved = lifecycle.advance_parcel(now, lifecycle.meant(milestone, back), time)
        rank = lifecycle.MILESTONE_RANK
        assert rank[after.milestone] >= rank[now.milestone]
        assert moved == (
            (after.milestone, after.exception_open) != (now.milestone, now.exception_open)
        )
        if now.milestone in lifecycle.ENDED_MILESTONES:
            assert after.milestone in (now.milestone, "RETURNED")
            assert not after.exception_open
        now = after


@given(scans=SCANS)
def test_what_says_nothing_moves_nothing(scans: list[Any]) -> None:
    """Proves that information, unknown codes and voided labels change nothing."""
    useful = [entry for entry in scans if entry[0] not in lifecycle.STILL_MILESTONES]
    assert played(useful) == played(scans)


@pytest.mark.parametrize(
    ("scans", "milestone", "is_open"),
    [
        ([("IN_TRANSIT", 1), ("EXCEPTION", 2)], "IN_TRANSIT", True),
        ([("IN_TRANSIT", 1), ("EXCEPTION", 2), ("IN_TRANSIT", 3)], "IN_TRANSIT", False),
        ([("OUT_FOR_DELIVERY", 1), ("EXCEPTION", 2), ("IN_TRANSIT", 3)], "OUT_FOR_DELIVERY", False),
        ([("EXCEPTION", 5), ("OUT_FOR_DELIVERY", 3)], "OUT_FOR_DELIVERY", True),
        ([("EXCEPTION", 5), ("OUT_FOR_DELIVERY", 6)], "OUT_FOR_DELIVERY", False),
        ([("OUT_FOR_DELIVERY", 6), ("EXCEPTION", 5)], "OUT_FOR_DELIVERY", False),
        ([("EXCEPTION", 5), ("DELIVERED", 3)], "DELIVERED", False),
        ([("EXCEPTION", None), ("IN_TRANSIT", None)], "IN_TRANSIT", False),
        ([("IN_TRANSIT", 1), ("EXCEPTION", None)], "IN_TRANSIT", True),
        ([("OUT_FOR_DELIVERY", 1), ("EXCEPTION", None), ("IN_TRANSIT", None)], None, True),
    ],
)
def test_an_exception_opens_and_lifts(
    scans: list[tuple[str, int | None]], milestone: str | None, is_open: bool
) -> None:
    """Proves that the newest scan decides whether there is a problem, an end ends it."""
    after = played([(name, time, False) for name, time in scans])
    assert after.exception_open is is_open
    assert milestone in (None, after.milestone)


def test_delivered_on_the_way_back_is_returned() -> None:
    """Proves that the same word means the opposite on the return leg."""
    assert lifecycle.meant("DELIVERED", return_leg=True) == "RETURNED"
    assert lifecycle.meant("IN_TRANSIT", return_leg=True) == "RETURNING"
    assert lifecycle.meant("EXCEPTION", return_leg=True) == "EXCEPTION"
    assert lifecycle.meant("DELIVERED", return_leg=False) == "DELIVERED"


def test_a_delivered_parcel_may_still_come_back() -> None:
    """Proves that a refused parcel ends as returned, whichever end is told first."""
    ends: list[tuple[str, int | None, bool]] = [("DELIVERED", 5, False), ("RETURNED", 9, False)]
    assert played(ends) == played(ends[::-1]) == lifecycle.ParcelProgress("RETURNED", 9, False)


@pytest.mark.parametrize(
    ("scans", "milestone"),
    [
        ([("RETURNING", 5), ("DELIVERED", 9)], "RETURNED"),
        ([("RETURNING", 5), ("DELIVERED", 5)], "RETURNED"),
        ([("RETURNING", 5), ("DELIVERED", 4)], "DELIVERED"),
        ([("DELIVERED", 4), ("RETURNING", 5)], "DELIVERED"),
        ([("DELIVERED", 9), ("RETURNING", 5)], "RETURNED"),
        ([("DELIVERED", 4), ("RETURNING", 5), ("DELIVERED", 9)], "RETURNED"),
        ([("RETURNING", 7), ("DELIVERED", 6), ("RETURNING", 5)], "RETURNED"),
        ([("RETURNING", None), ("DELIVERED", None)], "RETURNED"),
        ([("RETURNING", None), ("DELIVERED", 9)], "RETURNED"),
        ([("RETURNING", 5), ("DELIVERED", None)], "RETURNED"),
        ([("DELIVERED", None), ("RETURNING", None)], "DELIVERED"),
        ([("DELIVERED", 9), ("RETURNING", None)], "DELIVERED"),
        ([("IN_TRANSIT", 5), ("DELIVERED", 9)], "DELIVERED"),
    ],
)
def test_a_delivery_that_follows_the_way_back_is_a_return(
    scans: list[tuple[str, int | None]], milestone: str
) -> None:
    """Proves that "delivered" not before a scan of the way back is the sender's parcel, and that
    the order in which they came decides only where one of them has no time."""
    assert played([(name, time, False) for name, time in scans]).milestone == milestone


@given(scans=SCANS)
def test_a_delivery_is_a_return_exactly_when_the_parcel_went_back_before(scans: list[Any]) -> None:
    """Proves that of scans with times a delivery counts as long as nothing of the way back is as
    old as it, that nothing else changes its meaning, and that each scan is looked at by the hub."""
    said = [(lifecycle.meant(milestone, back), time) for milestone, time, back in scans]
    back = [time for name, time in said if name in ("RETURNING", "RETURNED")]
    now = FRESH
    for place, ((name, time), means) in enumerate(zip(said, lifecycle.turned(said), strict=True)):
        turns = name == "DELIVERED" and any(since <= time for since in back)
        assert means == ("RETURNED" if turns else name)
        beside = {"DELIVERED": {"RETURNING", "RETURNED"}}.get(name, {"DELIVERED"})
        if name in ("DELIVERED", "RETURNING", "RETURNED") and beside & {n for n, _ in said[:place]}:
            assert lifecycle.may_turn(now.milestone, name)
        now, _ = lifecycle.advance_parcel(now, name, time)


@given(
    scans=st.lists(
        st.tuples(
            st.sampled_from(["RETURNING", "RETURNED", "DELIVERED", "IN_TRANSIT"]),
            st.none() | st.integers(1, 6),
        ),
        max_size=12,
    )
)
@settings(max_examples=400)
def test_what_scans_mean_beside_each_other_is_what_each_pair_says(scans: list[Any]) -> None:
    """Proves, times or none, that a delivery is a return exactly when one of the way back, itself
    such a delivery or not, is not younger, or came before it where one of two has no time."""
    back = {place for place, (name, _) in enumerate(scans) if name in lifecycle.WAY_BACK}
    ends = {place for place, (name, _) in enumerate(scans) if name == "DELIVERED"}
    found = ends
    while found:
        found = {
            end
            for end in ends - back
            for since in back
            if (
                end > since
                if (at := scans[end][1]) is None or (first := scans[since][1]) is None
                else at >= first
            )
        }
        back |= found
    said = [name for name, _ in scans]
    means = ["RETURNED" if place in back & ends else said[place] for place in range(len(said))]
    assert lifecycle.turned(scans) == means


class CountedTime(int):
    """A time that counts how often one is compared."""

    compared = 0

    def __lt__(self, other: int) -> bool:
        CountedTime.compared += 1
        return int(self) < other

    def __ge__(self, other: int) -> bool:
        CountedTime.compared += 1
        return int(self) >= other


def test_a_long_way_back_takes_no_longer_than_its_scans_are_many() -> None:
    """Proves that scans which turn one another, each only once the one after it is turned, are
    compared a few times each and not each with all: one parcel's keep nobody else waiting."""
    links = 200
    scans: list[tuple[str, int | None]] = [("RETURNING", CountedTime(links))]
    for link in range(links):
        turning = [CountedTime(links - link), None, CountedTime(links - link - 1)]
        scans[:0] = [("DELIVERED", time) for time in turning]
    CountedTime.compared = 0
    assert lifecycle.turned(scans) == ["RETURNED"] * (3 * links) + ["RETURNING"]
    assert 0 < CountedTime.compared < 20 * len(scans)


# Ladders and verbs


@pytest.mark.parametrize("kind", sorted(lifecycle.LADDERS))
def test_a_ladder_is_climbed_only(kind: str) -> None:
    """Proves that a fact takes the further of two states, and never leaves a final one."""
    ladder = lifecycle.LADDERS[kind]
    for here, current in enumerate(ladder):
        for there, reported in enumerate(ladder):
            assert lifecycle.advance(kind, current, reported) == ladder[max(here, there)]
            assert lifecycle.reached(kind, current, reported) == (here >= there)
    assert lifecycle.advance(kind, "CANCELLED", ladder[-1]) == "CANCELLED"
    assert not lifecycle.reached(kind, "CANCELLED", ladder[0])


@pytest.mark.parametrize(
    ("table", "kind"),
    [
        (lifecycle.ORDER, "order"),
        (lifecycle.SHIPMENT, "shipment"),
        (lifecycle.RESERVATION, "inventory_reservation"),
        (lifecycle.FREIGHT_CHARGE, "freight_charge"),
    ],
)
def test_a_command_is_refused_outside_its_states(table: Any, kind: str) -> None:
    """Proves that a refusal names the state, the verb and the states it needs."""
    for name, verb in table.items():
        for state in {*verb.allowed, "CANCELLED", "VOIDED", "RELEASED", "DELIVERED"}:
            if state in verb.allowed:
                assert lifecycle.check_verb(table, kind, state, name) == verb.result
                continue
            refusal = refusal_of(partial(lifecycle.check_verb, table, kind, state, name))
            assert refusal.reason == "STATE_TRANSITION"
            assert refusal.metadata["state"] == state
            assert refusal.metadata["verb"] == name


# Scans through the hub


STORY = (
    ("CARRIER_ACCEPTED", 10),
    ("IN_TRANSIT", 20),
    ("EXCEPTION", 30),
    ("OUT_FOR_DELIVERY", 40),
    ("DELIVERED", 50),
)
LADDER = ("PACKED", "MANIFESTED", "IN_TRANSIT", "DELIVERED")


@pytest.mark.parametrize("story", list(permutations(STORY))[::17])
def test_any_order_of_reports_delivers_the_shipment(story: tuple[tuple[str, int], ...]) -> None:
    """Proves that states only climb, and that subscribers hear of each milestone at most once."""
    flow = Flow()
    shipment = flow.labelled()
    flow.manifest()
    base, states = flow.now, []
    for milestone, after in story:
        flow.report(scan(milestone, base + seconds(after)))
        states.append(LADDER.index(flow.state("shipment", shipment.id)))
        assert flow.state("order", shipment.order_id) in ("SHIPPED", "DELIVERED")
    assert states == sorted(states)
    (row,) = flow.object("shipment", shipment.id).progress
    assert row.milestone_time.ToMicroseconds() == base + seconds(50)
    assert not row.exception_open
    assert flow.state("order", shipment.order_id) == "DELIVERED"
    told = [stem for stem in flow.told() if stem.startswith("tracking.")]
    assert len(told) == len(set(told))
    assert "tracking.delivered" in told


def test_the_same_scans_again_are_known() -> None:
    """Proves that a webhook sent twice, and a poll after it, are counted and change nothing."""
    flow = Flow()
    shipment = flow.labelled()
    base = flow.now
    scans = [scan(name, base + seconds(after)) for name, after in STORY]
    assert {outcome(r) for r in flow.report(*scans)} == {"APPLIED"}
    revision = flow.object("shipment", shipment.id).revision
    events = len(flow.events)
    for entry in scans:
        entry.description, entry.channel = "same scan, other words", "poll"
    assert {outcome(r) for r in flow.report(*scans, *scans)} == {"ALREADY_KNOWN"}
    assert flow.object("shipment", shipment.id).revision == revision
    assert len(flow.events) == events


def test_lifting_an_exception_tells_no_milestone_twice() -> None:
    """Proves that "in transit" after a problem is no second "in transit" for subscribers."""
    flow = Flow()
    flow.labelled()
    base = flow.now
    flow.report(scan("IN_TRANSIT", base + 1), scan("EXCEPTION", base + 2))
    flow.report(scan("IN_TRANSIT", base + 3))
    assert flow.told().count("tracking.in_transit") == 1
    assert flow.told().count("tracking.delivery_exception") == 1


def test_a_shipment_is_delivered_with_its_last_package() -> None:
    """Proves that one parcel of two is no delivery, and that the time is that of the last."""
    flow = Flow()
    shipment = flow.labelled(2)
    flow.manifest()
    base = flow.now
    flow.report(scan("DELIVERED", base + seconds(9)))
    assert flow.state("shipment", shipment.id) == "IN_TRANSIT"
    flow.report(scan("DELIVERED", base + seconds(5), number="1Z2"))
    after = flow.object("shipment", shipment.id)
    assert flow.state("shipment", shipment.id) == "DELIVERED"
    assert after.delivered_time.ToMicroseconds() == base + seconds(9)


def test_a_spare_label_takes_no_parcel_back() -> None:
    """Proves that a second label for a package on its way does not restart its journey."""
    flow = Flow()
    shipment = flow.labelled()
    base = flow.now
    flow.report(scan("OUT_FOR_DELIVERY", base + 1))
    flow.label(shipment.id, shipment.packages[0].id, "1Z-SPARE")
    (row,) = flow.object("shipment", shipment.id).progress
    assert (row.tracking_number, row.milestone) == ("1Z1", 6)
    flow.report(scan("CARRIER_ACCEPTED", base + 2, number="1Z-SPARE"))
    (row,) = flow.object("shipment", shipment.id).progress
    assert row.milestone == 6


def test_a_manifest_after_the_first_scan_is_told_and_moves_nothing_back() -> None:
    """Proves that the ERP still posts when the carrier was faster than the warehouse."""
    flow = Flow()
    shipment = flow.labelled()
    flow.report(scan("IN_TRANSIT", flow.now))
    assert outcome(flow.manifest().receipt) == "APPLIED"
    assert flow.state("shipment", shipment.id) == "IN_TRANSIT"
    assert "shipment.manifested" in flow.told()


def test_an_order_of_two_shipments_is_shipped_with_the_last() -> None:
    """Proves that an order is partially shipped until every shipment has left."""
    flow = Flow()
    order_id, (part,) = flow.released(order(lines=2))
    flow.pack(part, package("LPN-1", 1), number="SHP-1")
    flow.pack(part, package("LPN-2", 2), number="SHP-2")
    flow.manifest("SHP-1")
    assert flow.state("order", order_id) == "PARTIALLY_SHIPPED"
    flow.manifest("SHP-2")
    assert flow.state("order", order_id) == "SHIPPED"


def test_totals_are_not_added_up_over_units() -> None:
    """Proves that 24 pieces of an order of 2 cases are 24 pieces, never 24 cases."""
    flow = Flow()
    message = order()
    message.lines[0].quantity.value, message.lines[0].quantity.unit = "2", "CS"
    order_id, (part,) = flow.released(message)
    flow.pick(part, "24")
    picked = flow.object("order", order_id).progress[0].picked
    assert (picked.value, picked.unit) == ("24", "EA")
