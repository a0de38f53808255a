"""Routes again what nobody served: all of it when an endpoint changes and when a hub begins to
lead; what other hubs left unrouted when they say so, and a page of the rest now and then.

An UNROUTED delivery is replaced by the one it should have been, with the same place in the order.
All of a flow is routed by one command, oldest first: a cancel never comes before its order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from functools import partial
from itertools import islice
from typing import Any

import structlog
from crossdock.ending import end_tasks

from crossdock_hub.commands import Command
from crossdock_hub.committer import Committed, Committer, Stopped
from crossdock_hub.config import Limits
from crossdock_hub.delivery import flows
from crossdock_hub.identity import HUB
from crossdock_hub.keeping import keep
from crossdock_hub.store import Store, StoreFailure
from crossdock_hub.store.unrouted_reading import OLDEST, unrouted_page
from crossdock_hub.unit import Refused

log = structlog.get_logger("crossdock.rerouting")


class Rerouter:
    """Follows registrations; `start` looks at everything once."""

    def __init__(self, store: Store, committer: Committer, limits: Limits) -> None:
        self._store = store
        self._committer = committer
        self._limits = limits
        self._wake = asyncio.Event()
        self._revisions: dict[str, int] = {}
        # What is to be looked at: all there is, flows that other hubs told of, the next page.
        self._everything = True
        self._told: set[str] = set()
        self._next_page = False
        self._place = OLDEST
        self._looks_later = False
        self._task: asyncio.Task[None] | None = None

    def committed(self, batch: Committed) -> None:
        """A batch is durable: an endpoint may offer more than before."""
        for key, record in batch.changes.records.items():
            if key[0] == "endpoint" and self._revisions.get(record.id) != record.revision:
                self._revisions[record.id] = record.revision
                self._everything = True
                self._wake.set()

    def look_later(self, roots: Collection[str] = (), *, page: bool = False) -> None:
        """Another hub has left work of these flows unrouted, and may have known fewer endpoints
        than this one. page: it may have told of more than was heard, so the next page of all is
        looked at, too. Some time later, once for all that comes until then."""
        self._told.update(islice(roots, max(0, self._limits.unrouted_told_max - len(self._told))))
        self._next_page |= page
        if not self._looks_later:
            self._looks_later = True
            loop = asyncio.get_running_loop()
            loop.call_later(self._limits.held_sweep_seconds, self._look)

    def _look(self) -> None:
        self._looks_later = False
        self._wake.set()

    def start(self) -> None:
        """Begin, with what an earlier run left unrouted."""
        self._wake.set()
        self._task = keep("rerouting", self._run)

    async def stop(self) -> None:
        """Route no more."""
        if self._task is not None:
            await end_tasks([self._task])

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if why := await self._route_what_changed():
                log.warning("unrouted work waits and is tried again", cause=why)
                await asyncio.sleep(self._limits.held_sweep_seconds)
                self._wake.set()

    async def _route_what_changed(self) -> str:
        """What is to be looked at; why some of it was refused, if it was: it is to be, still."""
        everything, self._everything = self._everything, False
        told, self._told = self._told, set()
        page, self._next_page = self._next_page, False
        try:
            if everything:
                why = await self._route_all()
            else:
                why = await self._route(sorted(told))
                why = (await self._route_page() if page else "") or why
        except StoreFailure as failure:
            why = failure.cause
        if why:
            self._everything |= everything
            self._told |= told
        return why

    async def _route_all(self) -> str:
        """Every flow with unrouted work, oldest first; why some of it was refused, if it was."""
        why, place = "", OLDEST
        while True:
            roots, place = await self._page(place, self._limits.dispatch_slice)
            why = await self._route(roots) or why
            if place == OLDEST:
                return why

    async def _route_page(self) -> str:
        """The flows of some unrouted work, and of the next some when it is called again."""
        roots, place = await self._page(self._place, self._limits.unrouted_page)
        why = await self._route(roots)
        if not why:
            self._place = place
        return why

    async def _page(self, place: str, most: int) -> tuple[list[str], str]:
        async with self._store.read() as connection:
            return await unrouted_page(connection, place, most)

    async def _route(self, roots: Sequence[str]) -> str:
        """Why some of it was refused: a full queue or store, which will have room again."""
        answers: list[asyncio.Future[Any]] = []
        refused = ""
        for root_id in roots:
            command = Command(
                "rerouting",
                HUB,
                partial(flows.reroute, root_id=root_id),
                asyncio.get_running_loop().create_future(),
                keys=frozenset({("flow", root_id)}),
                bulk=True,
            )
            try:
                answers.append(self._committer.submit(command))
            except Refused as no_room:
                refused = no_room.refusal.reason
                break
            except Stopped:
                break
        for end in await asyncio.gather(*answers, return_exceptions=True):
            if isinstance(end, Refused):
                refused = end.refusal.reason
        return refused
