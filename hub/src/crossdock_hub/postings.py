"""How often each operation was confirmed, and whether a vendor booked something twice; pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from crossdock_hub.records import DeliveryRecord

# Full-state upserts may be confirmed as often as the state changes.
REPEATABLE_CLASS = "NATURAL"


@dataclass(slots=True)
class Posting:
    """What one endpoint confirmed for one operation on one object or item of it.

    documents: type -> numbers the vendor gave, without repetition, in the order they came.
    """

    endpoint: str
    operation: str
    object_id: str
    item: str
    role: str
    kind: str
    repeatable: bool
    confirmed: int = 0
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
    def numbers(self) -> list[str]:
        """The documents' numbers as people know them; internal ids only where there is no other."""
        shown = {k: v for k, v in self.documents.items() if not k.endswith("_id")}
        return [number for values in (shown or self.documents).values() for number in values]


def postings(deliveries: Iterable[DeliveryRecord]) -> list[Posting]:
    """Every operation that was confirmed at least once, in the order of the deliveries."""
    found: dict[tuple[str, str, str, str], Posting] = {}
    for record in deliveries:
        if record.state != "CONFIRMED":
            continue
        key = (record.endpoint, record.operation, record.object_id, record.item)
        posting = found.get(key)
        if posting is None:
            posting = found[key] = Posting(*key, record.role, record.kind, repeatable=True)
        posting.confirmed += 1
        posting.repeatable &= record.operation_class == REPEATABLE_CLASS
        # What the vendor holds beside the one that was adopted is there all the same.
        for reference in (*record.vendor_references, *record.duplicates):
            numbers = posting.documents.setdefault(reference.type, [])
            if reference.value not in numbers:
                numbers.append(reference.value)
    return list(found.values())
