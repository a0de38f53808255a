"""A hub whose database has grown: templates played against it, and copies of them loaded."""

from __future__ import annotations

import contextlib
import pickle
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import story

from tests.load import growth_flow
from tests.load.deliveries import Site
from tests.load.growth_loading import Loader, leave_numbers_free, read_played
from tests.load.growth_template import Played, Template, keys_of

# Of one order in so many parcels each: thirteen, twenty and twenty-seven events.
PACKAGES: Final = (1, 2, 3)
NOTE: Final = "growth.pickle"
STOPPED: Final = 0


class GrownSite(Site):
    """A hub with an ERP and so many flows of the past. count: 0 of them for an empty one."""

    def __init__(self, directory: Path, count: int) -> None:
        super().__init__(directory, "sqlite")
        self.count = count
        self.path = self.hub.data / "crossdock.db"
        self.loader = Loader([], 1)
        self.events = 0
        self.loading_seconds = 0.0

    async def grow(self, goes_on: Callable[[int], bool] = lambda _done: True) -> None:
        """Play the templates and load the copies, or find them here; the hub is stopped then.
        goes_on: see `Loader.load`."""
        note = self.directory / NOTE
        if note.exists():
            self.loader, self.events, self.loading_seconds = pickle.loads(note.read_bytes())
            self.count = self.loader.count
            return
        self.hub.start()
        assert self.hub.stop() == STOPPED
        leave_numbers_free(self.path, self.count)
        played = await self._play()
        templates = [Template(each) for each in played]
        self.loader = Loader(templates, max(1, self.count))
        if self.count:
            started = time.monotonic()
            self.events = self.loader.load(self.path, goes_on)
            self.count = self.loader.count
            self.loading_seconds = time.monotonic() - started
        note.write_bytes(pickle.dumps((self.loader, self.events, self.loading_seconds)))

    async def _play(self) -> list[Played]:
        """Each template; the hub is stopped in order after the last one."""
        looks, marks = [], []
        await self.start()
        try:
            async with growth_flow.everybody(self.hub, self.lane):
                looks.append(self._keys())
                for packages in PACKAGES:
                    marks.append(await growth_flow.play(self.hub, self.lane, packages))
                    looks.append(self._keys())
            await self.stop_in_order()
        finally:
            await self.stop()
        token = story.unique("").split("-")[1]
        return [
            read_played(self.path, marks[n], looks[n], looks[n + 1], token)
            for n in range(len(PACKAGES))
        ]

    async def stop_in_order(self) -> None:
        """The adapter, and then the hub, which ends by itself."""
        await self.rest()
        if self.hub.runs:
            assert self.hub.stop() == STOPPED

    def _keys(self) -> dict[str, set[int]]:
        uri = f"file:{self.path}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            return keys_of(connection)
