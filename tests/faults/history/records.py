"""What a run under faults leaves behind: who was told what, what vendors hold, what the hub holds.

Times are microseconds UTC of one machine's clock. A history is written as one JSON line a record,
so a run that is killed itself leaves what it had seen.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

OK, FAIL, UNKNOWN = "ok", "fail", "unknown"
CALL, LOOK_UP = "CALL", "LOOK_UP"
# The first of the two steps of a call: it changes nothing that anybody has to pay for.
DRAFT = "DRAFT"
# Where a label is shown: among labels, or in its shipment, which shows the number alone.
LIST, SHIPMENT = "list", "shipment"


@dataclass(frozen=True, slots=True)
class Rpc:
    """One call of a client and what it was told. A repeat is a record of its own.

    outcome: ok, fail (refused for good) or unknown (no answer, or come again). object_id, revision
    and state are those of the answer; number is what the caller named the object.
    """

    caller: str
    method: str
    request_id: str
    start: int
    end: int
    outcome: str
    number: str = ""
    object_id: str = ""
    revision: int = 0
    state: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class VendorCall:
    """One request as a vendor logged it; the attempt is what the adapter said it was working on.

    sent_at and lease_until are the adapter's; 0 where it did not say. found: what a look-up saw.
    draft: what a DRAFT made, and what a CALL of two steps confirmed.
    """

    endpoint: str
    kind: str
    operation: str
    delivery_id: str
    attempt: int
    key: str
    start: int
    end: int | None
    status: int | None
    effect: bool
    sent_at: int = 0
    lease_until: int = 0
    found: bool = False
    draft: str = ""

    @property
    def attempt_kind(self) -> str:
        """The kind of attempt that it was made for: both steps are one call."""
        return CALL if self.kind == DRAFT else self.kind


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing that stands in a vendor's books: a label, a document. made_at: when it appeared.

    Of a label also what it costs, a digest of its image, and when it was voided; 0: it is valid.
    """

    endpoint: str
    operation: str
    delivery_id: str
    number: str
    key: str
    subject: str
    made_at: int
    revision: int = 0
    price: str = ""
    document: str = ""
    voided_at: int = 0


@dataclass(frozen=True, slots=True)
class Object:
    """A canonical object as the hub holds it at the end."""

    id: str
    kind: str
    number: str
    revision: int
    state: str


@dataclass(frozen=True, slots=True)
class Event:
    """A row of the events table. body: a digest. causation_id: the request that made it."""

    sequence: int
    id: str
    type: str
    object_id: str
    revision: int
    position: int
    partition: int
    causation_id: str
    body: str


@dataclass(frozen=True, slots=True)
class Streamed:
    """A message of the event stream at the end."""

    sequence: int
    id: str
    partition: int
    body: str


@dataclass(frozen=True, slots=True)
class Request:
    """A request id that the hub has an answer for."""

    request_id: str
    method: str
    object_id: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """A row of the ledger at the end.

    references: the vendor's numbers that it keeps. draft: the one to confirm, once it was noted.
    """

    id: str
    event_id: str
    endpoint: str
    operation: str
    operation_class: str
    item: str
    ordering_key: str
    sequence: str
    state: str
    hold_reason: str
    waiting_on: str
    superseded_by: str
    token: int
    attempts: int
    references: tuple[str, ...]
    draft: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of the ledger's log. late: its word came when it counted no more."""

    delivery_id: str
    token: int
    number: int
    kind: str
    begun_at: int
    ended_at: int | None
    outcome: str
    instance: str = ""
    late: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """What a reader saw of an object or a delivery while the run went on."""

    reader: str
    kind: str
    subject: str
    start: int
    end: int
    state: str
    revision: int


@dataclass(frozen=True, slots=True)
class Packed:
    """A package that a warehouse was told is packed: from then on it needs a label.

    number: the warehouse's, which it keeps when it is packed anew in another shipment.
    """

    package_id: str
    number: str
    shipment_id: str
    endpoint: str


@dataclass(frozen=True, slots=True)
class Label:
    """A label as the hub holds it at the end. document: a digest of its image.

    shown: the number that its shipment shows for the package.
    """

    id: str
    package_id: str
    shipment_id: str
    number: str
    price: str
    document: str
    state: str
    shown: str


@dataclass(frozen=True, slots=True)
class LabelLook:
    """What a reader saw of a package's label, and where; no number: none was shown."""

    reader: str
    where: str
    package_id: str
    start: int
    end: int
    number: str = ""
    price: str = ""
    document: str = ""
    state: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """What the runner did to the installation."""

    at: int
    what: str
    target: str


@dataclass(frozen=True, slots=True)
class Run:
    """Which run it was, and what must hold in it.

    targets: operations that an event of a type must have deliveries for. speaks: the type of event
    that a write's method makes. quiet: the run waited until nothing was open. endpoints: those
    whose books are in the history. on_stream: the event stream is in the history. supersedes: what
    an operation takes back. settle_seconds: how long a vendor may take to show what it did; 0: not
    judged. skipped: the deliveries that a person skipped. parks: for what deliveries are parked in
    it beside doubt that nobody can clear up, as the rules about ends name it. numbers_go_unused:
    those that a transaction drew which was rolled back, as with PostgreSQL: a hole among the
    numbers of events is none then.
    """

    trial: str
    seed: int
    targets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    speaks: Mapping[str, str] = field(default_factory=dict)
    endpoints: tuple[str, ...] = ()
    quiet: bool = True
    on_stream: bool = True
    supersedes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    settle_seconds: float = 0.0
    skipped: tuple[str, ...] = ()
    parks: tuple[str, ...] = ()
    numbers_go_unused: bool = False


Record = (
    Rpc | VendorCall | Effect | Object | Event | Streamed | Request | Delivery | Attempt | Look
    | Packed | Label | LabelLook | Fault
)  # fmt: skip
_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (Rpc, VendorCall, Effect, Object, Event, Streamed, Request, Delivery, Attempt,
                 Look, Packed, Label, LabelLook, Fault)
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class History:
    """Everything a run left, to be judged."""

    run: Run
    records: tuple[Record, ...] = ()

    def of(self, kind: type[Any]) -> list[Any]:
        """The records of a kind, in the order in which they were noted."""
        return [record for record in self.records if type(record) is kind]

    def with_records(self, records: Iterable[Record]) -> Self:
        """The same run with other records."""
        return dataclasses.replace(self, records=tuple(records))

    def write(self, path: Path) -> None:
        """One line for the run, then one a record."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as file:
            file.write(json.dumps({"": "Run"} | dataclasses.asdict(self.run)) + "\n")
            for record in self.records:
                line = {"": type(record).__name__} | dataclasses.asdict(record)
                file.write(json.dumps(line) + "\n")

    @classmethod
    def read(cls, path: Path) -> History:
        """The history that a run wrote."""
        lines = path.read_text(encoding="utf-8").splitlines()
        told = json.loads(lines[0])
        told.pop("")
        for name in ("targets", "supersedes"):
            told[name] = {key: tuple(found) for key, found in told.get(name, {}).items()}
        for name in ("endpoints", "skipped", "parks"):
            told[name] = tuple(told.get(name, ()))
        return cls(Run(**told), tuple(_records(lines[1:])))


def _records(lines: Iterable[str]) -> Iterator[Record]:
    for line in lines:
        told = json.loads(line)
        kind = _KINDS[told.pop("")]
        if kind is Delivery:
            told["references"] = tuple(told["references"])
        yield kind(**told)
