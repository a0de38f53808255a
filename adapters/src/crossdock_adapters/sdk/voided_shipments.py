"""Whether a shipment was voided since the event that an attempt is about, which says how it was."""

from __future__ import annotations

from typing import Final

from crossdock.errors import CallError, InvalidRequestError, NotFoundError
from crossdock.shipment.v1 import shipment_pb2, shipment_service_pb2

from crossdock_adapters.sdk.outcomes import Retry, Untranslatable
from crossdock_adapters.sdk.work import Work

HUB_RETRY_SECONDS: Final = 1.0
VOIDED_SINCE: Final = (
    "the shipment was voided since: nothing was written, and what an earlier call may have written "
    "is taken back by the void"
)


async def is_voided(work: Work) -> bool:
    """What the hub says of the shipment now; asked before anything is sent.

    Retry: it does not answer. Untranslatable: it has no such shipment.
    """
    request = shipment_service_pb2.GetShipmentRequest(id=work.event.shipment.id)
    try:
        found = (await work.hub.shipments.GetShipment(request)).shipment
    except (NotFoundError, InvalidRequestError):
        raise Untranslatable(f"the hub has no shipment {request.id!r}") from None
    except CallError as error:
        raise Retry(HUB_RETRY_SECONDS, f"shipment {request.id} not read from the hub") from error
    return bool(found.state == shipment_pb2.SHIPMENT_STATE_VOIDED)


async def is_repeated_in_vain(work: Work) -> bool:
    """Whether this would say once more that goods left, of a shipment that was voided since.

    For operations whose reversal finds nothing without a fuss, and takes back all that they write.
    A first attempt does not ask: what was voided before it began, the hub has dropped, and what is
    voided while it runs, or waits within the adapter, is taken back by the void, which waits for
    it. But a delivery that a person resubmits has the shipment as it is by then, and its first
    attempt may come after the void. What writes more than its void takes back asks `is_voided` at
    each attempt.
    """
    if work.event.shipment.state == shipment_pb2.SHIPMENT_STATE_VOIDED:
        return True
    return work.attempt > 1 and await is_voided(work)
