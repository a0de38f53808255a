"""The commands of one call are in line at once, and answered when each of them is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from crossdock.errors import Refusal
from crossdock_hub.commands import Command
from crossdock_hub.door.answered_together import answers_of
from crossdock_hub.identity import HUB
from crossdock_hub.unit import Refused

FULL = Refusal("HUB_OVERLOADED", "so many wait already", {"cause": "queue_commands_max"})


def commands(*names: str) -> list[Command]:
    answer = asyncio.get_running_loop().create_future
    return [Command(name, HUB, lambda _unit: None, answer()) for name in names]


def line(*, room: int) -> tuple[list[Command], Callable[[Command], asyncio.Future[Any]]]:
    """What is in line, and what puts a command there while there is room."""
    waiting: list[Command] = []

    def submit(command: Command) -> asyncio.Future[Any]:
        if len(waiting) >= room:
            raise Refused(FULL)
        waiting.append(command)
        return command.answer

    return waiting, submit


async def test_each_has_its_own_answer_in_its_place() -> None:
    """Proves that answers come in the order of the commands, whoever was answered first, and that
    one that is refused, or for which there is no room, keeps no other one from its answer."""
    asked = commands("a", "b", "c", "d")
    waiting, submit = line(room=3)
    call = asyncio.create_task(answers_of(asked, submit))
    await asyncio.sleep(0)
    assert waiting == asked[:3]
    no = Refused(Refusal("LEASE_LOST", "another one has it"))
    asked[2].answer.set_result("third")
    asked[0].answer.set_exception(no)
    await asyncio.sleep(0)
    assert not call.done()
    asked[1].answer.set_result("second")
    first, second, third, fourth = await call
    assert (first, second, third) == (no, "second", "third")
    assert isinstance(fourth, Refused)
    assert fourth.refusal is FULL


async def test_a_call_is_in_line_at_once_and_answered_in_the_next_turn() -> None:
    """Proves that no turn of the event loop lies between a call and its place in line, and one
    between the answer of its last command and its own: beside bulk each is as long as that has it,
    and a vendor's call waits for all of them."""
    asked = commands("begin", "begin")
    waiting, submit = line(room=2)
    ended = asyncio.Event()

    async def call() -> None:
        await answers_of(asked, submit)
        ended.set()

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    assert waiting == asked
    for command in asked:
        command.answer.set_result(None)
    await asyncio.sleep(0)
    assert ended.is_set()
    await task


async def test_of_a_call_that_is_given_up_nothing_stays_in_line() -> None:
    """Proves that nobody waits for the commands of a call whose caller has gone, so that they are
    not decided."""
    asked = commands("a", "b")
    _, submit = line(room=2)
    call = asyncio.create_task(answers_of(asked, submit))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert all(command.answer.cancelled() for command in asked)
