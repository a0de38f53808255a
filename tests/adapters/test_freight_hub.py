"""Freight at a real hub: the carrier's X12 210 becomes SAP's supplier invoice, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from crossdock.client import HubClient
from crossdock.errors import FieldNotOwnedError, NotAllowedError
from crossdock.freight.v1 import freight_pb2, freight_service_pb2
from crossdock.lineage.v1 import lineage_service_pb2
from crossdock.types.v1 import types_pb2
from crossdock_adapters.ltl_freight import adapter as ltl
from crossdock_adapters.ltl_freight import conformance as ltl_conformance
from crossdock_adapters.sap import adapter as sap
from crossdock_adapters.sap import conformance as sap_conformance
from crossdock_adapters.sap.sandbox import SapSandbox
from crossdock_adapters.sdk.sandbox import SandboxConfig
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from hosted_adapter import asking_soon, hosted
from story import CUSTOMER, ITEM, Story, label, request_id, unique
from test_ltl_freight_hub import DOCK, all_are, carrier, dock_in_fresno, packed

pytestmark = pytest.mark.timeout(600)

WAIT_SECONDS = 90.0
# Of no other test: the hub is theirs, too.
FIRST_PRO = 577_000_001
INVOICED = freight_pb2.FREIGHT_CHARGE_STATE_INVOICED


def money(amount: str) -> types_pb2.Money:
    return types_pb2.Money(amount=amount, currency="USD")


class Auditor:
    """Transport management at the hub, and the one charge that it looks after."""

    def __init__(self, desk: HubClient, shipment_id: str) -> None:
        self.desk = desk
        self.shipment_id = shipment_id

    async def charges(self) -> list[freight_pb2.FreightCharge]:
        request = freight_service_pb2.ListFreightChargesRequest(shipment_id=self.shipment_id)
        return list((await self.desk.freight.ListFreightCharges(request)).freight_charges)

    async def charge(self) -> freight_pb2.FreightCharge:
        (found,) = await self.charges()
        return found

    async def bills(self, state: int, amount: str) -> bool:
        found = await self.charge()
        return (found.state, found.invoice.amount.amount) == (state, amount)

    async def estimates(self, amount: str) -> None:
        request = freight_service_pb2.RecordFreightEstimateRequest(
            request_id=request_id(), carrier_code="LTL", shipment_id=self.shipment_id
        )
        request.estimate.amount.CopyFrom(money(amount))
        await self.desk.freight.RecordFreightEstimate(request)

    async def disputes(self, charge_id: str) -> None:
        request = freight_service_pb2.DisputeFreightChargeRequest(
            request_id=request_id(), freight_charge_id=charge_id
        )
        request.dispute.reason = "no liftgate was ordered"
        await self.desk.freight.DisputeFreightCharge(request)

    async def settles(self, charge_id: str) -> None:
        """Approves what is invoiced, and hands it on."""
        await self.desk.freight.ApproveFreightCharge(
            freight_service_pb2.ApproveFreightChargeRequest(
                request_id=request_id(), freight_charge_id=charge_id
            )
        )
        await self.desk.freight.FinaliseFreightCharge(
            freight_service_pb2.FinaliseFreightChargeRequest(
                request_id=request_id(), freight_charge_id=charge_id
            )
        )


async def bills(sandbox: Any, pro: str, net: str, correction: str = "", **special: str) -> None:
    """The carrier sends a 210: 480.25 of freight, and special charges by code."""
    lines = {"": "480.25", **special}
    await sandbox.commands()["invoice"](
        {"pro": pro, "net": net, "lines": lines, "correction": correction}
    )


async def test_a_carriers_invoice_becomes_one_supplier_invoice(
    hub: RunningHub, lane: Lane, tmp_path: Path
) -> None:
    """Proves the whole way at a real hub: a 210 is acknowledged and meets the estimate of its
    shipment; sent twice it is one charge; a correction waits for the dispute and then replaces it;
    what is finalised is booked once though SAP's answer was lost; and the carrier's number leads
    to the order, the charge and SAP's document."""
    await dock_in_fresno(hub)
    tenant = SandboxConfig("sap", settings={"items": [ITEM], "customers": [CUSTOMER]})
    async with (
        carrier(tmp_path) as freight,
        SapSandbox(tenant) as erp,
        Story(hub, lane) as story,
        hub.client("shipping-desk") as desk,
        hosted(hub, lane.carrier, ltl.ADAPTER, carrier_settings(freight, tmp_path)),
        hosted(
            hub,
            lane.erp,
            asking_soon(sap.ADAPTER, 0.1),
            erp_settings(erp, tmp_path),
        ),
    ):
        shipment = await packed(story, 1)
        await eventually(
            lambda: all_are(story, shipment.id, "buy_label", 1), "the label", WAIT_SECONDS
        )
        (bol,) = freight.books()["bols"]
        auditor = Auditor(desk, shipment.id)
        await auditor.estimates("500.00")
        estimated = await auditor.charge()
        await invoiced_twice_and_corrected(freight, bol["pro"], auditor)
        erp.faults.add({"kind": "reply_lost", "operation": "book_invoice", "count": 1})
        await auditor.settles(estimated.id)
        await eventually(
            lambda: all_are(story, estimated.id, "post_freight_charge", 1), "SAP", WAIT_SECONDS
        )
        (booked,) = erp.books()["supplier_invoices"]
        assert str(booked["InvoiceGrossAmount"]) == "480.25"
        number = f"{booked['SupplierInvoice']}/{booked['FiscalYear']}"
        settled = await auditor.charge()
        assert (settled.id, settled.vendor_bill) == (estimated.id, number)
        for name in (settled.invoice.number, number, bol["pro"]):
            answer = await desk.lineage.Trace(lineage_service_pb2.TraceRequest(id=name))
            assert answer.lineage.root_id == shipment.order_id
            node = next(each for each in answer.lineage.nodes if each.kind == "freight_charge")
            assert number in {each.value for each in node.references}
        assert freight.tick_error == "" and erp.tick_error == ""


async def invoiced_twice_and_corrected(sandbox: Any, pro: str, auditor: Auditor) -> None:
    """Three interchanges are acknowledged; what the third corrects stands until it is disputed."""
    for _ in range(2):
        await bills(sandbox, pro, "525.25", LFT="45.00")
    await bills(sandbox, pro, "480.25", "CO")
    await eventually(lambda: len(sandbox.books()["acknowledged"]) == 3, "the 997s", WAIT_SECONDS)
    assert {each["status"] for each in sandbox.books()["acknowledged"]} == {"A"}
    assert await auditor.bills(INVOICED, "525.25")
    await auditor.disputes((await auditor.charge()).id)
    await eventually(lambda: auditor.bills(INVOICED, "480.25"), "the correction", WAIT_SECONDS)


def carrier_settings(sandbox: Any, folder: Path) -> dict[str, Any]:
    return {
        **ltl_conformance.settings(sandbox, folder),
        "pro_first": FIRST_PRO,
        "freight_class": "85",
        "mailbox_interval_seconds": 0.1,
        "wait_for_first_seconds": 0.1,
    }


def erp_settings(sandbox: SapSandbox, folder: Path) -> dict[str, Any]:
    return {
        **sap_conformance.settings(sandbox, folder),
        "plants": {DOCK: "1010"},
        "hears": ["SalesOrder"],
        "changes_interval_seconds": 3600,
    }


def invoice_request(
    number: str, tracking_number: str
) -> freight_service_pb2.RecordFreightInvoiceRequest:
    return freight_service_pb2.RecordFreightInvoiceRequest(
        request_id=request_id(),
        carrier_code="UPSN",
        tracking_number=tracking_number,
        invoice=freight_pb2.FreightInvoice(
            number=number, invoice_date="2026-03-09", amount=money("12.50")
        ),
    )


async def test_an_invoice_waits_at_the_hub_for_its_shipment(hub: RunningHub, lane: Lane) -> None:
    """Proves over gRPC that an invoice of a number that nobody knows is held, and is a charge of
    the right shipment as soon as the carrier tells the label."""
    async with Story(hub, lane) as story, hub.client("shipping-desk") as desk:
        shipment = await story.packed()
        auditor, number = Auditor(desk, shipment.id), unique("1Z")
        told = await story.carrier.freight.RecordFreightInvoice(
            invoice_request(unique("INV"), number)
        )
        assert told.receipt.outcome == types_pb2.FACT_OUTCOME_HELD
        assert await auditor.charges() == []
        await story.carrier.labels.CreateLabel(label(shipment.id, shipment.packages[0].id, number))

        async def charged() -> bool:
            return [each.state for each in await auditor.charges()] == [INVOICED]

        await eventually(charged, "the charge", WAIT_SECONDS)


async def test_each_says_what_is_its_own(hub: RunningHub, lane: Lane) -> None:
    """Proves over gRPC that methods are for the roles that the contract names and no others, and
    that a foreign field is refused with its owner and the line of the rule."""
    async with Story(hub, lane) as story, hub.client("shipping-desk") as desk:
        shipment = await story.packed()
        number = unique("1Z")
        await story.carrier.labels.CreateLabel(label(shipment.id, shipment.packages[0].id, number))
        told = await story.carrier.freight.RecordFreightInvoice(
            invoice_request(unique("INV"), number)
        )
        charge = told.freight_charge
        for client in (story.oms, story.wms, story.erp, desk, story.operator):
            with pytest.raises(NotAllowedError):
                await client.freight.RecordFreightInvoice(invoice_request(unique("INV"), number))
        finalise = freight_service_pb2.FinaliseFreightChargeRequest(
            request_id=request_id(), freight_charge_id=charge.id
        )
        for client in (story.oms, story.wms, story.erp, story.carrier, story.operator):
            with pytest.raises(NotAllowedError):
                await client.freight.FinaliseFreightCharge(finalise)
        for client in (story.oms, story.wms):
            with pytest.raises(NotAllowedError):
                await client.freight.GetFreightCharge(
                    freight_service_pb2.GetFreightChargeRequest(id=charge.id)
                )
        patch = freight_service_pb2.UpdateFreightChargeRequest(
            request_id=request_id(), freight_charge=freight_pb2.FreightCharge(id=charge.id)
        )
        patch.update_mask.paths.append("invoice")
        with pytest.raises(FieldNotOwnedError) as refused:
            await desk.freight.UpdateFreightCharge(patch)
        metadata = refused.value.refusal.metadata
        assert (metadata["field"], metadata["owner"]) == ("freight_charge.invoice", "CARRIER")
        assert "freight.proto:" in metadata["rule"]
