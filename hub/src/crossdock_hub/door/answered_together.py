"""The commands of one call: put in line at once, and answered when each of them is.

Without a task for each, and one that gathers them: that is four turns of the event loop between a
call and its answer, and beside bulk a turn takes as long as whatever else the hub does in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from crossdock_hub.commands import Command


async def answers_of(
    commands: Iterable[Command], submit: Callable[[Command], asyncio.Future[Any]]
) -> list[Any]:
    """What each was answered, or the exception that it was refused by, in their order. Of a call
    that its caller gives up nobody waits for any of them."""
    futures = [_submitted(command, submit) for command in commands]
    answers: list[Any] = []
    try:
        for future in futures:
            try:
                answers.append(await future)
            except Exception as error:
                answers.append(error)
    except BaseException:
        for future in futures:
            future.cancel()
        raise
    return answers


def _submitted(
    command: Command, submit: Callable[[Command], asyncio.Future[Any]]
) -> asyncio.Future[Any]:
    """One that there is no room for has that as its answer: others of its call may be in line."""
    try:
        return submit(command)
    except Exception as error:
        command.answer.set_exception(error)
        return command.answer
