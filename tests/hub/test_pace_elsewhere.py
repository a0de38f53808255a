"""A page of endpoints shows how fast each is worked off, whichever hub counts that."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from crossdock.endpoint.v1 import endpoint_pb2, endpoint_service_pb2
from crossdock_hub.door.forwarding import PASSED_ON_BY
from crossdock_hub.door.led_methods import GET_ENDPOINT, LIST_ENDPOINTS
from crossdock_hub.door.pace_elsewhere import ASKED_AT_ONCE_MAX, fill, paced
from decisions import CARRIER, ERP, OPERATOR
from fixtures_nats import eventually
from test_forwarding import FIRST, OFFICE, SECOND, SOON_SECONDS, House, house

__all__ = ["house"]

TOKEN = f"Bearer token of {OPERATOR.endpoint}"


def context_of(seconds: float | None) -> Any:
    """Of a call that another hub has passed on."""
    metadata = (("authorization", TOKEN), (PASSED_ON_BY, "front"))
    return SimpleNamespace(time_remaining=lambda: seconds, invocation_metadata=lambda: metadata)


def answer_of(endpoint: str, per_second: str, drain_seconds: int | None = None) -> bytes:
    found = endpoint_pb2.Endpoint(id=endpoint, settled_per_second=per_second)
    if drain_seconds is not None:
        found.time_to_drain.FromSeconds(drain_seconds)
    return endpoint_service_pb2.GetEndpointResponse(endpoint=found).SerializeToString()


async def listed(*_: Any) -> Any:
    """What the office knows: one endpoint's pace, and of two that other hubs lead all else."""
    return endpoint_service_pb2.ListEndpointsResponse(
        endpoints=[
            endpoint_pb2.Endpoint(id=ERP.endpoint, queue_depth=7),
            endpoint_pb2.Endpoint(id=CARRIER.endpoint, queue_depth=8),
            endpoint_pb2.Endpoint(id="manhattan", queue_depth=9, settled_per_second="0.25"),
        ],
        next_page_token="more",
    )


async def shown(house: House, seconds: float | None = None) -> Any:
    ask = house.hubs[OFFICE].forwarder.ask
    answer = paced({LIST_ENDPOINTS: listed}, ask)[LIST_ENDPOINTS]
    return await asyncio.wait_for(answer(OPERATOR, None, context_of(seconds)), SOON_SECONDS)


async def test_hubs_that_lead_say_how_fast(house: House) -> None:
    """Proves that the office shows the pace that each leader tells, asked once in the caller's own
    name though the call was passed on to it, and asks nobody for what it knows itself."""
    house.hubs[FIRST].answers[GET_ENDPOINT] = answer_of(ERP.endpoint, "2.50", 3)
    house.hubs[SECOND].answers[GET_ENDPOINT] = answer_of(CARRIER.endpoint, "0.00")
    page = await shown(house)
    assert [each.settled_per_second for each in page.endpoints] == ["2.50", "0.00", "0.25"]
    assert [each.queue_depth for each in page.endpoints] == [7, 8, 9]
    assert page.endpoints[0].time_to_drain.seconds == 3
    assert not page.endpoints[1].HasField("time_to_drain")
    assert page.next_page_token == "more"
    for name in (FIRST, SECOND):
        ((method, metadata),) = house.hubs[name].handled
        assert (method, metadata["authorization"]) == (GET_ENDPOINT, TOKEN)
        assert metadata[PASSED_ON_BY] == OFFICE


@pytest.mark.parametrize("seconds", [2.0, None], ids=["short of time", "without a deadline"])
async def test_what_is_not_answered_is_shown_without(house: House, seconds: float | None) -> None:
    """Proves that a page comes in time, with what the others answered, when one leader does not
    answer; and without a pace from one that is gone, and where nobody leads."""
    house.hubs[FIRST].answers[GET_ENDPOINT] = answer_of(ERP.endpoint, "2.50")
    house.hubs[SECOND].stuck.add(GET_ENDPOINT)
    begun = time.monotonic()
    page = await shown(house, seconds)
    assert [each.settled_per_second for each in page.endpoints] == ["2.50", "", "0.25"]
    assert seconds is None or time.monotonic() - begun < seconds
    await house.hubs[FIRST].server.stop(None)
    house.move(CARRIER.endpoint, None)
    page = await shown(house, seconds)
    assert [each.settled_per_second for each in page.endpoints] == ["", "", "0.25"]
    assert [each.queue_depth for each in page.endpoints] == [7, 8, 9]


async def test_a_way_that_is_cut_while_it_is_asked_says_nothing(house: House) -> None:
    """Proves that a page does not wait for a hub that leads nothing any more, and that a page which
    nobody waits for ends what it asks."""
    house.hubs[FIRST].stuck.add(GET_ENDPOINT)
    ask = house.hubs[OFFICE].forwarder.ask
    asked = endpoint_service_pb2.GetEndpointRequest(id=ERP.endpoint).SerializeToString()
    asking = asyncio.create_task(ask(ERP.endpoint, GET_ENDPOINT, asked, context_of(None)))
    await eventually(lambda: house.hubs[FIRST].handled, "the call at its leader")
    house.move(ERP.endpoint, SECOND)
    assert await asyncio.wait_for(asking, 1.0) is None
    house.hubs[SECOND].stuck.add(GET_ENDPOINT)
    asking = asyncio.create_task(ask(ERP.endpoint, GET_ENDPOINT, asked, context_of(None)))
    await eventually(lambda: house.hubs[SECOND].handled, "the call at its new leader")
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_a_large_page_asks_a_few_at_a_time() -> None:
    """Proves that a page of 500 endpoints asks for each once, and never for more at a time than
    the limit says."""
    asked: Counter[str] = Counter()
    flying, most = 0, 0

    async def ask(endpoint: str, _method: str, _raw: bytes, _context: Any) -> bytes:
        nonlocal flying, most
        asked[endpoint] += 1
        flying += 1
        most = max(most, flying)
        await asyncio.sleep(0)
        flying -= 1
        return answer_of(endpoint, "1.00")

    page = [endpoint_pb2.Endpoint(id=f"e{number}") for number in range(500)]
    await fill(page, ask, context_of(None))
    assert {each.settled_per_second for each in page} == {"1.00"}
    assert set(asked.values()) == {1} and len(asked) == len(page)
    assert most == ASKED_AT_ONCE_MAX
