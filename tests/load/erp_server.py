"""An ERP in a process of its own: `python -m tests.load.erp_server`; it prints its address.

What else the bench does pauses nothing here, and what pauses this process itself is known: its loop
looks at its sockets every few milliseconds and notes when. Of each call it says when it came and
since when it may have lain there, so that calls that came together can be told from such that were
only looked at together. It turns away what is too much even if each call came at the time that is
best for the caller.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections import deque
from itertools import pairwise
from typing import Final

from aiohttp import web

WORK_SECONDS: Final = 0.05
# How often the loop looks at its sockets when nothing comes.
LOOK_SECONDS: Final = 0.005
# How many looks are kept, and what between two of them is a pause.
LOOKS: Final = 8
PAUSE_SECONDS: Final = 0.02


class NotedSelector(selectors.DefaultSelector):
    """The selector of the loop, which notes when it came back with what there was, by the monotonic
    clock, which is one for all processes."""

    def __init__(self) -> None:
        super().__init__()
        self._looks: deque[float] = deque([time.monotonic()] * LOOKS, maxlen=LOOKS)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(timeout)
        self._looks.append(time.monotonic())
        return ready

    def came_since(self) -> float:
        """When the request that a handler begins with may have come. It begins one turn after that
        in which the request was read, which had not come at the look before; and a new connection
        takes some turns more, before which the process may have paused."""
        since = self._looks[-3]
        for before, after in pairwise(self._looks):
            if after - before > PAUSE_SECONDS:
                return min(since, before)
        return since


class ErpServer:
    """Books what it is asked for, and notes when; it may take only so many calls in a second."""

    def __init__(self, selector: NotedSelector) -> None:
        self._selector = selector
        self._per_second_max: int | None = None
        # Order, since when it may have lain there, when it came, and whether it was turned away.
        self._calls: list[tuple[str, float, float, bool]] = []

    async def serve(self) -> None:
        """Until the process is ended."""
        application = web.Application()
        application.router.add_get("/open", self._open)
        application.router.add_post("/documents", self._document)
        application.router.add_post("/limit", self._limit)
        application.router.add_get("/calls", self._told)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        print(f"http://{host}:{port}", flush=True)
        self._look_again()
        await asyncio.Event().wait()

    def _look_again(self) -> None:
        """Have the loop come back to its selector soon, whatever comes."""
        asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look_again)

    async def _open(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _limit(self, request: web.Request) -> web.Response:
        """From now on so many calls in a second, or any number; what came before is forgotten."""
        self._per_second_max = (await request.json())["per_second"]
        self._calls.clear()
        return web.Response()

    async def _told(self, request: web.Request) -> web.Response:
        return web.json_response(self._calls[int(request.query["after"]) :])

    async def _document(self, request: web.Request) -> web.Response:
        since, now = self._selector.came_since(), time.monotonic()
        order = (await request.json())["order"]
        most, number = self._per_second_max, len(self._calls)
        refused = most is not None and number >= most and now - self._calls[number - most][1] < 1.0
        self._calls.append((order, since, now, refused))
        if refused:
            return web.Response(status=429)
        await asyncio.sleep(WORK_SECONDS)
        return web.json_response({"number": f"D-{number + 1}"})


if __name__ == "__main__":
    noted = NotedSelector()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(noted)) as loop_runner:
        loop_runner.run(ErpServer(noted).serve())
