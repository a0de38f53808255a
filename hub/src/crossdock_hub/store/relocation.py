"""Moves a database: copies it into an empty one, compares both, and lets hubs start on that one."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import Connection, select

from crossdock_hub.store import copying, moves
from crossdock_hub.store.bus_rows import say_put_back
from crossdock_hub.store.bus_tables import bus_tie
from crossdock_hub.store.copying import Contents
from crossdock_hub.store.migrating import is_current, upgrade
from crossdock_hub.store.moves import Mark
from crossdock_hub.store.places import MoveRefused, Place
from crossdock_hub.store.schema import TABLES

Told = Callable[[str, str, int, int], None]
"""What is done, to which table, how many rows of all are done, and how many there are."""


@dataclass(slots=True)
class Moved:
    """What a move did. nulls_replaced: texts in which a null character became U+FFFD.

    finished_only: it had been copied and compared before, and only the marks were left.
    """

    source: str
    target: str
    tables: dict[str, Contents] = field(default_factory=dict)
    nulls_replaced: int = 0
    finished_only: bool = False

    @property
    def rows(self) -> int:
        """All rows of all tables."""
        return sum(each.rows for each in self.tables.values())


class Relocation:
    """One move between two claimed places. now: microseconds; told: see `Told`."""

    def __init__(self, source: Place, target: Place, now: int, told: Told) -> None:
        self._source = source
        self._target = target
        self._now = now
        self._told = told
        self._done = 0
        self._rows = 0

    async def run(self, *, replace_nulls: bool = False) -> Moved:
        """Move. Raises MoveRefused before anything is written, or where both differ afterwards."""
        moved = Moved(self._source.name, self._target.name)
        mark = await self._source.mark()
        if mark is not None and mark.state == moves.MOVED:
            await self._end(mark)
            moved.finished_only = True
            return moved
        await self._check(mark)
        move_id = str(uuid.uuid4())
        await self._prepare(move_id)
        await self._copy(moved, replace_nulls=replace_nulls)
        await self._compare(moved)
        numbers = await self._source.run(copying.counters)
        await self._target.run(lambda connection: copying.set_counters(connection, numbers))
        await self._target.run(copying.know_sizes)
        copied = Mark(moves.COPIED, move_id, self._source.name, self._now)
        await self._target.put_mark(copied)
        gone = Mark(moves.MOVED, move_id, self._target.name, self._now)
        await self._source.put_mark(gone)
        await self._end(gone)
        return moved

    async def _check(self, mark: Mark | None) -> None:
        source = self._source
        if not await source.has_tables() or not await source.run(is_current):
            raise MoveRefused(
                f"the tables of {source.name} are not those of this version; start and stop its "
                "hub once with this version, then move"
            )
        if mark is not None and mark.state != moves.ARRIVED:
            raise MoveRefused(
                f"{source.name} is not complete: a move from {mark.place} was interrupted; finish "
                "that one first"
            )
        if not await source.run(_has_tie):
            raise MoveRefused(f"no hub has ever run on {source.name}; there is nothing to move")

    async def _prepare(self, move_id: str) -> None:
        """Give the target its tables, and the mark that keeps hubs away from it."""
        source, target = self._source, self._target
        copying_now = Mark(moves.COPYING, move_id, source.name, self._now)
        if await target.has_tables():
            mark = await target.mark()
            unfinished = mark is not None and mark.state in (moves.COPYING, moves.COPIED)
            if mark is None or not unfinished or mark.place != source.name:
                raise MoveRefused(_not_empty(target, mark))
            await target.put_mark(copying_now)

        def prepare(connection: Connection) -> None:
            upgrade(connection)
            moves.write_mark(connection, copying_now)
            copying.clear(connection)

        await target.run(prepare)

    async def _copy(self, moved: Moved, *, replace_nulls: bool) -> None:
        counted = await self._source.run(copying.count_rows)
        self._done, self._rows = 0, sum(counted.values())
        for table in TABLES:
            found, replaced = await copying.copy_table(
                self._source,
                self._target,
                table,
                replace_nulls=replace_nulls,
                told=self._counter("copied", table.name),
            )
            if found.rows != counted[table.name]:
                raise MoveRefused(
                    f"{table.name} has {counted[table.name]} rows and {found.rows} were read; "
                    "nothing has moved; check the old database before another try"
                )
            moved.tables[table.name] = found
            moved.nulls_replaced += replaced

    async def _compare(self, moved: Moved) -> None:
        counted = await self._target.run(copying.count_rows)
        self._done = 0
        for table in TABLES:
            told = self._counter("compared", table.name)
            found = await copying.contents(self._target, table, told)
            wanted = moved.tables[table.name]
            if found != wanted or counted[table.name] != wanted.rows:
                raise MoveRefused(
                    f"{table.name} differs after it was copied: {wanted.rows} rows with digest "
                    f"{wanted.digest[:12]} became {counted[table.name]} with {found.digest[:12]}; "
                    "nothing has moved, the old database is as it was"
                )

    def _counter(self, what: str, table: str) -> Callable[[int], None]:
        def count(rows: int) -> None:
            self._done += rows
            self._told(what, table, self._done, self._rows)

        return count

    async def _end(self, gone: Mark) -> None:
        """Let hubs start on the target, unless they do already."""
        if gone.place != self._target.name:
            raise MoveRefused(f"{self._source.name} moved to {gone.place} at {gone.moment}")
        there = await self._target.mark() if await self._target.has_tables() else None
        mine = there is not None and there.move_id == gone.move_id
        if there is not None and mine and there.state == moves.COPYING:
            raise MoveRefused(
                f"this move of {self._source.name} was being undone; run the undo again"
            )
        if there is None or not mine or there.state != moves.COPIED:
            raise MoveRefused(f"{self._source.name} has moved there already, at {gone.moment}")
        arrived = Mark(moves.ARRIVED, gone.move_id, self._source.name, self._now)
        await self._target.put_mark(arrived)


async def take_back(source: Place, target: Place) -> None:
    """Undo a move that no hub has started behind. Raises MoveRefused when one has."""
    gone = await moved_mark(source)
    there = await target.mark() if await target.has_tables() else None
    if there is None or there.move_id != gone.move_id:
        raise MoveRefused(
            f"a hub has run on {target.name} since; move everything back instead (crossdock hub "
            "move --to sqlite), or use the old database as a back-up: --undo --as-back-up"
        )
    # First: hubs must never be let in on both.
    again = Mark(moves.COPYING, there.move_id, there.place, there.at)
    await target.put_mark(again)
    await source.put_mark(None)


async def use_as_back_up(source: Place) -> None:
    """Let hubs start on a database that moved, as on one that was put back from a back-up."""

    def take(connection: Connection) -> None:
        moves.write_mark(connection, None)
        say_put_back(connection)

    await source.run(take)


async def moved_mark(source: Place) -> Mark:
    """The mark of a database that moved. Raises MoveRefused: it did not."""
    mark = await source.mark()
    if mark is None or mark.state != moves.MOVED:
        raise MoveRefused(f"{source.name} did not move; there is nothing to undo")
    return mark


def _has_tie(connection: Connection) -> bool:
    return connection.execute(select(bus_tie)).first() is not None


def _not_empty(target: Place, mark: Mark | None) -> str:
    if mark is not None and mark.state == moves.MOVED:
        return (
            f"{target.name} holds what moved to {mark.place} at {mark.moment}; "
            "put it aside or drop it, then move"
        )
    if mark is not None and mark.state in (moves.COPYING, moves.COPIED):
        return (
            f"{target.name} holds a part of {mark.place}, whose move was interrupted; "
            "drop it and make it again, or finish that move"
        )
    return f"{target.name} is not empty; name a database without tables"
