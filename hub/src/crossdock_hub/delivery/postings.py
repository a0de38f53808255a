"""How often each operation was confirmed, and whether a vendor booked something twice; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from crossdock_hub.records import AttemptRecord, DeliveryRecord
from crossdock_hub.wording import LATER

# Full-state upserts may be confirmed as often as the state changes.
REPEATABLE_CLASS = "NATURAL"
# What is to be done once: an operation at an endpoint, for an object or an item of it.
IntentKey = tuple[str, str, str, str]
NO_ATTEMPTS: Mapping[str, Sequence[AttemptRecord]] = {}


@dataclass(slots=True)
class Posting:
    """What one endpoint confirmed for one operation on one object or item of it.

    documents: type -> numbers the vendor gave, without repetition, in the order they came.
    unproven: confirmations that came without a document.
    """

    endpoint: str
    operation: str
    object_id: str
    item: str
    role: str
    kind: str
    repeatable: bool
    confirmed: int = 0
    unproven: int = 0
    documents: dict[str, list[str]] = field(default_factory=dict)

    @property
    def twice(self) -> bool:
        """True when the vendor holds two documents of a type, or confirmed twice without any."""
        if self.repeatable:
            return False
        if any(len(numbers) > 1 for numbers in self.documents.values()):
            return True
        # The same document twice is one posting that was found again.
        return self.confirmed > 1 and not self.documents

    @property
    def maybe_twice(self) -> bool:
        """True when one confirmation has a document, and another none to compare it with."""
        return not self.repeatable and not self.twice and self.confirmed > 1 and self.unproven > 0

    @property
    def numbers(self) -> list[str]:
        """The documents' numbers as people know them; internal ids only where there is no other."""
        shown = {k: v for k, v in self.documents.items() if not k.endswith("_id")}
        return [number for values in (shown or self.documents).values() for number in values]


def intent_of(record: DeliveryRecord) -> IntentKey:
    """What a delivery is for; replays and resubmissions of it are for the same."""
    return record.endpoint, record.operation, record.object_id, record.item


def is_confirmed(record: DeliveryRecord, attempts: Sequence[AttemptRecord] = ()) -> bool:
    """True when the vendor did it, also where that was learned too late to move the delivery."""
    return record.state == "CONFIRMED" or any(map(says_done, attempts))


def says_done(attempt: AttemptRecord) -> bool:
    """True when an attempt's word, the first or a later one, is that the vendor did it."""
    return attempt.outcome == "CONFIRMED" or f"{LATER}CONFIRMED" in attempt.reason


def _was_begun(record: DeliveryRecord) -> bool:
    return record.attempts + record.look_ups > 0


def postings(
    deliveries: Iterable[DeliveryRecord],
    attempts: Mapping[str, Sequence[AttemptRecord]] = NO_ATTEMPTS,
) -> list[Posting]:
    """Every operation that was confirmed at least once, in the order of the deliveries.

    attempts: by delivery id. Without them late confirmations of closed deliveries are not seen.
    """
    found: dict[IntentKey, Posting] = {}
    confirmed = [r for r in deliveries if is_confirmed(r, attempts.get(r.id, ()))]
    called = {(intent_of(r), r.vendor_reference) for r in confirmed if _was_begun(r)}
    for record in confirmed:
        key = intent_of(record)
        posting = found.get(key)
        if posting is None:
            posting = found[key] = Posting(*key, record.role, record.kind, repeatable=True)
        # A replay that was done with the call of what it replaced is no second posting.
        counts = _was_begun(record) or (key, record.vendor_reference) not in called
        posting.confirmed += counts
        posting.unproven += counts and not record.vendor_references
        posting.repeatable &= record.operation_class == REPEATABLE_CLASS
        # What the vendor holds beside the one that was adopted is there all the same.
        for reference in (*record.vendor_references, *record.duplicates):
            numbers = posting.documents.setdefault(reference.type, [])
            if reference.value not in numbers:
                numbers.append(reference.value)
    return list(found.values())
