"""Several committers on one database of PostgreSQL: what one decides, another has not changed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import overlapping_commands
import pytest
from crossdock_hub.committer import Committer
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.store import Store
from crossdock_hub.unit import Refused, Unit
from databases import ServerDatabase
from decisions import CONTRACT
from overlapping_commands import (
    LIMITS,
    SHARED_BY,
    Answer,
    Decide,
    begin,
    check,
    command,
    drawn,
    hold,
    request_id,
    set_value,
    told,
    value_of,
    work_of,
)

COMMITTERS = 4
COMMANDS = 600
DEADLINE_SECONDS = 240.0
# Of the test with processes.
PROCESS_COMMANDS = 300
DISTURBANCES = 6
PAUSE_SECONDS = 0.3


@pytest.fixture
async def committers(database: ServerDatabase) -> AsyncIterator[list[Committer]]:
    """Several that write to it, each with a connection of its own."""
    stores = [
        await Store.open(database.url, CONTRACT, shared_by=SHARED_BY) for _ in range(COMMITTERS)
    ]
    running = [Committer(store, CONTRACT, LIMITS, Picker(LIMITS)) for store in stores]
    for each in running:
        each.start([])
    yield running
    for each in running:
        await each.stop()
    for store in stores:
        await store.close()


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_overlapping_commands_of_several_committers(
    committers: list[Committer], database: ServerDatabase, seed: int
) -> None:
    """Proves that no change is lost, events of an object come in its order, what is unique is given
    once, a rule over several records holds, and nothing fails for another's sake: no deadlock."""
    chance = random.Random(seed)
    await begin(committers[0])
    work = [drawn(chance) for _ in range(COMMANDS)]
    sent = []
    async with asyncio.timeout(DEADLINE_SECONDS):
        for number, (_, decide) in enumerate(work):
            answer = chance.choice(committers).submit(command(decide))
            sent.append(asyncio.create_task(told(answer)))
            if number % 40 == 39:
                await asyncio.gather(*chance.sample(sent, 10))
        answers = await asyncio.gather(*sent)
    refused = Counter(a.refusal.reason for a in answers if isinstance(a, Refused))
    assert set(refused) <= {"STATE_TRANSITION", "REFERENCE_TAKEN"}, refused
    check(database, [what for (what, _), a in zip(work, answers, strict=True) if a == Answer()])


class Process:
    """A committer in a process of its own."""

    def __init__(self, database: ServerDatabase, seed: int, own: int) -> None:
        script = overlapping_commands.__file__
        arguments = map(str, (seed, PROCESS_COMMANDS, own))
        self._command = (sys.executable, script, database.url, *arguments)
        self.disturbed = 0

    async def start(self) -> None:
        self._running = await asyncio.create_subprocess_exec(
            *self._command,
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )

    async def begun(self) -> bool:
        """Whether it has committed something since it was asked last; else it has ended."""
        assert self._running.stdout is not None
        return bool(await self._running.stdout.readline())

    async def disturb(self, chance: random.Random) -> None:
        """Kill it and start it again, or pause it while the others go on; one that has just done
        the last of its commands has ended."""
        killed = chance.random() < 0.5
        with contextlib.suppress(ProcessLookupError):
            if killed:
                self._running.kill()
            else:
                self._running.send_signal(signal.SIGSTOP)
                await asyncio.sleep(PAUSE_SECONDS)
                self._running.send_signal(signal.SIGCONT)
            self.disturbed += 1
        if killed:
            await self._running.wait()
            await self.start()

    async def ended(self) -> int:
        while await self.begun():
            pass
        return await self._running.wait()

    async def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._running.kill()
        await self._running.wait()


async def test_committers_that_are_killed_and_paused(
    committers: list[Committer], database: ServerDatabase
) -> None:
    """Proves that processes which are killed and paused amid their commits, each with the same
    commands, do each command once: nothing is lost, doubled, out of order or left locked."""
    seed = 4
    await begin(committers[0])
    processes = [Process(database, seed, own) for own in range(3)]
    chance = random.Random(seed)
    for each in processes:
        await each.start()
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            for place in range(DISTURBANCES):
                each = processes[place % len(processes)]
                if await each.begun():
                    await each.disturb(chance)
            assert [await each.ended() for each in processes] == [0] * len(processes)
    finally:
        for each in processes:
            await each.end()
    # One may have ended right before its last one.
    assert sum(each.disturbed for each in processes) >= DISTURBANCES - 1
    stored = {row[0] for row in database.query("SELECT request_id FROM requests")}
    done = [
        what
        for number, (what, _) in enumerate(work_of(seed, PROCESS_COMMANDS))
        if request_id(seed, number) in stored
    ]
    assert len(done) == len(stored) > PROCESS_COMMANDS / 2
    check(database, done)


async def test_a_payload_is_held_once_by_several(
    committers: list[Committer], database: ServerDatabase
) -> None:
    """Proves that a raw payload which comes to several at once, each with the same ones in an order
    of its own, is held once, and that all of them are told where."""
    keys = [f"key-{n}" for n in range(60)]
    chance = random.Random(5)
    sent: dict[str, list[Any]] = {key: [] for key in keys}
    async with asyncio.timeout(DEADLINE_SECONDS):
        for each in committers:
            for key in chance.sample(keys, len(keys)):
                sent[key].append(each.submit(command(hold(key))))
        receipts = {key: await asyncio.gather(*answers) for key, answers in sent.items()}
    held = {row[0] for row in database.query("SELECT id FROM held_facts WHERE state = 'HELD'")}
    assert len(held) == len(keys)
    named = {key: {one.held_fact_id for one in of_key} for key, of_key in receipts.items()}
    assert [len(ids) for ids in named.values()] == [1] * len(keys)
    assert set().union(*named.values()) == held


async def test_a_request_id_is_answered_once_by_several(
    committers: list[Committer], database: ServerDatabase
) -> None:
    """Proves that one request id, sent to several at once among others, has one effect and one
    answer, and that those beside it in its batches are not refused."""
    ids = [str(uuid.uuid4()) for _ in range(40)]
    sent = []

    def answer(name: str) -> Decide:
        def decide(unit: Unit) -> Any:
            set_value(unit, name, value_of(unit, name) + 1)
            return Answer(request_id=unit.new_id())

        return decide

    async with asyncio.timeout(DEADLINE_SECONDS):
        for request_id in ids:
            made = [command(answer(request_id), request_id) for _ in committers]
            sent += [each.submit(one) for each, one in zip(committers, made, strict=True)]
        answers = await asyncio.gather(*sent)
    by_id = [answers[n : n + COMMITTERS] for n in range(0, len(answers), COMMITTERS)]
    assert all(len({each.request_id for each in same}) == 1 for same in by_id)
    assert {row[0] for row in database.query("SELECT value FROM cursors")} == {b"1"}
    assert len(database.query("SELECT 1 FROM requests")) == len(ids)
