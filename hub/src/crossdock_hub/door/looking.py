"""Writes whose matter is found by reading much: read beside the writer, decided in it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from crossdock_hub.delivery.sightings import MovedOn

# request -> what its decision has to be told.
Look = Callable[[Any], Awaitable[Any]]


async def decided_on_sight(
    look: Look, request: Any, submit: Callable[[Any], asyncio.Future[Any]], looks_max: int
) -> Any:
    """The answer of `submit`, which gets what was seen; looked again while that does not hold.

    Raises MovedOn after `looks_max` looks, Refused, StoreFailure.
    """
    for _ in range(looks_max - 1):
        try:
            return await submit(await look(request))
        except MovedOn:
            continue
    return await submit(await look(request))
