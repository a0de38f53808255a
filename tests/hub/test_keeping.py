"""A loop of the hub goes on whatever is raised in it, and ends only when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from crossdock.ending import end_tasks
from crossdock_hub import keeping
from fixtures_nats import eventually
from structlog.testing import capture_logs


class Unspeakable(Exception):
    """An error whose text can't be made."""

    def __str__(self) -> str:
        raise ValueError("no words")


class Log:
    """The hub's log, whose lines hold the text of errors."""

    def __init__(self, refuses: Callable[[dict[str, object]], bool]) -> None:
        self.lines: list[dict[str, object]] = []
        self._refuses = refuses

    def error(self, event: str, **told: object) -> None:
        if self._refuses(told):
            str(told.get("exc_info"))
            raise RuntimeError("the log takes nothing")
        self.lines.append({"event": event} | told)


async def cancelled_inside() -> None:
    """Wait for what somebody else has ended."""
    gone = asyncio.get_running_loop().create_future()
    gone.cancel()
    await gone


async def unspeakable() -> None:
    raise Unspeakable


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "FAULT_PAUSE_SECONDS", 0.0)


async def went_on(fails: Callable[[], object]) -> None:
    """A loop that fails in its first two runs has a third, and ends when it is told to."""
    runs = 0

    async def run() -> None:
        nonlocal runs
        runs += 1
        if runs <= 2:
            await fails()  # type: ignore[misc]
        await asyncio.Event().wait()

    task = keeping.keep("tested", run)
    try:
        await eventually(lambda: runs == 3 or task.done(), "the third run", 10)
        assert runs == 3 and not task.done()
    finally:
        await end_tasks([task])
    assert task.cancelled()


async def test_what_a_loop_waited_for_was_ended() -> None:
    """Proves that a loop in which something is cancelled that is not the loop goes on, and that
    this is told; and that the loop ends when it is cancelled itself."""
    with capture_logs() as lines:
        await went_on(cancelled_inside)
    assert [line["event"] for line in lines] == ["fault in a loop; it begins anew"] * 2
    assert {line["loop"] for line in lines} == {"tested"}


async def test_an_error_without_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that an error which can't be put into a line ends no loop, and is told by its kind."""
    log = Log(lambda told: "exc_info" in told)
    monkeypatch.setattr(keeping, "log", log)
    await went_on(unspeakable)
    assert [line["fault"] for line in log.lines] == ["Unspeakable"] * 2
    assert {line["because"] for line in log.lines} == {"ValueError"}


async def test_a_log_that_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that a loop goes on though not even the kind of its fault can be said."""
    monkeypatch.setattr(keeping, "log", Log(lambda _: True))
    await went_on(unspeakable)


async def test_a_loop_that_returns_is_done() -> None:
    """Proves that a loop which has nothing more to do ends without a word."""

    async def run() -> None:
        return

    with capture_logs() as lines:
        await asyncio.wait_for(keeping.keep("done", run), 10)
    assert lines == []
