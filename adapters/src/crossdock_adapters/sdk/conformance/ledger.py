"""The hub's ledger as the kit needs it: leases, tokens, and what follows each outcome.

It keeps the rules by which a hub decides what to do next, not how it stores or schedules them.
"""

from __future__ import annotations

import hashlib
import uuid
from base64 import b32encode
from collections.abc import Sequence
from dataclasses import dataclass, field

from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from google.protobuf.message import Message

from crossdock_adapters.sdk.manifest import OperationClass

CALL = delivery_pb2.ATTEMPT_KIND_CALL
LOOK_UP = delivery_pb2.ATTEMPT_KIND_LOOK_UP
CONFIRMED = delivery_pb2.ATTEMPT_OUTCOME_CONFIRMED
LEASE_EXPIRED = "LEASE_EXPIRED"
# An unknown outcome that says when it will be known: the vendor has it, and answers later.
ANSWER_LATER = "ANSWER_LATER"
ENDED = frozenset({"CONFIRMED", "REJECTED", "PARKED"})
UNPROCESSED = frozenset({"RETRY", "THROTTLED"})
NOT_FOUND_NEEDED = 2
REFERENCE_CHARACTERS = 20
REPEATABLE = frozenset({
    OperationClass.KEYED, OperationClass.TWO_STEP, OperationClass.NATURAL
})  # fmt: skip


def following(kind: OperationClass, doing: int, outcome: str, missing: int) -> int | None:
    """The next attempt after an outcome: call or look-up; None: it has ended, or a person looks.

    doing: what the attempt was. missing: settled look-ups in a row that found nothing, this one
    included.
    """
    if outcome in ENDED:
        return None
    if outcome == "NOT_FOUND":
        return CALL if missing >= NOT_FOUND_NEEDED else LOOK_UP
    if outcome in UNPROCESSED and doing == CALL:
        return CALL
    if kind is OperationClass.SEARCHABLE:
        return LOOK_UP
    return CALL if kind in REPEATABLE else None


def numbered_twice(
    kind: OperationClass, completions: Sequence[delivery_service_pb2.Completion]
) -> dict[str, list[str]]:
    """Numbers that a vendor gave for one delivery, of types with more than one, by type: the hub
    would tell people that it was posted twice, whether it was or is only said so.

    What was found beside what is adopted counts. Of the full state of something a vendor may give
    a number each time.
    """
    numbers: dict[str, list[str]] = {}
    for told in completions:
        if kind is not OperationClass.NATURAL and told.outcome == CONFIRMED:
            for reference in (*told.vendor_references, *told.duplicates):
                numbers.setdefault(reference.type, []).append(reference.value)
    distinct = {type_: list(dict.fromkeys(values)) for type_, values in numbers.items()}
    return {type_: values for type_, values in distinct.items() if len(values) > 1}


@dataclass(slots=True)
class Delivery:
    """One delivery and everything that was said about it."""

    operation: str
    event: bytes
    event_type: str
    item: str = ""
    kind: OperationClass = OperationClass.NONE
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    doing: int = CALL
    number: int = 1
    attempt: int = 0
    token: int = 0
    open: bool = False
    begun_by: str = ""
    begun_number: int = 0
    draft: str = ""
    missing: int = 0
    outcomes: list[str] = field(default_factory=list)
    completions: list[delivery_service_pb2.Completion] = field(default_factory=list)
    late: int = 0

    @property
    def reference(self) -> str:
        """The vendor's reference: the same for each repeat."""
        digest = hashlib.sha256(self.id.encode()).digest()
        return b32encode(digest).decode()[:REFERENCE_CHARACTERS]

    @property
    def last(self) -> str:
        return self.outcomes[-1] if self.outcomes else ""

    @property
    def straight(self) -> bool:
        """Whether it was confirmed without trouble, however late the vendor answers."""
        return [each for each in self.outcomes if each != ANSWER_LATER] == ["CONFIRMED"]

    def dispatch(self) -> delivery_pb2.Dispatch:
        """The message that asks for the attempt at hand."""
        return delivery_pb2.Dispatch(
            delivery_id=self.id,
            dispatch_number=self.number,
            kind=self.doing,  # type: ignore[arg-type]
            operation=self.operation,
            item=self.item,
            event_type=self.event_type,
            event=self.event,
            vendor_reference=self.reference,
            attempt=self.attempt + 1,
        )

    def begin(self, dispatch_number: int, attempt_id: str) -> bool:
        """Hand the delivery out; False: somebody has it, or the message is an old one."""
        if self.open and self.begun_by == attempt_id:
            return True
        if self.open or dispatch_number != self.number or dispatch_number == self.begun_number:
            return False
        self.open, self.begun_by, self.begun_number = True, attempt_id, dispatch_number
        self.token += 1
        self.attempt += 1
        return True

    def complete(self, told: delivery_service_pb2.Completion) -> bool:
        """Take an outcome; False: it came late, and is evidence only."""
        if not self.open or told.token != self.token:
            self.late += 1
            return False
        self.completions.append(told)
        name = delivery_pb2.AttemptOutcome.Name(told.outcome).removeprefix("ATTEMPT_OUTCOME_")
        later = told.code == ANSWER_LATER.lower() and name == "UNKNOWN"
        self._ended(ANSWER_LATER if later else name)
        return True

    def expire(self) -> None:
        """The lease ran out with no word."""
        if self.open:
            self._ended(LEASE_EXPIRED)

    def again(self) -> bool:
        """Make the next attempt the one at hand; False: there is none."""
        following_kind = following(self.kind, self.doing, self.last, self.missing)
        if following_kind is None:
            return False
        if following_kind == CALL:
            self.missing = 0
        self.doing = following_kind
        self.number += 1
        return True

    def _ended(self, outcome: str) -> None:
        self.open = False
        self.outcomes.append(outcome)
        self.missing = self.missing + 1 if outcome == "NOT_FOUND" else self.missing


def delivery_of(operation: str, event: Message, item: str, kind: OperationClass) -> Delivery:
    """A delivery of an event."""
    name = event.DESCRIPTOR.full_name
    return Delivery(operation, event.SerializeToString(), name, item, kind)
