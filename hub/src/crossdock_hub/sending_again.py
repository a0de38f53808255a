"""Lets deliveries go again that were parked for a word without a code, once a row says what to
send; in the order in which they came."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from functools import partial

import structlog
from crossdock.ending import end_tasks

from crossdock_hub.commands import Command
from crossdock_hub.committer import Committed, Committer, Stopped
from crossdock_hub.config import Limits
from crossdock_hub.identity import HUB
from crossdock_hub.keeping import keep
from crossdock_hub.objects.unsent_words import SENDABLE, prefix_of
from crossdock_hub.store import Store, StoreFailure
from crossdock_hub.store.mapping_pages import parked, words_waited_for
from crossdock_hub.unit import Key, NotLoaded, Refused, Unit
from crossdock_hub.verbs.deliveries import send_again

log = structlog.get_logger("crossdock.words")

REASON = "the word that it was parked for has a code now"


def send_all(unit: Unit, ids: Sequence[str], reason: str) -> Counter[str]:
    """What became of each of these deliveries, counted, by the words of `send_again`."""
    unit.require(("delivery", each) for each in ids)
    outcomes: Counter[str] = Counter()
    missing: set[Key] = set()
    for each in ids:
        try:
            outcomes[send_again(unit, each, reason)] += 1
        except NotLoaded as needed:
            # Read for all at once: one by one, many would need more rounds than a batch has.
            missing |= needed.keys
    if missing:
        raise NotLoaded(missing)
    return outcomes


class WordDriver:
    """Follows commits for words that deliveries are parked for."""

    def __init__(self, store: Store, committer: Committer, limits: Limits) -> None:
        self._store = store
        self._committer = committer
        self._limits = limits
        self._sendable: asyncio.Queue[str] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    def committed(self, batch: Committed) -> None:
        """A batch is durable: note the words that it gave a code. Whoever leads commits them all:
        rows are set there (`door.forwarding`), and a new leader begins with a sweep."""
        told = (each for each in batch.changes.satisfied if each.startswith(SENDABLE))
        for place in dict.fromkeys(each.removeprefix(SENDABLE) for each in told):
            self._sendable.put_nowait(place)

    def start(self) -> None:
        """Begin, with what was parked when an earlier run ended."""
        self._task = keep("parked words", self._run)

    async def stop(self) -> None:
        """Drive no more."""
        if self._task is not None:
            await end_tasks([self._task])

    async def _run(self) -> None:
        await self._sweep()
        while True:
            await self._drive(await self._sendable.get())

    async def _sweep(self) -> None:
        """At start: a row may have come just before the hub went."""
        while True:
            try:
                async with self._store.read() as connection:
                    places = await words_waited_for(connection)
                break
            except StoreFailure as failure:
                log.warning("parked deliveries wait, the store is away", cause=failure.cause)
                await asyncio.sleep(self._limits.held_sweep_seconds)
        for place in sorted(places):
            await self._drive(place)

    async def _drive(self, place: str) -> None:
        """Everything that is parked for a word, page by page: what a page sends is parked no more,
        and what stays is passed."""
        most, after = self._limits.held_drive_max, ("", "")
        try:
            while True:
                async with self._store.read() as connection:
                    found = await parked(connection, prefix_of(place), after, most)
                if not found:
                    return
                await self._send([each for _, each in found])
                after = found[-1]
        except Stopped:
            log.warning("parked deliveries were not sent again, the hub stops", word=place)
        except (Refused, StoreFailure) as error:
            log.warning(
                "parked deliveries could not be sent again yet", word=place, cause=str(error)
            )
            loop = asyncio.get_running_loop()
            loop.call_later(self._limits.held_sweep_seconds, self._sendable.put_nowait, place)

    async def _send(self, ids: Sequence[str]) -> None:
        command = Command(
            "parked words",
            HUB,
            partial(send_all, ids=ids, reason=REASON),
            asyncio.get_running_loop().create_future(),
            keys=frozenset(("delivery", each) for each in ids),
            bulk=True,
            weight=len(ids),
        )
        await self._committer.submit(command)
