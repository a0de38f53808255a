"""A subscription to what is told over core NATS."""

from __future__ import annotations

import contextlib

import nats.errors
from nats.aio.subscription import Subscription


class Listener:
    """A subscription made by `Bus.listen`."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription

    async def stop(self) -> None:
        """Hear nothing more. Repeatable; works without a connection."""
        with contextlib.suppress(nats.errors.Error, OSError):
            await self._subscription.unsubscribe()
