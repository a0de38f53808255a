"""Waiting for a condition with a deadline, for tests that never sleep blindly."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

from fixtures_nats import PATIENCE_SECONDS

POLL_SECONDS = 0.01


async def until(
    condition: Callable[[], bool | Awaitable[bool]],
    *,
    seconds: float = PATIENCE_SECONDS,
    what: str = "",
) -> None:
    """Return as soon as the condition holds; fail the test at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        held = condition()
        if inspect.isawaitable(held):
            held = await held
        if held:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or condition}")
        await asyncio.sleep(POLL_SECONDS)
