"""What is not written of a flow adds to its verdict, and hides nothing that is worse."""

from __future__ import annotations

from dataclasses import replace

import pytest
from crossdock.shipment.v1 import shipment_service_pb2
from crossdock.tracking.v1 import tracking_pb2
from crossdock.types.v1 import types_pb2
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.reading.chain import HELD_MAX
from crossdock_hub.reading.progress import Judgement
from crossdock_hub.reading.unwritten import with_unwritten
from crossdock_hub.reading.verdict import judge
from decisions import WMS, outcome, request_id
from first_flow import SHIPMENTS, Flow, package, scan
from stored_flow import chain_of, situations_of
from test_silent_parcels import settle_all

DAY = 86_400 * SECOND
IN_VAIN = "what ups reported by ReportTrackingEvents is not written since"


def coded(flow: Flow) -> tracking_pb2.TrackingEvent:
    """A scan whose code has no row."""
    seen = scan("UNKNOWN", flow.now)
    seen.native_codes.append(types_pb2.NativeCode(type="I", code="QQ"))
    return seen


def waits_for_an_item(packed: int = 1) -> tuple[Flow, str]:
    """An order whose warehouse packed what nobody knows, so often, five minutes ago; its id."""
    flow = Flow()
    order_id, (part,) = flow.released()
    settle_all(flow)
    for number in range(packed):
        carton = package(f"LPN-{number}", item="NEW-1")
        answer = flow.pack(part, carton, number=f"SHP-{number}")
        assert outcome(answer.receipt) == "HELD"
    flow.now += 300 * SECOND
    return flow, order_id


def verdict(flow: Flow, order_id: str, later: int = 0) -> Judgement:
    now = flow.now + later
    return judge(chain_of(flow, order_id), situations_of(flow), Limits(), now)


def test_what_the_warehouse_reported_in_vain_is_said() -> None:
    """Proves that a flow whose warehouse packed what nobody knows says so first, since when, what
    it waits for and how many more wait, and then what the objects say."""
    flow, order_id = waits_for_an_item(packed=0)
    without = verdict(flow, order_id)
    assert without.sentence.startswith("Under way: warehouse DC1 has to pick and pack")
    found = verdict(*waits_for_an_item(packed=2))
    assert found.verdict == "WAITING"
    assert found.sentence.startswith(
        "Waiting: what manhattan reported by ReportPacked is not written since 5 min (1 more as "
        "well): "
    )
    assert "NEW-1" in found.sentence
    assert found.sentence.endswith("; besides: u" + without.sentence[1:])


def test_what_waits_for_nothing_needs_a_person() -> None:
    """Proves that a fact which nothing that may come would help is for a person, and is told before
    older ones that wait."""
    flow, order_id = waits_for_an_item(packed=2)
    last = flow.held()[-1]
    flow.records["held_fact", last.id] = replace(last, awaits="", endpoint="wms-2")
    found = verdict(flow, order_id)
    assert found.verdict == "NEEDS_PERSON"
    assert found.sentence.startswith("A person has to look: what wms-2 reported by ReportPacked")


@pytest.mark.parametrize(
    ("milestone", "expected", "words"),
    [
        ("RETURNED", "NEEDS_PERSON", "went back to the sender"),
        ("EXCEPTION", "WAITING", "reports a problem with parcel 1Z1"),
    ],
)
def test_what_is_worse_is_not_hidden(milestone: str, expected: str, words: str) -> None:
    """Proves that a scan that waits for a row takes nothing away from what the carrier said of the
    parcel, and is told behind it."""
    flow = Flow()
    shipment = flow.labelled()
    flow.manifest()
    flow.report(scan(milestone, flow.now))
    settle_all(flow)
    before = verdict(flow, shipment.order_id, 3_600 * SECOND)
    assert before.verdict == expected and words in before.sentence
    flow.report(coded(flow))
    after = verdict(flow, shipment.order_id, 3_600 * SECOND)
    assert after.verdict == expected
    assert after.sentence.startswith(before.sentence.rstrip(".") + f"; besides, {IN_VAIN}")


def test_silence_is_still_told() -> None:
    """Proves that a parcel that nobody asks about any more is told as that beside what waits."""
    flow = Flow()
    shipment = flow.labelled()
    flow.manifest()
    flow.report(coded(flow))
    settle_all(flow)
    found = verdict(flow, shipment.order_id, 200 * DAY)
    assert found.verdict == "WAITING"
    assert IN_VAIN in found.sentence and "nothing was heard of parcel 1Z1" in found.sentence


def test_what_a_vendor_may_have_done_is_told_first() -> None:
    """Proves that a doubt at an endpoint is not hidden by a fact for which a person has to look."""
    flow = Flow()
    shipment = flow.labelled()
    flow.manifest()
    flow.report(coded(flow))
    (fact,) = flow.held()
    flow.records["held_fact", fact.id] = replace(fact, awaits="")
    flow.settle(flow.delivery("netsuite", "create_sales_order"))
    posting = flow.delivery("netsuite", "post_goods_issue")
    flow.complete(posting, flow.take(posting), "UNKNOWN", reason="no answer")
    assert verdict(flow, shipment.order_id).verdict == "IN_DOUBT"


def test_what_a_voided_shipment_was_told_is_over() -> None:
    """Proves that a departure told of a shipment that had been voided does not make an order wait
    whose goods left in another one."""
    flow = Flow()
    shipment = flow.labelled()
    flow.void(shipment.id)
    flow.manifest()
    (request,) = flow.all("fulfillment_request")
    flow.pack(request.id, number="SHP-2")
    flow.manifest("SHP-2")
    settle_all(flow)
    assert flow.held() and chain_of(flow, shipment.order_id).held
    found = verdict(flow, shipment.order_id, 3 * DAY)
    assert found.verdict == "UNDER_WAY" and "ManifestShipment" not in found.sentence


@pytest.mark.parametrize("voided_first", [True, False])
def test_what_a_voided_shipment_was_told_in_other_units_is_over(voided_first: bool) -> None:
    """Proves the same of a departure that lacks a unit conversion, whether it was told before the
    shipment was voided or after it: it waits for the conversion no longer, which would not write
    it, and says so."""
    flow = Flow()
    shipment = flow.labelled()
    departure = shipment_service_pb2.ManifestShipmentRequest(
        request_id=request_id(), shipment_number="SHP-1"
    )
    row = departure.shipped.add(line_number=1)
    row.quantity.value, row.quantity.unit = "1", "CS"
    if voided_first:
        flow.void(shipment.id)
    assert outcome(flow.call(f"{SHIPMENTS}/ManifestShipment", departure, WMS).receipt) == "HELD"
    if not voided_first:
        flow.void(shipment.id)
        flow.drive()
    (request,) = flow.all("fulfillment_request")
    flow.pack(request.id, number="SHP-2")
    flow.manifest("SHP-2")
    settle_all(flow)
    (fact,) = flow.held()
    refusal = types_pb2.Refusal.FromString(fact.refusal)
    assert "was voided before this confirm" in refusal.message
    found = verdict(flow, shipment.order_id, 3 * DAY)
    assert found.verdict == "UNDER_WAY" and "ManifestShipment" not in found.sentence


def test_a_departure_that_is_not_written_counts_after_the_delivery() -> None:
    """Proves that an order which has arrived and whose departure is held says so, and does not say
    that the warehouse told nothing: no ERP books it before."""
    flow = Flow()
    shipment = flow.labelled()
    flow.report(scan("DELIVERED", flow.now))
    departure = shipment_service_pb2.ManifestShipmentRequest(
        request_id=request_id(), shipment_number="SHP-1", package_numbers=["LPN-9"]
    )
    assert outcome(flow.call(f"{SHIPMENTS}/ManifestShipment", departure, WMS).receipt) == "HELD"
    settle_all(flow)
    found = verdict(flow, shipment.order_id)
    assert found.verdict == "WAITING"
    assert "what manhattan reported by ManifestShipment is not written" in found.sentence
    assert "not told" not in found.sentence


def test_what_is_over_is_not_held_up_but_by_its_returns() -> None:
    """Proves that an order which has arrived is over whatever is held of its goods, and that a
    return under way makes that count again, until it is over."""
    flow, order_id = waits_for_an_item()
    chain = chain_of(flow, order_id)
    (order,) = (record for record in chain.objects if record.kind == "order")
    arrived = replace(order, state="DELIVERED")
    coming = replace(order, id="R-1", kind="customer_return", number="R-1", state="IN_TRANSIT")
    ended = replace(coming, state="CLOSED")
    done = Judgement("COMPLETE", "Complete: delivered.")
    for objects, counts in (
        ([arrived], False),
        ([arrived, coming], True),
        ([arrived, ended], False),
        ([order, ended], True),
    ):
        told = with_unwritten(done, replace(chain, objects=objects), flow.now)
        assert (told != done) is counts


def test_more_than_are_read_are_not_counted() -> None:
    """Proves that the sentence does not give the number that is read for the number there is."""
    flow, order_id = waits_for_an_item()
    chain = chain_of(flow, order_id)
    many = replace(chain, held=[*chain.held] * HELD_MAX)
    found = with_unwritten(Judgement("UNDER_WAY", "Under way."), many, flow.now)
    assert f"(at least {HELD_MAX - 1} more as well)" in found.sentence
