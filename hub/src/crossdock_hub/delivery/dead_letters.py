"""Groups of dead letters by cause: who belongs to one, how it stands, and when it closes; pure.

A group is derived from the ledger each time somebody looks. What is kept is only who looks after it
(a GroupRecord), and with each operator's word the cause that it was about: so a delivery that goes
again still belongs to its group until it is settled.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from crossdock_hub.delivery.causes import Cause, DeadLetterGroupRecord
from crossdock_hub.records import DeliveryRecord

OBJECTS_SHOWN_MAX = 20
DEAD_STATES = frozenset({"PARKED", "REJECTED", "UNROUTED"})
DOUBTFUL_STATES = frozenset({"UNKNOWN", "RESOLVING"})
# A delivery that superseded another may have been superseded itself.
HOPS_MAX = 20


@dataclass(frozen=True, slots=True)
class Member:
    """A dead letter. id: of the delivery or held fact. since: when it stopped, microseconds UTC."""

    id: str
    object_id: str
    since: int
    open: bool
    inbound: bool = False


@dataclass(slots=True)
class Group:
    """Dead letters with one cause, newest first, and who looks after them."""

    cause: Cause
    members: list[Member] = field(default_factory=list)
    mark: DeadLetterGroupRecord | None = None

    @property
    def open(self) -> list[Member]:
        """Members that are not settled."""
        return [member for member in self.members if member.open]

    @property
    def last(self) -> int:
        """When the newest open member stopped; of a closed group, when any did."""
        return max((m.since for m in self.open or self.members), default=0)

    @property
    def state(self) -> str:
        """OPEN, ACKNOWLEDGED or CLOSED."""
        if not self.open:
            return "CLOSED"
        at = self.mark.marked_at if self.mark is not None else None
        return "OPEN" if at is None or self.last > at else "ACKNOWLEDGED"

    @property
    def reopened(self) -> bool:
        """True when it came back after somebody had acknowledged it."""
        known = self.mark is not None and self.mark.marked_at is not None
        return known and self.state == "OPEN"


def is_dead(record: DeliveryRecord, unknown_since: int) -> bool:
    """True while a person should look. unknown_since: doubt that began later is left to the hub."""
    if record.state in DOUBTFUL_STATES:
        since = record.first_unknown_at
        return since is not None and since <= unknown_since
    return record.state in DEAD_STATES


def is_settled(record: DeliveryRecord, known: Mapping[str, DeliveryRecord]) -> bool:
    """True when nothing is left to do: confirmed, skipped, or superseded by such a one."""
    for _ in range(HOPS_MAX):
        if record.state != "SUPERSEDED":
            return record.state in ("CONFIRMED", "SKIPPED")
        successor = known.get(record.superseded_by)
        if successor is None or successor.id == record.id:
            return True
        record = successor
    return False


def grouped(
    members: Iterable[tuple[Cause, Member]], marks: Mapping[str, DeadLetterGroupRecord]
) -> list[Group]:
    """Groups, open ones first, the one with the newest member first."""
    found: dict[str, Group] = {}
    seen: dict[str, set[str]] = defaultdict(set)
    for cause, member in members:
        group = found.get(cause.id)
        if group is None:
            group = found[cause.id] = Group(cause, mark=marks.get(cause.id))
        if member.id not in seen[cause.id]:
            seen[cause.id].add(member.id)
            group.members.append(member)
    for group in found.values():
        group.members.sort(key=lambda m: (m.open, m.since, m.id), reverse=True)
    return sorted(
        found.values(), key=lambda g: (g.state != "CLOSED", g.last, g.cause.id), reverse=True
    )
