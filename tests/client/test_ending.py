"""Tasks that are ended end, also where a cancellation was lost."""

from __future__ import annotations

import asyncio

import pytest
from crossdock import ending
from crossdock.ending import end_tasks

LONG_SECONDS = 600.0


async def deaf(times: int) -> None:
    """Waits, and misses so many cancellations, as asyncio.wait_for may."""
    for _ in range(times):
        try:
            await asyncio.sleep(LONG_SECONDS)
        except asyncio.CancelledError:
            continue
    await asyncio.sleep(LONG_SECONDS)


async def broken() -> None:
    raise ValueError("broken before anybody ended it")


@pytest.mark.parametrize("missed", [0, 1, 3])
async def test_who_misses_a_cancellation_is_asked_again(
    missed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that tasks end which missed their cancellation, each asked as often as it needs."""
    monkeypatch.setattr(ending, "AGAIN_SECONDS", 0.01)
    tasks = [asyncio.create_task(deaf(times)) for times in (missed, 0)]
    await asyncio.sleep(0)
    await end_tasks(tasks)
    assert [task.cancelled() for task in tasks] == [True, True]
    assert tasks[0].cancelling() >= missed + 1


async def test_who_tidies_up_is_let_end() -> None:
    """Proves that a task which needs a while after its cancellation is not cancelled again."""
    tidied: list[str] = []

    async def careful() -> None:
        try:
            await asyncio.sleep(LONG_SECONDS)
        finally:
            await asyncio.sleep(0.05)
            tidied.append("all")

    task = asyncio.create_task(careful())
    await asyncio.sleep(0)
    await end_tasks([task])
    assert tidied == ["all"] and task.cancelled() and task.cancelling() == 1


async def test_what_ended_before_is_no_trouble() -> None:
    """Proves that tasks that ended or failed before are taken as they are, again and again, that
    their failures are not raised, and that none at all is no trouble either."""
    failed = asyncio.create_task(broken())
    done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    done.set_result(1)
    await asyncio.wait({failed})
    for _ in range(2):
        await end_tasks([failed, done])
    await end_tasks([])
    assert isinstance(failed.exception(), ValueError) and done.result() == 1
