"""What archiving stores and hands to the store, as plain records. Times: microseconds UTC."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from crossdock.contracts import Contract

# Everything that is stored of one flow: rows by the name of their table, in the order of its key.
FlowRows = Mapping[str, Sequence[Mapping[str, Any]]]

# A part is noted before its file is begun, and again before the first of its flows goes.
WRITING: Final = "WRITING"
WRITTEN: Final = "WRITTEN"
DONE: Final = "DONE"
# What stands in `requests.object_id` of a request whose flow is in a part.
PART_PREFIX: Final = "part:"
_ID_BYTES: Final = 16


@dataclass(slots=True)
class ArchivePart:
    """One file of finished flows. flows_gone: of them, how many left the database."""

    number: int
    name: str
    state: str
    created_at: int
    ended_at: int | None = None
    flows: int = 0
    flows_gone: int = 0
    bytes: int = 0
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class WrittenFlow:
    """A flow as it stands in a file. fingerprint: of its rows when they were written there.

    ids: everything that the flow was known by. numbers: (kind, number) of its objects.
    """

    root_id: str
    fingerprint: str
    ids: Sequence[str]
    numbers: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Moment:
    """How far what holds flows from outside of them was known when they were judged.

    held: the newest held fact. replays: those that are not over, and how far each plan is.
    """

    held: str
    replays: tuple[tuple[str, str, int], ...]


@dataclass(slots=True)
class LettingGo:
    """Some flows of a part that go within one transaction, which fills in what became of it.

    contract: by which the facts are read that are held since the moment. gone: root ids of those
    that went. outdated: too much has changed since the moment, so none went. seconds: how long it
    took.
    """

    part: int
    flows: Sequence[WrittenFlow]
    moment: Moment
    contract: Contract
    gone: list[str] = field(default_factory=list)
    outdated: bool = False
    seconds: float = 0.0


@dataclass(slots=True)
class Pruning:
    """Rows that go by their age alone, at most so many; count: how many went. more: some are left.

    kind: request, held_fact, replay; ids, answers, part: what is remembered of `part`.
    """

    kind: str
    before: int
    most: int
    part: int = 0
    count: int = 0
    more: bool = False


def key_of(value: str) -> bytes:
    """What an id is remembered by."""
    return hashlib.blake2b(value.encode(), digest_size=_ID_BYTES).digest()


def number_key(kind: str, number: str) -> bytes:
    """What the number of an object is remembered by, apart from the same number of other kinds."""
    return key_of(f"{kind}\0{number}")


def fingerprint_of(rows: FlowRows) -> str:
    """A digest of every value of every row: the same rows have the same, and no others."""
    digest = hashlib.sha256()
    for table in sorted(rows):
        for row in rows[table]:
            digest.update(repr((table, [(k, plain(v)) for k, v in row.items()])).encode())
    return digest.hexdigest()


def plain(value: Any) -> Any:
    """A value of a row as Python has it, whatever the driver gave."""
    return bytes(value) if isinstance(value, (bytearray, memoryview)) else value
