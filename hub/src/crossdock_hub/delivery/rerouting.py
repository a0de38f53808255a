"""Routes again what nobody served: when an endpoint registers, and when a hub starts.

An UNROUTED delivery is replaced by the one it should have been, with the same place in the order.
All of a flow is routed by one command, oldest first: a cancel never comes before its order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

import structlog

from crossdock_hub.commands import Command
from crossdock_hub.committer import Committed, Committer, Stopped
from crossdock_hub.config import Limits
from crossdock_hub.delivery import flows
from crossdock_hub.identity import HUB
from crossdock_hub.keeping import keep
from crossdock_hub.store import Store, StoreFailure
from crossdock_hub.store.writing import unrouted_flows
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
        self._looks_later = False
        self._task: asyncio.Task[None] | None = None

    def committed(self, batch: Committed) -> None:
        """A batch is durable: an endpoint may offer more than before."""
        for key, record in batch.changes.records.items():
            if key[0] == "endpoint" and self._revisions.get(record.id) != record.revision:
                self._revisions[record.id] = record.revision
                self._wake.set()

    def look_later(self) -> None:
        """Another hub has left work unrouted, which may have known fewer endpoints than this one.
        Looked at some time later, for all that comes until then."""
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
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                why = await self._route_all()
            except StoreFailure as failure:
                why = failure.cause
            if why:
                log.warning("unrouted work waits and is tried again", cause=why)
                await asyncio.sleep(self._limits.held_sweep_seconds)
                self._wake.set()

    async def _route_all(self) -> str:
        """Every flow with unrouted work, oldest first; why some of it was refused, if it was."""
        why, after = "", ""
        while page := await self._page(after):
            why = await self._route(page) or why
            after = page[-1][1]
        return why

    async def _page(self, after: str) -> Sequence[tuple[str, str]]:
        async with self._store.read() as connection:
            return await unrouted_flows(connection, after, self._limits.dispatch_slice)

    async def _route(self, page: Sequence[tuple[str, str]]) -> str:
        """Why some of it was refused: a full queue or store, which will have room again."""
        answers: list[asyncio.Future[Any]] = []
        refused = ""
        for root_id, _ in page:
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
