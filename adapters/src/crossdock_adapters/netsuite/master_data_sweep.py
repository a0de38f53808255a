"""How master data is pulled without missing a change: sweeps by key, an overlap, a cursor.

Pure. A sweep asks for everything changed since the start of the last finished sweep, less an
overlap (NetSuite dates a change when its save begins and shows it when it ends), and pages by
`id > last`, because offsets move. NetSuite compares in the account's wall-clock time, which repeats
an hour each autumn: `since_wall_clock` goes back far enough for that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

WALL_CLOCK = "%Y-%m-%d %H:%M:%S"
SUITEQL_FORMAT = "YYYY-MM-DD HH24:MI:SS"


@dataclass(frozen=True, slots=True)
class Sweep:
    """One pass over a table. `since` is wall-clock text, empty for everything."""

    since: str
    started: datetime
    last_id: int = 0


@dataclass(frozen=True, slots=True)
class Position:
    """Where the pull of one table stands: start of the last finished sweep, and the running one."""

    finished: datetime | None = None
    sweep: Sweep | None = None


@dataclass(frozen=True, slots=True)
class Cursor:
    """Positions by table; what the hub keeps between polls."""

    positions: Mapping[str, Position] = field(default_factory=dict)

    def position(self, table: str) -> Position:
        """Where a table stands; the beginning when it was never pulled."""
        return self.positions.get(table, Position())

    def moved(self, table: str, position: Position) -> Cursor:
        """The cursor with one table moved."""
        return Cursor({**self.positions, table: position})

    def encode(self) -> str:
        """As text, for the hub to keep."""
        return json.dumps({table: _encoded(at) for table, at in sorted(self.positions.items())})


def decode(cursor: bytes) -> Cursor:
    """A cursor from what the hub kept; empty bytes are the beginning."""
    held = json.loads(cursor) if cursor else {}
    return Cursor({str(table): _decoded(at) for table, at in held.items()})


def begin(position: Position, now: datetime, overlap_seconds: float, zone: ZoneInfo) -> Sweep:
    """The running sweep, or a new one."""
    if position.sweep is not None:
        return position.sweep
    if position.finished is None:
        return Sweep("", now)
    since = position.finished - timedelta(seconds=overlap_seconds)
    return Sweep(since_wall_clock(since, now, zone), now)


def after_page(position: Position, sweep: Sweep, last_id: int, complete: bool) -> Position:
    """The position once a page is durable in the hub."""
    if complete:
        return Position(finished=sweep.started)
    return replace(position, sweep=replace(sweep, last_id=last_id))


def since_wall_clock(since: datetime, now: datetime, zone: ZoneInfo) -> str:
    """The earliest wall-clock time any moment from `since` to `now` can show."""
    local = since.astimezone(zone)
    then, at_present = local.utcoffset(), now.astimezone(zone).utcoffset()
    wall = local.replace(tzinfo=None)
    if then is not None and at_present is not None and at_present < then:
        wall -= then - at_present
    return wall.strftime(WALL_CLOCK)


def statement(
    table: str,
    columns: Mapping[str, str],
    sweep: Sweep,
    *,
    id_column: str = "id",
    date_column: str = "lastmodifieddate",
) -> str:
    """One page's query. An empty `date_column` means the table has no date of change."""
    selected = [f"{id_column} AS id"]
    conditions = [f"{id_column} > {sweep.last_id}"]
    if date_column:
        selected.append(f"TO_CHAR({date_column}, '{SUITEQL_FORMAT}') AS modified")
        if sweep.since:
            conditions.append(f"{date_column} >= TO_DATE('{sweep.since}', '{SUITEQL_FORMAT}')")
    selected += [f"{column} AS {name}" for name, column in columns.items() if column]
    return (
        f"SELECT {', '.join(selected)} FROM {table}"
        f" WHERE {' AND '.join(conditions)} ORDER BY {id_column}"
    )


def _encoded(position: Position) -> dict[str, object]:
    encoded: dict[str, object] = {}
    if position.finished is not None:
        encoded["finished"] = position.finished.astimezone(UTC).isoformat()
    if position.sweep is not None:
        encoded["sweep"] = {
            "since": position.sweep.since,
            "started": position.sweep.started.astimezone(UTC).isoformat(),
            "last_id": position.sweep.last_id,
        }
    return encoded


def _decoded(held: Mapping[str, object]) -> Position:
    finished, sweep = held.get("finished"), held.get("sweep")
    running = None
    if isinstance(sweep, Mapping):
        started = datetime.fromisoformat(str(sweep["started"]))
        running = Sweep(str(sweep["since"]), started, int(sweep["last_id"]))
    return Position(datetime.fromisoformat(str(finished)) if finished else None, running)
