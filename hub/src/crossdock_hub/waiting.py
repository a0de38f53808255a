"""Callers that wait for something to be committed: woken by key, for free when nobody waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator

from crossdock_hub.committer import Committed


class Watch:
    """One caller's eye on a key. What happens between two waits is not missed."""

    def __init__(self) -> None:
        self._seen = asyncio.Event()

    def notice(self) -> None:
        """Something happened to the key."""
        self._seen.set()

    async def wait(self, timeout_seconds: float) -> bool:
        """True as soon as something happened since the last wait, False after the timeout."""
        try:
            async with asyncio.timeout(max(0.0, timeout_seconds)):
                await self._seen.wait()
        except TimeoutError:
            return False
        self._seen.clear()
        return True


class Waiters:
    """Who waits for which key. On the event loop only; keys are ids, for example of packages."""

    def __init__(self) -> None:
        self._watches: dict[str, set[Watch]] = defaultdict(set)
        self.closed = False

    def __len__(self) -> int:
        """Keys that somebody waits for."""
        return len(self._watches)

    def close(self) -> None:
        """Wake everybody for good, so that they answer what they know: the hub stops."""
        self.closed = True
        self.notify(list(self._watches))

    def notify(self, keys: Iterable[str]) -> None:
        """Wake whoever waits for any of the keys."""
        if not self._watches:
            return
        for key in keys:
            for watch in self._watches.get(key, ()):
                watch.notice()

    def committed(self, batch: Committed) -> None:
        """A batch is durable: wake those who wait for its labels or for deliveries of its items."""
        if self._watches:
            self.notify(packages_of(batch))

    def heard(self, packages: Iterable[str], *, more: bool) -> None:
        """Another hub of the database has committed something about packages. more: about others
        too, which are not named: everybody looks."""
        self.notify(list(self._watches) if more else packages)

    @contextlib.contextmanager
    def watching(self, key: str) -> Iterator[Watch]:
        """Watch a key: enter, look whether it is there already, only then wait."""
        watch = Watch()
        self._watches[key].add(watch)
        try:
            yield watch
        finally:
            self._watches[key].discard(watch)
            if not self._watches[key]:
                del self._watches[key]

    async def wait(self, key: str, timeout_seconds: float) -> bool:
        """True as soon as the key is notified, False after the timeout."""
        with self.watching(key) as watch:
            return await watch.wait(timeout_seconds)


def packages_of(batch: Committed) -> Iterator[str]:
    """Packages of which a batch has changed a label, or what is to be done about them."""
    for key, record in batch.changes.records.items():
        if record is None:
            continue
        if key[0] == "object" and key[1] == "label":
            yield record.message.package_id
        elif key[0] == "delivery" and record.item:
            yield record.item
