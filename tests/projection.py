"""What a subscriber of the events keeps, filled from any place of the stream."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from crossdock import bus
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig

SUBJECT = "crossdock.v1.event.>"


class Projection:
    """What a subscriber keeps: the newest state of each object, and how often it was told."""

    def __init__(self) -> None:
        self.states: dict[str, tuple[int, int, bytes]] = {}
        self.seen: set[str] = set()

    def fold(self, data: bytes) -> None:
        about = bus.decode(data).metadata
        known = self.states.get(about.object_id, (-1, -1, b""))
        place = (about.revision, about.position)
        assert place > known[:2] or about.id in self.seen, "an object's events came out of order"
        if place > known[:2]:
            self.states[about.object_id] = (*place, hashlib.sha256(data).digest())
        self.seen.add(about.id)

    def digest(self) -> str:
        return hashlib.sha256(repr(sorted(self.states.items())).encode()).hexdigest()


@asynccontextmanager
async def following(
    jetstream: JetStreamContext, into: Projection, **start: Any
) -> AsyncIterator[None]:
    """Fold the event stream into a projection from some start on, in its order."""
    subscription = await jetstream.subscribe(
        SUBJECT, ordered_consumer=True, config=ConsumerConfig(**start)
    )

    async def read() -> None:
        async for message in subscription.messages:
            into.fold(message.data)

    reading = asyncio.create_task(read())
    try:
        yield
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await subscription.unsubscribe()
