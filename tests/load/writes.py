"""Durable unary writes by 64 callers, to a grpc.aio echo behind the same interceptors."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import grpc
from fixtures_hub import RunningHub, deployment
from story import seed_master_data

from tests.load.callers import Callers
from tests.load.measured import Figure, Options
from tests.load.processes import serving, told_by

CALLERS: Final = 64
TARGET: Final = 0.6


async def measure(directory: Path, options: Options) -> list[Figure]:
    """The hub, the echo behind its interceptors and a bare one, in turns."""
    hub = RunningHub(directory / "hub", deployment(0)).start()
    try:
        await seed_master_data(hub)
        answer = directory / "answer"
        answer.write_bytes(await _one_answer(hub))
        token = directory / "hub" / "tokens" / "oms"
        return await asyncio.to_thread(_in_turns, hub.address, token, answer, options)
    finally:
        hub.kill()


async def _one_answer(hub: RunningHub) -> bytes:
    async with grpc.aio.insecure_channel(hub.address) as channel:
        return await Callers(channel, hub.token("oms")).one()


def _in_turns(hub: str, token: Path, answer: Path, options: Options) -> list[Figure]:
    rates: dict[str, list[float]] = {"hub": [], "traced": [], "bare": []}
    with (
        serving("floors_echo", "traced", str(answer)) as traced,
        serving("floors_echo", "bare", str(answer)) as bare,
    ):
        where = {"hub": hub, "traced": traced, "bare": bare}
        for _ in range(options.repetitions):
            for name, address in where.items():
                arguments = (address, str(token), str(CALLERS), str(options.seconds))
                rates[name].append(told_by("callers", *arguments)["per_second"])
    name = f"durable unary writes, {CALLERS} callers"
    written, echoed, bare_echoed = rates["hub"], rates["traced"], rates["bare"]
    return [
        Figure("writes", name, "calls/s", written, "echo, same interceptors", echoed, TARGET),
        Figure("writes", "  beside it", "calls/s", written, "bare echo", bare_echoed),
    ]
