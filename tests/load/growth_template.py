"""The rows of one flow, and what of them differs from copy to copy.

A value is taken apart into what stays and what a copy has instead: ids (UUIDv7 with the copy's
time, random ones made others), numbers with the copy's number in them, times, and whatever the hub
derives from these (ids and references of deliveries, keys of scans), by the hub's own functions.
Every part keeps its length, so that messages stay the messages they are.
"""

from __future__ import annotations

import bisect
import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from crossdock import bus
from crossdock.tracking.v1 import tracking_pb2
from crossdock_hub.verbs.tracking import dedupe_key

# Every table that a flow has rows of.
FLOW_TABLES: Final = (
    "objects", "events", "deliveries", "attempts", "delivery_contents", "requests",
    "external_references", "parcels", "scans", "package_numbers", "operator_words", "dead_letters",
)  # fmt: skip
SECOND: Final = 1_000_000
# What whole numbers are from this on are microseconds since 1970: September 2001.
TIME_MIN: Final = 10**15
# Ids of a phase begin with its block of 65.536 s; what is behind that stays within the block.
BLOCK_BITS: Final = 16
_UUID: Final = rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_RANDOM: Final = rb"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])"
# Seconds of a protobuf Timestamp of the years 2021 to 2029: field 1, a varint of five bytes.
_SECONDS: Final = rb"(?<=\x08)[\x80-\xff]{4}\x06"
_SPREAD: Final = 2_654_435_761


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in a value where each copy has its own. name: of the column of `Copies`."""

    name: str


@dataclass(frozen=True, slots=True)
class Shifted:
    """A stored time. name: how far a copy's lies from it."""

    value: int
    name: str


Part = bytes | Slot
# What a copy has in a column: as it is, a shifted time, or parts.
Cell = Any


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the template. text: columns whose parts make text, not bytes."""

    table: str
    cells: dict[str, Cell]
    text: frozenset[str]


@dataclass(frozen=True, slots=True)
class Played:
    """A flow as it was played. marks: when each phase began, and the end, microseconds UTC.

    rows: of each table. foreign: ids that were there before. token: what all its numbers have.
    """

    marks: Sequence[int]
    rows: Mapping[str, Sequence[Mapping[str, Any]]]
    foreign: frozenset[bytes]
    token: str


def ids_in(values: Iterable[Any]) -> set[bytes]:
    """Every UUID in texts and messages."""
    found: set[bytes] = set()
    for value in values:
        if isinstance(value, str | bytes):
            found.update(re.findall(_UUID, _bytes(value)))
    return found


def keys_of(connection: sqlite3.Connection) -> dict[str, set[int]]:
    """Which rows the tables of flows have."""
    return {
        name: {row[0] for row in connection.execute(f"SELECT rowid FROM {name}")}
        for name in FLOW_TABLES
    }


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


class Template:
    """A played flow, taken apart."""

    def __init__(self, played: Played) -> None:
        self._played = played
        self.seconds: list[tuple[int, int]] = []
        """(second, phase) of each time that messages have; a copy's is column "s" and its index."""
        self.deliveries = list(played.rows["deliveries"])
        self.scans = list(played.rows["scans"])
        self._delivery_ids = {row["id"].encode(): n for n, row in enumerate(self.deliveries)}
        self._references = {
            row["vendor_reference"].encode(): n for n, row in enumerate(self.deliveries)
        }
        for row in self.deliveries:
            who = row["endpoint"] or f"role:{row['role']}"
            derived = bus.delivery_id(row["event_id"], who, row["operation"], row["item"])
            assert derived == row["id"], f"delivery {row['id']} was made by hand"
        self._pattern = self._compiled()
        self.rows = [
            self._row(name, row) for name in FLOW_TABLES for row in played.rows.get(name, ())
        ]
        self.events = sum(row.table == "events" for row in self.rows)

    @property
    def order_number(self) -> str:
        """What the OMS calls it."""
        orders = [row for row in self._played.rows["objects"] if row["kind"] == "order"]
        return str(orders[0]["number"])

    def _compiled(self) -> re.Pattern[bytes]:
        known = b"|".join(map(re.escape, self._references)) or rb"(?!)"
        token = rb"(?<=-)" + re.escape(self._played.token.encode()) + rb"(?=-)"
        named = {
            b"id": _UUID, b"random": _RANDOM, b"reference": known, b"token": token,
            b"seconds": _SECONDS,
        }  # fmt: skip
        either = b"|".join(b"(?P<" + name + b">" + one + b")" for name, one in named.items())
        return re.compile(either, re.DOTALL)

    def phase_of(self, microseconds: int) -> int:
        """The phase that a time is of."""
        return max(0, bisect.bisect_right(self._played.marks[:-1], microseconds) - 1)

    def phase_start(self, phase: int) -> int:
        """When a phase of the template began, in seconds."""
        return self._played.marks[phase] // SECOND

    def parts_of(self, value: str | bytes) -> list[Part]:
        """A text or message, taken apart."""
        parts: list[Part] = []
        data, done = _bytes(value), 0
        for found in self._pattern.finditer(data):
            kind = found.lastgroup or ""
            instead = getattr(self, f"_instead_of_{kind}")(found.group())
            if instead is None or (kind == "seconds" and isinstance(value, str)):
                continue
            parts += [data[done : found.start()], *instead]
            done = found.end()
        parts.append(data[done:])
        return [part for part in parts if part != b""]

    def _instead_of_id(self, found: bytes) -> list[Part] | None:
        if found in self._played.foreign:
            return None
        if found in self._delivery_ids:
            return [Slot(f"d{self._delivery_ids[found]}")]
        if found[14:15] != b"7":
            return [Slot("random"), found[8:]]
        milliseconds = int(found.replace(b"-", b""), 16) >> 80
        phase = self.phase_of(milliseconds * 1000)
        into = milliseconds - self.phase_start(phase) * 1000
        assert 0 <= into < 1 << BLOCK_BITS, f"a phase of the template took {into} ms"
        return [Slot(f"head{phase}"), b"-%04x" % into + found[13:28], Slot("tail")]

    def _instead_of_random(self, found: bytes) -> list[Part]:
        return [Slot("random"), found[8:]]

    def _instead_of_reference(self, found: bytes) -> list[Part]:
        return [Slot(f"v{self._references[found]}")]

    def _instead_of_token(self, _found: bytes) -> list[Part]:
        return [Slot("token")]

    def _instead_of_seconds(self, found: bytes) -> list[Part] | None:
        second = sum((byte & 0x7F) << (7 * place) for place, byte in enumerate(found))
        first, last = self._played.marks[0] // SECOND, self._played.marks[-1] // SECOND
        if not first <= second <= last:
            return None
        known = (second, self.phase_of(second * SECOND))
        if known not in self.seconds:
            self.seconds.append(known)
        return [Slot(f"s{self.seconds.index(known)}")]

    def _row(self, table: str, row: Mapping[str, Any]) -> Row:
        cells: dict[str, Cell] = {}
        for column, value in row.items():
            if (table, column) == ("scans", "dedupe_key"):
                index = next(n for n, scan in enumerate(self.scans) if scan["id"] == row["id"])
                assert dedupe_key(self.scan(index)) == value
                cells[column] = [Slot(f"q{index}")]
            elif isinstance(value, int) and value >= TIME_MIN:
                cells[column] = Shifted(value, f"shift{self.phase_of(value)}")
            elif isinstance(value, str | bytes):
                parts = self.parts_of(value)
                cells[column] = value if all(isinstance(p, bytes) for p in parts) else parts
            else:
                cells[column] = value
        return Row(table, cells, frozenset(c for c, v in row.items() if isinstance(v, str)))

    def scan(self, index: int) -> Any:
        """A scan of the template as a message."""
        return tracking_pb2.TrackingEvent.FromString(self.scans[index]["body"])


class Copies:
    """What each copy of a template has instead of what the template has.

    first: when the first one was ordered, seconds; apart: seconds between one and the next.
    phases: hours after its order that each phase begins.
    """

    def __init__(
        self, template: Template, first: float, apart: float, phases: Sequence[float]
    ) -> None:
        self._template = template
        self._first, self._apart, self._phases = first, apart, phases
        self._event_ids = [template.parts_of(row["event_id"]) for row in template.deliveries]
        self._items = [template.parts_of(row["item"]) for row in template.deliveries]
        self._scans = [
            (template.scan(n), template.parts_of(row["tracking_number"]),
             template.phase_of(row["event_time"]))
            for n, row in enumerate(template.scans)
        ]  # fmt: skip

    def of(self, number: int) -> dict[str, Any]:
        """All values of one copy, by their names."""
        values: dict[str, Any] = {
            "tail": f"{number:08x}",
            "token": f"{number:06X}",
            "random": f"{number * _SPREAD & 0xFFFF_FFFF:08x}",
        }
        later = []
        for phase, hours in enumerate(self._phases):
            ordered = self._first + number * self._apart + hours * 3600
            block = int(ordered * 1000) >> BLOCK_BITS
            later.append((block << BLOCK_BITS) // 1000 - self._template.phase_start(phase))
            values[f"head{phase}"] = f"{block:08x}"
            values[f"shift{phase}"] = later[phase] * SECOND
        for index, (second, phase) in enumerate(self._template.seconds):
            values[f"s{index}"] = _varint(second + later[phase])
        self._derive(values, later)
        return values

    def _derive(self, values: dict[str, Any], later: Sequence[int]) -> None:
        for index, row in enumerate(self._template.deliveries):
            event = joined(self._event_ids[index], values).decode()
            item = joined(self._items[index], values).decode()
            who = row["endpoint"] or f"role:{row['role']}"
            values[f"d{index}"] = bus.delivery_id(event, who, row["operation"], item)
            values[f"v{index}"] = bus.vendor_reference(values[f"d{index}"])
        for index, (scan, number, phase) in enumerate(self._scans):
            own = tracking_pb2.TrackingEvent()
            own.CopyFrom(scan)
            own.tracking_number = joined(number, values).decode()
            own.event_time.instant.seconds += later[phase]
            values[f"q{index}"] = dedupe_key(own)


def joined(parts: Iterable[Part], values: Mapping[str, Any]) -> bytes:
    """A copy's value."""
    return b"".join(_bytes(values[p.name]) if isinstance(p, Slot) else p for p in parts)


def _varint(second: int) -> bytes:
    """Five bytes, as long as seconds are those of this decade."""
    low = bytes(second >> 7 * place & 0x7F | 0x80 for place in range(4))
    return low + bytes((second >> 28,))
