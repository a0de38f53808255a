"""An adapter that decides by all shipments of an order reads all of them, or decides nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest
from crossdock.errors import Refusal, TryAgainError
from crossdock.shipment.v1 import shipment_service_pb2
from crossdock_adapters.sdk import order_shipments
from crossdock_adapters.sdk.order_shipments import MAX_PAGES, shipments_of
from crossdock_adapters.sdk.outcomes import NeedsPerson, Retry
from crossdock_adapters.sdk.work import Work

ORDER = "9d0c6e0e-2f4a-4b55-8a51-6f0f4c1a7e11"


class Pages:
    """A hub with so many pages of one shipment each."""

    def __init__(self, pages: int) -> None:
        self.pages, self.asked = pages, list[str]()

    async def ListShipments(self, request: Any) -> shipment_service_pb2.ListShipmentsResponse:
        assert request.order_id == ORDER
        assert request.page_size == order_shipments.PAGE_SHIPMENTS
        self.asked.append(request.page_token)
        number = len(self.asked)
        answer = shipment_service_pb2.ListShipmentsResponse(
            next_page_token=f"after {number}" if number < self.pages else ""
        )
        answer.shipments.add(number=f"SHP-{number}")
        return answer


def work_at(shipments: Any) -> Work:
    return cast(Work, SimpleNamespace(hub=SimpleNamespace(shipments=shipments)))


async def test_all_pages_are_read() -> None:
    """Proves that each page is asked for behind the one before, as many as are followed."""
    pages = Pages(MAX_PAGES)
    found = await shipments_of(work_at(pages), ORDER)
    assert [each.number for each in found] == [f"SHP-{n}" for n in range(1, MAX_PAGES + 1)]
    assert pages.asked == ["", *(f"after {n}" for n in range(1, MAX_PAGES))]


async def test_more_than_are_followed_are_not_taken_for_all() -> None:
    """Proves that reading ends, and that the oldest shipments do not stand for all."""
    pages = Pages(MAX_PAGES + 1)
    with pytest.raises(NeedsPerson, match="more than 10000 shipments"):
        await shipments_of(work_at(pages), ORDER)
    assert len(pages.asked) == MAX_PAGES


async def test_a_hub_that_does_not_answer_is_asked_again() -> None:
    """Proves that what cannot be read is a retry, which names the order."""

    class Away:
        async def ListShipments(self, _request: Any) -> Any:
            raise TryAgainError(Refusal("BUSY", "not now"), grpc.StatusCode.UNAVAILABLE)

    with pytest.raises(Retry, match=ORDER):
        await shipments_of(work_at(Away()), ORDER)
