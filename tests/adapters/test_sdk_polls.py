"""A poll goes on whatever becomes of one of its runs, and ends when it is told to."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

import pytest
from crossdock_adapters.sdk.adapter import Adapter, PollSpec
from crossdock_adapters.sdk.inbound import Inbound
from crossdock_adapters.sdk.presence import Presence
from crossdock_adapters.sdk.settings import Settings
from crossdock_adapters.sdk.telemetry import Telemetry
from sdk_waiting import until


class Link:
    """A hub that knows no cursor."""

    hub = None

    async def get_cursor(self, _: str) -> tuple[bytes, int]:
        return b"", 0


async def test_a_run_that_a_library_cancels_does_not_end_the_poll(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Proves that a cancellation which nobody asked for is logged and the next run comes, and that
    the poll ends at once when it is cancelled."""
    runs = 0

    async def pull(*_: Any) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise asyncio.CancelledError
        await asyncio.Event().wait()

    nothing: Any = None
    inbound = Inbound(
        "pigeon", cast("Adapter", nothing), nothing, Settings({"interval": 0.05}), nothing,
        cast("Any", Link()), Presence("the hub"), Presence("Pigeon"), Telemetry(),
    )  # fmt: skip
    spec = PollSpec("letters", pull, "interval")
    task = asyncio.create_task(inbound.poll_forever(spec))
    with caplog.at_level(logging.ERROR):
        await until(lambda: runs == 2 or task.done(), what="a second run")
    assert not task.done()
    assert ["cancelled" in each.getMessage() for each in caplog.records] == [True]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
