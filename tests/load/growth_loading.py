"""Makes a stopped hub's SQLite database large: copies of played flows, by SQLite itself.

Each row of a template becomes one INSERT … SELECT over the table of what each copy has, some
thousand copies at a time, so that the rows of a flow lie as far apart as the rows of many flows
that go on at once do. What a copy keeps of its template: the partition, and the digests of
requests.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from tests.load.growth_flow import PHASE_HOURS
from tests.load.growth_template import (
    FLOW_TABLES,
    Copies,
    Played,
    Row,
    Shifted,
    Slot,
    Template,
    ids_in,
)

BATCH: Final = 5_000
# Copies are from so long ago: out of the bus's memory (72 hours), within every event's retention.
NEWEST_DAYS_AGO: Final = 8.0
OLDEST_DAYS_AGO: Final = 38.0
DAY_SECONDS: Final = 86_400.0
CACHE_KIB: Final = 4 * 1024 * 1024
STATEMENTS_KEPT: Final = 1_000
# Numbers of events that are left free below those of the templates.
EVENTS_A_COPY_MAX: Final = 40


@contextlib.contextmanager
def unsafe(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that waits for no disk, to a database that nobody else has open."""
    connection = sqlite3.connect(path, isolation_level=None, cached_statements=STATEMENTS_KEPT)
    try:
        for pragma in (
            "journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE",
            f"cache_size=-{CACHE_KIB}", "temp_store=MEMORY",
        ):  # fmt: skip
            connection.execute(f"PRAGMA {pragma}").fetchall()
        yield connection
    finally:
        connection.close()
    written = os.open(path, os.O_RDWR)
    os.fsync(written)
    os.close(written)


def leave_numbers_free(path: Path, copies: int) -> None:
    """Have a stopped hub number its next event above those that so many copies will have."""
    with unsafe(path) as connection:
        connection.execute("DELETE FROM sqlite_sequence WHERE name = 'events'")
        above = copies * EVENTS_A_COPY_MAX
        connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('events', ?)", (above,))


def read_played(
    path: Path, marks: Sequence[int], before: dict[str, set[int]], after: dict[str, set[int]],
    token: str,
) -> Played:  # fmt: skip
    """What was played between two looks at which rows there are, as it is stored now."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    rows: dict[str, list[dict[str, Any]]] = {}
    foreign: set[bytes] = set()
    for name in FLOW_TABLES:
        for row in connection.execute(f"SELECT rowid AS place, * FROM {name} ORDER BY rowid"):
            found = dict(row)
            place = found.pop("place")
            if place in before[name]:
                foreign |= ids_in(found.values())
            elif place in after[name]:
                rows.setdefault(name, []).append(found)
    connection.close()
    return Played(marks, rows, frozenset(foreign), token)


class Loader:
    """Copies of templates in turn, numbered from 0."""

    def __init__(self, templates: Sequence[Template], count: int) -> None:
        now = time.time()
        self.count = count
        self._first = now - OLDEST_DAYS_AGO * DAY_SECONDS
        self._apart = (OLDEST_DAYS_AGO - NEWEST_DAYS_AGO) * DAY_SECONDS / count
        self.templates = templates
        self.copies = [Copies(each, self._first, self._apart, PHASE_HOURS) for each in templates]

    def template_of(self, number: int) -> int:
        """Which template a copy is of."""
        return number % len(self.templates)

    def values_of(self, number: int) -> dict[str, Any]:
        """What a copy has, by the names of the template's slots."""
        return self.copies[self.template_of(number)].of(number)

    def load(self, path: Path, goes_on: Callable[[int], bool] = lambda _done: True) -> int:
        """Make the copies; how many events they have. goes_on: asked with how many there are so
        far; what it does not want is not made, and `count` says so."""
        with unsafe(path) as connection:
            sequence = 1
            for start in range(0, self.count, BATCH):
                numbers = range(start, min(self.count, start + BATCH))
                connection.execute("BEGIN")
                for index in range(len(self.templates)):
                    mine = [n for n in numbers if self.template_of(n) == index]
                    sequence += self._copy(connection, index, mine, sequence)
                connection.execute("COMMIT")
                if not goes_on(numbers[-1] + 1):
                    self.count = numbers[-1] + 1
                    break
        return sequence - 1

    def _copy(
        self, connection: sqlite3.Connection, index: int, numbers: Sequence[int], sequence: int
    ) -> int:
        """How many events were added."""
        if not numbers:
            return 0
        table = f"copies_{index}"
        values = [self.copies[index].of(number) for number in numbers]
        names = list(values[0])
        connection.execute(f"DROP TABLE IF EXISTS temp.{table}")
        connection.execute(f"CREATE TEMP TABLE {table} (place INTEGER PRIMARY KEY, "
                           f"{', '.join(names)})")  # fmt: skip
        marks = ", ".join("?" * (len(names) + 1))
        connection.executemany(
            f"INSERT INTO temp.{table} VALUES ({marks})",
            ((place, *each.values()) for place, each in enumerate(values)),
        )
        events = 0
        for row in self.templates[index].rows:
            statement, bound = _statement(row, table, sequence + events * len(numbers))
            connection.execute(statement, bound)
            events += row.table == "events"
        return events * len(numbers)


def _statement(row: Row, copies: str, sequence: int) -> tuple[str, list[Any]]:
    """The INSERT of a template's row, once for each copy. sequence: of an event's first one."""
    wanted, bound = [], []
    for column, cell in row.cells.items():
        if (row.table, column) == ("events", "sequence"):
            wanted.append("? + place")
            bound.append(sequence)
        elif isinstance(cell, Shifted):
            wanted.append(f"? + {cell.name}")
            bound.append(cell.value)
        elif isinstance(cell, list):
            text = column in row.text
            parts = [part.name if isinstance(part, Slot) else "?" for part in cell]
            bound += [
                part.decode() if text else part for part in cell if not isinstance(part, Slot)
            ]
            wanted.append(" || ".join(parts) if text else f"CAST({' || '.join(parts)} AS BLOB)")
        else:
            wanted.append("?")
            bound.append(cell)
    return (
        f"INSERT INTO main.{row.table} ({', '.join(row.cells)}) "
        f"SELECT {', '.join(wanted)} FROM temp.{copies} ORDER BY place",
        bound,
    )
