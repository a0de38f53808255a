"""Cancels at Manhattan: in time, too late, of nothing, and refused for another reason."""

from __future__ import annotations

from typing import Any

import pytest
from crossdock.fulfillment.v1 import fulfillment_events_pb2, fulfillment_pb2
from crossdock_adapters.manhattan import adapter
from crossdock_adapters.sdk.outcomes import Confirmed, NotFound, Reject
from manhattan_world import FACILITY, fulfillment_request
from test_manhattan_adapter import Pick, World, many, still, world

__all__ = ["still", "world"]


def cancelled(request: fulfillment_pb2.FulfillmentRequest) -> Any:
    return fulfillment_events_pb2.FulfillmentCancelled(fulfillment_request=request)


async def test_an_order_that_is_there_is_not_let_go_of_on_a_word(still: World) -> None:
    """Proves that a cancel which is refused with a code for what is not held, among others or by
    mistake, is no cancel where the floor holds the order."""
    request = fulfillment_request()
    await still.release(request)
    (code,) = still.work("cancel_order", cancelled(request)).settings.texts("not_found_codes")[:1]

    async def refused(facility: str, content: Any) -> None:
        raise Reject(code, f"{facility} has no such order")

    still.client.save_original_order = refused  # type: ignore[method-assign]
    with pytest.raises(Reject):
        await adapter.cancel_order(still.work("cancel_order", cancelled(request)), still.client)


async def test_a_cancel_in_time_stops_the_floor(still: World) -> None:
    """Cancelled there, found cancelled, cancelled again without effect, absent: fine too."""
    request = fulfillment_request()
    work = still.work("cancel_order", cancelled(request))
    absent = await adapter.cancel_order(work, still.client)
    assert "nothing to cancel" in absent.note
    await still.release(request)
    assert isinstance(await adapter.find_cancelled_order(work, still.client), NotFound)
    await adapter.cancel_order(work, still.client)
    await adapter.cancel_order(work, still.client)
    assert isinstance(await adapter.find_cancelled_order(work, still.client), Confirmed)
    assert still.originals()[f"{FACILITY}/{request.number}"]["IsCancelled"] is True


async def test_a_cancel_that_comes_too_late_is_rejected(world: World) -> None:
    """Past the freeze status the warehouse refuses, and the refusal says so."""
    request = many(1)[0]
    await world.release(request)
    await world.hear(lambda: len(world.hub.of(Pick)) == 1)
    with pytest.raises(Reject) as refused:
        await adapter.cancel_order(world.work("cancel_order", cancelled(request)), world.client)
    assert refused.value.code == adapter.TOO_LATE
