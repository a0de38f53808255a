"""Tasks that are ended end, also where a cancellation was lost."""

from __future__ import annotations

import asyncio

import pytest
from crossdock import ending
from crossdock.ending import end_tasks, within

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


async def tidying(seconds: float, tidied: list[str]) -> None:
    """Waits, and needs so long after its cancellation; one that comes meanwhile cuts it short."""
    try:
        await asyncio.sleep(LONG_SECONDS)
    finally:
        await asyncio.sleep(seconds)
        tidied.append("all")


async def test_who_is_cancelled_while_it_waits_leaves_nobody_behind() -> None:
    """Proves that a caller who is cancelled, and once more, goes only once what it ends has ended,
    which it doesn't disturb by that: what comes after would close what that still uses."""
    tidied: list[str] = []
    task = asyncio.create_task(tidying(0.05, tidied))
    await asyncio.sleep(0)
    caller = asyncio.create_task(end_tasks([task]))
    for _ in range(2):
        await asyncio.sleep(0.01)
        caller.cancel()
    await asyncio.wait({caller})
    assert caller.cancelled() and task.cancelled() and tidied == ["all"]


async def test_who_needs_longer_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that what takes long to tidy up is not cut short where its time is given."""
    monkeypatch.setattr(ending, "AGAIN_SECONDS", 0.01)
    tidied: list[str] = []
    tasks = [asyncio.create_task(tidying(0.05, tidied)) for _ in range(2)]
    await asyncio.sleep(0)
    await end_tasks([tasks[0]])
    assert tidied == []
    await end_tasks([tasks[1]], again_seconds=5.0)
    assert tidied == ["all"]


async def test_who_ends_itself_does_not_wait_for_itself() -> None:
    """Proves that a task that is among those which it ends ends like the others."""
    tasks: list[asyncio.Task[None]] = []

    async def ends_all() -> None:
        await end_tasks(tasks)

    tasks += [asyncio.create_task(deaf(0)), asyncio.create_task(ends_all())]
    async with asyncio.timeout(5):
        await asyncio.wait(tasks)
    assert [task.cancelled() for task in tasks] == [True, True]


async def test_what_is_begun_has_its_time_whoever_waits_for_it() -> None:
    """Proves that what has a limit ends by it or before, also where its caller is cancelled: it is
    neither cut at once nor left without a limit."""
    quick, slow = (asyncio.create_task(asyncio.sleep(each)) for each in (0.02, LONG_SECONDS))
    callers = [asyncio.create_task(within(0.05, each)) for each in (quick, slow)]
    await asyncio.sleep(0)
    for caller in callers:
        caller.cancel()
    async with asyncio.timeout(5):
        await asyncio.wait([*callers, quick, slow])
    assert all(caller.cancelled() for caller in callers)
    assert not quick.cancelled() and slow.cancelled()
