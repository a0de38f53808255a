"""Freight charges as they are read: lists, any id to the flow, its verdict, and the archive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from archive_house import DAYS, House
from crossdock.freight.v1 import freight_pb2, freight_service_pb2
from crossdock.lineage.v1 import lineage_service_pb2
from crossdock_hub.archive import settling
from crossdock_hub.identity import Caller, Scope
from crossdock_hub.reading.verdict import judge
from decisions import CARRIER, OPERATOR, TMS
from first_flow import scan
from freight_flow import FREIGHT, FreightFlow, FreightSteps, invoice
from stored_flow import Books, books, chain_of, refusal, situations_of

__all__ = ["books"]

BILL = [("supplier_invoice", "5105600001/2026")]
TRACE = "lineage.v1.LineageService/Trace"
OTHER_CARRIER = Caller("fedex", "CARRIER", Scope(carrier_codes=frozenset({"FDXG"})))


class FreightHouse(FreightSteps, House):  # type: ignore[misc]
    """A company whose books are a database, and whose carriers bill."""


def delivered() -> tuple[FreightFlow, Any]:
    """A shipment that has arrived and is posted, as far as anybody has to post it."""
    flow = FreightFlow()
    shipment = flow.labelled()
    flow.manifest()
    for endpoint, operation in (
        ("netsuite", "create_sales_order"),
        ("manhattan", "release_order"),
        ("ups", "buy_label"),
        ("manhattan", "print_label"),
        ("netsuite", "post_goods_issue"),
    ):
        flow.settle(flow.delivery(endpoint, operation))
    flow.report(scan("DELIVERED", flow.now))
    return flow, shipment


def sentence(flow: FreightFlow, root_id: str) -> str:
    found = judge(chain_of(flow, root_id), situations_of(flow), flow.limits, flow.now)
    return f"{found.verdict} {found.sentence}"


def test_an_invoice_keeps_a_delivered_order_open_until_it_is_booked() -> None:
    """Proves that the verdict says what is to be done with the invoice, and in the end the
    document; and that an estimate alone keeps nothing open."""
    flow, shipment = delivered()
    root = shipment.order_id
    charge = flow.estimate(shipment_id=shipment.id).freight_charge.id
    assert sentence(flow, root).startswith("COMPLETE ")
    flow.bill()
    told = sentence(flow, root)
    assert told.startswith("UNDER_WAY Under way: freight invoice 77-1 of UPSN over 512.40 USD ")
    assert "waits for its audit" in told
    flow.dispute(charge)
    assert "is disputed" in sentence(flow, root)
    flow.approve_charge(charge)
    assert "is approved and not finalised" in sentence(flow, root)
    flow.finalise(charge)
    assert "post_freight_charge at sap is about to be sent" in sentence(flow, root)
    flow.settle(flow.delivery("sap", "post_freight_charge"), references=BILL)
    told = sentence(flow, root)
    assert told.startswith("COMPLETE ")
    assert "freight invoice 77-1 of UPSN posted to sap once (5105600001/2026)" in told


async def test_any_number_of_a_charge_leads_to_its_order(books: Books) -> None:
    """Proves that the carrier's invoice number and the ERP's document are found like every other
    key, and that the charge stands below its shipment with both."""
    flow, shipment = delivered()
    charge = flow.bill().freight_charge.id
    flow.approve_charge(charge)
    flow.finalise(charge)
    flow.settle(flow.delivery("sap", "post_freight_charge"), references=BILL)
    await books.keep(flow)
    for name, words in (
        ("77-1", "reference freight_invoice of upsn"),
        ("5105600001/2026", "reference supplier_invoice of sap"),
        (charge, "freight charge id"),
    ):
        answer = await books.ask(TRACE, lineage_service_pb2.TraceRequest(id=name))
        assert answer.lineage.root_id == shipment.order_id
        assert words in answer.lineage.matched_as
    node = next(each for each in answer.lineage.nodes if each.kind == "freight_charge")
    assert (node.id, node.state) == (charge, "FINALISED")
    assert shipment.id in node.refers_to
    keys = {(each.system, each.type, each.value) for each in node.references}
    assert keys == {("upsn", "freight_invoice", "77-1"), ("sap", *BILL[0])}


async def test_charges_are_listed_by_shipment_carrier_and_state(books: Books) -> None:
    """Proves each filter, and that a carrier sees neither charges nor words of another one."""
    flow, shipment = delivered()
    first = flow.bill().freight_charge.id
    second = flow.bill(invoice("77-1B", "45.00", ())).freight_charge.id
    flow.cancel_charge(second)
    await books.keep(flow)

    async def listed(caller: Caller = TMS, **asked: Any) -> list[str]:
        request = freight_service_pb2.ListFreightChargesRequest(**asked)
        answer = await books.ask(f"{FREIGHT}/ListFreightCharges", request, caller)
        return [each.id for each in answer.freight_charges]

    assert await listed() == [first, second]
    assert await listed(shipment_id=shipment.id, carrier_code="UPSN") == [first, second]
    assert await listed(carrier_code="FDXG") == []
    assert await listed(state=freight_pb2.FREIGHT_CHARGE_STATE_CANCELLED) == [second]
    assert await listed(CARRIER) == [first, second]
    assert await listed(OTHER_CARRIER) == []
    one = freight_service_pb2.GetFreightChargeRequest(id=first)
    read = await books.ask(f"{FREIGHT}/GetFreightCharge", one, OPERATOR)
    assert read.freight_charge.invoice.number == "77-1"
    hidden = await refusal(books, f"{FREIGHT}/GetFreightCharge", one, OTHER_CARRIER)
    assert hidden.reason == "OBJECT_NOT_FOUND"


@pytest.mark.parametrize("end", ["cancelled", "estimated"])
def test_an_open_invoice_keeps_its_flow_from_the_archive(tmp_path: Path, end: str) -> None:
    """Proves that an order leaves the database only when nobody has to act on its freight any
    more: an invoice holds it until it is settled, an estimate does not."""
    with FreightHouse(tmp_path / "data") as house:
        root = house.delivered("1")
        if end == "estimated":
            house.estimate(tracking_number="1Z1")
        else:
            charge = house.bill().freight_charge.id
            house.days_pass(DAYS["order"] + 1)
            house.delivered("2")
            assert house.look().stays == {settling.OPEN_CHARGE: 1}
            house.cancel_charge(charge)
        house.days_pass(DAYS["order"] + 1)
        house.delivered("3")
        house.archive()
        assert not house.rows_about(root)
