"""What is shown of a test that hangs."""

from __future__ import annotations

import asyncio

from crossdock.ending import end_tasks
from fixtures_hangs import waiting


async def inner(gate: asyncio.Event) -> None:
    await gate.wait()


async def outer(gate: asyncio.Event) -> None:
    await inner(gate)


async def test_what_is_waited_for_is_told_to_its_end() -> None:
    """Proves that of a task that waits its name is told, how often it was to end, and every
    coroutine down to what it waits for; and that one that has ended is not told."""
    gate = asyncio.Event()
    task = asyncio.create_task(outer(gate), name="the one that hangs")
    await asyncio.sleep(0)
    (told,) = [each for each in waiting() if each.startswith("the one that hangs")]
    lines = told.splitlines()
    assert lines[0] == "the one that hangs, asked to end 0 times"
    assert [line.split()[0] for line in lines[1:4]] == ["outer", "inner", "Event.wait"]
    assert f"{__file__}:" in lines[1]
    await end_tasks([task])
    assert not [each for each in waiting() if each.startswith("the one that hangs")]
