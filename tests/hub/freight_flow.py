"""What the parties say about freight charges, for a company in which the first flow is played."""

from __future__ import annotations

from typing import Any

from crossdock.freight.v1 import freight_pb2, freight_service_pb2
from crossdock.types.v1 import types_pb2
from decisions import CARRIER, ERP, TMS, Caller, request_id
from first_flow import Flow

FREIGHT = "freight.v1.FreightService"
SAP = Caller("sap", "ERP")
LINES = (("", "462.40"), ("FUE", "70.00"), ("DSC", "-20.00"))
TOTAL = "512.40"


def money(amount: str, currency: str = "USD") -> types_pb2.Money:
    return types_pb2.Money(amount=amount, currency=currency)


def lines(*parts: tuple[str, str]) -> list[freight_pb2.FreightChargeLine]:
    """Charge lines in US dollars: code, amount."""
    return [
        freight_pb2.FreightChargeLine(code=code, amount=money(amount)) for code, amount in parts
    ]


def invoice(
    number: str = "77-1", amount: str = TOTAL, parts: Any = LINES
) -> freight_pb2.FreightInvoice:
    return freight_pb2.FreightInvoice(
        number=number, invoice_date="2026-03-09", amount=money(amount), lines=lines(*parts)
    )


def audit(amount: str, *parts: tuple[str, str], currency: str = "USD") -> freight_pb2.FreightAudit:
    return freight_pb2.FreightAudit(amount=money(amount, currency), lines=lines(*parts))


class FreightSteps:
    """What is said of charges; whoever has it decides calls."""

    call: Any

    def estimate(self, amount: str = "500.00", caller: Any = TMS, **where: Any) -> Any:
        """where: shipment_id, shipment_number or tracking_number."""
        request = freight_service_pb2.RecordFreightEstimateRequest(
            request_id=request_id(), carrier_code="UPSN", **where
        )
        request.estimate.amount.CopyFrom(money(amount))
        return self.call(f"{FREIGHT}/RecordFreightEstimate", request, caller)

    def bill(
        self,
        told: Any = None,
        number: str = "1Z1",
        caller: Any = CARRIER,
        carrier: str = "UPSN",
    ) -> Any:
        """The carrier's invoice for a parcel."""
        request = freight_service_pb2.RecordFreightInvoiceRequest(
            request_id=request_id(),
            carrier_code=carrier,
            tracking_number=number,
            invoice=told or invoice(),
        )
        return self.call(f"{FREIGHT}/RecordFreightInvoice", request, caller)

    def approve_charge(self, charge: str, told: Any = None, revision: int | None = None) -> Any:
        request = freight_service_pb2.ApproveFreightChargeRequest(
            request_id=request_id(), freight_charge_id=charge, audit=told
        )
        if revision is not None:
            request.expected_revision = revision
        return self.call(f"{FREIGHT}/ApproveFreightCharge", request, TMS)

    def dispute(self, charge: str, reason: str = "liftgate was not ordered", **amount: Any) -> Any:
        request = freight_service_pb2.DisputeFreightChargeRequest(
            request_id=request_id(), freight_charge_id=charge
        )
        request.dispute.CopyFrom(freight_pb2.FreightDispute(reason=reason, **amount))
        return self.call(f"{FREIGHT}/DisputeFreightCharge", request, TMS)

    def finalise(self, charge: str) -> Any:
        request = freight_service_pb2.FinaliseFreightChargeRequest(
            request_id=request_id(), freight_charge_id=charge
        )
        return self.call(f"{FREIGHT}/FinaliseFreightCharge", request, TMS)

    def cancel_charge(self, charge: str) -> Any:
        request = freight_service_pb2.CancelFreightChargeRequest(
            request_id=request_id(), freight_charge_id=charge, reason="billed to somebody else"
        )
        return self.call(f"{FREIGHT}/CancelFreightCharge", request, TMS)

    def update_charge(self, message: Any, *paths: str, caller: Any = ERP) -> Any:
        request = freight_service_pb2.UpdateFreightChargeRequest(
            request_id=request_id(), freight_charge=message
        )
        request.update_mask.paths.extend(paths)
        return self.call(f"{FREIGHT}/UpdateFreightCharge", request, caller)


class FreightFlow(FreightSteps, Flow):  # type: ignore[misc]
    """A company with an ERP that books freight charges, unless it has none that does."""

    def __init__(self, *, books: bool = True) -> None:
        super().__init__()
        if books:
            self.employ(SAP, {"post_freight_charge": "SEARCHABLE"})

    def charges(self) -> list[Any]:
        """Every charge, oldest first."""
        return self.all("freight_charge")
