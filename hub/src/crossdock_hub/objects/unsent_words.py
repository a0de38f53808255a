"""Words that were to be sent and have no code: what deliveries are parked for. Pure.

A word of the contract is sent as the preferred code that means it, in one of the tables that its
adapter looks in: "word:KIND/TOPIC/CANONICAL/TYPE|TYPE". A row in any of them will do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, unquote

from crossdock_hub.records import MappingRecord

AWAITS = "word"
# What unit.changes.satisfied says of a word that got a code to be sent.
SENDABLE = "sendable:"


@dataclass(frozen=True, slots=True)
class UnsentWord:
    """What a parked delivery waits for. types: the vendor's tables in which a code will do."""

    endpoint_kind: str
    topic: str
    canonical: str
    types: tuple[str, ...]

    @property
    def place(self) -> str:
        """The word whatever the table, as text that no other has."""
        return _place(self.endpoint_kind, self.topic, self.canonical)

    @property
    def awaits(self) -> str:
        """The text that a delivery is parked with."""
        tables = "|".join(quote(type_, safe="") for type_ in self.types)
        return f"{AWAITS}:{self.place}/{tables}"

    def sent_by(self, rows: Iterable[MappingRecord]) -> bool:
        """Whether one of these rows says what to send. rows: those that mean the word."""
        return any(row.preferred and row.native_type in self.types for row in rows)

    def revision(self, rows: Iterable[MappingRecord]) -> int:
        """By which rows it is or is not sent, as UnsentWord.rows_revision has it."""
        return sum(row.revision for row in rows if row.native_type in self.types)


def _place(endpoint_kind: str, topic: str, canonical: str) -> str:
    return "/".join(quote(part, safe="") for part in (endpoint_kind, topic, canonical))


def prefix(endpoint_kind: str = "", topic: str = "") -> str:
    """What the texts of all words begin with, of a kind and a topic where these are given."""
    text = f"{AWAITS}:"
    if endpoint_kind:
        text += f"{quote(endpoint_kind, safe='')}/"
        text += f"{topic}/" if topic else ""
    return text


def prefix_of(place: str) -> str:
    """What the texts of a word begin with, whatever the tables."""
    return f"{AWAITS}:{place}/"


def unsent_of(awaits: str) -> UnsentWord | None:
    """The way back from `awaits`; None for what is no such text."""
    kind, _, value = awaits.partition(":")
    if kind != AWAITS:
        return None
    endpoint_kind, topic, canonical, tables = value.split("/", 3)
    types = tuple(unquote(type_) for type_ in tables.split("|"))
    return UnsentWord(unquote(endpoint_kind), topic, canonical, types)


def sendable(record: MappingRecord) -> str:
    """What a row satisfies that says what to send; "" when it does not."""
    if not (record.canonical and record.preferred):
        return ""
    return SENDABLE + _place(record.endpoint_kind, record.topic, record.canonical)
