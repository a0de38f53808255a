"""What a trace says of a shipment that left and was voided after that: states never go back."""

from __future__ import annotations

from crossdock_hub.config import Limits
from crossdock_hub.reading.verdict import judge
from first_flow import Flow
from stored_flow import chain_of, situations_of


def verdict(flow: Flow, root_id: str) -> str:
    """What a trace says once no endpoint has anything to do."""
    for key, record in list(flow.records.items()):
        if key[0] == "delivery":
            record.state = "CONFIRMED"
    return judge(chain_of(flow, root_id), situations_of(flow), Limits(), flow.now).sentence


def test_a_trace_says_what_left_and_was_voided() -> None:
    """Proves that order and request stay SHIPPED, that nothing of it counts as shipped, that the
    trace names the shipment, why, and who has to do what, and says so no more once the goods are
    packed again and have left."""
    flow = Flow()
    shipment = flow.labelled(packages=1)
    root = shipment.order_id
    (request,) = flow.all("fulfillment_request")
    flow.manifest()
    assert "voided" not in verdict(flow, root)
    flow.void(shipment.id)
    assert flow.state("order", root) == "SHIPPED"
    assert flow.state("fulfillment_request", request.id) == "SHIPPED"
    assert not any(
        row.shipped.value not in ("", "0") for row in flow.object("order", root).progress
    )
    said = verdict(flow, root)
    assert said.startswith("Under way: shipment SHP-1 left and was voided ")
    assert said.endswith(
        f"(wrong box); {request.number} and order SO-1 still say SHIPPED, as states never go back: "
        "warehouse DC1 has to pack 1 EA of line 1 again (ReportPacked) and to confirm it "
        "(ManifestShipment), also if it did leave; what will not be shipped, the order desk has to "
        "settle with the customer."
    )
    flow.pack(request.id, number="SHP-2")
    assert "SHP-2 is packed" in verdict(flow, root)
    flow.manifest("SHP-2")
    assert "SHP-2 is with carrier" in verdict(flow, root)
