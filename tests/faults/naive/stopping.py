"""G20 as it is usually built: how long a stop with a grace and a drain take, and what they cost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
from fixtures_nats import NatsProcess, eventually, free_port

from tests.faults.naive.service import GRACE_SECONDS, SERVICE
from tests.faults.trials.trial import Piece, Result
from tests.faults.yard.processes import Process
from tests.faults.yard.site import chance_of

CALLERS = 24
DEADLINE_SECONDS = 5.0
PAUSE_SECONDS = 0.2
END_SECONDS = 90.0
# Until the end of each service: longer than its first fetch waits.
RUN_SECONDS = 7.0
STOP = f"s of server.stop({GRACE_SECONDS:g})"


class Callers:
    """Who call all the time, and one who follows. answered: ids of calls that came back."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.answered: set[str] = set()
        self.turned_away = 0

    @contextlib.asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        """They do for the length of the block, over a channel that knows of no trouble before."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(self._address, options) as channel:
            do: Any = channel.unary_unary(f"/{SERVICE}/Do")
            follow: Any = channel.unary_stream(f"/{SERVICE}/Follow")
            tasks = [asyncio.create_task(self._call(do)) for _ in range(CALLERS)]
            tasks.append(asyncio.create_task(self._read(follow)))
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _call(self, do: Any) -> None:
        while True:
            name = str(uuid.uuid4())
            try:
                await do(name.encode(), timeout=DEADLINE_SECONDS)
            except grpc.aio.AioRpcError:
                self.turned_away += 1
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            self.answered.add(name)

    async def _read(self, follow: Any) -> None:
        while True:
            try:
                async for _ in follow(b""):
                    pass
            except grpc.aio.AioRpcError:
                await asyncio.sleep(PAUSE_SECONDS)


async def naive_g20(piece: Piece) -> Result:
    """SIGTERM under load, again and again; calls that were done and not answered are counted."""
    chance = chance_of(piece.seed, "stops")
    whole: list[float] = []
    parts: dict[str, list[float]] = {"stop": [], "drain": []}
    bus_directory = piece.directory / "bus"
    bus_directory.mkdir()
    bus = NatsProcess(bus_directory).start()
    service, address = _service(piece.directory, bus)
    callers = Callers(address)
    try:
        for _ in range(piece.size.faults):
            (piece.directory / "ends.json").unlink(missing_ok=True)
            service.spawn()
            await service.serving()
            async with callers.calling():
                await asyncio.sleep(RUN_SECONDS + chance.uniform(0.0, 0.3))
                whole.append(await _ended(service))
            ends = json.loads((piece.directory / "ends.json").read_text())
            for name, seconds in parts.items():
                seconds.append(ends[name])
    finally:
        service.kill()
        bus.kill()
    done = set((piece.directory / "done").read_text().split())
    counts = {
        "SIGTERMs": len(whole),
        "usual stop: calls done": len(done),
        "usual stop: calls turned away": callers.turned_away,
        "usual stop: accepted calls that failed": len(done - callers.answered),
    }
    measured = {
        "s from SIGTERM to the end": whole,
        STOP: parts["stop"],
        "s of the drain": parts["drain"],
    }
    return Result(counts, measured=measured)


def _service(directory: Path, bus: NatsProcess) -> tuple[Process, str]:
    """The process and the address at which it serves, each time that it is started."""
    address = f"127.0.0.1:{free_port()}"
    ready, config = directory / "ready.json", directory / "service.config"
    told = {
        "nats": bus.address.url, "user": bus.address.user, "password": bus.address.password,
        "address": address, "done": str(directory / "done"), "ends": str(directory / "ends.json"),
        "ready": str(ready),
    }  # fmt: skip
    config.write_text(json.dumps(told))
    module = ("-m", "tests.faults.naive.service")
    return Process("service", directory / "service.log", ready, *module, str(config)), address


async def _ended(service: Process) -> float:
    """Seconds from SIGTERM to the end."""
    started = time.monotonic()
    service.signal(signal.SIGTERM)
    await eventually(lambda: not service.alive, "the end of the service", END_SECONDS)
    return time.monotonic() - started
