"""Fills a page of endpoints with how fast each is worked off, which only who leads them knows.

Who leads a system counts what is settled there; nothing of it is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from crossdock.endpoint.v1 import endpoint_pb2, endpoint_service_pb2

from crossdock_hub.door.forwarding import ASK_SECONDS
from crossdock_hub.door.led_methods import GET_ENDPOINT, LIST_ENDPOINTS
from crossdock_hub.identity import Caller

Answer = Callable[[Caller, Any, Any], Awaitable[Any]]
# (endpoint, method, request, context of the call it is asked for) -> response; None: no answer.
Ask = Callable[[str, str, bytes, Any], Awaitable[bytes | None]]

# Calls to other hubs at a time, of one page: each of them reads its endpoint from the database.
ASKED_AT_ONCE_MAX: Final = 16


def paced(queries: Mapping[str, Answer], ask: Ask) -> dict[str, Answer]:
    """The answers by method, where that with a page of endpoints asks the other hubs too."""
    listed = queries[LIST_ENDPOINTS]

    async def answer(caller: Caller, request: Any, context: Any) -> Any:
        response = await listed(caller, request, context)
        await fill(response.endpoints, ask, context)
        return response

    return {**queries, LIST_ENDPOINTS: answer}


async def fill(shown: Iterable[endpoint_pb2.Endpoint], ask: Ask, context: Any) -> None:
    """Add the pace of those that have none. What is not answered within `ASK_SECONDS`, or half of
    what the caller waits, all together, stays without."""
    unknown = [endpoint for endpoint in shown if not endpoint.settled_per_second]
    if not unknown:
        return
    left: float | None = context.time_remaining()
    seconds = ASK_SECONDS if left is None else min(ASK_SECONDS, left / 2)
    turns = asyncio.Semaphore(ASKED_AT_ONCE_MAX)

    async def fill_one(endpoint: endpoint_pb2.Endpoint) -> None:
        asked = endpoint_service_pb2.GetEndpointRequest(id=endpoint.id).SerializeToString()
        async with turns:
            answer = await ask(endpoint.id, GET_ENDPOINT, asked, context)
        if answer is None:
            return
        found = endpoint_service_pb2.GetEndpointResponse.FromString(answer).endpoint
        endpoint.settled_per_second = found.settled_per_second
        if found.HasField("time_to_drain"):
            endpoint.time_to_drain.CopyFrom(found.time_to_drain)

    with suppress(TimeoutError):
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as asking:
            for endpoint in unknown:
                asking.create_task(fill_one(endpoint))
