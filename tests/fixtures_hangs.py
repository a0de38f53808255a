"""What was waited for, of a test that hangs: shown with its failure, for it may not hang again."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from typing import Any, Final

import pytest

# Before pytest-timeout's limit, which ends the test and with it what could be seen.
BEFORE_THE_END_SECONDS: Final = 15.0
WAITING = pytest.StashKey[list[str]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    """Look at the tasks shortly before the test is ended."""
    seen: list[str] = []
    item.stash[WAITING] = seen
    limit_seconds = _limit_seconds(item)
    if limit_seconds <= BEFORE_THE_END_SECONDS:
        return (yield)
    look = threading.Timer(limit_seconds - BEFORE_THE_END_SECONDS, lambda: seen.extend(waiting()))
    look.daemon = True
    look.start()
    try:
        return (yield)
    finally:
        look.cancel()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Show them where the test failed."""
    report = yield
    seen = item.stash.get(WAITING, [])
    if report.failed and seen:
        report.sections.append(("what was waited for", "\n\n".join(seen)))
    return report


def _limit_seconds(item: pytest.Item) -> float:
    own = item.get_closest_marker("timeout")
    return float(own.args[0] if own and own.args else item.config.getini("timeout") or 0.0)


def waiting() -> list[str]:
    """Every task that has not ended: its name, and where it and what it awaits stand."""
    tasks = [each for each in gc.get_objects() if isinstance(each, asyncio.Task)]
    return [_told(task) for task in tasks if not task.done()]


def _told(task: asyncio.Task[Any]) -> str:
    lines = [f"{task.get_name()}, asked to end {task.cancelling()} times"]
    awaited: Any = task.get_coro()
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "ag_frame", None)
        where = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else ""
        lines.append(f"  {getattr(awaited, '__qualname__', awaited)} {where}".rstrip())
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "ag_await", None)
    return "\n".join(lines)
