"""What a trace says of lines that are packed in another unit than was asked for."""

from __future__ import annotations

from crossdock_hub.config import Limits
from crossdock_hub.reading.verdict import judge
from first_flow import Flow, package
from stored_flow import chain_of, situations_of


def verdict(flow: Flow, root_id: str) -> str:
    """What a trace says once no endpoint has anything to do."""
    for key, record in list(flow.records.items()):
        if key[0] == "delivery":
            record.state = "CONFIRMED"
    return judge(chain_of(flow, root_id), situations_of(flow), Limits(), flow.now).sentence


def test_a_line_packed_in_another_unit_is_said_not_to_be_compared() -> None:
    """Proves that a trace names line, item and both units where goods were packed in another unit
    than was asked for, and what to do; and that it says nothing of it in the same unit, or once
    the shipment is voided."""
    flow = Flow()
    root, (part,) = flow.released()
    (request,) = flow.all("fulfillment_request")
    carton = package("LPN-1")
    carton.contents[0].quantity.unit = "CS"
    shipment = flow.pack(part, carton).shipment
    flow.manifest()
    assert verdict(flow, root).endswith(
        f"; line 1 (SKU-1) of {request.number} was asked for in EA and packed, or called short, in "
        "CS, which the hub does not compare: whether something is missing the warehouse has to "
        "say; have it packed in the unit of the order, the packages corrected (UpdateShipment), or "
        "the ERP tell how much of one unit of the item the other is (UpsertUnitConversions)."
    )
    flow.void(shipment.id)
    assert "compare" not in verdict(flow, root)
    flow.pack(part, package("LPN-2"), number="SHP-2")
    flow.manifest("SHP-2")
    assert "compare" not in verdict(flow, root)
