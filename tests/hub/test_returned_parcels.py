"""A parcel that its carrier takes back: it ends as returned, and nobody is told of a delivery."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from crossdock.shipment.v1 import shipment_pb2
from crossdock.tracking.v1 import tracking_pb2
from crossdock.types.v1 import types_pb2
from crossdock_hub.config import Limits
from crossdock_hub.objects import lifecycle
from crossdock_hub.records import ScanRecord
from crossdock_hub.verbs import retracing
from decisions import ROUNDS_MAX, outcome
from first_flow import Flow, scan, seconds


def test_a_parcel_that_came_back_is_returned_and_not_delivered() -> None:
    """Proves that a return leg ends at the sender, and the order does not claim an arrival."""
    flow = Flow()
    shipment = flow.labelled()
    flow.manifest()
    base = flow.now
    flow.report(scan("RETURNING", base + 1), scan("DELIVERED", base + 2, return_leg=True))
    assert flow.state("shipment", shipment.id) == "RETURNED"
    assert flow.state("order", shipment.order_id) == "SHIPPED"
    assert "tracking.delivered" not in flow.told()
    assert flow.object("order", shipment.order_id).progress[0].shipped.value == "1"


BACK = (("OUT_FOR_DELIVERY", 10), ("RETURNING", 20), ("IN_TRANSIT", 30), ("DELIVERED", 40))


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("story", list(permutations(BACK)))
def test_the_way_back_ends_as_returned_in_any_order(
    story: tuple[tuple[str, int], ...], together: bool
) -> None:
    """Proves that a delivery to the sender, which its carrier has no word for, ends parcel and
    shipment as returned however its scans come; that nobody hears of a delivery once the way back
    is known, be it by a scan that stands behind it in the same report; and that the proof of it
    confirms nothing."""
    flow = Flow()
    shipment = flow.labelled()
    flow.manifest()
    base = flow.now
    scans = [scan(milestone, base + seconds(after)) for milestone, after in story]
    for batch in [scans] if together else [[each] for each in scans]:
        flow.report(*batch)
    flow.prove("1Z1", base + seconds(40))
    parcel = flow.records["parcel", "UPSN", "1Z1"]
    assert (parcel.milestone, parcel.milestone_time) == ("RETURNED", base + seconds(40))
    assert flow.state("shipment", shipment.id) == "RETURNED"
    (row,) = flow.object("shipment", shipment.id).progress
    assert row.milestone == shipment_pb2.MILESTONE_RETURNED
    assert row.milestone_time.ToMicroseconds() == base + seconds(40)
    names = [name for name, _ in story]
    told_late = not together and names.index("DELIVERED") < names.index("RETURNING")
    assert ("tracking.delivered" in flow.told()) is told_late
    assert flow.state("order", shipment.order_id) == ("DELIVERED" if told_late else "SHIPPED")
    assert flow.all("delivery_confirmation") == []
    (end,) = [each for each in flow.scans if each.milestone == "DELIVERED"]
    assert tracking_pb2.TrackingEvent.FromString(end.body).return_leg is not told_late


def test_a_delivery_before_the_way_back_keeps_its_proof() -> None:
    """Proves that what a customer had and sent back was delivered: its proof is written."""
    flow = Flow()
    flow.labelled()
    base = flow.now
    flow.report(
        scan("DELIVERED", base + 1), scan("RETURNING", base + 2), scan("RETURNED", base + 3)
    )
    flow.prove("1Z1", base + 1)
    (proof,) = flow.all("delivery_confirmation")
    assert proof.delivered_time.instant.ToMicroseconds() == base + 1


def test_a_proof_from_behind_the_way_back_of_a_delivered_parcel_is_none() -> None:
    """Proves that what its customer had and sent back is not proven by the sender's signature, told
    before its scan, and still is by the customer's own."""
    flow = Flow()
    flow.labelled()
    base = flow.now
    flow.report(scan("DELIVERED", base + seconds(10)), scan("RETURNING", base + seconds(20)))
    assert flow.records["parcel", "UPSN", "1Z1"].milestone == "DELIVERED"
    for receipt in ("APPLIED", "ALREADY_KNOWN"):
        assert outcome(flow.prove("1Z1", base + seconds(30)).receipt) == receipt
    assert flow.all("delivery_confirmation") == []
    assert outcome(flow.prove("1Z1", base + seconds(10)).receipt) == "APPLIED"
    assert len(flow.all("delivery_confirmation")) == 1


@pytest.mark.parametrize("scanned", [False, True])
@pytest.mark.parametrize("milestone", ["RETURNING", "RETURNED"])
def test_a_proof_of_a_parcel_that_goes_back_is_kept_and_moves_nothing(
    milestone: str, scanned: bool
) -> None:
    """Proves that who signed for a parcel at its sender's, and when and where it was left, is kept
    with its scans, once, whatever comes first, and moves neither parcel, shipment nor order, tells
    nobody of a delivery, and waits for nothing; and that a scan which says it is enough."""
    flow = Flow()
    shipment = flow.labelled()
    flow.manifest()
    base = flow.now
    flow.report(scan(milestone, base + seconds(20)))
    if scanned:
        delivered = scan("DELIVERED", base + seconds(30))
        delivered.signed_by = "ADA"
        flow.report(delivered)
    before, told = len(flow.scans), flow.told()
    parcel = flow.records["parcel", "UPSN", "1Z1"]
    states = (flow.object("shipment", shipment.id), flow.object("order", shipment.order_id))
    receipts = [outcome(flow.prove("1Z1", base + seconds(30)).receipt) for _ in range(2)]
    assert receipts == ["ALREADY_KNOWN" if scanned else "APPLIED", "ALREADY_KNOWN"]
    kept = [tracking_pb2.TrackingEvent.FromString(each.body) for each in flow.scans[before:]]
    found = [(each.signed_by, each.status_code, each.return_leg) for each in kept]
    assert found == ([] if scanned else [("ADA", "PROOF_OF_DELIVERY", True)])
    assert flow.records["parcel", "UPSN", "1Z1"] == parcel
    assert states == (flow.object("shipment", shipment.id), flow.object("order", shipment.order_id))
    assert (flow.told(), flow.held(), flow.all("delivery_confirmation")) == (told, [], [])
    flow.report(scan("DELIVERED", base + seconds(30)))
    assert flow.state("shipment", shipment.id) == "RETURNED"


PROOFS: list[dict[str, Any]] = [
    {"signed_by": "ADA"},
    {"signed_by": "GRACE"},
    {"signed_by": "ADA", "left_at": "gate"},
    {"signed_by": "ADA", "left_at": "gate", "condition": "wet"},
    {"signed_by": "ADA", "left_at": "gate", "place": types_pb2.Place(city="Reno")},
    {"signed_by": "ADA", "place": types_pb2.Place(city="Salem", state="OR")},
    {"signed_by": "ADA", "place": types_pb2.Place(city="Salem", state="MA")},
]
SAID = [
    ("ADA", "", ""),
    ("GRACE", "", ""),
    ("ADA", "gate", ""),
    ("ADA", "gate; wet", ""),
    ("ADA", "gate", "Reno"),
    ("ADA", "", "Salem OR"),
    ("ADA", "", "Salem MA"),
]


@pytest.mark.parametrize(
    "order", [(0, 1, 2, 3, 4, 5, 6), (6, 5, 4, 3, 2, 1, 0), (3, 0, 6, 4, 1, 5, 2)]
)
def test_no_proof_of_a_parcel_that_goes_back_is_lost(order: tuple[int, ...]) -> None:
    """Proves that of proofs for one parcel that goes back each is kept that says who signed, where
    it was left, in which condition or where, when no other said it, and none twice."""
    flow = Flow()
    flow.labelled()
    base = flow.now
    flow.report(scan("RETURNED", base + seconds(30)))
    for index in order:
        flow.prove("1Z1", base + seconds(30), **PROOFS[index])
    for index in order:
        again = flow.prove("1Z1", base + seconds(30), **PROOFS[index])
        assert outcome(again.receipt) == "ALREADY_KNOWN"
    scans = [tracking_pb2.TrackingEvent.FromString(each.body) for each in flow.scans[1:]]
    kept = {
        (each.signed_by, each.description, f"{each.place.city} {each.place.state}".strip())
        for each in scans
    }
    assert len(kept) == len(scans)
    for signed_by, words, city in SAID:
        assert any((signed_by, words or each[1], city or each[2]) == each for each in kept), (
            f"{signed_by}, {words}, {city} is in none of {kept}"
        )


def test_proofs_without_an_instant_are_told_apart_by_their_local_time() -> None:
    """Proves that of two proofs of which only the local time is known both are kept."""
    flow = Flow()
    flow.labelled()
    flow.report(scan("RETURNED", flow.now))
    for local in ("2025-06-01T10:00:00", "2025-06-01T11:00:00"):
        time = types_pb2.SourceTime(local=local)
        for receipt in ("APPLIED", "ALREADY_KNOWN"):
            assert outcome(flow.prove("1Z1", time).receipt) == receipt


def test_a_return_is_known_after_its_scans_are_gone() -> None:
    """Proves that a parcel on its way back ends as returned also where the scans that said so are
    past their time, and one that was delivered is turned by a late scan of the way back."""
    flow = Flow()
    flow.labelled(2)
    base = flow.now
    flow.report(scan("RETURNING", base + 5), scan("DELIVERED", base + 9, number="1Z2"))
    flow.scans.clear()
    flow.report(scan("DELIVERED", base + 9), scan("RETURNING", base + 5, number="1Z2"))
    for number in ("1Z1", "1Z2"):
        assert flow.records["parcel", "UPSN", number].milestone == "RETURNED"


def test_only_the_newest_scans_of_a_parcel_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that a report reads no more of a parcel's scans than the limit, each once and not once
    for each of its own, and that of the older ones counts how far they brought the parcel."""
    flow = Flow(Limits().with_changes({"parcel_scans_max": 4}))
    flow.labelled()
    base = flow.now
    later = [scan("EXCEPTION", base + seconds(10 + after)) for after in range(6)]
    flow.report(scan("RETURNING", base + 1), *later)
    looked_at: list[ScanRecord] = []

    def stop_of(record: ScanRecord) -> retracing.Stop:
        looked_at.append(record)
        return read(record)

    read = retracing.stop_of
    monkeypatch.setattr(retracing, "stop_of", stop_of)
    ends = [scan("DELIVERED", base + seconds(30 + after)) for after in range(20)]
    flow.report(*ends)
    assert flow.records["parcel", "UPSN", "1Z1"].milestone == "RETURNED"
    assert {each.id for each in looked_at} == {each.id for each in flow.scans[3:7]}
    assert len(looked_at) <= 4 * ROUNDS_MAX


def test_what_is_delivered_after_it_came_back_came_back_again() -> None:
    """Proves that a return which its carrier told outright turns a delivery as a scan of the way
    back does, and that such a delivery turns one without a time that was told after it."""
    assert lifecycle.turned([("DELIVERED", 9), ("RETURNED", 5)]) == ["RETURNED", "RETURNED"]
    assert lifecycle.turned([("DELIVERED", 4), ("RETURNED", 5)]) == ["DELIVERED", "RETURNED"]
    story = [("DELIVERED", 9), ("DELIVERED", None), ("RETURNING", 5)]
    assert lifecycle.turned(story) == ["RETURNED", "RETURNED", "RETURNING"]
    flow = Flow()
    flow.labelled()
    base = flow.now
    flow.report(scan("RETURNED", base + 5))
    flow.report(scan("DELIVERED", base + 9))
    flow.prove("1Z1", base + 9)
    (end,) = [each for each in flow.scans if each.milestone == "DELIVERED"]
    assert tracking_pb2.TrackingEvent.FromString(end.body).return_leg
    assert flow.all("delivery_confirmation") == []


def test_a_shipment_that_came_back_has_no_time_of_delivery() -> None:
    """Proves that the time is that of the last package which its receiver kept, and none is left
    when all came back, told by a scan of the way back or outright."""
    flow = Flow()
    shipment = flow.labelled(2)
    flow.manifest()
    base = flow.now
    flow.report(scan("DELIVERED", base + 9), scan("DELIVERED", base + 5, number="1Z2"))
    assert flow.object("shipment", shipment.id).delivered_time.ToMicroseconds() == base + 9
    flow.report(scan("RETURNING", base + 7))
    assert flow.state("shipment", shipment.id) == "DELIVERED"
    assert flow.object("shipment", shipment.id).delivered_time.ToMicroseconds() == base + 5
    flow.report(scan("RETURNED", base + 12, number="1Z2"))
    assert flow.state("shipment", shipment.id) == "RETURNED"
    assert not flow.object("shipment", shipment.id).HasField("delivered_time")


def test_a_shipment_of_which_a_part_came_back_is_over() -> None:
    """Proves that one returned package does not leave a shipment in transit for ever."""
    flow = Flow()
    shipment = flow.labelled(2)
    flow.manifest()
    base = flow.now
    flow.report(scan("DELIVERED", base + 1), scan("RETURNED", base + 2, number="1Z2"))
    assert flow.state("shipment", shipment.id) == "DELIVERED"
    assert flow.state("order", shipment.order_id) == "DELIVERED"
