"""What of a batch others could change before it commits, and how a batch sees to it that they do
not. SQLite has one writer and needs nothing; `row_locks` is how it is done on PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.store.crossing import Query, Row, Shape, fetch
from crossdock_hub.unit import Changes, Key

# Between two tries of a batch: the longest first pause, and the longest of all.
PAUSE_SECONDS_FIRST: Final = 0.002
PAUSE_SECONDS_MAX: Final = 0.05

# Of one kind of key: its name, its query, what is wanted, and what the query asks by.
Asked = tuple[str, Query, Sequence[Any], Sequence[Any]]


class Contention(Exception):
    """Others were in the way of a batch, and nothing of it is written; it may be tried again.

    keys: what the next try has to lock from its beginning.
    """

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        super().__init__("another transaction was in the way")
        self.keys = frozenset(keys)


@dataclass(slots=True)
class Met:
    """What a batch has learned from its tries. asked: all that they read; exclusive: what of it
    was in the way, and is locked even if its kind usually is not."""

    asked: set[Key] = field(default_factory=set)
    exclusive: set[Key] = field(default_factory=set)

    def learn(self, contention: Contention) -> None:
        """Remember why a try gave way."""
        self.asked |= contention.keys
        self.exclusive |= contention.keys


def pause_seconds(tries: int, chance: Random) -> float:
    """How long to wait after so many tries: doubling, capped, less up to half of it, so that those
    who were in each other's way do not come back at the same moment."""
    longest = min(PAUSE_SECONDS_FIRST * 2.0 ** (tries - 1), PAUSE_SECONDS_MAX)
    return chance.uniform(longest / 2, longest)


class Contenders(Protocol):
    """The others that write to the database, as one batch has to deal with them."""

    async def fetch(self, asked: Sequence[Asked]) -> list[list[Row]]:
        """The rows of each query, which stay as they are. Raises Contention."""
        ...

    async def settle(self, changes: Changes) -> None:
        """Make sure, before anything is written, that what changes is what was read.

        Raises Contention.
        """
        ...

    async def add(self, changes: Changes, shapes: Mapping[str, Shape]) -> Collection[Key]:
        """Write the new rows that others may have written too, by kind of key; returns whose.

        Raises Contention when somebody has.
        """
        ...


class Nobody:
    """Nobody else writes: what was read stays, and new rows are new."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def fetch(self, asked: Sequence[Asked]) -> list[list[Row]]:
        """The rows of each query."""
        return await fetch(self._connection, [(query, by) for _, query, _, by in asked])

    async def settle(self, _changes: Changes) -> None:
        """Nothing has changed."""

    async def add(self, _changes: Changes, _shapes: Mapping[str, Shape]) -> Collection[Key]:
        """Nothing has to be written before everything else."""
        return ()
