"""A company whose ERP opens returns and posts receipts, and the messages of a return."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crossdock.returns.v1 import return_pb2, return_service_pb2
from crossdock_hub.config import Limits
from decisions import CARRIER, ERP, OMS, OPERATIONS, WMS, request_id
from first_flow import Flow, at, each, order, package, scan

RETURNS = "returns.v1.ReturnService"
OF_ERP = {
    **OPERATIONS["netsuite"],
    "open_return": "SEARCHABLE",
    "post_return_receipt": "SEARCHABLE",
    "cancel_return": "NATURAL",
}
OF_WMS = {**OPERATIONS["manhattan"], "expect_return": "NATURAL", "cancel_return": "NATURAL"}


def customer_return(
    order_id: str, number: str = "RMA-1", lines: dict[int, str] | None = None
) -> return_pb2.Return:
    """What may come back: quantity by line; one piece of line 1 without."""
    return return_pb2.Return(
        number=number,
        order_id=order_id,
        return_to_location_number="DC1",
        authorised_by="returns desk",
        lines=[
            return_pb2.ReturnLine(
                line_number=line,
                item_number="SKU-1",
                quantity=each(quantity),
                reason_code="DAMAGED",
            )
            for line, quantity in (lines or {1: "1"}).items()
        ],
    )


class ReturnedFlow(Flow):
    """Plays orders that are shipped, and what comes back of them."""

    def __init__(self, limits: Limits | None = None) -> None:
        super().__init__(limits)
        self.employ(ERP, OF_ERP)
        self.employ(WMS, OF_WMS)

    def shipped(self, quantities: tuple[str, ...] = ("3",), number: str = "SO-1") -> str:
        """An order of these quantities, by line, that has arrived; all that was due is done."""
        wanted = order(number, lines=len(quantities))
        carton = package(f"LPN-{number}")
        del carton.contents[:]
        for line, quantity in zip(wanted.lines, quantities, strict=True):
            line.quantity.value = quantity
            content = carton.contents.add(line_number=line.line_number, item_number="SKU-1")
            content.quantity.CopyFrom(each(quantity))
        order_id, (part,) = self.released(wanted)
        self.settle(
            self.deliveries("netsuite", "create_sales_order")[-1],
            references=[("sales_order", f"ERP-{number}")],
        )
        self.settle(self.deliveries("manhattan", "release_order")[-1])
        shipment = self.pack(part, carton, number=f"SHP-{number}").shipment
        self.label(shipment.id, shipment.packages[0].id, f"1Z-{number}")
        self.settle(self.deliveries("ups", "buy_label")[-1])
        self.settle(self.deliveries("manhattan", "print_label")[-1])
        self.manifest(f"SHP-{number}")
        self.settle(self.deliveries("netsuite", "post_goods_issue")[-1])
        self.report(scan("DELIVERED", self.now, number=f"1Z-{number}"))
        return order_id

    def initiate(self, wanted: return_pb2.Return, caller: Any = OMS) -> return_pb2.Return:
        request = return_service_pb2.InitiateReturnRequest(
            request_id=request_id(), customer_return=wanted
        )
        made: return_pb2.Return = self.call(
            f"{RETURNS}/InitiateReturn", request, caller
        ).customer_return
        return made

    def receive(
        self,
        number: str = "RMA-1",
        receipt: str = "RCV-1",
        lines: dict[int, str] | None = None,
        *,
        accept_excess: bool = False,
        unit: str = "EA",
        serials: Sequence[str] = (),
        lot: str = "",
    ) -> Any:
        """The warehouse reports a receipt: quantity by line; one piece of line 1 without.

        serials, lot: of each line.
        """
        request = return_service_pb2.ReportReturnReceivedRequest(
            request_id=request_id(), customer_return_number=number, accept_excess=accept_excess
        )
        request.return_receipt.number = receipt
        request.return_receipt.receive_time.CopyFrom(at(self.now))
        for line, quantity in (lines or {1: "1"}).items():
            row = request.return_receipt.lines.add(line_number=line, grade="A", lot=lot)
            row.serial_numbers.extend(serials)
            row.quantity.CopyFrom(each(quantity))
            row.quantity.unit = unit
        return self.call(f"{RETURNS}/ReportReturnReceived", request, WMS)

    def send_back(
        self,
        number: str = "RMA-1",
        parcel: str = "1ZBACK",
        caller: Any = CARRIER,
        carrier: str = "UPSN",
    ) -> Any:
        """The carrier reports a parcel of a return."""
        request = return_service_pb2.ReportReturnInTransitRequest(
            request_id=request_id(), customer_return_number=number
        )
        request.parcels.add(carrier_code=carrier, tracking_number=parcel)
        return self.call(f"{RETURNS}/ReportReturnInTransit", request, caller)

    def end(self, verb: str, return_id: str) -> Any:
        """CancelReturn or CloseReturn."""
        request = getattr(return_service_pb2, f"{verb}Request")(
            request_id=request_id(), customer_return_id=return_id, reason="the customer keeps it"
        )
        return self.call(f"{RETURNS}/{verb}", request, OMS)
