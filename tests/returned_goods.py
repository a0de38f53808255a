"""What OMS and warehouse say of a return, as calls over the wire."""

from __future__ import annotations

from crossdock.returns.v1 import return_service_pb2
from story import DOCK, ITEM, at, each, request_id, unique


def initiate(order_id: str, number: str) -> return_service_pb2.InitiateReturnRequest:
    """One piece of line 1 may come back."""
    request = return_service_pb2.InitiateReturnRequest(request_id=request_id())
    wanted = request.customer_return
    wanted.number, wanted.order_id, wanted.authorised_by = number, order_id, "returns desk"
    wanted.return_to_location_number = DOCK
    wanted.lines.add(line_number=1, item_number=ITEM, reason_code="DAMAGED").quantity.CopyFrom(
        each("1")
    )
    return request


def receive(number: str, quantity: str = "1") -> return_service_pb2.ReportReturnReceivedRequest:
    """The warehouse received line 1."""
    request = return_service_pb2.ReportReturnReceivedRequest(
        request_id=request_id(), customer_return_number=number
    )
    request.return_receipt.number = unique("RCV")
    request.return_receipt.receive_time.CopyFrom(at())
    request.return_receipt.lines.add(line_number=1).quantity.CopyFrom(each(quantity))
    return request
