"""The list of deliveries with facts that were refused: complete, and to each caller its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock.errors import Refusal, to_message
from crossdock_hub.identity import Caller
from crossdock_hub.records import DeliveryRecord, QuarantineRecord
from decisions import CARRIER, ERP, OPERATOR
from first_flow import Flow, order
from stored_flow import Books, books, played, refusal

__all__ = ["books"]

LIST = "delivery.v1.DeliveryService/ListDeliveries"
REFUSED = QuarantineRecord(
    "/crossdock.label.v1.LabelService/CreateLabel",
    b"",
    to_message(Refusal("FIELD_NOT_OWNED", "state is not yours", {})).SerializeToString(),
)


def with_refused(flow: Flow) -> list[DeliveryRecord]:
    """Every second delivery of a flow, as one of whose facts was refused; in the order of events.

    Those between have none: a list that tells them too is found out.
    """
    known = sorted(flow.deliveries(), key=lambda record: (record.sequence, record.id))
    chosen = [replace(record, quarantined=[REFUSED]) for record in known[::2]]
    flow.records.update({("delivery", record.id): record for record in chosen})
    return chosen


async def listed(books: Books, caller: Caller = OPERATOR, **filters: Any) -> list[str]:
    """The ids of those with refused facts, page by page."""
    request = delivery_service_pb2.ListDeliveriesRequest(quarantined_only=True, **filters)
    found: list[str] = []
    while True:
        answer = await books.ask(LIST, request, caller=caller)
        found += [each.id for each in answer.deliveries]
        if not answer.next_page_token:
            return found
        request.page_token = answer.next_page_token


@pytest.mark.parametrize("size", [1, 100])
async def test_only_what_was_refused_is_listed(books: Books, size: int) -> None:
    """Proves that the list has every delivery with a refused fact and no other, in both orders and
    over pages, also where it is narrowed to an endpoint, a state, an operation or a flow."""
    flow, shipment = played()
    flow.released(order("SO-2"))
    chosen = with_refused(flow)
    await books.keep(flow)

    async def told(**filters: Any) -> list[str]:
        return await listed(books, page_size=size, **filters)

    assert await told() == [each.id for each in chosen]
    assert await told(newest_first=True) == [each.id for each in reversed(chosen)]
    (kind,) = {each.operation for each in chosen if each.endpoint == "ups"}
    assert await told(operation=kind) == [each.id for each in chosen if each.operation == kind]
    theirs = [each.id for each in chosen if each.root_id == shipment.order_id]
    assert 0 < len(theirs) < len(chosen)
    assert await told(object_id=shipment.order_id) == theirs
    for endpoint in ("netsuite", "manhattan", "ups"):
        own = [each.id for each in chosen if each.endpoint == endpoint]
        assert own and await told(endpoint=endpoint) == own
    for state in {each.state for each in flow.deliveries()}:
        number = delivery_pb2.DeliveryState.Value(f"DELIVERY_STATE_{state}")
        expected = [each.id for each in chosen if each.state == state]
        assert await told(states=[number]) == expected


async def test_an_endpoint_is_told_its_own(books: Books) -> None:
    """Proves that an endpoint asks for its own refused facts and sees no other's, and that a page's
    token does not go on in the list of all deliveries."""
    flow, _ = played()
    flow.released(order("SO-2"))
    chosen = with_refused(flow)
    await books.keep(flow)
    own = [each.id for each in chosen if each.endpoint == "netsuite"]
    assert 0 < len(own) < len(flow.deliveries("netsuite"))
    assert await listed(books, ERP) == own
    assert await listed(books, CARRIER, endpoint="netsuite") == []
    request = delivery_service_pb2.ListDeliveriesRequest(quarantined_only=True, page_size=1)
    request.page_token = (await books.ask(LIST, request)).next_page_token
    request.quarantined_only = False
    assert (await refusal(books, LIST, request)).reason == "INVALID_FIELD"
