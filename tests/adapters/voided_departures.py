"""A departure of which nobody knows whether an ERP booked it when its shipment is voided."""

from __future__ import annotations

from crossdock.shipment.v1 import shipment_service_pb2
from crossdock_adapters.sdk.sandbox import Sandbox
from fixtures_nats import eventually
from story import Story, request_id

WAIT_SECONDS = 60.0
# Until the first look-up: time enough for the warehouse to void the shipment before it.
SETTLE_SECONDS = 4.0
IN_DOUBT = frozenset({"UNKNOWN", "RESOLVING"})


async def voided_in_doubt(
    story: Story, sandbox: Sandbox, shipment_id: str, kind: str, operation: str
) -> None:
    """The shipment leaves, and is voided while nobody knows what became of the ERP's call, which
    had this kind of fault. Returns once the ERP works again and the void is through."""
    sandbox.faults.add({"kind": kind, "operation": operation})
    await story.manifest(shipment_id)

    async def in_doubt() -> bool:
        return await story.state(shipment_id, "post_goods_issue") in IN_DOUBT

    await eventually(in_doubt, "nobody knows", WAIT_SECONDS)
    await void(story, shipment_id)
    assert await in_doubt()
    sandbox.faults.clear()
    for each in ("post_goods_issue", "reverse_goods_issue"):
        await reaches(story, shipment_id, each)


async def void(story: Story, shipment_id: str) -> None:
    """The warehouse takes the shipment back."""
    request = shipment_service_pb2.VoidShipmentRequest(
        request_id=request_id(), shipment_id=shipment_id, reason="the trailer came back"
    )
    await story.wms.shipments.VoidShipment(request)


async def reaches(story: Story, object_id: str, operation: str, state: str = "CONFIRMED") -> None:
    """Return once the only delivery of the operation has this state."""

    async def there() -> bool:
        return await story.state(object_id, operation) == state

    await eventually(there, f"{operation} is {state}", WAIT_SECONDS)
