"""Under which number an ERP booked an order, as the hub knows it now; an event says how it was."""

from __future__ import annotations

from typing import Final

from crossdock.errors import CallError, InvalidRequestError, NotFoundError
from crossdock.order.v1 import order_service_pb2

from crossdock_adapters.sdk.outcomes import Retry, Untranslatable
from crossdock_adapters.sdk.work import Work

HUB_RETRY_SECONDS: Final = 1.0


async def sales_document_now(work: Work) -> str:
    """The number of the order's sales document; "" when the hub has none.

    Ask before an order that the ERP does not find is called cancelled: what booked it may have been
    in doubt when the cancellation was written, and found since. Retry: the hub does not answer.
    Untranslatable: it has no such order.
    """
    if work.event.order.sales_document:
        return str(work.event.order.sales_document)
    request = order_service_pb2.GetOrderRequest(id=work.event.order.id)
    try:
        return str((await work.hub.orders.GetOrder(request)).order.sales_document)
    except (NotFoundError, InvalidRequestError):
        raise Untranslatable(f"the hub has no order {request.id!r}") from None
    except CallError as error:
        raise Retry(HUB_RETRY_SECONDS, f"order {request.id} not read from the hub") from error
