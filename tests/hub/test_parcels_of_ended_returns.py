"""The number of a return that has ended, when another return of its order names it."""

from __future__ import annotations

import pytest
from crossdock.returns.v1 import return_pb2, return_service_pb2
from decisions import CARRIER, request_id
from first_flow import scan
from returned_flow import RETURNS, ReturnedFlow, customer_return


@pytest.mark.parametrize("scanned_first", [False, True])
def test_a_parcel_of_an_ended_return_brings_the_one_that_names_it_now(scanned_first: bool) -> None:
    """Proves that a parcel which a given-up return named, and an open one of its order names since,
    brings the open one on its way back, whichever was told first; and that the ended one stays as
    it is."""
    flow = ReturnedFlow()
    order_id = flow.shipped()
    parcel = return_pb2.ReturnParcel(carrier_code="UPSN", tracking_number="1Z-SO-1")

    def named(made: return_pb2.Return) -> None:
        request = return_service_pb2.UpdateReturnRequest(request_id=request_id())
        request.customer_return.id = made.id
        request.customer_return.parcels.append(parcel)
        request.update_mask.paths.append("parcels")
        flow.call(f"{RETURNS}/UpdateReturn", request, CARRIER)

    old = flow.initiate(customer_return(order_id, "RMA-1"))
    named(old)
    flow.end("CancelReturn", old.id)
    new = flow.initiate(customer_return(order_id, "RMA-2"))
    if scanned_first:
        flow.report(scan("RETURNING", flow.now, number="1Z-SO-1"))
    named(new)
    if not scanned_first:
        assert flow.state("customer_return", new.id) == "INITIATED"
        flow.report(scan("RETURNING", flow.now, number="1Z-SO-1"))
    assert flow.state("customer_return", new.id) == "IN_TRANSIT"
    assert flow.state("customer_return", old.id) == "CANCELLED"
    assert not flow.held()
