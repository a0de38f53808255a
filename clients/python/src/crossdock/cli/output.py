"""Prints results: aligned columns for people, JSON for programs, colour only on a terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import typer
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from crossdock import contracts

MAXIMUM_CELL_CHARACTERS = 120


def message_json(message: Message) -> dict[str, Any]:
    """A message for programs, sensitive values masked.

    A script that asks for a count gets 0 and no missing name: every field is there unless it has
    presence, which are messages, times among them, and the members of a choice.
    """
    return contracts.redact(message, zeros=True)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=_plain))


def print_json_line(value: Any) -> None:
    """One JSON document on one line, for streams."""
    typer.echo(json.dumps(value, ensure_ascii=False, default=_plain))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows under their headings; the last column is never cut or padded."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths[:-1], strict=True)]
        typer.echo("  ".join([*cells, row[-1]]).rstrip())


def colours() -> bool:
    """Whether standard output is a terminal that wants colour (NO_COLOR says no)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def painted(text: str, colour: str) -> str:
    """The text in a colour of typer.style, or plain."""
    return typer.style(text, fg=colour) if colours() else text


def moment(time: Timestamp | None) -> str:
    """A stored time as UTC to the millisecond; "-" when absent."""
    if time is None or not (time.seconds or time.nanos):
        return "-"
    found = time.ToDatetime(tzinfo=UTC)
    return found.strftime("%Y-%m-%d %H:%M:%S.") + f"{found.microsecond // 1000:03d}Z"


def clock(time: Timestamp | None) -> str:
    """Only the time of day of a stored time, UTC."""
    return moment(time).partition(" ")[2] or "-"


def age(time: Timestamp | None, now: datetime | None = None) -> str:
    """How long ago, in words short enough for a column; "-" when absent."""
    if time is None or not (time.seconds or time.nanos):
        return "-"
    return duration((now or datetime.now(UTC)) - time.ToDatetime(tzinfo=UTC))


def duration(length: timedelta) -> str:
    """A length of time as "3 s", "12 min", "5 h", "3 d"."""
    seconds = max(0, int(length.total_seconds()))
    for size, unit, limit in ((1, "s", 120), (60, "min", 7200), (3600, "h", 172_800)):
        if seconds < limit:
            return f"{seconds // size} {unit}"
    return f"{seconds // 86_400} d"


def cell(text: str) -> str:
    """One line, cut where a table would burst."""
    line = " ".join(text.split())
    if len(line) <= MAXIMUM_CELL_CHARACTERS:
        return line or "-"
    return line[: MAXIMUM_CELL_CHARACTERS - 1] + "…"


def _plain(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)
