"""An ERP that takes so many calls a second, and the adapter process that asks it."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import aiohttp
from crossdock.cli.toml_text import toml_text
from fixtures_hub import RunningHub

from tests.faults.yard.processes import Process
from tests.load.erp_adapter import NAME
from tests.load.processes import STOP_SECONDS, spawn


class Call(NamedTuple):
    """A call as the ERP had it; seconds of the monotonic clock.

    order: the number of which, where it was about one. since: it may have lain there since then,
    when the ERP had not looked for it yet. at: it was looked at. refused: it was one too many.
    """

    order: str
    since: float
    at: float
    refused: bool


class Erp:
    """Books what it is asked for and notes when, in a process of its own (`erp_server`)."""

    def __init__(self) -> None:
        self.url = ""
        self.calls: list[Call] = []
        # By the number of the order, when the last call about it came.
        self.came_about: dict[str, float] = {}
        self._process: subprocess.Popen[str] | None = None
        self._control: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        process = self._process = spawn("erp_server")
        assert process.stdout is not None
        self.url = (await asyncio.to_thread(process.stdout.readline)).strip()
        assert self.url, "the ERP ended before it served"
        self._control = aiohttp.ClientSession(self.url, raise_for_status=True)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """End it: whoever calls is refused the connection."""
        if self._control is not None:
            await self._control.close()
            self._control = None
        if self._process is not None:
            self._process.terminate()
            await asyncio.to_thread(self._process.communicate, timeout=STOP_SECONDS)
            self._process = None

    async def limit(self, per_second_max: int) -> None:
        """Let it take no more than so many in any second; what came before is forgotten."""
        assert self._control is not None
        async with self._control.post("/limit", json={"per_second": per_second_max}):
            pass
        self.calls.clear()
        self.came_about.clear()

    async def look(self) -> None:
        """Read what came since the last look."""
        assert self._control is not None
        after = {"after": str(len(self.calls))}
        async with self._control.get("/calls", params=after) as answer:
            fresh = [Call(*each) for each in await answer.json()]
        self.calls += fresh
        self.came_about.update((each.order, each.at) for each in fresh)


def most_in_a_second(calls: Sequence[Call], begins: Callable[[Call], float]) -> int:
    """The most calls within any one second. begins: from when to count each; `since` has those that
    certainly were within one, `at` those that the ERP looked at within one."""
    most = first = 0
    for last, call in enumerate(calls):
        while first < last and begins(calls[first]) <= call.at - 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most


def adapter_process(
    directory: Path, hub: RunningHub, endpoint: str, erp: Erp, rate: int, **environment: str
) -> Process:
    """The adapter of an endpoint, ready to be started. rate: calls a second; 0: no limit."""
    name = f"{endpoint}-{rate}"
    ready, config = directory / f"{name}.json", directory / f"{name}.toml"
    tables = {
        "process": {"ready_file": str(ready)},
        "hub": {"address": hub.address},
        "bus": {"url": hub.nats_url},
        f"endpoints.{endpoint}": {
            "adapter": NAME,
            # Each ERP of the bench is one of its own, and so has a budget of its own.
            "system": endpoint,
            "token_file": str(hub.directory / "tokens" / endpoint),
            "credentials_file": str(hub.data / "bus-credentials" / f"{endpoint}.json"),
            "settings": {"base_url": erp.url},
        },
    }
    config.write_text(toml_text(tables, "Made for the bench."))
    return Process(
        name, directory / f"{name}.log", ready,
        "-m", "tests.load.erp_adapter", str(config), ERP_PER_SECOND=str(rate), **environment,
    )  # fmt: skip
