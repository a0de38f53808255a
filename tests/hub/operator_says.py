"""An operator's word in a company without a network."""

from __future__ import annotations

from typing import Any

from crossdock.delivery.v1 import delivery_operations_service_pb2 as operations_pb2
from crossdock_hub.records import DeliveryRecord
from decisions import OPERATOR, Company, request_id

SERVICE = "delivery.v1.DeliveryOperationsService"


def say(company: Company, verb: str, record: DeliveryRecord, **more: Any) -> Any:
    """One word of the operator about a delivery. Raises Refused."""
    name = f"{verb.capitalize()}Delivery"
    request: Any = getattr(operations_pb2, f"{name}Request")(
        request_id=request_id(), delivery_id=record.id, reason="because", **more
    )
    if verb == "RESOLVE" and not request.references:
        request.references.add(type="document", value=request_id())
    return company.call(f"{SERVICE}/{name}", request, OPERATOR)
