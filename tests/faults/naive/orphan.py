"""G6 as it is usually built: a bus that is a plain child, and a port that grpc.aio shares."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from fixtures_nats import free_port, is_alive
from nats.aio.client import Client

from tests.faults.naive.plain_bus import SUBJECT, PlainBus, stored
from tests.faults.naive.servicer import stock_process
from tests.faults.trials.trial import Piece, Result

CHILD_SECONDS_MAX = 1.0
MESSAGES = 20
TURNS = ("before the kill", "to the orphan", "to the new one")


@dataclass(slots=True)
class Left:
    """What became of the children. lost: acknowledged messages that were gone in the end."""

    orphans: int = 0
    second_ones: int = 0
    acknowledged: int = 0
    lost: int = 0
    shared_ports: int = 0


async def naive_g6(piece: Piece) -> Result:
    """kill -9 of a service that owns a bus; it is started again, as something always does."""
    left = Left()
    for number in range(piece.size.faults):
        directory = piece.directory / str(number)
        directory.mkdir()
        await _killed_and_started_again(directory, left)
        left.shared_ports += await _two_on_one_port(directory)
    return Result(
        {
            "parent kills": piece.size.faults,
            "plain child: alive after 1 s": left.orphans,
            "plain child: another one works on its store": left.second_ones,
            "messages that the one or the other acknowledged": left.acknowledged,
            "lost of them": left.lost,
            "stock servicer: another one serves its port": left.shared_ports,
        }
    )


async def _killed_and_started_again(directory: Path, left: Left) -> None:
    first = PlainBus(directory / "first", directory / "store", owned=True)
    second = PlainBus(directory / "second", directory / "store", owned=True)
    said: set[bytes] = set()
    children: list[int] = []
    try:
        await first.start()
        children.append(first.pid)
        async with first.client() as before:
            said |= await _published(before, TURNS[0])
            first.end()
            await asyncio.sleep(CHILD_SECONDS_MAX)
            left.orphans += is_alive(children[0])
            await second.start()
            children.append(second.pid)
            async with second.client() as after:
                # Who was connected goes on with the orphan.
                said |= await _published(before, TURNS[1])
                said |= await _published(after, TURNS[2])
                left.second_ones += is_alive(children[0])
    finally:
        second.end()
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    left.acknowledged += len(said)
    left.lost += len(said - await _found(directory))


async def _found(directory: Path) -> set[bytes]:
    """What a server that has the store for itself finds there."""
    third = PlainBus(directory / "third", directory / "store")
    try:
        await third.start()
        async with third.client() as client:
            return await stored(client)
    finally:
        third.end()


async def _published(client: Client, turn: str) -> set[bytes]:
    """So many messages, each acknowledged."""
    messages = {f"{turn} {number}".encode() for number in range(MESSAGES)}
    for message in messages:
        await client.jetstream().publish(SUBJECT, message)
    return messages


async def _two_on_one_port(directory: Path) -> bool:
    """Whether a second server serves at the port of the first."""
    port = free_port()
    async with stock_process(directory, "one", port) as one:
        try:
            async with stock_process(directory, "two", port) as two:
                return one.address == two.address
        except AssertionError:
            return False
