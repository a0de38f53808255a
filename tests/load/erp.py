"""An ERP that takes so many calls a second, and the adapter process that asks it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from aiohttp import web
from crossdock.cli.toml_text import toml_text
from fixtures_hub import RunningHub

from tests.faults.yard.processes import Process
from tests.load.erp_adapter import NAME

WORK_SECONDS: Final = 0.05


class Erp:
    """Books what it is asked for and notes when; it may take only so many calls in a second."""

    def __init__(self) -> None:
        self.url = ""
        self.per_second_max: int | None = None
        self.came: list[float] = []
        # By the number of the order, the last call about it; seconds of the monotonic clock.
        self.came_about: dict[str, float] = {}
        self.throttled = 0
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_get("/open", self._open)
        application.router.add_post("/documents", self._document)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Listen no more: whoever calls is refused the connection."""
        assert self._runner is not None
        await self._runner.cleanup()

    async def _open(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _document(self, request: web.Request) -> web.Response:
        now = time.monotonic()
        self.came.append(now)
        self.came_about[(await request.json())["order"]] = now
        most = self.per_second_max
        if most is not None and len(self.came) > most and now - self.came[-1 - most] < 1.0:
            self.throttled += 1
            return web.Response(status=429)
        await asyncio.sleep(WORK_SECONDS)
        return web.json_response({"number": f"D-{len(self.came)}"})

    def most_in_a_second(self) -> int:
        """The most calls that came within any one second."""
        most = first = 0
        for last, at in enumerate(self.came):
            while self.came[first] <= at - 1.0:
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
