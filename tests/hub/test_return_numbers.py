"""Numbers of return labels that are those of something else, and labels that are taken back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from crossdock.label.v1 import label_service_pb2
from crossdock.returns.v1 import return_service_pb2
from crossdock_hub.identity import Caller, Scope
from decisions import CARRIER, outcome, refusal_of, request_id
from first_flow import LABELS, at, scan
from returned_flow import RETURNS, ReturnedFlow, customer_return

BACK = "1ZBACK"
# A desk that speaks for two carriers.
DESK = Caller("parcel-desk", "CARRIER", Scope(carrier_codes=frozenset({"UPSN", "FDXE"})))


@pytest.fixture
def flow() -> ReturnedFlow:
    return ReturnedFlow()


def sell(
    flow: ReturnedFlow,
    made: Any,
    number: str = BACK,
    *,
    voided: bool = False,
    caller: Caller = CARRIER,
    carrier: str = "UPSN",
) -> Any:
    """The carrier writes the label that it sold."""
    change = return_service_pb2.UpdateReturnRequest(request_id=request_id())
    change.customer_return.id = made.id
    label = change.customer_return.label
    label.carrier_code, label.tracking_number, label.voided = carrier, number, voided
    change.update_mask.paths.append("label")
    return flow.call(f"{RETURNS}/UpdateReturn", change, caller).customer_return


def void(flow: ReturnedFlow, number: str = BACK) -> str:
    """What became of the carrier's word that it took a label back."""
    request = label_service_pb2.ReportLabelVoidedRequest(
        request_id=request_id(), carrier_code="UPSN", tracking_number=number
    )
    request.void_time.CopyFrom(at(flow.now))
    return outcome(flow.call(f"{LABELS}/ReportLabelVoided", request, CARRIER).receipt)


def two_returns(flow: ReturnedFlow) -> tuple[Any, Any]:
    """Returns of two orders."""
    first = flow.initiate(customer_return(flow.shipped()))
    second = flow.initiate(customer_return(flow.shipped(number="SO-2"), number="RMA-2"))
    return first, second


@pytest.mark.parametrize("by", ["label", "parcel"])
def test_a_label_with_the_number_of_another_return_is_refused(flow: ReturnedFlow, by: str) -> None:
    """Proves that a label is refused whose number is on the label of another order's return, or
    among its parcels, that the refusal names that return, and that nothing of it is kept: its scans
    would move the other return."""
    first, second = two_returns(flow)
    if by == "label":
        sell(flow, first)
    else:
        flow.send_back(parcel=BACK)
    refusal = refusal_of(lambda: sell(flow, second))
    assert refusal.reason == "REFERENCE_TAKEN"
    assert refusal.metadata["object_id"] == first.id
    assert "customer_return.label.tracking_number" in refusal.message
    assert not flow.object("customer_return", second.id).HasField("label")
    assert sell(flow, second, "1ZBACK2").label.tracking_number == "1ZBACK2"


def name_parcel(flow: ReturnedFlow, made: Any, number: str) -> None:
    """The carrier writes which parcel the return comes in."""
    change = return_service_pb2.UpdateReturnRequest(request_id=request_id())
    change.customer_return.id = made.id
    change.customer_return.parcels.add(carrier_code="UPSN", tracking_number=number)
    change.update_mask.paths.append("parcels")
    flow.call(f"{RETURNS}/UpdateReturn", change, CARRIER)


@pytest.mark.parametrize("by", ["label", "parcel", "way out"])
def test_a_parcel_of_another_order_brings_no_return(flow: ReturnedFlow, by: str) -> None:
    """Proves that a parcel which another order's return comes in, by its label or as reported, or
    which left with another order, is refused however it is told, that the refusal names that return
    or shipment and the field, and that nothing of it is kept."""
    first, second = two_returns(flow)
    number = BACK
    if by == "label":
        sell(flow, first)
    elif by == "parcel":
        flow.send_back(parcel=BACK)
    else:
        number = "1Z-SO-1"
        (first,) = [each for each in flow.all("shipment") if each.number == "SHP-SO-1"]
    told: list[tuple[str, Callable[[], Any]]] = [
        ("parcels.tracking_number", lambda: flow.send_back("RMA-2", number)),
        ("customer_return.parcels.tracking_number", lambda: name_parcel(flow, second, number)),
    ]
    for field, tell in told:
        refusal = refusal_of(tell)
        assert (refusal.reason, refusal.metadata["object_id"]) == ("REFERENCE_TAKEN", first.id)
        assert refusal.message.startswith(f"{field} '{number}' already names ")
    after = flow.object("customer_return", second.id)
    assert not after.parcels and not after.references
    assert flow.state("customer_return", second.id) == "INITIATED"


def test_one_box_may_bring_two_returns_of_an_order(flow: ReturnedFlow) -> None:
    """Proves that a parcel brings both returns of an order that the customer put into it, that its
    number leads to the first of them, and that it is free once that one's order is another's and
    its return has ended."""
    order_id = flow.shipped()
    first = flow.initiate(customer_return(order_id))
    second = flow.initiate(customer_return(order_id, number="RMA-2"))
    for number in ("RMA-1", "RMA-2"):
        assert outcome(flow.send_back(number, BACK).receipt) == "APPLIED"
    for made in (first, second):
        assert flow.state("customer_return", made.id) == "IN_TRANSIT"
    owners = [
        record.object_id
        for key, record in flow.records.items()
        if key[0] == "reference" and key[-1] == BACK
    ]
    assert owners == [first.id]
    flow.end("CancelReturn", first.id)
    years_later = flow.initiate(customer_return(flow.shipped(number="SO-2"), number="RMA-3"))
    assert outcome(flow.send_back("RMA-3", BACK).receipt) == "APPLIED"
    assert flow.state("customer_return", years_later.id) == "IN_TRANSIT"


def test_a_label_with_the_number_of_another_orders_way_out_is_refused(flow: ReturnedFlow) -> None:
    """Proves that a label is refused whose number is that of another order's parcel, by shipment,
    while that of its own order's is taken."""
    _, second = two_returns(flow)
    (other,) = [each for each in flow.all("shipment") if each.number == "SHP-SO-1"]
    refusal = refusal_of(lambda: sell(flow, second, "1Z-SO-1"))
    assert (refusal.reason, refusal.metadata["object_id"]) == ("REFERENCE_TAKEN", other.id)
    sell(flow, second, "1Z-SO-2")


def test_a_package_gets_no_label_with_the_number_of_a_return(flow: ReturnedFlow) -> None:
    """Proves that a label for a package is refused whose number is on a return's label, and that
    the refusal names the return."""
    first, _ = two_returns(flow)
    sell(flow, first)
    (other,) = [each for each in flow.all("shipment") if each.number == "SHP-SO-2"]
    refusal = refusal_of(lambda: flow.label(other.id, other.packages[0].id, BACK))
    assert (refusal.reason, refusal.metadata["object_id"]) == ("REFERENCE_TAKEN", first.id)


def test_a_void_of_a_returns_label_is_written_down(flow: ReturnedFlow) -> None:
    """Proves that the word of a void, told by number as of any label, is kept with the return, once
    and not held for good, and that of a label which another one replaced leaves that one valid."""
    first, _ = two_returns(flow)
    sell(flow, first)
    assert void(flow) == "APPLIED"
    assert flow.object("customer_return", first.id).label.voided
    assert void(flow) == "ALREADY_KNOWN"
    sell(flow, first, "1ZBACK2")
    assert void(flow) == "ALREADY_KNOWN"
    assert not flow.object("customer_return", first.id).label.voided
    assert not flow.held()


def test_a_customer_may_use_a_label_that_was_taken_back(flow: ReturnedFlow) -> None:
    """Proves that scans of a voided label, and of one that another replaced, put the return in
    transit: the customer used what was printed, and the goods do come."""
    first, second = two_returns(flow)
    sell(flow, first)
    void(flow)
    sell(flow, second, "1ZOLD")
    sell(flow, second, "1ZNEW")
    flow.report(*(scan("IN_TRANSIT", flow.now, number=number) for number in (BACK, "1ZOLD")))
    for made, number in ((first, BACK), (second, "1ZOLD")):
        after = flow.object("customer_return", made.id)
        assert flow.state("customer_return", made.id) == "IN_TRANSIT"
        assert [each.tracking_number for each in after.parcels] == [number]


@pytest.mark.parametrize("first", ["label", "parcel"])
@pytest.mark.parametrize("second", ["label", "parcel"])
def test_two_carriers_may_use_one_number(flow: ReturnedFlow, first: str, second: str) -> None:
    """Proves that a number which a parcel of one carrier has is free for another carrier's, also
    where one endpoint tells both, and that each leads to its own return."""
    flow.employ(DESK)
    made = two_returns(flow)
    for how, each, carrier in zip((first, second), made, ("UPSN", "FDXE"), strict=True):
        if how == "label":
            sell(flow, each, caller=DESK, carrier=carrier)
        else:
            told = flow.send_back(each.number, BACK, DESK, carrier)
            assert outcome(told.receipt) == "APPLIED"
    leads = {key: record for key, record in flow.records.items() if key[0] == "reference"}
    owners = {key[1]: record.object_id for key, record in leads.items() if key[-1] == BACK}
    assert owners == {"upsn": made[0].id, "fdxe": made[1].id}


@pytest.mark.parametrize("first", ["label", "parcel"])
@pytest.mark.parametrize("second", ["label", "parcel"])
def test_a_parcel_is_the_same_whoever_tells_it(flow: ReturnedFlow, first: str, second: str) -> None:
    """Proves that a number of a carrier which one endpoint told of a return is refused for another
    order's, as label or as parcel, when another endpoint tells it."""
    flow.employ(DESK)
    made, other = two_returns(flow)
    if first == "label":
        sell(flow, made, caller=DESK)
    else:
        flow.send_back(parcel=BACK, caller=DESK)
    if second == "label":
        refusal = refusal_of(lambda: sell(flow, other))
    else:
        refusal = refusal_of(lambda: flow.send_back("RMA-2", BACK))
    assert (refusal.reason, refusal.metadata["object_id"]) == ("REFERENCE_TAKEN", made.id)
    assert not flow.object("customer_return", other.id).references


def test_a_scan_of_another_endpoint_brings_the_return(flow: ReturnedFlow) -> None:
    """Proves that a parcel whose number one endpoint told, that of the way out, puts the return in
    transit when another endpoint of the carrier tells that it is on its way back."""
    flow.employ(DESK)
    made, _ = two_returns(flow)
    sell(flow, made, "1Z-SO-1", caller=DESK)
    flow.report(scan("RETURNING", flow.now, number="1Z-SO-1"))
    assert flow.state("customer_return", made.id) == "IN_TRANSIT"


def test_a_sold_label_keeps_its_number_after_its_return_has_ended(flow: ReturnedFlow) -> None:
    """Proves that the number of a label that was sold for a return is refused for another order's
    return, as label or as parcel, also once that return has ended: scans of it go there."""
    first, second = two_returns(flow)
    sell(flow, first)
    flow.end("CancelReturn", first.id)
    told: list[Callable[[], Any]] = [
        lambda: sell(flow, second),
        lambda: flow.send_back("RMA-2", BACK),
    ]
    for tell in told:
        refusal = refusal_of(tell)
        assert (refusal.reason, refusal.metadata["object_id"]) == ("REFERENCE_TAKEN", first.id)
