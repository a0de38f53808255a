"""Tells the other hubs of a database what this one commits, over core NATS, and hears what they do.

Nothing depends on a message: who leads looks by itself often, and so do the others after endpoints.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from crossdock.ending import end_tasks

from crossdock_hub.bus.errors import BusError
from crossdock_hub.bus.jetstream import Bus
from crossdock_hub.committer import Committed
from crossdock_hub.keeping import keep
from crossdock_hub.leading.news import News, decode, encode

SUBJECT: Final = "crossdock.v1.hub.committed"


class Newsroom:
    """One hub's. heard: called on the event loop with what another hub has committed; and whether
    or not anything was heard, every `look_seconds` as if everything had changed, every
    `page_seconds` with a page of what is looked through by pages."""

    def __init__(
        self,
        bus: Bus,
        holder: str,
        look_seconds: float,
        page_seconds: float,
        heard: Callable[[News], None],
    ) -> None:
        self._page_seconds = page_seconds
        self._bus = bus
        self._holder = holder
        self._look_seconds = look_seconds
        self._heard = heard
        self._news = News(holder)
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def committed(self, batch: Committed) -> None:
        """A batch is durable: the others are told. A listener of commits."""
        self._news.add(batch)
        if self._news.is_any:
            self._wake.set()

    def leads_changed(self) -> None:
        """Who leads which system has changed, or ought to: the others look at once."""
        self._news.leads = True
        self._wake.set()

    async def start(self) -> None:
        """Begin to tell and to hear. Raises BusError."""
        listener = await self._bus.listen(SUBJECT, self._hear)
        self._listener = listener
        self._tasks = [keep("news", self._tell), keep("look for news", self._look)]

    async def stop(self) -> None:
        """Tell and hear no more."""
        await end_tasks(self._tasks)
        if self._tasks:
            await self._listener.stop()

    async def _tell(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            news, self._news = self._news, News(self._holder)
            try:
                await self._bus.tell(SUBJECT, encode(news))
            except BusError:
                # They look by themselves; a bus that is away is told of elsewhere.
                continue

    def _hear(self, _subject: str, payload: bytes) -> None:
        news = decode(payload)
        if news is not None and news.hub != self._holder:
            self._heard(news)

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        paged_at = loop.time()
        while True:
            await asyncio.sleep(self._look_seconds)
            page = loop.time() - paged_at >= self._page_seconds
            if page:
                paged_at = loop.time()
            everything = News(events=True, scans=True, work=True, endpoints=True)
            self._heard(replace(everything, page=page))
